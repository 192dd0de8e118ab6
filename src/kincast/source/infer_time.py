"""Inferring times: when the rows of a table came to be, by their own column or through a link."""

from __future__ import annotations

from dataclasses import dataclass

from kincast.schema import Link, RowTime, SemanticType
from kincast.source.cast import same_key_sql
from kincast.source.infer_type import TIME_WORDS
from kincast.source.profile import Bench, ColumnProfile
from kincast.source.words import singular, stem, words

_BEGIN = frozenset(
    words(
        "created creation create registered registration signup joined join ordered order placed purchased purchase "
        "start started opened open sent posted post event occurred inserted issued first begin began submitted from "
        "invoiced added booked logged recorded received played"
    )
)
# Words of dates that say something about a thing, or what became of it later, not when its row came to be.
_NOT_BEGIN = frozenset(
    words(
        "birth birthday dob born death died founded founding established release released expiry expires expiration "
        "due end ended until to updated update modified changed edited edit last closed deleted cancelled canceled "
        "shipped delivered delivery returned scheduled planned retired access accessed activity finished completed "
        "resolved approved paid refunded maturity target deadline"
    )
)
_END_OF = {"start": "end", "from": "to", "begin": "end", "started": "ended", "since": "until", "valid": "valid"}
_DELETED = frozenset({"deleted", "deactivated", "terminated", "removed", "churned"})
# Rows without a time are rejected, so few may lack it.
_MIN_FILLED = 0.98
_MIN_LINKED = 0.99
_MAX_EARLIER = 0.2


@dataclass(frozen=True, slots=True)
class InferredTime:
    """A table's times with their evidence; the sentences are None where there is nothing to say."""

    time: RowTime | None = None
    said: str | None = None
    end_time: str | None = None
    end_said: str | None = None


def infer_times(bench: Bench, links: tuple[Link, ...]) -> list[InferredTime]:
    """Per table, where its rows' time comes from.

    Args:
        bench: the tables, their columns' types decided.
        links: links between them.
    """
    number_of = {table.name: number for number, table in enumerate(bench.tables)}
    times = _Times(bench, links, number_of)
    for number in range(len(bench.tables)):
        times.take_own(number)
    for number in range(len(bench.tables)):
        times.check_own(number)
    found = True
    while found:
        found = bool(sum(times.take_through_link(number) for number in range(len(bench.tables))))
    return [times.result(number) for number in range(len(bench.tables))]


class _Times:
    """What is decided so far; table ``m<number>`` of the bench has the row times (rid, moment) of each timed table."""

    def __init__(self, bench: Bench, links: tuple[Link, ...], number_of: dict[str, int]) -> None:
        self._bench = bench
        self._links = links
        self._number_of = number_of
        self._times: dict[int, RowTime] = {}
        self._said: dict[int, str] = {}
        self._refused: dict[int, set[str]] = {}

    def result(self, number: int) -> InferredTime:
        time = self._times.get(number)
        end = self._end(number, time) if time and time.column else None
        said = self._said.get(number) or self._no_time(number)
        if end is None:
            return InferredTime(time, said)
        return InferredTime(time, said, end, f"when the row of {time.column if time else ''} ends")

    def _no_time(self, number: int) -> str:
        dates = [p.name for p in self._bench.columns[number] if p.column.type is SemanticType.TIMESTAMP]
        said = "no time: taken to have been there always"
        return f"{said}; not when its rows came to be: {', '.join(dates)}" if dates else said

    def take_own(self, number: int) -> None:
        """Decide on the best date column of the table itself."""
        scored = []
        for profile in self._bench.columns[number]:
            score = self._score(number, profile)
            if score > 0 and profile.name not in self._refused.get(number, ()):
                scored.append((score, -profile.index, profile))
        if not scored:
            return
        chosen = max(scored, key=lambda item: item[:2])[2]
        clock = self._clock(number, chosen)
        self._times[number] = RowTime(chosen.name, clock.name if clock else None)
        moment = self._bench.time_sql(chosen, clock)
        self._bench.run(f"CREATE OR REPLACE TABLE m{number} AS SELECT rowid AS rid, {moment} AS moment FROM t{number}")
        filled = self._bench.one(f"SELECT count(moment) FROM m{number}")[0]
        missing = chosen.rows - filled
        others = [item[2].name for item in scored if item[2] is not chosen]
        said = f"own time, {missing:,} rows without" if missing else "own time of every row"
        self._said[number] = said + (f"; other dates: {', '.join(others)}" if others else "")

    def check_own(self, number: int) -> None:
        """Refuse a column when many facts about a row come before it: then it is no beginning."""
        while number in self._times:
            name = self._times[number].column or ""
            earlier = self._earlier(number)
            if earlier is None:
                return
            del self._times[number]
            self._refused.setdefault(number, set()).add(name)
            self.take_own(number)
            if number not in self._times:
                self._said[number] = f"no time: {earlier} rather than after {name}"

    def take_through_link(self, number: int) -> bool:
        """Decide on the link that gives the time to a table without its own; True when one was found."""
        if number in self._times:
            return False
        found: list[tuple[float, float, Link, str]] = []
        for link in self._links:
            target = self._number_of[link.target]
            if self._number_of[link.table] != number or target == number or target not in self._times:
                continue
            share, latest = self._through(link, f"m{number}_{len(found)}")
            found.append((share, latest, link, f"m{number}_{len(found)}"))
        usable = [item for item in found if item[0] >= _MIN_LINKED]
        if not usable or self._waits(number):
            return False
        # A row cannot be there before the rows that it points to, so the latest of them gives its time.
        share, _, link, name = max(usable, key=lambda item: (item[1], item[0]))
        self._bench.run(f"CREATE OR REPLACE TABLE m{number} AS FROM {name}")
        earlier = self._earlier(number)
        if earlier is not None:
            self._said[number] = f"no time: {earlier} rather than after its {link.target}"
            return False
        self._times[number] = RowTime(via=link.columns[0])
        said = "every row has one" if share == 1 else f"{share:.2%} of rows have one"
        self._said[number] = f"time of its row of {link.target}; {said}"
        return True

    def _waits(self, number: int) -> bool:
        """True while a table that this one points to may still get a time."""
        for link in self._links:
            target = self._number_of[link.target]
            if self._number_of[link.table] != number or target in self._times or target == number:
                continue
            onwards = (self._number_of[other.target] for other in self._links if self._number_of[other.table] == target)
            if any(other in self._times and other != number for other in onwards) and target not in self._said:
                return True
        return False

    def _through(self, link: Link, name: str) -> tuple[float, float]:
        """Share of rows that get a time through the link, and their mean time in seconds."""
        bench, source, target = self._bench, self._number_of[link.table], self._number_of[link.target]
        pairs = []
        for a, b in zip(link.columns, link.target_columns, strict=True):
            own, other = self._column(source, a), self._column(target, b)
            pairs.append(same_key_sql(f"s.{own.sql}", own.stored, f"d.{other.sql}", other.stored))
        bench.run(
            f"CREATE OR REPLACE TABLE {name} AS SELECT s.rowid AS rid, any_value(m.moment) AS moment "
            f"FROM t{source} AS s "
            f"JOIN t{target} AS d ON {' AND '.join(pairs)} JOIN m{target} AS m ON m.rid = d.rowid GROUP BY s.rowid"
        )
        rows = bench.columns[source][0].rows
        timed, mean = bench.one(f"SELECT count(moment), avg(epoch(moment)) FROM {name}")
        return (timed / rows if rows else 1.0), mean or 0.0

    def _earlier(self, number: int) -> str | None:
        """A sentence, if rows pointing at this table often came a day or more before its rows did."""
        for link in self._links:
            source = self._number_of[link.table]
            if link.target != self._bench.tables[number].name or source == number or source not in self._times:
                continue
            if self._times[source].column is None:
                continue
            pairs = []
            for a, b in zip(link.columns, link.target_columns, strict=True):
                own, other = self._column(source, a), self._column(number, b)
                pairs.append(same_key_sql(f"s.{own.sql}", own.stored, f"d.{other.sql}", other.stored))
            share = self._bench.one(
                f"SELECT avg(CAST(CAST(ms.moment AS DATE) < CAST(md.moment AS DATE) AS INT)) FROM t{source} AS s "
                f"JOIN m{source} AS ms ON ms.rid = s.rowid JOIN t{number} AS d ON {' AND '.join(pairs)} "
                f"JOIN m{number} AS md ON md.rid = d.rowid"
            )[0]
            if share is not None and share > _MAX_EARLIER:
                return f"{share:.0%} of {link.table} come before"
        return None

    def _score(self, number: int, profile: ColumnProfile) -> int:
        """How much a column looks like the beginning of its row; 0 for not at all."""
        if profile.column.type is not SemanticType.TIMESTAMP:
            return 0
        if profile.rows and profile.filled < _MIN_FILLED * profile.rows:
            return 0
        found = set(words(profile.name))
        if found & _NOT_BEGIN:
            return 0
        own = set(stem(self._bench.tables[number].name))
        plain = all(word in TIME_WORDS or singular(word) in own for word in found)
        return 4 if found & _BEGIN else 3 if plain else 2 if found & TIME_WORDS else 1

    def _clock(self, number: int, date: ColumnProfile) -> ColumnProfile | None:
        """The time of day that goes with a date column."""
        if date.stored != "DATE" and not self._is_midnight(number, date):
            return None
        wanted = tuple("time" if word in ("date", "day") else word for word in words(date.name))
        for profile in self._bench.columns[number]:
            if profile is date or words(profile.name) != wanted:
                continue
            if profile.stored == "TIME" or self._holds_clocks(number, profile):
                return profile
        return None

    def _is_midnight(self, number: int, date: ColumnProfile) -> bool:
        moment = self._bench.time_sql(date)
        return bool(self._bench.one(f"SELECT bool_and({moment} = date_trunc('day', {moment})) FROM t{number}")[0])

    def _holds_clocks(self, number: int, profile: ColumnProfile) -> bool:
        if not profile.is_text or not profile.filled:
            return False
        pattern = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?$"
        share = self._bench.one(f"SELECT avg(CAST(regexp_matches({profile.sql}, '{pattern}') AS INT)) FROM t{number}")[
            0
        ]
        return float(share or 0) >= 0.99

    def _end(self, number: int, time: RowTime) -> str | None:
        """The column with the instant from which a row no longer exists."""
        start = self._column(number, time.column or "")
        own = words(start.name)
        pairs = {tuple(_END_OF.get(word, word) for word in own), tuple(_END_OF.get(w, w) for w in own if w != "date")}
        pairs -= {own}
        for profile in self._bench.columns[number]:
            if profile.column.type is not SemanticType.TIMESTAMP or profile is start:
                continue
            found = words(profile.name)
            if found not in pairs and not (_DELETED & set(found)):
                continue
            after = f"{self._bench.time_sql(profile)} >= {self._bench.time_sql(start)}"
            later = self._bench.one(f"SELECT avg(CAST({after} AS INT)) FROM t{number}")[0]
            if later is None or later >= 0.99:
                return profile.name
        return None

    def _column(self, table: int, name: str) -> ColumnProfile:
        return next(profile for profile in self._bench.columns[table] if profile.name == name)
