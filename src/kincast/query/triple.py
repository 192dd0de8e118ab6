"""Triple: the facts of a knowledge graph: head, relation and tail, each in its split, and what is asked of them.

A question is a row and a relation, asked forwards for tails or backwards for heads. It is one number: the row times
``width``, plus the code of the relation. Relations that no training fact has share the code ``num_relations``, about
which nothing can be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.anchors import split_family
from kincast.query.split import NOWHERE, by_share, split_by_column
from kincast.query.task import Task
from kincast.query.tree import Aggregate
from kincast.schema import Link
from kincast.source.base import quote
from kincast.source.cast import kept_type, same_key_sql
from kincast.source.tables import Tables

Int64s = NDArray[np.int64]
BACKWARDS = "^"
"""In front of a relation that is asked for heads, as SPARQL writes an inverse path."""


@dataclass(frozen=True, slots=True)
class Triples:
    """Facts in the order of their rows, each once, in the earliest split that has it.

    Attributes:
        head: [n] int64 row of the entity table.
        relation: [n] int64 code of its name; ``len(relations)`` where no training fact has it.
        tail: [n] int64 row of the entity table.
        split: [n] int8, 0 train, 1 validation, 2 test.
        relations: names in the training facts, in order.
    """

    head: Int64s
    relation: Int64s
    tail: Int64s
    split: NDArray[np.int8]
    relations: tuple[str, ...]


def width_of(num_relations: int) -> int:
    """Codes of relations, forwards and backwards, with those of the unknown one."""
    return 2 * (num_relations + 1)


def both_ways(head: Int64s, relation: Int64s, tail: Int64s, num_relations: int) -> tuple[Int64s, Int64s]:
    """[2 n] questions that facts answer, forwards and then backwards, and [2 n] the row that is the answer."""
    width = width_of(num_relations)
    forwards = head * width + relation
    backwards = tail * width + relation + num_relations + 1
    return np.concatenate([forwards, backwards]), np.concatenate([tail, head])


def code_names(relations: tuple[str, ...]) -> list[str | None]:
    """[width] how each code is written in a key; None for those of the unknown relation."""
    return [*relations, None, *(f"{BACKWARDS}{name}" for name in relations), None]


def read_triples(task: Task, tables: Tables, split: SplitSettings) -> Triples:
    """Read the facts of a knowledge graph.

    Args:
        task: completes one.
        tables: the rows.
        split: by a column of the fact table, or by a hash of head, relation and tail.

    Raises:
        DataError: the column of the split is not there, or the name of a relation begins with ``^``.
    """
    with tables.connect() as connection:
        found: pa.Table = connection.sql(triple_statement(task)).to_arrow_table()
        rows, head, tail = (found[name].to_numpy().astype(np.int64) for name in ("fact", "row", "target"))
        splits = _splits(task, connection, rows, split)
    coded = found["relation"].combine_chunks().dictionary_encode()
    words, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)
    marked = sorted(word for word in words if word.startswith(BACKWARDS))
    if marked:
        what = f"{len(marked)} relations begin with '{BACKWARDS}', which asks for heads: {', '.join(marked[:3])}"
        raise DataError(what, where=f"{task.fact}.{task.relation}", hint="give them other names")
    known = sorted({words[code] for code in np.unique(codes[splits == 0]).tolist()})
    places = {word: place for place, word in enumerate(known)}
    relation = np.array([places.get(word, len(known)) for word in words], np.int64)[codes]
    facts = np.stack([head, codes, tail, splits])
    chosen = _first_of_each(facts)
    return Triples(head[chosen], relation[chosen], tail[chosen], splits[chosen], tuple(known))


def triple_statement(task: Task) -> str:
    """SQL of the facts: ``fact``, ``row`` of the head, ``relation``, ``target`` for the row of the tail."""
    head, tail = ends_of(task)
    fact = quote(task.fact)
    relation = f"CAST(f.{quote(task.relation)} AS VARCHAR)"
    entity = quote(task.entity)
    return (
        f"SELECT f._row AS fact, h._row AS row, {relation} AS relation, t._row AS target\nFROM {fact} f\n"
        f"JOIN {entity} h ON {_same_row(task, head, 'h')}\nJOIN {entity} t ON {_same_row(task, tail, 't')}\n"
        f"WHERE {relation} IS NOT NULL\nORDER BY f._row"
    )


def ends_of(task: Task) -> tuple[Link, Link]:
    """The foreign keys of a fact: to the row that is asked about, and to the row that is the answer."""
    target = task.query.target
    assert isinstance(target, Aggregate)
    column = target.column.column.column.name
    links = task.schema.links_from(target.fact)
    return target.path[0], next(link for link in links if column in link.columns)


def _same_row(task: Task, link: Link, alias: str) -> str:
    source, target = task.schema.table(link.table), task.schema.table(link.target)
    parts = [
        same_key_sql(f"f.{quote(a)}", kept_type(source.column(a)), f"{alias}.{quote(b)}", kept_type(target.column(b)))
        for a, b in zip(link.columns, link.target_columns, strict=True)
    ]
    return " AND ".join(parts)


def _splits(task: Task, connection: duckdb.DuckDBPyConnection, rows: Int64s, split: SplitSettings) -> NDArray[np.int8]:
    """[n] int8 split of facts; -1 where a column holds none of the three values."""
    if split_family(task, split) == "manual":
        return split_by_column(task.schema.table(task.fact), connection, rows, split)
    head, tail = ends_of(task)
    names = [*head.columns, task.relation, *tail.columns]
    parts = ", ".join([*(f"CAST({quote(name)} AS VARCHAR)" for name in names), f"'{split.seed}'"])
    sql = f"SELECT CAST('0x' || left(md5(concat_ws('/', {parts})), 8) AS BIGINT) AS h FROM {quote(task.fact)}"
    hashes = connection.execute(f"{sql} ORDER BY _row").fetchnumpy()["h"]
    return by_share(np.asarray(hashes, np.float64)[rows] / 2.0**32, split.shares)


def _first_of_each(facts: Int64s) -> Int64s:
    """Positions, ascending, of the facts [head, relation, tail, split] that some split has, each once."""
    there = np.flatnonzero(facts[3] != NOWHERE)
    order = there[np.lexsort((there, *facts[::-1, there]))]
    same = (facts[:3, order[1:]] == facts[:3, order[:-1]]).all(axis=0)
    return np.sort(order[np.concatenate([[True], ~same])]) if len(order) else order
