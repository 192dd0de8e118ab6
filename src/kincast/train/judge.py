"""Judge: which metrics a task is judged by, and which of them decide."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.model.joint import JointObjective
from kincast.model.objective import LISTS, Objective, many_hot
from kincast.model.ranked import Ranked, rank
from kincast.query.encode import Lists
from kincast.query.task import Task, TaskKind, top_of
from kincast.train.metric import Measured, Metric, is_error, measure, metrics_of

MAX_WEIGHED = 4_000_000
"""Scores of a contender beyond which there are fewer bootstrap samples."""
FEW_SAMPLES = 50
TOP = 100
"""Lists are judged up to this length at least."""
SKILL = "skill"


@dataclass(frozen=True, slots=True)
class Judge:
    """How one target is judged.

    Attributes:
        kind: of the target.
        metrics: name → metric, the one that decides first.
        num_classes: of labels.
        top: length of the lists that are judged.
    """

    kind: TaskKind
    metrics: Mapping[str, Metric]
    num_classes: int = 0
    top: int = TOP

    @property
    def decides(self) -> tuple[str, ...]:
        """Names of the metrics that select and gate models."""
        return (next(iter(self.metrics)),)

    @property
    def of_epochs(self) -> str:
        """Name of the metric that selects the best epoch."""
        return self.decides[0]

    def only(self, names: Collection[str]) -> Judge:
        """The same with those of the metrics alone."""
        return replace(self, metrics={name: metric for name, metric in self.metrics.items() if name in names})

    def value(self, target: Any, scores: Any) -> float:
        """The metric that decides."""
        target, scores = self._prepared(target, scores)
        return self.metrics[self.decides[0]](target, scores)(np.ones(len(scores)))

    def measure(self, target: Any, scores: Any, groups: NDArray[Any]) -> Measured:
        """All metrics with their bootstrap samples; arguments as ``measure`` takes them, lists as they are."""
        target, scores = self._prepared(target, scores)
        size = 0 if isinstance(scores, Ranked) else scores.size
        return measure(self.metrics, target, scores, groups, num_samples=FEW_SAMPLES if size > MAX_WEIGHED else 200)

    def _prepared(self, target: Any, scores: Any) -> tuple[Any, Any]:
        if self.kind is TaskKind.MULTILABEL and isinstance(target, Lists):
            return many_hot(target, self.num_classes).astype(np.float64), scores
        if self.kind is TaskKind.RANKING and not isinstance(scores, Ranked):
            return target, rank(scores, self.top)
        return target, scores


@dataclass(frozen=True, slots=True)
class JointJudge:
    """How several targets are judged: each by its own metrics, epochs by the mean of what each gains over a constant.

    Attributes:
        parts: one for each target.
        names: of the targets.
        units: mean distance of the training values from their median, of each target.
        chances: value of the deciding metric for a constant guess, of each target that is a class.
    """

    parts: tuple[Judge, ...]
    names: tuple[str, ...]
    units: tuple[float, ...]
    chances: tuple[float, ...] = field(default=())

    @property
    def decides(self) -> tuple[str, ...]:
        """Names of the metrics that select and gate models, one for each target."""
        return tuple(f"{part.decides[0]} of {name}" for part, name in zip(self.parts, self.names, strict=True))

    @property
    def of_epochs(self) -> str:
        """Name of the metric that selects the best epoch."""
        return SKILL

    def only(self, names: Collection[str]) -> JointJudge:
        """The same with those of each target's metrics alone."""
        return replace(self, parts=tuple(part.only(names) for part in self.parts))

    def value(self, target: Any, scores: Any) -> float:
        """1 for perfect scores of all targets, 0 for constants."""
        skills = []
        for place, (part, unit, chance) in enumerate(zip(self.parts, self.units, self.chances, strict=True)):
            known = ~np.isnan(target[:, place])
            value = part.value(target[known, place], scores[place][known])
            skills.append(1 - value / unit if is_error(part.decides[0]) else (value - chance) / max(1 - chance, 1e-9))
        return float(np.mean(skills))

    def measure(self, target: Any, scores: Any, groups: NDArray[Any]) -> Measured:
        """All metrics of all targets, each on the rows that have its target."""
        values: dict[str, float] = {}
        samples: dict[str, NDArray[np.float64]] = {}
        for place, (part, name) in enumerate(zip(self.parts, self.names, strict=True)):
            known = ~np.isnan(target[:, place])
            found = part.measure(target[known, place], scores[place][known], groups[known])
            values |= {f"{metric} of {name}": value for metric, value in found.values.items()}
            samples |= {f"{metric} of {name}": drawn for metric, drawn in found.samples.items()}
        return Measured(values, samples)


def judge_of(
    task: Task, objective: Objective | JointObjective, classes: tuple[str, ...], priors: tuple[float, ...] = ()
) -> Judge | JointJudge:
    """How a task is judged.

    Args:
        task: what is predicted.
        objective: of the task, fitted.
        classes: names of the classes of a single target.
        priors: of several targets, the share of the most frequent class in training; 0 for values.
    """
    if isinstance(objective, JointObjective):
        parts = tuple(Judge(part.kind, metrics_of(part.kind)) for part in objective.parts)
        units = tuple(part.unit for part in objective.parts)
        binary = [part.kind is TaskKind.BINARY for part in objective.parts]
        chances = tuple(0.5 if is_binary else prior for is_binary, prior in zip(binary, priors, strict=True))
        return JointJudge(parts, tuple(part.name for part in objective.parts), units, chances)
    top = top_of(task)
    metrics = metrics_of(task.kind, steps=task.steps, top=top, classes=classes)
    return Judge(task.kind, metrics, len(classes) if task.kind in LISTS else 0, max(top, TOP))
