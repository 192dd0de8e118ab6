"""Records are gathered as fancy indexing would, whatever their width, and asked for page by page."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.feature import gather
from kincast.feature.gather import MappedWords, advise_pages, memory_bytes

OFFSET = 4096


def write(folder: Path, num_rows: int, width: int) -> tuple[Path, np.ndarray]:
    values = np.random.default_rng((num_rows, width)).integers(0, 2**63, (num_rows, width), np.uint64)
    path = folder / f"{num_rows}-{width}"
    path.write_bytes(b"x" * OFFSET + values.tobytes())
    return path, values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("words")


@settings(deadline=None)  # the first call compiles
@given(
    num_rows=st.integers(0, 300),
    width=st.sampled_from([0, 1, 2, 7, 8, 9, 64, 200]),
    picks=st.lists(st.floats(0, 1, exclude_max=True), max_size=80),
    readahead=st.booleans(),
)
def test_gathering_is_fancy_indexing(
    folder: Path, num_rows: int, width: int, picks: list[float], readahead: bool
) -> None:
    path, values = write(folder, num_rows, width)
    mapped = MappedWords(path, OFFSET, num_rows, width, readahead=readahead)
    rows = np.array([int(pick * num_rows) for pick in picks if num_rows], np.int64)
    found = mapped.take(rows)
    assert found.shape == (len(rows), width)
    assert np.array_equal(found, values[rows])
    assert found.flags.writeable
    assert found.flags.owndata


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_is_refused(row: int, folder: Path) -> None:
    path, _ = write(folder, 5, 3)
    with pytest.raises(IndexError, match=f"row {row} of 5"):
        MappedWords(path, OFFSET, 5, 3, readahead=False).take(np.array([0, row]))


def test_a_file_that_is_too_short_is_refused(folder: Path) -> None:
    path, _ = write(folder, 5, 3)
    with pytest.raises(ValueError, match="buffer"):
        MappedWords(path, OFFSET, 6, 3, readahead=False)


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 199), min_size=1, max_size=40), width=st.sampled_from([1, 64, 512, 700]))
def test_every_page_of_every_row_is_asked_for_once(folder: Path, rows: list[int], width: int) -> None:
    path, _ = write(folder, 200, width)
    mapped = MappedWords(path, OFFSET, 200, width, readahead=True)
    asked: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "advise_pages", lambda address, pages, size, advice: asked.append(pages) or 0)
        mapped.prepare(np.array(rows))
    size = width * 8
    wanted = {
        byte // mmap.PAGESIZE for row in rows for byte in range(OFFSET + row * size, OFFSET + (row + 1) * size, 8)
    }
    assert asked[0].tolist() == sorted(wanted)


def test_runs_of_pages_are_advised_together(folder: Path) -> None:
    path, _ = write(folder, 200, 512)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        address = view.ctypes.data
        for pages, runs in (([0, 1, 2], 1), ([1, 3, 4, 9], 3), ([], 0)):
            assert advise_pages(address, np.array(pages, np.int64), mmap.PAGESIZE, mmap.MADV_WILLNEED) == runs
        del view


def test_memory_is_some_gigabytes() -> None:
    assert 2**28 < memory_bytes() < 2**50
