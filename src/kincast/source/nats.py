"""NATS: events out of a JetStream stream of a NATS server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Schema
from kincast.source.base import first_line
from kincast.source.change import REBUILD, Delivery, StreamLostError
from kincast.source.event import Message, read_events
from kincast.source.open import without_password

_CONSUMER = "kincast"
_COUNT = 2_000
_WAIT_S = 0.5
_PATIENCE_S = 5.0


class NatsChanges:
    """A ``ChangeStream`` over a subject that a JetStream stream keeps, one event a message.

    A position is a sequence number of the stream. The durable consumer ``kincast`` is made anew at the position at each
    start, so that nothing waits for an acknowledgement that got lost; what is kept is acknowledged to it.

    Args:
        url: of the server, such as ``nats://localhost:4222``.
        subject: that the events are published to.
        schema: the card.
    """

    def __init__(self, url: str, subject: str, schema: Schema) -> None:
        try:
            import nats  # noqa: F401
        except ImportError:
            raise MissingExtraError("nats-py", "nats") from None
        self.name = f"nats:{subject}"
        self.url, self.subject, self.schema = without_password(url), subject, schema
        self.quarantined: Mapping[str, str] = {}
        self._secret_url = url
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None
        self._consumer: Any = None
        self._unacknowledged: dict[int, Any] = {}

    def prepare(self, position: str | None) -> str:
        """See ``ChangeStream.prepare``."""
        try:
            self._run(self._open(int(position or 0)))
        except StreamLostError:
            return ""
        return position or ""

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """See ``ChangeStream.deliveries``."""
        at = int(position or 0)
        self._run(self._open(at))
        while True:
            found = self._run(self._fetch())
            messages = [(m, m.metadata) for m in found if m.metadata.sequence.stream > at]
            if not messages:
                yield None
                continue
            events = [Message(str(d.sequence.stream), d.sequence.stream, m.data) for m, d in messages]
            changes, unread = read_events(events, self.schema)
            last, about = messages[-1]
            at = about.sequence.stream
            self._unacknowledged[at] = last
            committed_us = int(about.timestamp.timestamp() * 1e6)
            yield Delivery(self.name, str(at), changes, (), committed_us, unread)

    def acknowledge(self, position: str) -> None:
        """See ``ChangeStream.acknowledge``."""
        message = self._unacknowledged.pop(int(position), None)
        if message is not None:
            self._run(message.ack())

    def close(self) -> None:
        """See ``ChangeStream.close``."""
        if not self._loop.is_closed():
            with contextlib.suppress(SourceError):
                self._run(self._leave())
            self._loop.close()

    async def _open(self, at: int) -> None:
        import nats
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
        from nats.js.errors import NotFoundError

        await self._leave()
        self._unacknowledged.clear()
        connecting = nats.connect(
            self._secret_url,
            connect_timeout=_PATIENCE_S,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            error_cb=_ignore,
        )
        self._connection = await asyncio.wait_for(connecting, _PATIENCE_S)
        jetstream = self._connection.jetstream()
        try:
            stream = await jetstream.find_stream_name_by_subject(self.subject)
        except NotFoundError:
            what = f"no stream keeps the subject {self.subject}"
            raise SourceError(what, where=self.url, hint="make one, such as with: nats stream add") from None
        state = (await jetstream.stream_info(stream)).state
        if at and (state.first_seq > at + 1 or state.last_seq < at):
            what = f"stream {stream} no longer has what came after {at}"
            raise StreamLostError(what, where=self.url, hint=REBUILD)
        with contextlib.suppress(NotFoundError):
            await jetstream.delete_consumer(stream, _CONSUMER)
        settings = ConsumerConfig(
            durable_name=_CONSUMER,
            filter_subject=self.subject,
            ack_policy=AckPolicy.ALL,
            ack_wait=3600,
            max_ack_pending=-1,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=at + 1,
        )
        await jetstream.add_consumer(stream, settings)
        self._consumer = await jetstream.pull_subscribe_bind(_CONSUMER, stream)

    async def _fetch(self) -> list[Any]:
        try:
            return list(await self._consumer.fetch(_COUNT, timeout=_WAIT_S))
        except TimeoutError:  # the client's own error, or on a busy machine the event loop's
            if self._connection.is_closed:
                raise
            return []

    async def _leave(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        import nats

        try:
            return self._loop.run_until_complete(work)
        except (TimeoutError, nats.errors.Error, OSError) as error:
            what = f"the stream cannot be read: {first_line(error)}"
            hint = "check that the server is there and keeps streams"
            raise SourceError(what, where=f"{self.url} {self.subject}", hint=hint) from None


async def _ignore(error: Exception) -> None:
    """Errors are raised where they are met; the client would print them as well."""
