"""Past labels are rows of the graph that are seen from the end of their windows on, and never before."""

from __future__ import annotations

import numpy as np
import pytest
from tests.planted import Planted

from kincast.clock import DAY_US, Span, add, parse_instant
from kincast.feature.spec import TableSpec
from kincast.model.history import HISTORY_TABLE, HistorySpec, LabelHistory, fit_history, make_history
from kincast.query.compile import compile_task
from kincast.query.labels import Labels, make_labels
from kincast.query.task import Task
from kincast.sample.batch import Seeds
from kincast.sample.sampler import Sampler
from kincast.testing.planted import QUERY

STEP = Span(30, "days")
AT = parse_instant("2024-10-27")


@pytest.fixture(scope="module")
def made(planted: Planted) -> tuple[Task, Labels, LabelHistory]:
    project, snapshot = planted
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, project.tasks["buys"].split)
    spec = fit_history(task, labels, STEP, 4)
    assert spec is not None
    return task, labels, make_history(task, snapshot, spec, snapshot.max_time_us, "float32")


def test_they_are_the_labels_of_the_query(made: tuple[Task, Labels, LabelHistory]) -> None:
    _, labels, past = made
    found = dict(
        zip(zip(past.rows.tolist(), past.known_us.tolist(), strict=True), past.targets.to_pylist(), strict=True)
    )
    train = labels.of(0)
    keys = zip(train.rows.tolist(), (train.as_of_us + 30 * DAY_US).tolist(), strict=True)
    aligned = [(key, target) for key, target in zip(keys, train.target.tolist(), strict=True) if key in found]
    assert len(aligned) > 1000
    assert all(found[key] == labels.classes[int(target)] for key, target in aligned)


def test_a_tree_holds_those_whose_windows_have_ended_and_the_newest_first(
    planted: Planted, made: tuple[Task, Labels, LabelHistory]
) -> None:
    graph = made[2].graph(planted[1])
    past = graph.tables[HISTORY_TABLE]
    settings = made[2].spec.settings(planted[0].tasks["buys"].model, planted[1].schema, "customers")
    sampler = Sampler(graph, settings.fanout, settings.fanout_overrides)
    rows = np.arange(50)
    batch = sampler.sample(Seeds("customers", rows, np.full(50, AT)))
    known = past.time_us[batch.rows[HISTORY_TABLE]]
    assert len(known) == 4 * 50
    assert known.max() <= AT
    assert (made[2].rows[batch.rows[HISTORY_TABLE]] == batch.seeds.rows[batch.seed[HISTORY_TABLE]]).all()
    assert (np.diff(known.reshape(50, 4), axis=1) < 0).all()


def test_what_is_known_at_an_instant_does_not_depend_on_later_ones() -> None:
    for step, end in ((STEP, STEP), (Span(1, "months"), Span(2, "months")), (Span(7, "days"), Span(30, "days"))):
        spec = HistorySpec(TableSpec(HISTORY_TABLE), AT, step, end, 4)
        first = add(AT, Span(-20, "months"))
        late = spec.anchors(first, add(AT, Span(9, "months")))
        early = spec.anchors(first, AT)
        assert early == tuple(anchor for anchor in late if add(anchor, end) <= AT)
        assert len(early) > 15
        assert spec.later(AT - 1, add(AT, step))
        assert not spec.later(add(early[-1], end), AT)


def test_a_spec_survives_its_json(made: tuple[Task, Labels, LabelHistory]) -> None:
    assert HistorySpec.from_dict(made[2].spec.as_dict()) == made[2].spec


def test_nothing_is_read_where_there_is_no_past(made: tuple[Task, Labels, LabelHistory]) -> None:
    task = compile_task("PREDICT products.category FOR EACH products.product_id", made[0].schema)
    assert task.entity_table.time is None
    assert fit_history(task, made[1], STEP, 4) is None
