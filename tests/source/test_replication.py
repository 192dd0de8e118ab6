"""Changes of a real PostgreSQL server's rows, by logical decoding."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as driver
import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.source.states import State, follow, until_idle

from kincast.errors import SourceError
from kincast.schema import Column, Schema, SemanticType, Table
from kincast.source.base import quote
from kincast.source.cast import value_sql
from kincast.source.postgres import PostgresSource
from kincast.source.replication import PostgresChanges

MakeDatabase = Callable[[str], str]

SHOP = """
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE orders (shop integer, number integer, code char(6), amount numeric(10, 2), odd numeric, tint colour,
    tags text[], short char(3)[], extra jsonb, paid boolean, at timestamp, zone timestamptz, day date, clock time,
    raw bytea, real real, double float8, twice integer GENERATED ALWAYS AS (number * 2) STORED, note text,
    PRIMARY KEY (number, shop));
CREATE TABLE views (who integer, at timestamp);
"""
ROWS = """
INSERT INTO orders VALUES
    (1, 7, 'ab', 12.34, 0.5, 'red', '{a,"b \\"c\\", d",NULL,"NULL"}', '{ab,NULL}', '{"x": 1}', true,
     '2024-02-01 10:00:00.123456', '2024-02-01 10:00+02', '2024-02-01', '10:00:00.5', '\\x004142ff', 0.1, 1e-300,
     DEFAULT, 'Zoë'),
    (1, 8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, DEFAULT, NULL),
    (2, 8, 'infini', 'NaN', 'NaN', 'green', '{}', '{}', 'null', false, 'infinity', '-infinity', 'infinity', '23:59:59',
     '', 'Infinity', 'NaN', DEFAULT, '');
INSERT INTO views VALUES (1, '2024-01-01'), (1, '2024-01-01'), (2, NULL);
"""


class Database:
    """A database, changed by SQL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = driver.connect(url, autocommit=True)

    def run(self, sql: str) -> None:
        """Run statements."""
        with self._connection.cursor() as cursor:
            cursor.executescript(sql)

    def one(self, sql: str) -> Any:
        """The one value of a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def source(self) -> PostgresSource:
        return PostgresSource(self.url, Path())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kincast.source.replication.POLL_S", 0.01)


@pytest.fixture
def open_database(postgres_database: MakeDatabase) -> Iterator[Callable[[str], Database]]:
    made: list[Database] = []

    def make(sql: str) -> Database:
        made.append(Database(postgres_database(sql)))
        return made[-1]

    yield make
    for database in made:
        if database.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = current_database()"):
            database.run("SELECT pg_drop_replication_slot(current_database()::text)")
        database.close()


def stream_of(database: Database, schema: Schema | None = None) -> PostgresChanges:
    """A stream whose slot has the name of the database: slots are the server's."""
    source = database.source()
    name = database.url.rpartition("/")[2]
    return PostgresChanges(source, schema or source.inspect(), name, "kincast")


def typed(rows: pa.Table, table: Table) -> list[dict[str, Any]]:
    """Rows as they are kept: each value read as its card says."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("incoming", rows)
        arrives = {row[0]: row[1] for row in connection.execute("DESCRIBE incoming").fetchall()}
        chosen = [f"{value_sql(quote(c.name), arrives[c.name], c)} AS {quote(c.name)}" for c in table.columns]
        found = connection.sql(f"SELECT {', '.join(chosen)} FROM incoming").to_arrow_table().to_pylist()
    return sorted(found, key=repr)


def same_as_scanned(database: Database, state: State, table: str) -> bool:
    """True when the state's rows of a table are what reading the table gives."""
    card = state.schema.table(table)
    rows = state.rows(table)
    came = pa.Table.from_pylist(rows) if rows else None
    scanned = typed(database.source().scan(table, [c.name for c in card.columns]).read_all(), card)
    return (typed(came, card) if came is not None else []) == scanned


def test_values_are_those_that_scanning_gives(open_database: Callable[[str], Database]) -> None:
    database = open_database(SHOP)
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run(ROWS)
        until_idle(stream, state)
        assert same_as_scanned(database, state, "orders")
        assert same_as_scanned(database, state, "views")
        database.run("UPDATE orders SET amount = 5, tags = '{x}' WHERE number = 8; DELETE FROM orders WHERE number = 7")
        until_idle(stream, state)
        assert [row["amount"] for row in state.rows("orders")] == ["5.00", "5.00"]
        assert same_as_scanned(database, state, "orders")


def test_a_slot_that_somebody_still_reads_is_waited_for(
    open_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    with closing(stream_of(database)) as stream, reading(database):
        state = State(stream.schema)
        monkeypatch.setattr("kincast.source.slot.IN_USE_S", 0.3)
        with pytest.raises(SourceError, match="is active") as refused:
            until_idle(stream, state)
        assert "another process reads this slot" in str(refused.value)
    monkeypatch.setattr("kincast.source.slot.IN_USE_S", 30.0)
    with closing(stream_of(database)) as stream, reading(database) as reader:
        threading.Timer(1.0, reader.terminate).start()
        database.run("INSERT INTO t VALUES (1), (2)")
        until_idle(stream, state)
        assert len(state.rows("t")) == 2


@contextmanager
def reading(database: Database) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that reads the slot, which is made where there is none."""
    program = shutil.which("pg_recvlogical")
    if program is None:
        pytest.skip("SKIPPED: there is no pg_recvlogical here")
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
    name = database.url.rpartition("/")[2]
    options = ["-o", "proto_version=1", "-o", "publication_names=kincast"]
    command = [program, "--dbname", database.url, "--slot", name, "--start", "--file", "-", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            sql = f"SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '{name}'"
            for _ in range(200):
                if database.one(sql):
                    break
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_changed_key_is_a_row_gone_and_a_row_new(open_database: Callable[[str], Database]) -> None:
    database = open_database(SHOP + ROWS)
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("UPDATE orders SET number = number + 100")
        (delivery,) = until_idle(stream, state)
        (changes,) = delivery.changes
        assert changes.deleted.sum() == 3
        assert same_as_scanned(database, state, "orders")


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_long_value_that_an_update_left_alone_stays(open_database: Callable[[str], Database], identity: str) -> None:
    database = open_database(
        "CREATE TABLE t (id integer PRIMARY KEY, n integer, long text); "
        f"ALTER TABLE t ALTER long SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY {identity}; "
        "INSERT INTO t SELECT i, 0, repeat('x', 9000) || i FROM generate_series(1, 3) i"
    )
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("UPDATE t SET n = 1; UPDATE t SET id = 13 WHERE id = 3; UPDATE t SET n = 2 WHERE id = 1")
        database.run("UPDATE t SET n = 7 WHERE id = 2; DELETE FROM t WHERE id = 2")
        until_idle(stream, state)
        assert same_as_scanned(database, state, "t")
        assert all(len(row["long"]) > 9000 for row in state.rows("t"))


def test_goes_on_where_it_stopped_and_repeats_what_was_not_kept(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY, n integer)")
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("INSERT INTO t VALUES (1, 1)")
        first = until_idle(stream, State(stream.schema), acknowledge=False)
    with closing(stream_of(database)) as stream:
        database.run("INSERT INTO t VALUES (2, 2); UPDATE t SET n = 3 WHERE id = 1")
        again = until_idle(stream, state, acknowledge=False)
    assert first[0].changes[0].rows.to_pylist() == again[0].changes[0].rows.to_pylist()[:1]
    assert first[0].changes[0].sequence[0] == again[0].changes[0].sequence[0]
    with closing(stream_of(database)) as stream:
        assert until_idle(stream, state) == []
        database.run("DELETE FROM t WHERE id = 2")
        until_idle(stream, state)
    assert state.rows("t") == [{"id": "1", "n": "3"}]


def test_what_was_not_acknowledged_does_not_stop_the_stream(
    open_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kincast.source.replication._NUM_CHANGES", 5)
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        for i in range(40):
            database.run(f"INSERT INTO t VALUES ({i})")
        until_idle(stream, state, acknowledge=False)
        assert len(state.rows("t")) == 40


def test_rows_of_a_table_without_a_key_come_once_each(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE v (who integer); ALTER TABLE v REPLICA IDENTITY FULL")
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("INSERT INTO v VALUES (1), (1); INSERT INTO v VALUES (1)")
        until_idle(stream, state, acknowledge=False)
        state.position = None
        until_idle(stream, state)
        assert len(state.rows("v")) == 3
        # Only its new rows are published: its changes could not be told, and must not be refused by the server either.
        database.run("UPDATE v SET who = 2")
        assert until_idle(stream, state) == []
        assert stream.quarantined == {}


def test_rows_of_partitions_belong_to_the_whole_table(open_database: Callable[[str], Database]) -> None:
    database = open_database(
        "CREATE TABLE p (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id); "
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); "
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)"
    )
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("INSERT INTO p VALUES (1, 1), (2, 2), (12, 3); UPDATE p SET id = 13 WHERE id = 1")
        until_idle(stream, state)
        assert same_as_scanned(database, state, "p")


def test_names_that_need_quotes_and_other_schemas(open_database: Callable[[str], Database]) -> None:
    database = open_database('CREATE SCHEMA s; CREATE TABLE s."a ""b"".c" ("X y" integer PRIMARY KEY, "x Y" text)')
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("""INSERT INTO s."a ""b"".c" VALUES (1, 'it''s')""")
        until_idle(stream, state)
        name = next(iter(stream.schema)).name
        assert [list(row.values()) for row in state.rows(name)] == [["1", "it's"]]


def test_columns_and_tables_that_the_card_leaves_out(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY, a text, b text); CREATE TABLE u (id integer)")
    card = Schema(
        (Table("t", (Column("b", SemanticType.TEXT, "VARCHAR"), Column("id", SemanticType.ID, "INTEGER")), ("id",)),)
    )
    with closing(stream_of(database, card)) as stream:
        stream.prepare(None)
        state = State(card)
        database.run("INSERT INTO t VALUES (1, 'a', 'b'); INSERT INTO u VALUES (1); UPDATE t SET a = 'c'")
        until_idle(stream, state)
        assert state.rows("t") == [{"b": "b", "id": "1"}]


def test_an_idle_stream_lets_the_server_forget(
    open_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kincast.source.replication._IDLE_BYTES", 10_000)
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY); CREATE TABLE other (long text)")
    with closing(
        stream_of(database, Schema((Table("t", (Column("id", SemanticType.ID, "INTEGER"),), ("id",)),)))
    ) as stream:
        start = stream.prepare(None)
        state = State(stream.schema)
        database.run("INSERT INTO other SELECT md5(i::text) FROM generate_series(1, 1000) i")
        follow(stream, state, lambda: state.position is not None)
        assert state.position != start
        database.run("INSERT INTO t VALUES (1)")
        until_idle(stream, state)
        assert state.rows("t") == [{"id": "1"}]


def test_says_when_the_server_does_not_keep_changes(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    stream = stream_of(database)
    with closing(stream), pytest.raises(SourceError, match="there is no replication slot") as caught:
        next(stream.deliveries(None))
    assert "kincast build makes it" in str(caught.value)
    with closing(stream), pytest.raises(SourceError, match="no replication slot") as caught:
        next(stream.deliveries("0/1"))
    assert "lost" in str(caught.value)


def test_says_when_the_slot_has_moved_on(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    with closing(stream_of(database)) as stream:
        start = stream.prepare(None)
        database.run("INSERT INTO t VALUES (1)")
        until_idle(stream, State(stream.schema))
        with pytest.raises(SourceError, match=r"moved on.*kept up to") as caught:
            next(stream.deliveries(start))
        assert "kincast build" in str(caught.value)
        with pytest.raises(SourceError, match="restored or made anew"):
            next(stream.deliveries("FFFF/0"))
        with pytest.raises(SourceError, match="no position"):
            next(stream.deliveries("0/1 {"))


def test_says_when_the_slot_is_of_something_else(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    database.run("SELECT pg_create_logical_replication_slot(current_database()::text, 'test_decoding')")
    stream = stream_of(database)
    with closing(stream), pytest.raises(SourceError, match="plugin test_decoding") as caught:
        stream.prepare(None)
    assert "live.slot" in str(caught.value)


def test_says_when_the_user_may_not(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY)")
    name = "user_" + database.url.rpartition("_")[2] + database.url.rpartition("/")[2]
    database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'; GRANT SELECT ON t TO {name}")
    url = database.url.replace("postgres:s3cret", f"{name}:pw")
    try:
        source = PostgresSource(url, Path())
        slot = database.url.rpartition("/")[2]
        with closing(PostgresChanges(source, source.inspect(), slot)) as stream:
            with pytest.raises(SourceError, match=r"permission denied|must be owner") as caught:
                stream.prepare(None)
            assert "CREATE PUBLICATION" in str(caught.value)
            database.run("CREATE PUBLICATION kincast FOR TABLE t")
            with pytest.raises(SourceError, match="replication") as caught:
                stream.prepare(None)
            assert "ALTER ROLE" in str(caught.value)
            assert "pw" not in str(caught.value)
    finally:
        database.run(f"DROP OWNED BY {name}; DROP ROLE {name}")


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 4), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("move"), st.integers(1, 4), st.integers(1, 4)),
        st.tuples(st.just("restart"), st.booleans(), st.just(0)),
    ),
    max_size=25,
)


def test_any_history_leads_to_the_rows_there_are(open_database: Callable[[str], Database]) -> None:
    database = open_database("CREATE TABLE t (id integer PRIMARY KEY, n integer, long text)")
    database.run("ALTER TABLE t ALTER long SET STORAGE EXTERNAL")
    with closing(stream_of(database)) as stream:
        stream.prepare(None)
    state = State(database.source().inspect())

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(OPERATIONS, st.integers(1, 6))
    def check(operations: list[tuple[str, int, int]], size: int) -> None:
        stream = stream_of(database)
        waiting: list[str] = []

        def commit() -> None:
            if waiting:
                database.run("BEGIN; " + "; ".join(waiting) + "; COMMIT")
                waiting.clear()

        for kind, a, b in operations:
            if kind == "put":
                waiting.append(
                    f"INSERT INTO t VALUES ({a}, {b}, repeat('{b}', 3000)) ON CONFLICT (id) DO UPDATE SET n = {b}"
                )
            elif kind == "drop":
                waiting.append(f"DELETE FROM t WHERE id = {a}")
            elif kind == "move":
                waiting.append(f"UPDATE t SET id = {b} WHERE id = {a} AND NOT EXISTS (SELECT 1 FROM t WHERE id = {b})")
            else:
                commit()
                until_idle(stream, state, acknowledge=bool(a))
                stream.close()
                stream = stream_of(database)
            if len(waiting) >= size:
                commit()
        commit()
        until_idle(stream, state)
        stream.close()
        assert same_as_scanned(database, state, "t")

    check()
