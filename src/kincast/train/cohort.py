"""Cohort: groups of test rows that may fare worse than the whole: by a column, by novelty, by instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.errors import ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.query.labels import Labels
from kincast.query.task import Task, TaskKind

MAX_COHORTS = 12
"""Groups of one column or of instants; of more values the most frequent stand alone, numbers fall into quarters."""
OTHER, MISSING = "others", "missing"


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the rows.

    Attributes:
        by: what tells them apart.
        name: what they have in common.
        chosen: [n] which rows they are.
    """

    by: str
    name: str
    chosen: NDArray[np.bool_]


def cohort_columns(task: Task, snapshot: Snapshot, names: Sequence[str]) -> list[str]:
    """The columns of the entity's table that were named as ``customers.country``.

    Raises:
        ProjectError: a name is not of that table.
    """
    known = {f"{task.entity}.{column.name}": column.name for column in snapshot.schema.table(task.entity).columns}
    for name in names:
        if name not in known:
            what = f"'{name}' is no column of {task.entity}, whose rows are predicted"
            raise ProjectError(what, where="tasks.NAME.cohorts", hint=f"there are {', '.join(known)}")
    return [known[name] for name in names]


def cohorts_of(
    task: Task, snapshot: Snapshot, labels: Labels, entities: NDArray[np.int64], names: Sequence[str]
) -> Iterator[Group]:
    """The groups of test rows.

    Args:
        task: what is predicted.
        snapshot: the rows.
        labels: of all splits.
        entities: [n] the entity of each label, whichever version of a row the label is of.
        names: columns of the entity's table.
    """
    test = labels.split == 2
    for column in cohort_columns(task, snapshot, names):
        values = snapshot.columns(task.entity, [column])[column].combine_chunks()
        codes, words = _coded(values.take(pa.array(labels.rows[test])))
        yield from _groups(f"{task.entity}.{column}", codes, words)
    known = np.isin(entities[test], entities[labels.split == 0])
    yield from _groups(task.entity, known.astype(np.int64), ["without a training label", "with training labels"])
    if task.kind is not TaskKind.STATIC_LINK:
        codes, words = _spans(labels.as_of_us[test])
        yield from _groups("as of", codes, words)


def _groups(by: str, codes: NDArray[np.int64], words: Sequence[str]) -> Iterator[Group]:
    """A group for each code that some row has; none where all rows are of one."""
    there = np.unique(codes).tolist()
    if len(there) > 1:
        yield from (Group(by, words[code], codes == code) for code in there)


def _coded(values: pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    """[n] codes of values, and what each code means."""
    null = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_temporal(values.type):
        values = pc.strftime(values, format="%Y")
    found = pc.value_counts(values.drop_null())
    if len(found) > MAX_COHORTS and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        codes, words = _quarters(values.cast(pa.float64()).fill_null(0.0).to_numpy(), null)
    else:
        order = np.argsort(-found.field("counts").to_numpy(), kind="stable")
        kept = found.field("values").take(pa.array(order[: MAX_COHORTS - 1 if len(order) > MAX_COHORTS else None]))
        codes = pc.index_in(values, value_set=kept).fill_null(len(kept)).to_numpy().astype(np.int64)
        words = [*map(str, kept.to_pylist()), OTHER]
    return np.where(null, len(words), codes), [*words, MISSING]


def _quarters(values: NDArray[np.float64], null: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[str]]:
    edges = np.unique(np.quantile(values[~null], [0, 0.25, 0.5, 0.75, 1]))
    codes = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    return codes, [f"{low:g} to {high:g}" for low, high in pairwise(edges)] or [f"{edges[0]:g}"]


def _spans(instants: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """[n] codes of instants, neighbouring ones together where there are many, and what each means."""
    at, place = np.unique(instants, return_inverse=True)
    parts = np.array_split(np.arange(len(at)), min(MAX_COHORTS, max(len(at), 1)))
    code = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)]).astype(np.int64)
    ends = [(format_instant(int(at[part[0]])), format_instant(int(at[part[-1]]))) for part in parts if len(part)]
    return code[place], [first if first == last else f"{first} to {last}" for first, last in ends]
