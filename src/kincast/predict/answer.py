"""Answer: what a version says of rows: as a table for files and databases, and row by row for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.model.certainty import Bounds
from kincast.model.objective import LINKS
from kincast.model.ranked import Ranked, rank
from kincast.model.score import Scored
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
LIKELY = 0.5  # from this probability on a label is said


@dataclass(frozen=True, slots=True)
class Part:
    """One of several targets.

    Attributes:
        name: its text.
        kind: of the target.
        classes: names of its classes.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores of rows, each as of an instant.

    Attributes:
        keys: key columns, in the order asked for.
        instants_us: [n] int64 as-of instant of each row.
        as_of_us: the instant; the latest where rows have different ones.
        scores: [n] probability of the positive class, or value; [n, classes] probabilities; [n, steps] of a forecast;
            one of these for each of several targets; ranked links.
        classes: names of the classes; empty for values and links.
        kind: of the task.
        top: how many are ranked.
        edges_us: [n, steps + 1] int64 where the steps of a forecast begin and end; None for other kinds.
        item_keys: key columns of all ranked items, those of one row behind those of another; None unless links are
            predicted.
        parts: the targets of a query of several.
        bounds: intervals of values and sets of classes, for each target; empty where none are asked for.
    """

    keys: pa.Table
    instants_us: NDArray[np.int64]
    as_of_us: int
    scores: Scored
    classes: tuple[str, ...]
    kind: TaskKind
    top: int = 0
    edges_us: NDArray[np.int64] | None = None
    item_keys: pa.Table | None = None
    parts: tuple[Part, ...] = ()
    bounds: tuple[Bounds, ...] = ()

    def __len__(self) -> int:
        return int(self.keys.num_rows)

    def as_table(self) -> pa.Table:
        """Key columns and ``as_of``, then by kind, a row for each entity unless said otherwise:

        ``score``; ``value``; ``class`` and one ``score_<class>`` each; ``labels`` and one ``score_<label>`` each; a
        row for each ``step`` with ``from``, ``until`` and ``value``; a row for each ``rank`` with ``label`` or the
        item's key columns (``item_<column>`` where the entity has a column of that name) and ``score``; of several
        targets the columns of each behind its text, such as ``COUNT(orders.*, 0, 30, days) > 0: score``. Where a
        coverage was asked for, ``low`` and ``high`` follow a value, null where they are infinite, and ``classes``,
        those not ruled out, a class.
        """
        table = self._with_as_of(np.arange(len(self)))
        if self.parts:
            for part, scores, bounds in zip(self.parts, self._each(), self._bounds(), strict=True):
                for name, column in _columns(part.kind, scores, part.classes, bounds).items():
                    table = table.append_column(f"{part.name}: {name}", column)
            return table
        if self.kind is TaskKind.FORECASTING:
            return self._steps()
        if self.kind is TaskKind.RANKING or self.kind in LINKS:
            return self._ranks()
        for name, column in _columns(self.kind, self._one(), self.classes, self._bounds()[0]).items():
            table = table.append_column(name, column)
        return table

    def as_records(self) -> pa.Table:
        """One row for each entity without its keys: as ``as_table``, with lists where that has several rows."""
        table = self.as_table()
        if len(table) == len(self) and self.edges_us is None and self.kind not in (*LINKS, TaskKind.RANKING):
            return table.drop(self.keys.column_names)
        owners = self._owners()
        offsets = pa.array(np.searchsorted(owners, np.arange(len(self) + 1)), pa.int32())
        records = self._with_as_of(np.arange(len(self))).drop(self.keys.column_names)
        for name in table.column_names[self.keys.num_columns + 1 :]:
            lists = pa.ListArray.from_arrays(offsets, table[name].combine_chunks())
            records = records.append_column(name, lists)
        return records

    def outcomes(self) -> list[dict[str, Any]]:
        """What is said of each row, as plain JSON values."""
        if self.parts:
            found = zip(self.parts, self._each(), self._bounds(), strict=True)
            each = [_outcomes(part.kind, scores, part.classes, bounds) for part, scores, bounds in found]
            names = [part.name for part in self.parts]
            return [{"targets": dict(zip(names, row, strict=True))} for row in zip(*each, strict=True)]
        if self.kind is TaskKind.FORECASTING:
            assert self.edges_us is not None
            ends = _ends(self._bounds()[0])
            columns = {"value": self._one().tolist()} | {name: _nulls(end) for name, end in ends.items()}
            return [{"steps": _steps(edges, columns, row)} for row, edges in enumerate(self.edges_us.tolist())]
        if self.kind is TaskKind.RANKING or self.kind in LINKS:
            return self._ranked_outcomes()
        return _outcomes(self.kind, self._one(), self.classes, self._bounds()[0])

    def numbers(self) -> dict[str, Floats]:
        """Name → [n] a number for each row, to be watched: scores and values, of ranked lists the best score.

        A single number has an empty name, others begin with a dot.
        """
        if self.parts:
            found: dict[str, Floats] = {}
            for part, scores in zip(self.parts, self._each(), strict=True):
                found |= {f".{part.name}{name}": v for name, v in _numbers(scores, part.classes).items()}
            return found
        if self.kind is TaskKind.RANKING or self.kind in LINKS:
            best = self._ranked().scores[:, :1]
            return {".best": np.where(np.isfinite(best), best, 0.0).sum(axis=1)}
        return _numbers(self._one(), self.classes)

    def _one(self) -> Floats:
        assert isinstance(self.scores, np.ndarray)
        return self.scores

    def _each(self) -> tuple[Floats, ...]:
        assert isinstance(self.scores, tuple)
        return self.scores

    def _bounds(self) -> tuple[Bounds, ...]:
        return self.bounds or (None,) * max(len(self.parts), 1)

    def _ranked(self) -> Ranked:
        return self.scores if isinstance(self.scores, Ranked) else rank(self._one(), self.top)

    def _owners(self) -> NDArray[np.int64]:
        """[m] the entity that each row of the long table is of."""
        if self.edges_us is not None:
            return np.repeat(np.arange(len(self)), self._one().shape[1])
        return np.nonzero(self._ranked().items >= 0)[0]

    def first_rows(self) -> NDArray[np.int64]:
        """[n] where ``as_table`` begins with each entity."""
        if self.edges_us is None and self.kind not in (*LINKS, TaskKind.RANKING):
            return np.arange(len(self))
        return np.searchsorted(self._owners(), np.arange(len(self)))

    def _with_as_of(self, rows: NDArray[np.int64]) -> pa.Table:
        return self.keys.take(pa.array(rows)).append_column("as_of", _times(self.instants_us[rows]))

    def _steps(self) -> pa.Table:
        assert self.edges_us is not None
        values = self._one()
        table = self._with_as_of(self._owners())
        table = table.append_column("step", pa.array(np.tile(np.arange(1, values.shape[1] + 1), len(values))))
        table = table.append_column("from", _times(self.edges_us[:, :-1].ravel()))
        table = table.append_column("until", _times(self.edges_us[:, 1:].ravel()))
        table = table.append_column("value", pa.array(values.ravel()))
        for name, end in _ends(self._bounds()[0]).items():
            table = table.append_column(name, _finite(end.ravel()))
        return table

    def _ranks(self) -> pa.Table:
        ranked = self._ranked()
        owner, place = np.nonzero(ranked.items >= 0)
        table = self._with_as_of(owner)
        if self.item_keys is None:
            names = pa.array(self.classes, pa.string()).take(pa.array(ranked.items[owner, place]))
            table = table.append_column("label", names)
        else:
            for name in self.item_keys.column_names:
                own = f"item_{name}" if name in table.column_names else name
                table = table.append_column(own, self.item_keys[name])
        table = table.append_column("rank", pa.array(place + 1))
        return table.append_column("score", pa.array(ranked.scores[owner, place]))

    def _ranked_outcomes(self) -> list[dict[str, Any]]:
        ranked = self._ranked()
        owner, place = np.nonzero(ranked.items >= 0)
        if self.item_keys is None:
            word, names = "label", [self.classes[code] for code in ranked.items[owner, place].tolist()]
        else:
            word, names = "key", plain_keys(self.item_keys)
        rows: list[dict[str, Any]] = [{"items": []} for _ in range(len(self))]
        scores = ranked.scores[owner, place].tolist()
        for row, name, score in zip(owner.tolist(), names, scores, strict=True):
            rows[row]["items"].append({word: name, "score": score})
        return rows


def _columns(kind: TaskKind, scores: Floats, classes: tuple[str, ...], bounds: Bounds) -> dict[str, pa.Array]:
    """The columns of a target of one value, class or set of labels."""
    if kind is TaskKind.BINARY:
        return {"score": pa.array(scores)}
    if kind is TaskKind.REGRESSION:
        return {"value": pa.array(scores)} | {name: _finite(end) for name, end in _ends(bounds).items()}
    if kind is TaskKind.MULTILABEL:
        found = {"labels": pa.array([_labels(row, classes) for row in scores], pa.list_(pa.string()))}
    else:
        best = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
        found = {"class": pa.array([classes[code] for code in best], pa.string())}
        if isinstance(bounds, np.ndarray):
            found["classes"] = pa.array(_sets(bounds, scores, classes), pa.list_(pa.string()))
    return found | {f"score_{name}": pa.array(scores[:, code]) for code, name in enumerate(classes)}


def _outcomes(kind: TaskKind, scores: Floats, classes: tuple[str, ...], bounds: Bounds) -> list[dict[str, Any]]:
    """The same as plain JSON values."""
    if kind is TaskKind.BINARY:
        return [{"score": score} for score in scores.tolist()]
    if kind is TaskKind.REGRESSION:
        columns = {"value": scores.tolist()} | {name: _nulls(end) for name, end in _ends(bounds).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    named = [dict(zip(classes, row, strict=True)) for row in scores.tolist()]
    if kind is TaskKind.MULTILABEL:
        return [{"labels": _labels(row, classes), "probabilities": n} for row, n in zip(scores, named, strict=True)]
    best = scores.argmax(axis=1).tolist() if len(scores) else []
    said = [{"class": classes[code], "probabilities": row} for code, row in zip(best, named, strict=True)]
    if not isinstance(bounds, np.ndarray):
        return said
    return [row | {"classes": names} for row, names in zip(said, _sets(bounds, scores, classes), strict=True)]


def _ends(bounds: Bounds) -> dict[str, Floats]:
    """The ends of intervals by their names; none without."""
    return dict(zip(("low", "high"), bounds, strict=True)) if isinstance(bounds, tuple) else {}


def _finite(end: Floats) -> pa.Array:
    return pa.array(end, mask=~np.isfinite(end))


def _nulls(end: Floats) -> list[Any]:
    """The same as plain JSON values."""
    return pa.array(end.ravel(), mask=~np.isfinite(end.ravel())).to_pylist() if end.ndim == 1 else [*map(_nulls, end)]


def _sets(bounds: NDArray[np.bool_], scores: Floats, classes: tuple[str, ...]) -> list[list[str]]:
    """The classes of each set, the likeliest first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return [[classes[code] for code in ranks if inside[code]] for ranks, inside in zip(order, bounds, strict=True)]


def _numbers(scores: Floats, classes: tuple[str, ...]) -> dict[str, Floats]:
    if scores.ndim == 1:
        return {"": scores}
    word = "class" if classes else "step"
    return {f".{word}_{column + (not classes)}": scores[:, column] for column in range(scores.shape[1])}


def _labels(row: Floats, classes: tuple[str, ...]) -> list[str]:
    return [classes[code] for code in np.flatnonzero(row >= LIKELY)]


def _steps(edges: list[int], columns: dict[str, list[Any]], row: int) -> list[dict[str, Any]]:
    times = [format_instant(edge) for edge in edges]
    spans = enumerate(pairwise(times))
    return [
        {"from": start, "until": end, **{name: values[row][step] for name, values in columns.items()}}
        for step, (start, end) in spans
    ]


def plain_keys(keys: pa.Table) -> list[Any]:
    """Keys as JSON has them: one value each, or a list of parts."""
    columns = [[v if type(v) in (int, str) else str(v) for v in column] for column in keys.to_pydict().values()]
    return columns[0] if len(columns) == 1 else [list(key) for key in zip(*columns, strict=True)]


def _times(instants_us: NDArray[np.int64]) -> pa.Array:
    return pa.array(instants_us, pa.int64()).cast(pa.timestamp("us"))
