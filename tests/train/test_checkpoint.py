"""A checkpoint is whole, however many trainings of one task write it at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from kincast.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def test_two_writers_at_once_do_not_hurt_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Checkpoint({"w": torch.full((3,), float(k))}, {"epoch": k}) for k in (1, 2))
    flush, overtaken = os.fsync, False

    def slow(handle: int) -> None:
        nonlocal overtaken
        flush(handle)
        if not overtaken:  # while the first is being written, the second is from start to end
            overtaken = True
            save_checkpoint(tmp_path, second)

    monkeypatch.setattr(os, "fsync", slow)
    save_checkpoint(tmp_path, first)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"epoch": 1}
    assert found.tensors["w"].tolist() == [1.0, 1.0, 1.0]
    assert len(list(tmp_path.iterdir())) == 1
