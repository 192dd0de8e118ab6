"""Vectors of unit length: compared by their angle; fitted so that storage in 8 bits still holds them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kincast.feature.convert import vector_inputs
from kincast.feature.fit import _new_fit
from kincast.feature.spec import Vector
from kincast.project import FeatureSettings
from kincast.schema import Column, SemanticType


def test_a_vector_is_divided_by_its_length_and_a_missing_one_is_flagged() -> None:
    spec = Vector("words", (0.0, 0.0), (1.0, 1.0), (1.0, 1.0), unit=True)
    found = vector_inputs(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, np.nan]]), spec)
    assert np.allclose(found, [[0.6, 0.8, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_what_is_fitted_of_unit_vectors_is_how_far_they_reach() -> None:
    fit = _new_fit("papers", Column("words", SemanticType.VECTOR, "DOUBLE[]"), FeatureSettings(vectors="unit"))
    fit.fold(pa.chunked_array([pa.array([[3.0, 4.0], [0.0, 10.0], None])]))
    assert fit.part() == Vector("words", (0.0, 0.0), (1.0, 1.0), (0.6, 1.0), unit=True)
