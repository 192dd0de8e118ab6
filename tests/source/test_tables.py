"""From a source to cleaned rows in time order."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kincast.clock import Span
from kincast.errors import DataError, SchemaError, SnapshotError, SourceError, StorageError
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.clean import RowCounts
from kincast.source.tables import Tables, open_tables, stage

MakeSource = Callable[..., Source]
ID, TIME, NUMBER, TEXT = SemanticType.ID, SemanticType.TIMESTAMP, SemanticType.NUMERICAL, SemanticType.TEXT


def table(name: str, columns: str, key: str = "", time: RowTime | None = None, end_time: str | None = None) -> Table:
    """``table("t", "id:id:BIGINT at:timestamp:VARCHAR:epoch_s")``."""
    made = []
    for column in columns.split():
        parts = column.split(":", 3)
        stored = parts[2].replace("_", " ")
        made.append(Column(parts[0], SemanticType(parts[1]), stored, parts[3] if len(parts) == 4 else None))
    return Table(name, tuple(made), tuple(key.split()), time, end_time)


def rows_of(tables: Tables, name: str, columns: str = "*") -> list[tuple[Any, ...]]:
    with tables.connect() as connection:
        quoted = name.replace('"', '""')
        return connection.execute(f'SELECT {columns} FROM "{quoted}" ORDER BY _row').fetchall()


def test_rows_come_in_time_order_ties_by_key(arrow_source: MakeSource, tmp_path: Path) -> None:
    at = [datetime(2024, 1, 2), datetime(2024, 1, 1), datetime(2024, 1, 2)]
    source = arrow_source({"t": {"id": [9, 5, 3], "at": at}})
    schema = Schema((table("t", "id:id:BIGINT at:timestamp:TIMESTAMP", "id", RowTime("at")),))
    with stage(source, schema, tmp_path / "s") as tables:
        assert rows_of(tables, "t", "id, _row, _time, _end") == [
            (5, 0, at[1], None),
            (3, 1, at[0], None),
            (9, 2, at[0], None),
        ]
        assert tables.num_rows("t") == 3
        assert pq.read_table(tables.path("t")).column("id").to_pylist() == [5, 3, 9]
        with tables.connect() as connection:
            described = {row[0]: row[1] for row in connection.execute("DESCRIBE t").fetchall()}
    assert described == {"id": "BIGINT", "at": "TIMESTAMP", "_time": "TIMESTAMP", "_end": "TIMESTAMP", "_row": "BIGINT"}


def test_every_rule_of_rejection(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "orders": {
                "id": [1, 2, None, 4, 5, 1],
                "at": ["2024-01-02", "2024-01-01", "2024-01-01", None, "soon", "2024-01-01"],
            },
            "lines": {"line": ["a", "b", "c", "d", "a"], "order": [1, 2, 77, None, 2]},
        }
    )
    schema = Schema(
        (
            table("lines", "line:id:VARCHAR order:id:BIGINT", "line", RowTime(via="order")),
            table("orders", "id:id:BIGINT at:timestamp:VARCHAR", "id", RowTime("at")),
        ),
        (Link("lines", ("order",), "orders", ("id",)),),
    )
    with stage(source, schema, tmp_path / "s") as tables:
        orders, lines = tables.counts["orders"], tables.counts["lines"]
        assert orders.read == 6
        assert orders.kept == 2
        assert orders.rejected == {"key.null": 1, "key.duplicate": 1, "time.missing": 1, "time.unreadable": 1}
        # Of two rows with key 1 the earlier stays.
        assert rows_of(tables, "orders", "id, CAST(_time AS DATE)") == [(1, date(2024, 1, 1)), (2, date(2024, 1, 1))]
        assert lines.rejected == {"time.no_parent": 2, "key.duplicate": 1}
        assert rows_of(tables, "lines", "line") == [("a",), ("b",)]
        rejected = tables.rejected_path("orders")
        assert rejected is not None
        found = {(row["id"], row["at"], row["_rule"]) for row in pq.read_table(rejected).to_pylist()}
        assert found == {
            (None, "2024-01-01", "key.null"),
            (1, "2024-01-02", "key.duplicate"),
            (4, None, "time.missing"),
            (5, "soon", "time.unreadable"),
        }


def test_unreadable_values_become_null_and_are_counted(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "t": {
                "n": ["1", "2.5", "x", None, "1e3", " 7 "],
                "f": ["1.5", "inf", "nan", "-Infinity", "", "9"],
                "d": ["2024-01-31", "2024-13-01", "31.01.2024", None, "0001-01-01", "9999-12-31"],
                "g": [1.0, float("nan"), float("inf"), None, 2.0, 3.0],
            }
        }
    )
    schema = Schema((table("t", "n:numerical:BIGINT f:numerical:DOUBLE d:timestamp:DATE g:numerical:DOUBLE"),))
    with stage(source, schema, tmp_path / "s") as tables:
        found = rows_of(tables, "t", "n, f, g")
        # NaN is a missing value; 2.5 is no whole number and must not be rounded to one.
        assert dict(tables.counts["t"].unreadable) == {"n": 2, "f": 3, "d": 2, "g": 1}
        assert tables.counts["t"].samples["n"] == ("2.5", "x")
        assert {row[0] for row in found} == {1, 1000, 7, None}
        assert {row[2] for row in found} == {1.0, 2.0, 3.0, None}


def test_formats_of_time(arrow_source: MakeSource, tmp_path: Path) -> None:
    moment = datetime(2024, 2, 29, 12, 30, 15)
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    source = arrow_source(
        {
            "t": pa.table(
                {
                    "s": [seconds],
                    "ms": [seconds * 1000],
                    "us": [seconds * 1_000_000],
                    "f": [seconds + 0.5],
                    "text": ["29/02/2024 12:30:15"],
                    "zone": ["2024-02-29T14:30:15+02:00"],
                    "ymd": [20240229],
                    "tz": pa.array([moment.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")),
                    "day": [date(2024, 2, 29)],
                }
            )
        }
    )
    schema = Schema(
        (
            Table(
                "t",
                (
                    Column("s", TIME, "BIGINT", "epoch_s"),
                    Column("ms", TIME, "BIGINT", "epoch_ms"),
                    Column("us", TIME, "BIGINT", "epoch_us"),
                    Column("f", TIME, "DOUBLE", "epoch_s"),
                    Column("text", TIME, "VARCHAR", "%d/%m/%Y %H:%M:%S"),
                    Column("zone", TIME, "VARCHAR"),
                    Column("ymd", TIME, "BIGINT", "%Y%m%d"),
                    Column("tz", TIME, "TIMESTAMP WITH TIME ZONE"),
                    Column("day", TIME, "DATE"),
                ),
            ),
        )
    )
    with stage(source, schema, tmp_path / "s") as tables:
        row = rows_of(tables, "t", "s, ms, us, f, text, zone, ymd, tz, day")[0]
    midnight = datetime(2024, 2, 29)
    assert row == (
        moment,
        moment,
        moment,
        moment.replace(microsecond=500_000),
        moment,
        moment,
        midnight,
        moment,
        midnight,
    )


def test_times_at_the_ends_of_the_calendar(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "t": pa.table(
                {
                    "id": [1, 2, 3, 4],
                    "at": pa.array([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), None, None]),
                    "big": [10**17, 0, 9_223_372_036_854_775_807, -(10**15)],
                }
            )
        }
    )
    columns = "id:id:BIGINT at:timestamp:TIMESTAMP big:timestamp:BIGINT:epoch_s"
    with stage(source, Schema((table("t", columns, "id", RowTime("at")),)), tmp_path / "a") as tables:
        assert rows_of(tables, "t", "id, epoch_us(_time)") == [
            (1, -62_135_596_800_000_000),
            (2, 253_402_300_799_999_999),
        ]
        assert tables.counts["t"].unreadable == {"big": 3}
    late = Schema((table("t", columns, "id", RowTime("at", shift=Span(1, "days"))),))
    with stage(source, late, tmp_path / "b") as tables:
        assert tables.counts["t"].rejected == {"time.missing": 2, "time.unreadable": 1}


def test_clock_shift_and_two_hops(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "races": pa.table(
                {
                    "race": [1, 2],
                    "day": [date(2024, 3, 31), date(2024, 4, 7)],
                    "start": pa.array([time(14, 0), None], pa.time64("us")),
                }
            ),
            "results": {"result": [10, 20], "race": [1, 2]},
            "stops": {"stop": [100, 200], "result": [10, 20]},
        }
    )
    schema = Schema(
        (
            table("stops", "stop:id:BIGINT result:id:BIGINT", "stop", RowTime(via="result", shift=Span(-1, "months"))),
            table("results", "result:id:BIGINT race:id:BIGINT", "result", RowTime(via="race")),
            table("races", "race:id:BIGINT day:timestamp:DATE start:ignored:TIME", "race", RowTime("day", "start")),
        ),
        (Link("stops", ("result",), "results", ("result",)), Link("results", ("race",), "races", ("race",))),
    )
    with stage(source, schema, tmp_path / "s") as tables:
        expected = [datetime(2024, 3, 31, 14), datetime(2024, 4, 7)]
        assert rows_of(tables, "races", "_time") == rows_of(tables, "results", "_time") == [(t,) for t in expected]
        # The day is clipped to the month's end, as in kincast.clock.
        assert rows_of(tables, "stops", "_time") == [(datetime(2024, 2, 29, 14),), (datetime(2024, 3, 7),)]


@pytest.mark.parametrize(
    ("foreign", "key"),
    [
        (pa.array(["7", " 7", "x", None]), pa.array([7, 8])),
        (pa.array([7, 7, 9, None]), pa.array(["7", "8"])),
        (pa.array([7.0, 7.0, 7.5, None]), pa.array(["7", "8"])),
        (pa.array([7.0, 7.0, 7.5, None]), pa.array([7, 8])),
    ],
)
def test_links_between_text_and_numbers(
    arrow_source: MakeSource, tmp_path: Path, foreign: pa.Array, key: pa.Array
) -> None:
    at = pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2)])
    source = arrow_source({"a": pa.table({"b": foreign}), "b": pa.table({"id": key, "at": at})})
    declared = source.inspect()
    schema = Schema(
        (
            Table("a", declared.table("a").columns, (), RowTime(via="b")),
            Table("b", declared.table("b").columns, ("id",), RowTime("at")),
        ),
        (Link("a", ("b",), "b", ("id",)),),
    )
    with stage(source, schema, tmp_path / "s") as tables:
        assert tables.counts["a"].kept == 2
        assert tables.counts["a"].rejected == {"time.no_parent": 2}


def test_composite_links_with_null_parts(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "games": {"day": [date(2024, 1, 1)] * 2, "home": ["A", "B"]},
            "goals": {"day": [date(2024, 1, 1), None, date(2024, 1, 1)], "home": ["B", "B", None]},
        }
    )
    columns = "day:timestamp:DATE home:categorical:VARCHAR"
    schema = Schema(
        (table("goals", columns, "", RowTime(via="day")), table("games", columns, "day home", RowTime("day"))),
        (Link("goals", ("day", "home"), "games", ("day", "home")),),
    )
    with stage(source, schema, tmp_path / "s") as tables:
        assert tables.counts["goals"].rejected == {"time.no_parent": 2}


def test_names_are_kept_to_the_letter(arrow_source: MakeSource, tmp_path: Path) -> None:
    names = ["two words", 'quo"te', "a.b", "ünïcode 表", "semi;colon", "../up", "select"]
    source = arrow_source({name: {f"{name} x": [1]} for name in names})
    with stage(source, source.inspect(), tmp_path / "s") as tables, tables.connect() as connection:
        for name in names:
            quoted = name.replace('"', '""')
            assert connection.execute(f'SELECT "{quoted} x", _row FROM "{quoted}"').fetchall() == [(1, 0)]
            assert tables.path(name).parent == tmp_path / "s"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_empty_tables_and_lists(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source(
        {
            "empty": pa.table({"id": pa.array([], pa.int64()), "at": pa.array([], pa.timestamp("us"))}),
            "lists": pa.table({"l": pa.array([["b", None], None, []], pa.list_(pa.string()))}),
        }
    )
    schema = Schema(
        (
            table("empty", "id:id:BIGINT at:timestamp:TIMESTAMP", "id", RowTime("at")),
            table("lists", "l:multicategorical:VARCHAR[]"),
        )
    )
    with stage(source, schema, tmp_path / "s") as tables:
        assert tables.num_rows("empty") == 0
        assert rows_of(tables, "empty") == []
        assert rows_of(tables, "lists", "l") == [([],), (["b", None],), (None,)]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_order_of_the_source_does_not_show(arrow_source: MakeSource, tmp_path: Path) -> None:
    draw = random.Random(3)
    ids = [draw.randrange(400) for _ in range(500)]  # with duplicates
    at = [datetime(2024, 1, draw.randrange(1, 5)) if draw.random() > 0.1 else None for _ in ids]
    rows = pa.table({"id": ids, "at": at, "v": [draw.random() for _ in ids]})
    loose = pa.table({"x": [draw.randrange(3) for _ in ids], "y": ["ab"[draw.randrange(2)] for _ in ids]})
    schema = Schema(
        (
            table("t", "id:id:BIGINT at:timestamp:TIMESTAMP v:numerical:DOUBLE", "id", RowTime("at")),
            table("loose", "x:numerical:BIGINT y:text:VARCHAR"),
        )
    )
    order = list(range(500))
    found = []
    for number in range(3):
        source = arrow_source({"t": rows.take(order), "loose": loose.take(order)})
        with stage(source, schema, tmp_path / str(number)):
            found.append(_digests(tmp_path / str(number)))
        draw.shuffle(order)
    assert found[0] == found[1] == found[2]
    assert "rejected/t.parquet" in found[0]


def test_more_rows_than_a_row_group(arrow_source: MakeSource, tmp_path: Path) -> None:
    count = 130_000
    at = pa.array(range(count, 0, -1), pa.int64()).cast(pa.timestamp("us"))
    source = arrow_source({"t": pa.table({"id": pa.array(range(count)), "at": at})})
    source.tables["t"] = source.tables["t"].combine_chunks()  # type: ignore[attr-defined]
    schema = Schema((table("t", "id:id:BIGINT at:timestamp:TIMESTAMP", "id", RowTime("at")),))
    with stage(source, schema, tmp_path / "s") as tables:
        written = pq.ParquetFile(tables.path("t"))
        assert [written.metadata.row_group(i).num_rows for i in range(2)] == [122_880, 7_120]
        with tables.connect() as connection:
            wrong = connection.execute("SELECT count(*) FROM t WHERE _row + id != ?", [count - 1]).fetchone()
    assert wrong == (0,)


def test_end_times(arrow_source: MakeSource, tmp_path: Path) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    source = arrow_source({"t": {"start": days, "stop": [None, date(2024, 2, 1)]}})
    schema = Schema((table("t", "start:timestamp:DATE stop:timestamp:DATE", "", RowTime("start"), "stop"),))
    with stage(source, schema, tmp_path / "s") as tables:
        assert rows_of(tables, "t", "_end") == [(None,), (datetime(2024, 2, 1),)]


def test_a_source_that_breaks_off_leaves_nothing(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"i": list(range(50))}}, fail_after=3)
    with pytest.raises(SourceError, match="the line went dead"):
        stage(source, source.inspect(), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(arrow_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = arrow_source({"t": {"i": [1]}})
    monkeypatch.setattr("kincast.source.parquet.pq.ParquetWriter.write_table", full)
    with pytest.raises(StorageError, match="No space left on device"):
        stage(source, source.inspect(), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_duckdb_writes(
    arrow_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise duckdb.Error("IO Error: Could not write file: No space left on device")

    source = arrow_source({"t": {"i": [1]}})
    monkeypatch.setattr("kincast.source.clean.Cleaning.run", full)
    with pytest.raises(StorageError, match="the disk refused"):
        stage(source, source.inspect(), tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(arrow_source: MakeSource, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine").write_text("precious")
    source = arrow_source({"t": {"i": [1]}})
    with pytest.raises(StorageError, match="already there"):
        stage(source, source.inspect(), tmp_path / "s")
    assert (tmp_path / "s" / "mine").read_text() == "precious"


@pytest.mark.parametrize("name", ["_row", "_TIME", "_end", "_rule", "file_row_number"])
def test_reserved_column_names(arrow_source: MakeSource, tmp_path: Path, name: str) -> None:
    source = arrow_source({"t": {name: [1]}})
    with pytest.raises(SchemaError, match="for itself") as caught:
        stage(source, source.inspect(), tmp_path / "s")
    assert caught.value.where == f"t.{name}"


def test_a_time_from_a_table_without_time(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"a": {"b": [1]}, "b": {"id": [1]}})
    schema = Schema(
        (table("a", "b:id:BIGINT", "", RowTime(via="b")), table("b", "id:id:BIGINT", "id")),
        (Link("a", ("b",), "b", ("id",)),),
    )
    with pytest.raises(SchemaError, match="b has no time"):
        stage(source, schema, tmp_path / "s")


def test_a_stored_type_that_does_not_exist(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"i": ["1"]}})
    for stored in ("BIGINTEGER", "INT); DROP TABLE x; --"):
        schema = Schema((Table("t", (Column("i", NUMBER, stored),)),))
        with pytest.raises(SchemaError, match="stored type"):
            stage(source, schema, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_open_tables_again(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"i": ["1", "x"]}})
    schema = Schema((Table("t", (Column("i", NUMBER, "BIGINT"),)),))
    with stage(source, schema, tmp_path / "s") as first:
        counts = first.counts
    with open_tables(schema, tmp_path / "s") as tables:
        assert tables.counts == counts
        assert rows_of(tables, "t", "i") == [(1,), (None,)]
    tables.path("t").unlink()
    with pytest.raises(SnapshotError, match="rows of table t are missing"):
        open_tables(schema, tmp_path / "s")
    (tmp_path / "s" / "counts.json").write_text("{")
    with pytest.raises(SnapshotError, match="cannot be read"):
        open_tables(schema, tmp_path / "s")
    with pytest.raises(SnapshotError, match="no staged tables"):
        open_tables(schema, tmp_path / "nowhere")


def test_rows_that_get_lost_are_an_error() -> None:
    with pytest.raises(DataError, match=r"5 rows were read but 3 kept and rejected: 1 by key\.null"):
        RowCounts("t.parquet", 5, 3, {"key.null": 1})


KEYS = st.one_of(st.none(), st.integers(0, 5))
DATES = st.one_of(st.none(), st.sampled_from(["2024-01-01", "2024-01-02", "soon", "10000-01-01"]))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=st.lists(st.tuples(KEYS, DATES), max_size=12), lines=st.lists(st.tuples(KEYS, KEYS), max_size=12))
def test_no_row_is_lost_and_the_kept_ones_are_in_order(
    arrow_source: MakeSource, tmp_path_factory: pytest.TempPathFactory, orders: list[Any], lines: list[Any]
) -> None:
    source = arrow_source(
        {
            "orders": pa.table(
                {
                    "id": pa.array([o[0] for o in orders], pa.int64()),
                    "at": pa.array([o[1] for o in orders], pa.string()),
                }
            ),
            "lines": pa.table(
                {
                    "id": pa.array([x[0] for x in lines], pa.int64()),
                    "order": pa.array([x[1] for x in lines], pa.int64()),
                }
            ),
        }
    )
    schema = Schema(
        (
            table("orders", "id:id:BIGINT at:timestamp:VARCHAR", "id", RowTime("at")),
            table("lines", "id:id:BIGINT order:id:BIGINT", "id", RowTime(via="order")),
        ),
        (Link("lines", ("order",), "orders", ("id",)),),
    )
    with stage(source, schema, tmp_path_factory.mktemp("p") / "s") as tables:
        for name, given_rows in (("orders", orders), ("lines", lines)):
            counts = tables.counts[name]
            assert counts.read == len(given_rows) == counts.kept + sum(counts.rejected.values())
            found = rows_of(tables, name, "_time, id, _row")
            assert [row[2] for row in found] == list(range(counts.kept))
            assert found == sorted(found)
            assert len({row[1] for row in found}) == counts.kept
        kept = {row[0] for row in rows_of(tables, "orders", "id")}
        assert kept == {key for key, at in orders if key is not None and at in ("2024-01-01", "2024-01-02")}
        assert {row[0] for row in rows_of(tables, "lines", '"order"')} <= kept
