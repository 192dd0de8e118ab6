"""Card: the schema as a YAML file that a person reads and edits, with the evidence as comments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import yaml

from kincast.atomic import replace_text
from kincast.clock import parse_span
from kincast.errors import KincastError, ProjectError, SchemaError
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

_HEAD = """\
# What the database looks like to Kincast. Edit it freely: comments only say why something was chosen.
# type:  numerical categorical multicategorical boolean timestamp text, vector (a list of always as many numbers),
#        sequence (a list of now more, now fewer numbers), id (names a row, never a feature), ignored
# time:  when a row came to be: a date column, {column: date, clock: time}, or {via: order_id} for the time of the row
#        that a link leads to; 'shift: -1 day' moves it. A table without 'time' is taken to have been there always.
# versions: {from: valid_from, to: valid_to} instead of time: many rows a key, of which one is valid at each instant.
# links: the columns on the left name a row of the table on the right, by its key.
"""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# YAML 1.1 reads these as something else than text.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_TABLE_WORDS = ("key", "time", "end_time", "versions", "columns")
_VERSION_WORDS = ("from", "to")
_TIME_WORDS = ("column", "clock", "via", "shift")
_COLUMN_WORDS = ("type", "stored", "format", "separator")


def key_place(table: str) -> str:
    """Where the evidence for a table's key belongs."""
    return f"{table}: key"


def time_place(table: str) -> str:
    """Where the evidence for a table's time belongs."""
    return f"{table}: time"


def end_place(table: str) -> str:
    """Where the evidence for a table's end time belongs."""
    return f"{table}: end_time"


def column_place(table: str, column: str) -> str:
    """Where the evidence for a column's type belongs."""
    return f"{table}: column {column}"


def link_place(link: Link) -> str:
    """Where the evidence for a link belongs."""
    return f"link {link.name}"


def write_card(path: Path, schema: Schema, evidence: Mapping[str, str]) -> None:
    """Write the schema as an editable YAML card; the file appears whole or not at all.

    Args:
        path: the card.
        schema: what to write.
        evidence: place → sentence, written as a comment there; places are made by the functions above.

    Raises:
        StorageError: the disk refused.
    """
    replace_text(path, card_text(schema, evidence))


def card_text(schema: Schema, evidence: Mapping[str, str]) -> str:
    """The text of the card."""
    lines: list[tuple[str, str | None]] = []
    for table in schema:
        lines += [("", None), (f"  {_word(table.name)}:", evidence.get(table.name))]
        lines += _table_lines(table, evidence)
    parts = [_HEAD, "tables:", _aligned(lines)] if lines else [_HEAD, "tables: {}", ""]
    links: list[tuple[str, str | None]] = [
        (f"  - {_link_word(link)}", evidence.get(link_place(link))) for link in schema.links
    ]
    parts += ["links:", _aligned(links)] if links else ["links: []", ""]
    return "\n".join(parts)


def read_card(path: Path) -> Schema:
    """Read a schema card.

    Raises:
        SchemaError: it is not there, not YAML, has unknown words, or does not fit itself; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SchemaError("there is no schema card", where=str(path), hint="kincast init") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"cannot be read: {error}", where=str(path)) from None
    return parse_card(text, str(path))


def parse_card(text: str, name: str = "schema.yaml") -> Schema:
    """Read the text of a schema card.

    Args:
        text: YAML.
        name: of the file, for messages.

    Raises:
        SchemaError: see ``read_card``.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SchemaError(f"not YAML: {reason}", where=where) from None
    except RecursionError:
        raise SchemaError("is nested too deeply", where=name) from None
    return _Reader(name).schema(root)


# writing


def _table_lines(table: Table, evidence: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    if table.key or key_place(table.name) in evidence:
        key = _word(table.key[0]) if len(table.key) == 1 else _list(table.key)
        yield f"    key: {key}", evidence.get(key_place(table.name))
    if table.versioned and table.time is not None:
        words = f"{{from: {_word(table.time.column or '')}, to: {_word(table.end_time or '')}}}"
        yield f"    versions: {words}", evidence.get(time_place(table.name))
    elif table.time is not None:
        yield f"    time: {_time_word(table.time)}", evidence.get(time_place(table.name))
    elif time_place(table.name) in evidence:
        yield "    time: null", evidence[time_place(table.name)]
    if table.end_time is not None and not table.versioned:
        yield f"    end_time: {_word(table.end_time)}", evidence.get(end_place(table.name))
    if not table.columns:
        yield "    columns: {}", None
        return
    yield "    columns:", None
    for column in table.columns:
        values = {"type": column.type.value, "stored": column.stored}
        values |= {"format": column.format} if column.format is not None else {}
        values |= {"separator": column.separator} if column.separator is not None else {}
        text = ", ".join(f"{word}: {_word(value)}" for word, value in values.items())
        yield f"      {_word(column.name)}: {{{text}}}", evidence.get(column_place(table.name, column.name))


def _aligned(lines: Iterable[tuple[str, str | None]]) -> str:
    """Lines with their comments one below the other, within reason."""
    lines = list(lines)
    width = min(max((len(line) for line, comment in lines if comment), default=0), 70)
    texts = []
    for line, comment in lines:
        said = "".join(c if c.isprintable() else " " for c in comment) if comment else None
        texts.append(f"{line:<{width}}  # {said}" if said else line)
    return "\n".join(texts) + "\n"


def _word(text: str) -> str:
    """A text as a YAML scalar, quoted only where it must be."""
    means_itself = text.lower() not in _YAML_WORDS
    if _PLAIN.fullmatch(text) and means_itself:
        return text
    if re.fullmatch(r"[A-Z]+( [A-Z]+)*(\[\])?", text) and means_itself:
        return text if not text.endswith("]") else f'"{text}"'
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 30)
    return dumped.rstrip("\n")


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_word, texts))}]"


def _time_word(time: RowTime) -> str:
    values = {"column": time.column, "clock": time.clock, "via": time.via}
    given = {word: _word(value) for word, value in values.items() if value is not None}
    if list(given) == ["column"] and time.shift is None:
        return given["column"]
    given |= {"shift": str(time.shift)} if time.shift is not None else {}
    return "{" + ", ".join(f"{word}: {value}" for word, value in given.items()) + "}"


def _link_word(link: Link) -> str:
    text = f"{_end(link.table, link.columns)} -> {_end(link.target, link.target_columns)}"
    simple = re.fullmatch(r"[\w.() ,>-]+", text) and text.isascii()
    dumped: str = text if simple else yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 30)
    return dumped.rstrip("\n")


def _end(table: str, columns: tuple[str, ...]) -> str:
    return (
        f"{_name(table)}.{_name(columns[0])}"
        if len(columns) == 1
        else f"{_name(table)}.({', '.join(map(_name, columns))})"
    )


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


# reading

_QUOTED = r'"(?:[^"]|"")*"'
_BARE = r'[^\s".,()]+'
_NAME = rf"(?:{_QUOTED}|{_BARE})"
_NAMES = rf"\(\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\)"
_END = rf"((?:{_NAME}\.)*{_NAME})\.({_NAME}|{_NAMES})"
_LINK = re.compile(rf"\s*{_END}\s*->\s*{_END}\s*", re.DOTALL)


class _Reader:
    """Walks the YAML nodes, which know their lines."""

    def __init__(self, name: str) -> None:
        self._name = name

    def schema(self, root: yaml.Node | None) -> Schema:
        if root is None:
            raise SchemaError("the card is empty", where=self._name, hint="kincast init writes one")
        parts = self._mapping(root, "the card", ("tables", "links"))
        if "tables" not in parts:
            self._fail(root, "the card has no 'tables'")
        tables = {}
        lines = {}
        for name, node in self._mapping(parts["tables"], "'tables'").items():
            tables[name] = self._table(name, node)
            lines[name] = node
        links = []
        for node in self._sequence(parts["links"], "'links'") if "links" in parts else ():
            link = self._link(node, tables)
            if link in links:
                self._fail(node, f"the link {link} is there twice")
            links.append(link)
            lines[link.name] = node
        return self._checked(root, tuple(tables.values()), tuple(links), lines)

    def _checked(
        self, root: yaml.Node, tables: tuple[Table, ...], links: tuple[Link, ...], lines: dict[str, yaml.Node]
    ) -> Schema:
        """The schema; what is wrong with it as a whole is blamed on the table or link it names."""
        try:
            schema = Schema(tables, links)
            schema.in_time_order()
        except SchemaError as error:
            blamed = sorted((name for name in lines if name in error.what), key=len)
            self._fail(lines[blamed[-1]] if blamed else root, error.what, error.hint)
        return schema

    def _table(self, name: str, node: yaml.Node) -> Table:
        values = self._mapping(node, f"table {name}", _TABLE_WORDS)
        if "columns" not in values:
            self._fail(node, f"table {name} has no 'columns'")
        columns = tuple(
            self._column(column, value) for column, value in self._mapping(values["columns"], "'columns'").items()
        )
        names = [column.name for column in columns]
        key: tuple[str, ...] = ()
        if "key" in values and not self._is_null(values["key"]):
            found = values["key"]
            parts = self._sequence(found, "'key'") if isinstance(found, yaml.SequenceNode) else [found]
            key = tuple(self._known(part, names, f"column of {name}") for part in parts)
        if "versions" in values:
            return self._versions(Table(name, columns, key), values)
        time = self._time(name, values["time"], names) if "time" in values else None
        end = values.get("end_time")
        end_time = self._known(end, names, f"column of {name}") if end is not None and not self._is_null(end) else None
        return Table(name, columns, key, time, end_time)

    def _versions(self, table: Table, values: dict[str, yaml.Node]) -> Table:
        node = values["versions"]
        for other in ("time", "end_time"):
            if other in values:
                self._fail(values[other], f"table {table.name} has 'versions', which say its {other} too")
        parts = self._mapping(node, "'versions'", _VERSION_WORDS)
        names = [column.name for column in table.columns]
        for word in _VERSION_WORDS:
            if word not in parts:
                self._fail(node, f"'versions' of table {table.name} have no '{word}'")
        if not table.key:
            self._fail(node, f"table {table.name} has versions but no key that says what they are versions of")
        start, end = (self._known(parts[word], names, f"column of {table.name}") for word in _VERSION_WORDS)
        return Table(table.name, table.columns, table.key, RowTime(column=start), end, versioned=True)

    def _column(self, name: str, node: yaml.Node) -> Column:
        values = self._mapping(node, f"column {name}", _COLUMN_WORDS)
        for needed in ("type", "stored"):
            if needed not in values:
                self._fail(node, f"column {name} has no '{needed}'")
        kind = self._known(values["type"], [member.value for member in SemanticType], "type")
        given = {word: self._text(value) for word, value in values.items() if not self._is_null(value)}
        return Column(name, SemanticType(kind), given.get("stored", ""), given.get("format"), given.get("separator"))

    def _time(self, table: str, node: yaml.Node, columns: list[str]) -> RowTime | None:
        if self._is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return RowTime(column=self._known(node, columns, f"column of {table}"))
        values = self._mapping(node, "'time'", _TIME_WORDS)
        named = {
            word: self._known(values[word], columns, f"column of {table}")
            for word in ("column", "clock", "via")
            if word in values
        }
        shift = values.get("shift")
        try:
            span = parse_span(self._text(shift)) if shift is not None else None
            return RowTime(named.get("column"), named.get("clock"), named.get("via"), span)
        except (ProjectError, SchemaError) as error:
            self._fail(shift if isinstance(error, ProjectError) and shift else node, error.what, error.hint)

    def _link(self, node: yaml.Node, tables: dict[str, Table]) -> Link:
        text = self._text(node)
        match = _LINK.fullmatch(text)
        if match is None:
            hint = "write orders.customer_id -> customers.customer_id, or goals.(date, team) -> games.(date, team)"
            self._fail(node, f"'{text}' is not a link", hint)
        ends = []
        for table_text, column_text in ((match[1], match[2]), (match[3], match[4])):
            table = ".".join(map(_unquoted, re.findall(_NAME, table_text)))
            if table not in tables:
                self._unknown(node, table, list(tables), "table")
            columns = tuple(map(_unquoted, re.findall(_NAME, column_text)))
            for column in columns:
                if not tables[table].has_column(column):
                    names = [column.name for column in tables[table].columns]
                    self._unknown(node, column, names, f"column of {table}")
            ends.append((table, columns))
        return Link(*ends[0], *ends[1])

    # nodes

    def _mapping(self, node: yaml.Node, what: str, words: Iterable[str] | None = None) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"{what} must be a mapping of names to values")
        values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if words is not None and name not in words:
                self._unknown(key, name, list(words), f"word in {what}")
            if name in values:
                self._fail(key, f"'{name}' is there twice in {what}")
            values[name] = value
        return values

    def _sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if self._is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._fail(node, f"{what} must be a list")
        found: list[yaml.Node] = node.value
        return found

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._fail(node, "a single word is needed here")
        return str(node.value)

    def _is_null(self, node: yaml.Node) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"

    def _known(self, node: yaml.Node, words: list[str], what: str) -> str:
        text = self._text(node)
        if text not in words:
            self._unknown(node, text, words, what)
        return text

    def _unknown(self, node: yaml.Node, text: str, words: list[str], what: str) -> NoReturn:
        folded = {word.casefold(): word for word in words}
        close = difflib.get_close_matches(text.casefold(), folded, n=1, cutoff=0.6)
        hint = f"did you mean '{folded[close[0]]}'?" if close else f"there is {', '.join(words) or 'none'}"
        self._fail(node, f"'{text}' is no {what}", hint)

    def _fail(self, node: yaml.Node, what: str, hint: str | None = None) -> NoReturn:
        error: KincastError = SchemaError(what, where=f"{self._name}:{node.start_mark.line + 1}", hint=hint)
        raise error from None


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
