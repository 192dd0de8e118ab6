"""Registry: runs, registered versions and their aliases in MLflow, behind a small seam."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy.exc

from kincast.errors import KincastError, StorageError, VersionError
from kincast.registry.database import ensure_database
from kincast.registry.version import Metrics, Version

if TYPE_CHECKING:
    from mlflow import MlflowClient

Alias = Literal["champion", "challenger", "previous"]
ALIASES: tuple[Alias, ...] = get_args(Alias)

# MLflow calls home and looks for git unless told not to, before it is imported.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_DAMAGE = ("malformed", "not a database", "damaged", "no such table")
_MAX_TAG = 4900
_MAX_PARAM = 5900
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered version as the registry knows it.

    Attributes:
        id: the version's id.
        folder: the version's folder at the time it was registered.
        number: MLflow's running number of it within the task.
        run_id: MLflow's run.
        created_us: when it was trained.
        metrics: ``validation/auroc`` and the like → value; interval ends as ``validation/auroc/low`` and ``/high``.
        aliases: the aliases that name it.
    """

    id: str
    folder: Path
    number: int
    run_id: str
    created_us: int
    metrics: dict[str, float]
    aliases: tuple[str, ...]


class Registry:
    """The runs and versions of a project.

    Args:
        tracking_url: MLflow's database, such as ``sqlite:////path/mlflow.db``; the environment variable
            ``MLFLOW_TRACKING_URI`` takes its place when set.
    """

    def __init__(self, tracking_url: str) -> None:
        self.tracking_url = os.environ.get("MLFLOW_TRACKING_URI") or tracking_url

    def record_run(self, version: Version) -> str:
        """Record the training of a version as a run: settings, metrics per split, baselines, where it came from.

        Returns:
            MLflow's run id.

        Raises:
            StorageError: the database cannot be reached or written.
        """
        info = version.info
        with self._errors():
            from mlflow.entities import Metric, Param, RunTag

            experiment = self._experiment(info.task)
            run_id = str(self._client.create_run(experiment, run_name=info.id).info.run_id)
            at_ms = info.created_us // 1000
            rows: dict[str, list[Any]] = {
                "metrics": [Metric(name, value, at_ms, 0) for name, value in _flat_metrics(version).items()],
                "params": [Param(name, value[:_MAX_PARAM]) for name, value in _flat_settings(info.settings)],
                "tags": [RunTag(name, value[:_MAX_TAG]) for name, value in _tags(version).items()],
            }
            for kind, found in rows.items():
                for start in range(0, len(found), _BATCH[kind]):
                    self._client.log_batch(run_id, **{kind: found[start : start + _BATCH[kind]]})
            self._client.set_terminated(run_id)
        return run_id

    def register(self, version: Version, run_id: str | None = None) -> Registered:
        """Register a version under its task's name; doing it twice changes nothing.

        Args:
            version: the version.
            run_id: its run; recorded now when left out.

        Raises:
            StorageError: the database cannot be reached or written.
        """
        for known in self.history(version.info.task):
            if known.id == version.info.id:
                return known
        run_id = run_id or self.record_run(version)
        with self._errors():
            if not self._is_known(version.info.task):
                self._client.create_registered_model(version.info.task)
            self._client.create_model_version(
                version.info.task, source=f"kincast:/{version.info.id}", run_id=run_id, tags=_tags(version)
            )
        return self.find(version.info.task, version.info.id)

    def history(self, task: str) -> list[Registered]:
        """All registered versions of a task, newest first; empty when there is none.

        Raises:
            StorageError: the database cannot be reached.
        """
        with self._errors():
            if not self._is_known(task):
                return []
            aliases = self._client.get_registered_model(task).aliases
            found: list[Any] = []
            token: str | None = None
            while True:
                page = self._client.search_model_versions(f"name = '{_name(task)}'", max_results=1000, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
            # A registry that is shared may hold versions of others under the same name.
            ours = [version for version in found if str(version.source).startswith("kincast:/")]
            try:
                entries = [self._entry(version, aliases) for version in ours]
            except (KeyError, ValueError) as error:
                raise self._unreachable(f"a tag of a version of {task} is missing or damaged: {error}") from None
        return sorted(entries, key=lambda entry: -entry.number)

    def find(self, task: str, id: str) -> Registered:
        """The registered version of that id.

        Raises:
            VersionError: there is none.
        """
        entries = self.history(task)
        for entry in entries:
            if entry.id == id:
                return entry
        known = ", ".join(entry.id for entry in entries[:3]) or "none yet"
        raise VersionError(
            f"version '{id}' of task {task} is not registered", hint=f"registered, newest first: {known}"
        )

    def get(self, task: str, alias: Alias) -> Registered | None:
        """The version an alias names; None when it names none."""
        return next((entry for entry in self.history(task) if alias in entry.aliases), None)

    def set(self, task: str, alias: Alias, id: str) -> None:
        """Let an alias name a registered version.

        A new champion leaves the alias ``previous`` to the one before and is no longer the challenger.

        Raises:
            VersionError: the version is not registered, or there is no such alias.
            StorageError: the database cannot be reached or written.
        """
        if alias not in ALIASES:
            raise VersionError(f"there is no alias '{alias}'", hint=f"aliases: {', '.join(ALIASES)}")
        entry = self.find(task, id)
        if alias in entry.aliases:
            return
        champion = self.get(task, "champion") if alias == "champion" else None
        with self._errors():
            if champion is not None:
                self._client.set_registered_model_alias(task, "previous", str(champion.number))
            self._client.set_registered_model_alias(task, alias, str(entry.number))
            # "previous" has just gone to the old champion, unless there was none.
            stale = {"challenger"} | ({"previous"} if champion is None else set())
            for name in stale.intersection(entry.aliases if alias == "champion" else ()):
                self._client.delete_registered_model_alias(task, name)

    def clear(self, task: str, alias: Alias) -> None:
        """Let an alias name nothing.

        Raises:
            StorageError: the database cannot be reached or written.
        """
        if self.get(task, alias) is not None:
            with self._errors():
                self._client.delete_registered_model_alias(task, alias)

    def rollback(self, task: str) -> Registered:
        """Make the previous champion champion again; the two change places.

        Returns:
            The champion from now on.

        Raises:
            VersionError: there is no previous champion.
        """
        previous = self.get(task, "previous")
        if previous is None:
            hint = "a champion is remembered as 'previous' when another one takes its place"
            raise VersionError(f"task {task} has no previous champion to go back to", hint=hint)
        self.set(task, "champion", previous.id)
        return self.find(task, previous.id)

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        path = self.tracking_url.removeprefix("sqlite:///")
        if path != self.tracking_url:
            ensure_database(Path(path))
        return MlflowClient(self.tracking_url, self.tracking_url)

    def _experiment(self, task: str) -> str:
        found = self._client.get_experiment_by_name(task)
        if found is not None:
            return str(found.experiment_id)
        # Nothing is stored as an artifact: the version's folder is whole in itself.
        return str(self._client.create_experiment(task, artifact_location=f"kincast:/{task}"))

    def _is_known(self, task: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{_name(task)}'"))

    def _entry(self, found: Any, aliases: dict[str, str]) -> Registered:
        return Registered(
            id=found.tags["kincast.version"],
            folder=Path(found.tags["kincast.folder"]),
            number=int(found.version),
            run_id=found.run_id,
            created_us=int(found.tags["kincast.created_us"]),
            metrics=dict(self._client.get_run(found.run_id).data.metrics),
            aliases=tuple(alias for alias in ALIASES if str(aliases.get(alias)) == str(found.version)),
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                # MLflow's own use of SQLAlchemy is nothing a user can mend.
                warnings.simplefilter("ignore", DeprecationWarning)
                yield
        except KincastError:
            raise
        except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).split("\n")[0]
            raise self._unreachable(reason) from error
        except Exception as error:
            # MLflow's exceptions cannot be named here without importing it.
            if type(error).__module__.split(".")[0] not in ("mlflow", "alembic", "requests"):
                raise
            reason = str(error).split("\n")[0][:300]
            raise self._unreachable(reason) from error

    def _unreachable(self, reason: str) -> StorageError:
        hint = "check the path, the free space, and MLFLOW_TRACKING_URI if it is set"
        if any(word in reason for word in _DAMAGE):
            hint = "restore it from a copy, or move it away: versions are whole without it; then promote one by its id"
        what = f"the registry cannot be used: {_without_password(reason)}"
        return StorageError(what, where=_without_password(self.tracking_url), hint=hint)


def _tags(version: Version) -> dict[str, str]:
    info = version.info
    return {
        "kincast.version": info.id,
        "kincast.folder": str(version.folder.resolve()),
        "kincast.created_us": str(info.created_us),
        "kincast.query": info.query[:_MAX_TAG],
        "kincast.kind": info.kind,
        "kincast.snapshot": info.snapshot_id,
        "kincast.code_version": info.code_version,
    }


def _flat_metrics(version: Version) -> dict[str, float]:
    flat = _flat("", version.info.metrics)
    for name, metrics in version.info.baselines.items():
        flat |= _flat(f"baseline/{name}/", metrics)
    return flat


def _flat(prefix: str, metrics: Metrics) -> dict[str, float]:
    flat = {}
    for split, values in metrics.items():
        for metric, interval in values.items():
            name = re.sub(r"[^A-Za-z0-9_./ -]", "_", f"{prefix}{split}/{metric}")
            for suffix, value in (("", interval.value), ("/low", interval.low), ("/high", interval.high)):
                if math.isfinite(value):
                    flat[name + suffix] = float(value)
    return flat


def _flat_settings(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for group, values in settings.items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            yield re.sub(r"[^A-Za-z0-9_./ -]", "_", f"{group}.{name}".rstrip(".")), text


def _name(task: str) -> str:
    # A quote would end the name in MLflow's filter language, which has no escape for it.
    if re.search(r"['\"/:]", task) or not task.strip():
        raise VersionError(f"'{task}' cannot name a registered model", hint="a task's name has no quotes, '/' or ':'")
    return task


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)
