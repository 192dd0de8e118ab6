"""Redis stream: events out of a stream of a Redis server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Schema
from kincast.source.base import first_line
from kincast.source.change import REBUILD, Delivery, StreamLostError
from kincast.source.event import Message, read_events
from kincast.source.open import without_password

_FIELD = b"event"
_START = "0-0"
_GROUP = "kincast"
_COUNT = 5_000
_WAIT_MS = 500


class RedisChanges:
    """A ``ChangeStream`` over a Redis stream, whose entries hold an event in the field ``event``.

    A position is the id of an entry. What is kept is noted in the stream's consumer group ``kincast``, where Redis' own
    tools show how far behind it is; nothing is removed from the stream.

    Args:
        url: of the server, such as ``redis://localhost:6379/0``.
        key: of the stream.
        schema: the card.
    """

    def __init__(self, url: str, key: str, schema: Schema) -> None:
        try:
            import redis
        except ImportError:
            raise MissingExtraError("redis", "redis") from None
        self.name = f"redis:{key}"
        self.url, self.key, self.schema = without_password(url), key, schema
        self.quarantined: Mapping[str, str] = {}
        self._failures = (redis.RedisError, OSError)
        self._client: Any = redis.Redis.from_url(url, socket_timeout=30, protocol=2)

    def prepare(self, position: str | None) -> str:
        """See ``ChangeStream.prepare``."""
        try:
            self._check(position or _START)
        except StreamLostError:
            return ""
        return position or ""

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """See ``ChangeStream.deliveries``."""
        at = position or _START
        self._check(at)
        while True:
            entries = self._entries(at)
            if not entries:
                yield None
                continue
            messages = [
                Message(id_.decode(), _sequence(id_), fields.get(_FIELD, next(iter(fields.values()), b"")))
                for id_, fields in entries
            ]
            changes, unread = read_events(messages, self.schema)
            at = messages[-1].id
            yield Delivery(self.name, at, changes, (), _milliseconds(at) * 1000, unread)

    def acknowledge(self, position: str) -> None:
        """See ``ChangeStream.acknowledge``."""
        with self._errors():
            self._group()
            self._client.xgroup_setid(self.key, _GROUP, position)

    def close(self) -> None:
        """See ``ChangeStream.close``."""
        self._client.close()

    def _check(self, at: str) -> None:
        """Refuse to go on when entries after the position were removed."""
        with self._errors():
            self._group()
            info = self._client.xinfo_stream(self.key)
        if at == _START:
            return
        removed, newest = info.get("max-deleted-entry-id", b"0-0"), info["last-generated-id"]
        trimmed = _place(removed) > _place(at.encode())
        emptied = info["first-entry"] is None and _place(newest) > _place(at.encode())
        lost = trimmed or emptied or _place(newest) < _place(at.encode())  # the last: it was made anew
        if lost:
            what = f"the stream no longer has what came after {at}"
            raise StreamLostError(what, where=f"{self.url} {self.key}", hint=REBUILD)

    def _group(self) -> None:
        import redis

        try:
            self._client.xgroup_create(self.key, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _entries(self, at: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        with self._errors():
            found = self._client.xread({self.key: at}, count=_COUNT, block=_WAIT_MS)
        return list(found[0][1]) if found else []

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            what = f"the stream cannot be read: {first_line(error)}"
            raise SourceError(what, where=f"{self.url} {self.key}", hint="check that the server is there") from None


def _place(id_: bytes) -> tuple[int, int]:
    milliseconds, _, number = id_.partition(b"-")
    return int(milliseconds), int(number or 0)


def _milliseconds(id_: str) -> int:
    return _place(id_.encode())[0]


def _sequence(id_: bytes) -> int:
    # Ids are milliseconds and a number in them: 41 bits and, up to a million entries in one millisecond, 20.
    milliseconds, number = _place(id_)
    return (milliseconds << 20) + number
