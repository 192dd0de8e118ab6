"""Dialect: where a statement finds its rows and how it is written: DuckDB over a snapshot, or the user's PostgreSQL.

In PostgreSQL every table used becomes a common table expression with the very columns that a snapshot's table has:
typed as staging types them, with ``_time``, ``_end`` and ``_row``, the place in the order of time and key. Rows that
staging would reject for a missing key or time are left out; keys are taken to be unique, as a primary key is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp

from kincast.errors import QueryError, SchemaError
from kincast.query import value as sql
from kincast.schema import Column, Schema, Table
from kincast.source.base import is_integer, literal, quote
from kincast.source.cast import EPOCHS, kept_type, same_key_sql

Expression = Any
DIALECTS = ("duckdb", "postgres")

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_WHOLE = r"^\s*[-+]?\d{1,30}\s*$"
_TRUTH = r"^\s*(t|true|f|false|y|yes|n|no|0|1)\s*$"
_MOMENT = r"^\s*\d{4}-\d{1,2}-\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[-+]\d{2}(:?\d{2})?)?)?\s*$"
_OFFSET = r":\d{2}.*(Z|[-+]\d{2}(:?\d{2})?)\s*$"
_FLOATS = ("FLOAT", "DOUBLE")


@dataclass
class Source:
    """The tables that a statement reads, under the names they have in it.

    Attributes:
        schema: what the tables look like.
        prefix: of the names of what stands in for a user's table.
        dialect: of the statement.
        used: names of the tables read so far.
    """

    schema: Schema
    prefix: str
    dialect: str
    used: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.dialect not in DIALECTS:
            what = f"label SQL cannot be written for {self.dialect}, only for {' and '.join(DIALECTS)}"
            raise QueryError(what, text=self.dialect, start=0, end=len(self.dialect))

    def table(self, name: str, alias: str) -> Expression:
        """A table under an alias."""
        self._use(name)
        known = name if self.dialect == "duckdb" else f"{self.prefix}{name}"
        return exp.alias_(exp.Table(this=sql.name(known)), alias, table=True, quoted=True)

    def bodies(self) -> list[tuple[str, Expression]]:
        """What must stand in front of the statement: name and query of every table used, parents first."""
        if self.dialect == "duckdb":
            return []
        tables = [table for table in self.schema.in_time_order() if table.name in self.used]
        return [(f"{self.prefix}{table.name}", postgres_table(self.schema, table, self.prefix)) for table in tables]

    def _use(self, name: str) -> None:
        if name in self.used:
            return
        self.used.append(name)
        link = self.schema.time_link(self.schema.table(name))
        if link is not None:
            self._use(link.target)


def write_sql(select: Expression, dialect: str) -> str:
    """The text of a statement whose functions are DuckDB's."""
    if dialect == "postgres":
        for node in reversed(list(select.dfs())):  # children before their parents
            rewritten = _in_postgres(node)
            if rewritten is not node:
                node.replace(rewritten)
    return str(select.sql(dialect=dialect, pretty=True))


def postgres_table(schema: Schema, table: Table, prefix: str) -> Expression:
    """A user's table as a snapshot has it: typed columns, ``_time``, ``_end`` and ``_row``."""
    values = {column.name: _value(f"t.{quote(column.name)}", column) for column in table.columns}
    moment, join = _time(schema, table, values, prefix)
    end = values[table.end_time] if table.end_time else "CAST(NULL AS TIMESTAMP)"
    if table.versioned:
        key = ", ".join(values[name] for name in table.key)
        end = f"least({end}, lead({moment}) OVER (PARTITION BY {key} ORDER BY {moment}))"
    columns = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
    place = ".".join(quote(part) for part in table.name.split("."))
    inner = f"SELECT {columns}, {moment} AS _time, {end} AS _end FROM {place} AS t {join}"
    known = [f"{quote(name)} IS NOT NULL" for name in table.key]
    known += ["_time IS NOT NULL"] if table.time is not None else []
    where = f" WHERE {' AND '.join(known)}" if known else ""
    order = ", ".join(["_time", *(quote(name) for name in table.key or values)])
    names = ", ".join(quote(name) for name in values)
    text = (
        f"SELECT {names}, _time, _end, row_number() OVER (ORDER BY {order}) - 1 AS _row FROM ({inner}) AS typed{where}"
    )
    return sqlglot.parse_one(text, read="postgres")


def _value(value: str, column: Column) -> str:
    stored = kept_type(column)
    if stored == "TIMESTAMP":
        return _in_calendar(_moment(value, column))
    if stored in _FLOATS:
        odd = ", ".join(f"CAST('{word}' AS DOUBLE PRECISION)" for word in ("NaN", "Infinity", "-Infinity"))
        return f"CASE WHEN {value} NOT IN ({odd}) THEN {value} END"
    if stored == "VARCHAR":  # texts compare by their bytes, as in a snapshot
        return f'CAST({value} AS TEXT) COLLATE "C"'
    return value


def _moment(value: str, column: Column) -> str:
    if column.format in EPOCHS:
        counted = f"CAST(round(CAST({value} AS NUMERIC) * {EPOCHS[column.format]}) AS BIGINT)"
        return f"(CAST('1970-01-01' AS TIMESTAMP) + {counted} * CAST('1 microsecond' AS INTERVAL))"
    if column.format is not None:
        parsed = sqlglot.parse_one(f"strptime(x, {literal(column.format)})", read="duckdb")
        pattern = parsed.sql("postgres").split(", ", 1)[1].removesuffix(")")
        read = f"to_timestamp(CAST({value} AS TEXT), {pattern})"
        return f"timezone('UTC', {read})" if "%z" in column.format else f"CAST({read} AS TIMESTAMP)"
    if column.stored == "VARCHAR":
        there = f"CAST({value} AS TEXT)"
        shifted = f"timezone('UTC', CAST({there} AS TIMESTAMPTZ))"
        return (
            f"CASE WHEN NOT {there} ~ {literal(_MOMENT)} THEN NULL WHEN {there} ~ {literal(_OFFSET)} THEN {shifted} "
            f"ELSE CAST({there} AS TIMESTAMP) END"
        )
    if column.stored == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {value})"
    return f"CAST({value} AS TIMESTAMP)"


def _time(schema: Schema, table: Table, values: dict[str, str], prefix: str) -> tuple[str, str]:
    """The time of a row, and the join it needs."""
    time = table.time
    if time is None:
        return "CAST(NULL AS TIMESTAMP)", ""
    join = ""
    if time.column is not None:
        moment = values[time.column]
        if time.clock is not None:
            clock = f"t.{quote(time.clock)}"
            if table.column(time.clock).stored != "TIME":
                pattern = literal(r"^\s*(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)")
                clock = f"CAST(substring(CAST({clock} AS TEXT) FROM {pattern}) AS TIME)"
            moment = f"(CAST({moment} AS DATE) + coalesce({clock}, CAST('00:00:00' AS TIME)))"
    else:
        link = schema.time_link(table)
        if link is None:
            raise SchemaError(f"table {table.name} takes its time via {time.via}, which is no link")
        target = schema.table(link.target)
        pairs = []
        for a, b in zip(link.columns, link.target_columns, strict=True):
            types = kept_type(table.column(a)), kept_type(target.column(b))
            same = same_key_sql(f"t.{quote(a)}", types[0], f"parent.{quote(b)}", types[1])
            pairs.append(write_sql(exp.paren(sqlglot.parse_one(same, read="duckdb")), "postgres"))
        join = f"LEFT JOIN {quote(prefix + link.target)} AS parent ON {' AND '.join(pairs)}"
        moment = "parent._time"
    if time.shift is not None:
        moment = _in_calendar(f"({moment} + CAST('{time.shift.count} {time.shift.unit}' AS INTERVAL))")
    return moment, join


def _in_calendar(moment: str) -> str:
    first, last = "CAST('0001-01-01' AS TIMESTAMP)", "CAST('9999-12-31 23:59:59.999999' AS TIMESTAMP)"
    return f"CASE WHEN {moment} BETWEEN {first} AND {last} THEN {moment} END"


def _in_postgres(node: Expression) -> Expression:
    """One node of a DuckDB expression as PostgreSQL has it."""
    if isinstance(node, exp.TryCast):
        return _attempt(node)
    if isinstance(node, exp.DataType) and node.this in (exp.DType.INT128, exp.DType.UINT128, exp.DType.UBIGINT):
        return exp.DataType.build("NUMERIC", dialect="postgres")
    if isinstance(node, exp.Like) and not isinstance(node.parent, exp.Escape):
        return exp.Escape(this=node.copy(), expression=exp.Literal.string(""))
    if isinstance(node, exp.Anonymous):
        rewrite = _FUNCTIONS.get(str(node.this).lower())
        return rewrite(*node.expressions) if rewrite else node
    return node


def _attempt(node: Expression) -> Expression:
    """A cast that gives NULL where the text cannot be read."""
    wanted = node.to.sql("duckdb")
    text = exp.Cast(this=node.this.copy(), to=exp.DataType.build("TEXT", dialect="postgres"))
    whole = exp.Cast(this=node.this, to=node.to)
    if wanted == "BOOLEAN":
        truth = exp.Cast(this=text.copy(), to=node.to)
        number = exp.Cast(this=text.copy(), to=exp.DataType.build("DOUBLE", dialect="duckdb"))
        case = exp.Case().when(exp.RegexpILike(this=text, expression=sql.text(_TRUTH)), truth)
        other = exp.NEQ(this=number, expression=exp.Literal.number(0))
        return case.when(exp.RegexpLike(this=text.copy(), expression=sql.text(_NUMBER)), other)
    pattern = _WHOLE if is_integer(wanted) else _MOMENT if wanted.startswith("TIMESTAMP") else _NUMBER
    if pattern is _NUMBER and wanted not in _FLOATS and not wanted.startswith("DECIMAL"):
        return whole
    if pattern is _MOMENT:
        return exp.Case().when(exp.RegexpLike(this=text, expression=sql.text(pattern)), whole)
    read = exp.Cast(this=text.copy(), to=node.to)
    return exp.Case().when(exp.RegexpLike(this=text, expression=sql.text(pattern)), read)


def _microseconds(moment: Expression) -> Expression:
    seconds = exp.Extract(this=exp.var("EPOCH"), expression=moment)
    return sql.cast(exp.Mul(this=exp.paren(seconds), expression=exp.Literal.number(1_000_000)), "BIGINT")


def _picked(value: Expression, row: Expression, last: bool) -> Expression:
    order = exp.Order(this=value, expressions=[exp.Ordered(this=row, desc=last, nulls_first=last)])
    listed = exp.paren(exp.ArrayAgg(this=order))
    return exp.Bracket(this=listed, expressions=[exp.Literal.number(1)], offset=1)


def _pieces(text: Expression, separator: Expression) -> Expression:
    return exp.Anonymous(this="string_to_array", expressions=[text, separator])


def _trimmed(items: Expression, _: Expression) -> Expression:
    alias = exp.TableAlias(this=exp.to_identifier("u"), columns=[exp.to_identifier("x")])
    unnested = exp.Unnest(expressions=[items], alias=alias)
    inner = exp.select(exp.Trim(this=exp.column("x"))).from_(unnested)
    return exp.Anonymous(this="ARRAY", expressions=[inner])


def _ends(text: Expression, tail: Expression) -> Expression:
    length = exp.Length(this=tail.copy())
    return exp.EQ(this=exp.Anonymous(this="right", expressions=[text, length]), expression=tail)


def _holds(text: Expression, piece: Expression) -> Expression:
    return exp.GT(this=exp.Anonymous(this="strpos", expressions=[text, piece]), expression=exp.Literal.number(0))


_FUNCTIONS: dict[str, Callable[..., Expression]] = {
    "epoch_us": _microseconds,
    "arg_min_null": lambda value, row: _picked(value, row, last=False),
    "arg_max_null": lambda value, row: _picked(value, row, last=True),
    "string_split": _pieces,
    "list_transform": _trimmed,
    "list_contains": lambda items, item: exp.EQ(this=item, expression=exp.Any(this=exp.paren(items))),
    "contains": _holds,
    "ends_with": _ends,
}
