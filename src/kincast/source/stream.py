"""Stream: which change stream the settings of a project mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kincast.errors import SourceError
from kincast.project import LiveSettings
from kincast.schema import Schema
from kincast.source.base import Source
from kincast.source.change import ChangeStream
from kincast.source.open import open_source, without_password


def open_stream(settings: LiveSettings, schema: Schema, source: str, base: Path = Path()) -> ChangeStream:
    """Make the stream; nothing is asked of its server yet.

    Args:
        settings: the block ``live`` of the project.
        schema: what the rows look like.
        source: path or URL of the project's database.
        base: folder that relative paths start from.

    Raises:
        SourceError: the database is of another kind than the stream.
        MissingExtraError: it needs an optional package.
    """
    return STREAMS[settings.stream](settings, schema, source, base)


def _postgresql(settings: LiveSettings, schema: Schema, source: str, base: Path) -> ChangeStream:
    from kincast.source.postgres import PostgresSource
    from kincast.source.replication import PostgresChanges

    url = settings.url or source
    found = open_source(url, base)
    if not isinstance(found, PostgresSource):
        what, hint = "this is no PostgreSQL database", "set live.url in kincast.yaml, or live.stream to pull"
        raise SourceError(what, where=without_password(url), hint=hint)
    return PostgresChanges(found, schema, settings.slot, settings.publication)


def _pull(settings: LiveSettings, schema: Schema, source: str, base: Path) -> ChangeStream:
    from kincast.source.pull import PulledChanges

    database: Source = open_source(settings.url or source, base)
    return PulledChanges(database, schema, settings.columns, settings.overlap, settings.every)


def _redis(settings: LiveSettings, schema: Schema, source: str, base: Path) -> ChangeStream:
    from kincast.source.redis_stream import RedisChanges

    return RedisChanges(str(settings.url), settings.topic, schema)


def _nats(settings: LiveSettings, schema: Schema, source: str, base: Path) -> ChangeStream:
    from kincast.source.nats import NatsChanges

    return NatsChanges(str(settings.url), settings.topic, schema)


def _kafka(settings: LiveSettings, schema: Schema, source: str, base: Path) -> ChangeStream:
    from kincast.source.kafka import KafkaChanges

    return KafkaChanges(str(settings.url), settings.topic, schema)


STREAMS: dict[str, Callable[[LiveSettings, Schema, str, Path], ChangeStream]] = {
    "postgresql": _postgresql,
    "pull": _pull,
    "redis": _redis,
    "nats": _nats,
    "kafka": _kafka,
}
"""Kind of stream → what makes it."""
