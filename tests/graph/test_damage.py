"""Damage, kills and failing disks, a few of each; the programs in benchmarks/ try thousands."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest
from benchmarks.damage import damage, flip_bits, make_root
from benchmarks.kills import kill_builders, run_preloaded

from kincast.graph.manifest import check_sizes


def test_all_damage_is_noticed(tmp_path: Path) -> None:
    assert damage(tmp_path, flips=60, copies=0).wrong == []


def test_the_trial_notices_what_goes_unnoticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path)
    for module in ("kincast.graph.open", "kincast.graph.verify"):
        monkeypatch.setattr(f"{module}.check_hashes", check_sizes)
    assert len(list(flip_bits(root, 20, random.Random(0)))) > 5


def test_killed_builders(tmp_path: Path) -> None:
    found = kill_builders(tmp_path, kills=3, num_events=2000)
    assert found.wrong == []
    assert sum(found.counts.values()) >= 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the failing disk is preloaded as Linux does it")
@pytest.mark.skipif(shutil.which("cc") is None, reason="the failing disk needs a C compiler, and none is here")
def test_failing_writes(tmp_path: Path) -> None:
    done = run_preloaded(["disk", "--every", "53"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "refused as StorageError" in done.stdout
