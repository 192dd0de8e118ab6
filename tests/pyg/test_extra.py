"""Without the extra, the message says how to install it."""

from __future__ import annotations

import importlib
import sys

import pytest

from kincast.errors import MissingExtraError


def test_pyg_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "kincast.pyg" or name.startswith("kincast.pyg.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(MissingExtraError, match=r'pip install "kincast\[pyg\]"'):
        importlib.import_module("kincast.pyg")
