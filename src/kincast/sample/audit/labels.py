"""Labels: leaks between labels and features or between splits, read off the labels themselves. Certain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kincast.clock import format_instant
from kincast.report import Check, Verdict
from kincast.sample.audit.subject import UNKNOWN_US, Facts, Outcomes

WORDS = ("train", "validation", "test")


def windows(outcomes: Outcomes) -> Iterator[Check]:
    """Label windows that reach into what features see, or into the time of a later split."""
    if outcomes.visible_us is not None:
        start = outcomes.as_of_us + outcomes.start_us
        over = int((outcomes.visible_us > start).sum())
        what = (
            f"{over:,} predictions see facts of their own label's window" if over else "features end where labels begin"
        )
        yield Check("label.window", outcomes.entity, Verdict.FAIL if over else Verdict.OK, what, over, 0)
    if outcomes.frozen:
        return
    if outcomes.window_us is None:
        what = "could not run: the length of the target's window is not known"
        yield Check("label.window", outcomes.entity, Verdict.FAIL, what)
        return
    known = outcomes.as_of_us + outcomes.window_us
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        before, after = outcomes.split == earlier, outcomes.split == later
        if not before.any() or not after.any():
            continue
        first = int(outcomes.as_of_us[after].min())
        over = int((known[before] > first).sum())
        where = f"{WORDS[earlier]} and {WORDS[later]}"
        what = f"{WORDS[earlier]} labels are known before {WORDS[later]} begins"
        if over:
            what = (
                f"{over:,} of {int(before.sum()):,} {WORDS[earlier]} labels are known only after "
                f"{format_instant(first)}, when {WORDS[later]} begins"
            )
        bad = Verdict.WARN if outcomes.by_chance else Verdict.FAIL
        yield Check("label.window", where, bad if over else Verdict.OK, what, over, 0)


def splits(outcomes: Outcomes) -> Iterator[Check]:
    """Splits by row instead of by time: training on what comes after the test."""
    if len(np.unique(outcomes.as_of_us)) == 1:
        what = "all labels have one instant, so the split does not follow time"
        yield Check("split.row", outcomes.entity, Verdict.NOTE, what)
        return
    last = int(outcomes.as_of_us[outcomes.split == 0].max(initial=UNKNOWN_US))
    for later in (1, 2):
        after = outcomes.as_of_us[outcomes.split == later]
        if not len(after) or last == UNKNOWN_US:
            continue
        over = int((after <= last).sum())
        what = f"every {WORDS[later]} label is later than all of training"
        if over:
            what = f"{over:,} of {len(after):,} {WORDS[later]} labels are not later than all of training"
        bad = Verdict.WARN if outcomes.by_chance else Verdict.FAIL
        yield Check("split.row", f"train and {WORDS[later]}", bad if over else Verdict.OK, what, over, 0)


def unborn_seeds(tables: Mapping[str, Facts], outcomes: Outcomes) -> Iterator[Check]:
    """Labels about rows that do not exist yet, or no longer: they are negative for a reason no model should learn."""
    facts = tables[outcomes.entity]
    if facts.born is None and facts.ended is None:
        return
    early = np.zeros(len(outcomes.rows), bool)
    if facts.born is not None:
        born = facts.born[outcomes.rows]
        early |= (born > outcomes.as_of_us) & (born != UNKNOWN_US)
    if facts.ended is not None:
        end = facts.ended[outcomes.rows]
        early |= (end <= outcomes.as_of_us) & (end != UNKNOWN_US)
    over = int(early.sum())
    what = f"{over:,} of {len(early):,} labels are about rows that do not exist at their instant"
    what = what if over else "every labelled row exists at its instant"
    yield Check("negative.unborn", outcomes.entity, Verdict.FAIL if over else Verdict.OK, what, over, 0)


def repeated(outcomes: Outcomes) -> Iterator[Check]:
    """Labels about the same row and instant twice, which may lie on both sides of a split."""
    pairs = np.stack([outcomes.rows, outcomes.as_of_us], axis=1)
    twice = len(pairs) - len(np.unique(pairs, axis=0))
    what = (
        f"{twice:,} labels are about a row and instant that another is about" if twice else "every label is there once"
    )
    yield Check("key.duplicate", f"labels of {outcomes.entity}", Verdict.FAIL if twice else Verdict.OK, what, twice, 0)
