"""Candidate: the items that the filter of a link query lets through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kincast.query.block import Plan, make_blocks
from kincast.query.compile import compile_task
from kincast.query.print import print_query
from kincast.query.task import Task
from kincast.query.tree import Aggregate, ColumnRef, Condition, Entity, Query, leaves
from kincast.source.tables import Tables


def allowed_items(task: Task, tables: Tables) -> NDArray[np.bool_] | None:
    """[num_items] which items pass the filter inside of the target; None where it is not of the items alone.

    ``LIST_DISTINCT(orders.product_id WHERE products.category = 'shoes', 0, 30, days)`` can only name shoes.

    Args:
        task: predicts links.
        tables: the rows.
    """
    target, name = task.query.target, task.item_table
    if name is None or not isinstance(target, Aggregate) or target.where is None or not _is_about(target.where, name):
        return None
    item = task.schema.table(name)
    ref = ColumnRef((name, item.key[0]) if len(item.key) == 1 else (name,), at=target.at)
    own = compile_task(print_query(Query(target.where, Entity(ref))), task.schema)
    found = np.zeros(tables.num_rows(name), np.bool_)
    for block in make_blocks(Plan(own, tables, (), 0 if item.time is None else None)):
        rows = block["row"].to_numpy().astype(np.int64, copy=False)
        found[rows] = block["target"].cast("double").to_numpy() == 1
    return found


def _is_about(condition: Condition, table: str) -> bool:
    """True when a condition compares nothing but columns of one table."""
    parts = list(leaves(condition))
    return bool(parts) and all(
        isinstance(part, ColumnRef) and part.bound is not None and part.bound.table == table for part in parts
    )
