"""Case files: blocks of a query, a line that starts with =>, and what is expected; # starts a comment line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TARGETS = {
    "churn": "COUNT(orders.*) = 0",
    "growth": "SUM(orders.amount, 0, 30, days) > SUM(orders.amount, -30, 0, days)",
    "basket": "LIST_DISTINCT(orders.product_id) RANK TOP 12",
}
"""The targets that the project file of the cases names."""

FOLDER = Path(__file__).resolve().parents[1] / "cases" / "query"


@dataclass(frozen=True)
class Case:
    """One block: the query, what stands behind the arrow, and the lines below."""

    query: str
    arrow: str
    expected: str

    def __str__(self) -> str:
        return self.query


def read_cases(name: str) -> list[Case]:
    """All blocks of a file; blank lines separate them."""
    cases = []
    for block in (FOLDER / name).read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.split("\n") if line.strip() and not line.startswith("#")]
        if lines:
            arrow = next(i for i, line in enumerate(lines) if line.startswith("=>"))
            query, rest = "\n".join(lines[:arrow]), "\n".join(lines[arrow + 1 :])
            cases.append(Case(query, lines[arrow].removeprefix("=>").strip(), rest))
    return cases
