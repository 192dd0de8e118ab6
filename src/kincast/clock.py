"""Instants and spans: every instant inside Kincast is an int64 count of microseconds since 1970 UTC."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from kincast.errors import ProjectError

Unit = Literal["seconds", "minutes", "hours", "days", "weeks", "months", "years"]

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
_UNIT_US: dict[str, int] = {
    "seconds": SECOND_US,
    "minutes": 60 * SECOND_US,
    "hours": 3600 * SECOND_US,
    "days": DAY_US,
    "weeks": 7 * DAY_US,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time: exact for units up to weeks, by the calendar for months and years.

    >>> str(Span(30, "days"))
    '30 days'
    """

    count: int
    unit: Unit = "days"

    def __str__(self) -> str:
        return f"{self.count} {self.unit if abs(self.count) != 1 else self.unit[:-1]}"

    def __neg__(self) -> Span:
        return Span(-self.count, self.unit)

    def __mul__(self, times: int) -> Span:
        return Span(self.count * times, self.unit)

    @property
    def is_calendar(self) -> bool:
        """True for months and years, whose length depends on where they start."""
        return self.unit in ("months", "years")

    @property
    def approx_us(self) -> int:
        """Length in microseconds; a month counts as 30.436875 days."""
        if self.is_calendar:
            return int(self.months * 30.436875 * DAY_US)
        return self.count * _UNIT_US[self.unit]

    @property
    def months(self) -> int:
        """Length in calendar months; 0 for exact units."""
        return {"months": 1, "years": 12}.get(self.unit, 0) * self.count


def parse_span(text: str) -> Span:
    """Read ``30 days`` or ``-1 month``; units may be singular or plural, in any case.

    Raises:
        ProjectError: the text is not a whole number and a unit.

    >>> parse_span("1 month")
    Span(count=1, unit='months')
    """
    match = re.fullmatch(r"\s*([+-]?\d{1,18})\s*([A-Za-z]+)\s*", text)
    if match:
        unit = match[2].lower()
        unit = unit if unit.endswith("s") else unit + "s"
        for known in get_args(Unit):
            if unit == known:
                return Span(int(match[1]), known)
    units = ", ".join(get_args(Unit))
    raise ProjectError(f"'{text}' is not a length of time", hint=f"write a whole number and one of {units}")


def add(instant_us: int, span: Span) -> int:
    """Move an instant by a span; by the calendar (day clipped to the month's end) for months and years.

    >>> format_instant(add(parse_instant("2024-01-31"), Span(1, "months")))
    '2024-02-29'
    """
    if not span.is_calendar:
        return instant_us + span.approx_us
    start = _EPOCH + timedelta(microseconds=instant_us)
    month = start.year * 12 + start.month - 1 + span.months
    year, month = divmod(month, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return to_us(start.replace(year=year, month=month + 1, day=day))


def parse_instant(text: str) -> int:
    """Read an ISO 8601 date or date-time as microseconds UTC; without a zone it is taken as UTC.

    Raises:
        ProjectError: the text is not a date or date-time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ProjectError(f"'{text}' is not a date", hint="write it as 2024-01-31 or 2024-01-31 13:00:00") from None
    return to_us(moment)


def to_us(moment: datetime) -> int:
    """Microseconds UTC of a datetime; a naive one is taken as UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def format_instant(instant_us: int) -> str:
    """ISO text of an instant: the date alone at midnight, else date and time to the second or microsecond."""
    moment = (_EPOCH + timedelta(microseconds=int(instant_us))).replace(tzinfo=None)
    if moment.hour == moment.minute == moment.second == moment.microsecond == 0:
        return moment.date().isoformat()
    return moment.isoformat(sep=" ")
