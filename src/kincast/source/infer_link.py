"""Inferring links: which columns name a row of which table, by name, type and the values found there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kincast.schema import Link
from kincast.source.infer_key import is_own_key, key_body
from kincast.source.profile import Bench, ColumnProfile
from kincast.source.words import ID_WORDS, names_a_row, names_something, stem, words

# How well a name fits → the least share of values that must be found in the key.
_NEEDED = {4: 0.8, 3: 0.9, 2: 0.95}
# Words for a role that rows of one table have towards each other.
_ROLES = frozenset(
    words(
        "parent referrer referred manager supervisor boss previous prev next root reply original origin duplicate "
        "related child sponsor predecessor successor superior invited inviter"
    )
)
# Odds against all values being found by chance, as a natural logarithm, needed where the name says nothing.
_SURPRISE = 20.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    link: Link
    fit: int
    share: float
    sentence: str


def infer_links(bench: Bench, keys: list[tuple[str, ...]], declared: tuple[Link, ...]) -> dict[Link, str]:
    """Links of all tables with the sentence that says why each is one.

    Args:
        bench: the tables.
        keys: per table its key columns.
        declared: foreign keys of the catalogue; taken as they are.
    """
    links = dict.fromkeys(declared, "declared in the database")
    taken = {(link.table, link.columns) for link in declared}
    for number, table in enumerate(bench.tables):
        for profile in bench.columns[number]:
            if (table.name, (profile.name,)) in taken:
                continue
            best = _best(bench, keys, profile)
            if best is not None:
                links[best.link] = best.sentence
        for link, sentence in _composite(bench, keys, number).items():
            if (link.table, link.columns) not in taken:
                links[link] = sentence
    return links


def _best(bench: Bench, keys: list[tuple[str, ...]], profile: ColumnProfile) -> _Candidate | None:
    """The table a column most likely points to."""
    table = bench.tables[profile.table].name
    is_key = keys[profile.table] == (profile.name,)
    if not _may_refer(profile) or (is_key and is_own_key(table, profile.name)):
        return None
    found = []
    for number, key in enumerate(keys):
        if len(key) != 1 or (number == profile.table and is_key):
            continue
        target = _column(bench, number, key[0])
        fit = _name_fit(bench, profile, target)
        candidate = _measured(bench, profile, target, fit) if _types_fit(profile, target, fit) else None
        if candidate is not None:
            found.append(candidate)
    # A fit of names first, then tables whose key is their own, then the larger share.
    return max(
        found,
        key=lambda c: (c.fit, is_own_key(c.link.target, c.link.target_columns[0]), c.share, c.link.target == table),
        default=None,
    )


def _measured(bench: Bench, profile: ColumnProfile, target: ColumnProfile, fit: int) -> _Candidate | None:
    """The candidate, if enough of its values are keys of the target."""
    table, other = bench.tables[profile.table], bench.tables[target.table]
    link = Link(table.name, (profile.name,), other.name, (target.name,))
    if profile.filled == 0:
        return _Candidate(link, fit, 0.0, "by its name; there are no values to look up") if fit == 4 else None
    if fit == 0 and not _could_surprise(profile, target):
        return None
    values, hits, rows, hit_rows = bench.found((profile,), (target,))
    share = hits / values
    if fit == 0:
        surprise = -hits * math.log(_density(target)) if hits == values else 0.0
        if surprise < _SURPRISE:
            return None
    elif share < _NEEDED[fit]:
        return None
    return _Candidate(link, fit, share, _sentence(values, hits, rows, hit_rows, profile.rows))


def _name_fit(bench: Bench, profile: ColumnProfile, target: ColumnProfile) -> int:
    """How well a column's name says that it points to the target: 4 surely, 3 with a role, 2 likely, 0 not."""
    own_name, key_name = stem(profile.name), stem(target.name)
    table = stem(bench.tables[target.table].name.rsplit(".", 1)[-1])
    body, target_body = key_body(profile.name), key_body(target.name)
    names = names_something(profile.name) or names_a_row(profile.name)
    if target_body and "".join(own_name) == "".join(key_name):
        return 4
    if names and body and "".join(body) in ("".join(table), "".join(target_body)):
        return 4
    if names and target_body and len(target_body) < len(body) and body[-len(target_body) :] == target_body:
        return 3
    if names and body and (body[-len(table) :] == table or table[-len(body) :] == body):
        return 3
    if profile.table == target.table and names and _ROLES & set(body):
        return 2
    in_words = profile.is_text and own_name[-len(table) :] == table  # home_team, of teams named by their name
    return 2 if own_name == table or in_words else 0


def _may_refer(profile: ColumnProfile) -> bool:
    if profile.is_text:
        return profile.urls < 0.5 and profile.num_words <= 3
    whole = profile.whole or profile.filled == 0
    return whole and (profile.stored.endswith("INT") or profile.stored.startswith(("INTEGER", "DECIMAL", "DOUBLE")))


def _types_fit(profile: ColumnProfile, target: ColumnProfile, fit: int) -> bool:
    if profile.is_text == target.is_text:
        return fit > 0 or (names_a_row(profile.name) and stem(profile.name)[-1] in ID_WORDS)
    return fit >= 3  # the text '7' and the number 7


def _could_surprise(profile: ColumnProfile, target: ColumnProfile) -> bool:
    """False where finding every value would prove nothing: few values, or a key without gaps."""
    if profile.distinct > target.distinct:
        return False
    if not profile.is_text and (profile.low < target.low or profile.high > target.high):
        return False
    density = _density(target)
    return density < 1 and -profile.distinct * math.log(density) >= _SURPRISE


def _density(target: ColumnProfile) -> float:
    """Chance that a value drawn from the key's range is a key."""
    if target.is_text or target.distinct == 0:
        return 0.5
    return min(1.0, target.distinct / (float(target.high) - float(target.low) + 1.0))


def _composite(bench: Bench, keys: list[tuple[str, ...]], number: int) -> dict[Link, str]:
    """Links through all columns of a composite key, where the table has columns of the same names."""
    links = {}
    names = {column.name.lower(): column.name for column in bench.tables[number].columns}
    for target, key in enumerate(keys):
        if len(key) < 2 or target == number or not all(name.lower() in names for name in key):
            continue
        columns = tuple(names[name.lower()] for name in key)
        source = tuple(_column(bench, number, name) for name in columns)
        ends = tuple(_column(bench, target, name) for name in key)
        if any(a.is_text != b.is_text for a, b in zip(source, ends, strict=True)):
            continue
        if columns == keys[number] and (source[0].rows, number) > (ends[0].rows, target):
            continue  # one row each: the smaller table points to the larger
        values, hits, rows, hit_rows = bench.found(source, ends)
        if values and hits / values >= _NEEDED[3]:
            link = Link(bench.tables[number].name, columns, bench.tables[target].name, key)
            links[link] = _sentence(values, hits, rows, hit_rows, source[0].rows)
    return links


def _sentence(values: int, hits: int, rows: int, hit_rows: int, all_rows: int) -> str:
    found = f"all {values:,}" if hits == values else f"{_percent(hits, values)} of {values:,}"
    missing = f"; {_percent(all_rows - rows, all_rows)} of rows have none" if rows < all_rows else ""
    orphans = f"; {rows - hit_rows:,} rows point nowhere" if hit_rows < rows else ""
    return f"{found} values found{orphans}{missing}"


def _percent(part: int, whole: int) -> str:
    share = 100.0 * part / whole
    # Never '100 %' or '0 %' when it is not.
    digits = 2 if share > 99.95 or share < 0.05 else 1
    return f"{min(max(share, 0.01), 99.99):.{digits}f} %"


def _column(bench: Bench, table: int, name: str) -> ColumnProfile:
    return next(profile for profile in bench.columns[table] if profile.name == name)
