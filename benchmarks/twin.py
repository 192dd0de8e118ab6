"""Twin: compiles benchmarks/twin.cpp and calls it with the arrays of a sampler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kincast.sample.batch import Seeds
from kincast.sample.sampler import Sampler

_SOURCE = Path(__file__).with_name("twin.cpp")


class _Edge(ctypes.Structure):
    _fields_ = (
        ("table", ctypes.c_int64),
        ("other", ctypes.c_int64),
        ("forward", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
    )


def compile_twin() -> ctypes.CDLL | None:
    """The compiled twin, or None where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "twin.so"
        flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(_SOURCE), "-o", str(library)], check=True)
        twin = ctypes.CDLL(str(library))
    twin.sample.restype = ctypes.c_int64
    return twin


class Twin:
    """The same trees as a sampler's, for ``last`` and ``uniform`` everywhere."""

    def __init__(self, library: ctypes.CDLL, sampler: Sampler) -> None:
        self._library, self._sampler = library, sampler
        graph = sampler.snapshot
        self._tables = list(graph.tables)
        self._kept: list[Any] = []  # what the pointers point at
        edges = (_Edge * len(sampler.edges))()
        for place, edge in zip(edges, sampler.edges, strict=True):
            link = graph.links[edge.link]
            place.table, place.other = self._tables.index(edge.table), self._tables.index(edge.other)
            if not edge.reverse:
                place.forward = self._at(link.forward, np.int32)
            place.offsets, place.rows = self._at(link.offsets, np.int64), self._at(link.rows, np.int32)
            place.times = None if link.time_us is None else self._at(link.time_us, np.int64)
        times = [graph.tables[name].time_us for name in self._tables]
        self._times = (ctypes.c_void_p * len(times))(*(None if t is None else self._at(t, np.int64) for t in times))
        sizes = np.array([graph.tables[name].num_rows for name in self._tables], np.int64)
        self._edges, self._sizes = edges, self._at(sizes, np.int64)
        self._fanouts, self._wholes = self._at(sampler.fanout, np.int64), self._at(sampler.reading.wholes.T, np.int64)

    def __call__(self, seeds: Seeds, out: dict[str, Any] | None = None) -> int:
        """Sampled edges; all rows of every table into ``out``, whose arrays have that length."""
        sampler = self._sampler
        given = None
        if out is not None:
            given = (ctypes.c_void_p * len(out))(*(out[name].ctypes.data for name in self._tables))
        number = ctypes.c_int64
        return int(
            self._library.sample(
                self._edges, number(len(self._edges)), self._fanouts, self._wholes, number(sampler.num_hops),
                self._times, self._sizes, number(len(self._tables)), number(self._tables.index(seeds.table)),
                ctypes.c_void_p(seeds.rows.ctypes.data), ctypes.c_void_p(seeds.as_of_us.ctypes.data),
                number(len(seeds)), ctypes.c_uint64(int(sampler._key[0])),
                number(any(s.strategy == "uniform" for s in sampler.samplings)), given,
            )
        )  # fmt: skip

    def check(self, seeds: Seeds) -> None:
        """Raise where the sampler finds other rows."""
        batch = self._sampler.sample(seeds)
        out = {name: np.empty(len(rows), np.int64) for name, rows in batch.rows.items()}
        assert self(seeds, out) == batch.num_edges
        assert all(np.array_equal(out[name], rows) for name, rows in batch.rows.items())

    def _at(self, array: Any, kind: type) -> ctypes.c_void_p:
        array = np.ascontiguousarray(array)
        assert array.dtype == kind, array.dtype
        self._kept.append(array)
        return ctypes.c_void_p(array.ctypes.data)
