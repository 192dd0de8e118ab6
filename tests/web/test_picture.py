"""The schema picture shows every table and link, whatever their shape."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kincast.schema import Column, Link, Schema, SemanticType, Table
from kincast.web.picture import schema_picture

SIZES = st.integers(1, 6)


def _schema(num_tables: int, pairs: list[tuple[int, int]]) -> Schema:
    columns = tuple(Column(f"c{i}", SemanticType.ID, "BIGINT") for i in range(num_tables + 1))
    tables = tuple(Table(f"t{i}", columns, ("c0",)) for i in range(num_tables))
    links = {(a % num_tables, b % num_tables) for a, b in pairs}
    return Schema(tables, tuple(Link(f"t{a}", (f"c{b + 1}",), f"t{b}", ("c0",)) for a, b in sorted(links)))


@given(SIZES, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_every_table_and_link_is_drawn_even_in_circles(num_tables: int, pairs: list[tuple[int, int]]) -> None:
    schema = _schema(num_tables, pairs)
    drawing = schema_picture(schema, {})
    assert drawing.count("<rect") == num_tables
    assert drawing.count('class="link"') == len(schema.links)
    assert "nan" not in drawing


def test_what_is_pointed_at_stands_left_of_what_points_at_it() -> None:
    drawing = schema_picture(_schema(3, [(0, 1), (1, 2)]), {})
    left = {name: float(x) for x, name in re.findall(r'<text class="name" x="([\d.]+)" y="[\d.]+">(\w+)', drawing)}
    assert left["t2"] < left["t1"] < left["t0"]


def test_a_table_stands_next_to_what_points_at_it() -> None:
    drawing = schema_picture(_schema(4, [(0, 1), (1, 2), (0, 3)]), {})
    left = {name: float(x) for x, name in re.findall(r'<text class="name" x="([\d.]+)" y="[\d.]+">(\w+)', drawing)}
    assert left["t3"] == left["t1"]


def test_predicted_tables_are_marked_and_rows_counted() -> None:
    drawing = schema_picture(_schema(2, []), {"t0": 12345}, frozenset({"t1"}))
    assert drawing.count('class="entity"') == 1
    assert "12,345" in drawing
