"""Report: a list of checks, each with a value, a limit and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a check ended, from best to worst."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


_ORDER = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: the rule in dotted lower case, such as ``key.duplicate``.
        where: what it looked at, such as ``orders.customer_id``.
        verdict: how it ended.
        message: one sentence for a person.
        value: what was measured.
        limit: what it was held against; None where there is none.
        samples: up to three keys or values that show it.
    """

    name: str
    where: str
    verdict: Verdict
    message: str
    value: float | int | str | None = None
    limit: float | int | str | None = None
    samples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "where": self.where,
            "verdict": self.verdict.value,
            "message": self.message,
            "value": self.value,
            "limit": self.limit,
            "samples": list(self.samples),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Checks about one subject, used by ``check``, gates, audits and drift."""

    subject: str
    checks: tuple[Check, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks; ``ok`` when there are none."""
        return max((check.verdict for check in self.checks), key=_ORDER.__getitem__, default=Verdict.OK)

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return self.verdict is not Verdict.FAIL

    def worst_first(self) -> list[Check]:
        """The checks, failures first, otherwise in the order they were made."""
        return sorted(self.checks, key=lambda check: -_ORDER[check.verdict])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"subject": self.subject, "verdict": self.verdict.value, "checks": [c.as_dict() for c in self.checks]}
