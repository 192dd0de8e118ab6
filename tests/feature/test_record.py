"""A record holds what was put into it, to the precision of its storage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.feature.record import HEADER_BYTES, file_header, record_type, stored
from kincast.feature.spec import INT8_STEPS, Categorical, Instant, Items, Numeric, TableSpec, Vector
from kincast.project import FeatureStorage

EXTENTS = st.lists(st.floats(1e-6, 8.0), min_size=1, max_size=9)


def spec_of(extents: list[float], num_codes: int = 0, num_instants: int = 0, calendar: bool = False) -> TableSpec:
    return TableSpec(
        "t",
        numeric=tuple(Numeric(f"n{i}", "none", 0.0, 1.0, i % 2 == 1, extent) for i, extent in enumerate(extents)),
        categorical=tuple(Categorical(f"c{i}", ("a",)) for i in range(num_codes)),
        instants=tuple(Instant(f"i{i}") for i in range(num_instants)),
        calendar=calendar,
    )


@given(EXTENTS, st.integers(0, 3), st.integers(0, 2), st.booleans(), st.sampled_from(["float32", "float16", "int8"]))
def test_fields_do_not_touch_and_fill_whole_words(
    extents: list[float], num_codes: int, num_instants: int, calendar: bool, storage: FeatureStorage
) -> None:
    spec = spec_of(extents, num_codes, num_instants, calendar)
    record = record_type(spec, storage)
    assert record.itemsize % 8 == 0
    zeros = np.zeros(2, record)
    for name in record.names or ():
        filled = zeros.copy()
        filled[name] = 1
        for other in record.names or ():
            assert (filled[other] == (1 if other == name else 0)).all()
        assert record.fields is not None
        assert record.fields[name][1] % record[name].base.itemsize == 0
    assert zeros["numbers"].shape == (2, spec.numeric_width)


def test_a_table_without_inputs_has_empty_records() -> None:
    assert record_type(TableSpec("t"), "float32").itemsize == 0


@given(st.data(), EXTENTS)
def test_eight_bits_are_off_by_half_a_step_at_most(data: st.DataObject, extents: list[float]) -> None:
    spec = spec_of(extents)
    scales = spec.int8_scales
    limits = scales.astype(np.float64) * INT8_STEPS
    shares = data.draw(st.lists(st.floats(-1, 1), min_size=len(scales), max_size=len(scales)))
    numbers = (np.array([shares]) * limits).astype(np.float32)
    found = stored(numbers, scales, "int8")
    assert found.dtype == np.int8
    error = np.abs(found.astype(np.float64) * scales - numbers)
    assert (error <= scales * (0.5 + 1e-5)).all()
    beyond = stored((np.sign(numbers) * limits * 3).astype(np.float32), scales, "int8")
    assert set(np.abs(beyond).flatten().tolist()) <= {0, INT8_STEPS}


def test_flags_and_items_keep_their_values_in_eight_bits() -> None:
    spec = TableSpec("t", items=(Items("x", ("a", "b"), None),), vectors=(Vector("v", (0.0,), (1.0,), (4.0,)),))
    scales = spec.int8_scales
    assert len(scales) == spec.numeric_width == 4
    ones = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(stored(ones, scales, "int8") * scales, ones, atol=4.0 / INT8_STEPS / 2)
    np.testing.assert_allclose((stored(ones, scales, "int8") * scales)[:, [0, 1, 3]], 1.0, rtol=1e-6)


@given(st.floats(-8, 8, width=32))
def test_sixteen_bits_are_off_by_a_2048th_at_most(value: float) -> None:
    numbers = np.array([[value]], np.float32)
    found = stored(numbers, np.ones(1, np.float32), "float16").astype(np.float32)
    assert abs(found[0, 0] - value) <= max(abs(value) / 2048, 2.0**-25)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_the_file_is_an_ordinary_array(storage: FeatureStorage) -> None:
    record = record_type(spec_of([1.0, 2.0], 1, 1, True), storage)
    rows = np.zeros(3, record)
    rows["codes"][:, 0] = [7, 8, 9]
    header = file_header(record, 3)
    assert len(header) == HEADER_BYTES
    loaded = np.load(io.BytesIO(header + rows.tobytes()), allow_pickle=False)
    assert loaded.dtype == record
    assert loaded["codes"][:, 0].tolist() == [7, 8, 9]
