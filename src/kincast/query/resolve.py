"""Resolve: names → tables, columns and links of the schema, in any case, with the nearest name when there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeVar

from kincast.errors import QueryError
from kincast.query.named import Texts
from kincast.query.print import print_node, print_ref
from kincast.query.tree import (
    Aggregate,
    And,
    Arithmetic,
    At,
    Bound,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Entity,
    Not,
    Operand,
    Or,
    Query,
    Target,
)
from kincast.schema import Column, Link, Schema, Table

MAX_HOPS = 4
_Named = TypeVar("_Named", Table, Column)


def resolve(query: Query, schema: Schema, texts: Texts) -> tuple[Query, Table]:
    """Bind every name of a query.

    Args:
        query: as parsed.
        schema: what the names mean.
        texts: what errors point into.

    Returns:
        The query with ``bound`` and ``path`` set and names spelt as in the schema, and the entity's table.

    Raises:
        QueryError: a name is unknown or ambiguous, or no path of foreign keys leads to it.
    """
    resolver = _Resolver(schema, texts)
    entity, table = resolver.entity(query.entity)
    resolved = dataclasses.replace(
        query,
        entity=entity,
        target=resolver.target(query.target, table),
        more=tuple(resolver.target(target, table) for target in query.more),
        where=resolver.condition(query.where, table) if query.where else None,
        assuming=resolver.condition(query.assuming, table) if query.assuming else None,
    )
    return resolved, table


def find_paths(schema: Schema, context: str, fact: str) -> list[tuple[Link, ...]]:
    """Ways from a table down to one whose rows belong to its rows, shortest first.

    Args:
        schema: tables and links.
        context: the table at the top.
        fact: the table at the bottom.

    Returns:
        Tuples of links, the one that ends at ``context`` first; no table is passed twice, but a link of the table to
        itself counts when both are the same.
    """
    paths: list[tuple[Link, ...]] = []

    def walk(path: tuple[Link, ...], seen: frozenset[str]) -> None:
        bottom = path[-1].table if path else context
        if path and bottom == fact:
            paths.append(path)
            return
        if len(path) < MAX_HOPS:
            for link in schema.links_to(bottom):
                if link.table not in seen or (not path and link.table == fact == context):
                    walk((*path, link), seen | {link.table})

    walk((), frozenset({context}))
    return sorted(paths, key=len)


class _Resolver:
    """The schema and the texts, with one method for each kind of name."""

    def __init__(self, schema: Schema, texts: Texts) -> None:
        self.schema = schema
        self.texts = texts

    def error(self, what: str, at: At, hint: str | None = None) -> QueryError:
        return self.texts.error(what, at, hint)

    def entity(self, entity: Entity) -> tuple[Entity, Table]:
        ref = entity.ref
        if ref.star:
            raise self.error("the entity is a table's key, not its columns", ref.at)
        table = self.written_key(entity) if entity.more else self.entity_table(ref)
        if table is None:
            table, column = self.column(ref)
            if not table.key:
                raise self.keyless(table, ref.at)
            own = ", ".join(table.key)
            if len(table.key) > 1:
                hint = f"its key is ({own}): write FOR EACH {_spelt(table.name)}"
                raise self.error(f"{table.name} has a key of several columns", ref.at, hint)
            if (column.name,) != table.key:
                hint = f"did you mean {_spelt(table.name)}.{own}?"
                raise self.error(f"{table.name}.{column.name} is not the primary key of {table.name}", ref.at, hint)
        if not table.key:
            raise self.keyless(table, ref.at)
        for key in entity.keys or ():
            if len(key) != len(table.key):
                shape = f"({', '.join(table.key)})" if len(table.key) > 1 else f"one value of {table.key[0]}"
                raise self.error(f"a key of {table.name} is {shape}", key[0].at.to(key[-1].at))
        tail = table.key if len(table.key) == 1 else ()
        spelt = dataclasses.replace(ref, parts=(*_parts(table.name), *tail))
        return dataclasses.replace(entity, ref=spelt, more=()), table

    def keyless(self, table: Table, at: At) -> QueryError:
        what = f"table {table.name} has no primary key, so its rows cannot be predicted for"
        with_key = [other.name for other in self.schema if other.key]
        hint = f"give it a key in the schema card; tables with a key: {', '.join(with_key[:12]) or 'none'}"
        return self.error(what, at, hint)

    def written_key(self, entity: Entity) -> Table:
        """The table whose key columns are written out, in any order only where no keys are listed."""
        found = [self.column(ref) for ref in (entity.ref, *entity.more)]
        table, names = found[0][0], tuple(column.name for _, column in found)
        alike = names == table.key if entity.keys else sorted(names) == sorted(table.key)
        if any(other.name != table.name for other, _ in found) or not alike:
            key = ", ".join(f"{_spelt(table.name)}.{name}" for name in table.key)
            hint = f"its key is ({key})" if table.key else f"{table.name} has no primary key"
            raise self.error(
                f"these are not the key columns of {table.name}", entity.ref.at.to(entity.more[-1].at), hint
            )
        return table

    def entity_table(self, ref: ColumnRef) -> Table | None:
        """The table when the name is a table alone; None when it is a column, known or not."""
        owner = self.find_table(ref.parts[:-1]) if len(ref.parts) > 1 else None
        if owner is not None and self.pick(owner.columns, ref.parts[-1], ref.at) is not None:
            return None
        table = self.find_table(ref.parts)
        if table is None and len(ref.parts) == 1:
            raise self.unknown_table(ref.parts, ref.at)
        return None if owner is not None else table

    def target(self, node: Target, context: Table) -> Target:
        if isinstance(node, Condition):
            return self.condition(node, context)
        return self.operand(node, context)

    def operand(self, node: Operand, context: Table) -> Operand:
        if isinstance(node, Aggregate):
            return self.aggregate(node, context)
        if isinstance(node, ColumnRef):
            return self.reachable(node, context)
        if isinstance(node, Constant):
            return node
        return Arithmetic(node.sign, self.operand(node.left, context), self.operand(node.right, context), node.at)

    def condition(self, node: Condition, context: Table) -> Condition:
        if isinstance(node, Compare):
            right = tuple(self.operand(item, context) for item in node.right)
            return Compare(self.operand(node.left, context), node.op, right, node.at)
        if isinstance(node, Not):
            return Not(self.condition(node.item, context), node.at)
        items = tuple(self.condition(item, context) for item in node.items)
        return And(items, node.at) if isinstance(node, And) else Or(items, node.at)

    def aggregate(self, node: Aggregate, context: Table) -> Aggregate:
        fact, column = self.table_and_column(node.column)
        paths = self.paths(node, context, fact)
        bound = Bound(fact.name, column) if column else None
        ref = dataclasses.replace(
            node.column, parts=(*_parts(fact.name), *([column.name] if column else [])), bound=bound
        )
        via = tuple(self.spelt(ref) for ref in node.via)
        where = self.condition(node.where, fact) if node.where else None
        by = self.spelt(node.by) if node.by else None
        return dataclasses.replace(node, column=ref, where=where, via=via, by=by, path=paths[0])

    def paths(self, node: Aggregate, context: Table, fact: Table) -> list[tuple[Link, ...]]:
        """The one path from the context to the fact table, as a list of one."""
        paths = find_paths(self.schema, context.name, fact.name)
        if not paths:
            raise self.no_path(node, context, fact)
        if node.via:
            wanted = [self.via(ref) for ref in node.via]
            paths = [path for path in paths if all(any(link in path for link in links) for links in wanted)]
            if len(paths) > 1:
                exact = [path for path in paths if len(path) == len(node.via)]
                paths = exact or paths
            if not paths:
                keys = ", ".join(print_ref(ref) for ref in node.via)
                what = f"VIA {keys} does not lead from {fact.name} to {context.name}"
                ways = _ways(find_paths(self.schema, context.name, fact.name))
                raise self.error(what, node.via[0].at.to(node.via[-1].at), f"the ways are: {ways}")
        direct: list[tuple[Link, ...]] = [path for path in paths if len(path) == 1]
        if len(direct) == 1:
            return direct
        choices = direct or paths
        if len(choices) > 1:
            what = f"{len(choices)} ways lead from {fact.name} to {context.name}: {_ways(choices)}"
            written = print_node(dataclasses.replace(node, via=(), by=None))
            hint = f"settle it: {written} followed by {' or '.join(f'VIA {_way(choice)}' for choice in choices[:4])}"
            raise self.error(what, node.at, hint)
        return choices

    def via(self, ref: ColumnRef) -> list[Link]:
        table, column = self.column(ref)
        links = [link for link in self.schema.links_from(table.name) if column.name in link.columns]
        if not links:
            names = ", ".join(
                f"{table.name}.{name}" for link in self.schema.links_from(table.name) for name in link.columns
            )
            hint = f"the foreign keys are {names}" if names else f"{table.name} has no foreign keys"
            raise self.error(f"{table.name}.{column.name} is not a foreign key", ref.at, hint)
        return links

    def no_path(self, node: Aggregate, context: Table, fact: Table) -> QueryError:
        at = node.column.at
        if fact.name == context.name:
            what = f"{fact.name} is the entity itself: there is nothing to aggregate over"
            return self.error(what, at, "aggregate a table that has a foreign key to it, or predict a column")
        if find_paths(self.schema, fact.name, context.name):
            what = f"each row of {context.name} has one row of {fact.name}, so there is nothing to aggregate"
            return self.error(what, at, "name the column itself")
        near = sorted({link.table for link in self.schema.links_to(context.name)})
        hint = f"tables with a foreign key to {context.name}: {', '.join(near) or 'none'}"
        return self.error(f"no foreign keys lead from {fact.name} to {context.name}", at, hint)

    def reachable(self, ref: ColumnRef, context: Table) -> ColumnRef:
        """Bind a bare column: of the context table, or one many-to-one link away."""
        table, column = self.table_and_column(ref)
        if column is None:
            raise self.error("'*' stands only in COUNT(table.*)", ref.at)
        hop = None
        if table.name != context.name:
            links = [link for link in self.schema.links_from(context.name) if link.target == table.name]
            if len(links) != 1:
                raise self.unreachable(ref, table, column, context, links)
            hop = links[0]
        parts = (*_parts(table.name), column.name)
        return dataclasses.replace(ref, parts=parts, bound=Bound(table.name, column, hop))

    def unreachable(
        self, ref: ColumnRef, table: Table, column: Column, context: Table, links: Sequence[Link]
    ) -> QueryError:
        name = f"{table.name}.{column.name}"
        if links:
            keys = ", ".join(f"{link.table}.{'+'.join(link.columns)}" for link in links)
            return self.error(f"several foreign keys lead from {context.name} to {table.name}: {keys}", ref.at)
        if find_paths(self.schema, context.name, table.name):
            what = f"{name} must be aggregated: a row of {context.name} has many rows of {table.name}"
            return self.error(what, ref.at, f"aggregate it over a window, such as LAST({name}, …)")
        if find_paths(self.schema, table.name, context.name):
            what = f"{name} is more than one foreign key away from {context.name}"
            return self.error(what, ref.at, "only columns one foreign key away can be used")
        return self.error(f"no foreign key leads from {context.name} to {table.name}", ref.at)

    def spelt(self, ref: ColumnRef) -> ColumnRef:
        table, column = self.column(ref)
        return dataclasses.replace(ref, parts=(*_parts(table.name), column.name), bound=Bound(table.name, column))

    def column(self, ref: ColumnRef) -> tuple[Table, Column]:
        table, column = self.table_and_column(ref)
        if column is None:
            raise self.error("a column is needed here, not all of them", ref.at)
        return table, column

    def table_and_column(self, ref: ColumnRef) -> tuple[Table, Column | None]:
        names = ref.parts if ref.star else ref.parts[:-1]
        if not names:
            table = self.find_table(ref.parts)
            what = f"a column is written table.column; '{ref.parts[0]}' is {'a table' if table else 'one word'}"
            hint = self.with_table(ref.parts[0], table) or self.texts.hint(ref)
            raise self.error(what, ref.at, hint)
        table = self.find_table(names)
        if table is None:
            raise self.unknown_table(names, ref.at)
        if ref.star:
            return table, None
        column = self.pick(table.columns, ref.parts[-1], ref.at)
        if column is None:
            close = get_close_matches(ref.parts[-1].lower(), [c.name.lower() for c in table.columns], n=1, cutoff=0.5)
            near = [c.name for c in table.columns if close and c.name.lower() == close[0]]
            names_text = ", ".join(c.name for c in table.columns[:12])
            hint = f"did you mean {_spelt(table.name)}.{near[0]}?" if near else f"it has {names_text}"
            raise self.error(f"table {table.name} has no column {ref.parts[-1]}", ref.at, hint)
        return table, column

    def with_table(self, name: str, table: Table | None) -> str | None:
        if table is not None:
            return f"such as {_spelt(table.name)}.{table.columns[0].name}"
        owners = [t.name for t in self.schema if any(c.name.lower() == name.lower() for c in t.columns)]
        return f"did you mean {_spelt(owners[0])}.{name}?" if owners else None

    def find_table(self, names: Sequence[str]) -> Table | None:
        """The table of a dotted name; a leading schema or database name may be left out or added."""
        dotted = ".".join(names)
        found = self.pick(self.schema.tables, dotted, None)
        if found is not None:
            return found
        ends = [t for t in self.schema if t.name.lower().endswith("." + dotted.lower())]
        if len(ends) == 1:
            return ends[0]
        return self.pick(self.schema.tables, names[-1], None) if len(names) > 1 else None

    def unknown_table(self, names: Sequence[str], at: At) -> QueryError:
        dotted = ".".join(names)
        tables = {t.name.lower(): t.name for t in self.schema}
        close = get_close_matches(dotted.lower(), list(tables), n=1, cutoff=0.5)
        hint = f"did you mean {tables[close[0]]}?" if close else f"there are {', '.join(list(tables.values())[:20])}"
        return self.error(f"there is no table {dotted}", at, hint)

    def pick(self, things: Iterable[_Named], name: str, at: At | None) -> _Named | None:
        """The thing of that exact name, else the only one of that name in another case."""
        things = list(things)
        for thing in things:
            if thing.name == name:
                return thing
        alike = [thing for thing in things if thing.name.lower() == name.lower()]
        if len(alike) > 1 and at is not None:
            spelt = ", ".join(thing.name for thing in alike)
            raise self.error(f"'{name}' could be any of {spelt}", at, "write it exactly")
        return alike[0] if len(alike) == 1 else None


def _parts(table: str) -> tuple[str, ...]:
    pieces = tuple(table.split("."))
    return pieces if all(piece.isidentifier() for piece in pieces) else (table,)


def _spelt(table: str) -> str:
    return print_ref(ColumnRef(_parts(table)))


def _way(path: Sequence[Link]) -> str:
    return ", ".join(print_ref(ColumnRef((*_parts(link.table), link.columns[0]))) for link in path)


def _ways(paths: Iterable[Sequence[Link]]) -> str:
    def words() -> Iterator[str]:
        for path in paths:
            yield f"({_way(path)})"

    return " or ".join(words())
