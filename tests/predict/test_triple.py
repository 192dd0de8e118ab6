"""A completed knowledge graph: what is missing is the best answer both ways, and bad keys are named."""

from __future__ import annotations

import pytest
from tests.ring import make_ring

from kincast.errors import KeyNotFoundError, ProjectError
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.predict.triple import TriplePredictor
from kincast.project import Project
from kincast.registry.version import Version
from kincast.train.run import train_task

Trained = tuple[Project, Version, TriplePredictor, list[tuple[str, str, str]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A version, and the facts that its database lacks."""
    folder = tmp_path_factory.mktemp("ring")
    project, snapshot = make_ring(folder)
    (folder / "less").mkdir()
    project, less = make_ring(folder / "less", "DELETE FROM facts WHERE part = 'test' AND head < 'station 030'")
    version = train_task(project, "line", snapshot=less)
    names = ["head", "relation", "tail"]
    every, there = (
        set(zip(*one.columns("facts", names).to_pydict().values(), strict=True)) for one in (snapshot, less)
    )
    predictor = Predictor.load(version, less, project.work / "features")
    assert isinstance(predictor, TriplePredictor)
    return project, version, predictor, sorted(every - there)


def test_missing_facts_are_the_best_answers_both_ways(trained: Trained) -> None:
    _, _, predictor, missing = trained
    assert len(missing) > 5
    tails = predictor.predict([(head, relation) for head, relation, _ in missing])
    heads = predictor.predict([(tail, f"^{relation}") for _, relation, tail in missing])
    first = [row["items"][0]["key"] for row in (*tails.outcomes(), *heads.outcomes())]
    wanted = [tail for *_, tail in missing] + [head for head, *_ in missing]
    assert sum(a == b for a, b in zip(first, wanted, strict=True)) > 0.8 * len(wanted)
    table = tails.as_table()
    assert table.column_names == ["name", "relation", "as_of", "item_name", "rank", "score"]


def test_batch_asks_every_question_of_a_known_fact_and_answers_as_online(trained: Trained) -> None:
    project, version, predictor, _ = trained
    result = predict_all(project, version, snapshot=predictor.snapshot)  # type: ignore[arg-type]
    keys = list(zip(*result.predictions.keys.to_pydict().values(), strict=True))
    with predictor.snapshot.open_tables() as tables, tables.connect() as connection:  # type: ignore[union-attr]
        facts = connection.execute("SELECT head, relation, tail FROM facts").fetchall()
    assert set(keys) == {(h, r) for h, r, _ in facts} | {(t, f"^{r}") for _, r, t in facts}
    known = {(h, r, t) for h, r, t in facts} | {(t, f"^{r}", h) for h, r, t in facts}
    outcomes = result.predictions.outcomes()
    named = {(*key, item["key"]) for key, row in zip(keys, outcomes, strict=True) for item in row["items"]}
    assert not named & known
    assert predictor.predict(keys[:7]).outcomes() == outcomes[:7]
    assert result.embeddings.shape == (len(keys), 32)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("station 999", "after"), "stations"),
        (("station 001", "under"), r"facts\.relation"),
        ("station 001", "a row and a relation"),
        (("station 001",), "a row and a relation"),
    ],
)
def test_bad_keys_are_named(trained: Trained, key: object, words: str) -> None:
    with pytest.raises(KeyNotFoundError, match=words):
        trained[2].predict([("station 001", "after"), key])


def test_nothing_asked_is_nothing_answered(trained: Trained) -> None:
    assert trained[2].predict([]).outcomes() == []


def test_what_reads_neighbourhoods_is_refused(trained: Trained) -> None:
    with pytest.raises(ProjectError, match="cannot be explained"):
        trained[2].why([("station 001", "after")])
