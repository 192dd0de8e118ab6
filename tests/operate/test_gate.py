"""Gate: who may become champion."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.registry.examples import SCHEMA, version, version_info

from kincast.operate.gate import gate, promote
from kincast.registry.registry import Registry
from kincast.registry.version import NETWORK_ALONE, Interval, Metrics, VersionInfo
from kincast.report import Check, Report, Verdict
from kincast.schema import Schema


def around(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half)


def measured(value: float, split: str = "validation", metric: str = "auroc", half: float = 0.01) -> Metrics:
    return {split: {metric: around(value, half)}}


def info(value: float, heuristic: float | None = 0.6, lightgbm: float | None = 0.7, **changes: Any) -> VersionInfo:
    baselines = {"entity mean": heuristic, "LightGBM": lightgbm, "global": 0.5}
    found = {name: measured(number) for name, number in baselines.items() if number is not None}
    margins = {name: measured(value - number) for name, number in baselines.items() if number is not None}
    values = {"id": f"v{value}", "metrics": measured(value), "baselines": found, "margins": margins}
    return version_info(**{**values, **changes})


def check(report: Report, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def test_better_than_all_passes() -> None:
    report = gate(info(0.8), info(0.75))
    assert report.verdict is Verdict.OK
    assert [c.name for c in report.checks] == ["gate.heuristics", "gate.lightgbm", "gate.task", "gate.champion"]
    assert check(report, "gate.heuristics").limit == 0.6


@pytest.mark.parametrize(("value", "verdict"), [(0.59, "fail"), (0.60, "fail"), (0.605, "warn"), (0.70, "ok")])
def test_best_heuristic_must_be_beaten(value: float, verdict: str) -> None:
    found = check(gate(info(value), None), "gate.heuristics")
    assert found.verdict == verdict
    assert "entity mean" in found.message


def test_a_difference_that_was_not_measured_is_noise() -> None:
    found = check(gate(info(0.8, margins={}), None), "gate.heuristics")
    assert found.verdict == "warn"
    assert "within noise" in found.message


@pytest.mark.parametrize(
    ("value", "verdict", "words"),
    [(0.65, "warn", "LightGBM is better, beyond noise"), (0.72, "ok", "beyond noise"), (0.70, "ok", "within")],
)
def test_lightgbm_only_warns(value: float, verdict: str, words: str) -> None:
    report = gate(info(value), None)
    assert check(report, "gate.lightgbm").verdict == verdict
    assert words in check(report, "gate.lightgbm").message
    assert report.passed


@pytest.mark.parametrize(("name", "check_name"), [("linear model", "gate.linear"), (NETWORK_ALONE, "gate.network")])
def test_a_part_of_a_blend_that_is_better_only_warns(name: str, check_name: str) -> None:
    better = {name: measured(0.9), "entity mean": measured(0.6)}
    margins = {name: measured(-0.1), "entity mean": measured(0.2)}
    report = gate(info(0.8, baselines=better, margins=margins), None)
    assert check(report, check_name).verdict is Verdict.WARN
    assert report.passed


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.80, "ok"), (0.795, "note"), (0.786, "note"), (0.785, "fail"), (0.7, "fail")]
)
def test_champion_may_be_missed_only_within_noise(value: float, verdict: str) -> None:
    assert check(gate(info(value), info(0.80, id="champion")), "gate.champion").verdict == verdict


def test_champion_on_other_rows_is_said_to_be_a_rough_comparison() -> None:
    assert "rough" not in check(gate(info(0.8), info(0.7)), "gate.champion").message
    assert "rough" in check(gate(info(0.8, snapshot_id="x"), info(0.7)), "gate.champion").message
    assert "rough" in check(gate(info(0.8, settings={"split": 2}), info(0.7)), "gate.champion").message


def test_lower_is_better_for_errors() -> None:
    def regression(value: float) -> VersionInfo:
        base = {name: measured(number, metric="mae") for name, number in {"mean": 3.0, "last value": 2.0}.items()}
        return info(0, metrics=measured(value, metric="mae"), baselines=base, kind="regression", id=str(value))

    assert gate(regression(1.5), regression(1.6)).passed
    assert check(gate(regression(1.5), None), "gate.heuristics").limit == 2.0
    assert check(gate(regression(2.5), None), "gate.heuristics").verdict is Verdict.FAIL
    assert check(gate(regression(1.6), regression(1.5)), "gate.champion").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "changes",
    [
        {"query": "PREDICT 1"},
        {"kind": "regression"},
        {"entity": "orders"},
        {"classes": ("no", "yes")},
        {"schema": Schema(SCHEMA.tables)},
    ],
)
def test_another_question_fails(changes: dict[str, Any]) -> None:
    report = gate(info(0.8, id="new", **changes), info(0.7), metric="auroc")
    assert check(report, "gate.task").verdict is Verdict.FAIL
    assert check(report, "gate.task").where == next(iter(changes))


def test_spacing_of_the_query_does_not_matter() -> None:
    assert gate(info(0.8, query="PREDICT  1\n"), info(0.7, query="PREDICT 1")).passed


@pytest.mark.parametrize("metrics", [{}, measured(0.9, "test"), measured(float("nan")), measured(0.9, metric="ap")])
def test_unmeasured_candidate_fails(metrics: Metrics) -> None:
    assert gate(info(0.8, metrics=metrics), None).verdict is Verdict.FAIL


def test_candidate_without_heuristics_fails() -> None:
    report = gate(info(0.8, baselines={"LightGBM": measured(0.7)}), None)
    assert check(report, "gate.heuristics").verdict is Verdict.FAIL


def test_unmeasured_champion_warns() -> None:
    assert check(gate(info(0.8), info(0.7, metrics={})), "gate.champion").verdict is Verdict.WARN


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_test_period_never_decides(value: float, other: float, test: float) -> None:
    def verdicts(test_value: float) -> list[Verdict]:
        metrics = measured(value) | measured(test_value, "test")
        baselines = {"global": measured(0.5) | measured(1 - test_value, "test")}
        report = gate(info(0, metrics=metrics, baselines=baselines), info(0, metrics=measured(other), id="champion"))
        return [found.verdict for found in report.checks]

    assert verdicts(test) == verdicts(0.5)


def test_promotion_moves_the_alias_only_through_the_gate(registry: Registry, tmp_path: Path) -> None:
    def saved(value: float, at: int) -> Any:
        return version(
            tmp_path / "v", metrics=measured(value), baselines={"global": measured(0.5)}, created_us=at * 10**6
        )

    first, worse, better = saved(0.7, 1), saved(0.6, 2), saved(0.75, 3)
    assert promote(registry, tmp_path / "v", saved(0.4, 0)).verdict is Verdict.FAIL
    assert registry.get("churn", "champion") is None
    assert promote(registry, tmp_path / "v", first).passed
    assert not promote(registry, tmp_path / "v", worse).passed
    assert registry.get("churn", "champion") == registry.find("churn", first.info.id)
    assert promote(registry, tmp_path / "v", better).passed
    assert {entry.aliases: entry.id for entry in registry.history("churn") if entry.aliases} == {
        ("champion",): better.info.id,
        ("previous",): first.info.id,
    }
    shutil.rmtree(better.folder)
    report = promote(registry, tmp_path / "v", first)
    assert check(report, "gate.champion").verdict is Verdict.WARN
    assert report.passed


def test_every_target_of_several_must_pass() -> None:
    names = ("auroc of a", "mae of b")

    def of(auroc: float, mae: float) -> Metrics:
        return {"validation": {names[0]: around(auroc), names[1]: around(mae)}}

    both = {"entity mean": of(0.6, 3.0)}
    margins = {"entity mean": of(0.2, -1.0)}
    good = version_info(metrics=of(0.8, 2.0), baselines=both, margins=margins, decides=names)
    assert gate(good, None).passed
    found = gate(version_info(metrics=of(0.8, 4.0), baselines=both, margins=margins, decides=names), None)
    assert [check.where for check in found.checks if check.verdict is Verdict.FAIL] == ["validation.mae of b"]
