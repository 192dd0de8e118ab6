"""Record: what lies where in the bytes that the file of encoded features has for each row.

All inputs of a row lie together, so that reading one costs one place in memory, and one page of a disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kincast.feature.spec import INT8_STEPS, TableSpec
from kincast.project import FeatureStorage

HEADER_BYTES = 4096
"""Length of the ``.npy`` header: a page, so that records of a power of two do not straddle pages."""

NUMBERS: dict[FeatureStorage, str] = {"float32": "<f4", "float16": "<f2", "int8": "<i1"}


def record_type(spec: TableSpec, storage: FeatureStorage) -> np.dtype[np.void]:
    """The fields of a row's record that are not empty, in a whole number of 64-bit words.

    - ``instants`` int64: the row's own time where it has one, then every instant column, microseconds UTC.
    - ``codes`` int32: of the categorical columns.
    - ``numbers``: everything else, as the storage says.
    """
    widths = {
        "instants": ("<i8", int(spec.calendar) + len(spec.instants)),
        "codes": ("<i4", len(spec.categorical)),
        "numbers": (NUMBERS[storage], spec.numeric_width),
    }
    names = [name for name, (_, width) in widths.items() if width]
    formats = [(widths[name][0], (widths[name][1],)) for name in names]
    sizes = [np.dtype(form).itemsize * shape[0] for form, shape in formats]
    offsets = [sum(sizes[:place]) for place in range(len(sizes))]
    size = -(-sum(sizes) // 8) * 8
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def stored(numbers: NDArray[np.float32], scales: NDArray[np.float32], storage: FeatureStorage) -> NDArray[np.generic]:
    """Numbers [n, width] as they are stored.

    Rounded to 16 bits, a number is off by at most a 2048th of itself; in 8 bits, by at most half its column's scale,
    as long as it does not exceed the column's extent in training, where it stays.
    """
    if storage == "int8":
        steps: NDArray[np.int8] = np.clip(np.rint(numbers / scales), -INT8_STEPS, INT8_STEPS).astype(np.int8)
        return steps
    return np.asarray(numbers, NUMBERS[storage])


def file_header(record: np.dtype[np.void], num_rows: int) -> bytes:
    """The header of a ``.npy`` file of that many records, padded with blanks."""
    values = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (num_rows,)}
    start = np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + repr(values).encode("ascii").ljust(HEADER_BYTES - 11) + b"\n"
