"""Formula 1: label tables computed from queries have exactly the published sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kincast.clock import Span
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import make_labels
from kincast.schema import Link, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage

KEYS = {"races": "raceId", "drivers": "driverId", "results": "resultId", "qualifying": "qualifyId"}
LINKS = (
    Link("results", ("raceId",), "races", ("raceId",)),
    Link("results", ("driverId",), "drivers", ("driverId",)),
    Link("qualifying", ("raceId",), "races", ("raceId",)),
    Link("qualifying", ("driverId",), "drivers", ("driverId",)),
)
TIMES = {
    "races": RowTime(column="date", clock="time"),
    "results": RowTime(via="raceId"),
    "qualifying": RowTime(via="raceId", shift=Span(-1, "days")),
}


def f1_schema(found: Schema) -> Schema:
    """The four tables that the published tasks need, keys and times as the data set's README has them."""

    def table(name: str) -> Table:
        plain = found.table(name)
        numeric = [
            dataclasses.replace(c, type=SemanticType.NUMERICAL) if c.name in ("position", "positionOrder") else c
            for c in plain.columns
        ]
        columns = tuple(
            dataclasses.replace(c, type=SemanticType.TIMESTAMP) if (name, c.name) == ("races", "date") else c
            for c in numeric
        )
        return Table(name, columns, (KEYS[name],), TIMES.get(name))

    return Schema(tuple(table(name) for name in KEYS), LINKS)


@pytest.fixture(scope="module")
def f1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Tables]]:
    opened: list[Tables] = []

    def staged(folder: Path) -> Tables:
        if not opened:
            few = tmp_path_factory.mktemp("f1")
            for name in KEYS:  # the other tables would only take time
                (few / f"{name}.csv").symlink_to(folder / f"{name}.csv")
            source = open_source(str(few))
            opened.append(stage(source, f1_schema(source.inspect()), tmp_path_factory.mktemp("staged") / "tables"))
        return opened[0]

    yield staged
    for tables in opened:
        tables.close()


@pytest.mark.parametrize(
    ("query", "published"),
    [
        (
            "COUNT(results.* WHERE results.statusId != 1, 0, 30, days) > 0 FOR EACH drivers.driverId "
            "ASSUMING COUNT(results.*, 0, 30, days) > 0",
            [11_411, 566, 702],
        ),
        ("MIN(qualifying.position, 0, 30, days) <= 3 FOR EACH drivers.driverId", [1_353, 588, 726]),
        ("AVG(results.positionOrder, 0, 60, days) FOR EACH drivers.driverId", [7_453, 499, 760]),
    ],
    ids=["driver-dnf", "driver-top3", "driver-position"],
)
def test_published_label_tables(
    shared_data: Callable[[str], Path], f1: Callable[[Path], Tables], query: str, published: list[int]
) -> None:
    tables = f1(shared_data("f1"))
    split = SplitSettings(
        validation_start="2005-01-01", test_start="2010-01-01", validation_windows=40, test_windows=40
    )
    labels = make_labels(compile_task(f"PREDICT {query}", tables.schema), tables, split)
    assert [len(labels.of(i)) for i in range(3)] == published
