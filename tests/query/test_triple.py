"""Facts of several relations: the query that asks for them, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.ring import QUERY, make_ring

from kincast.errors import DataError, QueryError
from kincast.graph.snapshot import Snapshot
from kincast.project import SplitSettings
from kincast.query.answers import Answers
from kincast.query.compile import compile_task
from kincast.query.export import export_labels
from kincast.query.labels import label_sql, make_labels
from kincast.query.print import print_query
from kincast.query.task import TaskKind
from kincast.query.triple import Triples, _first_of_each, both_ways, code_names, read_triples, width_of
from kincast.schema import Column, Link, Schema, SemanticType, Table

ID, WORD, NUMBER = SemanticType.ID, SemanticType.CATEGORICAL, SemanticType.NUMERICAL
SCHEMA = Schema(
    (
        Table("stations", (Column("name", ID, "VARCHAR"), Column("zone", WORD, "VARCHAR")), key=("name",)),
        Table("lines", (Column("line", ID, "VARCHAR"),), key=("line",)),
        Table(
            "facts",
            (
                *(Column(name, ID, "VARCHAR") for name in ("head", "tail", "line")),
                Column("relation", WORD, "VARCHAR"),
                Column("weight", NUMBER, "DOUBLE"),
            ),
        ),
    ),
    (
        Link("facts", ("head",), "stations", ("name",)),
        Link("facts", ("tail",), "stations", ("name",)),
        Link("facts", ("line",), "lines", ("line",)),
    ),
)
END = "RANK TOP 3 FOR EACH stations.name"


def triples(snapshot: Snapshot, split: SplitSettings) -> Triples:
    with snapshot.open_tables() as tables:
        return read_triples(compile_task(QUERY, snapshot.schema), tables, split)


def test_by_makes_links_facts_of_several_relations() -> None:
    task = compile_task(QUERY.lower(), SCHEMA)
    assert task.kind is TaskKind.KNOWLEDGE
    assert (task.fact, task.relation, task.item_table) == ("facts", "relation", "stations")
    assert print_query(task.query) == QUERY
    assert compile_task(print_query(task.query), SCHEMA).query == task.query


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("LIST_DISTINCT(facts.tail) VIA facts.head BY stations.zone", "stations.zone cannot tell rows of facts apart"),
        ("LIST_DISTINCT(facts.tail) VIA facts.head BY facts.weight", "a relation is a word"),
        ("LIST_DISTINCT(facts.tail) VIA facts.head BY facts.kind", "kind"),
        ("LIST_DISTINCT(facts.tail) BY facts.relation", "2 ways lead from facts to stations"),
        ("LIST_DISTINCT(facts.head) VIA facts.head BY facts.relation", "cannot be asked for too"),
        ("LIST_DISTINCT(facts.line) VIA facts.head BY facts.relation", "both ends"),
        ("LIST_DISTINCT(facts.tail WHERE facts.weight > 1) VIA facts.head BY facts.relation", "without filters"),
        ("LIST_DISTINCT(facts.tail) VIA facts.head", "points back at stations itself"),
        ("LIST_DISTINCT(facts.tail) VIA facts.head BY", "a column is written table.column"),
    ],
)
def test_other_uses_of_by_are_refused(target: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        compile_task(f"PREDICT {target} {END}", SCHEMA)


def test_the_names_of_relations_are_those_of_training_facts(tmp_path: Path) -> None:
    change = "UPDATE facts SET relation = 'beside' WHERE relation = 'after' AND part <> 'train'"
    _, snapshot = make_ring(tmp_path, f"{change}; UPDATE facts SET part = NULL WHERE relation = 'opposite'")
    found = triples(snapshot, SplitSettings(column="part"))
    assert found.relations == ("after", "before", "two_after")
    unknown = found.relation == 3
    assert unknown.sum() > 5
    assert (found.split[unknown] > 0).all()
    assert len(found.head) == 180  # facts that no split takes are not read


def test_a_fact_belongs_to_the_earliest_split_that_has_it() -> None:
    facts = np.array([(1, 0, 2, 2), (1, 0, 2, 0), (1, 0, 2, 0), (1, 1, 2, 1), (3, 0, 2, -1), (3, 0, 2, 2)]).T
    assert _first_of_each(facts).tolist() == [1, 3, 5]
    assert _first_of_each(facts[:, :0]).tolist() == []


def test_facts_are_split_by_their_keys_where_no_column_says_so(tmp_path: Path) -> None:
    _, snapshot = make_ring(tmp_path)
    found = triples(snapshot, SplitSettings())
    shares = np.bincount(found.split) / len(found.split)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.06)
    other = triples(snapshot, SplitSettings(seed=1))
    assert (other.split != found.split).any()


def test_a_relation_whose_name_would_ask_backwards_is_refused(tmp_path: Path) -> None:
    _, snapshot = make_ring(tmp_path, "UPDATE facts SET relation = '^after' WHERE relation = 'after'")
    with pytest.raises(DataError, match=r"begin with '\^'.*\^after"):
        triples(snapshot, SplitSettings(column="part"))


def test_questions_are_numbers_of_a_row_a_relation_and_a_direction() -> None:
    questions, answers = both_ways(np.array([7]), np.array([1]), np.array([3]), 2)
    rows, codes = np.divmod(questions, width_of(2))
    assert (rows.tolist(), answers.tolist()) == ([7, 3], [3, 7])
    assert [code_names(("a", "b"))[code] for code in codes] == ["b", "^b"]


def test_answers_are_found_as_a_dictionary_finds_them() -> None:
    random = np.random.default_rng(0)
    questions, items = random.integers(0, 40, 300), random.integers(0, 9, 300)
    wanted: dict[int, list[int]] = {}
    for question, item in zip(questions.tolist(), items.tolist(), strict=True):
        wanted.setdefault(question, []).append(item)
    asked = random.integers(0, 60, 100)
    owner, found = Answers.of(questions, items).to(asked)
    for place, question in enumerate(asked.tolist()):
        assert found[owner == place].tolist() == sorted(wanted.get(question, []))
    nothing = np.zeros(0, np.int64)
    assert [len(part) for part in Answers.of(nothing, nothing).to(asked)] == [0, 0]


def test_facts_are_written_with_their_keys(tmp_path: Path) -> None:
    _, snapshot = make_ring(tmp_path)
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, SplitSettings(column="part"))
        table = export_labels(task, labels, tables)
        with tables.connect() as connection:
            facts = connection.execute("SELECT head, tail, relation, part FROM facts").fetchall()
    assert table.column_names == ["name", "as_of", "target", "relation", "split"]
    written = zip(*(table[name].to_pylist() for name in ("name", "target", "relation", "split")), strict=True)
    assert sorted(written) == sorted(facts)
    with pytest.raises(DataError, match="no statement in postgres"):
        label_sql(task, (), dialect="postgres")
