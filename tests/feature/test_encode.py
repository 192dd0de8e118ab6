"""Encoding in batches gives what encoding at once gives, and every kind of column survives the way to the store."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from kincast.clock import parse_instant
from kincast.errors import DataError
from kincast.feature import convert, encode
from kincast.feature.encode import encode_rows
from kincast.feature.fit import fit_features
from kincast.feature.spec import FIRST_CODE, MISSING_CODE, UNSEEN_CODE, FeatureSpec, TableSpec
from kincast.feature.store import FeatureStore, RowFeatures, open_features
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import FeatureSettings, FeatureStorage
from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source

TRAINED_UNTIL = parse_instant("2024-06-01")
NUM_ROWS = 300
KINDS = {
    "id": (SemanticType.ID, "BIGINT"),
    "at": (SemanticType.TIMESTAMP, "TIMESTAMP"),
    "amount": (SemanticType.NUMERICAL, "DOUBLE"),
    "paid": (SemanticType.BOOLEAN, "BOOLEAN"),
    "status": (SemanticType.CATEGORICAL, "VARCHAR"),
    "level": (SemanticType.CATEGORICAL, "DOUBLE"),
    "tags": (SemanticType.MULTICATEGORICAL, "VARCHAR[]"),
    "note": (SemanticType.TEXT, "VARCHAR"),
    "place": (SemanticType.VECTOR, "FLOAT[3]"),
    "curve": (SemanticType.SEQUENCE, "DOUBLE[]"),
    "due": (SemanticType.TIMESTAMP, "TIMESTAMP"),
}


def schema_of(kinds: dict[str, tuple[SemanticType, str]]) -> Schema:
    columns = tuple(Column(name, *kind) for name, kind in kinds.items())
    facts = Table("facts", columns, ("id",), RowTime(column="at"))
    return Schema((facts, Table("empty", (Column("id", SemanticType.ID, "BIGINT"),), ("id",))))


def make_snapshot(folder: Path, *, later: str = "", kinds: dict[str, tuple[SemanticType, str]] = KINDS) -> Snapshot:
    """A table with a column of every kind, a row a day; ``later`` is an UPDATE of rows after the training period."""
    path = folder / "facts.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE facts AS SELECT i AS id, TIMESTAMP '2024-01-01' + to_days(CAST(i AS INTEGER)) AS \"at\", "
            ""
            "CASE WHEN i % 7 = 0 THEN NULL ELSE i * 1.5 END AS amount, i % 3 = 0 AS paid, "
            "CASE WHEN i % 11 = 0 THEN NULL ELSE 's' || (i % 4) END AS status, CAST(i % 3 AS DOUBLE) AS level, "
            "CASE WHEN i % 5 = 0 THEN NULL ELSE ['a', 'b' || (i % 2)] END AS tags, "
            "'word' || (i % 6) || ' red' AS note, "
            "CASE WHEN i % 9 = 0 THEN NULL ELSE CAST([i, -i, 2] AS FLOAT[3]) END AS place, "
            "CASE WHEN i % 8 = 0 THEN [] WHEN i % 13 = 0 THEN NULL ELSE [i, NULL, i % 10] END::DOUBLE[] AS curve, "
            f'"at" + INTERVAL 3 DAY AS due FROM range({NUM_ROWS}) t(i)'
        )
        if later:
            connection.execute(f"UPDATE facts SET {later} WHERE \"at\" > TIMESTAMP '2024-06-01'")
        connection.execute("CREATE TABLE empty (id BIGINT)")
    return build_snapshot(open_source(str(path)), schema_of(kinds), folder / "snapshots")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return make_snapshot(tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="module")
def spec(snapshot: Snapshot) -> FeatureSpec:
    return fit_features(snapshot, TRAINED_UNTIL)


def gathered(store: FeatureStore, table: str = "facts") -> RowFeatures:
    return store.tables[table].gather(np.arange(store.snapshot.tables[table].num_rows))


def test_every_kind_of_column_is_an_input(spec: FeatureSpec) -> None:
    facts = spec.table("facts")
    assert set(facts.columns) == set(KINDS) - {"id", "at"}
    assert facts.numeric_width == len(facts.int8_scales)
    assert spec.table("empty").columns == []
    assert FeatureSpec.from_dict(spec.as_dict()) == spec


@pytest.mark.parametrize("batch_rows", [1, 7, 64, 1_000])
def test_batches_of_any_size_give_the_same_records(
    batch_rows: int, snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_rows(
        snapshot.columns("facts", spec.table("facts").columns),
        spec.table("facts"),
        snapshot.tables["facts"].time_us,
        "float32",
    )
    monkeypatch.setattr(encode, "BATCH_ROWS", batch_rows)
    found = gathered(open_features(snapshot, spec, tmp_path))
    assert np.array_equal(found.numbers, whole["numbers"])
    assert np.array_equal(found.codes, whole["codes"])
    assert np.array_equal(found.instants_us, whole["instants"])
    assert np.array_equal(found.instants_us[:, 0], snapshot.tables["facts"].time_us)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_small_storage_is_near_the_large_one(
    storage: FeatureStorage, snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path
) -> None:
    exact = gathered(open_features(snapshot, spec, tmp_path))
    small = fit_features(snapshot, TRAINED_UNTIL, settings=FeatureSettings(storage=storage))
    assert small.digest != spec.digest
    store = open_features(snapshot, small, tmp_path)
    found = gathered(store)
    assert found.numbers.dtype == storage
    assert np.array_equal(found.codes, exact.codes)
    assert np.array_equal(found.instants_us, exact.instants_us)
    scales = store.tables["facts"].scales
    numbers = found.numbers.astype(np.float32) * (1.0 if scales is None else scales)
    known = slice(0, 150)  # the training period: beyond it, 8 bits may stop at what training saw
    error = np.abs(numbers - exact.numbers)[known]
    bound = np.abs(exact.numbers[known]) / 2048 + 1e-7 if scales is None else scales * 0.501
    assert (error <= bound).all()
    assert store.size_bytes < open_features(snapshot, spec, tmp_path).size_bytes


def test_an_empty_table_and_one_without_inputs_have_rows_of_nothing(
    snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path
) -> None:
    found = gathered(open_features(snapshot, spec, tmp_path), "empty")
    assert found.numbers.shape == found.codes.shape == found.instants_us.shape == (0, 0)


LATER = (
    "amount = 1e9, status = 'unheard of', level = 99, tags = ['z', 'z'], note = 'other words', "
    "place = CAST([1e6, 1e6, 1e6] AS FLOAT[3]), curve = [1e7], paid = NULL"
)


def test_nothing_is_learnt_from_rows_after_the_training_period(
    spec: FeatureSpec, snapshot: Snapshot, tmp_path: Path
) -> None:
    changed = make_snapshot(tmp_path, later=LATER)
    assert changed.id != snapshot.id
    assert fit_features(changed, TRAINED_UNTIL) == spec
    assert fit_features(changed, changed.max_time_us).table("facts") != spec.table("facts")


def test_missing_and_unseen_values_of_every_kind(spec: FeatureSpec, tmp_path: Path) -> None:
    """What training never saw, after it: categories have their code, flags are set, numbers stay within bounds."""
    facts = spec.table("facts")
    changed = make_snapshot(tmp_path, later=LATER)
    found = gathered(open_features(changed, spec, tmp_path / "features"))
    late = slice(NUM_ROWS - 5, NUM_ROWS)
    assert (np.abs(found.numbers) <= convert.CLIP).all()
    assert not np.isnan(found.numbers).any()
    assert (found.codes[late] == UNSEEN_CODE).all()
    status = [part.column for part in facts.categorical].index("status")
    assert (found.codes[::11, status][:10] == MISSING_CODE).all()
    assert found.codes[1, status] >= FIRST_CODE
    amount = facts.numeric[0]
    assert (amount.column, amount.flag_missing) == ("amount", True)
    assert found.numbers[[0, 7, 1], 0:2].tolist()[:2] == [[0.0, 1.0], [0.0, 1.0]]
    assert found.numbers[1, 1] == 0.0
    vector = facts.numeric_width - 6 - sum(part.width for part in facts.sequences) - facts.vectors[0].width
    flags = found.numbers[:, vector + 3]
    assert flags[:150].tolist() == [float(row % 9 == 0) for row in range(150)]
    assert not found.numbers[0, vector : vector + 3].any()


def test_vectors_of_another_length_are_refused_in_training_and_missing_later(tmp_path: Path) -> None:
    lists = {**KINDS, "curve": (SemanticType.VECTOR, "DOUBLE[]")}
    snapshot = make_snapshot(tmp_path, kinds=lists)
    with pytest.raises(DataError, match=r"facts\.curve: .* different lengths: 0 and 3") as caught:
        fit_features(snapshot, TRAINED_UNTIL)
    assert "type: sequence" in str(caught.value.hint)
    column = pa.chunked_array([pa.array([[1.0, 2.0], [1.0], None, [1.0, 2.0, 3.0], [3.0, None]])])
    vectors = convert.as_vectors(column, 2)
    assert np.isnan(vectors).tolist() == [[False] * 2, [True] * 2, [True] * 2, [True] * 2, [False, True]]


def test_a_table_with_no_column_to_read_still_has_its_time(tmp_path: Path) -> None:
    kinds = {"id": KINDS["id"], "at": KINDS["at"]}
    path = tmp_path / "facts.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE facts AS SELECT 1 AS id, TIMESTAMP '2024-01-01' AS \"at\"")
        connection.execute("CREATE TABLE empty AS SELECT 5 AS id")
    snapshot = build_snapshot(open_source(str(path)), schema_of(kinds), tmp_path / "snapshots")
    store = open_features(snapshot, fit_features(snapshot, TRAINED_UNTIL), tmp_path / "features")
    assert gathered(store).instants_us.tolist() == [[parse_instant("2024-01-01")]]
    assert gathered(store).numbers.shape == (1, 6)
    assert gathered(store, "empty").numbers.shape == (1, 0)
    assert store.spec.table("empty") == TableSpec("empty")
