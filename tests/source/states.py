"""The state that deliveries lead to, computed in the plainest way: of two changes of a key the later one holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kincast.schema import Schema
from kincast.source.change import ChangeStream, Delivery

DEADLINE_S = 30.0


class State:
    """Rows by table and key (or id), as ``ChangeStream``'s contract says they come to be.

    Attributes:
        position: of the last delivery that was applied.
        news: sentences about changed tables.
        unread: rules of messages that were no changes.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.position: str | None = None
        self.news: list[str] = []
        self.unread: list[str] = []
        self._rows: dict[tuple[str, Any], tuple[int, bool, dict[str, Any]]] = {}

    def apply(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self.position = delivery.position
        self.news += delivery.schema_changes
        self.unread += [message.rule for message in delivery.unread]
        for changes in delivery.changes:
            table = self.schema.table(changes.table)
            for i, row in enumerate(changes.rows.to_pylist()):
                key = changes.ids[i] if changes.ids else tuple(str(row[name]) for name in table.key)
                candidate = (int(changes.sequence[i]), not changes.deleted[i], row)
                known = self._rows.get((changes.table, key))
                if known is None or (known[0], repr(known[2])) <= (candidate[0], repr(row)):
                    self._rows[changes.table, key] = candidate

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows there are, in the order of their keys."""
        found = [(key, row) for (name, key), (_, there, row) in self._rows.items() if name == table and there]
        return [row for _, row in sorted(found, key=lambda item: item[0])]


def follow(stream: ChangeStream, state: State, until: Callable[[], bool], acknowledge: bool = True) -> None:
    """Take deliveries in until something holds.

    Raises:
        AssertionError: it did not within the deadline.
    """
    end = time.monotonic() + DEADLINE_S
    for delivery in stream.deliveries(state.position):
        if delivery is not None:
            state.apply(delivery)
            if acknowledge:
                stream.acknowledge(delivery.position)
        if until():
            return
        assert time.monotonic() < end, f"not within {DEADLINE_S} s; news: {state.news}"


def until_idle(stream: ChangeStream, state: State, acknowledge: bool = True) -> list[Delivery]:
    """Take in what there is; returns the deliveries."""
    taken = list(drained(stream.deliveries(state.position)))
    for delivery in taken:
        state.apply(delivery)
        if acknowledge:
            stream.acknowledge(delivery.position)
    return taken


def drained(deliveries: Iterable[Delivery | None]) -> Iterator[Delivery]:
    """Deliveries until nothing comes for a moment."""
    end = time.monotonic() + DEADLINE_S
    for delivery in deliveries:
        if delivery is None:
            return
        yield delivery
        assert time.monotonic() < end, "deliveries without end"
