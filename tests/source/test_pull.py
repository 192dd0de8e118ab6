"""Pull: new and changed rows of a database by a column that grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.source.states import State

from kincast.clock import Span, parse_instant
from kincast.errors import SchemaError
from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.source.change import Delivery
from kincast.source.open import open_source
from kincast.source.pull import PulledChanges


def column(name: str, stored: str, form: str | None = None) -> Column:
    kind = SemanticType.TIMESTAMP if name in ("happened", "touched") else SemanticType.ID
    return Column(name, kind, stored, form)


SCHEMA = Schema(
    (
        Table("t", (column("id", "INTEGER"), column("n", "INTEGER"), column("touched", "TIMESTAMP")), ("id",)),
        Table("log", (column("word", "VARCHAR"), column("happened", "TIMESTAMP")), (), RowTime(column="happened")),
        Table("still", (column("id", "INTEGER"),), ("id",)),
    )
)
NEVER = Span(0, "seconds")


class Database:
    """A DuckDB file, changed by SQL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run(
            "CREATE TABLE t (id INTEGER, n INTEGER, touched TIMESTAMP); CREATE TABLE still (id INTEGER); "
            "CREATE TABLE log (word VARCHAR, happened TIMESTAMP)"
        )

    def run(self, sql: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(sql)

    def stream(self, **settings: Any) -> PulledChanges:
        given = {"columns": {"t": "touched"}, "overlap": Span(1, "hours"), "every": NEVER, **settings}
        return PulledChanges(open_source(str(self.path)), SCHEMA, **given)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "d.duckdb")


def round_of(deliveries: Iterator[Delivery | None], state: State) -> int:
    """Take one round of questions in; the number of changes that it brought."""
    delivery = next(deliveries)
    if delivery is None:
        return 0
    state.apply(delivery)
    return sum(map(len, delivery.changes))


def test_new_and_changed_rows_come_once(database: Database) -> None:
    state, rounds = State(SCHEMA), database.stream().deliveries(None)
    assert round_of(rounds, state) == 0
    database.run("INSERT INTO t VALUES (1, 1, '2024-01-01 10:00'), (2, 1, '2024-01-01 10:00')")
    assert round_of(rounds, state) == 2
    assert round_of(rounds, state) == 0
    database.run("UPDATE t SET n = 2, touched = '2024-01-01 11:00' WHERE id = 1; INSERT INTO t VALUES (3, 1, NULL)")
    assert round_of(rounds, state) == 1
    assert [(row["id"], row["n"]) for row in state.rows("t")] == [(1, 2), (2, 1)]


def test_late_rows_within_the_overlap_are_found_after_a_restart_too(database: Database) -> None:
    state = State(SCHEMA)
    database.run("INSERT INTO t VALUES (1, 1, '2024-01-01 10:00')")
    round_of(database.stream().deliveries(None), state)
    database.run("INSERT INTO t VALUES (2, 1, '2024-01-01 09:30'), (3, 1, '2024-01-01 08:59')")
    rounds = database.stream().deliveries(state.position)
    assert round_of(rounds, state) == 2  # the one that is new, and once more what lies in the overlap
    assert [row["id"] for row in state.rows("t")] == [1, 2]
    assert round_of(rounds, state) == 0


def test_equal_rows_without_a_key_stay_apart_and_come_once(database: Database) -> None:
    state, stream = State(SCHEMA), database.stream()
    database.run("INSERT INTO log VALUES ('a', '2024-01-01'), ('a', '2024-01-01')")
    rounds = stream.deliveries(None)
    assert round_of(rounds, state) == 2
    database.run("INSERT INTO log VALUES ('a', '2024-01-01')")
    assert round_of(rounds, state) == 1
    assert round_of(database.stream().deliveries(state.position), state) == 3
    assert len(state.rows("log")) == 3


def test_numbers_and_texts_that_hold_times(tmp_path: Path) -> None:
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE e (id INTEGER, happened BIGINT); INSERT INTO e VALUES (1, 1704067200)")
    columns = (column("id", "INTEGER"), column("happened", "BIGINT", "epoch_s"))
    card = Schema((Table("e", columns, ("id",), RowTime(column="happened")),))
    stream = PulledChanges(open_source(str(path)), card, every=NEVER)
    state, rounds = State(card), stream.deliveries(None)
    assert round_of(rounds, state) == 1
    assert state.position is not None
    assert str(parse_instant("2024-01-01")) in state.position
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO e VALUES (2, 1704067201)")
    assert round_of(rounds, state) == 1


def test_what_cannot_be_followed(database: Database) -> None:
    with pytest.raises(SchemaError, match="no column nope"):
        database.stream(columns={"t": "nope"})
    still = Schema((SCHEMA.table("still"),))
    with pytest.raises(SchemaError, match="no table has a time column") as caught:
        PulledChanges(open_source(str(database.path)), still)
    assert "live.columns" in str(caught.value)


ROWS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 59)), max_size=6)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=4))
def test_any_rounds_with_restarts_lead_to_the_rows_there_are(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[list[tuple[int, int]], bool]]
) -> None:
    database = Database(tmp_path_factory.mktemp("pull") / "d.duckdb")
    state, touched = State(SCHEMA), 0
    deliveries = database.stream().deliveries(None)
    for rows, restart in rounds:
        for key, minute in rows:
            touched += 1
            moment = f"timestamp '2024-01-01' + interval '{touched} seconds'"
            database.run(f"DELETE FROM t WHERE id = {key}; INSERT INTO t VALUES ({key}, {minute}, {moment})")
            database.run(f"INSERT INTO log VALUES ('{key}', timestamp '2024-01-01' + interval '{minute} minutes')")
        if restart:
            deliveries = database.stream().deliveries(state.position)
        round_of(deliveries, state)
    with duckdb.connect(str(database.path)) as connection:
        there = connection.execute("SELECT id, n FROM t ORDER BY id").fetchall()
        words = connection.execute("SELECT count(*) FROM log").fetchone()
    assert [(row["id"], row["n"]) for row in state.rows("t")] == there
    assert words == (len(state.rows("log")),)
