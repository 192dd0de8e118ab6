"""Pull: new rows of any database, found by a time column that only grows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from kincast.clock import SECOND_US, Span
from kincast.errors import SchemaError, SourceError
from kincast.schema import Schema, Table
from kincast.source.base import Source, first_line, quote
from kincast.source.cast import value_sql
from kincast.source.change import Changes, Delivery

OVERLAP = Span(5, "minutes")
EVERY = Span(5, "seconds")


class PulledChanges:
    """A ``ChangeStream`` that asks a database again and again for rows later than the latest it has seen.

    Each table is followed by one column: the one named, else the time of its rows. Of a row that is there twice the
    one with the later value holds, so a column such as ``updated_at`` brings changed rows, and the time of a row's
    making new ones only. Deleted rows are not noticed. Tables without such a column are not followed.

    The sequence of a change is the value of its column; a position is the latest value of each table.

    Args:
        source: the database.
        schema: the card.
        columns: table → column to follow it by.
        overlap: rows that are written up to this much later than their column says are still found.
        every: how often the database is asked.

    Raises:
        SchemaError: ``columns`` names what the card does not have.
    """

    def __init__(
        self,
        source: Source,
        schema: Schema,
        columns: Mapping[str, str] | None = None,
        overlap: Span = OVERLAP,
        every: Span = EVERY,
    ) -> None:
        self.name = "pull"
        self.source, self.schema = source, schema
        self.quarantined: dict[str, str] = {}
        self.columns = _followed(schema, columns or {})
        self._overlap_us, self._every_s = overlap.approx_us, every.approx_us / SECOND_US
        self._seen: dict[str, dict[str, int]] = {}

    def prepare(self, position: str | None) -> str:
        """See ``ChangeStream.prepare``; what was changed long ago is read once more at the very start."""
        return position or ""

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """See ``ChangeStream.deliveries``; a delivery is what one round of questions brought."""
        marks: dict[str, int] = json.loads(position or "{}")
        self._seen = {}
        while True:
            started_s = time.monotonic()
            changes = []
            for table, column in self.columns.items():
                found = self._ask(self.schema.table(table), column, marks)
                if found is not None:
                    changes.append(found)
            if changes:
                position = json.dumps(marks, sort_keys=True)
                newest_us = max(int(found.sequence.max()) for found in changes)
                yield Delivery(self.name, position, tuple(changes), committed_us=newest_us)
            else:
                yield None
            time.sleep(max(0.0, started_s + self._every_s - time.monotonic()))

    def acknowledge(self, position: str) -> None:
        """Nothing: the database does not keep anything for us."""

    def close(self) -> None:
        """Nothing is held open."""

    def _ask(self, table: Table, column: str, marks: dict[str, int]) -> Changes | None:
        """Rows that were not handed over yet; moves the table's mark."""
        mark = marks.get(table.name)
        since = None if mark is None else mark - self._overlap_us
        stored = table.column(column).stored
        by_source = since is not None and (stored == "DATE" or stored.startswith("TIMESTAMP"))
        rows = self.source.scan(
            table.name,
            [c.name for c in table.columns],
            since=since if by_source else None,
            time=column if by_source else None,
        ).read_all()
        times, texts = self._read(rows, table, column)
        seen = self._seen.setdefault(table.name, {})
        chosen: list[int] = []
        ids: list[str] = []
        now: dict[str, int] = {}
        occurred: dict[str, int] = {}
        for i, (at, text) in enumerate(zip(times, texts, strict=True)):
            if at is None or (since is not None and at <= since):
                continue
            # Equal rows have equal times, so that all of them are read again, or none.
            occurred[text] = occurred.get(text, -1) + 1
            id_ = f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.{occurred[text]}"
            now[id_] = at
            if id_ not in seen:
                chosen.append(i)
                ids.append(id_)
        latest = max(now.values(), default=None)
        if latest is not None:
            marks[table.name] = max(mark or latest, latest)
        floor = marks.get(table.name, 0) - self._overlap_us
        self._seen[table.name] = {id_: at for id_, at in now.items() if at > floor}
        if not chosen:
            return None
        sequence = np.array([times[i] for i in chosen], np.int64)
        told = None if table.key else tuple(ids)
        return Changes(table.name, rows.take(pa.array(chosen)), sequence, np.zeros(len(chosen), np.bool_), told)

    def _read(self, rows: pa.Table, table: Table, column: str) -> tuple[list[int | None], list[str]]:
        """Per row the instant of its column, microseconds UTC, and a text that equal rows have in common."""
        try:
            with duckdb.connect() as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.register("incoming", rows)
                arrives = {row[0]: row[1] for row in connection.execute("DESCRIBE incoming").fetchall()}
                moment = value_sql(quote(column), arrives[column], table.column(column))
                parts = ", ".join(quote(c.name) for c in table.columns)
                sql = f"SELECT epoch_us(CAST({moment} AS TIMESTAMP)), CAST(row({parts}) AS VARCHAR) FROM incoming"
                found: Any = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            what = f"table {table.name} cannot be followed by {column}: {first_line(error)}"
            raise SourceError(what, where=self.source.url) from None
        return found.column(0).to_pylist(), found.column(1).to_pylist()


def _followed(schema: Schema, columns: Mapping[str, str]) -> dict[str, str]:
    for name, column in columns.items():
        schema.table(name).column(column)
    found = {}
    for table in schema:
        own = table.time.column if table.time is not None and table.time.column else None
        followed = columns.get(table.name, own)
        if followed is not None:
            found[table.name] = followed
    if not found:
        raise SchemaError(
            "no table has a time column to follow it by", hint="name one in kincast.yaml: live.columns: {TABLE: COLUMN}"
        )
    return found
