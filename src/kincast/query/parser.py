"""Parser: tokens → tree, by recursive descent; errors carry a caret and, where there is one, the likely correction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeVar

from kincast.clock import Unit
from kincast.errors import QueryError
from kincast.query.cursor import Cursor
from kincast.query.lexer import Kind
from kincast.query.tree import (
    Aggregate,
    And,
    At,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Entity,
    Function,
    Modifier,
    Not,
    Op,
    Operand,
    Or,
    Query,
    Target,
    Window,
)

MAX_ITEMS = 1_000
_SYMBOL_OPS = {
    "=": Op.EQ,
    "==": Op.EQ,
    "!=": Op.NE,
    "<>": Op.NE,
    "<": Op.LT,
    "<=": Op.LE,
    ">": Op.GT,
    ">=": Op.GE,
}
_WORD_OPS = {"IN": Op.IN, "BETWEEN": Op.BETWEEN, "LIKE": Op.LIKE, "CONTAINS": Op.CONTAINS}
_NOT_OPS = {"IN": Op.NOT_IN, "BETWEEN": Op.NOT_BETWEEN, "LIKE": Op.NOT_LIKE, "CONTAINS": Op.NOT_CONTAINS}
_CLAUSES = ("FORECAST", "CLASSIFY", "RANK", "TOP", "FOR", "WHERE", "ASSUMING", "WITHIN")
_Branch = TypeVar("_Branch", And, Or)


def parse(text: str) -> Query:
    """Read a query.

    Args:
        text: the query as written.

    Raises:
        QueryError: it does not follow the grammar.

    >>> parse("predict count(orders.*, 0, 30) = 0 for each customers.customer_id").entity.ref.parts
    ('customers', 'customer_id')
    """
    return _Parser(text).query()


class _Parser(Cursor):
    """The cursor with one method for each rule of the grammar."""

    # query := [EVALUATE | EXPLAIN] PREDICT target [modifier] FOR [EACH] entity
    #          [WITHIN n unit] [WHERE condition] [ASSUMING condition] [;]
    def query(self) -> Query:
        verb = self.take().value.upper() if self.token.is_word("EVALUATE", "EXPLAIN") else None
        if not self.word("PREDICT"):
            hint = (
                self.similar(("PREDICT",)) or "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id"
            )
            raise self.error(f"a query starts with PREDICT; {self.found()} here", hint=hint)
        target = self.target()
        modifier = self.modifier()
        entity, within = self.entity()
        where = self.condition("WHERE") if self.word("WHERE") else None
        assuming = self.condition("ASSUMING") if self.word("ASSUMING") else None
        self.symbol(";")
        if self.token.kind is not Kind.END:
            order: str | None = self.similar(("WHERE", "ASSUMING", "AND", "OR"))
            if self.token.is_word(*_CLAUSES):
                order = "the order is PREDICT … FOR EACH … WHERE … ASSUMING …, each once"
            raise self.error(f"the query should end here; {self.found()}", hint=order)
        if within:
            target = self.with_window(target, within)
        return Query(target, entity, modifier, where, assuming, verb, At(0, len(self.text)))

    def with_window(self, target: Target, window: Window) -> Target:
        """Give the window of WITHIN to the aggregates that have none."""
        if isinstance(target, Aggregate):
            return target if target.window else dataclasses.replace(target, window=window)
        if isinstance(target, ColumnRef):
            return target
        if isinstance(target, Compare):
            left = self.with_window(target.left, window)
            return dataclasses.replace(target, left=left) if isinstance(left, Aggregate) else target
        if isinstance(target, Not):
            item = self.with_window(target.item, window)
            return target if isinstance(item, ColumnRef | Aggregate) else dataclasses.replace(target, item=item)
        items = tuple(self.with_window(item, window) for item in target.items)
        return dataclasses.replace(target, items=tuple(i for i in items if not isinstance(i, ColumnRef | Aggregate)))

    def target(self) -> Target:
        target = self.either()
        if self.token.is_symbol("+", "-", "*", "/", "%"):
            raise self.error("arithmetic in a target is not supported yet")
        if self.token.is_symbol(","):
            raise self.error("several targets in one query are not supported yet", hint="write one query for each")
        return target

    def condition(self, clause: str) -> Condition:
        return self.demand(self.either(), f"{clause} needs a condition")

    def demand(self, node: Target, why: str) -> Condition:
        """The node, which must be a condition and not a bare column or aggregate."""
        if isinstance(node, ColumnRef | Aggregate):
            written = self.text[node.at.start : node.at.end]
            hint = f"compare it with something, such as {written} > 0 or = true"
            raise QueryError(f"{why}", text=self.text, start=node.at.start, end=node.at.end, hint=hint)
        return node

    def either(self) -> Target:
        return self.chain("OR", Or, self.both)

    def both(self) -> Target:
        return self.chain("AND", And, self.single)

    def chain(self, word: str, branch: type[_Branch], part: Callable[[], Target]) -> Target:
        start = self.token.start
        first = part()
        if not self.token.is_word(word):
            return first
        items = [self.demand(first, f"{word} joins conditions; a comparison is missing")]
        while self.word(word):
            items.append(self.demand(part(), f"{word} joins conditions; a comparison is missing"))
            if len(items) > MAX_ITEMS:
                raise self.error(f"more than {MAX_ITEMS:,} conditions")
        return branch(tuple(items), self.at(start))

    def single(self) -> Target:
        start = self.token.start
        self.nest()
        node: Target
        if self.word("NOT"):
            item = self.demand(self.single(), "NOT needs a condition")
            node = Not(item, self.at(start))
        elif self.symbol("("):
            node = self.either()
            self.need_symbol(")", "to close the parenthesis")
            if isinstance(node, ColumnRef | Aggregate):
                node = self.comparison(node, start)
        else:
            node = self.comparison(self.operand(), start)
        self.depth -= 1
        return node

    def operand(self) -> Operand:
        token = self.token
        if token.kind is Kind.WORD and self.ahead.is_symbol("("):
            return self.aggregate()
        if token.kind is Kind.WORD and token.is_word(*_CLAUSES) and not self.ahead.is_symbol("."):
            raise self.error(f"a column or an aggregate is needed before {token.value.upper()}")
        if token.kind in (Kind.WORD, Kind.QUOTED):
            return self.ref()
        raise self.error(f"a column or an aggregate is needed here; {self.found()}")

    # ref := name { . name } [ . * ]
    def ref(self, what: str = "a name") -> ColumnRef:
        start = self.token.start
        parts: list[str] = []
        while True:
            if parts and self.symbol("*"):
                return ColumnRef(tuple(parts), True, self.at(start))
            if self.token.kind not in (Kind.WORD, Kind.QUOTED):
                raise self.error(f"{what} is needed here; {self.found()}")
            if not self.token.value.strip():
                raise self.error("a name cannot be empty")
            parts.append(self.take().value)
            if not self.symbol("."):
                return ColumnRef(tuple(parts), False, self.at(start))

    # aggregate := AGG ( ref [WHERE condition] [, start, end [, unit]] ) [VIA ref {, ref}]
    def aggregate(self) -> Aggregate:
        name = self.take()
        if name.value.upper() not in Function.__members__:
            close = get_close_matches(name.value.upper(), list(Function.__members__), n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(Function)}"
            raise self.error(f"there is no aggregate {name.value}", name, hint)
        self.nest()
        self.take()
        column = self.ref("a column")
        if not column.star and self.token.is_symbol("+", "-", "*", "/", "%"):
            raise self.error("arithmetic in an aggregate is not supported yet")
        where = self.condition("WHERE") if self.word("WHERE") else None
        window = self.window(name.start) if self.symbol(",") else None
        self.need_symbol(")", f"to close {name.value.upper()}(")
        via: list[ColumnRef] = []
        if self.word("VIA"):
            via.append(self.ref("a foreign key"))
            while self.symbol(","):
                via.append(self.ref("a foreign key"))
        self.depth -= 1
        return Aggregate(Function(name.value.upper()), column, where, window, tuple(via), self.at(name.start))

    def window(self, start_of_aggregate: int) -> Window:
        first = self.token
        hint = "a window is start, end, unit, such as 0, 30, days"
        start: int | None
        if self.token.is_symbol("-") and self.ahead.is_word("INF"):
            self.take(), self.take()
            start = None
        else:
            start = self.whole("the start of the window", hint)
        self.need_symbol(",", "between the start and the end of the window")
        if self.token.is_word("INF") or (self.token.is_symbol("+", "-") and self.ahead.is_word("INF")):
            token = self.take()
            end = self.take().end if token.kind is Kind.SYMBOL else token.end
            raise self.error(
                "a window must end; INF cannot be its end", token, "write a number, such as 0, 30, days", end
            )
        end_count = self.whole("the end of the window", hint)
        unit: Unit = self.unit() if self.symbol(",") else "days"
        return Window(start, end_count, unit, self.at(first.start))

    def comparison(self, left: Operand, start: int) -> Target:
        token = self.token
        if token.kind is Kind.SYMBOL and token.value in _SYMBOL_OPS:
            op = _SYMBOL_OPS[self.take().value]
            right = self.constant()
            if right.value is None:
                if op not in (Op.EQ, Op.NE):
                    raise self.error("nothing is larger or smaller than NULL", token, "write IS NULL or IS NOT NULL")
                return Compare(left, Op.IS_NULL if op is Op.EQ else Op.IS_NOT_NULL, (), self.at(start))
            return Compare(left, op, (right,), self.at(start))
        if self.word("IS"):
            negated = self.word("NOT")
            if self.token.is_word("IN"):
                return self.by_word(left, negated, start)
            self.need_word("NULL", "after IS")
            return Compare(left, Op.IS_NOT_NULL if negated else Op.IS_NULL, (), self.at(start))
        if token.is_word("STARTS", "ENDS"):
            self.take()
            self.need_word("WITH", f"after {token.value.upper()}")
            op = Op.STARTS_WITH if token.is_word("STARTS") else Op.ENDS_WITH
            return Compare(left, op, (self.constant(),), self.at(start))
        if token.is_word("NOT") and self.ahead.is_word("STARTS", "ENDS"):
            raise self.error("NOT stands in front of the whole condition", hint="NOT (… STARTS WITH …)")
        if token.is_word(*_WORD_OPS) or token.is_word("NOT"):
            return self.by_word(left, self.word("NOT"), start)
        return left

    def by_word(self, left: Operand, negated: bool, start: int) -> Compare:
        """IN, BETWEEN, LIKE, CONTAINS after an optional NOT."""
        token = self.token
        if not token.is_word(*_WORD_OPS):
            raise self.error(f"IN, BETWEEN, LIKE or CONTAINS is missing after NOT; {self.found()} here")
        word = self.take().value.upper()
        op = _NOT_OPS[word] if negated else _WORD_OPS[word]
        if word == "IN":
            right = self.constants()
        elif word == "BETWEEN":
            low = self.constant()
            self.need_word("AND", "between the two bounds of BETWEEN")
            right = (low, self.constant())
        else:
            right = (self.constant(),)
        for constant in right:
            if constant.value is None:
                hint = "write … IS NULL OR …"
                raise QueryError(
                    f"NULL cannot stand in {op}",
                    text=self.text,
                    start=constant.at.start,
                    end=constant.at.end,
                    hint=hint,
                )
        return Compare(left, op, right, self.at(start))

    # modifier := FORECAST n TIMEFRAMES | [CLASSIFY | RANK] [TOP k]
    def modifier(self) -> Modifier | None:
        start = self.token.start
        if self.word("FORECAST"):
            steps = self.whole("the number of steps to forecast")
            if not self.word("TIMEFRAMES", "TIMEFRAME"):
                raise self.error(f"TIMEFRAMES is missing after FORECAST {steps}; {self.found()} here")
            return Modifier(forecast=steps, at=self.at(start))
        classify = self.word("CLASSIFY")
        rank = not classify and self.word("RANK")
        top = self.whole("the number after TOP") if self.word("TOP") else None
        if not (classify or rank or top is not None):
            return None
        return Modifier(classify, rank, top, None, self.at(start))

    # entity := FOR EACH ref | FOR ref [= constant | IN ( constants )]
    def entity(self) -> tuple[Entity, Window | None]:
        if not self.word("FOR"):
            hint = self.similar(("FOR",)) or "the target is followed by FOR EACH table.key"
            raise self.error(f"FOR EACH is missing; {self.found()} here", hint=hint)
        each = self.word("EACH")
        start = self.token.start
        ref = self.ref("the entity's key column")
        keys: tuple[Constant, ...] | None = None
        if not each and (self.symbol("=") or self.symbol("==")):
            keys = (self.constant(),)
        elif not each and self.word("IN"):
            keys = self.constants()
        elif each and (self.token.is_symbol("=", "==") or self.token.is_word("IN")):
            raise self.error("FOR EACH means every row", hint="leave out EACH to name keys: FOR table.key IN (…)")
        entity = Entity(ref, keys, self.at(start))
        within = None
        if self.word("WITHIN"):
            first = self.token
            count = self.whole("the length after WITHIN", "write WITHIN 30 days")
            within = Window(0, count, self.unit(), self.at(first.start))
        return entity, within
