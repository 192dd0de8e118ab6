"""Picture: the tables of a database and the links between them, drawn as boxes and curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from kincast.schema import Link, Schema, Table
from kincast.web.svg import element

WIDTH, HEIGHT = 176, 62
GAP_X, GAP_Y = 92, 22


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float


def schema_picture(schema: Schema, rows: Mapping[str, int], entities: frozenset[str] = frozenset()) -> Markup:
    """Tables in columns: what is pointed at stands left of what points at it.

    Args:
        schema: tables and links.
        rows: rows per table; a table that is not in it shows no number.
        entities: tables whose rows are predicted, drawn with the accent.
    """
    columns = _columns(schema)
    tallest = max(len(column) for column in columns)
    boxes = {}
    for index, column in enumerate(columns):
        start = (tallest - len(column)) * (HEIGHT + GAP_Y) / 2
        for place, name in enumerate(column):
            boxes[name] = _Box(index * (WIDTH + GAP_X) + 1, start + place * (HEIGHT + GAP_Y) + 14)
    width = len(columns) * WIDTH + (len(columns) - 1) * GAP_X + 30
    height = tallest * (HEIGHT + GAP_Y) + 8
    parts = [_link(link, boxes) for link in schema.links]
    parts += [
        _table(schema, table, boxes[table.name], rows.get(table.name), table.name in entities) for table in schema
    ]
    names = ", ".join(table.name for table in schema)
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    return element("svg", *parts, class_="schema", role="img", aria_label=f"the tables {names} and their links", **size)


def _columns(schema: Schema) -> list[list[str]]:
    level = {table.name: 0 for table in schema}
    # A table stands one column right of what it points at; a circle of links ends the search.
    for _ in level:
        for link in schema.links:
            if link.table != link.target:
                level[link.table] = max(level[link.table], min(level[link.target] + 1, len(level) - 1))
    # Then as far right as what points at it allows, so that few links pass behind other tables.
    for name in sorted(level, key=lambda name: -level[name]):
        nearest = min((level[k.table] for k in schema.links_to(name) if k.table != name), default=level[name] + 1)
        level[name] = max(level[name], nearest - 1)
    used = sorted(set(level.values()))
    columns = [[table.name for table in schema if level[table.name] == value] for value in used]
    for left, column in pairwise(columns):
        place = {name: index for index, name in enumerate(left)}
        column.sort(key=lambda name: _mean([place[k.target] for k in schema.links_from(name) if k.target in place]))
    return columns


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _table(schema: Schema, table: Table, box: _Box, num_rows: int | None, is_entity: bool) -> Markup:
    via = schema.time_link(table)
    when = f"time of its {via.target}" if via else f"time {table.time.column}" if table.time else "timeless"
    lines = [("name", table.name), ("detail", f"key {', '.join(table.key) or '–'}"), ("detail", when)]
    parts = [
        element("rect", class_="entity" if is_entity else "box", x=box.x, y=box.y, width=WIDTH, height=HEIGHT, rx=4)
    ]
    for index, (name, text) in enumerate(lines):
        short = _short(text, 15 if index == 0 and num_rows is not None else 26)
        parts.append(element("text", short, class_=name, x=box.x + 11, y=box.y + 20 + 16 * index))
    if num_rows is not None:
        count = f"{num_rows:,}"
        parts.append(element("text", count, class_="count", x=box.x + WIDTH - 11, y=box.y + 20, text_anchor="end"))
    return element("g", element("title", f"{table.name}: {', '.join(column.name for column in table.columns)}"), *parts)


def _link(link: Link, boxes: Mapping[str, _Box]) -> Markup:
    start, end = boxes[link.table], boxes[link.target]
    title = element("title", link.name)
    if link.table == link.target:
        x, y = start.x + WIDTH, start.y + HEIGHT / 2
        d = f"M{x:.0f},{y - 12:.0f} C{x + 34:.0f},{y - 26:.0f} {x + 34:.0f},{y + 26:.0f} {x:.0f},{y + 12:.0f}"
        return element("path", title, class_="link", d=d)
    x1, y1 = start.x, start.y + HEIGHT / 2
    x2, y2 = end.x + WIDTH, end.y + HEIGHT / 2
    bend = max(GAP_X / 2, (x1 - x2) / 2)
    curve = element(
        "path",
        title,
        class_="link",
        d=f"M{x1:.0f},{y1:.0f} C{x1 - bend:.0f},{y1:.0f} {x2 + bend:.0f},{y2:.0f} {x2:.0f},{y2:.0f}",
    )
    return element("g", curve, element("circle", class_="end", cx=x2, cy=y2, r=3.5))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
