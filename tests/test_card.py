"""The schema card: what is written is read back, and a wrong card says where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kincast.card import card_text, column_place, key_place, link_place, parse_card, read_card, time_place, write_card
from kincast.clock import Span
from kincast.errors import SchemaError, StorageError
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

CASES = Path(__file__).parent / "cases" / "source"

CARD = """\
tables:
  customers:
    key: customer_id
    time: first_seen
    columns:
      customer_id: {type: id, stored: BIGINT}
      first_seen: {type: timestamp, stored: VARCHAR, format: "%d.%m.%Y"}
      interests: {type: multicategorical, stored: VARCHAR, separator: "|"}
  orders:
    key: [shop, number]
    time: {column: day, clock: start, shift: -1 day}
    end_time: gone
    columns:
      shop: {type: id, stored: INTEGER}
      number: {type: id, stored: INTEGER}
      customer: {type: id, stored: BIGINT}
      day: {type: timestamp, stored: DATE}
      start: {type: ignored, stored: TIME}
      gone: {type: timestamp, stored: TIMESTAMP}
  lines:
    time: {via: number}
    columns:
      shop: {type: id, stored: INTEGER}
      number: {type: id, stored: INTEGER}
links:
  - orders.customer -> customers.customer_id
  - lines.(shop, number) -> orders.(shop, number)
"""


def test_reads_what_a_person_would_write() -> None:
    schema = parse_card(CARD)
    assert schema.table("customers").column("first_seen").format == "%d.%m.%Y"
    assert schema.table("customers").column("interests").separator == "|"
    assert schema.table("orders").key == ("shop", "number")
    assert schema.table("orders").time == RowTime("day", "start", None, Span(-1, "days"))
    assert schema.table("orders").end_time == "gone"
    assert schema.table("lines").key == ()
    assert schema.table("lines").time == RowTime(via="number")
    assert schema.links == (
        Link("orders", ("customer",), "customers", ("customer_id",)),
        Link("lines", ("shop", "number"), "orders", ("shop", "number")),
    )


def test_evidence_is_written_beside_what_it_is_about(tmp_path: Path) -> None:
    schema = parse_card(CARD)
    evidence = {
        key_place("customers"): "no two of 9 rows share it",
        time_place("lines"): "time of its order",
        column_place("orders", "day"): "2024-01-01 to 2024-12-31",
        link_place(schema.links[0]): "all 9 values found\nin two lines",
    }
    write_card(tmp_path / "schema.yaml", schema, evidence)
    text = (tmp_path / "schema.yaml").read_text(encoding="utf-8")
    assert re.search(r"key: customer_id +# no two of 9 rows share it\n", text)
    assert re.search(r"time: \{via: number\} +# time of its order\n", text)
    assert re.search(r"day: \{type: timestamp, stored: DATE\} +# 2024-01-01 to 2024-12-31\n", text)
    assert re.search(r"- orders.customer -> customers.customer_id +# all 9 values found in two lines\n", text)
    assert read_card(tmp_path / "schema.yaml") == schema
    assert [path.name for path in tmp_path.iterdir()] == ["schema.yaml"]


def test_names_that_a_person_need_not_quote() -> None:
    columns = "{id: {type: id, stored: BIGINT}, up: {type: id, stored: BIGINT}}"
    schema = parse_card(f"tables: {{a.b: {{key: id, columns: {columns}}}}}\nlinks: [a.b.up -> a.b.id]")
    assert schema.links == (Link("a.b", ("up",), "a.b", ("id",)),)


def _cases() -> list[tuple[str, str, str]]:
    text = (CASES / "cards.txt").read_text(encoding="utf-8")
    cases = []
    for case in text.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        card, _, message = rest.partition("--- error\n")
        cases.append((title, card, message.strip("\n")))
    return cases


@pytest.mark.parametrize(("title", "card", "message"), _cases(), ids=[case[0] for case in _cases()])
def test_wrong_cards(title: str, card: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_card(card)
    assert str(caught.value) == message, title


def test_a_card_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="there is no schema card") as caught:
        read_card(tmp_path / "schema.yaml")
    assert caught.value.hint == "kincast init"
    (tmp_path / "schema.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SchemaError, match="cannot be read"):
        read_card(tmp_path / "schema.yaml")


def test_a_card_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_card(tmp_path / "file" / "schema.yaml", parse_card(CARD), {})


NAMES = st.one_of(
    st.sampled_from(
        ["id", "yes", "null", "a.b", "a b", 'q"q', "->", "1", "~", "", "#x", "{a}", "a: b", "- a", "(x)", ","]
    ),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
)
SPANS = st.builds(Span, st.integers(-99, 99), st.sampled_from(["seconds", "days", "months", "years"]))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Schemas with any names, each table pointing at earlier ones."""
    tables: list[Table] = []
    links: list[Link] = []
    for name in draw(st.lists(NAMES.filter(bool), unique=True, max_size=3)):
        columns = [
            Column(
                column,
                draw(st.sampled_from(SemanticType)),
                draw(st.sampled_from(["BIGINT", "VARCHAR", "VARCHAR[]", "DECIMAL(9,2)", "TIMESTAMP WITH TIME ZONE"])),
                draw(st.none() | NAMES),
                draw(st.none() | NAMES),
            )
            for column in draw(st.lists(NAMES.filter(bool), unique=True, min_size=1, max_size=4))
        ]
        names = [column.name for column in columns]
        key = tuple(draw(st.permutations(names)))[: draw(st.integers(0, 2))]
        target = draw(st.sampled_from([t for t in tables if 0 < len(t.key) <= len(names)] or [None]))
        via = None
        if target is not None:
            own = tuple(draw(st.permutations(names)))[: len(target.key)]
            links.append(Link(name, own, target.name, target.key))
            via = own[0]
        time = None
        if via is not None and draw(st.booleans()):
            time = RowTime(via=via, shift=draw(st.none() | SPANS))
        elif draw(st.booleans()):
            time = RowTime(names[0], draw(st.none() | st.sampled_from(names)), None, draw(st.none() | SPANS))
        tables.append(Table(name, tuple(columns), key, time, draw(st.none() | st.sampled_from(names))))
    return Schema(tuple(tables), tuple(links))


SHOUTED = Schema((Table("t", (Column("NO", SemanticType.NUMERICAL, "BIGINT", "TRUE", "NULL"),), ()),), ())


@settings(max_examples=60, deadline=None)
@given(schema=schemas(), note=st.text(max_size=8))
@example(schema=SHOUTED, note="")
def test_what_is_written_is_read_back(schema: Schema, note: str) -> None:
    evidence = {key_place(t.name): note for t in schema} | {time_place(t.name): note for t in schema}
    evidence |= {column_place(t.name, c.name): note for t in schema for c in t.columns}
    evidence |= {link_place(link): note for link in schema.links}
    assert parse_card(card_text(schema, evidence)) == schema
    assert parse_card(card_text(schema, {})) == schema
