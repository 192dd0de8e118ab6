"""Plan: the model plan, a tree of parameters of which each is fixed or has several values to search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kincast.train.search.choice import Choice, Parameter, get, parameters
from kincast.train.search.write import tree_text


def _setting(path: str, words: Mapping[str, str] | None = None, *, is_list: bool = False) -> Any:
    return field(default=None, metadata={"parameter": Parameter("", path, words or {}, is_list)})


def _only(*values: Any) -> Any:
    """A parameter for which there is one way so far."""
    return field(default=None, metadata={"parameter": Parameter("", only=values, searched=False)})


def _job(default: Any) -> Any:
    return field(default=default, metadata={"parameter": Parameter("", searched=False)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """When a trial is given up.

    Attributes:
        min_epochs: none is before.
        k: finished trials there must be to hold it against.
        min_delta: it is worse than their median by more than this,
        patience: in so many epochs, one after another.
    """

    min_epochs: int = _job(2)
    k: int = _job(3)
    min_delta: float = _job(0.0)
    patience: int = _job(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """How plans are tried.

    Attributes:
        num_experiments: trials at most.
        tune_metric: of the validation period, selects epochs and the winner; by default the one of the kind of task.
        pruning: when a trial is given up.
        refit_trainval: the winner learns anew from training and validation labels, for as many epochs as were best.
        refit_full: there is no such thing, since nothing would be left to judge it by.
        manual_seed: of every random draw.
        enable_baselines: they always run.
    """

    num_experiments: int = _job(1)
    tune_metric: str | None = _job(None)
    pruning: Pruning = field(default_factory=Pruning)
    refit_trainval: bool = _job(False)
    refit_full: Choice[bool] | None = _only(False)
    manual_seed: Choice[int] | None = _setting("train.seed")
    enable_baselines: Choice[bool] | None = _only(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProcessing:
    """How columns become numbers."""

    storage: Choice[str] | None = _setting("features.storage")
    text: Choice[str] | None = _setting("features.text")
    vectors: Choice[str] | None = _setting("features.vectors")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborSampling:
    """Which neighbours are read."""

    num_neighbors: Choice[dict[str, Any]] | None = _setting("model.num_neighbors")
    strategy: Choice[Any] | None = _setting("model.sampling")
    link_strategy: Choice[dict[str, Any]] | None = _setting("model.link_sampling")
    max_rows_per_seed: Choice[int | None] | None = _setting("model.max_rows_per_seed")
    neighbourhood: Choice[str] | None = _setting("model.neighbourhood")
    through: Choice[tuple[str, ...]] | None = _setting("model.through", is_list=True)
    sample_from_entity_table: Choice[bool] | None = _only(True)
    adaptive_sampling: Choice[bool] | None = _only(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopping:
    """When training ends before ``max_epochs``."""

    min_delta: Choice[float] | None = _only(0.0)
    patience: Choice[int] | None = _setting("train.patience")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """How weights are found."""

    max_epochs: Choice[int] | None = _setting("train.max_epochs")
    stop_after: Choice[int | None] | None = _setting("train.stop_after")
    max_steps_per_epoch: Choice[int] | None = _setting("train.max_steps_per_epoch")
    batch_size: Choice[int] | None = _setting("train.batch_size")
    num_parts: Choice[int] | None = _setting("train.num_parts")
    precision: Choice[str] | None = _setting("train.precision")
    optimizer: Choice[str] | None = _only("AdamW")
    base_lr: Choice[float] | None = _setting("train.learning_rate")
    weight_decay: Choice[float] | None = _setting("train.weight_decay")
    clip_norm: Choice[float | None] | None = _setting("train.clip_norm")
    lr_scheduler: Choice[str] | None = _only("cosine")
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    loss: Choice[str | None] | None = _setting("train.loss")
    quantiles: Choice[tuple[float, ...]] | None = _setting("train.quantiles", is_list=True)
    class_weights: Choice[bool] | None = _setting("train.class_weights")
    majority_sampling_ratio: Choice[float | None] | None = _setting("train.majority_ratio")
    weight_mode: Choice[str] | None = _setting("train.weights", {"weighted_loss": "loss", "sample": "sample"})
    calibration: Choice[str] | None = _setting("train.calibration")
    blend: Choice[bool] | None = _setting("train.blend")
    start_from: Choice[str | None] | None = _setting("train.start_from")
    freeze_body_epochs: Choice[int] | None = _setting("train.freeze_body_epochs")
    negatives: Choice[str | None] | None = _setting("train.negatives")
    num_negatives: Choice[int] | None = _setting("train.num_negatives")
    n3: Choice[float] | None = _setting("train.n3")


_BODIES = {"GNN": "message_passing", "GraphTransformer": "transformer"}
_TARGETS = {"lookup": "lookup", "feature": "features", "fusion": "fusion"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The network's body."""

    type: Choice[str] | None = _setting("model.kind", _BODIES)
    channels: Choice[int] | None = _setting("model.channels")
    aggregation: Choice[tuple[str, ...]] | None = _setting("model.aggregations", is_list=True)
    messages: Choice[str] | None = _setting("model.messages")
    bridges: Choice[bool] | None = _setting("model.bridges")
    num_heads: Choice[int] | None = _setting("model.heads")
    num_layers: Choice[int] | None = _setting("model.layers")
    dropout: Choice[float] | None = _setting("model.dropout")
    input_dropout: Choice[float] | None = _setting("model.input_dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """What the network is made of."""

    model: Model = field(default_factory=Model)
    own_module: Choice[str | None] | None = _setting("model.module")
    own_module_options: Choice[dict[str, Any]] | None = _setting("model.module_options")
    num_pre_message_passing_layers: Choice[int] | None = _setting("model.pre_layers")
    num_post_message_passing_layers: Choice[int] | None = _setting("model.post_layers")
    activation: Choice[str] | None = _setting("model.activation")
    normalization: Choice[str] | None = _only("layer_norm")
    label_history: Choice[int] | None = _setting("model.label_history")
    lag_timesteps: Choice[int | None] | None = _setting("model.lags")
    year_over_year: Choice[bool] | None = _setting("model.year_over_year")
    module: Choice[str] | None = _setting("model.links")
    scorer: Choice[str] | None = _setting("model.scorer")
    walks: Choice[bool] | None = _setting("model.walks")
    repeats: Choice[bool] | None = _setting("model.repeats")
    target_embedding_mode: Choice[str] | None = _setting("model.item_embedding", _TARGETS)
    output_embedding_dim: Choice[int] | None = _setting("model.output_channels")
    distance_measure: Choice[str] | None = _only("dot_product")
    handle_new_entities: Choice[bool] | None = _only(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """A model plan: what is fixed, what is searched, and how. What it does not say stays as the task's settings say.

    Attributes:
        training_job: trials, pruning, refitting.
        column_processing: how columns become numbers.
        neighbor_sampling: which neighbours are read.
        optimization: how weights are found.
        model_architecture: what the network is made of.
        reasons: name of a parameter → why it is as it is; comments of the file, and no part of the plan.
    """

    training_job: TrainingJob = field(default_factory=TrainingJob)
    column_processing: ColumnProcessing = field(default_factory=ColumnProcessing)
    neighbor_sampling: NeighborSampling = field(default_factory=NeighborSampling)
    optimization: Optimization = field(default_factory=Optimization)
    model_architecture: ModelArchitecture = field(default_factory=ModelArchitecture)
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Parameter → its values, for those that the plan says and that a trial takes one value of."""
        found = {name: get(self, name) for name in PARAMETERS}
        return {name: choice.values for name, choice in found.items() if isinstance(choice, Choice)}

    def space(self) -> dict[str, tuple[Any, ...]]:
        """Parameter → its values, for those that are searched."""
        return {name: values for name, values in self.choices().items() if len(values) > 1}

    def to_yaml(self) -> str:
        """The file's text, with the reasons as comments; ``read_plan`` gives the plan back."""
        return tree_text(self, self.reasons)


PARAMETERS: dict[str, Parameter] = {parameter.name: parameter for parameter in parameters(ModelPlan)}
