"""Cursor: a place among the tokens of a query, and the words, numbers and constants read there."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import get_args

from kincast.clock import Unit
from kincast.errors import QueryError
from kincast.query.lexer import Kind, Token, tokenize
from kincast.query.tree import At, Constant, Value

MAX_DEPTH = 60
MAX_COUNT = 10_000_000
MAX_ITEMS = 1_000
UNITS: tuple[Unit, ...] = get_args(Unit)


class Cursor:
    """A place among the tokens; reading moves it forward.

    Args:
        text: the query as written, or the text of a named target.
        origin: name of that target; empty for a query.

    Raises:
        QueryError: the text is not made of tokens.
    """

    def __init__(self, text: str, origin: str = "") -> None:
        self.text = text
        self.origin = origin
        self.tokens = tokenize(text, origin)
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def ahead(self) -> Token:
        return self.tokens[min(self.index + 1, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.token
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def at(self, start: int) -> At:
        """From an offset to the end of the last token taken."""
        return At(start, max(self.tokens[max(self.index - 1, 0)].end, start), self.origin)

    def error(
        self, what: str, token: Token | None = None, hint: str | None = None, end: int | None = None
    ) -> QueryError:
        token = token or self.token
        return self.error_at(what, At(token.start, end or token.end), hint)

    def error_at(self, what: str, at: At, hint: str | None = None) -> QueryError:
        return QueryError(what, text=self.text, start=at.start, end=at.end, hint=hint, target=self.origin)

    def found(self) -> str:
        return "the query ends" if self.token.kind is Kind.END else f"found '{self.token.value}'"

    def word(self, *words: str) -> bool:
        """Take the next token when it is one of these keywords."""
        if self.token.is_word(*words):
            self.take()
            return True
        return False

    def symbol(self, symbol: str) -> bool:
        """Take the next token when it is this symbol."""
        if self.token.is_symbol(symbol):
            self.take()
            return True
        return False

    def need_symbol(self, symbol: str, why: str) -> None:
        if not self.symbol(symbol):
            raise self.error(f"'{symbol}' is missing {why}; {self.found()} here")

    def need_word(self, word: str, why: str) -> None:
        if not self.word(word):
            raise self.error(f"{word} is missing {why}; {self.found()} here", hint=self.similar((word,)))

    def similar(self, words: tuple[str, ...]) -> str | None:
        close = get_close_matches(self.token.value.upper(), words, n=1, cutoff=0.6)
        return f"did you mean {close[0]}?" if close and self.token.kind is Kind.WORD else None

    def hyphenated(self) -> str | None:
        """How to write a name with a hyphen, where the next token is a hyphen right between two words."""
        before, sign, behind = self.tokens[max(self.index - 1, 0)], self.token, self.ahead
        words = before.kind is Kind.WORD and behind.kind is Kind.WORD
        if not (sign.is_symbol("-") and words and before.end == sign.start and sign.end == behind.start):
            return None
        return f'a name with a hyphen is written in double quotes: "{before.value}-{behind.value}"'

    def nest(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"the query is nested more than {MAX_DEPTH} deep")

    def whole(self, what: str, hint: str | None = None) -> int:
        """A whole number, which may have a sign."""
        first = self.token
        negative = self.symbol("-")
        if not negative:
            self.symbol("+")
        if self.token.kind is not Kind.NUMBER or not self.token.value.isdigit() or len(self.token.value) > 18:
            raise self.error(f"{what} must be a whole number; {self.found()} here", hint=hint)
        count = int(self.take().value)
        if count > MAX_COUNT:
            raise self.error(f"{what} is too large", first, end=self.tokens[self.index - 1].end)
        return -count if negative else count

    def unit(self) -> Unit:
        word = self.token.value.lower()
        for unit in UNITS:
            if self.token.kind is Kind.WORD and word in (unit, unit[:-1]):
                self.take()
                return unit
        close = get_close_matches(word, UNITS, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(UNITS)}"
        raise self.error(f"a unit of time is needed here; {self.found()}", hint=hint)

    def constants(self, after: str) -> tuple[Constant, ...]:
        """``(c, …)`` or ``[c, …]``."""
        closing = "]" if self.token.is_symbol("[") else ")"
        if not self.symbol("["):
            self.need_symbol("(", f"before the list {after}")
        items = [self.constant()]
        while self.symbol(","):
            items.append(self.constant())
            if len(items) > MAX_ITEMS:
                raise self.error(f"more than {MAX_ITEMS:,} constants")
        self.need_symbol(closing, f"to close the list {after}")
        return tuple(items)

    def constant(self) -> Constant:
        token = self.token
        sign = ""
        if token.is_symbol("-", "+"):
            sign = "-" if self.take().value == "-" else ""
            if self.token.kind is not Kind.NUMBER:
                raise self.error(f"a number is needed after '{token.value}'; {self.found()}")
        value: Value
        found = self.token
        if found.kind is Kind.NUMBER:
            value = self.number(sign + found.value)
        elif found.kind in (Kind.TEXT, Kind.QUOTED):
            value = found.value
        elif found.kind is Kind.DATE:
            value = self.date(found)
        elif found.is_word("TRUE", "FALSE"):
            value = found.is_word("TRUE")
        elif found.is_word("NULL"):
            value = None
        else:
            raise self.no_constant()
        self.take()
        return Constant(value, self.at(token.start))

    def no_constant(self) -> QueryError:
        token = self.token
        is_text = token.kind is Kind.WORD and not token.is_word(
            "FOR", "WHERE", "ASSUMING", "AND", "OR", "NOT", "WITHIN"
        )
        hint = f"text is written in quotes: '{token.value}'" if is_text else None
        return self.error(f"a constant is needed here; {self.found()}", hint=hint)

    def date(self, token: Token) -> datetime:
        try:
            moment = datetime.fromisoformat(" ".join(token.value.replace("T", " ").split()))
        except ValueError:
            hint = "write it as 2024-01-31 or 2024-01-31 13:00:00"
            raise self.error(f"'{token.value}' is not a date", token, hint) from None
        return moment

    def number(self, written: str) -> Value:
        """An int when it is written as one, else an exact decimal."""
        exact = Decimal(written) if len(written) <= 40 else Decimal("Infinity")
        whole = written.lstrip("-").isdigit()
        if abs(exact) >= (Decimal(2**63) if whole else Decimal("1e300")):
            raise self.error(f"the number {written[:40]} is too large or too long")
        return int(exact) if whole else exact
