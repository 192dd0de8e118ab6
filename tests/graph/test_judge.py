"""Changes are judged as the rows of a build are: what one keeps, rejects or cannot read, so does the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kincast.clock import Span
from kincast.errors import DataError
from kincast.graph.judge import NO_TIME_US, Judge
from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.source.cast import foreign_as_key_sql, same_key_sql
from kincast.source.change import Changes
from kincast.source.open import open_source
from kincast.source.tables import stage

_WORDS = st.sampled_from(
    ["1", "2", " 3", "7.0", "2.5", "", "x", "nan", "2024-01-05", "01/02/2024", "99999999999999999"]
)
_TYPES = [("BIGINT", None), ("DOUBLE", None), ("VARCHAR", None), ("DATE", None), ("BOOLEAN", None)]


def schema_of(key: bool, time: RowTime | None, stored: str) -> Schema:
    columns = (
        Column("k", SemanticType.ID, "INTEGER"),
        Column("v", SemanticType.NUMERICAL, stored),
        Column("t", SemanticType.TIMESTAMP, "VARCHAR", "%d/%m/%Y" if stored == "DATE" else None),
        Column("c", SemanticType.IGNORED, "VARCHAR"),
    )
    return Schema((Table("rows", columns, ("k",) if key else (), time, "t" if time is None else None),))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.one_of(st.none(), _WORDS)] * 4), max_size=8),
    stored=st.sampled_from([name for name, _ in _TYPES]),
    time=st.sampled_from(
        [None, RowTime(column="t"), RowTime(column="t", clock="c"), RowTime(column="t", shift=Span(-1, "days"))]
    ),
    key=st.booleans(),
)
def test_as_a_build_does(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, stored: str, time: RowTime | None, key: bool
) -> None:
    folder = tmp_path_factory.mktemp("judge")
    schema = schema_of(key, time, stored)
    with duckdb.connect(str(folder / "rows.duckdb")) as connection:
        connection.execute("CREATE TABLE rows (k VARCHAR, v VARCHAR, t VARCHAR, c VARCHAR)")
        if rows:
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
    staged = stage(open_source(str(folder / "rows.duckdb")), schema, folder / "staged")
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    table = pa.table([pa.array(column, pa.string()) for column in columns], ["k", "v", "t", "c"])
    ids = None if key else tuple(map(str, range(len(rows))))
    changes = Changes("rows", table, np.arange(len(rows)), np.zeros(len(rows), bool), ids)
    judged = Judge(schema).judge(changes)
    counts = staged.counts["rows"]
    assume("key.duplicate" not in counts.rejected)  # the newer change holds, which a build cannot know
    assert dict(Counter(rule for rule in judged.rules.to_pylist() if rule)) == dict(counts.rejected)
    assert len(judged.accepted()) == counts.kept
    assert judged.unreadable == dict(counts.unreadable)
    assert judged.samples == dict(counts.samples)
    accepted = ~judged.is_rejected
    kept = pq.read_table(staged.path("rows"))
    ours = judged.rows.filter(pa.array(accepted))
    theirs = kept.select(ours.column_names)
    assert sorted(map(repr, ours.to_pylist())) == sorted(map(repr, theirs.to_pylist()))
    times = kept["_time"].cast(pa.int64()).to_pylist()
    assert sorted(judged.time_us[accepted]) == sorted(NO_TIME_US if time is None else at for at in times)


def test_a_deleted_row_needs_its_key_only() -> None:
    judge = Judge(schema_of(True, RowTime(column="t"), "DOUBLE"))
    rows = pa.table({"k": [1, 2, None]})
    judged = judge.judge(Changes("rows", rows, np.arange(3), np.array([True, False, True])))
    assert judged.rules.to_pylist() == [None, "time.missing", "key.null"]
    assert judged.rejected().to_pydict() == {"k": [2, None], "_rule": ["time.missing", "key.null"]}


def test_equal_contents_are_equal_rows() -> None:
    judge = Judge(schema_of(True, None, "DOUBLE"))
    rows = pa.table({"k": ["1", "2", "1", None], "v": ["7", "7.0", "7.0", "7"], "t": ["2024-01-05"] * 4})
    judged = judge.judge(Changes("rows", rows, np.arange(4), np.zeros(4, bool)))
    contents = judge.contents("rows", judged.rows).to_pylist()
    assert contents[0] == contents[2]
    assert len(set(contents)) == 3
    assert judge.contents("rows", judged.rows.slice(1, 1)).to_pylist() == contents[1:2]


def test_ids_and_keys_exclude_each_other() -> None:
    rows = pa.table({"k": [1]})
    with pytest.raises(DataError, match="told apart by its key"):
        Judge(schema_of(True, None, "DOUBLE")).judge(Changes("rows", rows, np.zeros(1), np.zeros(1, bool), ("a",)))
    with pytest.raises(DataError, match="needs an id"):
        Judge(schema_of(False, None, "DOUBLE")).judge(Changes("rows", rows, np.zeros(1), np.zeros(1, bool)))
    with pytest.raises(DataError, match="only be added"):
        Judge(schema_of(False, None, "DOUBLE")).judge(Changes("rows", rows, np.zeros(1), np.ones(1, bool), ("a",)))


_VALUES = {
    "INTEGER": ["0", "7", "-3", "NULL"],
    "BIGINT": ["0", "7", "99999999999", "NULL"],
    "DOUBLE": ["0.0", "7.0", "7.5", "NULL"],
    "DECIMAL(6,2)": ["7.00", "7.50", "NULL"],
    "VARCHAR": ["'7'", "' 7'", "'7.0'", "'07'", "'2024-01-05'", "'true'", "'x'", "NULL"],
    "DATE": ["'2024-01-05'", "NULL"],
    "TIMESTAMP": ["'2024-01-05 00:00:00'", "'2024-01-05 10:00:00'", "NULL"],
    "BOOLEAN": ["true", "false", "NULL"],
    "UUID": [],
}


def test_the_key_that_is_named_is_the_key_that_is_the_same() -> None:
    with duckdb.connect() as connection:
        for foreign_type, foreigns in _VALUES.items():
            for key_type, keys in _VALUES.items():
                for foreign in foreigns:
                    named = foreign_as_key_sql("f", foreign_type, key_type)
                    for key in keys:
                        row = f"SELECT CAST({foreign} AS {foreign_type}) AS f, CAST({key} AS {key_type}) AS k"
                        sql = f"SELECT coalesce({same_key_sql('f', foreign_type, 'k', key_type)}, false), "
                        sql += f"coalesce(({named}) = k, false) FROM ({row})"
                        one, other = connection.execute(sql).fetchone() or (0, 1)
                        assert one == other, (foreign_type, foreign, key_type, key)
