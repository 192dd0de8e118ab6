"""Texts become vectors: hashed words by default, or the user's own model from a local folder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from kincast.errors import ProjectError
from kincast.feature import text
from kincast.feature.spec import Text
from kincast.feature.text import text_inputs, text_spec


def test_hashed_words_ignore_case_and_have_unit_length() -> None:
    vectors = text_inputs(pa.array(["Red shoes", "red SHOES", None, "blue hat", ""], pa.string()), Text("x", 16))
    assert (vectors[0] == vectors[1]).all()
    assert not vectors[2].any()
    assert not vectors[4].any()
    assert (vectors[0] != vectors[3]).any()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0)


class Letters:
    """Stands in for a sentence-transformers model: how many letters and blanks a text has."""

    read: ClassVar[list[str]] = []

    def __init__(self, folder: str, **options: Any) -> None:
        assert options["local_files_only"] is True
        assert options["trust_remote_code"] is False
        if not (Path(folder) / "weights").is_file():
            raise OSError("no model here\nmore")

    def encode(self, texts: list[str], /, **options: Any) -> np.ndarray:
        self.read.extend(texts)
        return np.array([[len(text), text.count(" ")] for text in texts], np.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Letters))
    monkeypatch.setattr(Letters, "read", [])
    text.open_model.cache_clear()
    text.folder_digest.cache_clear()
    return tmp_path / "model"


def test_a_model_reads_each_text_once_and_gives_unit_vectors(model: Path) -> None:
    spec = text_spec("note", str(model))
    assert (spec.width, spec.model) == (2, str(model))
    vectors = text_inputs(pa.array(["abc d", None, "abc d", " ", "xyz"], pa.string()), spec)
    assert Letters.read == ["note", "abc d", "xyz"]  # the first tells how many numbers the model gives
    assert vectors[0] == pytest.approx([5 / 26**0.5, 1 / 26**0.5])
    assert (vectors[0] == vectors[2]).all()
    assert not vectors[[1, 3]].any()
    assert vectors[4].tolist() == [1.0, 0.0]


def test_a_model_that_was_exchanged_is_refused(model: Path) -> None:
    spec = text_spec("note", str(model))
    (model / "weights").write_text("2")
    text.folder_digest.cache_clear()
    with pytest.raises(ProjectError, match="another one than when training"):
        text_inputs(pa.array(["a"], pa.string()), spec)


def test_what_is_wrong_with_a_model_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectError, match="there is no such folder"):
        text_spec("note", str(model / "nowhere"))
    (model / "weights").unlink()
    with pytest.raises(ProjectError, match=r"cannot be loaded: no model here$"):
        text_spec("note", str(model))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ProjectError) as caught:
        text_spec("note", str(model))
    assert "kincast[text]" in str(caught.value.hint)
