"""Processes that train together find the weights that one finds, also when some of them are killed."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.planted import Planted
from tests.train.together import digest, train

from kincast.errors import MissingExtraError, SnapshotError, TrainError
from kincast.model.score import spans_of
from kincast.project import Project
from kincast.train.cluster import Cluster, cpus_of_each
from kincast.train.group import share_of
from kincast.train.prepare import prepare
from kincast.train.run import fit_network

# Ray warns of itself, and leaves files open.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def _with(project: Project, model: dict[str, Any] | None = None, **changed: Any) -> Project:
    task = project.tasks["buys"]
    changes = {"train": task.train.model_copy(update=changed), "model": task.model.model_copy(update=model or {})}
    return project.model_copy(update={"tasks": {"buys": task.model_copy(update=changes)}})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers of a cluster on this machine, for all tests of this file."""
    pytest.importorskip("ray.train", exc_type=ImportError)
    with Cluster("local", 2) as cluster:
        yield cluster


def test_three_processes_find_the_weights_of_one(planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    project = _with(project, {"dropout": 0.1}, num_parts=4, class_weights=True, max_epochs=2)
    spawn = multiprocessing.get_context("spawn")
    said = spawn.Queue()
    workers = [spawn.Process(target=train, args=(rank, 3, tmp_path, project, said)) for rank in range(3)]
    for worker in workers:
        worker.start()
    alone = fit_network(prepare(project, "buys", snapshot), project.tasks["buys"], snapshot, tmp_path / "alone")
    found = sorted(said.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    assert found == [(rank, digest(alone), len(alone.epochs)) for rank in range(3)]


@pytest.mark.parametrize("num_seeds", [0, 1, 3, 5, 128])
def test_every_part_has_one_owner(num_seeds: int) -> None:
    for num_parts, size in ((2, 2), (4, 3), (7, 2)):
        spans = spans_of(0, num_seeds, num_parts)
        shared = [span for rank in range(size) for span in spans[share_of(num_parts, rank, size)]]
        assert shared == spans
        assert [place for span in spans for place in range(span.start, span.stop)] == list(range(num_seeds))


def test_a_killed_worker_changes_nothing(cluster: Cluster, planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    settings, prepared = project.tasks["buys"], prepare(project, "buys", snapshot)
    alone, killed = fit_network(prepared, settings, snapshot, tmp_path / "alone"), []

    def kill_once(step: str, done: int, total: int | None) -> None:
        if not killed and step.startswith("epoch 2"):
            killed.append(_workers(os.getpid())[-1])
            os.kill(killed[0], signal.SIGKILL)

    fit = cluster.fit(prepared, settings, snapshot, tmp_path / "cluster", progress=kill_once)
    assert len(killed) == 1
    assert [epoch["loss"] for epoch in fit.epochs] == [epoch["loss"] for epoch in alone.epochs]
    assert digest(fit) == digest(alone)


def test_what_a_worker_met_is_raised(cluster: Cluster, planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    gone = copy.copy(snapshot)
    gone.id = "0" * 16
    with pytest.raises(SnapshotError, match="there is no snapshot 0000"):
        cluster.fit(prepare(project, "buys", snapshot), project.tasks["buys"], gone, tmp_path)


def test_no_more_workers_than_parts(planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    with pytest.raises(TrainError, match="in 2 parts cannot be shared out among 3") as error:
        Cluster("local", 3).fit(prepare(project, "buys", snapshot), project.tasks["buys"], snapshot, tmp_path)
    assert error.value.hint is not None
    assert "train.num_parts" in error.value.hint


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(MissingExtraError) as error, Cluster("local", 2):
        pass
    assert error.value.hint == 'pip install "kincast[ray]"'


def test_processors_are_shared_out() -> None:
    assert cpus_of_each([8], 2) == 4
    assert cpus_of_each([2, 6], 2) == 3
    assert cpus_of_each([1, 1, 1], 3) == 1
    with pytest.raises(TrainError, match="2 processors for 3 workers"):
        cpus_of_each([2], 3)


def _workers(parent: int) -> list[int]:
    """Process ids of the training workers among the descendants of a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    found: list[int] = []
    level = {parent}
    while level:
        level = {pid for pid, above in parents.items() if above in level}
        found += sorted(level)
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
    return [pid for pid in found if b"RayTrainWorker" in names[pid]]
