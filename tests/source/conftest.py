"""A source made of Arrow tables, for tests of what comes after reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pytest

from kincast.errors import SourceError
from kincast.schema import Column, Schema, Table
from kincast.source.base import guess_semantic

_STORED = {
    "int64": "BIGINT",
    "int32": "INTEGER",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "timestamp[us]": "TIMESTAMP",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    "date32[day]": "DATE",
    "time64[us]": "TIME",
    "list<item: string>": "VARCHAR[]",
    "null": "VARCHAR",
}


class ArrowSource:
    """Rows held in memory; ``fail_after`` batches reading breaks off."""

    url = "memory"

    def __init__(self, tables: dict[str, pa.Table], fail_after: int | None = None) -> None:
        self.tables = tables
        self.fail_after = fail_after

    def inspect(self) -> Schema:
        return Schema(
            tuple(
                Table(
                    name,
                    tuple(
                        Column(f.name, guess_semantic(_STORED[str(f.type)]), _STORED[str(f.type)]) for f in rows.schema
                    ),
                )
                for name, rows in self.tables.items()
            )
        )

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        rows = self.tables[table].select(list(columns or self.tables[table].column_names))

        def batches() -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(rows.to_batches(max_chunksize=max(7, rows.num_rows // 20))):
                if number == self.fail_after:
                    raise SourceError("the line went dead", where="memory")
                yield batch

        return pa.RecordBatchReader.from_batches(rows.schema, batches())

    def write(self, table: str, rows: pa.Table) -> None:
        raise SourceError("cannot be written", where="memory")


@pytest.fixture
def arrow_source() -> Callable[..., ArrowSource]:
    """Makes a source from Arrow tables or dicts of lists."""

    def make(tables: dict[str, pa.Table | dict[str, list[object]]], fail_after: int | None = None) -> ArrowSource:
        made = {name: rows if isinstance(rows, pa.Table) else pa.table(rows) for name, rows in tables.items()}
        return ArrowSource(made, fail_after)

    return make
