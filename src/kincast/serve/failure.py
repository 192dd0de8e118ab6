"""Failure: every error as one envelope with a status, a code and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from kincast.errors import DataError, KeyNotFoundError, KincastError, ProjectError
from kincast.serve.message import Failure, FailureBody, encode

JSON = "application/json"
_MAX_SHOWN_KEYS = 100


class Refusal(Exception):  # noqa: N818
    """A request that is answered with a failure.

    Args:
        status: HTTP status, 4xx or 503.
        code: for programs, in snake case.
        message: one sentence for a person.
        keys: the keys it is about.
        headers: to send with it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        keys: Sequence[Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.keys, self.headers = keys, headers

    def response(self, request_id: str | None) -> Response:
        """The envelope as a response."""
        keys = None if self.keys is None else list(self.keys)[:_MAX_SHOWN_KEYS]
        body = encode(FailureBody(Failure(self.code, self.message, keys, request_id)))
        return Response(body, self.status, self.headers, JSON)


def from_backend(error: KincastError, keys: Sequence[Any]) -> Refusal | None:
    """The refusal that an error of the backend means; None when it is the server's own failure.

    Args:
        error: what the backend raised.
        keys: the keys it was asked for.
    """
    if isinstance(error, KeyNotFoundError):
        missing = list(error.keys) or (list(keys) if len(keys) == 1 else None)
        return Refusal(404, "key_not_found", error.what, keys=missing)
    if isinstance(error, ProjectError):
        return Refusal(422, "bad_request", f"{error.what}; {error.hint}" if error.hint else error.what)
    if isinstance(error, DataError):
        return Refusal(422, "bad_key", error.what)
    return None
