"""Messages of logical decoding, as PostgreSQL 15 sent them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.errors import SourceError
from kincast.source.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Relation,
    RelationColumn,
    Truncate,
    Type,
    Update,
    format_lsn,
    parse_lsn,
    parse_message,
)

RECORDED: dict[str, tuple[str, Message]] = {
    "begin": (
        "42000000000152ca00000303c8d897ea50000002d5",
        Begin(final_lsn=22202880, commit_us=1795270892309072, xid=725),
    ),
    "commit": (
        "4300000000000152ca00000000000152ca30000303c8d897ea50",
        Commit(commit_lsn=22202880, end_lsn=22202928, commit_us=1795270892309072),
    ),
    "type": ("59000040017075626c696300636f6c6f757200", Type(16385, "public", "colour")),
    "relation": (
        "52000040057075626c69630074006400020169640000000017ffffffff0063000000041200000009",
        Relation(
            16389,
            "public",
            "t",
            "d",
            (RelationColumn("id", True, 23, -1), RelationColumn("c", False, 1042, 9)),
        ),
    ),
    "insert": (
        "49000040054e00087400000001326e6e6e6e6e6e6e",
        Insert(16389, ("2", None, None, None, None, None, None, None)),
    ),
    "update of the key": (
        "55000040054b00087400000001326e6e6e6e6e6e6e4e00087400000001336e6e6e6e6e6e6e",
        Update(16389, ("2", *[None] * 7), False, ("3", *[None] * 7)),
    ),
    "update with a value left alone": (
        "55000040054e0003740000000137740000000171" + "75",
        Update(16389, None, False, ("7", "q", UNCHANGED)),
    ),
    "update with the whole old row": (
        "55000040054f0001740000000137" + "4e0001740000000138",
        Update(16389, ("7",), True, ("8",)),
    ),
    "delete": (
        "44000040054b00087400000001336e6e6e6e6e6e6e",
        Delete(16389, ("3", *[None] * 7), False),
    ),
    "delete of a whole row": ("44000040054f0001740000000137", Delete(16389, ("7",), True)),
    "truncate": ("54000000010000004005", Truncate((16389,))),
    "origin": ("4f000000000000002a6100", Origin(42, "a")),
}


@pytest.mark.parametrize("name", RECORDED)
def test_reads_what_was_recorded(name: str) -> None:
    recorded, message = RECORDED[name]
    assert parse_message(bytes.fromhex(recorded)) == message


@pytest.mark.parametrize("name", RECORDED)
def test_refuses_what_is_cut_off_or_too_long(name: str) -> None:
    data = bytes.fromhex(RECORDED[name][0])
    for end in range(len(data)):
        with pytest.raises(SourceError, match="cannot be read"):
            parse_message(data[:end])
    with pytest.raises(SourceError, match="1 bytes too many"):
        parse_message(data + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(SourceError):
        parse_message(data)


@given(st.lists(st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=5))
def test_values_come_back(values: list[str | None]) -> None:
    cells = [b"n" if v is None else b"t" + len(v.encode()).to_bytes(4, "big") + v.encode() for v in values]
    data = b"I" + (7).to_bytes(4, "big") + b"N" + len(values).to_bytes(2, "big") + b"".join(cells)
    assert parse_message(data) == Insert(7, tuple(values))


@given(st.integers(0, 2**63 - 1))
def test_positions_come_back(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_a_position_that_is_none() -> None:
    with pytest.raises(SourceError, match="not a position"):
        parse_lsn("here")
