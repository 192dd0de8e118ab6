"""Questions without training over HTTP."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.serve.client import FakeBackend, send

import kincast
from kincast.graph.build import build_snapshot
from kincast.project import Project
from kincast.serve import asker as asking
from kincast.serve.app import create_app
from kincast.serve.asker import Asker
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema

SPEND = "PREDICT SUM(orders.amount, 0, 30, days) FOR customers.customer_id IN (7, 3)"
LINKS = "PREDICT LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 3 FOR customers.customer_id = 1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("tiny")
    project = Project(folder=folder, source=str(tiny_database(folder)))
    build_snapshot(open_source(project.source), tiny_schema(), project.snapshots)
    return project


def post(app: FastAPI, query: str, **more: Any) -> Any:
    return send(app, "POST", "/v1/ask", json={"query": query, **more})


def test_answers_are_those_of_python(project: Project) -> None:
    reply = post(create_app(None, asker=Asker(project)), SPEND, as_of="2024-10-01", context=150)
    assert reply.status_code == 200
    said, expected = reply.json(), kincast.ask(project, SPEND, as_of="2024-10-01", max_rows=150)
    values = expected.as_table().to_pylist()
    assert said["predictions"] == [{"key": row["customer_id"], "value": row["value"]} for row in values]
    assert (said["trained"], said["context_rows"], said["held_out"]["metric"]) == (False, 150, "mae")


@pytest.mark.parametrize(
    ("query", "more", "status", "code", "said"),
    [
        ("PREDICT nonsense", {}, 422, "bad_query", "query:1:"),
        (SPEND.replace("amount", "amont"), {}, 422, "bad_query", "amont"),
        (SPEND.replace("(7, 3)", "(7, 999)"), {}, 404, "key_not_found", "999"),
        (SPEND.replace("IN (7, 3)", "IN (1, 2, 3, 4)"), {}, 413, "too_many_keys", "4 keys"),
        ("PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id", {}, 422, "no_keys", "name the rows"),
        (LINKS, {}, 422, "bad_request", "train"),
        (SPEND, {"as_of": "2024-01-20"}, 422, "no_answer", "no window of 30 days has ended"),
        (SPEND, {"as_of": "soon"}, 422, "bad_as_of", "instant"),
        (SPEND, {"context": 1_000_000}, 422, "bad_request", "context"),
        (SPEND, {"learner": "os:system"}, 422, "bad_request", "learner"),
    ],
)
def test_what_is_refused(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    more: dict[str, Any],
    status: int,
    code: str,
    said: str,
) -> None:
    monkeypatch.setattr(asking, "MAX_KEYS", 3)
    reply = post(create_app(None, asker=Asker(project)), query, **more)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert said in reply.json()["error"]["message"]


def test_one_question_at_a_time_and_not_for_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(asking, "ask", lambda *_, **__: go_on.wait(30))
    app = create_app(None, asker=Asker(project, limit_s=0.01))

    async def ask_twice() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            replies = [await client.post("/v1/ask", json={"query": SPEND}) for _ in range(2)]
        go_on.set()
        return replies

    slow, busy = asyncio.run(ask_twice())
    assert (slow.status_code, slow.json()["error"]["code"]) == (503, "too_slow")
    assert (busy.status_code, busy.json()["error"]["code"], busy.headers["retry-after"]) == (503, "busy", "5")


def test_without_an_asker_there_is_no_such_route(tmp_path: Path) -> None:
    assert post(create_app(FakeBackend()), SPEND).status_code == 404
