"""The registry's database is whole or not there, whatever stops its making."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy

from kincast.errors import StorageError
from kincast.registry import database
from kincast.registry.registry import Registry


def test_a_set_up_that_is_stopped_half_way_is_made_again(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import mlflow.store.tracking.sqlalchemy_store as tracking

    path = tmp_path / "mlflow.db"
    stop = True

    class Stopped:
        def __init__(self, url: str, artifact_root: str) -> None:
            draft = Path(url.removeprefix("sqlite:///"))
            assert draft != path
            shutil.copy(empty_database, draft)
            if stop:
                raise OSError(28, "No space left on device")
            self.engine = sqlalchemy.create_engine(url)

    monkeypatch.setattr(tracking, "SqlAlchemyStore", Stopped)
    with pytest.raises(StorageError, match="No space left"):
        Registry(f"sqlite:///{path}").history("churn")
    assert {file.name for file in tmp_path.iterdir()} == {".mlflow.db.lock"}
    stop = False
    # As after a kill: half a draft with its journal, and an empty file.
    for name in (".partial-mlflow.db", ".partial-mlflow.db-journal", "mlflow.db"):
        (tmp_path / name).write_bytes(b"" if name == "mlflow.db" else b"half")
    database.ensure_database(path)
    monkeypatch.undo()
    assert Registry(f"sqlite:///{path}").history("churn") == []
    assert {file.name for file in tmp_path.iterdir()} == {".mlflow.db.lock", "mlflow.db"}
