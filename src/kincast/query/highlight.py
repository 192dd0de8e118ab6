"""Highlight: query text → pieces with a class each, for pages; text that is no query is shown as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from kincast.errors import QueryError
from kincast.query.lexer import Kind, Token, tokenize
from kincast.query.print import RESERVED
from kincast.query.tree import Function

_UNITS = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})
_CLASSES = {
    Kind.WORD: "name",
    Kind.QUOTED: "name",
    Kind.TEXT: "text",
    Kind.NUMBER: "number",
    Kind.DATE: "number",
    Kind.SYMBOL: "symbol",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a query's text.

    Attributes:
        text: as written.
        kind: ``keyword``, ``function``, ``name``, ``text``, ``number``, ``symbol``, ``comment``, ``space`` or, for
            what cannot be read, ``unknown``.
    """

    text: str
    kind: str


def highlight(text: str) -> list[Piece]:
    """Cut a query into pieces; together they are the text again.

    Args:
        text: a query, or anything else.

    >>> [piece.kind for piece in highlight("PREDICT x.y")]
    ['keyword', 'space', 'name', 'symbol', 'name']
    """
    try:
        tokens = tokenize(text)
    except QueryError as error:
        known = highlight(text[: error.start]) if 0 < error.start < len(text) else []
        return [*known, Piece(text[error.start :] if known else text, "unknown")]
    return [piece for piece in _pieces(text, tokens) if piece.text]


def _pieces(text: str, tokens: list[Token]) -> Iterator[Piece]:
    end, before = 0, tokens[-1]
    for token, following in pairwise([*tokens, tokens[-1]]):
        yield from _between(text[end : token.start])
        yield Piece(text[token.start : token.end], _class(token, following, before))
        end, before = token.end, token


def _between(gap: str) -> Iterator[Piece]:
    """Comments and the space around them; only whole comments can stand between two tokens."""
    while gap:
        space = gap[: len(gap) - len(gap.lstrip())]
        yield Piece(space, "space")
        gap = gap[len(space) :]
        if gap:
            close = gap.find("*/") + 2 if gap.startswith("/*") else gap.find("\n")
            close = len(gap) if close <= 0 else close
            yield Piece(gap[:close], "comment")
            gap = gap[close:]


def _class(token: Token, following: Token, before: Token) -> str:
    word = token.value.lower()
    if token.kind is not Kind.WORD or before.is_symbol(".") or following.is_symbol("."):
        return _CLASSES.get(token.kind, "space")
    if word.upper() in Function.__members__ and following.is_symbol("("):
        return "function"
    return "keyword" if word in RESERVED or word.removesuffix("s") in _UNITS else "name"
