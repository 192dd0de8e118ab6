"""Example versions for the tests of registry, operate and serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from kincast.clock import parse_instant
from kincast.registry.version import Interval, Version, VersionInfo, save_version
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

SCHEMA = Schema(
    tables=(
        Table("customers", (Column("customer_id", SemanticType.ID, "BIGINT"),), key=("customer_id",)),
        Table(
            "orders",
            (
                Column("order_id", SemanticType.ID, "BIGINT"),
                Column("customer_id", SemanticType.ID, "BIGINT"),
                Column("placed_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
            ),
            key=("order_id",),
            time=RowTime("placed_at"),
        ),
    ),
    links=(Link("orders", ("customer_id",), "customers", ("customer_id",)),),
)
WEIGHTS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.zeros(2, np.float16)}


def version_info(**changes: Any) -> VersionInfo:
    """A churn version's info with some fields changed."""
    info = VersionInfo(
        task="churn",
        query="PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id",
        kind="binary_classification",
        entity="customers",
        classes=("false", "true"),
        schema=SCHEMA,
        snapshot_id="00112233aabbccdd",
        settings={"split": {"validation_windows": 1}, "model": {"channels": 64}, "train": {"seed": 0}},
        plan="optimization: {batch_size: 512}\n",
        metrics={
            "validation": {"auroc": Interval(0.80, 0.78, 0.82)},
            "test": {"auroc": Interval(0.79, 0.77, float("nan"))},
        },
        baselines={"global_rate": {"validation": {"auroc": Interval(0.5, 0.5, 0.5)}}},
        margins={"global_rate": {"validation": {"auroc": Interval(0.3, 0.28, 0.32)}}},
        code_version="0.1.0",
        created_us=parse_instant("2026-11-20 14:05:01"),
        best_epoch=3,
        published={"a paper": {"auroc": 0.7, "note": "different split"}},
    )
    return dataclasses.replace(info, **changes)


def version(root: Path, **changes: Any) -> Version:
    """A saved churn version."""
    return save_version(root, version_info(**changes), WEIGHTS, {"tables": {"orders": {"mean": [1.5]}}})
