"""Growing: an array that grows at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Growing:
    """An array that grows at its end.

    What was read of it stays as it was, unless it is written on.

    Args:
        dtype: of its values.
        width: of its rows; one-dimensional when None.
    """

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self._values: NDArray[Any] = np.empty(16 if width is None else (16, width), dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """[n] the values so far; writing on them changes them."""
        return self._values[: self._size]

    def extend(self, values: Any, num: int | None = None) -> None:
        """Add values, or ``num`` times one value."""
        num = len(values) if num is None else num
        size = self._size + num
        if size > len(self._values):
            grown = np.empty((max(size, 2 * len(self._values)), *self._values.shape[1:]), self._values.dtype)
            grown[: self._size] = self.values
            self._values = grown
        self._values[self._size : size] = values
        self._size = size
