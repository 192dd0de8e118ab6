"""Share: labels, features and snapshot that the trials of a search have in common, and what each needs anew."""

from __future__ import annotations

from dataclasses import replace

from kincast.errors import ProjectError
from kincast.feature.store import FeatureStore
from kincast.graph.snapshot import Snapshot
from kincast.model.history import LabelHistory
from kincast.model.joint import JointObjective
from kincast.model.objective import Objective
from kincast.progress import Progress, silent
from kincast.project import FeatureSettings, Project, TaskSettings
from kincast.registry.pretrained import Pretrained
from kincast.train.judge import JointJudge, Judge
from kincast.train.prepare import Prepared, check_settings, features_of, history_of, objective_of
from kincast.train.start import find_start


class Shared:
    """Gives each trial what it needs; what trials have in common is made once.

    Args:
        project: whose features are as prepared.
        settings: of the task, as prepared.
        snapshot: the rows.
        prepared: for those settings.
        tune_metric: selects epochs; the judge's own by default.
    """

    def __init__(
        self, project: Project, settings: TaskSettings, snapshot: Snapshot, prepared: Prepared, tune_metric: str | None
    ) -> None:
        self.project, self.settings, self.snapshot = project, settings, snapshot
        self.prepared = replace(prepared, judge=tuned(prepared.judge, tune_metric))
        self._train = prepared.labels.of(0)
        first = (project.features, settings.train.start_from)
        self._stores: dict[tuple[FeatureSettings, str | None], FeatureStore] = {first: prepared.features}
        self._histories: dict[tuple[int, str], LabelHistory | None] = {
            (settings.model.label_history, prepared.features.spec.storage): prepared.history
        }

    def of(self, settings: TaskSettings, features: FeatureSettings, progress: Progress = silent) -> Prepared:
        """What training needs with those settings.

        Raises:
            ProjectError: a setting does not suit the kind of task.
            DataError: a loss does not suit the targets.
        """
        task = self.prepared.task
        place, start = (features, settings.train.start_from), self.start(settings, features)
        if place not in self._stores:
            project = self.project.model_copy(update={"features": features})
            self._stores[place] = features_of(project, settings, task, self._train, self.snapshot, progress, start)
        store = self._stores[place]
        key = (settings.model.label_history, store.spec.storage)
        if key not in self._histories:
            self._histories[key] = history_of(settings, task, self.prepared.labels, self.snapshot, store)
        found = replace(self.prepared, features=store, history=self._histories[key], start=start)
        return replace(found, objective=self.objective(settings))

    def start(self, settings: TaskSettings, features: FeatureSettings) -> Pretrained | None:
        """The pre-trained network that the settings start from; raises as ``find_start``."""
        task, labels = self.prepared.task, self.prepared.labels
        return find_start(self.project, settings, task, labels, features, self.snapshot.schema)

    def objective(self, settings: TaskSettings) -> Objective | JointObjective:
        """The objective with those settings; raises as ``of``."""
        check_settings(self.prepared.task, settings)
        return objective_of(self._train, self.prepared.parts, settings)[0]


def tuned(judge: Judge | JointJudge, metric: str | None) -> Judge | JointJudge:
    """The judge with another metric in front.

    Raises:
        ProjectError: the task has no such metric.
    """
    if metric is None or metric == judge.of_epochs:
        return judge
    known = [judge.of_epochs] if isinstance(judge, JointJudge) else [name for name in judge.metrics if " " not in name]
    if isinstance(judge, JointJudge) or metric not in judge.metrics:
        hint = f"there are {', '.join(known)}"
        raise ProjectError(f"there is no metric '{metric}'", where="training_job.tune_metric", hint=hint)
    return replace(judge, metrics={metric: judge.metrics[metric], **judge.metrics})
