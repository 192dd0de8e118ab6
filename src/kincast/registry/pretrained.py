"""Pretrained: encoders and body of a network that learnt without labels, as one self-contained folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
import safetensors.numpy

from kincast.errors import VersionError
from kincast.registry.folder import canonical_json, digest_of, load_folder, save_folder
from kincast.schema import Schema

INFO_FILE = "pretrained.json"
SCHEMA_FILE = "schema.json"
FEATURES_FILE = "features.json"
WEIGHTS_FILE = "weights.safetensors"
FILES = (INFO_FILE, SCHEMA_FILE, FEATURES_FILE, WEIGHTS_FILE)
_HAPPENED = frozenset({"id", "created_us", "epochs"})
"""What differs when the same is made again, and so is no part of the id."""
_ID = re.compile(r"(.+)-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A pre-trained network, verified when it was opened.

    Attributes:
        id: its name and the first 16 digits of the SHA-256 of its content: the same id, the same weights.
        name: of the task it was made for.
        entity: table whose rows it looked at.
        end_us: no fact after it was looked at, neither as a neighbour, nor in a statistic, nor as what comes next.
        query: what it learnt to predict.
        targets: those of them that could be learnt.
        schema: of the database.
        snapshot_id: the rows.
        hidden: (table, column) pairs that it does not read.
        model: settings of the network.
        feature_settings: how columns become numbers.
        features: the fitted inputs, as plain JSON values.
        code_version: of Kincast.
        epochs: as of a training.
        created_us: when it was made.
        folder: where it lies.
    """

    name: str
    entity: str
    end_us: int
    query: str
    targets: tuple[str, ...]
    schema: Schema
    snapshot_id: str
    hidden: tuple[tuple[str, str], ...]
    model: dict[str, Any]
    feature_settings: dict[str, Any]
    features: dict[str, Any]
    code_version: str
    epochs: list[dict[str, float]] = field(default_factory=list)
    created_us: int = 0
    id: str = ""
    folder: Path = Path()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the schema and the inputs, which have files of their own."""
        apart = ("schema", "features", "folder")
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Parameter name → array.

        Raises:
            VersionError: the file was damaged or removed since it was opened.
        """
        return dict(safetensors.numpy.load(load_folder(self.folder, [WEIGHTS_FILE])[WEIGHTS_FILE]))


def save_pretrained(root: Path, found: Pretrained, weights: Mapping[str, npt.NDArray[Any]]) -> Pretrained:
    """Write a folder below ``root``, whole or not at all; what is there with the same content stays.

    Args:
        root: folder of all of them.
        found: without an id.
        weights: parameter name → array.

    Raises:
        VersionError: something in it is not a plain JSON value.
        StorageError: the disk refused.
    """
    contents = {
        SCHEMA_FILE: canonical_json(found.schema.as_dict()),
        FEATURES_FILE: canonical_json(found.features),
        WEIGHTS_FILE: safetensors.numpy.save(dict(weights)),
    }
    values = found.as_dict()
    values["id"] = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', found.name)}-{_digest(values, contents)}"
    if not (root / values["id"]).is_dir():
        save_folder(root / values["id"], {INFO_FILE: canonical_json(values), **contents})
    return load_pretrained(root, values["id"])


def load_pretrained(root: Path, name: str) -> Pretrained:
    """Open one and verify the hash of every file.

    Args:
        root: folder of all of them.
        name: its id, or the name of the task it was made for: the one made last.

    Raises:
        VersionError: there is none, or a file of it is missing or damaged.
    """
    known = list_pretrained(root)
    if name in known:
        return _read(root / name)
    made = [_read(root / id) for id in known]
    own = sorted((one.created_us, one.id) for one in made if one.name == name)
    if not own:
        there = f"there are {', '.join(known)}" if known else f"kincast pretrain {name}"
        raise VersionError(f"there is no pre-trained network '{name}'", where=str(root), hint=there)
    return next(one for one in made if one.id == own[-1][1])


def list_pretrained(root: Path) -> list[str]:
    """Ids of those below ``root``, in the order of the alphabet; unverified."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and _ID.fullmatch(path.name))


def _digest(values: Mapping[str, Any], contents: Mapping[str, bytes]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of what is the same whenever it is made."""
    same = canonical_json({name: value for name, value in values.items() if name not in _HAPPENED})
    return digest_of({**contents, INFO_FILE: same})[:16]


def _read(folder: Path) -> Pretrained:
    contents = load_folder(folder, FILES)
    info = contents.pop(INFO_FILE)
    try:
        values = json.loads(info)
        digest = _digest(values, contents)
        values["targets"] = tuple(values["targets"])
        values["hidden"] = tuple((table, column) for table, column in values["hidden"])
        schema, features = Schema.from_dict(json.loads(contents[SCHEMA_FILE])), json.loads(contents[FEATURES_FILE])
        found = Pretrained(**values, schema=schema, features=features, folder=folder)
    except (ValueError, KeyError, TypeError) as error:
        hint = "it was written by another version of Kincast; pre-train again"
        raise VersionError(f"cannot be understood: {error}", where=str(folder), hint=hint) from None
    if folder.name != found.id or not found.id.endswith(f"-{digest}"):
        raise VersionError(f"holds {found.id}", where=str(folder), hint="give the folder its own name back")
    return found
