"""Database: MLflow's local SQLite file, which appears with all its tables or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from kincast.atomic import PARTIAL


def ensure_database(path: Path) -> None:
    """Make MLflow's database where there is none, and see that SQLite can open the one there is.

    MLflow sets up its tables in dozens of steps, and neither it nor we could use a file that a killed process, a full
    disk or a second process left between two of them. So they are made in a file beside it that is then renamed.

    Args:
        path: of the database; its folder is made when missing.

    Raises:
        OSError, sqlite3.Error, or an error of SQLAlchemy or MLflow: the disk refused, or the file is no database.
    """
    if _is_empty(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_empty(path):
                _make(path)
    # MLflow tries for minutes before it gives up on a file that SQLite cannot open.
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA schema_version")


def _is_empty(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


def _make(path: Path) -> None:
    """Needs the lock; what a killed process left under the same name is removed."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = path.with_name(f"{PARTIAL}{path.name}")
    files = [draft, *(draft.with_name(draft.name + suffix) for suffix in ("-journal", "-wal", "-shm"))]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        # Nothing is stored as an artifact, so their root is only a name.
        SqlAlchemyStore(f"sqlite:///{draft}", "kincast:/").engine.dispose()
        with draft.open("rb") as made:
            os.fsync(made.fileno())
        draft.replace(path)
    finally:
        for file in files:
            file.unlink(missing_ok=True)
