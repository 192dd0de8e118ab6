"""Fuzz the query compiler, guided by coverage: whatever the text, a task or a QueryError, and within a second.

    pip install atheris
    python tests/fuzz/fuzz_query.py -runs=10000000 -dict=tests/fuzz/query.dict NEW_INPUTS_FOLDER tests/fuzz/corpus

The folder that comes first takes the inputs that reach new code.
"""

from __future__ import annotations

import sys
import time

import atheris

with atheris.instrument_imports(include=["kincast.query"]):
    from kincast.query.compile import compile_task
    from kincast.query.format import format_text
    from kincast.query.highlight import highlight
    from kincast.query.parser import parse
    from kincast.query.print import print_query

from kincast.errors import QueryError
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
TARGETS = {"churn": "COUNT(orders.*) = 0", "basket": "LIST_DISTINCT(orders.product_id) RANK TOP 12"}
MAX_SECONDS = 1.0


def examine(data: bytes) -> None:
    """Hold one text against everything that must be true of any text."""
    text = data.decode("utf-8", errors="surrogateescape" if data[:1] == b"\xff" else "replace")
    start = time.perf_counter()
    pages = len(data) % 8 == 0  # most runs go to the grammar
    if pages and "".join(piece.text for piece in highlight(text)) != text:
        raise AssertionError("highlighting loses text")
    try:
        query = parse(text)
        if parse(print_query(query)) != query:
            raise AssertionError("the canonical text reads otherwise")
        if pages:
            format_text(text)
        compile_task(text, SCHEMA, TARGETS)
    except QueryError as error:
        str(error)
    if time.perf_counter() - start > MAX_SECONDS:
        raise AssertionError("a text takes longer than a second")


if __name__ == "__main__":
    atheris.Setup(sys.argv, examine)
    atheris.Fuzz()
