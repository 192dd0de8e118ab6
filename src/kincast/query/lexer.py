"""Lexer: query text → tokens with their positions; any case, any white space, comments, quoted names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from kincast.errors import QueryError

MAX_LENGTH = 20_000


class Kind(Enum):
    """What a token is."""

    WORD = "word"  # a keyword or an unquoted name
    QUOTED = "quoted"  # "in double quotes": a name, or text where a constant stands
    TEXT = "text"  # 'in single quotes'
    NUMBER = "number"  # unsigned
    DATE = "date"  # 2024-01-31 or 2024-01-31 13:00:00
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: what it is.
        value: its text; without quotes and with doubled quotes undone for TEXT and QUOTED.
        start: offset of its first character in the query.
        end: offset behind its last character.
    """

    kind: Kind
    value: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """True for one of these keywords (given in upper case), however it is written."""
        return self.kind is Kind.WORD and self.value.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """True for one of these symbols."""
        return self.kind is Kind.SYMBOL and self.value in symbols


_PATTERN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*|/\*.*?\*/)
    | (?P<open>/\*)
    | (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T\ ]\s*[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?(?![\w-]))
    | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?(?![\w.]))
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<word>[^\W\d]\w*)
    | (?P<symbol>==|!=|<>|<=|>=|[=<>().,*;+\-/\[\]%])
    """,
    re.VERBOSE | re.DOTALL,
)


def tokenize(text: str, origin: str = "") -> list[Token]:
    """Split a query into tokens; the last one is END.

    Args:
        text: the query as written, or the text of a named target.
        origin: name of that target; empty for a query.

    Raises:
        QueryError: a character that means nothing, a quote or comment that never ends, a query too long.

    >>> [token.value for token in tokenize("FOR EACH a.b -- all of them")]
    ['FOR', 'EACH', 'a', '.', 'b', '']
    """
    if len(text) > MAX_LENGTH:
        what = f"the query is longer than {MAX_LENGTH:,} characters"
        raise QueryError(what, text=text, start=MAX_LENGTH, end=len(text), target=origin)
    for position, character in enumerate(text):
        # Neither can be passed on to a database.
        if character == "\0" or "\ud800" <= character <= "\udfff":
            what = f"the character {character!r} cannot stand in a query"
            raise QueryError(what, text=text, start=position, end=position + 1, target=origin)
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            raise _unreadable(text, position, origin)
        if match.lastgroup == "open":
            raise QueryError("this comment is never closed", text=text, start=position, end=position + 2, target=origin)
        if match.lastgroup != "space":
            tokens.append(_token(str(match.lastgroup), match[0], position, match.end()))
        position = match.end()
    return [*tokens, Token(Kind.END, "", len(text), len(text))]


def _token(group: str, found: str, start: int, end: int) -> Token:
    if group in ("text", "quoted"):
        quote = found[0]
        found = found[1:-1].replace(quote * 2, quote)
    return Token(Kind(group), found, start, end)


def _unreadable(text: str, position: int, origin: str) -> QueryError:
    rest, length, hint = text[position:], 1, None
    number = re.match(r"[\d.]\w*", rest)
    if rest[0] in "'\"":
        what = "this quote is never closed"
    elif number and rest[0] != ".":
        what, length = f"'{number[0]}' is not a number", number.end()
        hint = "a name that starts with a digit is written in double quotes"
    else:
        what = f"the character {rest[0]!r} means nothing here"
    return QueryError(what, text=text, start=position, end=position + length, hint=hint, target=origin)
