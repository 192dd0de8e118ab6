"""Change: inserted, updated and deleted rows of one table, with what orders them and where their stream stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.errors import DataError, SourceError

Int64s = NDArray[np.int64]
REBUILD = "what happened since is lost to the stream; read the rows again with: kincast build"
"""What to do when a stream is lost."""


class StreamLostError(SourceError):
    """A stream no longer reaches back to where it was left: the rows have to be read again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one table, as they came.

    Of two changes of one key the one with the larger ``sequence`` holds, whichever comes first; of two with the same
    sequence a deletion, else the one whose content has the larger digest. Rows of a table without a key can only be
    added, and are told apart by ``ids``: the same id twice is the same row.

    Attributes:
        table: name as in the schema card.
        rows: [n] the values; columns that are missing are null. Of a deleted row only the key counts.
        sequence: [n] int64 such as a log position, a version number or a time: it grows with every change of a key.
        deleted: [n] bool True where the row is gone, False where it is there with these values.
        ids: [n] what tells rows without a key apart, such as their position in the stream; None for tables with one.
    """

    table: str
    rows: pa.Table
    sequence: Int64s
    deleted: NDArray[np.bool_]
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = {"sequence": len(self.sequence), "deleted": len(self.deleted)}
        if self.ids is not None:
            given["ids"] = len(self.ids)
        for name, length in given.items():
            if length != self.rows.num_rows:
                what = f"{length:,} of {name} for {self.rows.num_rows:,} rows"
                raise DataError(what, where=f"changes of {self.table}")

    def __len__(self) -> int:
        return int(self.rows.num_rows)


@dataclass(frozen=True, slots=True)
class Unread:
    """A message of a stream that no change could be made of.

    Attributes:
        id: its place in the stream, the same whenever it comes.
        rule: short name of what is wrong, such as ``event.json``.
        text: the message as it came, or its beginning.
    """

    id: str
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a stream hands over at once: kept whole or not at all, together with its position.

    Attributes:
        stream: name of the stream, the same in every run.
        position: where the stream goes on after this, in the stream's own words; also kept when ``changes`` is empty.
            An empty text is the very start.
        changes: what happened, in any order.
        schema_changes: what became of tables' columns since the delivery before, in words for the user.
        committed_us: when the newest of the changes was made, microseconds UTC; None where the stream does not know.
        unread: messages that no change could be made of, each with the rule that says why.
    """

    stream: str
    position: str
    changes: tuple[Changes, ...]
    schema_changes: tuple[str, ...] = ()
    committed_us: int | None = None
    unread: tuple[Unread, ...] = ()


class ChangeStream(Protocol):
    """A source of changes that remembers nothing itself: it goes on from the position it is given.

    Attributes:
        name: of the stream, the same in every run.
    """

    name: str

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Table → why its changes are no longer taken, until the rows are read again."""

    def prepare(self, position: str | None) -> str:
        """Get ready for the rows to be read anew: what happens from now on will be delivered.

        Args:
            position: of the last delivery that was kept; None at the very start.

        Returns:
            Where to go on after the rows were read: that position where the stream still reaches back to it.

        Raises:
            SourceError: the stream cannot be reached, or cannot be made ready.
        """

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """What happened after a position, without end; None when nothing came for a moment.

        Args:
            position: of the last delivery that was kept; None at the very start.

        Raises:
            StreamLostError: it no longer reaches back to that position.
            SourceError: it cannot be reached.
        """

    def acknowledge(self, position: str) -> None:
        """Everything up to that position is kept and may be forgotten by the stream."""

    def close(self) -> None:
        """Let go of connections; deliveries that were not acknowledged come again."""
