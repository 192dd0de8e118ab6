"""Kafka: events out of a topic of a Kafka cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Schema
from kincast.source.base import first_line
from kincast.source.change import REBUILD, Delivery, StreamLostError
from kincast.source.event import Message, read_events

_GROUP = "kincast"
_COUNT = 5_000
_WAIT_S = 0.5
_PATIENCE_S = 10.0


class KafkaChanges:
    """A ``ChangeStream`` over all partitions of a topic, one event a message.

    A position is the next offset of each partition. Where events name no sequence, offsets count, so a key must always
    be written to the same partition, as Kafka's own partitioner does. What is kept is committed to the consumer group
    ``kincast``, where Kafka's tools show how far behind it is.

    Args:
        servers: such as ``localhost:9092,other:9092``; ``kafka://`` before it is allowed.
        topic: name of the topic.
        schema: the card.
    """

    def __init__(self, servers: str, topic: str, schema: Schema) -> None:
        try:
            import confluent_kafka
        except ImportError:
            raise MissingExtraError("confluent-kafka", "kafka") from None
        self.name = f"kafka:{topic}"
        self.servers, self.topic, self.schema = servers.removeprefix("kafka://"), topic, schema
        self.quarantined: Mapping[str, str] = {}
        self._kafka = confluent_kafka
        self._consumer: Any = None
        self._failure: str | None = None

    def prepare(self, position: str | None) -> str:
        """See ``ChangeStream.prepare``."""
        try:
            self._open(_read_position(position))
        except StreamLostError:
            return ""
        return position or ""

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        """See ``ChangeStream.deliveries``."""
        offsets = self._open(_read_position(position))
        while True:
            found = self._consume()
            if not found:
                yield None
                continue
            events, newest_ms = [], 0
            for message in found:
                place = f"{message.partition()}:{message.offset()}"
                events.append(Message(place, message.offset(), message.value() or b""))
                offsets[message.partition()] = message.offset() + 1
                newest_ms = max(newest_ms, message.timestamp()[1])
            changes, unread = read_events(events, self.schema)
            yield Delivery(self.name, _write_position(offsets), changes, (), newest_ms * 1000, unread)

    def acknowledge(self, position: str) -> None:
        """See ``ChangeStream.acknowledge``."""
        if self._consumer is None:
            return
        places = [self._place(partition, offset) for partition, offset in _read_position(position).items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except self._kafka.KafkaException as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """See ``ChangeStream.close``."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _open(self, offsets: dict[int, int]) -> dict[int, int]:
        """Read from the offsets given, and from the beginning of partitions that are new; returns where each is."""
        self.close()
        self._consumer = self._kafka.Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": _GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "socket.timeout.ms": int(_PATIENCE_S * 1000),
                "error_cb": self._note,
                "log_level": 0,
            }
        )
        places = {}
        try:
            topic = self._consumer.list_topics(self.topic, _PATIENCE_S).topics[self.topic]
            if topic.error is not None or not topic.partitions:
                raise SourceError(f"there is no topic {self.topic}", where=self.servers, hint="make it first")
            for partition in topic.partitions:
                low, high = self._consumer.get_watermark_offsets(self._place(partition, 0), _PATIENCE_S)
                place = offsets.get(partition, low)
                if not low <= place <= high:
                    what = f"partition {partition} of topic {self.topic} no longer has what came after {place - 1}"
                    raise StreamLostError(what, where=self.servers, hint=REBUILD)
                places[partition] = place
            self._consumer.assign([self._place(partition, offset) for partition, offset in places.items()])
        except self._kafka.KafkaException as error:
            raise self._failed(error) from None
        return places

    def _consume(self) -> list[Any]:
        self._failure = None
        try:
            found = self._consumer.consume(_COUNT, _WAIT_S)
        except self._kafka.KafkaException as error:
            raise self._failed(error) from None
        for message in found:
            if message.error() is not None:
                raise SourceError(f"the topic cannot be read: {message.error().str()}", where=self.servers)
        if not found and self._failure is not None:
            raise SourceError(f"the topic cannot be read: {self._failure}", where=self.servers)
        return list(found)

    def _note(self, error: Any) -> None:
        if error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN:
            self._failure = error.str()

    def _place(self, partition: int, offset: int) -> Any:
        return self._kafka.TopicPartition(self.topic, partition, offset)

    def _failed(self, error: Exception) -> SourceError:
        reason = error.args[0].str() if error.args and hasattr(error.args[0], "str") else first_line(error)
        what = f"the topic cannot be read: {reason}"
        return SourceError(what, where=f"{self.servers} {self.topic}", hint="check that the servers are there")


def _read_position(position: str | None) -> dict[int, int]:
    return {int(partition): offset for partition, offset in json.loads(position or "{}").items()}


def _write_position(offsets: Mapping[int, int]) -> str:
    return json.dumps({str(partition): offset for partition, offset in sorted(offsets.items())})
