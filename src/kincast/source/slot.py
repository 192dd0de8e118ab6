"""Slot: the publications and the replication slot of a PostgreSQL database: made, checked, read and moved on by SQL."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kincast.errors import SourceError
from kincast.source.base import literal, quote
from kincast.source.change import REBUILD, StreamLostError
from kincast.source.pgoutput import format_lsn, parse_lsn
from kincast.source.postgres import Place, PostgresSource

_SETTINGS = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; "
    "SET extra_float_digits = 1; SET statement_timeout = 0"
)
_LOST = ("can no longer get changes", "can no longer access replication slot", "has been removed", "was invalidated")
_IN_USE = ("is active for PID",)
_NO_RIGHT = ("permission denied", "must be superuser", "must be owner")


IN_USE_S = 20.0
"""Seconds that a slot may still be read by somebody else; a server notices after a while that its client was killed."""
_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the server says of the slot: the position it was moved on to, and None where all is well with it."""

    confirmed_lsn: int
    problem: str | None


class Slot:
    """One replication slot, with a connection that is made when it is first needed.

    Tables whose changed rows can be told by their replica identity are published whole by ``publication``. Of others
    only new rows are, by ``publication`` + ``_insert``: PostgreSQL would refuse to change their rows otherwise.

    Args:
        source: the database.
        name: of the slot.
        publication: of the publication.
    """

    def __init__(self, source: PostgresSource, name: str, publication: str) -> None:
        self.source, self.name, self.publication = source, name, publication
        self.publications = (publication, f"{publication}_insert")
        self._connection: Any = None
        self._used: list[str] = []

    def prepare(self, whole: Iterable[Place], new_only: Iterable[Place]) -> int:
        """Make what is missing of publications and slot.

        Call it before the rows are read for the first time, so that the slot keeps what happens meanwhile.

        Args:
            whole: tables of which inserts, updates and deletes are published.
            new_only: tables of which only inserts are.

        Returns:
            The position that the slot was moved on to, which is where it starts when it is new.

        Raises:
            SourceError: the server does not keep what is needed, or the user may not make it.
        """
        self._check_server()
        state = self.state()
        if state is not None and state.problem:
            self._drop()
            state = None
        for name, places, publish in (
            (self.publications[0], whole, "insert, update, delete, truncate"),
            (self.publications[1], new_only, "insert, truncate"),
        ):
            self._publish(name, list(places), publish)
        if state is not None:
            return state.confirmed_lsn
        made = f"SELECT lsn::text FROM pg_create_logical_replication_slot({literal(self.name)}, 'pgoutput')"
        return parse_lsn(self._rows(made)[0][0])

    def state(self) -> SlotState | None:
        """What the server says of the slot; None when there is none.

        Raises:
            SourceError: the server cannot be asked, or the slot is not one of ours.
        """
        rows = self._rows(
            "SELECT coalesce(plugin::text, ''), coalesce(database::text, ''), current_database()::text, "
            "coalesce(confirmed_flush_lsn::text, '0/0'), coalesce(wal_status, '') "
            f"FROM pg_replication_slots WHERE slot_name = {literal(self.name)}"
        )
        if not rows:
            return None
        plugin, database, ours, confirmed, status = rows[0]
        if plugin != "pgoutput" or database != ours:
            what = f"the replication slot {self.name} is of database {database or '-'} and plugin {plugin or '-'}"
            raise SourceError(what, where=self.source.url, hint="set live.slot in kincast.yaml to another name")
        lost = "the server removed what it had not handed over" if status == "lost" else None
        return SlotState(parse_lsn(confirmed), lost)

    def check(self, position: int | None) -> int:
        """Where reading goes on from, after looking whether the slot still reaches back to it.

        Args:
            position: what was kept last; None at the very start.

        Raises:
            StreamLostError: it does not.
            SourceError: there is no slot yet or no publication, or the server does not keep what is needed.
        """
        self._check_server()
        state = self.state()
        if state is None:
            what = f"there is no replication slot {self.name}"
            hint = "kincast build makes it before it reads the rows" if position is None else REBUILD
            raise (SourceError if position is None else StreamLostError)(what, where=self.source.url, hint=hint)
        if state.problem:
            raise StreamLostError(f"slot {self.name}: {state.problem}", where=self.source.url, hint=REBUILD)
        if position is not None and state.confirmed_lsn > position:
            at, kept = format_lsn(state.confirmed_lsn), format_lsn(position)
            what = f"slot {self.name} has moved on to {at}, but changes are kept up to {kept} only"
            raise StreamLostError(what, where=self.source.url, hint=REBUILD)
        if position is not None and position > self.flushed():
            what = f"the server's log ends before {format_lsn(position)}, which is kept: it was restored or made anew"
            raise StreamLostError(what, where=self.source.url, hint=REBUILD)
        self._used = self._existing()
        if not self._used:
            what = f"there is no publication {self.publication}"
            raise SourceError(what, where=self.source.url, hint="kincast build makes it before it reads the rows")
        return state.confirmed_lsn if position is None else position

    def published(self) -> dict[str, bool]:
        """Quoted name of each table that is published → whether all its changes are, or new rows only."""
        rows = self._rows(
            "SELECT t.schemaname::text, t.tablename::text, bool_or(p.pubupdate AND p.pubdelete) "
            "FROM pg_publication_tables t JOIN pg_publication p USING (pubname) "
            f"WHERE p.pubinsert AND p.pubname IN ({self._literals}) GROUP BY 1, 2"
        )
        return {f"{quote(schema)}.{quote(table)}": whole for schema, table, whole in rows}

    def identities(self) -> dict[int, frozenset[int]]:
        """Number of a table → numbers of the columns that PostgreSQL names a changed row by; empty when it cannot."""
        rows = self._rows(
            "SELECT c.oid::bigint, CASE c.relreplident WHEN 'f' THEN (SELECT string_agg(attnum::text, ' ') "
            "FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) "
            "ELSE coalesce(array_to_string(i.indkey, ' '), '') END "
            "FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND "
            "CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident END "
            "WHERE c.relkind IN ('r', 'p')"
        )
        return {oid: frozenset(map(int, (numbers or "").split())) for oid, numbers in rows}

    def peek(self, num_changes: int) -> list[tuple[int, bytes]]:
        """Changes that were not yet handed over: (position, message), whole transactions in the order of commits.

        Args:
            num_changes: no new transaction is started after so many.

        Raises:
            SourceError: the server cannot be asked, or the slot is lost.
        """
        names = literal(",".join(quote(name) for name in self._used or self._existing()))
        table = self._table(
            f"SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_peek_binary_changes({literal(self.name)}, NULL, "
            f"{num_changes}, 'proto_version', '1', 'publication_names', {names})"
        )
        return list(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))

    def advance(self, lsn: int) -> None:
        """Tell the server that everything up to a position is kept.

        Raises:
            SourceError: the server cannot be asked, or the slot is lost.
        """
        name, to = literal(self.name), literal(format_lsn(lsn))
        self._rows(
            f"SELECT CASE WHEN confirmed_flush_lsn < {to} THEN "
            f"(SELECT end_lsn::text FROM pg_replication_slot_advance({name}, least({to}, pg_current_wal_flush_lsn()))) "
            f"END FROM pg_replication_slots WHERE slot_name = {name}"
        )

    def flushed(self) -> int:
        """The position up to which the server's log is on its disk."""
        return parse_lsn(self._rows("SELECT pg_current_wal_flush_lsn()::text")[0][0])

    def current_values(self, place: Place, key: tuple[str, ...], keys: list[tuple[str, ...]]) -> Mapping[Any, Any]:
        """Rows as they are now: values of the key → name of a column as shown → its text as pgoutput writes it."""
        texts = [f"CASE WHEN {quote(n)} IS NOT NULL THEN format('%s', {quote(n)}) END" for n in place.columns.values()]
        columns = ", ".join(quote(place.columns[name]) for name in key)
        wanted = ", ".join(f"({', '.join(literal(part) for part in parts)})" for parts in keys)
        rows = self._rows(f"SELECT {', '.join(texts)} FROM {place.sql} WHERE ({columns}) IN ({wanted})")
        found = [dict(zip(place.columns, row, strict=True)) for row in rows]
        return {tuple(row[name] for name in key): row for row in found}

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with contextlib.suppress(Exception):  # it may be broken; nothing is lost with it
                self._connection.close()
            self._connection = None

    def _check_server(self) -> None:
        level = self._rows("SELECT current_setting('wal_level')")[0][0]
        if level != "logical":
            hint = "as an administrator: ALTER SYSTEM SET wal_level = logical, then restart the server"
            raise SourceError(
                f"change capture needs wal_level = logical, it is {level}", where=self.source.url, hint=hint
            )

    @property
    def _literals(self) -> str:
        return ", ".join(literal(name) for name in self.publications)

    def _existing(self) -> list[str]:
        sql = f"SELECT pubname::text FROM pg_publication WHERE pubname IN ({self._literals}) ORDER BY 1"
        return [row[0] for row in self._rows(sql)]

    def _publish(self, name: str, places: list[Place], publish: str) -> None:
        if name not in self._existing():
            if places:
                tables = ", ".join(place.sql for place in places)
                options = f"publish = {literal(publish)}, publish_via_partition_root = true"
                self._run(f"CREATE PUBLICATION {quote(name)} FOR TABLE {tables} WITH ({options})")
            return
        known = self.published()
        new = [place.sql for place in places if place.sql not in known]
        if new:
            self._run(f"ALTER PUBLICATION {quote(name)} ADD TABLE {', '.join(new)}")

    def _drop(self) -> None:
        self._rows(f"SELECT pg_drop_replication_slot({literal(self.name)})::text")

    def _run(self, sql: str) -> None:
        try:
            with contextlib.closing(self.source.connect(read_only=False)) as connection, connection.cursor() as cursor:
                cursor.executescript(sql)
                connection.commit()
        except SourceError:
            raise
        except Exception as error:
            failed = self.source.failed("the changes cannot be published", error)
            hint = f"as the owner of the tables: {sql}" if _is(error, _NO_RIGHT) else failed.hint
            raise SourceError(failed.what, where=failed.where, hint=hint) from None

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        table = self._table(sql)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def _table(self, sql: str) -> Any:
        """Rows of a query; a slot in use is waited for, since a server notices late that its reader was killed."""
        until = time.monotonic() + IN_USE_S
        while True:
            try:
                return self._fetch(sql)
            except Exception as error:
                self.close()
                if _is(error, _IN_USE) and time.monotonic() < until:
                    time.sleep(_AGAIN_S)
                    continue
                raise error if isinstance(error, SourceError) else self._explained(error) from None

    def _fetch(self, sql: str) -> Any:
        if self._connection is None:
            self._connection = self.source.connect(read_only=True)
            with self._connection.cursor() as cursor:
                cursor.executescript(_SETTINGS)
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    def _explained(self, error: Exception) -> SourceError:
        failed = self.source.failed("the changes cannot be read", error)
        hint = failed.hint
        if _is(error, _NO_RIGHT):
            hint = "as an administrator: ALTER ROLE ... REPLICATION, for the user of the URL"
        elif _is(error, _LOST):
            return StreamLostError(failed.what, where=failed.where, hint=REBUILD)
        elif _is(error, _IN_USE):
            hint = "another process reads this slot: stop it, or set live.slot in kincast.yaml to another name"
        elif _is(error, ("all replication slots are in use",)):
            hint = "raise max_replication_slots, or drop a slot that nobody reads"
        return SourceError(failed.what, where=failed.where, hint=hint)


def _is(error: Exception, signs: tuple[str, ...]) -> bool:
    return any(sign in str(error) for sign in signs)
