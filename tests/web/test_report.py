"""The report says what was found, needs nothing from outside, and trusts no name in the data."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.web.report import Page, TaskPage, compare, render_report

HOSTILE = '<script>alert("x")</script> & "quotes" \'too\' {{ 7 * 7 }}'
SCHEMA = Schema(
    (
        Table("people", (Column("id", SemanticType.ID, "BIGINT"), Column("boss", SemanticType.ID, "BIGINT")), ("id",)),
        Table(
            "visits",
            (Column("person", SemanticType.ID, "BIGINT"), Column("at", SemanticType.TIMESTAMP, "TIMESTAMP")),
            (),
            RowTime("at"),
        ),
    ),
    (Link("visits", ("person",), "people", ("id",)), Link("people", ("boss",), "people", ("id",))),
)
QUERY = "PREDICT COUNT(visits.*, 0, 30, days) = 0 FOR EACH people.id"


def version(ours: float = 0.8, theirs: float = 0.7, spread: float = 0.01) -> dict[str, Any]:
    def triple(value: float) -> list[float]:
        return [value, value - spread, value + spread]

    return {
        "kind": "binary_classification",
        "entity": "people",
        "best_epoch": 2,
        "metrics": {"test": {"accuracy": triple(0.6), "auroc": triple(ours)}},
        "baselines": {"LightGBM": {"test": {"auroc": triple(theirs)}}, "worse": {"test": {"auroc": triple(0.5)}}},
        "margins": {"LightGBM": {"test": {"auroc": triple(ours - theirs)}}},
        "published": {"Paper": {"auroc": ".71 ± .02"}},
        "cohorts": [],
        "search": {},
    }


def page(**changes: Any) -> Page:
    check = {"name": "key.null", "where": "people.id", "verdict": "warn", "message": "3 rows", "samples": ["17"]}
    task = TaskPage(
        "churn",
        QUERY,
        version=version(),
        epochs=[0.7, 0.8],
        target=np.tile([0.0, 1.0], 50),
        scores=np.linspace(0, 1, 100),
        versions=[{"id": "churn-1", "aliases": ["champion"], "trained": "2026-01-01"}],
    )
    found = Page(
        "shop",
        "shop.duckdb",
        0,
        SCHEMA,
        {"people": 1234},
        [task],
        "abc",
        {"subject": "s", "verdict": "warn", "checks": [check]},
    )
    return replace(found, **changes)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in ("meta", "link", "br", "hr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_needs_nothing_from_outside() -> None:
    html = render_report(page())
    reader = read(html)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"@import|url\(|https?://", html)


def test_it_says_what_was_found() -> None:
    html = render_report(page())
    assert QUERY.replace(">", "&gt;") in re.sub(r"</?span[^>]*>", "", html)
    for text in (
        "1,234",
        "0.8000",
        "LightGBM",
        "quoted",
        ".71 ± .02",
        "3 rows",
        "champion",
    ):
        assert text in html


def test_it_shows_the_trials_that_a_model_was_chosen_from() -> None:
    whole = {"state": "complete", "seconds": 1.5, "note": "", "epochs": [0.7, 0.8]}
    one = {**whole, "number": 1, "metric": 0.8, "row_us": 12.0, "values": {"optimization.base_lr": 0.003}}
    other = {**whole, "number": 2, "metric": None, "row_us": None, "values": {}, "state": "failed", "note": "<b>no</b>"}
    search = {"metric": "auroc", "best": 1, "front": [1], "trials": [one, other]}
    task = replace(page().tasks[0], version={**version(), "search": search})
    text = render_report(page(tasks=[task]))
    for words in ("complete, best, front", "base_lr 0.003", "failed: &lt;b&gt;no&lt;/b&gt;"):
        assert words in text


def test_nothing_in_the_data_becomes_markup() -> None:
    hostile = Schema((Table(HOSTILE, (Column(HOSTILE, SemanticType.ID, "BIGINT"),), (HOSTILE,)),))
    check = {"name": HOSTILE, "where": HOSTILE, "verdict": "fail", "message": HOSTILE, "samples": [HOSTILE]}
    found = {"subject": HOSTILE, "verdict": "fail", "checks": [check]}
    bad = {
        **version(),
        "baselines": {HOSTILE: {"test": {"auroc": [0.5, 0.4, 0.6]}}},
        "published": {HOSTILE: {"auroc": HOSTILE}},
    }
    task = TaskPage(HOSTILE, HOSTILE, version=bad, versions=[{"id": HOSTILE, "aliases": [HOSTILE], "trained": HOSTILE}])
    html = render_report(
        page(
            project=HOSTILE,
            source=HOSTILE,
            snapshot_id=HOSTILE,
            schema=hostile,
            rows={HOSTILE: 1},
            check=found,
            drift=found,
            tasks=[task],
            seconds={HOSTILE: 1.0},
            environment={HOSTILE: HOSTILE},
        )
    )
    assert "<script" not in html
    assert "49" not in re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", html, flags=re.DOTALL)
    assert html.count("&lt;script&gt;alert") > 15
    read(html)


def test_an_empty_project_says_what_to_run() -> None:
    html = render_report(page(tasks=[TaskPage("churn", QUERY)], rows={}, check=None, snapshot_id=None))
    assert "kincast train churn" in html
    read(html)


def test_the_main_metric_comes_first_whatever_order_it_was_stored_in() -> None:
    found = compare(version())
    assert found is not None
    assert found.metrics == ["auroc", "accuracy"]
    assert found.metric == "auroc"


def test_contenders_are_ordered_by_the_main_metric_and_quoted_ones_come_last() -> None:
    found = compare(version(ours=0.6))
    assert found is not None
    assert [row[0] for row in found.rows] == ["Graph neural network", "LightGBM", "worse", "Paper"]


@pytest.mark.parametrize(
    ("ours", "theirs", "spread", "pieces"),
    [
        (0.80, 0.70, 0.01, ("network leads", "0.1000, between 0.0900 and 0.1100.")),
        (0.71, 0.70, 0.02, ("network leads", "may be chance")),
        (0.60, 0.70, 0.01, ("LightGBM leads", "-0.1000, between -0.1100 and -0.0900.")),
    ],
)
def test_the_winner_is_named_whoever_it_is(ours: float, theirs: float, spread: float, pieces: tuple[str, str]) -> None:
    found = compare(version(ours, theirs, spread))
    assert found is not None
    assert all(piece in found.sentence for piece in pieces)


def test_for_errors_the_lower_value_leads() -> None:
    values = {
        **version(),
        "kind": "regression",
        "metrics": {"test": {"mae": [2.0, 1.9, 2.1]}},
        "baselines": {"LightGBM": {"test": {"mae": [3.0, 2.9, 3.1]}}},
    }
    found = compare(values)
    assert found is not None
    assert "network leads" in found.sentence
    assert found.direction == "lower is better"


def test_unmeasured_metrics_show_a_dash() -> None:
    values = version()
    values["metrics"]["test"]["auroc"] = [None, None, None]
    found = compare(values)
    assert found is not None
    assert found.rows[0][2][0] == ("–", "")
    assert "nothing to compare" in found.sentence


def test_what_it_is_sure_of_is_shown_before_and_after() -> None:
    found = version()
    reliability = {"ece": [0.02, 0.01, 0.03], "ece uncalibrated": [0.2, 0.1, 0.3], "coverage at 90 %": [0.87, 0.8, 0.9]}
    found["metrics"]["test"] |= reliability
    triples = {"NL": (40, 0.6), "<b>few</b>": (3, 0.1), "DE": (90, 0.7)}
    found["cohorts"] = [
        {"by": "people.country", "name": name, "rows": rows, "metrics": {"auroc": [value] * 3}}
        for name, (rows, value) in triples.items()
    ]
    target, scores = np.tile([0.0, 1.0], 50), np.linspace(0, 1, 100)
    task = TaskPage("t", QUERY, version=found, target=target, scores=scores, uncalibrated=scores**3)
    text = render_report(replace(page(), tasks=[replace(task, calibration="temperature")]))
    assert "The worst by AUROC: people.country, NL." in text
    assert "&lt;b&gt;few&lt;/b&gt;" in text
    assert "coverage at 90 %" in text
    assert "calibrated: temperature" in text
    assert 'class="dot before"' in text
    assert 'class="dot before"' not in render_report(replace(page(), tasks=[replace(task, calibration="none")]))


def test_what_moves_predictions_is_of_the_version_shown() -> None:
    why = {
        "version": "churn-1",
        "rows": 200,
        "noun": "probability",
        "columns": [{"table": HOSTILE, "column": "at", "size": 0.2}],
        "links": [{"link": "people.id->visits.person", "size": 0.1}],
    }
    found = page()
    shown = replace(found.tasks[0], version=version() | {"id": "churn-1"}, why=why)
    text = render_report(replace(found, tasks=[shown]))
    assert "What moves the predictions" in text
    assert "0.2000" in text
    assert "<script>" not in text
    stale = replace(shown, version=version() | {"id": "churn-2"})
    assert "What moves the predictions" not in render_report(replace(found, tasks=[stale]))
