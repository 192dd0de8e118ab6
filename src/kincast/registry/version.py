"""Version: a trained model as one self-contained folder, every file of it hashed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import yaml

from kincast.errors import KincastError, VersionError
from kincast.registry.folder import canonical_json, digest_of, load_folder, save_folder
from kincast.schema import Schema

NETWORK_ALONE = "graph network alone"
"""Among the baselines of a blend: the network in it."""
INFO_FILE = "version.json"
SCHEMA_FILE = "schema.json"
SETTINGS_FILE = "settings.yaml"
PLAN_FILE = "plan.yaml"
FEATURES_FILE = "features.json"
WEIGHTS_FILE = "weights.safetensors"
FILES = (INFO_FILE, SCHEMA_FILE, SETTINGS_FILE, PLAN_FILE, FEATURES_FILE, WEIGHTS_FILE)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*-\d{8}T\d{6}-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value with its 95 % bootstrap interval; NaN where it could not be measured.

    >>> str(Interval(0.71, 0.69, 0.73))
    '0.7100 [0.6900, 0.7300]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


Metrics = dict[str, dict[str, Interval]]
"""Split name (train, validation, test) → metric name → value."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Test rows that have something in common.

    Attributes:
        by: what tells them apart: a column, or words.
        name: what they have in common.
        rows: how many there are.
        metrics: the deciding metrics and the coverage of intervals, of these rows alone.
    """

    by: str
    name: str
    rows: int
    metrics: dict[str, Interval]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {"by": self.by, "name": self.name, "rows": self.rows, "metrics": _plain(self.metrics)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Cohort:
        """Inverse of ``as_dict``."""
        return Cohort(str(values["by"]), str(values["name"]), int(values["rows"]), _read(values["metrics"]))


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What is known of a trained model, apart from its weights and fitted features.

    Attributes:
        task: name of the task in the project.
        query: the predictive query as written.
        kind: task kind, such as ``binary_classification``.
        entity: table whose rows it predicts.
        classes: names of the class codes; empty for regression.
        schema: the database it was trained on.
        snapshot_id: the snapshot it was trained on.
        settings: of its task as plain JSON values: ``ties``, ``split``, ``model``, ``train``.
        metrics: its own metrics per split.
        baselines: baseline name → metrics per split, measured on the very same rows.
        margins: baseline name → its own metrics minus the baseline's per split, paired on the same rows.
        cohorts: groups of test rows with metrics of their own.
        published: name → metric → figure quoted from others; printed, never compared by a program.
        decides: metrics that select and gate it, one for each target; empty for the usual one of its kind.
        code_version: version of Kincast that trained it.
        created_us: when it was trained.
        best_epoch: epoch its weights come from, 1-based.
        plan: the model plan in YAML, one value of each parameter; training by it gives the same weights.
        relation: column that a key names behind the entity's own, of facts of several relations; empty for others.
        search: the trials it was chosen from as plain JSON values; empty where there was one and nothing to say of it.
        id: sortable by time within a task, such as ``churn-20261120T140501-3fa9c1``; ``save_version`` gives it.
    """

    task: str
    query: str
    kind: str
    entity: str
    classes: tuple[str, ...]
    schema: Schema
    snapshot_id: str
    settings: dict[str, Any]
    metrics: Metrics
    baselines: dict[str, Metrics]
    code_version: str
    created_us: int
    best_epoch: int
    margins: dict[str, Metrics] = field(default_factory=dict)
    cohorts: tuple[Cohort, ...] = ()
    published: dict[str, dict[str, str | float]] = field(default_factory=dict)
    decides: tuple[str, ...] = ()
    plan: str = ""
    relation: str = ""
    search: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def model_words(self) -> str:
        """What it is, in words."""
        return "vectors of rows and relations" if self.relation else model_words(self.baselines)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """What a key that is asked about consists of."""
        return (*self.schema.table(self.entity).key, *((self.relation,) if self.relation else ()))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; an unmeasured (NaN) number is null. ``VersionInfo.from_dict`` reads them back."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["schema"] = self.schema.as_dict()
        values["classes"] = list(self.classes)
        values["decides"] = list(self.decides)
        values["metrics"] = _plain_metrics(self.metrics)
        values["cohorts"] = [cohort.as_dict() for cohort in self.cohorts]
        for part in ("baselines", "margins"):
            values[part] = {name: _plain_metrics(metrics) for name, metrics in values[part].items()}
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> VersionInfo:
        """The info that ``as_dict`` wrote; raises KeyError, TypeError or ValueError when the values do not fit."""
        return VersionInfo(
            **{
                **values,
                "schema": Schema.from_dict(values["schema"]),
                "classes": tuple(values["classes"]),
                "decides": tuple(values.get("decides", ())),
                "metrics": _read_metrics(values["metrics"]),
                "baselines": {name: _read_metrics(metrics) for name, metrics in values["baselines"].items()},
                "margins": {name: _read_metrics(metrics) for name, metrics in values["margins"].items()},
                "cohorts": tuple(Cohort.from_dict(cohort) for cohort in values["cohorts"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A model version on disk, verified when it was opened.

    Attributes:
        folder: the self-contained folder.
        info: what is known of it.
        features: the fitted features as ``feature`` wrote them, plain JSON values.
    """

    folder: Path
    info: VersionInfo
    features: dict[str, Any]

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Parameter name → array, read from the folder.

        Raises:
            VersionError: the file was damaged or removed since the version was opened.
        """
        path = self.folder / WEIGHTS_FILE
        try:
            return dict(safetensors.numpy.load_file(path))
        except (OSError, safetensors.SafetensorError) as error:
            raise VersionError(f"the weights cannot be read: {error}", where=str(path)) from None


def model_words(baselines: Collection[str]) -> str:
    """What a model is, in words, from the names of its baselines."""
    return "blend of network, trees and linear model" if NETWORK_ALONE in baselines else "graph neural network"


def save_version(
    root: Path, info: VersionInfo, weights: Mapping[str, npt.NDArray[Any]], features: Mapping[str, Any]
) -> Version:
    """Write a version folder below ``root``, whole or not at all.

    Args:
        root: folder of all versions.
        info: what is known of it; its id is given here, from the task, ``created_us`` and a hash of the content.
        weights: parameter name → array of any shape.
        features: the fitted features as plain JSON values.

    Raises:
        VersionError: something in it is not a plain JSON value, or a weight is no array.
        StorageError: the disk refused.
    """
    contents = _contents(info, weights, features)
    created = datetime.fromtimestamp(info.created_us / 1e6, tz=UTC)
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", info.task).strip("-.") or "task"
    info = replace(info, id=f"{slug}-{created:%Y%m%dT%H%M%S}-{digest_of(contents)[:6]}")
    folder = root / info.id
    if folder.is_dir():  # the same content at the same instant is the same version
        return load_version(root, info.id)
    contents = _contents(info, weights, features)
    save_folder(folder, contents)
    return Version(folder, info, json.loads(contents[FEATURES_FILE]))


def load_version(root: Path, id: str) -> Version:
    """Open a version and verify the hash of every file.

    Args:
        root: folder of all versions.
        id: the version's id.

    Raises:
        VersionError: there is no such version, or a file of it is missing or damaged; names the file.
    """
    folder = root / id
    if not _ID.fullmatch(id) or not folder.is_dir():
        known = ", ".join(list_versions(root)[-3:]) or "none yet"
        raise VersionError(f"there is no version '{id}'", where=str(root), hint=f"newest versions: {known}")
    contents = load_folder(folder, FILES)
    try:
        values = json.loads(contents[INFO_FILE])
        values["schema"] = json.loads(contents[SCHEMA_FILE])
        values["settings"] = yaml.safe_load(contents[SETTINGS_FILE])
        values["plan"] = contents[PLAN_FILE].decode()
        info = VersionInfo.from_dict(values)
        features = json.loads(contents[FEATURES_FILE])
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, KincastError) as error:
        hint = "it was written by another version of Kincast; train again"
        raise VersionError(f"cannot be understood: {error}", where=str(folder), hint=hint) from None
    if info.id != id:
        raise VersionError(f"holds version {info.id}", where=str(folder), hint="give the folder its own name back")
    return Version(folder, info, features)


def list_versions(root: Path) -> list[str]:
    """Ids of the versions below ``root``, oldest first; unverified."""
    if not root.is_dir():
        return []
    names = [path.name for path in root.iterdir() if path.is_dir() and _ID.fullmatch(path.name)]
    return sorted(names, key=lambda name: (name.rsplit("-", 2)[1], name))


def _contents(
    info: VersionInfo, weights: Mapping[str, npt.NDArray[Any]], features: Mapping[str, Any]
) -> dict[str, bytes]:
    values = info.as_dict()
    schema = values.pop("schema")
    settings = json.loads(canonical_json(values.pop("settings")))
    plan = values.pop("plan")
    arrays = {}
    for name, weight in weights.items():
        if not isinstance(weight, np.ndarray):
            raise VersionError(f"weight {name} is a {type(weight).__name__}, not a NumPy array")
        arrays[name] = np.ascontiguousarray(weight)
    return {
        INFO_FILE: canonical_json(values),
        SCHEMA_FILE: canonical_json(schema),
        SETTINGS_FILE: yaml.safe_dump(settings, sort_keys=True, allow_unicode=True).encode(),
        PLAN_FILE: plan.encode(),
        FEATURES_FILE: canonical_json(features),
        WEIGHTS_FILE: safetensors.numpy.save(arrays),
    }


def _plain_metrics(metrics: Metrics) -> dict[str, dict[str, list[float | None]]]:
    return {split: _plain(values) for split, values in metrics.items()}


def _read_metrics(values: Mapping[str, Any]) -> Metrics:
    return {split: _read(found) for split, found in values.items()}


def _plain(values: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    return {name: [_or_null(x) for x in (i.value, i.low, i.high)] for name, i in values.items()}


def _read(found: Mapping[str, Any]) -> dict[str, Interval]:
    return {name: Interval(*(math.nan if x is None else float(x) for x in triple)) for name, triple in found.items()}


def _or_null(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
