"""Dates written after their row came to be are left out; plans and ends are not."""

from __future__ import annotations

from pathlib import Path

import duckdb

from kincast.schema import SemanticType
from kincast.source.infer import infer_schema
from kincast.source.open import open_source


def test_dates_written_later_are_left_out_and_plans_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE users AS SELECT range AS user_id, "
            "TIMESTAMP '2024-01-01' + INTERVAL (range) HOUR AS created_at, "
            "created_at + INTERVAL (range % 90) DAY AS last_access_at, created_at + INTERVAL 30 DAY AS due_at, "
            "DATE '1980-01-01' + CAST(range % 9000 AS INT) AS birthday FROM range(500)"
        )
    found = infer_schema(open_source(str(path)))
    users = found.schema.table("users")
    assert users.time is not None
    assert users.time.column == "created_at"
    assert users.column("last_access_at").type is SemanticType.IGNORED
    assert users.column("due_at").type is SemanticType.TIMESTAMP
    assert users.column("birthday").type is SemanticType.TIMESTAMP
    assert any("written afterwards" in sentence for sentence in found.evidence.values())
