"""Pretrained: a self-contained folder whose name is the hash of its content."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.registry.examples import SCHEMA

from kincast.errors import VersionError
from kincast.registry.folder import MANIFEST_FILE, load_folder, save_folder
from kincast.registry.pretrained import FILES, INFO_FILE, Pretrained, list_pretrained, load_pretrained, save_pretrained

WEIGHTS = {"body.layers.0.own.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


def saved(root: Path, weights: dict[str, Any] = WEIGHTS, **changes: Any) -> Pretrained:
    found = Pretrained(
        name="churn",
        entity="customers",
        end_us=1_700_000_000_000_000,
        query="PREDICT COUNT(orders.*, 0, 15, days) FOR EACH customers.customer_id",
        targets=("COUNT(orders.*, 0, 15, days)",),
        schema=SCHEMA,
        snapshot_id="00112233aabbccdd",
        hidden=(("orders", "status"),),
        model={"channels": 8},
        feature_settings={},
        features={"tables": [], "until_us": 0},
        code_version="0.1.0",
        epochs=[{"epoch": 1, "skill": 0.25, "seconds": 1.5}],
        created_us=1,
    )
    return save_pretrained(root, dataclasses.replace(found, **changes), weights)


def test_what_is_saved_is_loaded_by_id_and_by_name(tmp_path: Path) -> None:
    one = saved(tmp_path)
    assert load_pretrained(tmp_path, one.id) == load_pretrained(tmp_path, "churn") == one
    assert one.hidden == (("orders", "status"),)
    assert np.array_equal(one.weights()["body.layers.0.own.0.weight"], WEIGHTS["body.layers.0.own.0.weight"])
    assert sorted(path.name for path in one.folder.iterdir()) == sorted((*FILES, MANIFEST_FILE))


def test_the_id_is_the_content_and_not_when_it_was_made(tmp_path: Path) -> None:
    one = saved(tmp_path)
    again = saved(tmp_path / "other", created_us=7, epochs=[{"epoch": 1, "skill": 0.25, "seconds": 99.0}])
    assert again.id == one.id
    other = {name: weight + 1 for name, weight in WEIGHTS.items()}
    ids = {one.id, saved(tmp_path, other).id, saved(tmp_path, end_us=5).id, saved(tmp_path, snapshot_id="ff").id}
    assert len(ids) == len(list_pretrained(tmp_path)) == 4


def test_a_name_stands_for_the_one_made_last(tmp_path: Path) -> None:
    saved(tmp_path)
    late = saved(tmp_path, {"w": np.ones(2, np.float32)}, created_us=2)
    saved(tmp_path, name="spend", created_us=3)
    assert load_pretrained(tmp_path, "churn").id == late.id


def test_none_of_that_name_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match=r"no pre-trained network 'churn'.*\n.*kincast pretrain churn"):
        load_pretrained(tmp_path / "none", "churn")
    one = saved(tmp_path)
    with pytest.raises(VersionError, match=f"no pre-trained network 'spend'.*\n.*{one.id}"):
        load_pretrained(tmp_path, "spend")


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path).folder / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(VersionError, match=name):
        load_pretrained(tmp_path, "churn")


def test_a_folder_that_says_another_end_is_refused_although_its_hashes_fit(tmp_path: Path) -> None:
    one = saved(tmp_path)
    contents = load_folder(one.folder, FILES)
    info = json.loads(contents[INFO_FILE])
    contents[INFO_FILE] = json.dumps({**info, "end_us": 0}).encode()
    for path in one.folder.iterdir():
        path.unlink()
    one.folder.rmdir()
    save_folder(one.folder, contents)
    with pytest.raises(VersionError, match="holds churn-"):
        load_pretrained(tmp_path, one.id)
