"""A fake backend and an in-process client for the serve tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from fastapi import FastAPI
from tests.registry.examples import version_info

from kincast.clock import format_instant, parse_instant
from kincast.errors import DataError, KeyNotFoundError, ProjectError
from kincast.predict.answer import Predictions
from kincast.predict.reason import LinkReason, RowReason, Why
from kincast.query.task import TaskKind
from kincast.registry.version import VersionInfo

AS_OF_US = parse_instant("2026-11-01")
VERSION = "churn-20261120T140501-3fa9c1"


class FakeBackend:
    """Rows 1 to 100 with score key / 1000; counts what it computed."""

    def __init__(self, **changes: Any) -> None:
        self.info: VersionInfo = version_info(**{"id": VERSION, **changes})
        self.snapshot = SimpleNamespace(id="00112233aabbccdd")
        self.calls: list[tuple[list[Any], int | None]] = []
        self.failure: Exception | None = None

    def default_as_of(self) -> int:
        return AS_OF_US

    def numbers(self, keys: Sequence[Any], as_of_us: int | None) -> np.ndarray:
        self.calls.append((list(keys), as_of_us))
        if self.failure is not None:
            raise self.failure
        known = set(range(1, 101)) | {str(number) for number in range(1, 101)} | {(1, "a")}
        missing = [key for key in keys if key not in known]
        if missing:
            raise KeyNotFoundError(f"{len(missing)} of {len(keys)} keys have no row", keys=missing)
        return np.array([int(key[0]) if isinstance(key, tuple) else int(key) for key in keys]) / 1000

    def predict(self, keys: Sequence[Any], as_of_us: int | None = None, coverage: float | None = None) -> Any:
        scores = self.numbers(keys, as_of_us)
        if self.info.kind == "multiclass_classification":
            scores = np.stack([scores, 1 - scores], axis=1)
        at = AS_OF_US if as_of_us is None else as_of_us
        table = pa.table({"customer_id": [str(key) for key in keys]})
        return Predictions(table, np.full(len(keys), at), at, scores, self.info.classes, TaskKind(self.info.kind))

    def why(
        self,
        keys: Sequence[Any],
        as_of_us: int | None = None,
        *,
        of: Any = None,
        target: str | None = None,
        top: int = 5,
    ) -> list[Why]:
        if of is not None or target is not None:
            raise ProjectError("of binary classification there is one number only", hint="name nothing")
        scores = self.numbers(keys, as_of_us).tolist()
        rows = tuple(RowReason("orders", number, "2026-10-01", 0.1, ()) for number in range(min(top, 8)))
        parts: Any = ((LinkReason("a.b->c.d", 8, 0.2),), rows, (), (), 0.0, 0.0)
        at = format_instant(AS_OF_US if as_of_us is None else as_of_us)
        return [Why(str(k), at, {}, "probability", s, 0.5, 9, 8, *parts) for k, s in zip(keys, scores, strict=True)]

    def embed(self, keys: Sequence[Any], as_of_us: int | None = None) -> np.ndarray:
        return np.repeat(self.numbers(keys, as_of_us)[:, None], 2, axis=1).astype(np.float32)


class BadKeyBackend(FakeBackend):
    """Refuses every key."""

    def numbers(self, keys: Sequence[Any], as_of_us: int | None) -> np.ndarray:
        raise DataError("a key of the wrong kind")


def send(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """One request, without a port; an error that gets out of the app is raised here."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())
