"""Guard: the one middleware: host check, body limit, request id, metrics, and no error that gets out raw."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kincast.serve.failure import Refusal

log = logging.getLogger("kincast.serve")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Guard:
    """Wraps the app.

    Args:
        app: what to wrap.
        metrics: where requests are counted and timed.
        max_body_bytes: larger bodies are refused.
        hosts: host names the server answers to; a foreign name means that another site's page is asking
            (DNS rebinding). None answers to all.
    """

    def __init__(
        self, app: ASGIApp, metrics: CollectorRegistry, max_body_bytes: int, hosts: Collection[str] | None
    ) -> None:
        self.app, self.max_body_bytes, self.hosts = app, max_body_bytes, hosts
        names = ["route", "method", "status"]
        self.requests = Counter("kincast_requests", "Requests answered", names, registry=metrics)
        self.seconds = Histogram(
            "kincast_request_seconds", "Time to answer a request", ["route"], registry=metrics, buckets=_BUCKETS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; connections other than HTTP are passed on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.perf_counter(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                marked = MutableHeaders(raw=message.setdefault("headers", []))
                marked["X-Request-ID"] = request_id
                marked["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            self._check(headers)
            await self.app(scope, self._limited(receive), send_marked)
        except Refusal as refusal:
            if not status:
                await refusal.response(request_id)(scope, receive, send_marked)
        except ClientDisconnect:
            log.info("request %s: the client left before it was read", request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            if not status:
                await _broken().response(request_id)(scope, receive, send_marked)
        finally:
            # The route's template, not the path: a metric must not have a label per key.
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.requests.labels(route, method, str(status)).inc()
            self.seconds.labels(route).observe(time.perf_counter() - start)

    def _check(self, headers: Headers) -> None:
        host = re.sub(r":\d*$", "", headers.get("host", "")).strip("[]").lower()
        if self.hosts is not None and host not in self.hosts:
            raise Refusal(400, "bad_host", "this server does not answer to that host name")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise Refusal(400, "bad_length", "the content length is not a number")
        if len(length) > 18 or int(length) > self.max_body_bytes:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Refusal:
        message = f"the body is larger than {self.max_body_bytes:,} bytes; send less at a time"
        return Refusal(413, "body_too_large", message, headers={"Connection": "close"})


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _broken() -> Refusal:
    return Refusal(500, "internal", "the server failed; its log has the reason under this request id")


async def refuse(request: Request, refusal: Exception) -> Response:
    """The response to a refusal raised inside the app."""
    assert isinstance(refusal, Refusal)
    return refusal.response(request.scope.get("state", {}).get("request_id"))
