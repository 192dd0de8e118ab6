"""Fuzz: whatever is sent, the answer is a success or a clean refusal."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.client import FakeBackend, send

from kincast.serve.app import create_app

APP = create_app(FakeBackend())

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)
QUESTIONS = st.fixed_dictionaries({"keys": VALUES | st.lists(SCALARS)}, optional={"as_of": VALUES, "more": VALUES})
PATHS = st.sampled_from(["/v1/predict", "/v1/embedding"])


def check(reply: httpx.Response) -> None:
    assert reply.status_code in (200, 400, 404, 405, 413, 415, 422), reply.text
    body = reply.json()
    assert (reply.status_code == 200) == ("error" not in body)
    if reply.status_code != 200:
        assert set(body["error"]) <= {"code", "message", "keys", "request_id"}
        assert "Traceback" not in reply.text


@settings(deadline=None, max_examples=80)
@given(PATHS, VALUES | QUESTIONS)
def test_any_json(path: str, value: Any) -> None:
    check(send(APP, "POST", path, content=json.dumps(value), headers={"content-type": "application/json"}))


@settings(deadline=None, max_examples=80)
@given(PATHS, st.binary(max_size=200), st.sampled_from(["application/json", "text/plain", "application/json; x"]))
def test_any_bytes(path: str, body: bytes, kind: str) -> None:
    check(send(APP, "POST", path, content=body, headers={"content-type": kind}))


@settings(deadline=None, max_examples=80)
@given(PATHS, st.text(), st.none() | st.text())
def test_any_key_in_the_address(path: str, key: str, as_of: str | None) -> None:
    key = quote(key.encode("utf-8", "surrogatepass"), safe="")
    query = "" if as_of is None else "?as_of=" + quote(as_of.encode("utf-8", "surrogatepass"), safe="")
    check(send(APP, "GET", f"{path}/{key}{query}"))
