"""Static: what the benchmarks of static graphs, graph-level and edge-level tasks share: a project made of tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kincast.project import Project, read_project

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def make_project(folder: Path, tables: dict[str, pa.Table], card: str, settings: dict[str, Any]) -> Project:
    """Write tables as Parquet, the schema card and ``kincast.yaml`` into a folder, and read the project."""
    (folder / "data").mkdir(parents=True)
    for name, table in tables.items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    (folder / "schema.yaml").write_text(card, encoding="utf-8")
    (folder / "kincast.yaml").write_text(yaml.safe_dump({"source": "data", **settings}), encoding="utf-8")
    return read_project(folder)
