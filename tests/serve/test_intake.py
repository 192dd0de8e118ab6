"""Intake: rows over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from tests.live import Shop, shop_schema
from tests.serve.client import FakeBackend, send

from kincast.errors import StorageError
from kincast.graph.deadletter import DeadLetters
from kincast.graph.delta import DeltaLog
from kincast.graph.follow import Live
from kincast.serve.app import Limits, create_app
from kincast.serve.intake import Intake

SCHEMA = shop_schema()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Shop(SCHEMA).build(tmp_path / "snapshots")
    return tmp_path / "snapshots"


@pytest.fixture
def app(root: Path) -> Iterator[FastAPI]:
    with DeltaLog(root) as log:
        yield create_app(FakeBackend(), intake=Intake(log, SCHEMA), limits=Limits(max_body_bytes=2_000, max_keys=5))


def post(app: FastAPI, body: Any) -> Any:
    return send(app, "POST", "/v1/append", json=body)


def test_rows_join_the_graph_and_bad_ones_are_told(app: FastAPI, root: Path) -> None:
    rows = [{"id": 1, "at": "2024-01-01", "customer": None}, {"id": 2}, {"id": 3, "at": "soon"}, {"at": "2024-01-01"}]
    reply = post(app, {"table": "invoices", "rows": rows})
    assert reply.status_code == 200
    assert reply.json() == {
        "table": "invoices",
        "kept": 1,
        "rejected": [
            {"row": 1, "rule": "time.missing"},
            {"row": 2, "rule": "time.unreadable"},
            {"row": 3, "rule": "key.null"},
        ],
        "record": 1,
    }
    assert Live(root).view.rows_of("invoices", [1]).tolist() == [0]
    assert [letter.rule for letter in DeadLetters(root).read()] == ["time.missing", "time.unreadable", "key.null"]
    assert post(app, {"table": "invoices", "rows": [{"id": 1}], "deleted": True}).json()["kept"] == 1
    assert Live(root).view.rows_of("invoices", [1]).tolist() == [-1]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"table": "nope", "rows": [{"id": 1}]}, 422, "bad_rows", "there is no table nope"),
        ({"table": "products", "rows": []}, 422, "bad_rows", "at least one row"),
        ({"table": "products", "rows": [{"price": 1}]}, 422, "bad_rows", "no column id"),
        ({"table": "products", "rows": [{"id": 1, "prize": 1}]}, 422, "bad_rows", "no column prize"),
        ({"table": "visits", "rows": [{"customer": 1}], "deleted": True}, 422, "bad_rows", "no key to be deleted by"),
        ({"table": "products", "rows": [{"id": i} for i in range(6)]}, 413, "too_many_rows", "6 rows"),
        ({"table": "products", "rows": [{"id": "x" * 3_000}]}, 413, "body_too_large", "2,000 bytes"),
        ({"table": "products", "rows": [1]}, 422, "bad_request", "does not fit"),
        ({"table": "products", "rows": [{"id": 1}], "more": 1}, 422, "bad_request", "more"),
    ],
)
def test_what_is_refused(app: FastAPI, root: Path, body: Any, status: int, code: str, said: str) -> None:
    reply = post(app, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert said in reply.json()["error"]["message"]
    with DeltaLog(root.parent / "other"):
        assert Live(root).view.record == 0


def test_a_full_disk_is_said_and_nothing_kept(app: FastAPI, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: DeltaLog, delivery: object) -> None:
        raise StorageError("cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaLog, "append", refuse)
        reply = post(app, {"table": "products", "rows": [{"id": 1}]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage")
    assert post(app, {"table": "products", "rows": [{"id": 1}]}).json()["record"] == 1


def test_without_an_intake_there_is_no_such_route() -> None:
    assert post(create_app(FakeBackend()), {"table": "t", "rows": []}).status_code == 404
