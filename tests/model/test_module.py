"""A module of the user's: what is wrong with it is said, when it is made, called or found again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.planted import Planted, make_planted

from kincast.errors import ProjectError, VersionError
from kincast.model.module import OwnModule
from kincast.predict.online import Predictor
from kincast.project import ModelSettings
from kincast.sample.edge import edge_types
from kincast.schema import Schema
from kincast.testing.tiny import tiny_schema
from kincast.train.run import train_task


def own(module: str, schema: Schema | None = None, **options: Any) -> OwnModule:
    schema = tiny_schema() if schema is None else schema
    settings = ModelSettings.model_validate({"channels": 8, "module": module, "module_options": options})
    return OwnModule([table.name for table in schema], edge_types(schema), settings)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("nowhere.at_all:Model", "nowhere.at_all cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("tests.modules:Missing", "tests.modules has no torch.nn.Module Missing"),
        ("tests.modules:number", "tests.modules has no torch.nn.Module number"),
        ("os:system", "os has no torch.nn.Module system"),
        ("tests.modules:Narrow", r"returned \(2, 3\) for customers, expected \(2, 8\)"),
        ("tests.modules:Alone", "returned a Tensor, not a mapping"),
        ("tests.modules:Failing", "failed on rows of zeros: RuntimeError: mat1 and mat2"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_made(module: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said) as caught:
        own(module)
    assert caught.value.where == "model.module"
    assert caught.value.hint


def test_options_that_it_does_not_take_are_named() -> None:
    with pytest.raises(ProjectError, match=r"cannot be made: TypeError: .*'depth'"):
        own("tests.modules:Plain", depth=3)


def test_sizes_left_open_are_found_and_kept() -> None:
    pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')
    torch.manual_seed(1)
    one, two = own("tests.modules:Convolutions", num_layers=1), own("tests.modules:Convolutions", num_layers=1)
    two.load_state_dict(one.state_dict())
    assert all(torch.isfinite(weight).all() for weight in two.parameters())
    assert one.training
    assert one.module.training


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No baselines: they do not depend on the model."""
    monkeypatch.setattr("kincast.train.compare._rivals", lambda *_: ({}, None))


def made(planted: Planted, module: str) -> Any:
    task = planted[0].tasks["buys"]
    model = ModelSettings.model_validate(task.model.model_dump() | {"module": module})
    train = task.train.model_copy(update={"max_epochs": 1, "max_steps_per_epoch": 1})
    changed = task.model_copy(update={"model": model, "train": train})
    return planted[0].model_copy(update={"tasks": {"buys": changed}})


def test_a_table_left_out_is_named_when_seeds_are_of_it(planted: Planted) -> None:
    with pytest.raises(ProjectError, match="returned vectors of products, not of customers"):
        train_task(made(planted, "tests.modules:Elsewhere"), "buys", snapshot=planted[1])


SOURCE = """
import torch

class Model(torch.nn.Module):
    def __init__(self, metadata, channels):
        super().__init__()
        self.dense = torch.nn.Linear(channels, channels{more})

    def forward(self, x_dict, edge_index_dict):
        return {{name: self.dense(rows){cut} for name, rows in x_dict.items()}}
"""


def test_a_class_that_is_gone_or_changed_is_said_when_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = make_planted(tmp_path, num_customers=120)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "changing_model.py"
    file.write_text(SOURCE.format(more="", cut=""))
    project = made(planted, "changing_model:Model")
    version = train_task(project, "buys", snapshot=planted[1])

    def load() -> Predictor:
        return Predictor.load(version, planted[1], project.work / "features")

    rows = np.arange(5)
    assert load().score_rows(rows, np.full(5, planted[1].max_time_us))[1].shape == (5, 16)
    monkeypatch.delitem(sys.modules, "changing_model")
    file.write_text(SOURCE.format(more=" + 1", cut="[:, 1:]"))
    with pytest.raises(VersionError, match="the weights do not fit the network: size mismatch"):
        load()
    monkeypatch.delitem(sys.modules, "changing_model")
    file.unlink()
    with pytest.raises(VersionError, match="changing_model cannot be imported") as caught:
        load()
    assert caught.value.where == str(version.folder)
