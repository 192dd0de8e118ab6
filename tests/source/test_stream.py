"""Stream: which stream the settings mean."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from kincast.clock import Span
from kincast.errors import ProjectError, SourceError
from kincast.project import PROJECT_FILE, LiveSettings, StreamKind, read_project
from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.source.pull import PulledChanges
from kincast.source.stream import STREAMS, open_stream
from kincast.testing.tiny import tiny_database

SCHEMA = Schema((Table("orders", (Column("at", SemanticType.TIMESTAMP, "TIMESTAMP"),), (), RowTime(column="at")),))


def test_every_kind_has_what_makes_it() -> None:
    assert set(STREAMS) == set(get_args(StreamKind))


@pytest.mark.parametrize(("kind", "url", "name"), [
    ("redis", "redis://localhost", "redis:shop"),
    ("nats", "nats://localhost", "nats:shop"),
    ("kafka", "localhost:9092", "kafka:shop"),
    ("postgresql", "postgresql://localhost/shop", "postgresql:mine"),
])  # fmt: skip
def test_made_without_asking_the_server(kind: str, url: str, name: str) -> None:
    settings = LiveSettings.model_validate({"stream": kind, "url": url, "topic": "shop", "slot": "mine"})
    stream = open_stream(settings, SCHEMA, "nowhere")
    assert stream.name == name
    assert stream.quarantined == {}
    stream.close()


def test_pulls_from_the_source_of_the_project(tmp_path: Path) -> None:
    tiny_database(tmp_path)
    (tmp_path / PROJECT_FILE).write_text(
        "source: tiny.duckdb\nlive: {stream: pull, overlap: 1 hour, every: 2 seconds}\n"
    )
    project = read_project(tmp_path)
    assert project.live is not None
    assert project.live.overlap == Span(1, "hours")
    stream = open_stream(project.live, SCHEMA, project.source, project.folder)
    assert isinstance(stream, PulledChanges)
    assert stream.columns == {"orders": "at"}


def test_a_slot_needs_postgresql(tmp_path: Path) -> None:
    tiny_database(tmp_path)
    with pytest.raises(SourceError, match="no PostgreSQL database"):
        open_stream(LiveSettings(stream="postgresql"), SCHEMA, "tiny.duckdb", tmp_path)


@pytest.mark.parametrize("wrong", ["{stream: redis}", "{stream: carrier-pigeon}", "{stream: pull, slot: 'a b'}"])
def test_wrong_settings(tmp_path: Path, wrong: str) -> None:
    (tmp_path / PROJECT_FILE).write_text(f"source: x\nlive: {wrong}\n")
    with pytest.raises(ProjectError, match=r"live"):
        read_project(tmp_path)
    with pytest.raises(ValidationError):
        LiveSettings.model_validate({"stream": "nats"})
