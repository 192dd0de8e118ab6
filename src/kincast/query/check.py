"""Check: the rules a resolved query must keep, one plain function each, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kincast.clock import Span
from kincast.errors import QueryError
from kincast.query.constant import check_constants
from kincast.query.family import ALWAYS_VALUED, Family, column_family, operand_family
from kincast.query.kinds import Form, find_kind, form_of
from kincast.query.named import Texts
from kincast.query.print import print_node, print_ref, print_window
from kincast.query.tree import (
    MEMBERSHIP,
    NULLNESS,
    Aggregate,
    Arithmetic,
    At,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Function,
    Leaf,
    Query,
    Target,
    aggregates,
    arithmetics,
    comparisons,
    leaves,
)
from kincast.schema import Link, Schema, SemanticType, Table

MAX_SPAN = Span(200, "years")
MAX_STEPS = 10_000
MAX_TOP = 1_000
_EXAMPLE = "COUNT(…, 0, 30, days)"
_NAMING = (Family.TEXT, Family.NUMBER, Family.BOOLEAN)
_WORDS = (SemanticType.CATEGORICAL, SemanticType.ID, SemanticType.BOOLEAN, SemanticType.TEXT)
_ROWS = (Function.EXISTS, Function.TIME_TO)
_NUMERIC = (Function.SUM, Function.AVG, Function.MEDIAN, Function.STDDEV, Function.QUANTILE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A resolved query on its way to a task.

    Attributes:
        texts: what was written.
        query: its resolved tree.
        schema: what it was resolved against.
        entity: the entity's table.
    """

    texts: Texts
    query: Query
    schema: Schema
    entity: Table

    def error(self, what: str, at: At, hint: str | None = None) -> QueryError:
        """An error at a place of the query."""
        return self.texts.error(what, at, hint)

    @property
    def is_static(self) -> bool:
        """True when the targets are made of columns only."""
        return not any(isinstance(leaf, Aggregate) for target in self.query.targets for leaf in leaves(target))

    def all_aggregates(self) -> Iterator[Aggregate]:
        """Every aggregate, nested ones too."""
        for part in self.query.parts:
            yield from aggregates(part)

    def all_conditions(self) -> Iterator[Target]:
        """Every target and condition, those inside aggregates too."""
        yield from (part for part in self.query.parts if part is not None)
        yield from (node.where for node in self.all_aggregates() if node.where is not None)

    def all_comparisons(self) -> Iterator[Compare]:
        """Every comparison, those inside aggregates too."""
        for part in self.all_conditions():
            yield from comparisons(part)


def star_stands_for_rows(draft: Draft) -> None:
    """``table.*`` is for COUNT, EXISTS and TIME_TO, which are about rows; the last two take nothing else."""
    for node in draft.all_aggregates():
        fact = draft.schema.table(node.fact)
        if node.column.star and node.function not in (Function.COUNT, *_ROWS):
            column = next((c.name for c in fact.columns if c.type is SemanticType.NUMERICAL), fact.columns[0].name)
            hint = f"name a column, such as {node.function}({fact.name}.{column}, …)"
            raise draft.error(
                f"'*' stands only in COUNT, EXISTS and TIME_TO, not in {node.function}", node.column.at, hint
            )
        if node.function in _ROWS and not node.column.star:
            hint = f"write {node.function}({fact.name}.*, …)"
            raise draft.error(f"{node.function} is about rows, not about a column", node.column.at, hint)


def arithmetic_is_of_numbers(draft: Draft) -> None:
    """+ - * / take aggregates that are numbers, and constants; a comparison has an aggregate or a column."""
    for part in draft.all_conditions():
        for node in arithmetics(part):
            for side in (node.left, node.right):
                if isinstance(side, ColumnRef):
                    what = f"arithmetic is of aggregates and constants; {print_ref(side)} is a column"
                    raise draft.error(what, side.at, "aggregate it, as in SUM(…) / COUNT(…)")
                family = operand_family(side)
                if family is not Family.NUMBER:
                    raise draft.error(f"'{node.sign}' needs numbers; {print_node(side)} is no number", side.at)
            if node.sign == "/" and isinstance(node.right, Constant) and node.right.value == 0:
                raise draft.error("nothing can be divided by 0", node.right.at)
        if isinstance(part, Arithmetic) and not any(leaves(part)):
            raise draft.error("a target needs an aggregate; these are constants", part.at)
    for compare in draft.all_comparisons():
        sides = [list(leaves(side)) for side in compare.sides]
        if not any(sides):
            raise draft.error("two constants are compared; an aggregate is missing", compare.at)
        column = next((leaf for side in sides for leaf in side if isinstance(leaf, ColumnRef)), None)
        if column is not None and all(sides) and len(sides) > 1:
            what = f"{print_ref(column)} is a column, and is compared with what is not constant"
            raise draft.error(what, compare.at, "compare a column with a constant, an aggregate with an aggregate")


def static_or_temporal(draft: Draft) -> None:
    """Targets are made of columns, or of aggregates, not of both; a static one needs static filters."""
    parts = [leaf for target in draft.query.targets for leaf in leaves(target)]
    columns = [part for part in parts if isinstance(part, ColumnRef)]
    if columns and len(columns) < len(parts):
        what = "a target cannot mix columns and aggregates"
        hint = f"move the column to a filter: WHERE {print_ref(columns[0])} …"
        raise draft.error(what, columns[0].at, hint)
    if draft.is_static and draft.query.assuming:
        hint = "ASSUMING is about the future of a window; a column has none"
        raise draft.error("ASSUMING needs a target with a window", draft.query.assuming.at, hint)
    if draft.is_static:
        for node in aggregates(draft.query.where):
            what = "a target without a window cannot have a filter with one"
            raise draft.error(what, node.at, "filter by columns, or predict an aggregate in a window")


def windows_are_there(draft: Draft) -> None:
    """Every aggregate has a window, forwards or backwards, over a table whose rows have a time."""
    for node in draft.all_aggregates():
        if node.window is None:
            timeless = all(table.time is None for table in draft.schema)
            if node is draft.query.target and node.function is Function.LIST_DISTINCT and timeless:
                continue
            start = draft.texts.written(node.at)
            hint = f"add one: {print_node(node).removesuffix(')')}, 0, 30, days)" if ")" in start else None
            raise draft.error(f"{node.function} needs a window", node.at, hint)
        if draft.schema.table(node.fact).time is None:
            what = f"the rows of {node.fact} have no time, so no window can select them"
            hint = f"give table {node.fact} a time in the schema card"
            raise draft.error(what, node.column.at, hint)
        start_span, end_span = node.window.start_span, node.window.end_span
        longest = max(abs((start_span or end_span).approx_us), abs(end_span.approx_us))
        if longest > MAX_SPAN.approx_us:
            raise draft.error(f"a window reaches {MAX_SPAN} at most", node.window.at)
        if start_span is not None and node.window.start is not None and node.window.start >= node.window.end:
            what = f"the window {print_window(node.window)} is empty: its start must come before its end"
            raise draft.error(what, node.window.at)


def target_looks_ahead(draft: Draft) -> None:
    """A target has a window in the future; beside it others may lie wholly in the past."""
    for target in draft.query.targets:
        windows = [node.window for node in aggregates(target, nested=False) if node.window]
        ahead = any(window.start is not None and window.start >= 0 for window in windows)
        for window in windows:
            if (window.start is not None and window.start >= 0) or (ahead and window.end <= 0):
                continue
            if window.start is None:
                hint = f"write a start of 0 or more, such as 0, {max(window.end, 1)}, {window.unit}"
                raise draft.error("a target window cannot start at -INF", window.at, hint)
            hint = f"write 0, {max(-window.start, window.end)}, {window.unit}; the past belongs in WHERE"
            raise draft.error("a target window cannot start in the past", window.at, hint)
    for node in draft.all_aggregates():
        if node.function is Function.TIME_TO and node.window and (node.window.start is None or node.window.start < 0):
            hint = "TIME_TO counts the days from the anchor: write 0, 90, days"
            raise draft.error("TIME_TO cannot look into the past", node.window.at, hint)


def filter_looks_back(draft: Draft) -> None:
    """Windows of an entity filter end at the anchor or before."""
    for node in aggregates(draft.query.where):
        if node.window and node.window.end > 0:
            back = f"-{node.window.end}, 0, {node.window.unit}"
            hint = f"write {back}; what is assumed of the future belongs in ASSUMING"
            raise draft.error("an entity filter cannot look into the future", node.window.at, hint)


def assumption_looks_ahead(draft: Draft) -> None:
    """ASSUMING speaks of aggregates in future windows."""
    for operand in leaves(draft.query.assuming):
        if isinstance(operand, ColumnRef):
            hint = f"write WHERE {print_ref(operand)} …"
            raise draft.error("ASSUMING is about the future; a column belongs in WHERE", operand.at, hint)
        window = operand.window
        if window and (window.start is None or window.start < 0):
            hint = f"write {_EXAMPLE}; the past belongs in WHERE"
            raise draft.error("ASSUMING must look into the future", window.at, hint)


def functions_fit_columns(draft: Draft) -> None:
    """SUM and its like take numbers, COUNT_DISTINCT no key, FIRST, LAST, MIN and MAX comparable values."""
    for node in draft.all_aggregates():
        bound, function = node.column.bound, node.function
        if bound is None or function is Function.COUNT:
            continue
        name, family = f"{bound.table}.{bound.column.name}", column_family(bound.column)
        if _is_key(draft, node.column) and function is not Function.LIST_DISTINCT:
            hint = "COUNT(" + name.split(".")[0] + ".*, …) counts rows" if function.startswith("COUNT") else None
            raise draft.error(f"{function} of a key says nothing: {name} names rows", node.column.at, hint)
        if function in _NUMERIC:
            if family is not Family.NUMBER or bound.column.type is not SemanticType.NUMERICAL:
                what = f"{function} needs numbers; {name} is {bound.column.type} ({bound.column.stored})"
                hint = "the schema card says what a column means" if family is Family.NUMBER else None
                raise draft.error(what, node.column.at, hint)
        elif family in (Family.OTHER, Family.LIST):
            raise draft.error(f"{function} cannot be taken of {name}, stored as {bound.column.stored}", node.column.at)
        if function is Function.LIST_DISTINCT and node.by is None and _points_at(draft, node.column, draft.entity.name):
            what = f"{name} points back at {draft.entity.name} itself"
            raise draft.error(what, node.column.at, "list the keys of another table")


def relations_are_of_one_table(draft: Draft) -> None:
    """BY names the relation of facts that lead from rows of one table to rows of the same, without a filter."""
    for node in draft.all_aggregates():
        if node.by is None:
            continue
        bound, fact = node.by.column, node.fact
        name = f"{bound.table}.{bound.column.name}"
        if bound.table != fact:
            hint = f"name a column of {fact}"
            raise draft.error(f"{name} cannot tell rows of {fact} apart", node.by.at, hint)
        if column_family(bound.column) not in _NAMING or bound.column.type not in _WORDS:
            what = f"a relation is a word; {name} is {bound.column.type} ({bound.column.stored})"
            raise draft.error(what, node.by.at, "the schema card says what a column means")
        if node is not draft.query.target or node.function is not Function.LIST_DISTINCT or node.window is not None:
            what = "BY stands behind a target that is a list of keys without a window"
            raise draft.error(what, node.by.at, f"LIST_DISTINCT({fact}.…) VIA {fact}.… BY {name} RANK TOP 10")
        if len(node.path) > 1 or not _points_at(draft, node.column, draft.entity.name):
            what = f"both ends of a row of {fact} must be rows of {draft.entity.name}"
            raise draft.error(what, node.column.at, f"give {fact} two foreign keys to one table of all that it names")
        if any(link in node.path for link in draft.schema.links_from(fact) if _names(node.column, link)):
            what = f"{print_ref(node.column)} is what is known, and cannot be asked for too"
            raise draft.error(what, node.column.at, "name the other foreign key behind VIA")
        if node.where is not None or draft.query.where is not None or draft.query.entity.keys is not None:
            what = "facts told apart by their relation are learnt all together, without filters"
            raise draft.error(what, node.at, "leave out WHERE and name keys when you ask")


def lists_are_asked_for_members(draft: Draft) -> None:
    """Lists are compared with CONTAINS, other values never are, unless they are text."""
    for node in draft.all_comparisons():
        family = operand_family(node.left)
        name = print_node(node.left)
        is_list = isinstance(node.left, Aggregate) and node.left.function is Function.LIST_DISTINCT
        if is_list and node.op not in MEMBERSHIP:
            raise draft.error(f"{name} is a list", node.at, f"{name} CONTAINS …")
        if node.op in MEMBERSHIP and family not in (Family.LIST, Family.TEXT):
            raise draft.error(f"CONTAINS needs a list or text; {name} is a {family}", node.at)


def constants_fit(draft: Draft) -> None:
    """A constant has the kind of value that it is compared with."""
    for node in draft.all_comparisons():
        check_constants(node, draft.error)
    for part in (part for key in draft.query.entity.keys or () for part in key):
        if part.value is None or isinstance(part.value, bool):
            raise draft.error("a key cannot be NULL, true or false", part.at)


def target_can_be_both(draft: Draft) -> None:
    """A target that is always true or never is refused: nothing could be learnt from it."""
    for target in draft.query.targets:
        left = target.left if isinstance(target, Compare) and target.op in NULLNESS else None
        if isinstance(left, Aggregate) and left.function in ALWAYS_VALUED:
            what = f"{print_node(left)} always has a value, so there is nothing to predict"
            raise draft.error(what, target.at, "compare it with a number: … = 0")


def modifier_is_whole(draft: Draft) -> None:
    """RANK has TOP k, TOP has RANK, FORECAST has steps; a list says which of CLASSIFY and RANK."""
    node = draft.query.modifier
    if node is not None and draft.query.more:
        what = "CLASSIFY, RANK and FORECAST stand behind a single target"
        raise draft.error(what, node.at, "write one query for each target")
    if node is not None and node.rank and node.top is None:
        raise draft.error("RANK needs TOP k", node.at, "write RANK TOP 10")
    if node is not None and node.top is not None and not node.rank:
        raise draft.error("TOP k needs RANK", node.at, f"write RANK TOP {node.top}")
    if node is not None and node.top is not None and not 1 <= node.top <= MAX_TOP:
        raise draft.error(f"TOP must be from 1 to {MAX_TOP:,}", node.at)
    if node is not None and node.forecast is not None and not 1 <= node.forecast <= MAX_STEPS:
        raise draft.error(f"FORECAST takes from 1 to {MAX_STEPS:,} steps", node.at)
    for target in draft.query.targets:
        _says_how_many(draft, target)


def _says_how_many(draft: Draft, target: Target) -> None:
    node = draft.query.modifier
    many = isinstance(target, Aggregate) and target.function is Function.LIST_DISTINCT
    if isinstance(target, ColumnRef):
        many = target.column.column.type is SemanticType.MULTICATEGORICAL
    if many and form_of(node) is Form.PLAIN:
        hint = f"write {print_node(target)} CLASSIFY, or RANK TOP 10"
        raise draft.error(f"{print_node(target)} has many values at once: say CLASSIFY or RANK TOP k", target.at, hint)


def target_can_be_learnt(draft: Draft) -> None:
    """The target and its modifier are in the table of kinds."""
    for target in draft.query.targets:
        _can_be_learnt(draft, target)


def _can_be_learnt(draft: Draft, target: Target) -> None:
    modifier = draft.query.modifier
    if isinstance(target, ColumnRef):
        bound = target.column
        if bound.table == draft.entity.name and bound.column.name in draft.entity.key:
            raise draft.error("a key cannot be predicted: it names the row", target.at)
    if find_kind(target, modifier, draft.schema):
        return
    if modifier is not None:
        form = "FORECAST" if modifier.forecast is not None else "CLASSIFY" if modifier.classify else "RANK"
        needs = "numbers in a window" if form == "FORECAST" else "a list of values, such as LIST_DISTINCT(…)"
        raise draft.error(f"{form} needs {needs}", modifier.at, f"leave out {form}")
    ref = target if isinstance(target, ColumnRef) else target.column if isinstance(target, Aggregate) else None
    column = ref.bound.column if ref is not None and ref.bound else None
    meaning = f" ({column.type}, stored as {column.stored})" if column else ""
    raise draft.error(f"{print_node(target)}{meaning} cannot be predicted", target.at, "compare it, as in … = …")


RULES: tuple[Callable[[Draft], None], ...] = (
    star_stands_for_rows,
    arithmetic_is_of_numbers,
    static_or_temporal,
    windows_are_there,
    target_looks_ahead,
    filter_looks_back,
    assumption_looks_ahead,
    functions_fit_columns,
    relations_are_of_one_table,
    lists_are_asked_for_members,
    constants_fit,
    target_can_be_both,
    modifier_is_whole,
    target_can_be_learnt,
)
"""Applied in this order; the first that is broken is reported."""


def check(draft: Draft) -> tuple[str, ...]:
    """Hold a resolved query against every rule.

    Returns:
        Warnings.

    Raises:
        QueryError: the first rule that is broken.
    """
    for rule in RULES:
        rule(draft)
    return tuple(_warnings(draft))


def _warnings(draft: Draft) -> Iterator[str]:
    for node in draft.all_aggregates():
        if node.where and all(_touches(operand, draft.entity.name) for operand in leaves(node.where)):
            written = print_node(node.where)
            yield f"the filter {written} is about {draft.entity.name} only: WHERE after FOR EACH would say it better"
    if draft.is_static:
        for target in draft.query.targets:
            yield from _shared_columns(target, draft.query.where)


def _shared_columns(target: Target, where: Condition | None) -> Iterator[str]:
    names = {print_node(operand) for operand in leaves(target)}
    for operand in leaves(where):
        if print_node(operand) in names:
            yield f"the filter uses the target {print_node(operand)}, which is not known when predicting"


def _touches(operand: Leaf, table: str) -> bool:
    return isinstance(operand, ColumnRef) and operand.column.table == table


def _is_key(draft: Draft, ref: ColumnRef) -> bool:
    bound = ref.column
    table = draft.schema.table(bound.table)
    links = draft.schema.links_from(table.name)
    own = table.key == (bound.column.name,) or bound.column.type is SemanticType.ID
    return own or any(bound.column.name in link.columns for link in links)


def _names(ref: ColumnRef, link: Link) -> bool:
    return ref.column.column.name in link.columns


def _points_at(draft: Draft, ref: ColumnRef, table: str) -> bool:
    bound = ref.column
    return any(
        bound.column.name in link.columns and link.target == table for link in draft.schema.links_from(bound.table)
    )
