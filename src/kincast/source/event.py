"""Event: changes written as JSON, as message streams and HTTP carry them.

    {"table": "orders", "op": "upsert", "values": {"id": 7, "amount": 12.5}, "sequence": 41}
    {"table": "orders", "op": "delete", "key": {"id": 7}, "sequence": 42}

``insert``, ``update`` and ``upsert`` mean the same: the row with that key has these values from now on, and null where
one is not named. ``sequence`` grows with every change of a key; without it the place in the stream counts. ``id`` tells
rows of tables without a key apart; without it the place in the stream does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from kincast.schema import Schema, Table
from kincast.source.change import Changes, Unread

_PUTS = ("insert", "update", "upsert")
_SHOWN = 2_000
"""Letters of a message that are kept when no change can be made of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream.

    Attributes:
        id: its place in the stream, the same whenever it comes.
        sequence: counts when the event names none.
        content: JSON.
    """

    id: str
    sequence: int
    content: bytes


class _EventError(ValueError):
    """An event of which no change can be made; the text is the rule, the cause the reason."""


def read_events(messages: Iterable[Message], schema: Schema) -> tuple[tuple[Changes, ...], tuple[Unread, ...]]:
    """The changes that messages stand for, by table, and the messages that stand for none.

    A message is refused by the first rule that holds: ``event.json`` (no JSON object), ``event.table`` (the card has
    none of that name), ``event.op``, ``event.sequence`` (no 64-bit integer), ``event.id`` (not a text or a number),
    ``event.values`` or ``event.key`` (not an object, or not there).
    """
    collected: dict[str, _Collected] = {}
    unread = []
    for message in messages:
        try:
            event = _decoded(message.content)
            table = _table(event, schema)
            collected.setdefault(table.name, _Collected(table)).add(event, message)
        except _EventError as error:
            unread.append(Unread(message.id, str(error), message.content[:_SHOWN].decode(errors="replace")))
    return tuple(rows.changes() for rows in collected.values()), tuple(unread)


def text_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Rows of JSON values as texts and lists of texts, so that a value reads the same whatever stands beside it.

    Args:
        rows: [n] name of a column → value; other names are left out.
        columns: of the table, in its order.
    """
    arrays = []
    for name in columns:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, list) for value in values):
            lists = [value if isinstance(value, list) or value is None else [value] for value in values]
            texts = [None if items is None else [as_text(item) for item in items] for items in lists]
            arrays.append(pa.array(texts, pa.list_(pa.string())))
        else:
            arrays.append(pa.array([as_text(value) for value in values], pa.string()))
    return pa.table(arrays, list(columns))


def as_text(value: Any) -> str | None:
    """A JSON value as the text that databases write for it.

    >>> as_text(True), as_text(12.5), as_text("a"), as_text({"b": 1})
    ('true', '12.5', 'a', '{"b":1}')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02X}" for byte in value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return str(value)


@dataclass
class _Collected:
    """Changes of one table."""

    table: Table
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    deleted: list[bool] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def add(self, event: Mapping[str, Any], message: Message) -> None:
        op = event.get("op", "upsert")
        if op not in (*_PUTS, "delete"):
            raise _EventError("event.op")
        sequence = event.get("sequence", message.sequence)
        if type(sequence) is not int or not -(1 << 63) <= sequence < 1 << 63:
            raise _EventError("event.sequence")
        id_ = event.get("id", message.id)
        if type(id_) not in (str, int):
            raise _EventError("event.id")
        row = self._row(event, op == "delete")
        self.rows.append(row)
        self.sequence.append(sequence)
        self.deleted.append(op == "delete")
        self.ids.append(str(id_))

    def changes(self) -> Changes:
        columns = [column.name for column in self.table.columns]
        rows = text_rows(self.rows, columns)
        sequence, deleted = np.array(self.sequence, np.int64), np.array(self.deleted, np.bool_)
        return Changes(self.table.name, rows, sequence, deleted, None if self.table.key else tuple(self.ids))

    def _row(self, event: Mapping[str, Any], deleted: bool) -> Mapping[str, Any]:
        key, values = event.get("key"), event.get("values")
        if deleted and not self.table.key:
            raise _EventError("event.key")
        if key is not None and not isinstance(key, dict):  # a single value, or a list in the order of the key
            parts = key if isinstance(key, list) else [key]
            if len(parts) != len(self.table.key):
                raise _EventError("event.key")
            key = dict(zip(self.table.key, parts, strict=True))
        if values is not None and not isinstance(values, dict):
            raise _EventError("event.values")
        row = {**(values or {}), **(key or {})}
        if deleted and any(row.get(name) is None for name in self.table.key):
            raise _EventError("event.key")
        if not deleted and values is None:
            raise _EventError("event.values")
        return row


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _EventError("event.json") from None
    if not isinstance(event, dict):
        raise _EventError("event.json")
    return event


def _table(event: Mapping[str, Any], schema: Schema) -> Table:
    name = event.get("table")
    if not isinstance(name, str) or not schema.has_table(name):
        raise _EventError("event.table")
    return schema.table(name)
