"""Text: words to numbers, by hashing, or by a sentence-transformers model in a local folder; nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.feature.spec import Text

HASHING = "hashing"
HASHED_WIDTH = 32
_TEXTS_AT_ONCE = 256


class TextModel(Protocol):
    """What is asked of a model of the user's."""

    def encode(self, texts: list[str], /, **options: Any) -> NDArray[Any]:
        """[n, width] of the texts."""


def text_spec(column: str, model: str) -> Text:
    """How a text column is read.

    Args:
        column: its name.
        model: ``hashing``, or the folder of a sentence-transformers model.

    Raises:
        ProjectError: there is no such folder, the model in it cannot be loaded, or the extra is not installed.
    """
    if model == HASHING:
        return Text(column, HASHED_WIDTH)
    folder = str(Path(model).expanduser().resolve())
    return Text(column, _read(open_model(folder), [column]).shape[1], folder, folder_digest(folder))


def text_inputs(texts: pa.Array, spec: Text) -> NDArray[np.float32]:
    """float32 [n, width]: a vector of length 1 a text, zeros where it is missing or empty; each text is read once.

    Raises:
        ProjectError: the model is not there any more, or is another one than when training.
    """
    encoded = texts.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    vectors = np.zeros((len(distinct) + 1, spec.width), dtype=np.float32)  # the last row stands for missing
    if spec.model is None:
        _hash_words(distinct, vectors)
    else:
        _embed(distinct, spec, vectors)
    index = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    by_row: NDArray[np.float32] = vectors[index]
    return by_row


def _hash_words(texts: list[str], vectors: NDArray[np.float32]) -> None:
    """Signed word counts hashed by CRC-32; no model, no download.

    The signed hashing of words follows Weinberger et al. 2009, "Feature hashing for large scale multitask learning".
    """
    width = vectors.shape[1]
    for row, text in enumerate(texts):
        for word in text.lower().split():
            code = zlib.crc32(word.encode())
            vectors[row, code % width] += 1.0 if code & 0x8000_0000 else -1.0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0)


def _embed(texts: list[str], spec: Text, vectors: NDArray[np.float32]) -> None:
    folder = spec.model or ""
    if folder_digest(folder) != spec.digest:
        hint = "put the model back that the version was trained with, or train again"
        raise ProjectError("the text model is another one than when training", where=folder, hint=hint)
    model = open_model(folder)
    rows = [row for row, text in enumerate(texts) if text.strip()]
    for start in range(0, len(rows), _TEXTS_AT_ONCE):
        some = rows[start : start + _TEXTS_AT_ONCE]
        vectors[some] = _read(model, [texts[row] for row in some])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _read(model: TextModel, texts: list[str]) -> NDArray[np.float32]:
    return np.asarray(model.encode(texts, show_progress_bar=False, convert_to_numpy=True), np.float32)


@functools.cache
def open_model(folder: str) -> TextModel:
    """Load a sentence-transformers model from a folder, once; its files are local and none of its code is run.

    Raises:
        ProjectError: there is no such folder, the model in it cannot be loaded, or the extra is not installed.
    """
    where = f"features.text: {folder}"
    if not Path(folder).is_dir():
        hint = f"name a folder with a sentence-transformers model, or '{HASHING}'"
        raise ProjectError("there is no such folder", where=where, hint=hint)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ProjectError("text models need an extra", where=where, hint="pip install 'kincast[text]'") from None
    try:
        model: TextModel = SentenceTransformer(folder, device="cpu", local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever the library meets in a folder that holds no model
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ProjectError(f"the text model cannot be loaded: {reason}", where=where) from None
    return model


@functools.cache
def folder_digest(folder: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the names and contents of a folder's files; read once.

    Raises:
        ProjectError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
                with path.open("rb") as file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
    except OSError as error:
        raise ProjectError(f"the text model cannot be read: {error.strerror}", where=folder) from None
    return digest.hexdigest()[:16]
