"""Dead letter: changes that a rule rejects, kept with the rule until they are replayed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kincast.atomic import replace_text, storage_errors
from kincast.errors import DataError, SchemaError
from kincast.graph.delta import DELTA_FOLDER, DeltaLog, write_all
from kincast.graph.judge import Judge
from kincast.schema import Schema
from kincast.source.change import Changes, Delivery, Unread
from kincast.source.event import Message, as_text, read_events, text_rows

LETTERS_FILE = "deadletters.jsonl"
UNREADABLE = "changes.unreadable"
"""The rule of changes that cannot be judged at all, such as deletions in a table without a key."""

_STREAM = "deadletters"


@dataclass(frozen=True, slots=True)
class Letter:
    """A change that was rejected, or a message that is no change.

    Attributes:
        id: 16 hexadecimal digits, the same for the same letter.
        stream: where it came from.
        rule: what rejects it.
        table: whose row it is; empty for messages.
        row: name of a column → value as it came, as text; empty for messages.
        sequence: of the change.
        deleted: the row is gone.
        row_id: tells rows without a key apart; None for tables with one.
        text: of a message.
    """

    id: str
    stream: str
    rule: str
    table: str = ""
    row: Mapping[str, Any] | None = None
    sequence: int = 0
    deleted: bool = False
    row_id: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of letters: changes kept now, and letters that a rule still rejects."""

    kept: int
    left: int


def letters_of(stream: str, changes: Changes, rules: Sequence[str | None]) -> list[Letter]:
    """The rows that a rule rejects, as letters."""
    found = []
    chosen = [i for i, rule in enumerate(rules) if rule is not None]
    for i, row in zip(chosen, changes.rows.take(chosen).to_pylist() if chosen else [], strict=True):
        plain = {
            name: [as_text(item) for item in value] if isinstance(value, list) else as_text(value)
            for name, value in row.items()
        }
        row_id = changes.ids[i] if changes.ids is not None else None
        letter = Letter(
            "", stream, str(rules[i]), changes.table, plain, int(changes.sequence[i]), bool(changes.deleted[i]), row_id
        )
        found.append(_identified(letter))
    return found


def letters_of_messages(stream: str, unread: Iterable[Unread]) -> list[Letter]:
    """Messages that are no changes, as letters."""
    return [_identified(Letter("", stream, one.rule, row_id=one.id, text=one.text)) for one in unread]


class DeadLetters:
    """The letters of a folder of snapshots; only who writes the log there may write them.

    Args:
        root: folder of all versions.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / DELTA_FOLDER / LETTERS_FILE

    def add(self, letters: Sequence[Letter]) -> None:
        """Keep letters; they are on the disk when this returns.

        Raises:
            StorageError: the disk refused.
        """
        if not letters:
            return
        lines = "".join(json.dumps(asdict(letter), ensure_ascii=False) + "\n" for letter in letters).encode()
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":  # a writer was killed in the middle of a line
                    lines = b"\n" + lines
                write_all(file, lines)
                os.fsync(file)
            finally:
                os.close(file)

    def read(self) -> list[Letter]:
        """All letters, oldest first, each once; what a killed writer left half-written is left out."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return []
        found: dict[str, Letter] = {}
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                letter = Letter(**json.loads(line)) if line else None
                if letter is not None:
                    found.setdefault(letter.id, letter)
        return list(found.values())

    def replay(self, log: DeltaLog, schema: Schema) -> Replayed:
        """Judge all letters again, and let those that no rule rejects any more join the log.

        A change keeps its sequence: where its row has changed since, the later change goes on holding.

        Raises:
            StorageError: the disk refused; letters that were kept already stay, and do no harm when they come again.
        """
        letters = self.read()
        judge, kept, left = Judge(schema), [], []
        for changes, own in _changes_of(letters, schema):
            rules = judged_rules(judge, changes)
            accepted = np.array([rule is None for rule in rules], np.bool_)
            if accepted.any():
                kept.append(_chosen(changes, np.flatnonzero(accepted)))
            left += [
                _identified(replace(letter, rule=str(rule)))
                for letter, rule in zip(own, rules, strict=True)
                if rule is not None
            ]
        known = {letter.id for _, own in _changes_of(letters, schema) for letter in own}
        left += [letter for letter in letters if letter.id not in known]
        if kept:
            position = hashlib.sha256("".join(letter.id for letter in letters).encode()).hexdigest()[:16]
            log.append(Delivery(_STREAM, position, tuple(kept)))
        self._write(left)
        return Replayed(sum(map(len, kept)), len(left))

    def forget(self, parts: Sequence[str]) -> int:
        """Remove every letter that names a key, whatever its table; returns how many.

        Args:
            parts: the key's values as text; a message is removed when all of them occur in it.

        Raises:
            StorageError: the disk refused.
        """
        letters = self.read()
        left = [letter for letter in letters if not _names(letter, parts)]
        if len(left) < len(letters):
            self._write(left)
        return len(letters) - len(left)

    def _write(self, letters: Sequence[Letter]) -> None:
        text = "".join(json.dumps(asdict(letter), ensure_ascii=False) + "\n" for letter in letters)
        replace_text(self.path, text)


def judged_rules(judge: Judge, changes: Changes) -> list[str | None]:
    """Per change the rule that rejects it, or None."""
    try:
        rules: list[str | None] = judge.judge(changes).rules.to_pylist()
    except (DataError, SchemaError):
        return [UNREADABLE] * len(changes)
    return rules


def _names(letter: Letter, parts: Sequence[str]) -> bool:
    if letter.text is not None:
        return all(part in letter.text for part in parts)
    values = [as_text(value) for value in (letter.row or {}).values()]
    return all(part in values for part in parts)


def _changes_of(letters: Sequence[Letter], schema: Schema) -> list[tuple[Changes, list[Letter]]]:
    """The letters of tables that there are, as changes; one that cannot be read is alone with itself."""
    found: list[tuple[Changes, list[Letter]]] = []
    groups: dict[tuple[str, bool], list[Letter]] = {}
    for letter in letters:
        if letter.text is not None:
            read, _ = read_events([Message(str(letter.row_id), letter.sequence, letter.text.encode())], schema)
            found += [(changes, [letter]) for changes in read]
        elif schema.has_table(letter.table) and letter.row is not None:
            groups.setdefault((letter.table, letter.rule == UNREADABLE), []).append(letter)
    for (table, alone), own in groups.items():
        found += [(_as_changes(schema, table, part), part) for part in ([[one] for one in own] if alone else [own])]
    return found


def _as_changes(schema: Schema, table: str, letters: list[Letter]) -> Changes:
    found = schema.table(table)
    rows = text_rows([letter.row or {} for letter in letters], [column.name for column in found.columns])
    sequence = np.array([letter.sequence for letter in letters], np.int64)
    ids = None if found.key else tuple(str(letter.row_id) for letter in letters)
    return Changes(table, rows, sequence, np.array([letter.deleted for letter in letters], np.bool_), ids)


def _chosen(changes: Changes, index: Any) -> Changes:
    ids = None if changes.ids is None else tuple(changes.ids[i] for i in index.tolist())
    return Changes(changes.table, changes.rows.take(index), changes.sequence[index], changes.deleted[index], ids)


def _identified(letter: Letter) -> Letter:
    text = json.dumps(asdict(replace(letter, id="")), sort_keys=True, ensure_ascii=False)
    return replace(letter, id=hashlib.sha256(text.encode()).hexdigest()[:16])
