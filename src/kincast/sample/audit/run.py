"""Run: all checks over one subject as a report; a check that cannot run is a failure, and says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from kincast.report import Check, Verdict
from kincast.sample.audit import columns, draws, labels, tables
from kincast.sample.audit.draws import Adjacent
from kincast.sample.audit.subject import Draw, Facts, Order, Outcomes

Tables = Mapping[str, Facts]


def attempt(name: str, check: Callable[[], Iterable[Check]]) -> list[Check]:
    """What a check finds; one failure that names the error when it cannot run, whatever the error is."""
    try:
        return list(check())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return [Check(name, "audit", Verdict.FAIL, f"could not run, so nothing is known: {reason}")]


def audit_rows(subject: Tables, outcomes: Outcomes | None, hidden: Collection[tuple[str, str]] = ()) -> list[Check]:
    """Checks of tables and labels as they stand.

    Args:
        subject: the tables.
        outcomes: the labels; None leaves out what needs them.
        hidden: (table, column) pairs that no model reads.
    """
    children = attempt_children(subject)
    found = [
        *attempt("key.duplicate", lambda: tables.duplicate_keys(subject)),
        *attempt("time.unit", lambda: tables.mixed_units(subject)),
        *attempt("time.zone", lambda: tables.mixed_zones(subject)),
        *attempt("row.late", lambda: tables.backdated(subject)),
        *attempt("row.late", lambda: tables.arrivals(subject)),
        *attempt("key.time", lambda: tables.inputs_of_keys(subject)),
        *attempt("end.known", lambda: columns.ends_among_inputs(subject, hidden)),
        *attempt("row.mutated", lambda: columns.young_jumps(subject, hidden)),
        *attempt("row.mutated", lambda: columns.growing_totals(subject, hidden)),
    ]
    if isinstance(children, Check):
        found.append(children)
    else:
        found += attempt("degree.whole", lambda: columns.whole_counts(subject, children, hidden))
        found += attempt("row.mutated", lambda: columns.foreknown(subject, children, outcomes, hidden))
    if outcomes is not None:
        found += audit_labels(subject, outcomes)
    return found


def attempt_children(subject: Tables) -> list[columns.Children] | Check:
    """The links that can be followed, or the failure to follow them."""
    try:
        return list(columns.children_of(subject))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Check("degree.whole", "links", Verdict.FAIL, f"could not run, so nothing is known: {reason}")


def audit_labels(subject: Tables, outcomes: Outcomes) -> list[Check]:
    """Checks of labels and of how they are split."""
    train = outcomes.as_of_us[outcomes.split == 0]
    return [
        *attempt("label.window", lambda: labels.windows(outcomes)),
        *attempt("split.row", lambda: labels.splits(outcomes)),
        *attempt("negative.unborn", lambda: labels.unborn_seeds(subject, outcomes)),
        *attempt("key.duplicate", lambda: labels.repeated(outcomes)),
        *attempt("key.label", lambda: columns.telling_keys(subject, outcomes)),
        *(attempt("statistic.later", lambda: columns.standardised(subject, int(train.max()))) if len(train) else ()),
    ]


def audit_draws(
    subject: Tables,
    drawn: Sequence[Draw],
    adjacent: Adjacent,
    *,
    strict: bool = False,
    frozen: bool = False,
    orders: Sequence[Order] = (),
) -> list[Check]:
    """Checks of what a loader drew.

    Args:
        subject: tables with their times.
        drawn: batches of the loader.
        adjacent: which rows belong to which entities.
        strict: the loader hides facts at the very instant.
        frozen: the target is a column of the seed's row.
        orders: neighbour lists that the loader trusts to be in time order.
    """
    if not any(len(draw.rows) for draw in drawn):
        return [Check("neighbour.later", "batches", Verdict.FAIL, "could not run: the loader drew nothing")]
    return [
        *attempt("neighbour.later", lambda: draws.later_neighbours(subject, drawn)),
        *attempt("neighbour.later", lambda: draws.reached_later(subject, drawn)),
        *attempt("neighbour.tie", lambda: draws.ties(subject, drawn, strict=strict, frozen=frozen)),
        *attempt("row.late", lambda: draws.late_arrivals(subject, drawn)),
        *attempt("end.known", lambda: draws.ended(subject, drawn, adjacent)),
        *attempt("neighbour.shared", lambda: draws.shared_neighbours(drawn)),
        *attempt("cache.instant", lambda: draws.stale_trees(subject, drawn, adjacent)),
        *attempt("negative.unborn", lambda: draws.unborn_negatives(subject, drawn)),
        *attempt("order.unsorted", lambda: draws.unsorted(orders)),
    ]
