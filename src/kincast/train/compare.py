"""Compare: the model of a task, and every baseline, on the very same rows; a network is blended with others here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.graph.snapshot import Snapshot
from kincast.model.blend import BLENDED, Blend
from kincast.model.certainty import Certainty
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import LINKS
from kincast.model.score import Scored, Spreads
from kincast.progress import Progress, silent
from kincast.project import TaskSettings
from kincast.query.labels import Labels
from kincast.registry.version import NETWORK_ALONE, Cohort, Metrics
from kincast.train.blend import LIGHTGBM, LINEAR, Beside, fit_beside, fit_blend
from kincast.train.certain import FITTED, Certain, take_scores
from kincast.train.cohort import cohorts_of
from kincast.train.contender import Contenders, Field, contenders
from kincast.train.judge import Judge
from kincast.train.popular import link_heuristics
from kincast.train.prepare import Prepared, examples, lists_of, new_aggregator, new_loader

SPLITS = {1: "validation", 2: "test"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What ``VersionInfo`` keeps of a model, and what belongs to it beside the network.

    Attributes:
        metrics: of the model: the network, or its blend with trees.
        baselines: name → metrics; of a blend, the network alone too.
        margins: name → the model's metrics minus the baseline's, paired.
        certainty: what the model is wrong by.
        cohorts: metrics of groups of rows.
        blend: what stands beside the network; None where it stands alone.
    """

    metrics: Metrics = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    margins: dict[str, Metrics] = field(default_factory=dict)
    certainty: Certainty = field(default_factory=Certainty)
    cohorts: tuple[Cohort, ...] = ()
    blend: Blend | None = None


def compare(
    snapshot: Snapshot,
    prepared: Prepared,
    networks: tuple[Network | LinkNetwork, Network | LinkNetwork],
    settings: TaskSettings,
    progress: Progress = silent,
) -> Comparison:
    """Blend the network with models on aggregates, and measure it and all baselines, per split, on the very same rows.

    Where the final network learnt from the validation labels too, the one before is judged on these, blended and
    calibrated; ``networks`` are the ones for validation and test.
    """
    labels = prepared.labels
    entities = entities_of(snapshot, labels)
    own: dict[int, tuple[Scored, Spreads]] = {}
    rules: dict[int, Contenders] = {}
    for split in SPLITS:
        loader, seeds = new_loader(snapshot, prepared, settings, split), examples(labels.of(split)).seeds
        scores, spreads, _ = loader.answer(networks[split - 1], prepared.objective, seeds, progress)
        own[split] = scores, spreads
        if loader.items is not None:  # the baselines of links are rules
            found_rules = link_heuristics(loader.items, loader.items.length_us)
            rules[split] = {name: rule(seeds) for name, rule in found_rules.items()}
    ahead = networks[0] is networks[1]
    rivals, beside = _rivals(snapshot, prepared, settings, entities, ahead, progress)
    blend = None
    if beside is not None and beside.weighed.any():
        assert isinstance(prepared.judge, Judge)
        assert prepared.aggregates is not None
        blend = fit_blend(labels, _array(own[FITTED][0]), beside, prepared.aggregates, prepared.judge)
    found = Comparison(blend=blend)
    certain, cohorts = Certain(prepared, settings), []
    for split, split_name in SPLITS.items():
        chosen, (raw, spreads) = labels.split == split, own[split]
        theirs = rules.get(split) or {name: take_scores(scores, chosen) for name, scores in rivals.items()}
        if blend is not None:
            theirs = {NETWORK_ALONE: raw, **theirs}
            raw = blend.of_members([_array(theirs[name]) for name in (NETWORK_ALONE, LIGHTGBM, LINEAR)])
        rows, target = entities[chosen], target_of_split(prepared, split)
        if split == FITTED:
            certain.fit(target, raw, spreads, rows)
        else:
            groups = cohorts_of(prepared.task, snapshot, labels, entities, settings.cohorts)
            cohorts = certain.of_cohorts(groups, target, raw, spreads, rows)
        measured = prepared.judge.measure(target, certain.certainty.calibrated(raw), rows)
        found.metrics[split_name] = measured.intervals() | certain.measure(target, raw, spreads, rows, split)
        for done, (baseline, scores) in enumerate(theirs.items()):
            progress(f"compare on the {split_name} period", done, len(theirs))
            rival = prepared.judge.measure(target, scores, rows)
            found.baselines.setdefault(baseline, {})[split_name] = rival.intervals()
            found.margins.setdefault(baseline, {})[split_name] = measured.margins(rival)
        progress(f"compare on the {split_name} period", len(theirs), len(theirs))
    return replace(found, certainty=certain.certainty, cohorts=tuple(cohorts))


def target_of_split(prepared: Prepared, split: int) -> Any:
    """What the labels of a split say, as the judge of the task takes it."""
    labels = prepared.labels.of(split)
    return lists_of(labels) if prepared.parts else examples(labels).target


def entities_of(snapshot: Snapshot, labels: Labels) -> NDArray[np.int64]:
    """[n] rows that tell entities apart: what has versions is one, whichever of them a label is of."""
    versions = snapshot.tables[labels.entity].versions
    return labels.rows if versions is None else versions.forward[labels.rows].astype(np.int64)


def _rivals(
    snapshot: Snapshot,
    prepared: Prepared,
    settings: TaskSettings,
    entities: NDArray[np.int64],
    ahead: bool,
    progress: Progress,
) -> tuple[Contenders, Beside | None]:
    """Scores of the baselines for all labels, and those among them that a network is blended with."""
    labels, seed = prepared.labels, settings.train.seed
    if labels.kind in LINKS:
        return {}, None
    seeds, whole = examples(labels).seeds, replace(labels, rows=entities)
    aggregates = new_aggregator(snapshot, prepared, settings).of(seeds, settings.train.num_threads or 2, progress)
    progress("train LightGBM", 0, 1)
    beside = None
    if labels.kind in BLENDED and settings.train.blend and isinstance(prepared.judge, Judge):
        beside = fit_beside(whole, aggregates, prepared.judge, seed=seed, ahead=ahead)
    known = {} if beside is None else beside.scores
    field = Field(prepared.task, whole, snapshot, seeds, aggregates, known, seed, settings.strict)
    rivals = contenders(field, prepared.parts)
    progress("train LightGBM", 1, 1)
    return rivals, beside


def _array(scores: Scored) -> NDArray[np.float64]:
    assert isinstance(scores, np.ndarray)
    return scores
