"""Gather: copy the records of many rows out of a memory-mapped file, warm or cold, without the interpreter lock.

A record is a whole number of 64-bit words, so that one loop serves every storage type (Numba has no 16-bit floats).
Warm, the memory's latency decides: the records of ``AHEAD`` rows are asked for before they are copied. Cold, the
disk's: the kernel is told all pages of a batch at once (``madvise(MADV_WILLNEED)``), so that it reads them side by side
instead of one after the other, each when it is first touched.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np
from numba import types
from numpy.typing import NDArray

from kincast.compile import compiled, prefetch

AHEAD = 16
LINE_WORDS = 8  # a cache line of 64 bytes
WORD_BYTES = 8
_POPULATE_READ = 22  # Linux's MADV_POPULATE_READ, which Python does not name: read the file and map all of its pages

# Known to every process by the C library's name, so the machine code that calls it can be kept on the disk.
_madvise = types.ExternalFunction("madvise", types.int32(types.uintp, types.uintp, types.int32))


@compiled
def gather_words(words, width, rows, out):  # type: ignore[no-untyped-def]
    """Copy records.

    Args:
        words: [num_rows * width] uint64, the file.
        width: words of a record.
        rows: [n] int64, each within the file.
        out: [n * width] uint64, written.
    """
    num = rows.shape[0]
    # Unsigned numbers cannot count from the end of an array; the test for that would keep the copy from using vectors.
    length = np.uint64(width)
    for i in range(num):
        if i + AHEAD < num:
            ahead = rows[i + AHEAD] * width
            for line in range(0, width, LINE_WORDS):
                prefetch(words, ahead + line)
            prefetch(words, ahead + width - 1)
        source = np.uint64(rows[i]) * length
        target = np.uint64(i) * length
        for place in range(length):
            out[target + place] = words[source + place]


@compiled
def advise_pages(address, pages, page_bytes, advice):  # type: ignore[no-untyped-def]
    """Give the kernel one piece of advice for every run of pages without a gap.

    Args:
        address: of the mapping, at the start of a page.
        pages: [n] int64 ascending, without repeats.
        page_bytes: size of a page.
        advice: ``mmap.MADV_WILLNEED`` or another.

    Returns:
        runs advised.
    """
    runs = 0
    start = 0
    for i in range(1, pages.shape[0] + 1):
        if i == pages.shape[0] or pages[i] != pages[i - 1] + 1:
            first = np.uint64(address) + np.uint64(pages[start]) * np.uint64(page_bytes)
            _madvise(first, np.uint64(i - start) * np.uint64(page_bytes), np.int32(advice))
            runs += 1
            start = i
    return runs


class MappedWords:
    """Records of a file, mapped into memory.

    Args:
        path: the file.
        offset: bytes before the first record, a whole number of pages.
        num_rows: records in it.
        width: 64-bit words of a record.
        readahead: ask the disk for the rows of each batch before reading them, and for nothing else; otherwise the
            whole file is taken to fit into memory.

    Raises:
        OSError: it cannot be mapped.
        ValueError: it is shorter than that.
    """

    def __init__(self, path: Path, offset: int, num_rows: int, width: int, *, readahead: bool) -> None:
        self.num_rows, self.width, self.offset, self.readahead = num_rows, width, offset, readahead
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._words = np.frombuffer(self._map, np.uint64, num_rows * width, offset)
        self._address = np.frombuffer(self._map, np.uint8).ctypes.data
        if readahead:
            self._map.madvise(mmap.MADV_RANDOM)  # a page that is missing nevertheless brings no others with it
        else:
            with contextlib.suppress(OSError):  # older kernels map each page when it is first touched
                self._map.madvise(_POPULATE_READ)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The records of those rows: [n, width] uint64, in memory of its own.

        Raises:
            IndexError: there is no such row.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.num_rows):
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} of {self.num_rows}")
        out = np.empty((len(rows), self.width), np.uint64)
        if out.size:
            if self.readahead:
                self.prepare(rows)
            gather_words(self._words, self.width, rows, out.reshape(-1))
        return out

    def prepare(self, rows: NDArray[np.int64]) -> int:
        """Ask the disk for the pages that hold those rows; returns how many runs of pages that were."""
        size = self.width * WORD_BYTES
        first = (self.offset + rows * size) // mmap.PAGESIZE
        last = (self.offset + (rows + 1) * size - 1) // mmap.PAGESIZE
        spans = [first + step for step in range(int((last - first).max()) + 1)]
        pages = np.unique(np.concatenate([np.minimum(page, last) for page in spans]))
        return int(advise_pages(self._address, pages, mmap.PAGESIZE, mmap.MADV_WILLNEED))


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or what its control group allows if that is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or the word max
            continue
    return min(found)
