"""kumo-engine's snapshot of the same tables; for its own environment."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from kumo.engine import Edge, FileConnector, Graph, Table, configure

data, out = Path(sys.argv[1]), Path(sys.argv[2])
configure(scratch_dir=str(out))
before, start = os.times(), time.perf_counter()
files = FileConnector(root_dir=str(data))
tables = [
    Table.from_source_table(files["users"], primary_key="user_id", time_column="joined_at"),
    Table.from_source_table(files["items"], primary_key="item_id"),
    Table.from_source_table(files["events"], primary_key="event_id", time_column="at"),
]
edges = [Edge("events", "user_id", "users"), Edge("events", "item_id", "items")]
snapshot = Graph(tables=tables, edges=edges).snapshot()
seconds, after = time.perf_counter() - start, os.times()
spent = after.user + after.system + after.children_user + after.children_system
spent -= before.user + before.system + before.children_user + before.children_system
rows = sum(pq.read_metadata(path).num_rows for path in data.glob("*.parquet"))
size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
print(json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": spent, "bytes_per_row": size / rows}))
