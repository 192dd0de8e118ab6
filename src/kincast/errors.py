"""Every exception Kincast raises on purpose, in one tree.

    KincastError
    ├── ProjectError       the project file or its folder is missing or wrong
    ├── SourceError        a database or file cannot be opened or read
    ├── SchemaError        the schema card does not fit itself or the database
    ├── DataError          the rows cannot support what was asked (empty table, no time, no positive label)
    ├── QueryError         a predictive query is wrong; carries the position and underlines it
    ├── SnapshotError      a snapshot is missing, damaged or of another database
    ├── StorageError       the disk refused (full, read-only, failing)
    ├── TrainError         training cannot start or go on
    ├── VersionError       a model version is missing, damaged or does not fit the snapshot
    ├── KeyNotFoundError   a key of the user's that no row has
    ├── ServeError         the server cannot start or answer
    └── MissingExtraError  an optional package is not installed; names the command that installs it

A message says what is wrong, where, and what to do next. ``exit_code`` is what the command line exits with:
1 the data or a check failed, 2 the request was wrong, 3 the environment is at fault.
"""

from __future__ import annotations

from collections.abc import Iterable


class KincastError(Exception):
    """Root of everything raised on purpose.

    Args:
        what: what is wrong, one sentence without a final stop.
        where: the place: ``file:line``, ``table.column``, a path.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class ProjectError(KincastError):
    """The project file or its folder is missing or wrong."""

    exit_code = 2


class SourceError(KincastError):
    """A database or file cannot be opened or read."""

    exit_code = 3


class SchemaError(KincastError):
    """The schema card does not fit itself or the database."""

    exit_code = 2


class DataError(KincastError):
    """The rows cannot support what was asked."""


class QueryError(KincastError):
    """A predictive query is wrong.

    Args:
        what: the reason.
        text: the whole query as written.
        start: offset of the first offending character, 0-based.
        end: offset behind the last offending character.
        hint: what to do next, such as a corrected query.
        target: name of the target in the project file whose text it is; empty for a query's own text.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, text: str, start: int, end: int, hint: str | None = None, target: str = ""
    ) -> None:
        self.text = text
        self.start = min(max(start, 0), len(text))
        self.end = min(max(end, self.start + 1), max(len(text), self.start + 1))
        self.line = text.count("\n", 0, self.start) + 1
        self.column = self.start - (text.rfind("\n", 0, self.start) + 1) + 1
        source = f"target {target}" if target else "query"
        super().__init__(what, where=f"{source}:{self.line}:{self.column}", hint=hint)

    def __str__(self) -> str:
        lines = self.text.split("\n")
        line = lines[self.line - 1] if self.line <= len(lines) else ""
        width = max(1, min(self.end - self.start, len(line) - self.column + 1))
        indent = "".join(character if character == "\t" else " " for character in line[: self.column - 1])
        parts = [f"{self.where}: {self.what}", f"    {line}", f"    {indent}{'^' * width}"]
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


class SnapshotError(KincastError):
    """A snapshot is missing, damaged or of another database."""


class StorageError(KincastError):
    """The disk refused: full, read-only or failing."""

    exit_code = 3


class TrainError(KincastError):
    """Training cannot start or go on."""


class VersionError(KincastError):
    """A model version is missing, damaged or does not fit the snapshot."""


class KeyNotFoundError(KincastError):
    """A key of the user's that no row has.

    Args:
        what: what is wrong, one sentence without a final stop.
        where: the table.
        hint: what to do next.
        keys: the keys that were not found, as the user gave them.
    """

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, keys: Iterable[object] = ()
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.keys = tuple(keys)


class ServeError(KincastError):
    """The server cannot start or answer."""

    exit_code = 3


class MissingExtraError(KincastError):
    """An optional package is not installed.

    Args:
        package: the package that is missing.
        extra: the extra of Kincast that brings it.
    """

    exit_code = 3

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the optional package {package} is not installed", hint=f'pip install "kincast[{extra}]"')
