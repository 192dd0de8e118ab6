"""The key that ``kincast serve --once`` asks for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from kincast.cli.serve import first_key
from kincast.serve.message import decode_question, encode


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], 7),
        (["é\n"], "é\n"),
        ([True], "True"),
        ([0.125], "0.125"),
        ([Decimal("1.50")], "1.50"),
        ([UUID(int=1)], str(UUID(int=1))),
        ([3, date(2024, 1, 2), False], [3, "2024-01-02", "False"]),
    ],
)
def test_first_key_is_one_the_server_reads(values: list[Any], expected: Any) -> None:
    row = {f"k{place}": value for place, value in enumerate(values)}
    predictor: Any = SimpleNamespace(
        entity_rows=lambda as_of: (np.array([5]), 0),
        keys_of=lambda rows: SimpleNamespace(to_pylist=lambda: [row]),
    )
    key = first_key(predictor)
    assert key == expected
    assert decode_question(encode({"keys": [key]})).keys == [key]
