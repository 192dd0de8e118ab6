"""Project: the file ``kincast.yaml`` as frozen, checked settings, and the paths that follow from it."""

# over budget: every setting of kincast.yaml, in one file

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kincast.clock import Span, parse_instant, parse_span
from kincast.document import read_document
from kincast.errors import KincastError, ProjectError

PROJECT_FILE = "kincast.yaml"


def _span(value: Any) -> Any:
    return parse_span(value) if isinstance(value, str) else value


def _instant(value: Any) -> Any:
    # YAML reads bare dates as dates; their text is ISO.
    return parse_instant(str(value)) if value is not None and not isinstance(value, int) else value


def _word(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


def _place(value: Any) -> Any:
    text = str(value)
    parts = [] if "://" in text else text.split("/")
    if "\0" in text or len(text) > 4_000 or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        raise ValueError("no file or database can have this name")
    return value


SpanField = Annotated[Span, BeforeValidator(_span)]
InstantField = Annotated[int, BeforeValidator(_instant)]
PlaceField = Annotated[Path, AfterValidator(_place)]
Text = Annotated[str, BeforeValidator(_word)]
Fanout = Annotated[int, Field(ge=-1, lt=2**31)] | Literal["inferred"]
Aggregation = Literal["sum", "mean", "max", "min", "std"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu"]
Share = Annotated[float, Field(gt=0, lt=1)]
Ties = Literal["visible", "strict"]
Precision = Literal["float32", "bfloat16"]


class Settings(BaseModel):
    """Base of every settings block: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


SplitFamily = Literal["approx_date_offset", "date_offset", "manual", "random_link", "random", "temporal", "time_range"]
SPLIT_NAMES = ("train", "validation", "test")


class SplitSettings(Settings):
    """Which instants a task is trained and judged at.

    Label windows of different splits never overlap, unless the split is by chance or by hand. Without a family it
    follows from the other settings, or else from the task: see ``docs/reference/splits.md``.

    Attributes:
        family: how labels are told apart.
        step: distance between training anchors; the length of the target window by default.
        eval_step: distance between validation anchors and between test anchors; the window's length by default.
        validation_windows: number of validation anchors.
        test_windows: number of test anchors.
        train_start_us: no training anchor before it.
        end_us: no label looks at facts after it.
        validation_start_us: first validation anchor; then they step forward.
        test_start_us: first test anchor; then they step forward.
        freeze_us: no fact after it is seen by any prediction, whatever its as-of instant.
        shares: of the labels in train, validation and test; for ``approx_date_offset``, ``temporal`` and ``random``.
        offsets: first validation and first test anchor, counted from the newest; for ``date_offset``.
        ranges: split → first instant and end that its windows lie between; for ``time_range``.
        column: of the entity table, says the split of each row; of the fact table where these have several relations;
            for ``manual``.
        values: of that column, for train, validation and test.
        seed: of the draw; for ``random`` and ``random_link``.
    """

    family: SplitFamily | None = None
    step: SpanField | None = None
    eval_step: SpanField | None = None
    validation_windows: int | None = Field(None, ge=1, le=10_000)
    test_windows: int | None = Field(None, ge=1, le=10_000)
    train_start_us: InstantField | None = Field(None, alias="train_start")
    end_us: InstantField | None = Field(None, alias="end")
    validation_start_us: InstantField | None = Field(None, alias="validation_start")
    test_start_us: InstantField | None = Field(None, alias="test_start")
    freeze_us: InstantField | None = Field(None, alias="freeze")
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    offsets: tuple[SpanField, SpanField] | None = None
    ranges: dict[str, tuple[InstantField, InstantField]] = Field(default_factory=dict)
    column: str | None = None
    values: tuple[Text, Text, Text] = SPLIT_NAMES
    seed: int = Field(0, ge=0)

    @property
    def implied(self) -> SplitFamily | None:
        """The family named, or the one that the other settings belong to; None where they leave it open."""
        if self.family is not None:
            return self.family
        if self.column is not None:
            return "manual"
        if self.ranges or self.validation_start_us is not None:
            return "time_range"
        counted = self.validation_windows is not None or self.test_windows is not None
        return "date_offset" if self.offsets is not None or counted else None

    @model_validator(mode="after")
    def _both_starts(self) -> SplitSettings:
        if (self.validation_start_us is None) != (self.test_start_us is None):
            raise ValueError("validation_start and test_start go together")
        starts = (self.validation_start_us, self.test_start_us)
        if starts[0] is not None and starts[1] is not None and starts[0] >= starts[1]:
            raise ValueError("validation_start must come before test_start")
        return self

    @model_validator(mode="after")
    def _family_has_its_settings(self) -> SplitSettings:
        given = {"offsets": self.offsets, "ranges": self.ranges, "column": self.column}
        owners = {"offsets": "date_offset", "ranges": "time_range", "column": "manual"}
        for name, value in given.items():
            if value and self.implied != owners[name]:
                raise ValueError(f"{name} belongs to the family {owners[name]}, not to {self.implied}")
        if self.family == "manual" and self.column is None:
            raise ValueError("the family manual needs column, which says the split of each row")
        if self.family == "time_range" and not self.ranges and self.validation_start_us is None:
            raise ValueError("the family time_range needs ranges, or validation_start and test_start")
        return self

    @model_validator(mode="after")
    def _sound(self) -> SplitSettings:
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError("shares are three numbers above 0 that add up to 1")
        if self.offsets and not self.offsets[0].approx_us < self.offsets[1].approx_us <= 0:
            raise ValueError("offsets count back from the newest anchor, validation first, such as [-60 days, 0 days]")
        if self.ranges:
            if tuple(self.ranges) != SPLIT_NAMES:
                raise ValueError("ranges are train, validation and test, in this order")
            edges = [edge for name in SPLIT_NAMES for edge in self.ranges[name]]
            if edges != sorted(edges) or any(start >= end for start, end in self.ranges.values()):
                raise ValueError("ranges must follow one another without overlapping")
        if len(set(self.values)) != len(self.values):
            raise ValueError("values must differ")
        return self


class SamplingSettings(Settings):
    """Which of the neighbours that a row can see are read; a word alone is its strategy.

    Attributes:
        strategy: ``last`` takes the newest, ``uniform`` draws among all, ``recency`` prefers the new, ``weighted``
            draws by a column, ``all`` takes all wherever the fanout is not 0.
        half_life: of ``recency``: a neighbour this much older is drawn half as often.
        column: of ``weighted``: a column of the neighbours' table with numbers that are not negative; null counts as 0.
        window: only neighbours no older than this at the instant of the prediction.
        replace: draw with replacement: as many as the fanout says wherever there is one.
    """

    strategy: Literal["last", "uniform", "recency", "weighted", "all"] = "last"
    half_life: SpanField | None = None
    column: str | None = None
    window: SpanField | None = None
    replace: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"strategy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sound(self) -> SamplingSettings:
        if (self.strategy == "recency") != (self.half_life is not None):
            raise ValueError("recency and half_life go together")
        if (self.strategy == "weighted") != (self.column is not None):
            raise ValueError("weighted and column go together")
        if self.replace and self.strategy in ("last", "all"):
            raise ValueError(f"'{self.strategy}' draws nothing that could be replaced")
        if any(span is not None and span.approx_us <= 0 for span in (self.half_life, self.window)):
            raise ValueError("half_life and window are longer than nothing")
        return self


FeatureStorage = Literal["float32", "float16", "int8"]


class FeatureSettings(Settings):
    """How the columns of rows become the numbers that a model reads, and how these are kept on disk.

    Attributes:
        storage: of numbers: ``float32``; ``float16``, half as large; or ``int8``, a quarter, in 127 steps either way.
        text: ``hashing`` counts hashed words; otherwise the folder of a local sentence-transformers model.
        vectors: ``standard`` brings each dimension to mean 0 and deviation 1; ``unit`` each vector to length 1, for
            counts of words and embeddings that are compared by their angle.
        readahead: ask the disk for the rows of each batch before reading them: ``always``, ``never``, or ``auto``:
            where the encoded rows are larger than half of the memory.
    """

    storage: FeatureStorage = "float32"
    text: str = Field("hashing", min_length=1)
    vectors: Literal["standard", "unit"] = "standard"
    readahead: Literal["auto", "always", "never"] = "auto"


class ModelSettings(Settings):
    """The shape of the network and of the neighbourhoods it reads.

    Attributes:
        channels: width of every hidden vector.
        fanout: neighbours per hop for each link; one number for each hop. 0 skips, -1 takes all, ``inferred`` is
            8 · sqrt(mean degree at the end of the training period), but at least 64 and at most 512.
        fanout_overrides: per link, as ``customers.customer_id->orders.customer_id``, one number per hop.
        num_neighbors: both in one, by hop: ``{hop1: {default: 16, "customers.customer_id->orders.customer_id": 128},
            hop2: {default: 8}}``; instead of ``fanout`` and ``fanout_overrides``.
        sampling: which neighbours are read: a strategy's name, or ``tasks.NAME.model.sampling`` as below.
        link_sampling: per link, the same.
        max_rows_per_seed: rows of a neighbourhood at most; longer lists of neighbours are cut first.
        neighbourhood: ``tree``: one for each seed, at its instant; ``shared``: one for all seeds of a batch, each row
            in it once, with the same result; for graphs without times, and as many neighbours at every hop of a link.
        through: link tables that are no hop of their own: the rows at their ends are neighbours, their columns unread.
        kind: ``message_passing`` in one layer for each hop, or a ``transformer`` over all rows of a neighbourhood.
        messages: along each link: ``sage`` adds neighbours, combined by ``aggregations``, to what a row is;
            ``attention`` weighs each; ``convolution`` takes the mean of both, for few labels and links between rows
            that are alike.
        bridges: rows hear at once across a table with several foreign keys, besides from its own rows.
        heads: of attention; divides ``channels``.
        layers: of a transformer.
        module: network of your own between encoders and head, ``package.module:Class``; ``docs/how-to/models.md``.
        module_options: further arguments of that class.
        aggregations: how neighbours are combined: any of ``sum``, ``mean``, ``max``, ``min`` and ``std``.
        pre_layers: dense layers of each table before the first messages.
        post_layers: dense layers of each head before its last one.
        activation: of all hidden layers.
        dropout: share of hidden values dropped while training.
        input_dropout: share of the numbers of a row dropped while training; for long vectors, such as words of a text.
        label_history: past labels of a row that are read, each from the end of its window on; 0 for none. With 1, the
            target column of earlier rows is read too: only for one that is filled in with its row.
        lags: past values of a forecast's target that are read; by default twice the steps, but 8 to 60; 0 for none.
        year_over_year: a forecast reads the target's values of the same steps a year before too.
        walks: a score also reads how strongly the item is reached over facts that the entity shares with others; of
            ``pairwise`` and ``context`` links.
        repeats: links to what an entity had before are ranked again; without, only what is new to it is.
        links: ranked by two vectors, ``two_tower``; by the entity's own neighbourhood, ``pairwise``; ``context``: both.
        scorer: of facts of several relations: ``complex`` numbers multiplied, real ones as ``distmult`` does, or turned
            in the plane, ``rotate``; ``docs/how-to/knowledge.md``.
        item_embedding: ``lookup`` learns a vector for each item, ``features`` reads its columns, ``fusion`` adds both.
        output_channels: width of the vectors of entities and items that are multiplied; even for ``complex`` and
            ``rotate``.
    """

    channels: int = Field(64, ge=2, le=1024)
    kind: Literal["message_passing", "transformer"] = "message_passing"
    messages: Literal["sage", "attention", "convolution"] = "sage"
    bridges: bool = False
    heads: int = Field(4, ge=1, le=64)
    layers: int = Field(2, ge=1, le=16)
    module: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    module_options: dict[str, Any] = Field(default_factory=dict)
    fanout: tuple[Fanout, ...] = Field((16, 16), min_length=1, max_length=16)
    fanout_overrides: dict[str, tuple[Fanout, ...]] = Field(default_factory=dict)
    num_neighbors: dict[str, dict[str, Fanout]] = Field(default_factory=dict)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    link_sampling: dict[str, SamplingSettings] = Field(default_factory=dict)
    max_rows_per_seed: int | None = Field(None, ge=1)
    neighbourhood: Literal["tree", "shared"] = "tree"
    through: tuple[str, ...] = ()
    aggregations: tuple[Aggregation, ...] = Field(("sum", "mean", "max"), min_length=1)
    pre_layers: int = Field(0, ge=0, le=4)
    post_layers: int = Field(1, ge=0, le=8)
    activation: Activation = "relu"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    input_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    label_history: int = Field(0, ge=0, le=512)
    lags: int | None = Field(None, ge=0, le=1_000)
    year_over_year: bool = False
    links: Literal["context", "two_tower", "pairwise"] = "context"
    scorer: Literal["complex", "distmult", "rotate"] = "complex"
    walks: bool = True
    repeats: bool = True
    item_embedding: Literal["fusion", "lookup", "features"] = "fusion"
    output_channels: int = Field(32, ge=1, le=256)

    @property
    def num_hops(self) -> int:
        """How many links away the network reads."""
        return len(self.fanout)

    @property
    def reads_walks(self) -> bool:
        """Whether links read what entities reach over shared facts."""
        return self.walks and self.links != "two_tower"

    @model_validator(mode="after")
    def _may_be_shared(self) -> ModelSettings:
        if self.neighbourhood == "shared":
            if any(len(set(hops)) > 1 for hops in (self.fanout, *self.fanout_overrides.values())):
                raise ValueError("a shared neighbourhood needs the same fanout at every hop, such as [-1, -1]")
            if self.max_rows_per_seed is not None:
                raise ValueError("max_rows_per_seed is of trees, not of a shared neighbourhood")
        if self.through and any("inferred" in hops for hops in (self.fanout, *self.fanout_overrides.values())):
            raise ValueError("through needs fanouts that are numbers, not inferred")
        return self

    @model_validator(mode="before")
    @classmethod
    def _by_hop(cls, values: Any) -> Any:
        """Turn ``num_neighbors`` into ``fanout`` and ``fanout_overrides``."""
        hops = values.get("num_neighbors") if isinstance(values, dict) else None
        if not hops or not isinstance(hops, dict) or not all(isinstance(hop, dict) for hop in hops.values()):
            return values
        if "fanout" in values or "fanout_overrides" in values:
            raise ValueError("num_neighbors says it all; leave fanout and fanout_overrides out")
        if list(hops) != [f"hop{number}" for number in range(1, len(hops) + 1)]:
            raise ValueError(f"num_neighbors has hop1, hop2 and so on, in this order, not {', '.join(map(str, hops))}")
        fanout = [hop.get("default", 0) for hop in hops.values()]
        links = dict.fromkeys(name for hop in hops.values() for name in hop if name != "default")
        overrides = {
            name: [hop.get(name, usual) for hop, usual in zip(hops.values(), fanout, strict=True)] for name in links
        }
        rest = {name: value for name, value in values.items() if name != "num_neighbors"}
        return {**rest, "fanout": fanout, "fanout_overrides": overrides}

    @model_validator(mode="after")
    def _one_network(self) -> ModelSettings:
        """Refuse parts of different networks together."""
        attends = self.kind == "transformer" or self.messages == "attention"
        if attends and self.channels % self.heads:
            raise ValueError(f"{self.heads} heads need channels that they divide, not {self.channels}")
        usual = type(self).model_fields
        passes = [n for n in ("messages", "bridges", "aggregations") if getattr(self, n) != usual[n].default]
        if passes and (self.kind == "transformer" or self.module is not None):
            what = "a transformer" if self.module is None else "a module of your own"
            raise ValueError(f"{what} passes no messages; leave {passes[0]} out")
        if self.messages != "sage" and "aggregations" in passes:
            raise ValueError(f"{self.messages} takes the place of aggregations; leave them out")
        if self.messages == "convolution" and self.bridges:
            raise ValueError("convolution takes means of rows that are alike, not across bridges; leave bridges out")
        if self.neighbourhood == "shared" and (self.bridges or self.kind == "transformer" or self.module is not None):
            raise ValueError("bridges, transformers and modules of your own read trees; leave neighbourhood out")
        if self.kind == "transformer" and self.module is not None:
            raise ValueError("a module takes the place of the transformer; leave kind out")
        if self.bridges and self.num_hops < 2:
            raise ValueError("across a bridge is two links away; fanout needs two hops")
        if self.module_options and self.module is None:
            raise ValueError("module_options belong to module")
        return self


class TrainSettings(Settings):
    """How the network is trained.

    Attributes:
        max_epochs: passes over the training seeds at most.
        stop_after: passes after which training ends all the same; the rate falls as if it went on to ``max_epochs``.
        max_steps_per_epoch: batches per pass at most.
        batch_size: seeds per step.
        learning_rate: peak rate of AdamW.
        weight_decay: of AdamW.
        clip_norm: gradients of a step are scaled down to this norm of all together; null for no limit.
        patience: epochs without a better validation metric before stopping.
        loss: what is made small; see ``docs/how-to/kinds.md``; by default the usual one of the kind of task.
        quantiles: of the losses ``quantile`` (one) and ``multi_quantile``.
        blend: weigh the network, boosted trees and a linear model on aggregates against each other on the validation
            period; for binary and multiclass classification and regression. Without it the network answers alone, and
            sooner.
        class_weights: weight classes by inverse frequency; for binary and multiclass classification.
        weights: of a label table of the user's: ``loss`` counts each row so much, ``sample`` draws it so often.
        majority_ratio: rows of the most frequent class at most, for each row of another, drawn anew in every epoch.
        negatives: items that those linked to are told apart from: ``all``, those of the other rows ``in_batch``, or
            ``uniform`` or ``popularity`` draws; by default ``all`` up to 20,000 items, ``in_batch`` beyond.
        num_negatives: drawn for each row by ``uniform`` and ``popularity``; for facts of several relations for each
            batch, all of whose rows share them.
        n3: weight of the cubed lengths of the vectors of a fact, which keeps them small (Lacroix et al. 2018); for
            facts of several relations.
        start_from: a pre-trained network that encoders and body begin as, of ``kincast pretrain``: the name of the task
            it was made for, or its id; see ``docs/how-to/pretraining.md``.
        freeze_body_epochs: first passes in which the heads alone learn, over encoders and body as they are.
        seed: of every random draw.
        num_threads: loader threads; None picks by the machine.
        num_parts: that a batch is worked on in, at once; as many processes at most can train together, and how many do
            changes nothing. Links and shared neighbourhoods are trained in one part.
        precision: of the factors of dense products while the network learns: ``float32``, or ``bfloat16`` where the
            processor multiplies it, which is faster in wide layers (256 channels) and slower in narrow ones (64).
            Weights, validation and predictions are float32 either way.
        calibration: of probabilities, on the validation period: ``temperature``, ``isotonic`` or ``none``; ``auto``
            takes what helps rows it was not fitted on.
    """

    max_epochs: int = Field(12, ge=1)
    stop_after: int | None = Field(None, ge=1)
    max_steps_per_epoch: int = Field(400, ge=1)
    batch_size: int = Field(512, ge=1, le=65_536)
    learning_rate: float = Field(3e-3, gt=0, le=10)
    weight_decay: float = Field(1e-4, ge=0, le=10)
    clip_norm: float | None = Field(1.0, gt=0)
    patience: int = Field(4, ge=1)
    loss: str | None = None
    quantiles: tuple[Share, ...] = Field((0.1, 0.5, 0.9), min_length=1, max_length=99)
    blend: bool = True
    class_weights: bool = False
    weights: Literal["loss", "sample"] = "loss"
    majority_ratio: float | None = Field(None, gt=0)
    negatives: Literal["all", "in_batch", "uniform", "popularity"] | None = None
    num_negatives: int = Field(64, ge=1, le=10_000)
    start_from: str | None = Field(None, min_length=1)
    freeze_body_epochs: int = Field(0, ge=0)
    n3: float = Field(0.05, ge=0, le=10)
    seed: int = Field(0, ge=0, lt=2**31)
    num_threads: int | None = Field(None, ge=1, le=1024)
    num_parts: int = Field(2, ge=1, le=64)
    precision: Precision = "float32"
    calibration: Literal["auto", "temperature", "isotonic", "none"] = "auto"


class PretrainSettings(Settings):
    """What ``kincast pretrain`` learns without labels: what comes next along the links of a row.

    The network and how it is trained are those of the task.

    Attributes:
        entity: table of the rows that are looked at; the task's own by default.
        windows: how far ahead; by default half the task's window and twice the window, 30 days without one.
        step: from one instant to the next; the shortest window by default.
        end_us: nothing after it is looked at; by default the first instant that the task is validated at.
        max_epochs: passes at most.
    """

    entity: str | None = None
    windows: tuple[SpanField, ...] = ()
    step: SpanField | None = None
    end_us: InstantField | None = Field(None, alias="end")
    max_epochs: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _sound(self) -> PretrainSettings:
        spans = self.windows if self.step is None else (*self.windows, self.step)
        if any(span.approx_us <= 0 for span in spans):
            raise ValueError("windows and step are longer than nothing")
        return self


class PredictSettings(Settings):
    """What predictions say.

    Attributes:
        coverage: share of intervals and sets that are to hold the truth, such as 0.9; predictions have none without.
    """

    coverage: Share | None = None


class TaskSettings(Settings):
    """One thing to predict: a query, or a label table of the user's, with its plan.

    Attributes:
        query: the predictive query.
        labels: Parquet or CSV file with the entity's key columns, ``as_of``, ``target`` and ``split``
            (train, validation, test), used instead of computing labels; the query still says what they mean.
        ties: whether a prediction sees facts at its very instant: ``visible`` does, ``strict`` sees earlier ones only.
        pretrain: what ``kincast pretrain`` learns for it without labels.
        predict: what predictions say.
        cohorts: columns of the entity's table, as ``customers.country``, by which the test metrics are shown apart.
        plan: a model plan, searched before the best of it is trained; what it does not say is as here.
        published: metrics published by others, name → metric → text, printed beside ours and marked as quoted.
    """

    query: str
    labels: PlaceField | None = None
    ties: Ties = "visible"
    plan: PlaceField | None = None
    split: SplitSettings = Field(default_factory=SplitSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    pretrain: PretrainSettings = Field(default_factory=PretrainSettings)
    predict: PredictSettings = Field(default_factory=PredictSettings)
    cohorts: tuple[str, ...] = ()
    published: dict[str, dict[str, Text | float]] = Field(default_factory=dict)

    @property
    def strict(self) -> bool:
        """True when facts at the very instant of a prediction are hidden."""
        return self.ties == "strict"


StreamKind = Literal["postgresql", "pull", "redis", "nats", "kafka"]
COMPACT_AFTER_ROWS = 1_000_000


class LiveSettings(Settings):
    """Where changes of the rows come from, for ``kincast ingest``, and when they are folded into the snapshot.

    Attributes:
        stream: kind of stream: ``postgresql`` follows the database's log, ``pull`` asks any database for new rows,
            ``redis``, ``nats`` and ``kafka`` read events.
        url: of the stream's server; the project's ``source`` for ``postgresql`` and ``pull``.
        topic: stream (Redis), subject (NATS) or topic (Kafka) that carries the events.
        slot: replication slot; for ``postgresql``.
        publication: publication, and beginning of the name of the one for tables without a key; for ``postgresql``.
        columns: table → column that grows with every change of a row, instead of the table's time; for ``pull``.
        overlap: rows that are written up to this much later than their column says are found; for ``pull``.
        every: how often the database is asked; for ``pull``.
        compact_after_rows: changes since the snapshot after which whoever takes them in makes the next one of them, in
            a process beside; null never to. A view takes longer, and memory, the more there are.
    """

    stream: StreamKind
    url: str | None = None
    topic: str = "kincast"
    slot: str = Field("kincast", pattern="^[a-z0-9_]{1,63}$")
    publication: str = "kincast"
    columns: dict[str, str] = Field(default_factory=dict)
    overlap: SpanField = Span(5, "minutes")
    every: SpanField = Span(5, "seconds")
    compact_after_rows: int | None = Field(COMPACT_AFTER_ROWS, ge=1)

    @model_validator(mode="after")
    def _has_a_server(self) -> LiveSettings:
        if self.url is None and self.stream in ("redis", "nats", "kafka"):
            raise ValueError(f"the stream {self.stream} needs url, where its server is")
        return self


class Project(Settings):
    """A project: one database, its schema card and what to predict from it.

    Attributes:
        folder: where ``kincast.yaml`` lies; relative paths start here.
        source: path or URL of the database.
        schema_card: path of the schema card.
        tasks: name → what to predict.
        live: where changes of the rows come from; None where they are only read whole.
        targets: name → text of a target, which queries may then name: ``PREDICT churn FOR customers WITHIN 30 days``.
        features: how columns become numbers.
    """

    folder: Path
    source: Annotated[str, AfterValidator(_place)]
    schema_card: PlaceField = Field(Path("schema.yaml"), alias="schema")
    tasks: dict[str, TaskSettings] = Field(default_factory=dict)
    targets: dict[str, str] = Field(default_factory=dict)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    live: LiveSettings | None = None

    @property
    def card_path(self) -> Path:
        """Absolute path of the schema card."""
        return self.folder / self.schema_card

    @property
    def feature_settings(self) -> FeatureSettings:
        """How columns become numbers; the folder of a text model starts at the project's."""
        if self.features.text == "hashing":
            return self.features
        return self.features.model_copy(update={"text": str(self.folder / self.features.text)})

    @property
    def work(self) -> Path:
        """Folder of everything Kincast makes for this project."""
        return self.folder / ".kincast"

    @property
    def snapshots(self) -> Path:
        """Folder of snapshot versions."""
        return self.work / "snapshots"

    @property
    def versions(self) -> Path:
        """Folder of model versions."""
        return self.work / "versions"

    @property
    def pretrained(self) -> Path:
        """Folder of pre-trained networks."""
        return self.work / "pretrained"

    @property
    def store(self) -> Path:
        """Folder of predictions and embeddings."""
        return self.work / "store"

    @property
    def tracking_url(self) -> str:
        """Local MLflow database, used unless ``MLFLOW_TRACKING_URI`` is set."""
        return f"sqlite:///{(self.work / 'mlflow.db').resolve()}"

    def own_labels(self, settings: TaskSettings) -> Path | None:
        """The label table of the user's that a task has; None without."""
        return None if settings.labels is None else self.folder / settings.labels

    def task(self, name: str | None = None) -> tuple[str, TaskSettings]:
        """The task of that name, or the only one.

        Raises:
            ProjectError: there is none of that name, or several and no name.
        """
        if name is None and len(self.tasks) == 1:
            return next(iter(self.tasks.items()))
        if name in self.tasks:
            return name, self.tasks[name]
        names = ", ".join(self.tasks) or "none yet"
        unnamed = "the task's name is needed" if self.tasks else "there is no task"
        what = f"there is no task '{name}'" if name else unnamed
        raise ProjectError(what, where=str(self.folder / PROJECT_FILE), hint=f"tasks: {names}")


def read_project(folder: Path) -> Project:
    """Read ``kincast.yaml`` in a folder.

    Raises:
        ProjectError: it is not there, not YAML, or has unknown or wrong settings.
    """
    path = folder / PROJECT_FILE
    values = _read_values(path)
    if "folder" in values:
        raise ProjectError("the folder is the one the file lies in", where=f"{path}: folder", hint="remove the line")
    try:
        return Project.model_validate({**values, "folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(str(part) for part in first['loc'])}"
        raise ProjectError(first["msg"].removeprefix("Value error, "), where=where) from None
    except KincastError as error:
        raise ProjectError(error.what, where=str(path), hint=error.hint) from None


def _read_values(path: Path) -> dict[Any, Any]:
    try:
        values = read_document(path)
    except FileNotFoundError:
        hint = "kincast init PATH_OR_URL"
        raise ProjectError("there is no project here", where=str(path), hint=hint) from None
    if not isinstance(values, dict):
        raise ProjectError("is empty or not a mapping", where=str(path), hint="it needs at least 'source: PATH_OR_URL'")
    return values
