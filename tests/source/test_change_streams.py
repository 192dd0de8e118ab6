"""One suite that every change stream must pass: the same events lead to the same rows, however they come."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.source.states import State, until_idle

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Column, Schema, SemanticType, Table
from kincast.source.change import ChangeStream, StreamLostError
from kincast.source.kafka import KafkaChanges
from kincast.source.nats import NatsChanges
from kincast.source.redis_stream import RedisChanges

Event = dict[str, Any]

SCHEMA = Schema(
    (
        Table("t", (Column("id", SemanticType.ID, "INTEGER"), Column("n", SemanticType.NUMERICAL, "INTEGER")), ("id",)),
        Table("log", (Column("word", SemanticType.CATEGORICAL, "VARCHAR"),)),
    )
)


class Broker(Protocol):
    """Something that carries messages, with a fresh stream of its own in it.

    Attributes:
        first: rules that refuse what had to be sent before all else.
    """

    first: tuple[str, ...]

    def send(self, messages: Sequence[bytes]) -> None: ...

    def stream(self) -> ChangeStream: ...

    def lose(self) -> None:
        """Forget all messages."""

    def nowhere(self) -> ChangeStream:
        """A stream of a server that is not there."""


class RedisBroker:
    first: tuple[str, ...] = ()

    def __init__(self, url: str) -> None:
        import redis

        self.url, self.key = url, uuid.uuid4().hex
        self.client = redis.Redis.from_url(url, protocol=2)

    def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self.client.xadd(self.key, {"event": message})

    def stream(self) -> ChangeStream:
        return RedisChanges(self.url, self.key, SCHEMA)

    def lose(self) -> None:
        self.client.xtrim(self.key, 0)

    def nowhere(self) -> ChangeStream:
        return RedisChanges("redis://:s3cret@127.0.0.1:1", self.key, SCHEMA)

    def close(self) -> None:
        self.client.close()


class NatsBroker:
    first: tuple[str, ...] = ()

    def __init__(self, url: str) -> None:
        import nats

        self.url, self.subject = url, uuid.uuid4().hex
        self.loop = asyncio.new_event_loop()
        self.client = self.run(nats.connect(url))
        self.run(self.client.jetstream().add_stream(name=self.subject, subjects=[self.subject]))

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self.run(self.client.jetstream().publish(self.subject, message))

    def stream(self) -> ChangeStream:
        return NatsChanges(self.url, self.subject, SCHEMA)

    def lose(self) -> None:
        self.run(self.client.jetstream().purge_stream(self.subject))

    def nowhere(self) -> ChangeStream:
        return NatsChanges("nats://ann:s3cret@127.0.0.1:1", self.subject, SCHEMA)

    def close(self) -> None:
        self.run(self.client.jetstream().delete_stream(self.subject))
        self.run(self.client.close())
        self.loop.close()


class KafkaBroker:
    first: tuple[str, ...] = ("event.json",)  # an empty message, which makes the topic

    def __init__(self, servers: str) -> None:
        import confluent_kafka

        self.servers, self.topic = servers, uuid.uuid4().hex
        self.producer = confluent_kafka.Producer({"bootstrap.servers": servers, "log_level": 0})
        self.send([b""])

    def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            # The same key goes to the same partition, as the sequence that offsets give needs.
            self.producer.produce(self.topic, message, key=_key_of(message))
        assert self.producer.flush(20) == 0

    def stream(self) -> ChangeStream:
        return KafkaChanges(self.servers, self.topic, SCHEMA)

    def lose(self) -> None:
        self.topic = uuid.uuid4().hex  # what a topic is that was deleted and made again
        self.send([b""])

    def nowhere(self) -> ChangeStream:
        return KafkaChanges("127.0.0.1:1", self.topic, SCHEMA)

    def close(self) -> None:
        self.producer.flush(1)


def _key_of(message: bytes) -> bytes:
    try:
        event = json.loads(message)
        return repr((event.get("values") or event.get("key") or {}).get("id")).encode()
    except (ValueError, AttributeError):
        return b""


BROKERS: dict[str, tuple[str, type[RedisBroker] | type[NatsBroker] | type[KafkaBroker], str]] = {
    "redis": ("redis", RedisBroker, "redis_server"),
    "nats": ("nats", NatsBroker, "nats_server"),
    "kafka": ("confluent_kafka", KafkaBroker, "kafka_servers"),
}


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    package, make, server = BROKERS[request.param]
    pytest.importorskip(package, reason=f"needs the client of {request.param}")
    made = make(request.getfixturevalue(server))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kincast.source.redis_stream._WAIT_MS", 100)
    monkeypatch.setattr("kincast.source.nats._WAIT_S", 0.2)
    monkeypatch.setattr("kincast.source.kafka._PATIENCE_S", 2.0)
    monkeypatch.setattr("kincast.source.nats._PATIENCE_S", 2.0)


def put(key: int, n: int, sequence: int | None = None) -> bytes:
    event: Event = {"table": "t", "op": "upsert", "values": {"id": key, "n": n}}
    return json.dumps(event if sequence is None else {**event, "sequence": sequence}).encode()


def drop(key: int, sequence: int | None = None) -> bytes:
    event: Event = {"table": "t", "op": "delete", "key": {"id": key}}
    return json.dumps(event if sequence is None else {**event, "sequence": sequence}).encode()


def word(text: str, id_: str | None = None) -> bytes:
    event: Event = {"table": "log", "op": "insert", "values": {"word": text}}
    return json.dumps(event if id_ is None else {**event, "id": id_}).encode()


def state_of(broker: Broker) -> State:
    state = State(SCHEMA)
    with closing(broker.stream()) as stream:
        until_all(stream, state)
    return state


def until_all(stream: ChangeStream, state: State, acknowledge: bool = True) -> None:
    """Until idle twice in a row: a client may need a moment before the first message comes."""
    for _ in range(2):
        until_idle(stream, state, acknowledge)


def test_the_last_change_of_a_key_holds(broker: Broker) -> None:
    broker.send([put(1, 1), put(2, 1), put(1, 2), drop(2), word("a"), word("a")])
    state = state_of(broker)
    assert state.rows("t") == [{"id": "1", "n": "2"}]
    assert [row["word"] for row in state.rows("log")] == ["a", "a"]


def test_goes_on_where_it_stopped(broker: Broker) -> None:
    state = State(SCHEMA)
    broker.send([put(1, 1), word("a")])
    with closing(broker.stream()) as stream:
        until_all(stream, state)
    broker.send([put(1, 2), word("b")])
    with closing(broker.stream()) as stream:
        taken = until_idle(stream, state) or until_idle(stream, state)
        assert sum(len(changes) for delivery in taken for changes in delivery.changes) == 2
        assert until_idle(stream, state) == []
    assert state.rows("t") == [{"id": "1", "n": "2"}]
    assert len(state.rows("log")) == 2


def test_what_was_not_kept_comes_again_as_the_same(broker: Broker) -> None:
    broker.send([put(1, 1), word("a")])
    with closing(broker.stream()) as stream:
        until_all(stream, State(SCHEMA), acknowledge=False)
    state = State(SCHEMA)
    with closing(broker.stream()) as stream:
        until_all(stream, state, acknowledge=False)
    with closing(broker.stream()) as stream:
        state.position = None
        until_all(stream, state)
    assert state.rows("t") == [{"id": "1", "n": "1"}]
    assert len(state.rows("log")) == 1


def test_sequences_and_ids_put_right_what_comes_late_and_twice(broker: Broker) -> None:
    events = [put(1, 3, 30), drop(2, 20), put(2, 1, 10), put(1, 1, 10), put(1, 3, 30), word("a", "x"), word("a", "x")]
    broker.send(events)
    state = state_of(broker)
    assert state.rows("t") == [{"id": "1", "n": "3"}]
    assert len(state.rows("log")) == 1


def test_messages_that_are_no_changes_are_told(broker: Broker) -> None:
    bad = {
        b"{": "event.json",
        b"[1]": "event.json",
        b"\xff\xfe": "event.json",
        b'{"table": "nope", "values": {}}': "event.table",
        b'{"table": "t", "op": "grow", "values": {"id": 1}}': "event.op",
        b'{"table": "t", "values": {"id": 1}, "sequence": 1.5}': "event.sequence",
        b'{"table": "t", "values": {"id": 1}, "sequence": 9223372036854775808}': "event.sequence",
        b'{"table": "t", "values": [1]}': "event.values",
        b'{"table": "t"}': "event.values",
        b'{"table": "t", "op": "delete"}': "event.key",
        b'{"table": "t", "op": "delete", "key": [1, 2]}': "event.key",
        b'{"table": "log", "op": "delete", "values": {"word": "a"}}': "event.key",
        b'{"table": "log", "values": {"word": "a"}, "id": {}}': "event.id",
    }
    broker.send([put(1, 1), *bad, put(1, 2)])
    state = state_of(broker)
    assert sorted(state.unread) == sorted([*bad.values(), *broker.first])
    assert state.rows("t") == [{"id": "1", "n": "2"}]


def test_says_when_it_was_lost(broker: Broker) -> None:
    state = State(SCHEMA)
    broker.send([put(1, 1), put(2, 1)])
    with closing(broker.stream()) as stream:
        until_all(stream, state)
    broker.send([put(1, 2), put(2, 2), put(1, 4)])
    broker.lose()
    with closing(broker.stream()) as stream, pytest.raises(StreamLostError) as caught:
        next(stream.deliveries(state.position))
    assert "kincast build" in str(caught.value)


def test_says_when_nobody_answers(broker: Broker) -> None:
    with closing(broker.nowhere()) as stream, pytest.raises(SourceError, match="cannot be read") as caught:
        next(stream.deliveries(None))
    assert "s3cret" not in str(caught.value)


EVENTS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=8)


def test_any_order_with_any_repetition_leads_to_the_same_rows(broker: Broker) -> None:
    sent: list[int] = [0]
    state = State(SCHEMA)

    @settings(
        max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None
    )
    @given(EVENTS, st.data())
    def check(events: list[tuple[int, int, bool]], data: st.DataObject) -> None:
        base = sent[0]
        sent[0] += len(events)
        messages, truth = [], {}
        for place, (key, n, gone) in enumerate(events):
            messages.append(drop(key, base + place) if gone else put(key, n, base + place))
            truth[str(key)] = None if gone else str(n)
        repeated = data.draw(st.permutations(messages + data.draw(st.lists(st.sampled_from(messages), max_size=4))))
        cut = data.draw(st.integers(0, len(repeated)))
        broker.send(repeated[:cut])
        with closing(broker.stream()) as stream:
            until_all(stream, state, acknowledge=data.draw(st.booleans()))
        broker.send(repeated[cut:])
        with closing(broker.stream()) as stream:
            until_all(stream, state)
        rows = {row["id"]: row["n"] for row in state.rows("t")}
        assert {key: rows.get(key) for key in truth} == truth

    check()


def test_a_missing_client_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("redis", "nats", "confluent_kafka"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    made: dict[str, Callable[[], ChangeStream]] = {
        "redis": lambda: RedisChanges("redis://localhost", "k", SCHEMA),
        "nats": lambda: NatsChanges("nats://localhost", "k", SCHEMA),
        "kafka": lambda: KafkaChanges("localhost", "k", SCHEMA),
    }
    for extra, make in made.items():
        with pytest.raises(MissingExtraError, match="is not installed") as caught:
            make()
        assert f"kincast[{extra}]" in str(caught.value)
