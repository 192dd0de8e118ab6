"""App: the HTTP routes: predictions, embeddings, health, metrics and the page that describes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Counter, Gauge, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from kincast.clock import format_instant, parse_instant
from kincast.errors import KincastError, ProjectError, StorageError
from kincast.serve.backend import Answer, Backend
from kincast.serve.failure import JSON, Refusal, from_backend
from kincast.serve.guard import Guard, refuse
from kincast.serve.intake import Intake
from kincast.serve.message import (
    Embedding,
    Embeddings,
    Explanation,
    Explanations,
    Health,
    Key,
    Prediction,
    Predictions,
    Question,
    VersionBody,
    WhyQuestion,
    components,
    decode_ask,
    decode_question,
    decode_rows,
    decode_why,
    encode,
)
from kincast.serve.page import DOCS_PAGE, DOCS_POLICY
from kincast.store.rows import Store

if TYPE_CHECKING:
    from kincast.serve.asker import Asker  # which brings all of training

Body = TypeVar("Body")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    max_body_bytes: int = 1 << 20
    max_keys: int = 10_000
    max_explained: int = 20


DEFAULT_LIMITS = Limits()


class Service:
    """What the routes answer from; ``backend`` may be set later, until then the app is live but not ready.

    Attributes:
        backend: computes; None while it is loading.
        store: published embeddings; None computes all.
        limits: what one request may ask for.
        metrics: what ``/metrics`` shows.
    """

    def __init__(self, backend: Backend | None, store: Store | None, limits: Limits) -> None:
        self.backend, self.store, self.limits = backend, store, limits
        self.metrics = CollectorRegistry()
        self.answered = Counter("kincast_rows", "Rows answered", ["kind"], registry=self.metrics)
        ready = Gauge("kincast_ready", "1 when predictions can be answered", registry=self.metrics)
        ready.set_function(lambda: float(self.backend is not None))

    def ready(self) -> Backend:
        """The backend; refuses with 503 while there is none."""
        if self.backend is None:
            headers = {"Retry-After": "1"}
            raise Refusal(503, "loading", "the model is being loaded; ask again in a moment", headers=headers)
        return self.backend

    async def predict(self, keys: Sequence[Key], as_of: str | None, coverage: float | None = None) -> Response:
        """Predictions of those keys."""
        backend = self.ready()
        wanted, instant = self._checked_keys(backend, keys), _instant(as_of)
        answer = await _ask(backend.predict, wanted, instant, _coverage(coverage))
        self.answered.labels("prediction").inc(len(keys))
        rows = _predictions(keys, answer)
        return _json(Predictions(backend.info.id, format_instant(answer.as_of_us), backend.snapshot.id, rows))

    async def why(self, question: WhyQuestion) -> Response:
        """What moved the predictions of those keys."""
        backend = self.ready()
        keys, instant = self._checked_keys(backend, question.keys), _instant(question.as_of)
        if len(keys) > self.limits.max_explained:
            message = f"{len(keys):,} keys are more than {self.limits.max_explained}; ask for fewer at a time"
            raise Refusal(413, "too_many_keys", message)
        of = tuple(question.of) if isinstance(question.of, list) else question.of
        said = await _ask(partial(backend.why, of=of, target=question.target, top=question.top), keys, instant)
        self.answered.labels("explanation").inc(len(keys))
        rows = [
            msgspec.convert({**one.as_dict(), "key": key}, Explanation)
            for key, one in zip(question.keys, said, strict=True)
        ]
        return _json(Explanations(backend.info.id, backend.snapshot.id, rows))

    async def embed(self, keys: Sequence[Key], as_of: str | None) -> Response:
        """Embeddings of those keys: published ones where they hold for the instant, else computed."""
        backend = self.ready()
        wanted, instant = self._checked_keys(backend, keys), _instant(as_of)
        at = backend.default_as_of() if instant is None else instant
        source, vectors = "store", self._published(backend, wanted, at)
        if vectors is None:
            source, vectors = "computed", await _ask(backend.embed, wanted, instant)
        self.answered.labels("embedding").inc(len(keys))
        rows = [Embedding(key, vector) for key, vector in zip(keys, vectors.tolist(), strict=True)]
        return _json(Embeddings(backend.info.id, format_instant(at), backend.snapshot.id, source, rows))

    def _published(self, backend: Backend, keys: Sequence[Any], as_of_us: int) -> Any:
        if self.store is None:
            return None
        try:
            self.store = store = self.store.refresh()
        except StorageError:
            return None  # a damaged store costs time, not the answer
        stamp = store.stamp
        if (stamp.version_id, stamp.snapshot_id, stamp.as_of_us) != (backend.info.id, backend.snapshot.id, as_of_us):
            return None
        vectors, found = store.lookup(keys)
        return vectors if found.all() else None

    def _checked_keys(self, backend: Backend, keys: Sequence[Key]) -> list[Any]:
        columns = backend.info.key_columns
        if not keys:
            raise Refusal(422, "no_keys", "at least one key is needed")
        if len(keys) > self.limits.max_keys:
            message = f"{len(keys):,} keys are more than {self.limits.max_keys:,}; ask for fewer at a time"
            raise Refusal(413, "too_many_keys", message)
        for key in keys:
            if len(columns) == 1 and isinstance(key, list):
                raise Refusal(422, "bad_key", f"a key is one value, {columns[0]}, not a list", keys=[key])
            if len(columns) > 1 and (not isinstance(key, list) or len(key) != len(columns)):
                raise Refusal(422, "bad_key", f"a key is the list [{', '.join(columns)}]", keys=[key])
        # No database has whole numbers beyond 64 bits as keys, and arrays cannot hold them.
        beyond = [k for k in keys for part in (k if isinstance(k, list) else [k]) if _is_beyond(part)]
        if beyond:
            message = f"{len(beyond)} keys are beyond 64 bits, so no row has them"
            raise Refusal(404, "key_not_found", message, keys=beyond)
        return [tuple(key) if isinstance(key, list) else key for key in keys]


def create_app(
    backend: Backend | None,
    store: Store | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    hosts: Collection[str] | None = LOOPBACK_NAMES,
    intake: Intake | None = None,
    asker: Asker | None = None,
) -> FastAPI:
    """The HTTP app over a backend.

    Args:
        backend: computes predictions; None while it is loading (set ``app.state.service.backend`` then).
        store: published embeddings, answered from when they hold for the version, snapshot and instant asked for.
        limits: what one request may ask for.
        hosts: host names it answers to; None answers to all.
        intake: takes rows in at ``/v1/append``; None has no such route.
        asker: answers questions without training at ``/v1/ask``; None has no such route.
    """
    app = FastAPI(title="Kincast", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    service = Service(backend, store, limits)
    app.state.service = service
    app.add_middleware(Guard, metrics=service.metrics, max_body_bytes=limits.max_body_bytes, hosts=hosts)
    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, _http_failure)
    app.add_exception_handler(RequestValidationError, _parameter_failure)
    _add_answers(app, service)
    _add_state(app, service)
    if intake is not None:
        _add_intake(app, service, intake)
    if asker is not None:
        _add_asker(app, service, asker)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document.setdefault("components", {})["schemas"] = components()
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predict", summary="Predictions of many keys", **_described("Predictions", body="Question"))
    async def predict_many(request: Request) -> Response:
        service.ready()
        question = await _question(request)
        return await service.predict(question.keys, question.as_of, question.coverage)

    @app.get("/v1/predict/{key:path}", summary="Prediction of one key", **_described("Predictions"))
    async def predict_one(key: str, as_of: str | None = None, coverage: float | None = None) -> Response:
        return await service.predict([key], as_of, coverage)

    @app.post("/v1/why", summary="What moved predictions", **_described("Explanations", body="WhyQuestion"))
    async def why(request: Request) -> Response:
        service.ready()
        return await service.why(await _body(request, decode_why))

    @app.post("/v1/embedding", summary="Embeddings of many keys", **_described("Embeddings", body="Question"))
    async def embed_many(request: Request) -> Response:
        service.ready()
        question = await _question(request)
        return await service.embed(question.keys, question.as_of)

    @app.get("/v1/embedding/{key:path}", summary="Embedding of one key", **_described("Embeddings"))
    async def embed_one(key: str, as_of: str | None = None) -> Response:
        return await service.embed([key], as_of)


def _add_intake(app: FastAPI, service: Service, intake: Intake) -> None:
    @app.post("/v1/append", summary="Take in rows", **_described("Taken", body="Rows"))
    async def append(request: Request) -> Response:
        sent = await _body(request, decode_rows)
        if len(sent.rows) > service.limits.max_keys:
            message = f"{len(sent.rows):,} rows are more than {service.limits.max_keys:,}; send fewer at a time"
            raise Refusal(413, "too_many_rows", message)
        taken = await run_in_threadpool(intake.take, sent)
        service.answered.labels("append").inc(taken.kept)
        return _json(taken)


def _add_asker(app: FastAPI, service: Service, asker: Asker) -> None:
    @app.post("/v1/ask", summary="Answers without training", **_described("Asked", body="AskQuestion"))
    async def ask(request: Request) -> Response:
        question = await _body(request, decode_ask)
        _instant(question.as_of)
        answer = await asker.answer(question)
        service.answered.labels("question").inc(len(answer.predictions))
        return _json(answer)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", summary="Whether the process answers", **_described("Health"))
    async def live() -> Response:
        return _json(Health("live"))

    @app.get("/health/ready", summary="Whether predictions can be answered", **_described("Health"))
    async def ready() -> Response:
        service.ready()
        return _json(Health("ready"))

    @app.get("/version", summary="The version that answers", **_described("VersionBody"))
    async def version() -> Response:
        backend = service.ready()
        info = backend.info
        key, trained = info.schema.table(info.entity).key, format_instant(info.created_us)
        named = (info.id, info.task, info.query, info.kind, info.entity, list(key), list(info.classes))
        return _json(VersionBody(*named, backend.snapshot.id, trained, info.code_version))

    @app.get("/metrics", summary="Counters and timings for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(DOCS_PAGE, headers={"Content-Security-Policy": DOCS_POLICY})


def _described(reply: str, body: str | None = None) -> dict[str, Any]:
    def content(name: str) -> dict[str, Any]:
        return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    extra: dict[str, Any] = {"requestBody": {"required": True, "content": content(body)}} if body else {}
    failure = {"description": "What went wrong", "content": content("FailureBody")}
    responses = {200: {"description": "Success", "content": content(reply)}, "default": failure}
    # The bodies are read and written by msgspec, so FastAPI only describes them.
    return {"openapi_extra": extra, "responses": responses, "response_class": Response, "response_model": None}


async def _question(request: Request) -> Question:
    return await _body(request, decode_question)


async def _body(request: Request, decode: Callable[[bytes], Body]) -> Body:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != JSON:
        raise Refusal(415, "bad_content_type", f"the body must be {JSON}")
    body = await request.body()
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise Refusal(422, "bad_request", f"the body does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refusal(400, "bad_json", f"the body is not JSON: {error}") from None


async def _ask(ask: Callable[..., Any], keys: list[Any], *rest: Any) -> Any:
    try:
        return await run_in_threadpool(ask, keys, *rest)
    except KincastError as error:
        refusal = from_backend(error, keys)
        if refusal is None:
            raise
        raise refusal from None


def _instant(as_of: str | None) -> int | None:
    if as_of is None:
        return None
    try:
        instant = parse_instant(as_of)
        format_instant(instant)  # a zone may move it out of the calendar
    except (ProjectError, OverflowError):
        hint = "write it as 2024-01-31 or 2024-01-31T13:00:00Z"
        raise Refusal(422, "bad_as_of", f"as_of is not an instant; {hint}") from None
    return instant


def _coverage(coverage: float | None) -> float | None:
    if coverage is not None and not 0 < coverage < 1:
        raise Refusal(422, "bad_coverage", "coverage is a share between 0 and 1, such as 0.9")
    return coverage


def _is_beyond(part: int | str) -> bool:
    return isinstance(part, int) and not -(1 << 63) <= part < 1 << 64


def _predictions(keys: Sequence[Key], answer: Answer) -> list[Prediction]:
    return [
        msgspec.convert({"key": key, **said}, Prediction) for key, said in zip(keys, answer.outcomes(), strict=True)
    ]


def _json(body: msgspec.Struct) -> Response:
    return Response(encode(body), media_type=JSON)


async def _http_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    words = {404: "there is nothing at this address; see /docs", 405: "this address does not take that method"}
    status = error.status_code
    headers = dict(error.headers or {})
    message = words.get(status, str(error.detail))
    return await refuse(request, Refusal(status, codes.get(status, "bad_request"), message, headers=headers))


async def _parameter_failure(request: Request, error: Exception) -> Response:
    return await refuse(request, Refusal(422, "bad_request", "a parameter of the address does not fit; see /docs"))
