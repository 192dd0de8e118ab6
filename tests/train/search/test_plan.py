"""Model plans: written and read back the same, refused where they are wrong, turned into settings and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from kincast.errors import ProjectError
from kincast.project import FeatureSettings, ModelSettings, TaskSettings, TrainSettings
from kincast.train.search.plan import PARAMETERS, ModelPlan
from kincast.train.search.read import edit_plan, parse_plan, read_plan
from kincast.train.search.resolve import fixed_plan, resolve

PLAN = """
training_job: {num_experiments: 5, refit_trainval: true, pruning: {k: 2}, manual_seed: 7}
column_processing: {storage: [float32, int8]}
neighbor_sampling:
  num_neighbors:
    - {hop1: {default: 16, "a.id->b.a": inferred}, hop2: {default: 8}}
    - {hop1: {default: 4}}
  strategy: [last, {strategy: recency, half_life: 30 days}]
optimization: {base_lr: [1e-4, 0.003], loss: null, quantiles: [0.1, 0.9], early_stopping: {patience: 2}}
model_architecture:
  model: {type: GNN, channels: 32, aggregation: [[sum, mean], [max]]}
  target_embedding_mode: feature
"""


def test_a_plan_reads_back() -> None:
    plan = parse_plan(PLAN)
    assert parse_plan(plan.to_yaml()) == plan
    assert plan.space()["optimization.base_lr"] == (0.0001, 0.003)  # YAML takes 1e-4 for a word
    assert list(plan.space()) == [
        "column_processing.storage",
        "neighbor_sampling.num_neighbors",
        "neighbor_sampling.strategy",
        "optimization.base_lr",
        "model_architecture.model.aggregation",
    ]


def test_settings_take_the_values_at_their_places_and_keep_what_the_plan_does_not_say() -> None:
    settings = TaskSettings(query="PREDICT", model=ModelSettings(label_history=3), train=TrainSettings(patience=9))
    places = {"neighbor_sampling.num_neighbors": 1, "optimization.base_lr": 1, "neighbor_sampling.strategy": 1}
    found, features = resolve(parse_plan(PLAN), places, settings, FeatureSettings(readahead="never"))
    assert (found.model.fanout, found.model.fanout_overrides) == ((4,), {})
    assert (found.train.learning_rate, found.train.seed, found.train.patience) == (0.003, 7, 2)
    assert (found.model.label_history, found.model.item_embedding) == (3, "features")
    assert str(found.model.sampling.half_life) == "30 days"
    assert (features.storage, features.readahead) == ("float32", "never")


def test_settings_become_a_plan_that_says_it_all() -> None:
    settings = TaskSettings(query="PREDICT", labels=Path("own.csv"))
    wanted, features = resolve(parse_plan(PLAN), {"column_processing.storage": 1}, settings, FeatureSettings())
    plan = parse_plan(fixed_plan(wanted, features).to_yaml())
    assert not plan.space()
    other = TaskSettings(query="PREDICT", labels=Path("own.csv"), model=ModelSettings(channels=2, dropout=0.9))
    assert resolve(plan, {}, other, FeatureSettings(text="elsewhere")) == (wanted, features)


def test_every_setting_that_changes_a_model_is_a_parameter() -> None:
    blocks = {"model": ModelSettings, "train": TrainSettings, "features": FeatureSettings}
    settings = {f"{block}.{name}" for block, of in blocks.items() for name in of.model_fields}
    elsewhere = {"model.fanout", "model.fanout_overrides"}  # in num_neighbors
    changing_nothing = {"train.num_threads", "features.readahead"}
    found = {parameter.setting for parameter in PARAMETERS.values() if parameter.setting}
    assert found == settings - elsewhere - changing_nothing


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimization: {base_lrr: 1}", "did you mean base_lr"),
        ("optimization: {channels: 64}", "did you mean model_architecture.model.channels"),
        ("optimisation: {}", "did you mean optimization"),
        ("optimization: {min_steps_per_epoch: 3}", "nearest is optimization.batch_size"),
        ("optimization: {base_lr: [0.1, -1]}", "optimization.base_lr: Input should be greater than 0"),
        ("optimization: {base_lr: []}", "leaves nothing to try"),
        ("optimization: {optimizer: [AdamW, Adagrad]}", "there is only AdamW"),
        ("optimization: 3", "a mapping is expected"),
        ("training_job: {num_experiments: [1, 2]}", "cannot be searched"),
        ("training_job: {num_experiments: 0}", "does not fit"),
        ("training_job: {refit_full: true}", "there is only False"),
        ("model_architecture: {target_embedding_mode: features}", "did you mean feature?"),
        ("model_architecture: {model: {aggregation: [[median]]}}", "aggregation: Input should be"),
        ("neighbor_sampling: {num_neighbors: {hop2: {default: 1}}}", "hop1, hop2 and so on"),
        ("training_job: {manual_seed: 1, manual_seed: 2}", "is there twice"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_meant(text: str, says: str) -> None:
    with pytest.raises(ProjectError) as error:
        parse_plan(text)
    assert says in str(error.value)


def test_messages_have_a_hint_and_a_place(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as missing:
        read_plan(tmp_path / "plan.yaml")
    assert "kincast plan" in str(missing.value)
    with pytest.raises(ProjectError) as unknown:
        edit_plan(ModelPlan(), {"optimization.max_epoch": 1})
    assert "did you mean optimization.max_epochs?" in str(unknown.value)
