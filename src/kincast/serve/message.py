"""Message: the bodies of requests and responses, read and written with msgspec."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

Key = int | str | list[int | str]


class Question(Struct, forbid_unknown_fields=True):
    """Which rows, and at which instant.

    Attributes:
        keys: primary keys of the entity's rows; a list of its parts where the key is composite.
        as_of: ISO 8601 instant, UTC unless it names a zone; the newest the data reaches when null.
    """

    keys: list[Key]
    as_of: str | None = None


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


class Prediction(Struct):
    """One row's prediction: ``score`` (binary), ``value`` (regression), or ``class`` with ``probabilities``."""

    key: Key
    score: float | UnsetType = UNSET
    value: float | UnsetType = UNSET
    class_: str | UnsetType = msgspec.field(name="class", default=UNSET)
    probabilities: dict[str, float] | UnsetType = UNSET


class Predictions(Struct):
    """Predictions in the order of the keys, and what made them."""

    version: str
    as_of: str
    snapshot: str
    predictions: list[Prediction]


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


MESSAGES: tuple[type[Struct], ...] = (Question, Rows, Taken, Predictions, Embeddings, FailureBody, Health, VersionBody)
encode = msgspec.json.Encoder().encode
decode_question = msgspec.json.Decoder(Question).decode
decode_rows = msgspec.json.Decoder(Rows).decode


def components() -> dict[str, Any]:
    """JSON Schemas of all messages by name, for the OpenAPI document."""
    _, schemas = msgspec.json.schema_components(MESSAGES, ref_template="#/components/schemas/{name}")
    return dict(schemas)
