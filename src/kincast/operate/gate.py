"""Gate: whether a trained version may become champion, by the validation period alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from kincast.errors import VersionError
from kincast.query.task import TaskKind
from kincast.registry.registry import Registry
from kincast.registry.version import NETWORK_ALONE, Interval, Version, VersionInfo, load_version
from kincast.report import Check, Report, Verdict
from kincast.train.metric import is_better, is_error, main_metric

SPLIT = "validation"
LEARNED = {"lightgbm": "gate.lightgbm", "linear model": "gate.linear", NETWORK_ALONE: "gate.network"}
"""Baselines that are trained models themselves, and their checks: losing to one warns, losing to any other fails."""


def gate(candidate: VersionInfo, champion: VersionInfo | None, *, metric: str | None = None) -> Report:
    """Compare a candidate with its baselines and the champion on the validation period.

    The test period is reported and decides nothing: a gate that looked at it would use it up. Differences to the
    baselines are paired, row by row. Those to the champion are not, since it may have been measured on other rows:
    the two intervals are taken as independent, so a difference that counts there counts all the more.

    Args:
        candidate: who wants to become champion.
        champion: who is; None when nobody is.
        metric: what to compare by; by default what the candidate names, for each of several targets one.

    Returns:
        a report that fails when the candidate is not better than the best heuristic, is worse than the champion
        beyond noise, or answers another question; it warns when LightGBM, or the network alone, is better.
    """
    chosen = (metric,) if metric else candidate.decides or (main_metric(TaskKind(candidate.kind)),)
    checks = [check for name in chosen for check in _by(name, candidate)]
    if champion is not None and champion.id != candidate.id:
        checks += _same_task(candidate, champion)
        measured = [(name, candidate.metrics.get(SPLIT, {}).get(name)) for name in chosen]
        checks += [
            _champion(candidate, champion, own, name) for name, own in measured if own and not math.isnan(own.value)
        ]
    tests = [check for name in chosen for check in _test(candidate, name)]
    return Report(f"gate of {candidate.id or candidate.task}", (*checks, *tests))


def _by(metric: str, candidate: VersionInfo) -> Iterator[Check]:
    """Checks against the baselines, by one metric."""
    own = candidate.metrics.get(SPLIT, {}).get(metric)
    if own is None or math.isnan(own.value):
        message = f"{metric} was not measured on the validation period, so nothing can be compared"
        yield Check("gate.measured", SPLIT, Verdict.FAIL, message)
        return
    yield _heuristics(candidate, own, metric)
    yield from _learned(candidate, own, metric)


def promote(registry: Registry, root: Path, version: Version, *, metric: str | None = None) -> Report:
    """Make a version the champion of its task if it passes the gate; the champion until then becomes ``previous``.

    Args:
        registry: whose alias is moved.
        root: folder of all versions.
        version: registered here when it was not yet.
        metric: what the gate compares by; the main metric of the task kind by default.

    Returns:
        the gate's report; the alias moved exactly when it passed.

    Raises:
        StorageError: the registry cannot be used.
    """
    registry.register(version)
    named = registry.get(version.info.task, "champion")
    champion, lost = None, []
    if named is not None:
        try:
            champion = load_version(root, named.id).info
        except VersionError as error:
            message = f"the champion {named.id} cannot be opened, so it was not compared: {error.what}"
            lost.append(Check("gate.champion", named.id, Verdict.WARN, message))
    found = gate(version.info, champion, metric=metric)
    found = Report(found.subject, (*found.checks, *lost))
    if found.passed:
        registry.set(version.info.task, "champion", version.info.id)
    return found


def _heuristics(candidate: VersionInfo, own: Interval, metric: str) -> Check:
    heuristics = [(n, i) for n, i in _baselines(candidate, metric) if n.casefold() not in LEARNED]
    where = f"{SPLIT}.{metric}"
    if not heuristics:
        message = "no heuristic was measured, so nothing shows that the model has learned anything"
        return Check("gate.heuristics", where, Verdict.FAIL, message, own.value)
    name, best = _best(heuristics, metric)
    shown = f"model {own}, best heuristic '{name}' {best}"
    if not is_better(metric, own.value, best.value):
        return Check("gate.heuristics", where, Verdict.FAIL, f"not better: {shown}", own.value, best.value)
    if not _margin_is_beyond_noise(candidate, name, metric):
        message = f"better, but within noise: {shown}"
        return Check("gate.heuristics", where, Verdict.WARN, message, own.value, best.value)
    return Check("gate.heuristics", where, Verdict.OK, f"better: {shown}", own.value, best.value)


def _learned(candidate: VersionInfo, own: Interval, metric: str) -> Iterator[Check]:
    for name, found in _baselines(candidate, metric):
        check = LEARNED.get(name.casefold())
        if check is not None:
            noise = "beyond noise" if _margin_is_beyond_noise(candidate, name, metric) else "within noise"
            where, shown = f"{SPLIT}.{metric}", f"model {own}, {name} {found}"
            if is_better(metric, found.value, own.value):
                message = f"{name} is better, {noise}: {shown}"
                yield Check(check, where, Verdict.WARN, message, own.value, found.value)
            else:
                message = f"the model is at least as good, {noise}: {shown}"
                yield Check(check, where, Verdict.OK, message, own.value, found.value)


def _same_task(candidate: VersionInfo, champion: VersionInfo) -> Iterator[Check]:
    pairs = {
        "query": (" ".join(candidate.query.split()), " ".join(champion.query.split())),
        "kind": (candidate.kind, champion.kind),
        "entity": (candidate.entity, champion.entity),
        "classes": (", ".join(candidate.classes), ", ".join(champion.classes)),
        "schema": (candidate.schema.digest, champion.schema.digest),
    }
    different = [name for name, (mine, theirs) in pairs.items() if mine != theirs]
    for name in different:
        message = f"its {name} is not the champion's, so it answers another question; give the new task its own name"
        yield Check("gate.task", name, Verdict.FAIL, message, pairs[name][0][:200], pairs[name][1][:200])
    if not different:
        yield Check("gate.task", candidate.task, Verdict.OK, "same query and schema as the champion")


def _champion(candidate: VersionInfo, champion: VersionInfo, own: Interval, metric: str) -> Check:
    where = champion.id
    theirs = champion.metrics.get(SPLIT, {}).get(metric)
    if theirs is None or math.isnan(theirs.value):
        message = f"{metric} of the champion was not measured on its validation period, so it was not compared"
        return Check("gate.champion", where, Verdict.WARN, message, own.value)
    split = candidate.settings.get("split"), champion.settings.get("split")
    rows = (
        ""
        if candidate.snapshot_id == champion.snapshot_id and split[0] == split[1]
        else "; measured on other rows, so this is a rough comparison"
    )
    shown = f"candidate {own}, champion {theirs}{rows}"
    if not is_better(metric, theirs.value, own.value):
        return Check("gate.champion", where, Verdict.OK, f"at least as good: {shown}", own.value, theirs.value)
    if _is_beyond_noise(own, theirs):
        return Check("gate.champion", where, Verdict.FAIL, f"worse beyond noise: {shown}", own.value, theirs.value)
    return Check("gate.champion", where, Verdict.NOTE, f"worse within noise: {shown}", own.value, theirs.value)


def _test(candidate: VersionInfo, metric: str) -> Iterator[Check]:
    found = candidate.metrics.get("test", {}).get(metric)
    if found is not None:
        message = f"{metric} on the test period is {found}; reported, not used"
        yield Check("gate.test", f"test.{metric}", Verdict.NOTE, message, found.value)


def _baselines(candidate: VersionInfo, metric: str) -> list[tuple[str, Interval]]:
    found = [(name, metrics.get(SPLIT, {}).get(metric)) for name, metrics in candidate.baselines.items()]
    return [(name, interval) for name, interval in found if interval is not None and not math.isnan(interval.value)]


def _best(found: list[tuple[str, Interval]], metric: str) -> tuple[str, Interval]:
    sign = -1 if is_error(metric) else 1
    return max(found, key=lambda pair: sign * pair[1].value)


def _margin_is_beyond_noise(candidate: VersionInfo, baseline: str, metric: str) -> bool:
    """Whether the paired difference to a baseline excludes zero; one that was not measured does not."""
    margin = candidate.margins.get(baseline, {}).get(SPLIT, {}).get(metric)
    return margin is not None and (margin.low > 0 or margin.high < 0)


def _is_beyond_noise(one: Interval, other: Interval) -> bool:
    # Half the width of a 95 % interval is 1.96 standard errors, and variances of independent measurements add.
    # An end that was not measured makes the width NaN, and no difference is beyond that.
    noise = math.hypot((one.high - one.low) / 2, (other.high - other.low) / 2)
    return abs(one.value - other.value) > noise
