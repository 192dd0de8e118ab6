"""Audit: a trained version looked at for leaks: replayed, its future perturbed, its columns and labels probed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.feature.fit import fit_features
from kincast.feature.store import FeatureStore
from kincast.graph.snapshot import Snapshot
from kincast.model.score import numbers_of
from kincast.predict.online import Predictor
from kincast.progress import Progress, silent
from kincast.project import FeatureSettings, SplitSettings
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.report import Check, Report, Verdict
from kincast.sample.audit.future import check_future, check_known_later
from kincast.sample.audit.run import attempt, audit_draws, audit_rows
from kincast.sample.audit.snapshot import draw_of, facts_of, outcomes_of
from kincast.sample.audit.strength import telling_columns
from kincast.sample.batch import Seeds
from kincast.sample.oracle import sample_slowly
from kincast.sample.sampler import Sampler

NUM_REPLAYED = 256
NUM_ORACLE = 12
ORACLE_ROWS = 2_000_000  # rows of all tables beyond which the slow twin gets fewer seeds
NUM_PERTURBED = 48
INSTANTS = 4


def audit_version(
    predictor: Predictor,
    labels: Labels,
    others: Sequence[Snapshot] = (),
    progress: Progress = silent,
    seed: int = 0,
    features: FeatureSettings | None = None,
) -> Report:
    """Audit a version on the snapshot it was trained on.

    Args:
        predictor: the version over its training snapshot.
        labels: of all splits, as they were made for its training.
        others: later snapshots of the same schema, to see which values changed in rows that were there before.
        progress: told what is done.
        seed: of the choice of seeds.
        features: as the version was trained with; the usual ones when None.

    Raises:
        DataError: the predictor answers from live rows.
    """
    snapshot, task = _rows(predictor), predictor.task
    strict = predictor.loader.strict
    seeds = _seeds(labels, NUM_REPLAYED, seed)
    steps: dict[str, Callable[[], list[Check]]] = {
        "replay against the oracle": lambda: attempt("replay.oracle", lambda: _replay(predictor, seeds)),
        "batches": lambda: _audit_batches(predictor, seeds),
        "perturb the future": lambda: attempt("future", lambda: _perturb(predictor, labels, seed, strict)),
        "refit the features": lambda: attempt("statistic.later", lambda: _refit(predictor, labels, features)),
        "probe the columns": lambda: _audit_rows(predictor, labels),
        "compare with other snapshots": lambda: _compare(predictor, others),
    }
    checks: list[Check] = []
    for name, step in steps.items():
        progress(name, 0, 1)
        checks += step()
        progress(name, 1, 1)
    return Report(f"audit of {predictor.info.id} on snapshot {snapshot.id} for {task.entity}", tuple(checks))


def _rows(predictor: Predictor) -> Snapshot:
    """The snapshot that a version answers from."""
    if predictor.task.kind is TaskKind.KNOWLEDGE:
        hint = "its facts have no time, so none is later than a prediction"
        raise DataError(f"there is no neighbourhood to audit in {predictor.task.kind.words}", hint=hint)
    if not isinstance(predictor.snapshot, Snapshot):
        raise DataError("a version is audited over a snapshot, not over live rows", hint="kincast compact")
    return predictor.snapshot


def _compare(predictor: Predictor, others: Sequence[Snapshot]) -> list[Check]:
    """What became of rows that other snapshots have too."""
    snapshot = _rows(predictor)
    read = _inputs(predictor)
    checks: list[Check] = []
    for other in others:
        old, new = sorted((snapshot, other), key=lambda one: one.max_time_us)
        checks += attempt("row.changed", lambda old=old, new=new: changed_since(old, new, read))  # type: ignore[misc]
    return checks


def _inputs(predictor: Predictor) -> dict[str, list[str]]:
    """Table → columns that the version reads."""
    return {spec.table: spec.columns for spec in predictor.loader.features.spec.tables}


def _seeds(labels: Labels, count: int, seed: int) -> Seeds:
    """Labelled rows, each at two of its own instants where it has two, so that what is mixed up can show."""
    order = np.random.default_rng(seed).permutation(len(labels.rows))
    places: list[int] = []
    own: dict[int, list[int]] = {}
    for place in order.tolist():
        own.setdefault(int(labels.rows[place]), []).append(place)
    for mine in own.values():
        places += mine[:2]
        if len(places) >= count:
            break
    chosen = np.array(places[:count], np.int64)
    return Seeds(labels.entity, labels.rows[chosen], labels.as_of_us[chosen], labels.visible_us[chosen])


def _replay(predictor: Predictor, seeds: Seeds) -> Iterator[Check]:
    """The sampler of training and of prediction against its slow, obvious twin."""
    total = sum(table.num_rows for table in predictor.snapshot.tables.values())
    few = seeds.take(slice(0, max(2, int(NUM_ORACLE * min(1.0, ORACLE_ROWS / max(total, 1))))))
    samplers = {"training": predictor.loader.trees(1), "prediction": predictor.loader.trees(None)}
    for name, sampler in samplers.items():
        wrong = [place for place in range(len(few)) if not _same(sampler, few.take(slice(place, place + 1)))]
        whole, alone = sampler.sample(few), [sampler.sample(few.take(slice(i, i + 1))) for i in range(len(few))]
        mixed = sum(
            sorted(whole.rows[table][whole.seed[table] == place].tolist()) != sorted(alone[place].rows[table].tolist())
            for place in range(len(few))
            for table in whole.rows
        )
        what = f"{len(few)} seeds sampled for {name} are what the oracle finds, alone and together"
        if wrong or mixed:
            what = f"{len(wrong)} of {len(few)} trees sampled for {name} are not what the oracle finds"
            what += f"; {mixed} depend on the batch they are in"
        verdict = Verdict.FAIL if wrong or mixed else Verdict.OK
        yield Check("replay.oracle", name, verdict, what, len(wrong) + mixed, 0)


def _same(sampler: Sampler, seeds: Seeds) -> bool:
    fast, slow = sampler.sample(seeds), sample_slowly(sampler, seeds)
    rows = all(np.array_equal(fast.rows[name], slow.rows[name]) for name in slow.rows)
    visible = [block.num_visible.tolist() for block in fast.blocks] == [b.num_visible.tolist() for b in slow.blocks]
    return rows and visible


def _audit_batches(predictor: Predictor, seeds: Seeds) -> list[Check]:
    """Every sampled row against the instant of its seed."""
    snapshot = _rows(predictor)
    tables = facts_of(predictor.loader.graph, _inputs(predictor))
    adjacent = {
        link.link.table: (np.asarray(link.forward[used], np.int64), used)
        for link in snapshot.links
        if link.link.target == seeds.table
        for used in [np.flatnonzero(link.forward >= 0)]
    }
    few = seeds.take(slice(0, NUM_REPLAYED))
    drawn = [draw_of(predictor.loader.trees(redraw).sample(few)) for redraw in (None, 1)]
    frozen = predictor.task.is_static
    checks = audit_draws(tables, drawn[:1], adjacent, strict=predictor.loader.strict, frozen=frozen)
    checks += audit_draws(tables, drawn[1:], adjacent, strict=predictor.loader.strict, frozen=frozen)
    return list(dict.fromkeys(checks))


def _perturb(predictor: Predictor, labels: Labels, seed: int, strict: bool) -> Iterator[Check]:
    """Predictions of rows at several instants, with all that follows made different."""
    instants = np.unique(labels.visible_us)
    random = np.random.default_rng(seed)
    chosen = instants[np.unique(np.linspace(0, len(instants) - 1, INSTANTS).astype(np.int64))]
    places = []
    for instant in chosen.tolist():
        there = np.flatnonzero(labels.visible_us == instant)
        places.append(random.permutation(there)[: NUM_PERTURBED // len(chosen)])
    place = np.concatenate(places)
    seeds = Seeds(labels.entity, labels.rows[place], labels.as_of_us[place], labels.visible_us[place])

    def predict(graph: Snapshot, features: FeatureStore, part: Seeds) -> NDArray[Any]:
        with torch.inference_mode():
            scores, embeddings = predictor.loader.over(graph, features).score(
                predictor.network, predictor.objective, part
            )
        return np.concatenate([numbers_of(scores), embeddings], axis=1)

    yield from check_future(predict, _rows(predictor), predictor.features, seeds, strict)
    yield from check_known_later(predict, _rows(predictor), predictor.features, seeds)


def _refit(predictor: Predictor, labels: Labels, settings: FeatureSettings | None) -> Iterator[Check]:
    """The statistics of the version against those of rows up to the end of training."""
    spec = predictor.loader.features.spec
    until_us = int(labels.of(0).visible_us.max())
    if spec.until_us > until_us:
        what = "its statistics were fitted on rows later than the last training label"
        yield Check("statistic.later", "features", Verdict.FAIL, what, spec.until_us, until_us)
        return
    again = fit_features(_rows(predictor), spec.until_us, predictor.task.hidden, settings)
    same = again.as_dict() == spec.as_dict()
    what = "statistics fitted again on rows up to the end of training are the same"
    what = (
        what if same else "statistics fitted again on rows up to the end of training differ from those of the version"
    )
    yield Check("statistic.later", "features", Verdict.OK if same else Verdict.FAIL, what)


def _audit_rows(predictor: Predictor, labels: Labels) -> list[Check]:
    """Columns, keys, times and labels."""
    tables = facts_of(_rows(predictor), _inputs(predictor))
    split = SplitSettings.model_validate(predictor.info.settings["split"])
    outcomes = outcomes_of(predictor.task, labels, split)
    hidden = frozenset(predictor.task.hidden)
    checks = audit_rows(tables, outcomes, hidden)
    return checks + attempt("column.target", lambda: telling_columns(tables, outcomes, hidden))


def changed_since(old: Snapshot, new: Snapshot, read: Mapping[str, Collection[str]]) -> Iterator[Check]:
    """Values that differ in rows which both snapshots have: certain, where a single dump can but be suspected.

    Args:
        old: the earlier snapshot.
        new: a later one of the same schema.
        read: table → columns that the model reads.
    """
    compared = 0
    for table in old.schema:
        if not table.key or not read.get(table.name):
            continue
        rows = new.rows_of(table.name, _keys(old, table.name))
        both = np.flatnonzero(rows >= 0)
        for name in read[table.name]:
            compared += 1
            before = old.columns(table.name, [name])[name].take(pa.array(both))
            after = new.columns(table.name, [name])[name].take(pa.array(rows[both]))
            moved = _num_different(before, after)
            if moved:
                what = f"{moved:,} of {len(both):,} rows have another value in snapshot {new.id} than in {old.id}: "
                what += "it is changed after its row came to be, so early seeds see what was written later"
                yield Check("row.changed", f"{table.name}.{name}", Verdict.FAIL, what, moved, 0)
    what = f"{compared} columns of snapshot {old.id} were held against {new.id}"
    yield Check("row.changed", "all tables", Verdict.OK, what, compared)


def _num_different(before: pa.ChunkedArray, after: pa.ChunkedArray) -> int:
    if pa.types.is_nested(before.type):
        return sum(one != other for one, other in zip(before.to_pylist(), after.to_pylist(), strict=True))
    gone = pc.not_equal(pc.is_null(before), pc.is_null(after))
    return int(pc.sum(pc.or_(gone, pc.fill_null(pc.not_equal(before, after), False))).as_py() or 0)


def _keys(snapshot: Snapshot, table: str) -> list[Any]:
    columns = snapshot.keys_of(table, np.arange(snapshot.tables[table].num_rows))
    lists = [columns.column(place).to_pylist() for place in range(columns.num_columns)]
    return lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))
