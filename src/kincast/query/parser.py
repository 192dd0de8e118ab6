"""Parser: tokens → tree, by recursive descent; errors carry a caret and, where there is one, the likely correction."""

from __future__ import annotations

from kincast.query.expression import CLAUSES, SQL_WORDS, SYMBOL_OPS, Expression
from kincast.query.lexer import Kind
from kincast.query.named import is_name, lacks_window, with_window
from kincast.query.tree import At, ColumnRef, Constant, Entity, Key, Mode, Modifier, Query, Target, Window

MAX_TARGETS = 50


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


def parse_target(text: str, name: str) -> tuple[Target, Modifier | None]:
    """Read the text of a target that the project file names.

    Args:
        text: a target, with a modifier or without.
        name: what it is called, for errors.

    Raises:
        QueryError: it does not follow the grammar.
    """
    parser = _Parser(text, name)
    target, modifier = parser.either(), parser.modifier()
    if parser.token.kind is not Kind.END:
        raise parser.error(f"the target should end here; {parser.found()}", hint="a target is what follows PREDICT")
    return target, modifier


class _Parser(Expression):
    """Expressions, and one method for each clause of a query."""

    # query := [EVALUATE | EXPLAIN] PREDICT target {, target} [modifier] FOR [EACH] entity
    #          [WITHIN n unit] [WHERE condition] [ASSUMING condition] [;]
    def query(self) -> Query:
        mode = Mode(self.take().value.upper()) if self.token.is_word("EVALUATE", "EXPLAIN") else Mode.PREDICT
        if not self.word("PREDICT"):
            hint = (
                self.similar(("PREDICT",)) or "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id"
            )
            raise self.error(f"a query starts with PREDICT; {self.found()} here", hint=hint)
        targets = self.targets()
        modifier = self.modifier()
        entity, within = self.entity()
        where = self.condition("WHERE") if self.word("WHERE") else None
        assuming = self.condition("ASSUMING") if self.word("ASSUMING") else None
        self.symbol(";")
        if self.token.kind is not Kind.END:
            order: str | None = self.similar(("WHERE", "ASSUMING", "AND", "OR"))
            if self.token.is_word(*CLAUSES):
                order = "the order is PREDICT … FOR EACH … WHERE … ASSUMING …, each once"
            order = SQL_WORDS.get(self.token.value.upper(), order) or self.hyphenated()
            raise self.error(f"the query should end here; {self.found()}", hint=order)
        if within:
            targets = self.give_window(targets, within)
        kept = within if any(is_name(target) for target in targets) else None
        whole = At(0, len(self.text))
        return Query(targets[0], entity, modifier, where, assuming, mode, targets[1:], kept, whole)

    def targets(self) -> tuple[Target, ...]:
        targets: list[Target] = []
        while not targets or self.symbol(","):
            target = self.either()
            if isinstance(target, Constant):
                raise self.error_at("a target needs a column or an aggregate; this is a constant", target.at)
            targets.append(target)
            if len(targets) > MAX_TARGETS:
                raise self.error(f"more than {MAX_TARGETS} targets")
        return tuple(targets)

    def give_window(self, targets: tuple[Target, ...], within: Window) -> tuple[Target, ...]:
        """The targets with the window of WITHIN where they have none."""
        if not any(is_name(target) or lacks_window(target) for target in targets):
            what = "WITHIN gives a window to aggregates without one, and there are none"
            raise self.error_at(what, within.at, "leave out WITHIN, or the window inside the aggregate")
        return tuple(with_window(target, within) for target in targets)

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

    # entity := FOR EACH ref | FOR EACH ( ref {, ref} ) | FOR ref [= key | IN ( key {, key} )]
    def entity(self) -> tuple[Entity, Window | None]:
        if not self.word("FOR"):
            hint = self.similar(("FOR",)) or "the target is followed by FOR EACH table.key"
            hint = SQL_WORDS.get(self.token.value.upper(), hint)
            if self.token.value in SYMBOL_OPS:
                hint = "a comparison has two sides; AND joins two comparisons"
            raise self.error(f"FOR EACH is missing; {self.found()} here", hint=hint)
        each = self.word("EACH")
        start = self.token.start
        refs = self.key_columns()
        keys: tuple[Key, ...] | None = None
        if each and (self.token.is_symbol("=", "==") or self.token.is_word("IN")):
            raise self.error("FOR EACH means every row", hint="leave out EACH to name keys: FOR table.key IN (…)")
        if self.symbol("=") or self.symbol("=="):
            keys = (self.key(),)
        elif self.word("IN"):
            keys = self.keys()
        entity = Entity(refs[0], refs[1:], keys, self.at(start))
        within = None
        if self.word("WITHIN"):
            first = self.token
            count = self.whole("the length after WITHIN", "write WITHIN 30 days")
            unit = self.unit()
            within = Window(0, count, unit, self.at(first.start))
        return entity, within

    def key_columns(self) -> tuple[ColumnRef, ...]:
        what = "the entity's key column"
        if not self.symbol("("):
            return (self.ref(what),)
        refs = [self.ref(what)]
        while self.symbol(","):
            refs.append(self.ref(what))
        self.need_symbol(")", "to close the list of key columns")
        return tuple(refs)

    def keys(self) -> tuple[Key, ...]:
        """( key {, key} ) or the same in [ ]."""
        closing = "]" if self.token.is_symbol("[") else ")"
        if not self.symbol("["):
            self.need_symbol("(", "before the list of IN")
        keys = [self.key()]
        while self.symbol(","):
            keys.append(self.key())
        self.need_symbol(closing, "to close the list of IN")
        return tuple(keys)

    def key(self) -> Key:
        """One constant, or as many in parentheses as the key has columns."""
        return self.constants("of a key's columns") if self.token.is_symbol("(") else (self.constant(),)
