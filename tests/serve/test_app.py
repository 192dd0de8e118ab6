"""App: what each route answers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi import FastAPI
from tests.serve.client import AS_OF_US, VERSION, BadKeyBackend, FakeBackend, send

from kincast.schema import Column, Schema, SemanticType, Table
from kincast.serve.app import Limits, create_app
from kincast.store.rows import Stamp, Store, publish

COMPOSITE = Schema(
    (
        Table(
            "customers",
            (Column("a", SemanticType.ID, "BIGINT"), Column("b", SemanticType.ID, "VARCHAR")),
            key=("a", "b"),
        ),
    )
)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def app(backend: FakeBackend) -> FastAPI:
    return create_app(backend)


def test_scores_come_with_what_made_them(app: FastAPI) -> None:
    reply = send(app, "POST", "/v1/predict", json={"keys": [17, "3"]})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {
        "version": VERSION,
        "as_of": "2026-11-01",
        "snapshot": "00112233aabbccdd",
        "predictions": [{"key": 17, "score": 0.017}, {"key": "3", "score": 0.003}],
    }


def test_instant_is_passed_on_in_utc(app: FastAPI, backend: FakeBackend) -> None:
    reply = send(app, "POST", "/v1/predict", json={"keys": [1], "as_of": "2026-10-01T02:00:00+02:00"})
    assert reply.json()["as_of"] == "2026-10-01"
    reply = send(app, "GET", "/v1/predict/1", params={"as_of": "2026-10-01"})
    assert reply.json()["as_of"] == "2026-10-01"
    assert backend.calls[0][1] == backend.calls[1][1]


def test_one_key_in_the_address(app: FastAPI) -> None:
    assert send(app, "GET", "/v1/predict/17").json()["predictions"] == [{"key": "17", "score": 0.017}]


def test_values_for_regression() -> None:
    app = create_app(FakeBackend(kind="regression", classes=()))
    assert send(app, "GET", "/v1/predict/17").json()["predictions"] == [{"key": "17", "value": 0.017}]


def test_class_and_probabilities_for_multiclass() -> None:
    app = create_app(FakeBackend(kind="multiclass_classification", classes=("lo", "hi")))
    (prediction,) = send(app, "GET", "/v1/predict/100").json()["predictions"]
    assert prediction == {"key": "100", "class": "hi", "probabilities": {"lo": 0.1, "hi": 0.9}}


def test_composite_keys_are_lists() -> None:
    app = create_app(FakeBackend(schema=COMPOSITE))
    assert send(app, "POST", "/v1/predict", json={"keys": [[1, "a"]]}).json()["predictions"][0]["key"] == [1, "a"]
    for keys in ([1], [[1]], [[1, "a", 2]]):
        reply = send(app, "POST", "/v1/predict", json={"keys": keys})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "bad_key")
        assert "[a, b]" in reply.json()["error"]["message"]
    assert send(app, "GET", "/v1/predict/1").status_code == 422


def test_reasons_come_with_what_they_are_of(app: FastAPI) -> None:
    reply = send(app, "POST", "/v1/why", json={"keys": [17], "as_of": "2026-10-01", "top": 2})
    assert reply.status_code == 200
    (why,) = reply.json()["explanations"]
    assert (why["key"], why["as_of"], why["score"]) == (17, "2026-10-01", 0.017)
    assert [row["key"] for row in why["rows"]] == [0, 1]
    assert why["links"] == [{"link": "a.b->c.d", "rows": 8, "change": 0.2}]
    assert "past" not in why


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"keys": [1], "of": "web"}, 422, "bad_request"),
        ({"keys": [1], "top": 0}, 422, "bad_request"),
        ({"keys": [999]}, 404, "key_not_found"),
        ({"keys": list(range(1, 30))}, 413, "too_many_keys"),
        ({"keys": [1], "as_of": "soon"}, 422, "bad_as_of"),
    ],
)
def test_questions_that_have_no_reasons(body: dict[str, Any], status: int, code: str, app: FastAPI) -> None:
    reply = send(app, "POST", "/v1/why", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_unknown_keys_are_named(app: FastAPI) -> None:
    reply = send(app, "POST", "/v1/predict", json={"keys": [1, 999, "x"]})
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["code"], error["keys"]) == ("key_not_found", [999, "x"])
    assert error["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**300])
def test_numbers_that_no_column_holds_are_unknown_keys(app: FastAPI, backend: FakeBackend, number: int) -> None:
    reply = send(app, "POST", "/v1/predict", content=b'{"keys": [%d]}' % number, headers=JSON)
    assert reply.status_code in (404, 422)
    assert backend.calls == []


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (b'{"keys": ["\xff"]}', 400, "bad_json"),
        (b'{"keys": ["\\ud800"]}', 400, "bad_json"),
        (b'{"keys": [NaN]}', 400, "bad_json"),
        (b'{"keys": [1], "other": ' + b"[" * 100_000, 422, "bad_request"),
        (b'{"keys": ' + b"[" * 100_000, 422, "bad_request"),
        (b"[" * 500_000, 422, "bad_request"),
        (b"null", 422, "bad_request"),
        (b"{}", 422, "bad_request"),
        (b'{"keys": 1}', 422, "bad_request"),
        (b'{"keys": [null]}', 422, "bad_request"),
        (b'{"keys": [true]}', 422, "bad_request"),
        (b'{"keys": [1.5]}', 422, "bad_request"),
        (b'{"keys": [{}]}', 422, "bad_request"),
        (b'{"keys": [1], "as_of": 5}', 422, "bad_request"),
        (b'{"keys": [1], "other": 5}', 422, "bad_request"),
        (b'{"keys": []}', 422, "no_keys"),
        (b'{"keys": [[1]]}', 422, "bad_key"),
        (b'{"keys": [1], "as_of": "soon"}', 422, "bad_as_of"),
        (b'{"keys": [1], "as_of": "0001-01-01T00:00:00+14:00"}', 422, "bad_as_of"),
        (b'{"keys": [1], "as_of": "9999-12-31T23:59:59-14:00"}', 422, "bad_as_of"),
        (b'{"keys": [1], "as_of": "\\u0000"}', 422, "bad_as_of"),
        (b'{"keys": [' + b"1," * 10_000 + b"1]}", 413, "too_many_keys"),
        (b" " * (1 << 20) + b"{}", 413, "body_too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/embedding"])
def test_bad_bodies(app: FastAPI, backend: FakeBackend, path: str, body: bytes, status: int, code: str) -> None:
    reply = send(app, "POST", path, content=body, headers=JSON)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert backend.calls == []


def test_body_without_a_length_is_limited_while_it_is_read(backend: FakeBackend) -> None:
    app = create_app(backend, limits=Limits(max_body_bytes=1000))

    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 100

    reply = send(app, "POST", "/v1/predict", content=endless(), headers=JSON)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30])
def test_bad_content_length(app: FastAPI, length: str) -> None:
    reply = send(app, "POST", "/v1/predict", content=b"{}", headers={**JSON, "content-length": length})
    assert reply.status_code in (400, 413)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"])
def test_bad_content_type(app: FastAPI, kind: str) -> None:
    reply = send(app, "POST", "/v1/predict", content=b'{"keys": [1]}', headers={"content-type": kind})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "bad_content_type")


def test_content_type_may_name_a_charset(app: FastAPI) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert send(app, "POST", "/v1/predict", content=b'{"keys": [1]}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/predict", 405, "method_not_allowed"),
        ("DELETE", "/v1/predict", 405, "method_not_allowed"),
        ("GET", "/v1/predict/", 404, "key_not_found"),
        ("GET", "/v1/predict/../../etc/passwd", 404, "key_not_found"),
        ("GET", "/v1/predict/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "key_not_found"),
        ("GET", "/v1/predict/%00", 404, "key_not_found"),
        ("GET", "/v1/predict/%ff", 404, "key_not_found"),
        ("GET", "/v1/predict/1?as_of=", 422, "bad_as_of"),
        ("GET", "/v1/embedding/nobody", 404, "key_not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
    ],
)
def test_bad_addresses(app: FastAPI, method: str, path: str, status: int, code: str) -> None:
    reply = send(app, method, path)
    if ".." in path and reply.json()["error"]["code"] == "not_found":
        return  # the client itself resolved the dots
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_foreign_host_name_is_refused(app: FastAPI, backend: FakeBackend) -> None:
    reply = send(app, "GET", "/v1/predict/1", headers={"host": "evil.example:8321"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_host")
    for host in ("localhost:1", "LOCALHOST", "[::1]:80"):
        assert send(app, "GET", "/v1/predict/1", headers={"host": host}).status_code == 200
    assert send(create_app(backend, hosts=None), "GET", "/version", headers={"host": "x.example"}).status_code == 200


def test_key_that_the_backend_refuses_is_422() -> None:
    reply = send(create_app(BadKeyBackend()), "GET", "/v1/predict/1")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "bad_key")


def test_failing_backend_is_500_without_a_trace(
    app: FastAPI, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failure = RuntimeError("secret detail in /home/someone")
    reply = send(app, "GET", "/v1/predict/1", headers={"x-request-id": "my-id"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    assert reply.json()["error"]["request_id"] == reply.headers["x-request-id"] == "my-id"
    assert "secret detail" in caplog.text
    assert "my-id" in caplog.text


def test_a_client_that_leaves_is_no_failure_of_the_server(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send_back(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"20")]
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send_back))
    assert sent == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_not_ready_until_the_backend_is_there(backend: FakeBackend) -> None:
    app = create_app(None)
    assert send(app, "GET", "/health/live").json() == {"status": "live"}
    for method, path in (
        ("GET", "/health/ready"),
        ("GET", "/v1/predict/1"),
        ("POST", "/v1/predict"),
        ("GET", "/version"),
    ):
        reply = send(app, method, path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "loading")
        assert reply.headers["retry-after"] == "1"
    app.state.service.backend = backend
    assert send(app, "GET", "/health/ready").json() == {"status": "ready"}
    assert send(app, "GET", "/v1/predict/1").status_code == 200


def test_version(app: FastAPI, backend: FakeBackend) -> None:
    reply = send(app, "GET", "/version").json()
    assert reply["version"] == VERSION
    assert reply["query"] == backend.info.query
    assert (reply["entity"], reply["key"], reply["trained"]) == ("customers", ["customer_id"], "2026-11-20 14:05:01")


def test_metrics_count_routes_not_keys(app: FastAPI) -> None:
    for path in ("/v1/predict/1", "/v1/predict/2", "/v1/predict/nobody", "/nowhere", "/else/where"):
        send(app, "GET", path)
    send(app, "BREW", "/v1/predict/1")
    text = send(app, "GET", "/metrics").text
    assert 'kincast_requests_total{method="GET",route="/v1/predict/{key:path}",status="200"} 2.0' in text
    assert 'kincast_requests_total{method="GET",route="/v1/predict/{key:path}",status="404"} 1.0' in text
    assert 'kincast_requests_total{method="GET",route="unmatched",status="404"} 2.0' in text
    assert 'kincast_rows_total{kind="prediction"} 2.0' in text
    assert 'kincast_request_seconds_count{route="/v1/predict/{key:path}"}' in text
    assert "kincast_ready 1.0" in text
    assert "nobody" not in text
    assert "BREW" not in text


def test_strange_request_ids_are_replaced(app: FastAPI) -> None:
    for given in ("", "a b", "x" * 65, "<script>"):
        found = send(app, "GET", "/health/live", headers={"x-request-id": given}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", found)


def test_docs_page_needs_no_other_host(app: FastAPI) -> None:
    reply = send(app, "GET", "/docs")
    assert reply.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in reply.headers["content-security-policy"]
    assert re.findall(r"(?:https?:)?//[a-z]", reply.text) == []
    assert not re.search(r"innerHTML|<link|<img|src=", reply.text)
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert send(app, "GET", path).status_code == 404


def test_openapi_describes_every_route_and_resolves(app: FastAPI) -> None:
    document = send(app, "GET", "/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/predict",
        "/v1/predict/{key}",
        "/v1/why",
        "/v1/embedding",
        "/v1/embedding/{key}",
        "/health/live",
        "/health/ready",
        "/version",
        "/metrics",
    }
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references <= set(document["components"]["schemas"])
    assert {"Question", "Predictions", "FailureBody"} <= references


@pytest.fixture
def store(tmp_path: Path) -> Store:
    vectors = np.array([[7, 7], [8, 8]], np.float32)
    return publish(tmp_path, "e", pa.table({"customer_id": [1, 2]}), vectors, stamp())


def stamp(**changes: Any) -> Stamp:
    return Stamp(
        **{"version_id": VERSION, "snapshot_id": "00112233aabbccdd", "as_of_us": AS_OF_US, "created_us": 0, **changes}
    )


def test_published_embeddings_are_answered_from_the_store(backend: FakeBackend, store: Store) -> None:
    app = create_app(backend, store)
    reply = send(app, "POST", "/v1/embedding", json={"keys": [2, "1"]}).json()
    assert reply["source"] == "store"
    assert reply["embeddings"] == [{"key": 2, "embedding": [8, 8]}, {"key": "1", "embedding": [7, 7]}]
    assert send(app, "GET", "/v1/embedding/1", params={"as_of": "2026-11-01"}).json()["source"] == "store"
    assert backend.calls == []


def test_other_rows_or_instants_are_computed(backend: FakeBackend, store: Store) -> None:
    app = create_app(backend, store)
    assert send(app, "POST", "/v1/embedding", json={"keys": [1, 3]}).json()["source"] == "computed"
    assert send(app, "GET", "/v1/embedding/1?as_of=2026-10-01").json()["source"] == "computed"
    assert send(app, "GET", "/v1/embedding/999").status_code == 404


@pytest.mark.parametrize("changes", [{"version_id": "x"}, {"snapshot_id": "x"}, {"as_of_us": 5}])
def test_store_of_another_origin_is_not_used(backend: FakeBackend, store: Store, changes: dict[str, Any]) -> None:
    app = create_app(backend, store)
    publish(store.root, "e", pa.table({"customer_id": [1]}), np.full((1, 2), 9, np.float32), stamp(**changes))
    assert send(app, "GET", "/v1/embedding/1").json()["source"] == "computed"


def test_newly_published_and_damaged_stores(backend: FakeBackend, store: Store) -> None:
    app = create_app(backend, store)
    publish(store.root, "e", pa.table({"customer_id": [1]}), np.full((1, 2), 9, np.float32), stamp())
    assert send(app, "GET", "/v1/embedding/1").json()["embeddings"][0]["embedding"] == [9, 9]
    (store.root / "e" / "current").write_text("nonsense")
    assert send(app, "GET", "/v1/embedding/1").json()["source"] == "computed"


OUTCOMES = [
    {"labels": ["a"], "probabilities": {"a": 0.75, "b": 0.25}},
    {"steps": [{"from": "2026-11-01", "until": "2026-11-08", "value": 3.5}]},
    {"items": [{"key": 7, "score": 0.5}, {"key": "x", "score": 0.25}]},
    {"items": [{"label": "web", "score": 0.5}]},
    {"items": []},
    {"targets": {"COUNT(orders.*, 0, 30, days) > 0": {"score": 0.5}, "FIRST(orders.channel)": {"class": "web"}}},
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_is_said_of_a_row_arrives_as_it_is(outcome: dict[str, Any], backend: FakeBackend) -> None:
    answer = SimpleNamespace(as_of_us=AS_OF_US, outcomes=lambda: [outcome])
    backend.predict = lambda keys, as_of_us=None, coverage=None: answer  # type: ignore[method-assign]
    (prediction,) = send(create_app(backend), "GET", "/v1/predict/17").json()["predictions"]
    assert prediction == {"key": "17", **outcome}
