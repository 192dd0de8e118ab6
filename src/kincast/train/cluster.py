"""Cluster: a network trained by several processes of a Ray cluster, with the weights that one process would find.

Ray Train starts the workers and starts them anew where one was lost; each opens the snapshot, and all of them together
run what one process runs (``train.run.fit_network``). Nothing but the folder they share outlives a worker: they go on
from its checkpoint, and the trained weights are read from it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from kincast.errors import KincastError, MissingExtraError, TrainError
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import open_features
from kincast.graph.open import open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.objective import LINKS
from kincast.model.threads import MOST
from kincast.progress import Progress, silent
from kincast.project import TaskSettings
from kincast.train.checkpoint import load_checkpoint, remove_checkpoint
from kincast.train.group import Together
from kincast.train.loop import Fit, fit_of
from kincast.train.prepare import Prepared
from kincast.train.run import fit_network
from kincast.train.search.run import is_out_of_memory

MOST_FAILURES = 3
"""Times that workers are started anew after one was lost, before training is given up."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray tells its makers otherwise
    "RAY_worker_niceness": "0",  # else everything else on the machine comes first
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # checkpoints are written all the same
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # of a busy machine
}
_ASK_S = 0.2
_TELL_S = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs, as values that travel; snapshot and features are opened where they lie.

    Attributes:
        rest: of what is prepared, all but the features.
        spec: of the features.
        features: folder of all encoded features.
        readahead: whether the disk is asked for the rows of each batch beforehand.
        snapshots: folder of snapshot versions.
        snapshot_id: which.
        settings: of the task.
        folder: where the checkpoint lies.
        num_cpus: of each worker.
        board: the actor of ``_Board``.
    """

    rest: dict[str, Any]
    spec: FeatureSpec
    features: Path
    readahead: bool
    snapshots: Path
    snapshot_id: str
    settings: TaskSettings
    folder: Path
    num_cpus: int
    board: Any


class Cluster:
    """A connection to a Ray cluster; ``fit`` trains on it as ``fit_network`` does here.

    Args:
        address: of the cluster, such as ``10.0.0.1:6379`` or ``auto``; ``local`` starts one on this machine, which ends
            with the connection.
        num_workers: processes that train together.
    """

    def __init__(self, address: str, num_workers: int) -> None:
        self.address, self.num_workers = address, num_workers
        self._began = False

    def __enter__(self) -> Cluster:
        """Connect.

        Raises:
            MissingExtraError: Ray Train is not installed.
            TrainError: no cluster answers.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        ray = _ray()
        if ray.is_initialized():
            return self
        options: dict[str, Any] = {"address": self.address, "log_to_driver": False, "logging_level": "error"}
        if self.address == "local":
            cpus = max(self.num_workers, os.cpu_count() or 1)
            options |= {"num_cpus": cpus, "include_dashboard": False}
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            hint = "ray start --head on one machine; --cluster local for this machine alone"
            raise TrainError(f"no Ray cluster answers: {error}", where=self.address, hint=hint) from None
        self._began = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._began:
            _ray().shutdown()

    def fit(
        self,
        prepared: Prepared,
        settings: TaskSettings,
        snapshot: Snapshot,
        folder: Path,
        *,
        stop: Callable[[Fit], bool] = lambda fit: False,
        resume: bool = False,
        progress: Progress = silent,
    ) -> Fit:
        """Train the network of a task, with a checkpoint in a folder; the folder is seen by all machines.

        Raises:
            TrainError: a batch has fewer parts than there are workers, workers were lost too often, or as
                ``Trainer.run``.
            KincastError: what a worker met.
        """
        _check(prepared, settings, self.num_workers)
        ray, folder = _ray(), folder.resolve()
        if not resume:
            remove_checkpoint(folder)
        board = ray.remote(_Board).options(num_cpus=0).remote()
        num_cpus = self._num_cpus()
        features = prepared.features
        rest = {own.name: getattr(prepared, own.name) for own in fields(prepared) if own.name != "features"}
        lies = (features.folder.parent.resolve(), features.readahead, snapshot.folder.parent.resolve(), snapshot.id)
        job = Job(rest, features.spec, *lies, settings, folder, num_cpus, board)
        ended: list[BaseException | None] = []
        thread = threading.Thread(target=lambda: ended.append(self._train(job)), daemon=True)
        thread.start()
        failure: Exception | None = None
        while thread.is_alive():
            for what, *values in ray.get(board.take.remote(_ASK_S)):
                if what == "progress":
                    progress(*values)
                elif what == "epochs":
                    ray.get(board.answer.remote(stop(Fit(best_epoch=values[0], epochs=values[1]))))
                else:
                    kind, text, where, hint = values
                    failure = kind(text, where=where, hint=hint) if issubclass(kind, KincastError) else kind(text)
        ray.kill(board)
        shutil.rmtree(folder / "ray", ignore_errors=True)
        if failure is not None:
            raise failure
        return _found(folder, ended[0])

    def _train(self, job: Job) -> BaseException | None:
        """Run the workers until they end; what ended them, None where they ended well."""
        try:
            self._trainer(job).fit()
        except Exception as error:  # any, since it is told by another thread
            return error
        return None

    def _trainer(self, job: Job) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        resources = {"resources_per_worker": {"CPU": job.num_cpus}, "placement_strategy": "SPREAD"}
        scaling = ScalingConfig(num_workers=self.num_workers, **resources)
        failures = FailureConfig(max_failures=MOST_FAILURES)
        run = RunConfig(name=uuid.uuid4().hex[:8], storage_path=str(job.folder / "ray"), failure_config=failures)
        plan = {"scaling_config": scaling, "run_config": run, "torch_config": TorchConfig(backend="gloo")}
        return TorchTrainer(_work, train_loop_config={"job": job}, **plan)

    def _num_cpus(self) -> int:
        nodes = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
        return cpus_of_each(nodes, self.num_workers)


class _Board:
    """An actor between the workers and who asked for the training: news go one way, answers the other."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self._answer: asyncio.Future[bool] | None = None
        self._failed = False

    async def tell(self, *news: Any) -> None:
        self._failed = self._failed or news[0] == "failure"
        await self._news.put(news)

    async def take(self, timeout_s: float) -> list[tuple[Any, ...]]:
        try:
            found = [await asyncio.wait_for(self._news.get(), timeout_s)]
        except TimeoutError:
            return []
        while not self._news.empty():
            found.append(self._news.get_nowait())
        return found

    async def ask(self, best_epoch: int, epochs: list[dict[str, float]]) -> bool:
        self._answer = asyncio.get_running_loop().create_future()
        await self._news.put(("epochs", best_epoch, epochs))
        return await self._answer

    async def answer(self, value: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(value)

    async def failed(self) -> bool:
        return self._failed


def cpus_of_each(nodes: Sequence[int], num_workers: int) -> int:
    """The most processors that each worker can have.

    >>> cpus_of_each([4, 4], 3), cpus_of_each([6, 2], 2)
    (2, 3)

    Args:
        nodes: processors of each machine.
        num_workers: all of them with as many processors, each on one machine.

    Raises:
        TrainError: there are too few processors.
    """
    for num in range(max(nodes, default=0), 0, -1):
        if sum(node // num for node in nodes) >= num_workers:
            return num
    what = f"the cluster has {sum(nodes)} processors for {num_workers} workers"
    raise TrainError(what, hint="lower --workers, or add machines: ray start --address HOST:6379")


def _check(prepared: Prepared, settings: TaskSettings, num_workers: int) -> None:
    whole = prepared.task.kind in LINKS or settings.model.neighbourhood == "shared"
    num_parts = 1 if whole else settings.train.num_parts
    if num_workers > num_parts:
        what = f"a batch in {num_parts} parts cannot be shared out among {num_workers} workers"
        hint = f"set train.num_parts to {num_workers}, or lower --workers"
        if whole:
            hint = "links and shared neighbourhoods are trained by one process; leave --cluster and --workers out"
        raise TrainError(what, where="train.num_parts", hint=hint)


def _work(config: dict[str, Job]) -> None:
    """What each worker runs.

    An error of Kincast's own is told and ends the worker in peace, since no second try would go better; leaving the
    group makes the others end, too. Any other is raised, and Ray starts all workers anew.
    """
    job, group = config["job"], Together()
    ray = _ray()
    torch.set_num_threads(max(1, min(MOST, job.num_cpus - 1)))
    try:
        _fit(job, group)
    except (KincastError, MemoryError, RuntimeError) as error:
        if isinstance(error, KincastError):
            ray.get(job.board.tell.remote("failure", type(error), error.what, error.where, error.hint))
        elif is_out_of_memory(error):
            ray.get(job.board.tell.remote("failure", MemoryError, str(error), None, None))
        elif not ray.get(job.board.failed.remote()):
            raise
        dist.destroy_process_group()


def _fit(job: Job, group: Together) -> None:
    ray, said = _ray(), time.monotonic()
    snapshot = open_snapshot(job.snapshots, job.snapshot_id)
    readahead = "always" if job.readahead else "never"
    features = open_features(snapshot, job.spec, job.features, readahead=readahead)  # type: ignore[arg-type]
    prepared = Prepared(features=features, **job.rest)

    def stop(fit: Fit) -> bool:
        asked = group.rank == 0 and ray.get(job.board.ask.remote(fit.best_epoch, fit.epochs))
        return bool(group.first(bytes([asked]))[0])

    def progress(step: str, done: int, total: int | None) -> None:
        nonlocal said
        if group.rank == 0 and (time.monotonic() - said > _TELL_S or done == total):
            said = time.monotonic()
            job.board.tell.remote("progress", step, done, total)

    settings = job.settings
    if settings.train.num_threads is None:
        threads = max(1, min(4, job.num_cpus - 1))
        settings = settings.model_copy(update={"train": settings.train.model_copy(update={"num_threads": threads})})
    fit_network(prepared, settings, snapshot, job.folder, stop=stop, resume=True, progress=progress, group=group)


def _found(folder: Path, error: BaseException | None) -> Fit:
    """The fit that the workers left in their folder."""
    if error is not None:
        hint = "ray logs says more of each worker; --resume goes on from the last checkpoint"
        raise TrainError(f"the workers were lost: {error}", hint=hint) from error
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        hint = "the project's folder must be the same on all machines"
        raise TrainError("the workers left no checkpoint", where=str(folder), hint=hint)
    return fit_of(checkpoint)


def _ray() -> Any:
    try:
        import ray
        import ray.train
    except ImportError:
        raise MissingExtraError("ray[train]", "ray") from None
    return ray
