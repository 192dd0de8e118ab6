"""The examples for PyG run and learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "pyg"

pytestmark = pytest.mark.journey


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_churn_of_the_shop(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("churn").main(epochs=2) > 0.7
    assert "AUROC 0.7" in capsys.readouterr().out


def test_cora_in_mini_batches(shared_data: Callable[[str], Path]) -> None:
    found = load("cora").main(str(shared_data("planetoid") / "cora"), epochs=25)
    assert all(scores["test"] > 0.7 for scores in found.values())  # chance is a seventh
