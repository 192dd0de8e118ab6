"""Sixteen classes of leak, each planted in several ways, are found by name; clean shops raise no alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kincast.report import Check, Verdict
from kincast.sample.audit.draws import later_neighbours
from kincast.sample.audit.run import attempt, audit_draws, audit_labels, audit_rows
from kincast.sample.audit.subject import Draw, Facts, Nodes, Outcomes, instants
from kincast.testing.leak import World, clean_world
from kincast.testing.plant import LEAKS, leaky_world

ALARMS = (Verdict.FAIL, Verdict.WARN)


def alarms(world: World) -> list[Check]:
    facts = world.facts
    checks = audit_rows(facts, world.outcomes)
    checks += audit_draws(facts, world.draws(), world.adjacent, strict=world.strict, orders=world.orders)
    return [check for check in checks if check.verdict in ALARMS]


WAYS = [(leak, way) for leak, (_, ways) in LEAKS.items() for way in range(len(ways))]


def test_there_are_sixteen_classes() -> None:
    assert len(LEAKS) == 16


@pytest.mark.parametrize(("leak", "way"), WAYS, ids=[f"{leak}-{way}" for leak, way in WAYS])
def test_every_planted_leak_is_named(leak: str, way: int) -> None:
    found = alarms(leaky_world(leak, way))
    assert {check.name for check in found} & LEAKS[leak][0]
    assert not any("could not run" in check.message for check in found)


@pytest.mark.parametrize("seed", range(10))
def test_clean_shops_raise_no_alarm(seed: int) -> None:
    assert alarms(clean_world(seed)) == []


def test_a_check_that_cannot_run_is_a_failure_that_says_so() -> None:
    def broken() -> Iterator[Check]:
        raise ZeroDivisionError("of all things\nsecond line")
        yield

    (check,) = attempt("some.check", broken)
    assert check.verdict is Verdict.FAIL
    assert check.message == "could not run, so nothing is known: ZeroDivisionError: of all things"


def test_a_time_that_cannot_be_read_fails_the_audit() -> None:
    world = clean_world(0)
    rows = pa.table({"key": np.arange(30), "at": ["someday"] * 30})
    facts = {**world.facts, "odd": Facts.of("odd", rows, key=("key",), time="at")}
    failed = {check.name for check in audit_rows(facts, world.outcomes) if "could not run" in check.message}
    assert {"time.unit", "row.mutated"} <= failed


def test_nothing_drawn_is_a_failure() -> None:
    (check,) = audit_draws({}, [], {})
    assert check.verdict is Verdict.FAIL


def test_an_unknown_window_is_a_failure() -> None:
    world = clean_world(0)
    checks = audit_labels(world.facts, replace(world.outcomes, window_us=None))
    assert [c.verdict for c in checks if "could not run" in c.message] == [Verdict.FAIL]


def test_a_split_by_chance_on_purpose_is_a_warning() -> None:
    world = leaky_world("split by row", 0)
    checks = audit_labels(world.facts, replace(world.outcomes, by_chance=True))
    assert {c.verdict for c in checks if c.name == "split.row"} == {Verdict.WARN}


def test_later_neighbours_are_counted_by_hop() -> None:
    tables = {
        "events": Facts("events", 3, (), lambda _: pa.chunked_array([[]]), time="at", time_us=np.array([1, 5, 9]))
    }
    nodes = Nodes(np.array([0, 1, 2, 2]), np.array([0, 0, 0, 1]), np.array([1, 1, 2, 2]))
    draw = Draw("events", np.array([0, 0]), np.array([5, 9]), {"events": nodes})
    (check,) = later_neighbours(tables, [draw])
    assert (check.verdict, check.value) == (Verdict.FAIL, 1)
    assert "1 at hop 2" in check.message


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1_700_000_000, None]),
        pa.array([1_700_000_000_000, None]),
        pa.array([1.7e15, None]),
        pa.array([1_700_000_000_000_000_000, None]),
        pa.array(["2023-11-14T22:13:20", None]),
        pa.array(["2023-11-15T00:13:20+02:00", None]),
    ],
)
def test_instants_of_any_usual_kind(column: pa.Array) -> None:
    assert instants(column).tolist() == [1_700_000_000_000_000, np.iinfo(np.int64).min]


def test_a_column_that_is_the_label_is_named() -> None:
    from kincast.sample.audit.strength import telling_columns

    random = np.random.default_rng(0)
    target = (random.random(400) < 0.4).astype(float)
    rows = pa.table(
        {"id": np.arange(400), "outcome": np.where(target == 1, "left", "stayed"), "size": random.random(400)}
    )
    tables = {"people": Facts.of("people", rows, key=("id",))}
    out = Outcomes("people", np.arange(400), np.zeros(400, np.int64), target, np.zeros(400, np.int8), frozen=True)
    assert [c.where for c in telling_columns(tables, out) if c.verdict is Verdict.WARN] == ["people.outcome"]
    assert not [
        c for c in telling_columns(tables, out, frozenset({("people", "outcome")})) if c.verdict is Verdict.WARN
    ]
