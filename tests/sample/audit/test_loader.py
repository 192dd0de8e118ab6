"""A loader of somebody else's: objects shaped like PyG's graphs and batches, clean and leaking."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kincast
from kincast.report import Report, Verdict
from kincast.sample.audit.subject import Draw, Nodes
from kincast.testing.leak import World, clean_world, with_faults
from kincast.testing.plant import leaky_world


class Graph(dict[Any, Any]):
    """Types → attributes, as ``HeteroData`` has them."""

    @property
    def node_types(self) -> list[str]:
        return [key for key in self if isinstance(key, str)]

    @property
    def edge_types(self) -> list[tuple[str, str, str]]:
        return [key for key in self if isinstance(key, tuple)]


def graph_of(world: World, extra: dict[str, np.ndarray] | None = None) -> Graph:
    """The world's rows as nodes with one or more columns, and its links as edges both ways."""
    random = np.random.default_rng(0)
    graph = Graph()
    for name, rows in world.tables.items():
        x = random.normal(2, 5, (rows.num_rows, 2))
        if extra and name in extra:
            x = np.column_stack([x, extra[name]])
        times = {"time": world.times[name]} if name in world.times else {}
        ends = {"until": world.ends[name]} if name in world.ends else {}
        graph[name] = SimpleNamespace(num_nodes=rows.num_rows, x=x, **times, **ends)
    for (child, parent), up in world.links.items():
        rows = np.arange(len(up))
        graph[child, "of", parent] = SimpleNamespace(edge_index=np.stack([rows, up]))
        graph[parent, "has", child] = SimpleNamespace(edge_index=np.stack([up, rows]))
    return graph


def batches_of(draws: list[Draw], disjoint: bool = True) -> Iterator[Graph]:
    for draw in draws:
        batch = Graph()
        for name, nodes in draw.nodes.items():
            own = {"batch": nodes.seed} if disjoint and nodes.seed is not None else {}
            brought = {} if nodes.hop is None else {"num_sampled_nodes": np.bincount(nodes.hop, minlength=3)}
            batch[name] = SimpleNamespace(n_id=nodes.rows, **own, **brought)
        batch[draw.table].seed_time = draw.as_of_us
        for edges in draw.edges:
            index = np.stack([edges.src, edges.dst])
            batch[edges.src_table, "of", edges.dst_table] = SimpleNamespace(edge_index=index)
        yield batch


def audit(world: World, extra: dict[str, np.ndarray] | None = None, **options: Any) -> Report:
    found: Report = kincast.audit_loader(
        graph_of(world, extra), batches_of(world.draws()), strict=world.strict, **options
    )
    return found


def failed(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.FAIL}


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_loader_passes(seed: int) -> None:
    report = audit(clean_world(seed))
    assert [c for c in report.checks if c.verdict in (Verdict.FAIL, Verdict.WARN)] == []


@pytest.mark.parametrize(
    ("fault", "name"), [("later2", "neighbour.later"), ("cache", "cache.instant"), ("cross", "neighbour.shared")]
)
def test_what_a_loader_does_wrong_is_named(fault: str, name: str) -> None:
    assert name in failed(audit(with_faults(clean_world(2), fault)))


def test_batches_that_are_not_disjoint_are_named() -> None:
    world = clean_world(2)
    report = kincast.audit_loader(graph_of(world), batches_of(world.draws(), disjoint=False))
    assert "neighbour.shared" in failed(report)


def test_an_input_that_counts_the_whole_period_is_named() -> None:
    world = clean_world(2)
    degree = np.bincount(world.links["orders", "customers"], minlength=len(world.times["customers"]))
    assert "degree.whole" in failed(audit(world, {"customers": np.log1p(degree)}))


def test_statistics_of_later_rows_are_named() -> None:
    world = leaky_world("statistics of later rows", 0)
    scaled = world.tables["orders"]["scaled"].to_numpy()
    until = int(np.quantile(world.times["orders"], 0.6))
    assert "statistic.later" in failed(audit(world, {"orders": scaled}, until=until))


def test_negatives_of_a_batch_are_held_against_their_seeds() -> None:
    world = clean_world(2)
    unborn = int(world.times["customers"].argmax())
    report = audit(world, negatives=lambda _: {"customers": Nodes(np.array([unborn]), np.array([0]))})
    assert "negative.unborn" in failed(report)


@pytest.mark.parametrize("missing", ["seed_time", "time"])
def test_a_loader_that_does_not_say_its_instants_fails_closed(missing: str) -> None:
    world = clean_world(2)
    graph, batches = graph_of(world), list(batches_of(world.draws()))
    if missing == "time":
        for name in world.times:
            del graph[name].time
    else:
        for batch in batches:
            del batch["customers"].seed_time
    report = kincast.audit_loader(graph, batches)
    assert not report.passed
    assert "could not run" in report.checks[0].message
