"""Tables of versions: what a card says, what is refused, and what staging keeps of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.versions import CUSTOMERS, ORDERS, SCHEMA, day_us, make_versions, write_versions

from kincast.card import card_text, parse_card
from kincast.errors import SchemaError
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import NEVER_US
from kincast.report import Verdict
from kincast.schema import Link, RowTime, Schema
from kincast.source.check import check_tables
from kincast.source.open import open_source

CARD = card_text(SCHEMA, {})
VERSIONS = "    versions: {from: valid_from, to: valid_to}"


def test_a_card_says_from_when_to_when_and_reads_back() -> None:
    assert "versions: {from: valid_from, to: valid_to}" in CARD
    assert parse_card(CARD) == SCHEMA
    assert Schema.from_dict(SCHEMA.as_dict()) == SCHEMA


def test_a_schema_without_versions_keeps_its_digest() -> None:
    plain = Schema((ORDERS,))
    assert "versioned" not in str(plain.as_dict())
    assert Schema.from_dict(plain.as_dict()) == plain


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (VERSIONS, "    versions: {from: valid_from}", "have no 'to'"),
        (VERSIONS, "    versions: {from: nowhere, to: valid_to}", "'nowhere' is no column of customers"),
        (VERSIONS, "    versions: yes", "'versions' must be a mapping"),
        ("    versions:", "    end_time: valid_to\n    versions:", "'versions', which say its end_time too"),
        ("    key: customer_id\n    versions:", "    versions:", "no key that says what they are versions of"),
    ],
)
def test_what_is_wrong_with_versions_is_said(old: str, new: str, said: str) -> None:
    assert old in CARD
    with pytest.raises(SchemaError, match=said):
        parse_card(CARD.replace(old, new, 1))


def test_no_table_takes_its_time_from_one_that_has_many() -> None:
    orders = replace(ORDERS, time=RowTime(via="customer_id"))
    with pytest.raises(SchemaError, match="which has versions and so many times"):
        Schema((CUSTOMERS, orders), SCHEMA.links)
    with pytest.raises(SchemaError, match="needs a key and the columns"):
        Schema((replace(CUSTOMERS, end_time=None),))


def test_versions_end_when_the_next_begins_and_only_twins_are_rejected(tmp_path: Path) -> None:
    versions = [(1, 0, None, 0), (1, 10, 15, 1), (1, 20, None, 2), (1, 20, 30, 3), (2, 5, 9, 0)]
    snapshot = make_versions(tmp_path, versions, [(1, 1, 3), (2, 7, 3)])
    table = snapshot.tables["customers"]
    assert table.time_us is not None
    assert table.end_us is not None
    assert table.time_us.tolist() == [day_us(at) for at in (0, 5, 10, 20)]
    assert table.end_us[[0, 1, 2]].tolist() == [day_us(at) for at in (10, 9, 15)]
    assert table.end_us[3] in (NEVER_US, day_us(30))
    assert table.versions is not None
    assert table.versions.forward.tolist() == [0, 1, 0, 0]
    assert table.versions.rows[table.versions.offsets[0] : table.versions.offsets[1]].tolist() == [0, 2, 3]
    assert snapshot.links[0].forward.tolist() == [0, -1]
    with snapshot.open_tables() as tables:
        assert tables.counts["customers"].rejected == {"key.duplicate": 1}
        report = check_tables(tables, now_us=day_us(1000))
    assert not [check for check in report.checks if check.name == "link.later" and check.verdict is Verdict.WARN]
    assert [check.value for check in report.checks if check.name == "link.orphan"] == [0.5]


def test_a_link_from_versions_to_versions_of_the_same_table(tmp_path: Path) -> None:
    link = Link("customers", ("segment",), "customers", ("customer_id",))
    schema = Schema((CUSTOMERS, ORDERS), (*SCHEMA.links, link))
    write_versions(tmp_path / "v.duckdb", [(1, 0, 10, 2), (1, 10, None, 2), (2, 3, 9, 1), (2, 9, None, 5)], [])
    snapshot = build_snapshot(open_source(str(tmp_path / "v.duckdb")), schema, tmp_path / "snapshots")
    # By time: customer 1, 2, 2, 1; each leads to the first version of the other, or nowhere.
    assert snapshot.links[1].forward.tolist() == [1, 0, -1, 1]
