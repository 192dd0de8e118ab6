"""Expression: what a target or a filter is made of: conditions, arithmetic, aggregates, names; by recursive descent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from typing import TypeVar

from kincast.clock import Unit
from kincast.query.cursor import MAX_ITEMS, Cursor
from kincast.query.lexer import Kind
from kincast.query.named import is_name
from kincast.query.tree import (
    Aggregate,
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Function,
    Leaf,
    Not,
    Op,
    Operand,
    Or,
    Target,
    Window,
)

MAX_OPERATIONS = 40
SQL_WORDS = {
    "SELECT": "there are no subqueries; filter inside the aggregate: COUNT(orders.* WHERE …, 0, 30, days)",
    "CASE": "there is no CASE; write a condition, or a task for each case",
    "GROUP": "FOR EACH is the grouping",
    "HAVING": "conditions on aggregates belong in WHERE behind FOR EACH",
    "JOIN": "foreign keys are followed by themselves; VIA settles which",
    "ORDER": "predictions keep the order of the keys",
    "LIMIT": "FOR table.key IN (…) predicts for some keys only",
    "AS": "a target takes its name from 'targets' in kincast.yaml",
}
_FLIPPED = {Op.LT: Op.GT, Op.LE: Op.GE, Op.GT: Op.LT, Op.GE: Op.LE}
SYMBOL_OPS = {
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
CLAUSES = ("FORECAST", "CLASSIFY", "RANK", "TOP", "FOR", "WHERE", "ASSUMING", "WITHIN")
_Branch = TypeVar("_Branch", And, Or)


class Expression(Cursor):
    """The cursor with one method for each rule of what can be compared and calculated."""

    operations = 0

    def condition(self, clause: str) -> Condition:
        return self.demand(self.either(), f"{clause} needs a condition")

    def demand(self, node: Target, why: str) -> Condition:
        """The node, which must be a condition and not a bare operand."""
        if isinstance(node, Condition):
            return node
        written = self.text[node.at.start : node.at.end]
        raise self.error_at(why, node.at, f"compare it with something, such as {written} > 0 or = true")

    def number_of(self, node: Target, sign: str) -> Operand:
        """The node, which must be an operand and not a condition."""
        if isinstance(node, Condition):
            raise self.error_at(f"'{sign}' needs numbers; this is true or false", node.at)
        if isinstance(node, ColumnRef) and is_name(node):
            what = f"'{node.parts[0]}' is one word; a column is written table.column"
            raise self.error_at(what, node.at, "a named target stands alone; text is written in single quotes")
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
        if self.word("NOT"):
            self.nest()
            item = self.demand(self.single(), "NOT needs a condition")
            self.depth -= 1
            return Not(item, self.at(start))
        left = self.sum()
        if isinstance(left, Condition):
            return left
        return self.comparison(left, start)

    # sum := product { (+ | -) product };  product := factor { (* | /) factor }
    def sum(self) -> Target:
        return self.calculation(("+", "-"), self.product)

    def product(self) -> Target:
        return self.calculation(("*", "/"), self.factor)

    def calculation(self, signs: tuple[str, ...], part: Callable[[], Target]) -> Target:
        start = self.token.start
        left = part()
        while self.token.is_symbol(*signs, "%"):
            hyphenated = self.hyphenated() if isinstance(left, ColumnRef) and is_name(left) else None
            if hyphenated is not None:
                raise self.error_at("there is no arithmetic of single words", left.at, hyphenated)
            token = self.take()
            if token.value == "%":
                raise self.error("there is no remainder; arithmetic is + - * /", token)
            self.operate()
            first = self.number_of(left, token.value)
            left = Arithmetic(token.value, first, self.number_of(part(), token.value), self.at(start))
        return left

    def operate(self) -> None:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise self.error(f"more than {MAX_OPERATIONS} additions, subtractions, multiplications and divisions")

    def factor(self) -> Target:
        token = self.token
        if token.is_symbol("-", "+") and self.ahead.kind is not Kind.NUMBER:
            self.take()
            self.nest()
            self.operate()
            item = self.number_of(self.factor(), token.value)
            self.depth -= 1
            zero = Constant(0, self.at(token.start))
            return Arithmetic("-", zero, item, self.at(token.start)) if token.value == "-" else item
        if self.symbol("("):
            self.nest()
            node = self.either()
            self.need_symbol(")", "to close the parenthesis")
            self.depth -= 1
            return node
        if token.is_symbol("-", "+") or token.kind in (Kind.NUMBER, Kind.TEXT, Kind.DATE):
            return self.constant()
        if token.is_word("TRUE", "FALSE", "NULL") and not self.ahead.is_symbol("."):
            return self.constant()
        if token.kind is Kind.QUOTED and not self.ahead.is_symbol(".") and self.after_operator():
            return self.constant()
        return self.leaf()

    def after_operator(self) -> bool:
        """True right behind a comparison or arithmetic sign, where double quotes hold text and not a name."""
        before = self.tokens[self.index - 1]
        return before.kind is Kind.SYMBOL and (before.value in SYMBOL_OPS or before.value in "+-*/")

    def leaf(self) -> Leaf:
        token = self.token
        if token.kind is Kind.WORD and self.ahead.is_symbol("("):
            return self.aggregate()
        if token.kind is Kind.WORD and token.is_word(*CLAUSES) and not self.ahead.is_symbol("."):
            raise self.error(f"a column or an aggregate is needed before {token.value.upper()}")
        if token.is_word("SELECT", "CASE") and not self.ahead.is_symbol("."):
            raise self.error(f"{token.value.upper()} is no part of a query", hint=SQL_WORDS[token.value.upper()])
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

    # aggregate := AGG ( ref [WHERE condition] [, level] [, start, end [, unit]] ) [VIA ref {, ref}] [BY ref]
    def aggregate(self) -> Aggregate:
        name = self.take()
        if name.value.upper() not in Function.__members__:
            close = get_close_matches(name.value.upper(), list(Function.__members__), n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(Function)}"
            raise self.error(f"there is no aggregate {name.value}", name, hint)
        function = Function(name.value.upper())
        self.nest()
        self.take()
        if self.token.is_symbol("*"):
            raise self.error("the table is missing in front of '*'", hint=f"such as {function}(orders.*, 0, 30, days)")
        column = self.ref("a column")
        if not column.star and self.token.is_symbol("+", "-", "*", "/", "%"):
            what = f"{function} takes one column; arithmetic stands outside of it"
            hint = self.hyphenated() or f"such as {function}(…) {self.token.value} {function}(…)"
            raise self.error(what, hint=hint)
        where = self.condition("WHERE") if self.word("WHERE") else None
        level = self.level() if function is Function.QUANTILE else None
        window = self.window() if self.symbol(",") else None
        self.need_symbol(")", f"to close {function}(")
        via: list[ColumnRef] = []
        if self.word("VIA"):
            via.append(self.ref("a foreign key"))
            while self.token.is_symbol(",") and self.dotted_follows():
                self.take()
                via.append(self.ref("a foreign key"))
        by = self.ref("the column that names the relation") if self.word("BY") else None
        self.depth -= 1
        return Aggregate(function, column, where, level, window, tuple(via), by, self.at(name.start))

    def dotted_follows(self) -> bool:
        """True when a dotted name comes after the next token: a further foreign key and not a further target."""
        behind = self.tokens[min(self.index + 2, len(self.tokens) - 1)]
        return self.ahead.kind in (Kind.WORD, Kind.QUOTED) and behind.is_symbol(".")

    def level(self) -> Decimal:
        hint = "QUANTILE(orders.amount, 0.9, 0, 30, days)"
        if not self.symbol(","):
            raise self.error(f"QUANTILE needs a level from 0 to 1; {self.found()} here", hint=hint)
        token = self.token
        level = Decimal(token.value) if token.kind is Kind.NUMBER and len(token.value) <= 20 else Decimal(-1)
        if not 0 <= level <= 1:
            raise self.error(f"the level of QUANTILE is a number from 0 to 1; {self.found()} here", hint=hint)
        self.take()
        return level

    def window(self) -> Window:
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
        if token.kind is Kind.SYMBOL and token.value in SYMBOL_OPS:
            return self.by_symbol(left, start)
        if isinstance(left, Constant):
            if token.is_word("IS", "STARTS", "ENDS", "NOT", *_WORD_OPS):
                raise self.error_at(f"a column or an aggregate is needed before {token.value.upper()}", left.at)
            return left
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
        if isinstance(left, Aggregate) and left.function is Function.EXISTS:
            return Compare(left, Op.EQ, (Constant(True, left.at),), left.at)
        return left

    def by_symbol(self, left: Operand, start: int) -> Compare:
        """= and its like, with a constant or with another operand; a constant on the left changes sides."""
        token = self.take()
        op = SYMBOL_OPS[token.value]
        if self.token.is_symbol("["):
            hint = "… IN [a, b] for one of them, … CONTAINS [a, b] for a list with all of them"
            raise self.error(f"a list of constants cannot stand behind {token.value}", hint=hint)
        lone_word = self.token.kind is Kind.WORD and not self.ahead.is_symbol("(", ".")
        if self.token.kind is Kind.END or (lone_word and not self.token.is_word("TRUE", "FALSE", "NULL")):
            raise self.no_constant()
        if self.token.is_symbol(")", ","):
            raise self.no_constant()
        right = self.number_of(self.sum(), token.value)
        if isinstance(left, Constant) and isinstance(right, Constant):
            raise self.error_at("two constants are compared; a column or an aggregate is missing", left.at.to(right.at))
        if isinstance(left, Constant):
            left, right, op = right, left, _FLIPPED.get(op, op)
        if isinstance(right, Constant) and right.value is None:
            if op not in (Op.EQ, Op.NE):
                raise self.error("nothing is larger or smaller than NULL", token, "write IS NULL or IS NOT NULL")
            return Compare(left, Op.IS_NULL if op is Op.EQ else Op.IS_NOT_NULL, (), self.at(start))
        return Compare(left, op, (right,), self.at(start))

    def by_word(self, left: Operand, negated: bool, start: int) -> Condition:
        """IN, BETWEEN, LIKE, CONTAINS after an optional NOT."""
        token = self.token
        if not token.is_word(*_WORD_OPS):
            raise self.error(f"IN, BETWEEN, LIKE or CONTAINS is missing after NOT; {self.found()} here")
        word = self.take().value.upper()
        op = _NOT_OPS[word] if negated else _WORD_OPS[word]
        right: tuple[Constant, ...]
        if word == "IN":
            right = self.constants("of IN")
        elif word == "BETWEEN":
            low = self.constant()
            self.need_word("AND", "between the two bounds of BETWEEN")
            right = (low, self.constant())
        elif word == "CONTAINS" and self.token.is_symbol("["):
            return self.contains_all(left, negated, start)
        else:
            right = (self.constant(),)
        self.refuse_null(right, op)
        return Compare(left, op, right, self.at(start))

    def contains_all(self, left: Operand, negated: bool, start: int) -> Condition:
        """CONTAINS [a, b]: every one of them."""
        items = self.constants("of CONTAINS")
        self.refuse_null(items, Op.CONTAINS)
        at = self.at(start)
        parts = tuple(Compare(left, Op.CONTAINS, (item,), at) for item in items)
        every: Condition = And(parts, at) if len(parts) > 1 else parts[0]
        return Not(every, at) if negated else every

    def refuse_null(self, items: tuple[Constant, ...], op: Op) -> None:
        for item in items:
            if item.value is None:
                raise self.error_at(f"NULL cannot stand in {op}", item.at, "write … IS NULL OR …")
