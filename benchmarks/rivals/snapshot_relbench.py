"""RelBench's graph builder on the same tables; for its own environment.

It wants rows in time order and keys that count from 0; that is done here in the usual way of pandas, and timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from relbench.base import Database, Table
from relbench.modeling.graph import make_pkey_fkey_graph
from torch_frame import stype

data = Path(sys.argv[1])
steps = {}
before, start = os.times(), time.perf_counter()
frames = {name: pd.read_parquet(data / f"{name}.parquet") for name in ("users", "items", "events")}
steps["read"] = time.perf_counter() - start
for name, column in (("users", "joined_at"), ("events", "at")):
    frames[name] = frames[name].sort_values(column, ignore_index=True)
for name, key in (("users", "user_id"), ("items", "item_id")):
    frames["events"][key] = pd.Index(frames[name][key]).get_indexer(frames["events"][key])
for name, key in (("users", "user_id"), ("items", "item_id"), ("events", "event_id")):
    frames[name][key] = np.arange(len(frames[name]))
database = Database(
    {
        "users": Table(frames["users"], {}, "user_id", "joined_at"),
        "items": Table(frames["items"], {}, "item_id", None),
        "events": Table(frames["events"], {"user_id": "users", "item_id": "items"}, "event_id", "at"),
    }
)
steps["order and keys"] = time.perf_counter() - start - steps["read"]
kinds = {
    "users": {"joined_at": stype.timestamp, "age": stype.numerical, "city": stype.categorical},
    "items": {"price": stype.numerical, "category": stype.categorical},
    "events": {"at": stype.timestamp, "amount": stype.numerical, "quantity": stype.numerical},
}
graph, _ = make_pkey_fkey_graph(database, kinds)
seconds, after = time.perf_counter() - start, os.times()
steps["frames and edges"] = seconds - steps["read"] - steps["order and keys"]
print(
    json.dumps(
        {
            "rows": sum(map(len, frames.values())),
            "seconds": seconds,
            "cpu_seconds": after.user + after.system - before.user - before.system,
            "steps": {name: round(value, 2) for name, value in steps.items()},
        }
    )
)
