"""Backend: what the HTTP app needs of whoever computes predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kincast.registry.version import VersionInfo


class Answer(Protocol):
    """Scores of some rows at one instant."""

    @property
    def as_of_us(self) -> int:
        """The instant; the latest where rows have different ones."""
        ...

    def outcomes(self) -> list[dict[str, Any]]:
        """What is said of each row, as plain JSON values in the form of ``message.Outcome``."""
        ...


class Reasons(Protocol):
    """What moved one number of a prediction."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values in the form of ``message.Explanation``."""
        ...


class Origin(Protocol):
    """The snapshot answers come from."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Backend(Protocol):
    """A trained version over a snapshot, called from several threads; ``predict.online.Predictor`` is one."""

    @property
    def info(self) -> VersionInfo:
        """What is known of the version."""
        ...

    @property
    def snapshot(self) -> Origin:
        """The snapshot it answers from."""
        ...

    def default_as_of(self) -> int:
        """The instant meant when none is given."""
        ...

    def predict(self, keys: Sequence[Any], as_of_us: int | None = None, coverage: float | None = None) -> Answer:
        """Scores of the rows with those keys (scalars, or tuples for composite keys), in their order.

        ``coverage`` is the share of intervals and sets that are to hold the truth; None means the version's own.

        Raises:
            KeyNotFoundError: a key that no row has, or whose row does not exist at the instant.
        """
        ...

    def embed(self, keys: Sequence[Any], as_of_us: int | None = None) -> npt.NDArray[np.float32]:
        """Embeddings [n, d] of the rows with those keys; arguments and errors as ``predict``."""
        ...

    def why(
        self,
        keys: Sequence[Any],
        as_of_us: int | None = None,
        *,
        of: Any = None,
        target: str | None = None,
        top: int = 5,
    ) -> Sequence[Reasons]:
        """What moved one number of the prediction of each row; keys, instant and errors as ``predict``.

        Raises:
            ProjectError: a prediction has no number that is named so.
        """
        ...
