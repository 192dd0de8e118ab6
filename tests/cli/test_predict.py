"""What is shown of predictions fits a screen, however many classes there are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from kincast.cli.console import Console
from kincast.cli.predict import show_rows, write_rows


@pytest.mark.parametrize(("num_classes", "header"), [(2, "id class score_c0 score_c1"), (150, "id class score")])
def test_many_classes_are_one_column(num_classes: int, header: str, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {f"score_c{i}": [0.75 if i == 1 else 0.0] for i in range(num_classes)}
    show_rows(Console(), pa.table({"id": [7], "class": ["c1"], **scores}), limit=5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == header.split()
    assert "0.7500" in lines[2]


def test_lists_are_text_in_csv(tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2], "why": pa.array([["a: +1", "b: -1"], None], pa.list_(pa.string()))})
    write_rows(rows, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == '"id","why"\n1,"a: +1; b: -1"\n2,\n'
