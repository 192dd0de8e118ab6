"""pgoutput: the messages of PostgreSQL's own logical decoding, protocol version 1, from bytes to values.

The layout is that of "Logical Replication Message Formats" in PostgreSQL's manual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final, Literal

from kincast.errors import SourceError

_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01, where PostgreSQL's own time starts, in microseconds since 1970."""

_BYTE, _SHORT, _INT = Struct(">B"), Struct(">H"), Struct(">I")
_LONG, _TIME, _SIGNED = Struct(">Q"), Struct(">q"), Struct(">i")


class Missing(Enum):
    """Why a value is not in the message although the row has it."""

    UNCHANGED = "unchanged"  # stored out of line and not touched by the update


UNCHANGED: Final = Missing.UNCHANGED
Value = str | None | Literal[Missing.UNCHANGED]
Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction starts; ``final_lsn`` is where its commit is written."""

    final_lsn: int
    commit_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction ends; what comes after it is written at ``end_lsn`` or later."""

    commit_lsn: int
    end_lsn: int
    commit_us: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The transaction was itself replicated from elsewhere."""

    lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column: whether it is part of the replica identity, and its type by number and modifier."""

    name: str
    is_key: bool
    type_oid: int
    modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    """What a table looks like at that point; ``identity`` is d (key), f (full), n (nothing) or i (an index)."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Type:
    """The name of a type that is not built in."""

    oid: int
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row, its values in the order of the relation's columns."""

    relation: int
    new: Row


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row; ``old`` is None unless its identity changed or is the whole row (``whole``)."""

    relation: int
    old: Row | None
    whole: bool
    new: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that is gone: its key and nulls, or the whole row (``whole``)."""

    relation: int
    old: Row
    whole: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that were emptied."""

    relations: tuple[int, ...]


Message = Begin | Commit | Origin | Relation | Type | Insert | Update | Delete | Truncate


def parse_message(data: bytes) -> Message:
    """Read one message.

    Raises:
        SourceError: it is cut off, longer than it should be, or of a kind that was not asked for.

    >>> parse_message(b"O" + bytes(7) + b"\\x2astaging\\x00")
    Origin(lsn=42, name='staging')
    """
    reader = _Reader(data)
    try:
        kind = reader.letter()
        message = _KINDS[kind](reader)
    except (KeyError, IndexError, ValueError, UnicodeDecodeError) as error:
        raise _unreadable(data, str(error) or type(error).__name__) from None
    if reader.place != len(data):
        raise _unreadable(data, f"{len(data) - reader.place} bytes too many")
    return message


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, layout: Struct) -> int:
        end = self.place + layout.size
        if end > len(self.data):
            raise ValueError("it is cut off")
        value: int = layout.unpack_from(self.data, self.place)[0]
        self.place = end
        return value

    def letter(self) -> str:
        return chr(self.take(_BYTE))

    def word(self) -> str:
        end = self.data.index(b"\0", self.place)
        text = self.data[self.place : end].decode()
        self.place = end + 1
        return text

    def time(self) -> int:
        return self.take(_TIME) + _EPOCH_US

    def row(self) -> Row:
        return tuple([self._value() for _ in range(self.take(_SHORT))])

    def _value(self) -> Value:
        kind = self.letter()
        if kind == "t":
            size = self.take(_INT)
            start, self.place = self.place, self.place + size
            if self.place > len(self.data):
                raise ValueError("it is cut off")
            return self.data[start : self.place].decode()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        raise ValueError(f"a value of the unknown kind {kind!r}")


def _begin(reader: _Reader) -> Begin:
    return Begin(reader.take(_LONG), reader.time(), reader.take(_INT))


def _commit(reader: _Reader) -> Commit:
    reader.take(_BYTE)  # flags, unused
    return Commit(reader.take(_LONG), reader.take(_LONG), reader.time())


def _origin(reader: _Reader) -> Origin:
    return Origin(reader.take(_LONG), reader.word())


def _relation(reader: _Reader) -> Relation:
    oid, namespace, name, identity = reader.take(_INT), reader.word(), reader.word(), reader.letter()
    columns = []
    for _ in range(reader.take(_SHORT)):
        is_key = bool(reader.take(_BYTE) & 1)
        columns.append(RelationColumn(reader.word(), is_key, reader.take(_INT), reader.take(_SIGNED)))
    return Relation(oid, namespace or "pg_catalog", name, identity, tuple(columns))


def _type(reader: _Reader) -> Type:
    return Type(reader.take(_INT), reader.word() or "pg_catalog", reader.word())


def _insert(reader: _Reader) -> Insert:
    relation = reader.take(_INT)
    _expect(reader.letter(), "N")
    return Insert(relation, reader.row())


def _update(reader: _Reader) -> Update:
    relation, mark, old, whole = reader.take(_INT), reader.letter(), None, False
    if mark in "KO":
        old, whole, mark = reader.row(), mark == "O", reader.letter()
    _expect(mark, "N")
    return Update(relation, old, whole, reader.row())


def _delete(reader: _Reader) -> Delete:
    relation, mark = reader.take(_INT), reader.letter()
    _expect(mark, "KO")
    return Delete(relation, reader.row(), mark == "O")


def _truncate(reader: _Reader) -> Truncate:
    count = reader.take(_INT)
    reader.take(_BYTE)  # cascade and restart of identities: both say nothing about rows
    return Truncate(tuple([reader.take(_INT) for _ in range(count)]))


def _expect(mark: str, allowed: str) -> None:
    if mark not in allowed:
        raise ValueError(f"{mark!r} where one of {allowed!r} belongs")


_KINDS: dict[str, Callable[[_Reader], Message]] = {
    "B": _begin,
    "C": _commit,
    "O": _origin,
    "R": _relation,
    "Y": _type,
    "I": _insert,
    "U": _update,
    "D": _delete,
    "T": _truncate,
}


def _unreadable(data: bytes, reason: str) -> SourceError:
    what = f"PostgreSQL sent a change that cannot be read: {reason}"
    return SourceError(what, where=f"message {data[:24].hex(' ')}", hint="please report this as a bug")


def parse_lsn(text: str) -> int:
    """A position in the write-ahead log as a number.

    Raises:
        SourceError: the text is none.

    >>> parse_lsn("1/A0")
    4294967456
    """
    high, _, low = text.partition("/")
    try:
        return (int(high, 16) << 32) | int(low, 16)
    except ValueError:
        raise SourceError(f"'{text}' is not a position in the write-ahead log") from None


def format_lsn(lsn: int) -> str:
    """Inverse of ``parse_lsn``.

    >>> format_lsn(4294967456)
    '1/A0'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
