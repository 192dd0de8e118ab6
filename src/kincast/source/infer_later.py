"""Inferring later dates: timestamps written after their row came to be, which tell its future."""

from __future__ import annotations

from kincast.schema import SemanticType
from kincast.source.infer_time import InferredTime
from kincast.source.profile import Bench, ColumnProfile
from kincast.source.words import words

MAX_LATER = 0.05
# Words of dates that are set beforehand and may well lie ahead.
_PLANS = frozenset(
    words("due expiry expires expiration until deadline scheduled planned expected promised estimated target maturity")
)


def later_share(bench: Bench, number: int, profile: ColumnProfile, time: InferredTime) -> float:
    """Share of a timestamp column's values that lie after their row's own time; 0 where they may.

    A row's last access or closing date is not known when the row comes to be. Plans made beforehand are told by their
    names, as is the end of the row's life.

    Args:
        bench: the tables.
        number: of the table.
        profile: the column.
        time: where the table's time comes from.
    """
    if profile.column.type is not SemanticType.TIMESTAMP or time.time is None or not profile.filled:
        return 0.0
    if profile.name in (time.time.column, time.time.clock, time.end_time) or _PLANS & set(words(profile.name)):
        return 0.0
    # Beyond the same day, since dates are often written without their time of day.
    share = bench.one(
        f"SELECT avg(CAST(CAST(v.later AS DATE) > CAST(m.moment AS DATE) AS INT)) "
        f"FROM (SELECT rowid AS rid, {bench.time_sql(profile)} AS later FROM t{number}) AS v "
        f"JOIN m{number} AS m USING (rid) WHERE v.later IS NOT NULL"
    )[0]
    return float(share or 0.0)
