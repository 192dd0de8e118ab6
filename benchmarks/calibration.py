"""Are probabilities right and do intervals hold: fitted on the validation period, measured on the test period.

python benchmarks/calibration.py [--seeds 0,1,2] [--tasks churn,spend]

The shop of ``make demo``, with the plan it has there, and the rolling dnf task of Formula 1 (``shared/data/f1``).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import Project, read_project
from kincast.registry.version import Version
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.run import train_task

HERE = Path(__file__).resolve().parent
SHOP, F1 = HERE.parent / "examples" / "shop", HERE / "f1"
TASKS: dict[str, tuple[Path, str, dict[str, Any]]] = {
    "churn": (SHOP, "churn", {}),
    "churn, three stayed for one who left": (SHOP, "churn", {"majority_ratio": 0.33}),
    "spend": (SHOP, "spend", {}),
    "spend, multi_quantile": (SHOP, "spend", {"loss": "multi_quantile"}),
    "dnf-rolling": (F1, "dnf-rolling", {}),
}
"""Name → folder of its project, task, and settings of the training that differ."""
PROBABILITIES = ("log_loss", "brier", "ece", "ece_adaptive", "auroc")


def main() -> None:
    """Train every task with every seed and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", default="", help="comma-separated beginnings of names; all by default")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    given = parser.parse_args()
    wanted = tuple(given.tasks.split(",")) if given.tasks else ("",)
    with tempfile.TemporaryDirectory() as folder:
        places: dict[Path, tuple[Project, Snapshot]] = {}
        found: dict[str, list[Version]] = {}
        for name, (place, task, train) in TASKS.items():
            if not name.startswith(wanted):
                continue
            if place not in places:
                places[place] = opened(place, Path(folder) / place.name)
            for seed in map(int, given.seeds.split(",")):
                found.setdefault(name, []).append(trained(*places[place], task, train | {"seed": seed}))
                print(f"{name}, seed {seed}: done", flush=True)
    print("\n".join([*probability_table(found), "", *bound_table(found)]), flush=True)


def opened(place: Path, folder: Path) -> tuple[Project, Snapshot]:
    """A project with a work folder of its own, and its snapshot."""
    project = read_project(place)
    is_there = (place / project.source).exists()  # the shop's tables lie beside its settings until a demo copies them
    source = open_source(project.source, place) if is_there else open_source(str(place))
    card = place / project.schema_card
    schema = read_card(card) if card.exists() else infer_schema(source).schema
    moved = project.model_copy(update={"folder": folder, "source": source.url})
    return moved, build_snapshot(source, schema, moved.snapshots)


def trained(project: Project, snapshot: Snapshot, task: str, train: dict[str, Any]) -> Version:
    """The task trained with some settings changed."""
    settings = project.tasks[task]
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=train)})
    return train_task(project.model_copy(update={"tasks": {task: changed}}), task, snapshot=snapshot)


def probability_table(found: dict[str, list[Version]]) -> Iterator[str]:
    """What probabilities are worth before and after calibration."""
    yield f"| probabilities, test period | taken | {' | '.join(PROBABILITIES)} |"
    yield f"|---|---|{'---|' * len(PROBABILITIES)}"
    for name, versions in found.items():
        metrics = [version.info.metrics["test"] for version in versions]
        if "log_loss" not in metrics[0]:
            continue
        methods = [version.features["certainty"]["calibrations"][0]["method"] for version in versions]
        rows = (("as scored", " uncalibrated", ""), ("calibrated", "", ", ".join(methods)))
        for words, suffix, taken in rows:
            cells = [spread([m[f"{x}{suffix}"].value for m in metrics if f"{x}{suffix}" in m]) for x in PROBABILITIES]
            yield f"| {name}, {words} | {taken} | {' | '.join(cells)} |"
        rival = [version.info.baselines["LightGBM"]["test"] for version in versions]
        cells = [spread([m[x].value for m in rival]) for x in PROBABILITIES]
        yield f"| {name}, LightGBM as scored | | {' | '.join(cells)} |"


def bound_table(found: dict[str, list[Version]]) -> Iterator[str]:
    """What intervals promise and reach."""
    yield "| intervals, test period | promised | reached | of the first seed, 95 % | mean width |"
    yield "|---|---|---|---|---|"
    for name, versions in found.items():
        metrics = [version.info.metrics["test"] for version in versions]
        for key in metrics[0]:
            if key.startswith("coverage at ") and "step" not in key:
                promised = key.removeprefix("coverage at ")
                first, width = metrics[0][key], f"interval width at {promised}"
                shown = f"{first.low:.3f} to {first.high:.3f}"
                widths = spread([m[width].value for m in metrics])
                yield f"| {name} | {promised} | {spread([m[key].value for m in metrics])} | {shown} | {widths} |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; a dash for none."""
    return f"{np.mean(values):.4g} ± {np.std(values):.2g}" if values else "–"


if __name__ == "__main__":
    main()
