"""Export: labels as a table with the user's own keys, in the form in which a label table is read back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kincast.query.labels import Labels
from kincast.query.split import SPLITS
from kincast.query.task import Task, TaskKind
from kincast.source.base import quote
from kincast.source.tables import Tables


def export_labels(task: Task, labels: Labels, tables: Tables) -> pa.Table:
    """The entity's key columns, ``as_of``, ``target``, ``split``, and ``weight`` and further columns where there are.

    A task with this table as its ``labels`` has the same labels.

    Args:
        task: what the labels are of.
        labels: n of them.
        tables: the rows that they were made from.

    Returns:
        [n] in the order of the labels. A target is true or false, a number, the text of a class, or a list: of texts,
        of the keys linked to, or of the steps of a forecast. Of a fact it is the key of the tail, and a column with the
        name of the relation, null where no training fact has it, stands behind it.
    """
    keys = _keys(tables, task.entity, labels.rows)
    table = keys.append_column("as_of", pa.array(labels.as_of_us).cast(pa.timestamp("us")))
    table = table.append_column("target", _target(labels, tables))
    if labels.relation is not None:
        names = pa.array([*labels.relations, None], pa.string())
        table = table.append_column(task.relation, names.take(pa.array(labels.relation)))
    table = table.append_column("split", pa.array(SPLITS).take(pa.array(labels.split)))
    if labels.weight is not None:
        table = table.append_column("weight", pa.array(labels.weight))
    for name in labels.extra.column_names if labels.extra is not None else ():
        table = table.append_column(name, labels.extra[name])  # type: ignore[index]
    return table


def _target(labels: Labels, tables: Tables) -> pa.Array:
    """[n] the targets in the user's words."""
    if labels.lists is not None:
        items = _items(labels, tables)
        return pa.LargeListArray.from_arrays(pa.array(labels.lists.offsets), items)
    if labels.kind is TaskKind.KNOWLEDGE and labels.item_table is not None:
        return _keys(tables, labels.item_table, labels.target.astype(np.int64)).column(0)
    if labels.kind is TaskKind.BINARY:
        return pa.array(labels.target == 1)
    if labels.kind is TaskKind.REGRESSION:
        return pa.array(labels.target)
    return pa.array(labels.classes, pa.string()).take(pa.array(labels.target.astype(np.int64)))


def _items(labels: Labels, tables: Tables) -> pa.Array:
    """[m] the items of all lists, one behind the other."""
    assert labels.lists is not None
    items = labels.lists.items
    if labels.kind is TaskKind.FORECASTING:
        return pa.array(items, pa.float64(), from_pandas=True)  # a step without a value is null
    if labels.item_table is None:
        return pa.array(labels.classes, pa.string()).take(pa.array(items.astype(np.int64)))
    return _keys(tables, labels.item_table, items.astype(np.int64)).column(0).combine_chunks()


def _keys(tables: Tables, name: str, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    """The key columns of rows of a table."""
    columns = ", ".join(quote(column) for column in tables.schema.table(name).key)
    with tables.connect() as connection:
        keys = connection.sql(f"SELECT {columns} FROM {quote(name)} ORDER BY _row").to_arrow_table()
    return keys.take(pa.array(rows))
