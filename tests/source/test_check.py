"""The report on a database's rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kincast.clock import parse_instant
from kincast.report import Check, Report, Verdict
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.check import check_tables
from kincast.source.tables import stage

MakeSource = Callable[..., Source]
NOW = parse_instant("2024-06-01")


def typed(name: str, stored: str = "BIGINT", kind: SemanticType = SemanticType.NUMERICAL) -> Column:
    return Column(name, kind, stored)


ID = SemanticType.ID
AT = Column("at", SemanticType.TIMESTAMP, "TIMESTAMP")


def report(source: Source, schema: Schema, folder: Path) -> Report:
    with stage(source, schema, folder / "s") as tables:
        return check_tables(tables, now_us=NOW)


def find(found: Report, name: str, where: str) -> Check:
    (check,) = [check for check in found.checks if (check.name, check.where) == (name, where)]
    return check


def test_a_sound_database_passes(arrow_source: MakeSource, tmp_path: Path) -> None:
    days = [datetime(2024, 1, 1) + timedelta(i) for i in range(30)]
    source = arrow_source({"t": {"id": range(30), "at": days, "v": range(30)}})
    found = report(
        source, Schema((Table("t", (typed("id", kind=ID), AT, typed("v")), ("id",), RowTime("at")),)), tmp_path
    )
    assert found.verdict is Verdict.OK
    assert {check.name for check in found.checks} == {
        "rows.identity",
        "key.null",
        "key.duplicate",
        "time.missing",
        "time.unreadable",
        "time.future",
        "time.gap",
        "column.null_share",
    }
    assert find(found, "rows.identity", "t").message == "30 rows read = 30 kept + 0 rejected"


def test_rejected_rows_are_counted_with_samples(arrow_source: MakeSource, tmp_path: Path) -> None:
    ids = [*range(1000), 5, 7, None]
    days = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(1003)]
    source = arrow_source({"t": {"id": ids, "at": days}})
    found = report(source, Schema((Table("t", (typed("id", kind=ID), AT), ("id",), RowTime("at")),)), tmp_path)
    duplicate = find(found, "key.duplicate", "t.id")
    assert (duplicate.verdict, duplicate.value, duplicate.samples) == (Verdict.WARN, 2, ("5", "7"))
    assert duplicate.message == "2 rows (0.2 %) have the key of another row and are left out"
    assert find(found, "key.null", "t.id").value == 1
    assert find(found, "rows.identity", "t").message == "1,003 rows read = 1,000 kept + 3 rejected"


def test_many_rejected_rows_are_a_failure(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"at": [None, None, datetime(2024, 1, 1)]}})
    found = report(source, Schema((Table("t", (AT,), (), RowTime("at")),)), tmp_path)
    assert find(found, "time.missing", "t").verdict is Verdict.FAIL
    assert not found.passed


def test_orphans_with_count_share_and_samples(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"people": {"id": range(10)}, "orders": {"person": [1, 2, None, 77, 78, 79, 80, 77]}})
    schema = Schema(
        (Table("people", (typed("id", kind=ID),), ("id",)), Table("orders", (typed("person", kind=ID),))),
        (Link("orders", ("person",), "people", ("id",)),),
    )
    check = find(report(source, schema, tmp_path), "link.orphan", "orders.person -> people.id")
    assert check.message == "5 of 7 rows (71.4 %) point to no row of people"
    assert check.value == pytest.approx(5 / 7)
    assert check.samples == ("77", "78", "79")
    assert check.verdict is Verdict.WARN


def test_columns_without_much_to_say(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"null": [None] * 10, "mostly": [1] + [None] * 9, "same": [4] * 10, "fine": range(10)}})
    columns = (typed("null", "VARCHAR"), typed("mostly"), typed("same"), typed("fine"))
    found = report(source, Schema((Table("t", columns),)), tmp_path)
    assert find(found, "column.null_share", "t.null").verdict is Verdict.WARN
    assert find(found, "column.null_share", "t.mostly").verdict is Verdict.NOTE
    assert find(found, "column.constant", "t.same").message == "all its values are the same"
    assert [check.where for check in found.checks if check.name == "column.constant"] == ["t.mostly", "t.same"]
    assert find(found, "time.none", "all tables").verdict is Verdict.WARN


def test_values_that_cannot_be_read(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"t": {"v": [*map(str, range(200)), "oops"]}})
    check = find(report(source, Schema((Table("t", (typed("v"),)),)), tmp_path), "value.unreadable", "t.v")
    assert (check.verdict, check.value, check.samples) == (Verdict.WARN, 1, ("oops",))


def test_the_future_and_gaps(arrow_source: MakeSource, tmp_path: Path) -> None:
    start = datetime(2023, 1, 1)
    days = [start + timedelta(i) for i in range(200)] + [start + timedelta(i) for i in range(260, 400)]
    source = arrow_source({"t": {"at": [*days, datetime(2024, 6, 1, 0, 0, 1)]}})
    found = report(source, Schema((Table("t", (AT,), (), RowTime("at")),)), tmp_path)
    future = find(found, "time.future", "t")
    assert (future.verdict, future.value, future.samples) == (Verdict.WARN, 1, ("2024-06-01 00:00:01",))
    gap = find(found, "time.gap", "t")
    assert gap.verdict is Verdict.WARN
    assert gap.value == "118.0 days"


def test_regular_pauses_are_no_gap(arrow_source: MakeSource, tmp_path: Path) -> None:
    days = [datetime(2023, 1, 2) + timedelta(7 * week + day) for week in range(20) for day in range(5)]
    found = report(arrow_source({"t": {"at": days}}), Schema((Table("t", (AT,), (), RowTime("at")),)), tmp_path)
    assert find(found, "time.gap", "t").verdict is Verdict.OK


def test_empty_tables(arrow_source: MakeSource, tmp_path: Path) -> None:
    source = arrow_source({"none": {"id": []}, "lost": {"id": [None, None]}})
    tables = tuple(Table(name, (typed("id", "VARCHAR", ID),), ("id",)) for name in ("none", "lost"))
    found = report(source, Schema(tables), tmp_path)
    assert find(found, "table.empty", "none").verdict is Verdict.WARN
    assert find(found, "table.empty", "lost").message == "none of 2 rows could be kept"
    assert find(found, "table.empty", "lost").verdict is Verdict.FAIL


def test_signs_that_rows_were_changed_afterwards(arrow_source: MakeSource, tmp_path: Path) -> None:
    days = [datetime(2024, 1, 1, 12) + timedelta(i) for i in range(30)]
    posts = {
        "id": range(30),
        "at": days,
        "edited": [day + timedelta(1) for day in days],
        "seen": [day - timedelta(1) for day in days],
        "answer": [*range(1, 30), None],  # each is answered by the next
        "parent": [None, *range(29)],
    }
    columns = (
        typed("id", kind=ID),
        AT,
        *(Column(name, SemanticType.TIMESTAMP, "TIMESTAMP") for name in ("edited", "seen")),
        *(typed(name, kind=ID) for name in ("answer", "parent")),
    )
    links = tuple(Link("posts", (name,), "posts", ("id",)) for name in ("answer", "parent"))
    schema = Schema((Table("posts", columns, ("id",), RowTime("at")),), links)
    found = report(arrow_source({"posts": posts}), schema, tmp_path)
    edited = find(found, "time.later", "posts.edited")
    assert (edited.verdict, edited.value) == (Verdict.WARN, 1.0)
    assert edited.message.startswith("100.0 % of its values are later than their row; ")
    assert find(found, "link.later", "posts.answer -> posts.id").verdict is Verdict.WARN
    named = {check.where for check in found.checks if check.name in ("time.later", "link.later")}
    assert named == {"posts.edited", "posts.answer -> posts.id"}


def test_ids_that_lead_nowhere_are_named(arrow_source: MakeSource, tmp_path: Path) -> None:
    rows = {
        "id": range(40),
        "card": [i % 4 for i in range(40)],
        "receipt": range(40),
        "at": [datetime(2024, 1, 1)] * 40,
    }
    columns = (*(typed(name, kind=ID) for name in ("id", "card", "receipt")), AT)
    schema = Schema((Table("sales", columns, ("id",), RowTime("at")), Table("other", (typed("x"),))))
    found = report(arrow_source({"sales": rows, "other": {"x": range(3)}}), schema, tmp_path)
    assert [check.where for check in found.checks if check.name == "link.missing"] == ["sales.card"]
    assert find(found, "link.missing", "sales.card").verdict is Verdict.NOTE
    assert find(found, "link.none", "all tables").verdict is Verdict.WARN


def test_a_day_is_not_earlier_than_an_hour_of_it(arrow_source: MakeSource, tmp_path: Path) -> None:
    days = [datetime(2024, 1, 1) + timedelta(i) for i in range(30)]
    rows = {"at": days, "counted": [day + timedelta(hours=9) for day in days]}
    schema = Schema((Table("votes", (AT, Column("counted", SemanticType.TIMESTAMP, "TIMESTAMP")), (), RowTime("at")),))
    found = report(arrow_source({"votes": rows}), schema, tmp_path)
    assert [check for check in found.checks if check.name == "time.later"] == []
