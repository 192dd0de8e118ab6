"""Run: ports, addresses, start and stop."""

from __future__ import annotations

import os
import signal
import socket
import threading

import httpx
import pytest
from tests.serve.client import FakeBackend

from kincast.errors import ServeError
from kincast.serve.app import create_app
from kincast.serve.run import running, serve


def test_serves_on_a_free_port_and_stops() -> None:
    with running(create_app(FakeBackend())) as url:
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/v1/predict/17").json()["predictions"][0]["score"] == 0.017
            assert client.get("/v1/predict/%ff").status_code == 404
            assert client.get("/v1/predict/nobody").status_code == 404
            assert "server" not in client.get("/health/live").headers
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(url)


def test_blocking_serve_reports_its_address_and_ends_on_an_interrupt() -> None:
    found: list[str] = []

    def started(url: str) -> None:
        found.append(url)
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

    serve(create_app(FakeBackend()), port=0, on_start=started)
    assert found[0].startswith("http://127.0.0.1:")


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match="in use") as caught:
            serve(create_app(None), port=port)
    assert caught.value.where == f"127.0.0.1:{port}"
    assert caught.value.hint is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_machines_need_an_explicit_flag(host: str) -> None:
    with pytest.raises(ServeError, match="other machines"), running(create_app(None), host):
        pytest.fail("must not start")


def test_with_the_flag_it_listens_for_other_machines() -> None:
    with running(create_app(None), "0.0.0.0", allow_remote=True) as url:
        assert url.startswith("http://0.0.0.0:")


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("192.0.2.1", 0), ("127.0.0.1", -1)])
def test_impossible_addresses(host: str, port: int) -> None:
    with pytest.raises(ServeError), running(create_app(None), host, port, allow_remote=True):
        pytest.fail("must not start")
