"""Replication: the changes of a PostgreSQL database's rows, by logical decoding."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa

from kincast.errors import SourceError
from kincast.schema import Schema, Table
from kincast.source.change import Changes, Delivery
from kincast.source.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
    format_lsn,
    parse_lsn,
    parse_message,
)
from kincast.source.postgres import PostgresSource
from kincast.source.slot import Slot
from kincast.source.text import text_column
from kincast.source.verdict import Look, names_changed_rows, notes, problem

POLL_S = 0.1
"""How often the server is asked for changes."""

LOOK_S = 5.0
"""How often the catalogue is looked at; also whenever a table of another shape is sent."""

_NUM_CHANGES = 20_000
_IDLE_BYTES = 4 << 20


class PostgresChanges:
    """A ``ChangeStream`` over a replication slot, read by SQL.

    The sequence of a change is the place of its record in the server's write-ahead log; two changes of one row are
    written in the order in which they hold. A position is the place behind the last whole transaction, and the tables
    that are quarantined: no change of theirs is taken any more until the rows are read again by a build.

    A value that an update left alone and that is stored out of line is not sent; it is read from the table, where it
    may already be a later one, whose own change then follows. So are values that the database computes.

    Args:
        source: the database.
        schema: the card; tables and columns that it leaves out are not followed.
        slot: name of the replication slot.
        publication: name of the publication.
    """

    def __init__(
        self, source: PostgresSource, schema: Schema, slot: str = "kincast", publication: str = "kincast"
    ) -> None:
        self.name = f"postgresql:{slot}"
        self.source, self.schema = source, schema
        self.quarantined: dict[str, str] = {}
        self._slot = Slot(source, slot, publication)
        self._look: Look | None = None
        self._looked_s = 0.0
        self._shapes: dict[int, Relation] = {}

    def prepare(self, position: str | None) -> str:
        """See ``ChangeStream.prepare``; makes publications and slot where they are missing, and ends quarantines.

        Raises:
            SourceError: the server does not keep what is needed, the user may not make it, or a table is not there.
        """
        look = self._fresh_look()
        for table in self.schema:
            if table.name not in look.places:
                hint = "take it out of schema.yaml"
                raise SourceError(f"table {table.name} is not there", where=self.source.url, hint=hint)
        whole = {t.name for t in self.schema if names_changed_rows(t, look)}
        start = self._slot.prepare(
            [look.places[t.name] for t in self.schema if t.name in whole],
            [look.places[t.name] for t in self.schema if t.name not in whole],
        )
        kept, _ = _read_position(position)
        return format_lsn(kept if kept is not None and start <= kept <= self._slot.flushed() else start)

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """See ``ChangeStream.deliveries``; a delivery is all whole transactions since the one before."""
        kept, self.quarantined = _read_position(position)
        at = self._slot.check(kept)
        self._slot.advance(at)
        self._look, self._shapes = None, {}
        limit = _NUM_CHANGES
        while True:
            started_s = time.monotonic()
            news = self._watch() if started_s - self._looked_s > LOOK_S or self._look is None else []
            flushed = self._slot.flushed()
            messages = self._slot.peek(limit)
            batch = self._gather(messages, at, news)
            if batch.end > at or batch.news:
                at, limit = max(at, batch.end), _NUM_CHANGES
                yield self._delivery(batch, at)
            elif len(messages) >= limit:
                limit *= 2  # what was not acknowledged yet comes again, and fills the answer
                continue
            elif flushed - at > _IDLE_BYTES:  # others wrote; their log must not be kept for us
                at = flushed
                yield self._delivery(batch, at)
            else:
                yield None
            if len(messages) < limit:
                time.sleep(max(0.0, started_s + POLL_S - time.monotonic()))

    def acknowledge(self, position: str) -> None:
        """See ``ChangeStream.acknowledge``."""
        at, _ = _read_position(position)
        if at is not None:
            self._slot.advance(at)

    def close(self) -> None:
        """See ``ChangeStream.close``."""
        self._slot.close()

    def _fresh_look(self) -> Look:
        self.source.refresh()
        schema = self.source.inspect()
        return Look(schema, self.source.places(), self._slot.identities(), self._slot.published())

    def _watch(self) -> list[str]:
        """Look at the catalogue; returns what changed, and quarantines tables that no longer fit their cards."""
        before, look = self._look, self._fresh_look()
        self._look, self._looked_s = look, time.monotonic()
        news = []
        for table in self.schema:
            verdict = problem(table, look, before)
            if verdict is not None:
                news += self._quarantine(table.name, verdict)
        return [*(notes(self.schema, before, look, self.quarantined) if before else ()), *news]

    def _quarantine(self, table: str, verdict: str) -> list[str]:
        if table in self.quarantined:
            return []
        self.quarantined[table] = verdict
        return [f"quarantined: {table}: {verdict}; it stands still until schema.yaml fits and kincast build has run"]

    def _gather(self, messages: Sequence[tuple[int, bytes]], after: int, news: list[str]) -> _Batch:
        """Take what the messages say of transactions that end behind a position."""
        batch = _Batch(news=news)
        waiting: list[tuple[int, Message]] = []
        for lsn, data in messages:
            message = parse_message(data)
            if isinstance(message, Begin):
                waiting = []
            elif not isinstance(message, Commit):
                waiting.append((lsn, message))
            else:
                is_new = message.end_lsn > after
                for place, change in waiting:
                    if is_new or isinstance(change, Relation):  # a shape is sent once and holds from then on
                        self._take(place, change, batch)
                if is_new:
                    batch.end, batch.committed_us = message.end_lsn, message.commit_us
        for rows in batch.rows.values():
            rows.complete(self._slot)
        return batch

    def _take(self, lsn: int, message: Message, batch: _Batch) -> None:
        match message:
            case Relation():
                batch.news += self._shape(message)
                batch.tables[message.oid] = self._rows_of(message, batch)
            case Truncate():
                for oid in message.relations:
                    rows = batch.tables.get(oid)
                    if rows is not None:
                        verdict = "it was emptied by TRUNCATE, which does not say which rows are gone"
                        batch.news += self._quarantine(rows.table.name, verdict)
            case Insert() | Update() | Delete():
                rows = batch.tables.get(message.relation)
                if rows is not None and rows.table.name not in self.quarantined:
                    reason = rows.add(lsn, message)
                    batch.news += self._quarantine(rows.table.name, reason) if reason else []

    def _shape(self, relation: Relation) -> list[str]:
        """Look at the catalogue again when a table is sent in another shape than before."""
        known = self._shapes.get(relation.oid)
        self._shapes[relation.oid] = relation
        return self._watch() if known is not None and known != relation else []

    def _rows_of(self, relation: Relation, batch: _Batch) -> _Rows | None:
        """Where changes of a relation are collected; None when they are not followed."""
        look = cast(Look, self._look)
        name = next((name for name, place in look.places.items() if place.oid == relation.oid), None)
        if name is None or not self.schema.has_table(name) or name in self.quarantined:
            return None
        table, place = self.schema.table(name), look.places[name]
        sent = {column.name: index for index, column in enumerate(relation.columns)}
        index = {}
        for column in table.columns:
            found = sent.get(place.columns.get(column.name, ""))
            if found is None and column.name not in place.generated:
                batch.news += self._quarantine(name, f"column {column.name} is not sent")
                return None
            index[column.name] = found
        return batch.rows.setdefault((name, relation), _Rows(table, relation, index, look))

    def _delivery(self, batch: _Batch, at: int) -> Delivery:
        changes = tuple(rows.changes() for rows in batch.rows.values() if len(rows.sequence))
        position = _write_position(at, self.quarantined)
        return Delivery(self.name, position, changes, tuple(batch.news), batch.committed_us)


@dataclass
class _Batch:
    """What came with one answer of the server.

    Attributes:
        end: place behind its last transaction; 0 without one.
        committed_us: when that was committed.
        news: sentences for the user.
        rows: what changed, by table and shape.
        tables: number of a relation → where its changes go; None when they are not followed.
    """

    end: int = 0
    committed_us: int | None = None
    news: list[str] = field(default_factory=list)
    rows: dict[tuple[str, Relation], _Rows] = field(default_factory=dict)
    tables: dict[int, _Rows | None] = field(default_factory=dict)


@dataclass
class _Rows:
    """Changes of one table while it has one shape.

    Attributes:
        table: its card.
        relation: its shape.
        index: column of the card → its place in a row that is sent; None where it never is.
        look: the catalogue.
    """

    table: Table
    relation: Relation
    index: dict[str, int | None]
    look: Look
    values: list[list[Value]] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    deleted: list[bool] = field(default_factory=list)

    def add(self, lsn: int, change: Insert | Update | Delete) -> str | None:
        """Take a change; returns why the table must be quarantined instead, or None."""
        if isinstance(change, Insert):
            self._append(self._row(change.new), lsn, False)
            return None
        if not self.table.key:
            return "rows were changed or deleted, and the card gives it no key to tell which"
        if change.old is not None and not change.whole and not self._is_identified():
            return f"its key {', '.join(self.table.key)} does not come with changed rows"
        if isinstance(change, Delete):
            self._append(self._row(change.old), lsn, True)
            return None
        new = self._row(change.new, change.old)
        if change.old is not None:
            old = self._row(change.old)
            if [old[i] for i in self._key] != [new[i] for i in self._key]:
                self._append(old, lsn, True)
        self._append(new, lsn, False)
        return None

    def complete(self, slot: Slot) -> None:
        """Read the values that were not sent; a row that is gone by now is left out, its deletion is to come."""
        partial = [
            i
            for i, row in enumerate(self.values)
            if not self.deleted[i] and UNCHANGED in row and all(isinstance(row[k], str) for k in self._key)
        ]
        if not partial or not self.table.key:
            return
        key = self.table.key
        keys = {i: tuple(str(self.values[i][k]) for k in self._key) for i in partial}
        found = slot.current_values(self.look.places[self.table.name], key, sorted(set(keys.values())))
        names = [column.name for column in self.table.columns]
        gone = set()
        for i in partial:
            now = found.get(keys[i])
            if now is None:
                gone.add(i)
                continue
            row = self.values[i]
            self.values[i] = [now[name] if v is UNCHANGED else v for name, v in zip(names, row, strict=True)]
        kept = [i for i in range(len(self.values)) if i not in gone]
        self.values = [self.values[i] for i in kept]
        self.sequence, self.deleted = [self.sequence[i] for i in kept], [self.deleted[i] for i in kept]

    def changes(self) -> Changes:
        """What was taken, as changes of the table."""
        types = {c.name: c.type_oid for c in self.relation.columns}
        place = self.look.places[self.table.name]
        arrays = []
        for i, column in enumerate(self.table.columns):
            values = [None if row[i] is UNCHANGED else cast(str | None, row[i]) for row in self.values]
            arrays.append(text_column(values, column, types.get(place.columns[column.name], 0)))
        rows = pa.table(arrays, [column.name for column in self.table.columns])
        ids = None if self.table.key else self._ids()
        sequence = np.array(self.sequence, np.int64)
        return Changes(self.table.name, rows, sequence, np.array(self.deleted, np.bool_), ids)

    @property
    def _key(self) -> list[int]:
        names = [column.name for column in self.table.columns]
        return [names.index(name) for name in self.table.key]

    def _is_identified(self) -> bool:
        places = [self.index[name] for name in self.table.key]
        return all(place is not None and self.relation.columns[place].is_key for place in places)

    def _row(self, sent: Row, old: Row | None = None) -> list[Value]:
        """Values in the order of the card; those that were not sent from the old row, where it is there whole."""
        row: list[Value] = []
        for place in self.index.values():
            value: Value = UNCHANGED if place is None else sent[place]
            if value is UNCHANGED and old is not None and place is not None and old[place] is not None:
                value = old[place]
            row.append(value)
        return row

    def _append(self, row: list[Value], lsn: int, deleted: bool) -> None:
        self.values.append(row)
        self.sequence.append(lsn)
        self.deleted.append(deleted)

    def _ids(self) -> tuple[str, ...]:
        # One record may hold several rows: they are told apart by their order in it.
        seen: dict[int, int] = {}
        ids = []
        for lsn in self.sequence:
            seen[lsn] = seen.get(lsn, -1) + 1
            ids.append(f"{format_lsn(lsn)}.{seen[lsn]}")
        return tuple(ids)


def _read_position(position: str | None) -> tuple[int | None, dict[str, str]]:
    """Place in the log, and quarantined tables with their verdicts."""
    if not position:
        return None, {}
    lsn, _, quarantined = position.partition(" ")
    try:
        values: Any = json.loads(quarantined or "{}")
        return parse_lsn(lsn), {str(table): str(verdict) for table, verdict in values.items()}
    except (ValueError, AttributeError):
        raise SourceError(f"'{position[:80]}' is no position of a PostgreSQL stream") from None


def _write_position(lsn: int, quarantined: dict[str, str]) -> str:
    text = json.dumps(quarantined, ensure_ascii=False, sort_keys=True)
    return f"{format_lsn(lsn)} {text}" if quarantined else format_lsn(lsn)
