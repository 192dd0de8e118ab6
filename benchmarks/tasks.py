"""Every task of some projects, several seeds: the blend, its members, the rules, and quoted figures.

    python benchmarks/tasks.py benchmarks/f1 [--tasks dnf-frozen,top3-frozen] [--seeds 3]
    python benchmarks/tasks.py benchmarks/sets/*  [--kept]
    python benchmarks/tasks.py benchmarks/f1 --mode fast --seeds 1

A project is a folder with ``kincast.yaml``; where it has ``tables.py``, that makes its tables first, and where it has
``beside.py``, that gives further rules (``rules``) and metrics of the blend (``measures``). With ``--kept`` nothing is
trained: the figures are those of the newest version of each task and seed. With ``--mode`` all settings of models and
of training are the defaults, and the plan is the one that the mode suggests for the task.

The last table holds the blend against each of its members, the network, the trees and the linear model, by the metric
that decides and on the same rows. The noise of a difference is that of the rows (the paired bootstrap's interval, its
mean over seeds) and of the seeds (Student's 95 % interval of their mean), added as squares.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.graph.open import list_snapshots, open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import ModelSettings, Project, TrainSettings, read_project
from kincast.query.compile import compile_task
from kincast.registry.version import NETWORK_ALONE, VersionInfo, list_versions, load_version
from kincast.source.open import open_source
from kincast.train.blend import LIGHTGBM, LINEAR
from kincast.train.metric import is_error
from kincast.train.prepare import labels_of
from kincast.train.run import train_task
from kincast.train.search.mode import RunMode
from kincast.train.search.suggest import suggest_model_plan

MEMBERS = (NETWORK_ALONE, LIGHTGBM, LINEAR)


@dataclass(frozen=True, slots=True)
class Margin:
    """How much better the blend is than one of its members, positive where it is, with the noise of that."""

    gain: float
    noise: float

    @property
    def worse(self) -> bool:
        """Worse beyond noise."""
        return self.gain < -self.noise

    @property
    def better(self) -> bool:
        """Better beyond noise."""
        return self.gain > self.noise

    def __str__(self) -> str:
        return f"{shown(self.gain, signed=True)} ± {shown(self.noise)}{', beyond noise' if self.better else ''}"


def main() -> None:
    """Train every task with every seed; print a table of each, and one that compares them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path, help="folders with kincast.yaml")
    parser.add_argument("--tasks", default="", help="comma-separated; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kept", action="store_true", help="read what was trained before, train nothing")
    parser.add_argument("--mode", choices=[mode.value for mode in RunMode], help="defaults, by the plan of a mode")
    given = parser.parse_args()
    chosen, compared = set(filter(None, given.tasks.split(","))), {}
    for folder in given.projects:
        project = read_project(folder.resolve())
        beside = parts_of(project.folder / "beside.py")
        snapshot = snapshot_of(project)
        for name in project.tasks:
            if chosen and name not in chosen:
                continue
            seeds = range(given.seeds)
            if given.kept:
                infos = newest(project, name, snapshot, seeds)
            else:
                infos = train_seeds(project, name, snapshot, seeds, given.mode)
            if infos:
                more = more_figures(beside, project, name, snapshot, infos)
                print_task(f"{folder.name}, {name}", infos, project.tasks[name].published, more)
                compared[f"{folder.name}, {name}"] = infos
    if compared:
        print_margins(compared)


def parts_of(path: Path) -> dict[str, Any]:
    """The functions of a file beside a project; none where there is no file."""
    return runpy.run_path(str(path)) if path.exists() else {}


def snapshot_of(project: Project) -> Snapshot:
    """The snapshot of a project: the newest it has, or built, from tables that are made first where it says how."""
    if list_snapshots(project.snapshots):
        return open_snapshot(project.snapshots)
    if (project.folder / "tables.py").exists():
        runpy.run_path(str(project.folder / "tables.py"), run_name="__main__")
    return build_snapshot(open_source(project.source, project.folder), read_card(project.card_path), project.snapshots)


def train_seeds(
    project: Project, name: str, snapshot: Snapshot, seeds: Iterable[int], mode: str | None = None
) -> list[VersionInfo]:
    """What training a task gave, with each seed; with a mode by the plan that it suggests, everything else left out."""
    infos = []
    for seed in seeds:
        started, plan = time.process_time(), None
        if mode is not None:
            own = project.tasks[name].model_copy(update={"model": ModelSettings(), "train": TrainSettings()})
            project = project.model_copy(update={"tasks": {name: own}})
            task = compile_task(own.query, snapshot.schema, project.targets)
            plan = suggest_model_plan(task, snapshot, mode, labels=labels_of(project, name, task, snapshot))
        infos.append(train_task(with_seed(project, name, seed), name, snapshot=snapshot, plan=plan).info)
        seconds, memory = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cost = f"{seconds:.0f} CPU-s with its baselines, {memory:.1f} GiB at most"
        print(f"{name}: seed {seed} took {cost}", file=sys.stderr, flush=True)
    return infos


def with_seed(project: Project, name: str, seed: int) -> Project:
    """The project with another seed for one task."""
    task = project.tasks[name]
    train = task.train.model_copy(update={"seed": seed})
    return project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})


def newest(project: Project, name: str, snapshot: Snapshot, seeds: Iterable[int]) -> list[VersionInfo]:
    """The newest version of a task over a snapshot, for each seed that has one."""
    found: dict[int, VersionInfo] = {}
    for id in list_versions(project.versions):
        if id.rsplit("-", 2)[0] == name:
            info = load_version(project.versions, id).info
            if info.snapshot_id == snapshot.id:
                found[int(info.settings["train"]["seed"])] = info
    return [found[seed] for seed in seeds if seed in found]


def more_figures(
    beside: dict[str, Any], project: Project, name: str, snapshot: Snapshot, infos: list[VersionInfo]
) -> dict[str, dict[str, list[float]]]:
    """Name → metric → values, of what a project measures beside."""
    found: dict[str, dict[str, list[float]]] = {}
    if "measures" in beside:
        measured = [beside["measures"](project, load_version(project.versions, info.id), snapshot) for info in infos]
        found[infos[0].model_words] = {metric: [values[metric] for values in measured] for metric in measured[0]}
    if "rules" in beside:
        task = compile_task(project.tasks[name].query, snapshot.schema, project.targets)
        labels = labels_of(project, name, task, snapshot)
        for rule, values in beside["rules"](labels, snapshot).items():
            found[rule] = {metric: [value] for metric, value in values.items()}
    return found


def print_task(
    title: str,
    infos: list[VersionInfo],
    published: Mapping[str, Mapping[str, Any]],
    more: dict[str, dict[str, list[float]]] | None = None,
) -> None:
    """One Markdown table: the model, its members and the rules with their spread, then quoted figures.

    Args:
        title: of the table.
        infos: of the same task with several seeds, or of its folds.
        published: name → metric → figure quoted from others.
        more: name → metric → values measured beside.
    """
    more = more or {}
    model, main_metric = infos[0].model_words, infos[0].decides[0]
    names = dict.fromkeys([main_metric, *(metric for figures in published.values() for metric in figures)])
    columns = [name for name in names if name in infos[0].metrics["test"] or any(name in own for own in more.values())]
    print(f"\n### {title}\n\nTrained {len(infos)} times.\n")
    print("| method | " + " | ".join(columns) + " | |\n" + "|---" * (len(columns) + 2) + "|")
    rows: dict[str, dict[str, list[float]]] = {
        f"Kincast, {model}": {**values_of([info.metrics["test"] for info in infos]), **more.get(model, {})},
        f"Kincast, {model}, validation": values_of([info.metrics["validation"] for info in infos]),
    }
    for baseline in infos[0].baselines:
        rows[baseline] = values_of([info.baselines[baseline]["test"] for info in infos])
    rest = {name: found for name, found in more.items() if name != model}
    for name, found in {**rows, **rest}.items():
        print(f"| {name} | " + " | ".join(spread(found.get(column, [])) for column in columns) + " | measured |")
    for source, figures in published.items():
        print(f"| {source} | " + " | ".join(str(figures.get(column, "")) for column in columns) + " | quoted |")
    sys.stdout.flush()


def values_of(metrics: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Metric → its value for each seed."""
    return {name: [own[name].value for own in metrics] for name in metrics[0]}


def print_margins(compared: dict[str, list[VersionInfo]], *, folds: bool = False) -> None:
    """The table that says where the blend is better or worse than its members, and whether it is never worse.

    Args:
        compared: name → of several trainings each.
        folds: whether these have rows of their own, instead of different seeds on the same.
    """
    print("\n### Never worse than any member\n")
    print(
        "| task | metric | " + " | ".join(f"better than {member} by" for member in MEMBERS) + " | worse beyond noise |"
    )
    print("|---|---|" + "---|" * (len(MEMBERS) + 1))
    any_worse = False
    for name, infos in compared.items():
        if not infos[0].margins.keys() & set(MEMBERS):
            continue
        metric = infos[0].decides[0]
        margins = {
            member: margin_of(infos, member, metric, folds=folds) for member in MEMBERS if member in infos[0].margins
        }
        worse = any(margin.worse for margin in margins.values())
        any_worse |= worse
        cells = [str(margins.get(member, "–")) for member in MEMBERS]
        print(f"| {name} | {metric} | " + " | ".join(cells) + f" | {'yes' if worse else 'no'} |")
    print(f"\nNever worse than any member beyond noise: {'no' if any_worse else 'yes'}.", flush=True)


def margin_of(infos: list[VersionInfo], member: str, metric: str, *, folds: bool) -> Margin:
    """The mean margin over seeds or folds, positive where the blend is better."""
    sign = -1.0 if is_error(metric) else 1.0
    found = [info.margins[member]["test"][metric] for info in infos]
    gains = [sign * margin.value for margin in found]
    of_rows = float(np.mean([(margin.high - margin.low) / 2 for margin in found]))
    several = len(gains) > 1
    spread_over = stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / len(gains) ** 0.5 if several else 0.0
    return Margin(float(np.mean(gains)), float(spread_over if folds and several else np.hypot(of_rows, spread_over)))


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds; of one value, itself."""
    if not values:
        return ""
    deviation = f" ± {shown(float(np.std(values)))}" if len(values) > 1 else ""
    return shown(float(np.mean(values))) + deviation


def shown(value: float, *, signed: bool = False) -> str:
    """A number with four digits after the point, or with as many as say something of a large one."""
    digits = 4 if abs(value) < 2 else 2 if abs(value) < 100 else 1
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
