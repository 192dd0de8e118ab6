"""The tiny shop, staged once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kincast.source.open import open_source
from kincast.source.tables import Tables, stage
from kincast.testing.tiny import tiny_database, tiny_schema


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder: Path = tmp_path_factory.mktemp("tiny")
    with stage(open_source(str(tiny_database(folder))), tiny_schema(), folder / "tables") as tables:
        yield tables
