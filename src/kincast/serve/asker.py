"""Asker: questions without training over HTTP: one at a time, from a bounded context, for as long as is bearable."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec

from kincast.context.ask import Answer, ask
from kincast.errors import DataError, KincastError, QueryError
from kincast.predict.answer import plain_keys
from kincast.project import Project
from kincast.query.parser import parse
from kincast.serve.failure import Refusal, from_backend
from kincast.serve.message import Asked, AskQuestion

LIMIT_S = 60.0
MAX_KEYS = 1_000


class Asker:
    """Answers about the newest snapshot of a project; safe to call from several requests, of which one is answered.

    Args:
        project: its folders and settings.
        limit_s: seconds after which a question is given up. The work goes on until it ends, and others wait for that.
    """

    def __init__(self, project: Project, limit_s: float = LIMIT_S) -> None:
        self._project, self._limit_s = project, limit_s
        self._busy = threading.Lock()

    async def answer(self, question: AskQuestion) -> Asked:
        """What is known of the rows a question names.

        Raises:
            Refusal: it is wrong, of a kind that is not answered, too large or too slow, or another one is under way.
        """
        keys = _checked_keys(question.query)
        if not self._busy.acquire(blocking=False):
            message = "another question is being answered; ask again in a moment"
            raise Refusal(503, "busy", message, headers={"Retry-After": "5"})
        work = asyncio.get_running_loop().run_in_executor(None, self._work, question)
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting by then
        try:
            return _said(await asyncio.wait_for(asyncio.shield(work), self._limit_s))
        except TimeoutError:
            message = f"no answer within {self._limit_s:g} s; ask with a smaller context, or train a model"
            raise Refusal(503, "too_slow", message, headers={"Retry-After": "60"}) from None
        except KincastError as error:
            raise _refusal(error, keys) from error

    def _work(self, question: AskQuestion) -> Answer:
        try:
            options: dict[str, Any] = {"as_of": question.as_of, "limit": MAX_KEYS, "max_rows": question.context}
            return ask(self._project, question.query, **options)
        finally:
            self._busy.release()


def _checked_keys(query: str) -> list[Any]:
    """The keys that a question names, not too many."""
    try:
        keys = parse(query).entity.keys
    except QueryError as error:
        raise _refusal(error, []) from None
    if keys is None:
        message = "name the rows: FOR table.key IN (...); for all of them there is kincast ask, or kincast predict"
        raise Refusal(422, "no_keys", message)
    if len(keys) > MAX_KEYS:
        raise Refusal(413, "too_many_keys", f"{len(keys):,} keys are more than {MAX_KEYS:,}; ask for fewer at a time")
    return [key[0].value if len(key) == 1 else [part.value for part in key] for key in keys]


def _refusal(error: KincastError, keys: list[Any]) -> Exception:
    """What a question's failure is over HTTP; the error itself where it is the server's own."""
    if isinstance(error, QueryError):
        return Refusal(422, "bad_query", f"{error.where}: {error.what}" + (f"; {error.hint}" if error.hint else ""))
    if isinstance(error, DataError):
        return Refusal(422, "no_answer", f"{error.what}; {error.hint}" if error.hint else error.what)
    return from_backend(error, keys) or error


def _said(answer: Answer) -> Asked:
    keys, outcomes = plain_keys(answer.predictions.keys), answer.predictions.outcomes()
    rows = [{"key": key, **outcome} for key, outcome in zip(keys, outcomes, strict=True)]
    return msgspec.convert({**answer.as_dict(), "predictions": rows}, Asked)
