"""Message: the bodies of requests and responses, read and written with msgspec."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Key = int | str | list[int | str]


class Question(Struct, forbid_unknown_fields=True):
    """Which rows, and at which instant.

    Attributes:
        keys: primary keys of the entity's rows; a list of its parts where the key is composite.
        as_of: ISO 8601 instant, UTC unless it names a zone; the newest the data reaches when null.
        coverage: share of intervals and sets that are to hold the truth; the version's own setting when null.
    """

    keys: list[Key]
    as_of: str | None = None
    coverage: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None


class WhyQuestion(Struct, forbid_unknown_fields=True):
    """Which predictions are to be explained.

    Attributes:
        keys: as of ``Question``.
        as_of: as of ``Question``.
        of: which number of a prediction: a class or label by its name, a step by its number from 1, an item by its
            key; the likeliest class or label, the sum of all steps or the best item when null.
        target: one of several targets by its text; the first when null.
        top: how many reasons of each sort.
    """

    keys: list[Key]
    as_of: str | None = None
    of: Key | None = None
    target: str | None = None
    top: Annotated[int, Meta(ge=1, le=100)] = 5


class AskQuestion(Struct, forbid_unknown_fields=True):
    """A question to the past, answered without training.

    Attributes:
        query: ``PREDICT … FOR table.key IN (…)``.
        as_of: as of ``Question``.
        context: labels that are learnt from, at most.
    """

    query: str
    as_of: str | None = None
    context: Annotated[int, Meta(ge=1, le=10_000)] = 5_000


class Rows(Struct, forbid_unknown_fields=True):
    """Rows of a table that were inserted or updated, or, with ``deleted``, the keys of rows that are gone."""

    table: str
    rows: list[dict[str, Any]]
    deleted: bool = False


class RejectedRow(Struct):
    """A row that a rule rejects: its place among those sent, from 0, and the rule."""

    row: int
    rule: str


class Taken(Struct):
    """What became of rows: how many join the graph, which are rejected, and their record in the log."""

    table: str
    kept: int
    rejected: list[RejectedRow]
    record: int


class Step(Struct):
    """One step of a forecast: the value over the time after ``from`` and up to ``until``, and its interval."""

    from_: str = msgspec.field(name="from")
    until: str
    value: float
    low: float | UnsetType | None = UNSET
    high: float | UnsetType | None = UNSET


class Item(Struct, omit_defaults=True):
    """One of the ranked: the ``key`` of a row that is linked to, or a ``label``; the best come first."""

    score: float
    key: Key | None = None
    label: str | None = None


class Outcome(Struct, omit_defaults=True):
    """What is predicted.

    ``score`` (binary), ``value`` (regression), ``class`` with ``probabilities``, ``labels`` with ``probabilities``,
    ``steps`` (forecast), or ``items`` (ranked labels and links). Where a coverage is asked for, ``low`` and ``high``
    of a value, null where nothing can be promised, and ``classes``, those that are not ruled out.
    """

    score: float | UnsetType = UNSET
    value: float | UnsetType = UNSET
    low: float | UnsetType | None = UNSET
    high: float | UnsetType | None = UNSET
    class_: str | UnsetType = msgspec.field(name="class", default=UNSET)
    classes: list[str] | UnsetType = UNSET
    labels: list[str] | UnsetType = UNSET
    probabilities: dict[str, float] | UnsetType = UNSET
    steps: list[Step] | UnsetType = UNSET
    items: list[Item] | UnsetType = UNSET


class Prediction(Outcome, kw_only=True):
    """One row's prediction; of a query of several targets ``targets`` has that of each by its text."""

    key: Key
    targets: dict[str, Outcome] | UnsetType = UNSET


class Predictions(Struct):
    """Predictions in the order of the keys, and what made them."""

    version: str
    as_of: str
    snapshot: str
    predictions: list[Prediction]


class Measured(Struct):
    """A metric with the ends of its 95 % interval; null where it says nothing."""

    value: float | None
    low: float | None
    high: float | None


class HeldOut(Struct):
    """What answers were worth on the newest labels: how many, and the metric of each method."""

    rows: int
    metric: str
    values: dict[str, Measured]


class Asked(Struct):
    """Answers without training in the order of the keys, and how they came about.

    Attributes:
        query: as it was understood.
        as_of: the instant.
        snapshot: whose rows they are from.
        predictions: of the rows that exist then and pass the filter.
        left_out: how many of the keys do not.
        trained: false: nothing was saved.
        method: what answered: the learner, or a rule.
        why: why a rule; empty otherwise.
        context_rows: labels learnt from.
        context_instants: of how many instants.
        context_from: the earliest.
        context_until: the latest.
        held_out: what such answers were worth.
        seconds: it took.
    """

    query: str
    as_of: str
    snapshot: str
    predictions: list[Prediction]
    left_out: int
    trained: bool
    method: str
    why: str
    context_rows: int
    context_instants: int
    context_from: str
    context_until: str
    held_out: HeldOut
    seconds: float


class Embedding(Struct):
    """One row's embedding."""

    key: Key
    embedding: list[float]


class Embeddings(Struct):
    """Embeddings in the order of the keys; ``source`` is ``store`` or ``computed``."""

    version: str
    as_of: str
    snapshot: str
    source: str
    embeddings: list[Embedding]


class ColumnReason(Struct, omit_defaults=True):
    """A column of one row: what it adds, and what the number changes by against the column at its average."""

    column: str
    value: int | float | str | bool | None
    amount: float
    change: float | UnsetType = UNSET


class RowReason(Struct):
    """A linked row: what the number changes by against none in its place, and the columns that add most."""

    table: str
    key: Key | None
    time: str | None
    change: float
    columns: list[ColumnReason]


class LinkReason(Struct):
    """All rows along a link: how many, and what the number changes by against none."""

    link: str
    rows: int
    change: float


class ColumnTotal(Struct):
    """A column over all rows that were read: what it adds."""

    table: str
    column: str
    rows: int
    amount: float


class PastReason(Struct):
    """Past values of a forecast: what the number changes by against none known, and those that add most."""

    change: float
    values: list[ColumnReason]


class Explanation(Struct, omit_defaults=True):
    """What moved one number of a prediction.

    ``change`` is exact: the number minus what it is without. ``amount`` is by integrated gradients: those of
    ``columns``, ``rest``, ``past`` and ``item`` add up to ``score`` minus ``average``, but for ``missed``.
    """

    key: Key
    as_of: str
    of: dict[str, Any]
    noun: str
    score: float
    average: float
    num_rows: int
    num_tried: int
    links: list[LinkReason]
    rows: list[RowReason]
    own: list[ColumnReason]
    columns: list[ColumnTotal]
    rest: float
    missed: float
    past: PastReason | UnsetType = UNSET
    item: list[ColumnReason] | UnsetType = UNSET


class Explanations(Struct):
    """Explanations in the order of the keys, and what made the predictions."""

    version: str
    snapshot: str
    explanations: list[Explanation]


class Failure(Struct, omit_defaults=True):
    """What went wrong: ``code`` for programs, ``message`` for people, the ``keys`` it is about, the request's id."""

    code: str
    message: str
    keys: list[Key] | None = None
    request_id: str | None = None


class FailureBody(Struct):
    """The body of every answer that is not a success."""

    error: Failure


class Health(Struct):
    """``live``, ``ready`` or ``loading``."""

    status: str


class VersionBody(Struct):
    """The version that answers."""

    version: str
    task: str
    query: str
    kind: str
    entity: str
    key: list[str]
    classes: list[str]
    snapshot: str
    trained: str
    code_version: str


MESSAGES: tuple[type[Struct], ...] = (
    Question,
    WhyQuestion,
    AskQuestion,
    Rows,
    Taken,
    Predictions,
    Asked,
    Explanations,
    Embeddings,
    FailureBody,
    Health,
    VersionBody,
)
encode = msgspec.json.Encoder().encode
decode_question = msgspec.json.Decoder(Question).decode
decode_why = msgspec.json.Decoder(WhyQuestion).decode
decode_ask = msgspec.json.Decoder(AskQuestion).decode
decode_rows = msgspec.json.Decoder(Rows).decode


def components() -> dict[str, Any]:
    """JSON Schemas of all messages by name, for the OpenAPI document."""
    _, schemas = msgspec.json.schema_components(MESSAGES, ref_template="#/components/schemas/{name}")
    return dict(schemas)
