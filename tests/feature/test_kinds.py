"""Lists of numbers: recognised as vectors or sequences, checked, compared, and never a target."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from kincast.card import card_text, parse_card
from kincast.errors import KincastError
from kincast.graph.build import build_snapshot
from kincast.monitor.drift import drift
from kincast.query.compile import compile_task
from kincast.report import Verdict
from kincast.schema import SemanticType
from kincast.source.base import guess_semantic
from kincast.source.check import check_tables
from kincast.source.infer import infer_schema
from kincast.source.open import open_source


@pytest.mark.parametrize(
    ("stored", "meaning"),
    [
        ("FLOAT[384]", SemanticType.VECTOR),
        ("DOUBLE[]", SemanticType.VECTOR),
        ("DECIMAL(9,2)[]", SemanticType.VECTOR),
        ("INTEGER[3]", SemanticType.VECTOR),
        ("INTEGER[]", SemanticType.MULTICATEGORICAL),
        ("VARCHAR[]", SemanticType.MULTICATEGORICAL),
        ("VARCHAR[3]", SemanticType.MULTICATEGORICAL),
        ("DOUBLE[][]", SemanticType.IGNORED),
        ("FLOAT[3][4]", SemanticType.IGNORED),
        ("TIMESTAMP[]", SemanticType.IGNORED),
    ],
)
def test_what_a_stored_type_says(stored: str, meaning: SemanticType) -> None:
    assert guess_semantic(stored) is meaning


def make_source(folder: Path, name: str, shift: float = 0.0) -> str:
    """Users with a face of two numbers, a curve of up to three, and a list that always has three."""
    rng = np.random.default_rng(0)
    faces = (rng.normal(size=(200, 2)) + shift).tolist()
    curves = [(rng.normal(size=user % 4) + shift).tolist() for user in range(200)]
    rows = {"user_id": range(200), "face": faces, "curve": curves, "fix": rng.normal(size=(200, 3)).tolist()}
    path = folder / name
    with duckdb.connect(str(path)) as connection:
        columns = "user_id BIGINT PRIMARY KEY, face FLOAT[2], curve DOUBLE[], fix DOUBLE[]"
        connection.execute(f"CREATE TABLE users ({columns})")
        connection.register("incoming", pa.table(rows))
        connection.execute("INSERT INTO users SELECT * FROM incoming")
    return str(path)


def test_lengths_tell_vectors_from_sequences_and_reports_can_read_them(tmp_path: Path) -> None:
    source = open_source(make_source(tmp_path, "a.duckdb"))
    inferred = infer_schema(source)
    users = inferred.schema.table("users")
    kinds = {column.name: column.type for column in users.columns}
    assert kinds["face"] is kinds["fix"] is SemanticType.VECTOR
    assert kinds["curve"] is SemanticType.SEQUENCE
    card = card_text(inferred.schema, inferred.evidence)
    assert "always 2 numbers" in card
    assert "0 to 3 numbers" in card
    assert parse_card(card) == inferred.schema
    before = build_snapshot(source, inferred.schema, tmp_path / "before")
    with before.open_tables() as tables:
        assert check_tables(tables).verdict is not Verdict.FAIL
    after = build_snapshot(open_source(make_source(tmp_path, "b.duckdb", 9.0)), inferred.schema, tmp_path / "after")
    failed = [check for check in drift(before, after).checks if check.verdict is Verdict.FAIL]
    alarmed = {check.where for check in failed if check.name == "drift.column"}
    assert alarmed == {"users.face", "users.curve"}


@pytest.mark.parametrize("column", ["face", "curve"])
def test_numbers_in_lists_cannot_be_predicted(column: str, tmp_path: Path) -> None:
    schema = infer_schema(open_source(make_source(tmp_path, "a.duckdb"))).schema
    with pytest.raises(KincastError, match="cannot be predicted"):
        compile_task(f"PREDICT users.{column} FOR EACH users.user_id", schema)
