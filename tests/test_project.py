"""The project file: what is wrong in it is named, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kincast.card import parse_card
from kincast.clock import parse_span
from kincast.errors import ProjectError, SchemaError
from kincast.project import read_project

TASK = "tasks:\n  spend:\n    query: PREDICT ...\n"
FILE = f"source: shop.duckdb\n{TASK}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE + "source: other.duckdb\n", r"kincast\.yaml:5.*'source' is there twice"),
        (FILE + TASK[7:], r"kincast\.yaml:5.*'spend' is there twice"),
        ("[" * 5000, "nested too deeply"),
        ("source: " + "{a: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
        (FILE + "1: 2\n", "kincast.yaml: 1"),
        (FILE + "folder: /etc\n", "kincast.yaml: folder"),
        ("source: !!python/object/apply:os.system ['echo']\n", "not YAML"),
        ('source: "a\\0b"\n', "source.*can have this name"),
        (FILE + f"schema: {'a' * 5000}\n", "schema.*can have this name"),
        (FILE + '    labels: "a\\0b"\n', "labels.*can have this name"),
        (FILE + "    split: {train_start: 2024-01-01T00:00:00+99:00}\n", "cannot be read"),
        (FILE + f"    split: {{step: {'9' * 5000} days}}\n", "not a length of time"),
        (FILE + "    train: {learning_rate: 1.0e+300}\n", "train.learning_rate"),
        (FILE + "    train: {weight_decay: .inf}\n", "train.weight_decay"),
        (FILE + "    train: {seed: -1}\n", "train.seed"),
        (FILE + "    train: {seed: 99999999999999999999}\n", "train.seed"),
        (FILE + "    model: {aggregations: [evil]}\n", "model.aggregations"),
        (FILE + "    model: {fanout: [-2]}\n", "model.fanout"),
        (FILE + "    model: {kind: transformer, channels: 10}\n", "model: 4 heads need channels that they divide"),
        (FILE + "    model: {kind: transformer, messages: attention}\n", "passes no messages; leave messages out"),
        (FILE + "    model: {messages: attention, aggregations: [std]}\n", "attention takes the place of aggregations"),
        (FILE + "    model: {module: 'a:B', bridges: true}\n", "passes no messages; leave bridges out"),
        (FILE + "    model: {module: 'a:B', kind: transformer}\n", "leave kind out"),
        (FILE + "    model: {module: a.B}\n", "model.module"),
        (FILE + "    model: {module_options: {depth: 2}}\n", "module_options belong to module"),
        (FILE + "    model: {bridges: true, fanout: [8]}\n", "fanout needs two hops"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "kincast.yaml").write_text(text)
    with pytest.raises(ProjectError, match=said):
        read_project(tmp_path)


def test_merged_names_and_anchors_are_fine(tmp_path: Path) -> None:
    shared = "    train: &t {seed: 3, max_epochs: 2}\n  more:\n    query: PREDICT ...\n    train: {<<: *t, seed: 4}\n"
    (tmp_path / "kincast.yaml").write_text(FILE + shared)
    project = read_project(tmp_path)
    assert (project.tasks["more"].train.seed, project.tasks["more"].train.max_epochs) == (4, 2)


def test_long_urls_are_fine(tmp_path: Path) -> None:
    url = f"postgresql://ann@db/shop?options={'x' * 300}"
    (tmp_path / "kincast.yaml").write_text(f"source: {url}\n")
    assert read_project(tmp_path).source == url


def test_a_card_nested_too_deeply() -> None:
    with pytest.raises(SchemaError, match="nested too deeply"):
        parse_card("[" * 5000)


def test_a_length_of_time_beyond_reading() -> None:
    with pytest.raises(ProjectError, match="not a length of time"):
        parse_span("9" * 5000 + " days")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("num_neighbors: {hop2: {default: 4}}", "hop1, hop2 and so on, in this order, not hop2"),
        ("num_neighbors: {hop1: {default: 4}}, fanout: [4]", "num_neighbors says it all"),
        ("num_neighbors: {hop1: {default: -2}}", "model.fanout"),
        ("num_neighbors: {hop1: 4}", "model.num_neighbors.hop1"),
        ("sampling: newest", "model.sampling.strategy"),
        ("sampling: recency", "recency and half_life go together"),
        ("sampling: {strategy: uniform, column: w}", "weighted and column go together"),
        ("sampling: {replace: true}", "'last' draws nothing"),
        ("sampling: {window: 0 days}", "longer than nothing"),
        ("link_sampling: {a->b: {strategy: recency}}", "recency and half_life go together"),
        ("max_rows_per_seed: 0", "max_rows_per_seed"),
    ],
)
def test_wrong_neighbourhoods(tmp_path: Path, model: str, said: str) -> None:
    (tmp_path / "kincast.yaml").write_text(FILE + f"    model: {{{model}}}\n")
    with pytest.raises(ProjectError, match=said):
        read_project(tmp_path)


def test_neighbours_by_hop_are_fanouts_and_overrides(tmp_path: Path) -> None:
    by_hop = '{hop1: {default: 16, "U.ID->T.UID": inferred}, hop2: {"U.ID->T.UID": 8}, hop3: {default: -1}}'
    (tmp_path / "kincast.yaml").write_text(FILE + f"    model: {{num_neighbors: {by_hop}, sampling: uniform}}\n")
    model = read_project(tmp_path).tasks["spend"].model
    assert model.fanout == (16, 0, -1)
    assert model.fanout_overrides == {"U.ID->T.UID": ("inferred", 8, -1)}
    assert model.sampling.strategy == "uniform"
    assert type(model).model_validate_json(model.model_dump_json()) == model
