"""Casting in SQL: how a value as it arrives becomes the typed value that is kept."""

from __future__ import annotations

import re
from pathlib import Path

from kincast.errors import SchemaError
from kincast.schema import Column, SemanticType
from kincast.source.base import is_integer, literal

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Format of a number that counts from 1970 → microseconds of its unit."""

_FIRST, _LAST = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"
_FLOATS = ("FLOAT", "DOUBLE")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_TYPES = frozenset((*_INTEGERS, *_UNSIGNED, *_FLOATS, "DECIMAL", "BOOLEAN", "DATE", "TIME", "VARCHAR", "BLOB"))


def kept_type(column: Column) -> str:
    """DuckDB type that a column has once its rows are kept; times are TIMESTAMP, in UTC.

    Raises:
        SchemaError: the stored type is none that DuckDB could have.
    """
    if column.type is SemanticType.TIMESTAMP or re.fullmatch(r"TIMESTAMP(_\w+)?( WITH TIME ZONE)?", column.stored):
        return "TIMESTAMP"
    if re.sub(r"(\(\d+(, ?\d+)?\))?(\[\d*\])*$", "", column.stored) not in _TYPES:
        hint = "write it as DuckDB does, such as BIGINT, DOUBLE, VARCHAR, DATE, TIMESTAMP or BOOLEAN"
        raise SchemaError(f"column {column.name} has the unknown stored type {column.stored}", hint=hint)
    return column.stored


def value_sql(value: str, arrives: str, column: Column) -> str:
    """SQL of the typed value; NULL where the value cannot be read as one, and for NaN and infinite numbers.

    Args:
        value: SQL of the value as it arrives.
        arrives: its DuckDB type.
        column: what it is to become.
    """
    target = kept_type(column)
    if target == "TIMESTAMP":
        return in_calendar(_parsed_time(value, arrives, column.format))
    if arrives == target:
        typed = value
    elif is_integer(target) and not is_integer(arrives):
        # A cast would round fractions.
        number = f"TRY_CAST({value} AS DOUBLE)"
        typed = f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({value} AS {target}) END"
    else:
        typed = f"TRY_CAST({value} AS {target})"
    return f"CASE WHEN isfinite({typed}) THEN {typed} END" if target in _FLOATS else typed


def unreadable_sql(value: str, arrives: str, typed: str) -> str:
    """SQL condition: there was a value and it could not be read. NaN is a missing value, not an unreadable one."""
    missing = f" AND NOT isnan({value})" if arrives in _FLOATS else ""
    missing = f" AND lower(trim({value})) != 'nan'" if arrives == "VARCHAR" else missing
    return f"({value} IS NOT NULL AND {typed} IS NULL{missing})"


def in_calendar(moment: str) -> str:
    """SQL: the timestamp where it lies in the years 1 to 9999, else NULL."""
    return f"CASE WHEN {moment} BETWEEN {_FIRST} AND {_LAST} THEN {moment} END"


def moment_sql(value: str) -> str:
    """SQL that reads ISO text, or any date or timestamp, as a timestamp in UTC; an offset in a text is honoured."""
    return f"timezone('UTC', TRY_CAST({value} AS TIMESTAMPTZ))"


def clock_sql(day: str, clock: str, arrives: str) -> str:
    """SQL of a day's midnight plus a time of day where there is one."""
    if arrives != "TIME":
        pattern = literal(r"^\s*(\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)")
        clock = f"TRY_CAST(regexp_extract(CAST({clock} AS VARCHAR), {pattern}, 1) AS TIME)"
    return f"CAST({day} AS DATE) + coalesce({clock}, TIME '00:00:00')"


def same_key_sql(foreign: str, foreign_type: str, key: str, key_type: str) -> str:
    """SQL condition: a foreign key and a key are the same, whatever their types; the text ``7`` and the number 7 are.

    Args:
        foreign: SQL of the foreign key.
        foreign_type: its DuckDB type.
        key: SQL of the key.
        key_type: its DuckDB type.
    """
    if foreign_type == key_type or (_is_number(foreign_type) and _is_number(key_type)):
        return f"{foreign} = {key}"
    if foreign_type == "VARCHAR":
        return f"TRY_CAST({foreign} AS {key_type}) = {key}"
    return f"{foreign_text_sql(foreign, foreign_type)} = CAST({key} AS VARCHAR)"


def foreign_as_key_sql(foreign: str, foreign_type: str, key_type: str) -> str:
    """SQL of the key that a foreign key names, in the key's type; NULL where no key of that type can be the same.

    ``same_key_sql`` holds for a key exactly when the key equals this.

    Args:
        foreign: SQL of the foreign key.
        foreign_type: its DuckDB type.
        key_type: the key's.
    """
    if foreign_type == key_type:
        return foreign
    if foreign_type == "VARCHAR":
        return f"TRY_CAST({foreign} AS {key_type})"
    if _is_number(foreign_type) and _is_number(key_type):
        return f"CASE WHEN TRY_CAST({foreign} AS {key_type}) = {foreign} THEN TRY_CAST({foreign} AS {key_type}) END"
    text = foreign_text_sql(foreign, foreign_type)
    return f"CASE WHEN CAST(TRY_CAST({text} AS {key_type}) AS VARCHAR) = {text} THEN TRY_CAST({text} AS {key_type}) END"


def foreign_text_sql(foreign: str, foreign_type: str) -> str:
    """SQL of a foreign key as the text of the key it names."""
    text = f"CAST({foreign} AS VARCHAR)"
    if foreign_type in _FLOATS or foreign_type.startswith("DECIMAL"):
        # 7.0 is 7: whole numbers with gaps are often stored as fractions.
        whole = f"CASE WHEN {foreign} = trunc({foreign}) THEN CAST(TRY_CAST({foreign} AS HUGEINT) AS VARCHAR) END"
        return f"coalesce({whole}, {text})"
    return text


def path_literal(path: Path) -> str:
    """A path as an SQL literal in which ``*``, ``?`` and ``[`` stand for themselves."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def _is_number(stored: str) -> bool:
    return stored.endswith("INT") or stored in ("INTEGER", *_FLOATS) or stored.startswith("DECIMAL")


def _parsed_time(value: str, arrives: str, form: str | None) -> str:
    if form in EPOCHS:
        number = f"TRY_CAST({value} AS DECIMAL(38,6))"
        return f"TRY(make_timestamp(CAST(round({number} * {EPOCHS[form]}) AS BIGINT)))"
    if form is not None:
        text = value if arrives == "VARCHAR" else f"CAST({value} AS VARCHAR)"
        parsed = f"try_strptime({text}, {literal(form)})"
        return f"timezone('UTC', {parsed})" if "%z" in form else parsed
    if arrives == "VARCHAR":
        return moment_sql(value)
    if arrives == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {value})"
    return f"TRY_CAST({value} AS TIMESTAMP)"
