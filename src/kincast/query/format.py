"""Format: query text → the same query in its canonical form."""

from __future__ import annotations

from dataclasses import dataclass

from kincast.query.highlight import highlight
from kincast.query.parser import parse
from kincast.query.print import print_clauses

MAX_LINE = 100


@dataclass(frozen=True, slots=True)
class Formatted:
    """A query in its canonical form.

    Attributes:
        text: on one line where it is short, else a line a clause; with a line break at the end.
        num_comments: comments of the original, which are left out.
    """

    text: str
    num_comments: int


def format_text(text: str) -> Formatted:
    """Write a query as everyone would.

    Args:
        text: the query as written.

    Raises:
        QueryError: it does not follow the grammar.

    >>> format_text("predict count( o.*,0,1 ) for each c.id ;").text
    'PREDICT COUNT(o.*, 0, 1, days) FOR EACH c.id\\n'
    """
    query = parse(text)
    clauses = print_clauses(query)
    line = " ".join(clauses)
    written = line if len(line) <= MAX_LINE else "\n".join(clauses)
    return Formatted(written + "\n", sum(piece.kind == "comment" for piece in highlight(text)))
