"""Console: what a command shows: sentences, tables, progress bars, or one JSON value."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kincast.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

# Without a terminal a step says how far it is at most this often.
_PLAIN_EVERY_S = 15.0
_NUMBER = re.compile(r"[-+]?[\d.,]+(\D|$)|–$")
_MIN_WRAPPED = 24  # letters a line that a column of sentences is wrapped to must have at least
_STYLES = {"fail": "bold red", "warn": "yellow", "note": "cyan", "ok": "green"}


class Console:
    """Text goes to standard output, progress to standard error; with ``as_json`` only the JSON value is printed.

    Args:
        as_json: print one JSON value at the end and no text.
        quiet: print no text and no progress.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def shows_text(self) -> bool:
        """True when sentences and tables are printed."""
        return not (self.as_json or self.quiet)

    def say(self, text: str = "") -> None:
        """Print a sentence as it is."""
        if self.shows_text:
            print(text)

    def verdict(self, verdict: str, text: str) -> None:
        """Print a line that starts with a verdict: ok, note, warn or fail, coloured on a terminal."""
        if not self.shows_text:
            return
        if sys.stdout.isatty():
            from rich.console import Console as RichConsole
            from rich.markup import escape

            style = _STYLES[verdict]
            RichConsole().print(f"[{style}]{verdict:>4}[/{style}]  {escape(text)}", soft_wrap=True, highlight=False)
        else:
            print(f"{verdict:>4}  {text}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
        """Print a table: columns of numbers to the right, others to the left."""
        if self.shows_text:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            print("\n".join([*([title] if title else []), *fitted_lines(columns, rows, width), ""]))

    def result(self, value: Any) -> None:
        """Print the JSON value of a command that was asked for one."""
        if self.as_json and not self.quiet:
            print(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress of long steps: bars on a terminal, a line per step elsewhere."""
        if self.as_json or self.quiet:
            yield silent
        elif sys.stderr.isatty():
            with _bars() as bars:
                yield _BarProgress(bars)
        else:
            lines = _LineProgress()
            yield lines
            lines.close()


class _BarProgress:
    """Each step is one bar."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step.replace("[", r"\["), total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


class _LineProgress:
    """Each step is a line when it ends, and one now and then while it goes on."""

    def __init__(self) -> None:
        self._step: str | None = None
        self._started = self._said = time.monotonic()

    def __call__(self, step: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if step != self._step:
            self.close()
            self._step, self._started, self._said = step, now, now
        elif now - self._said >= _PLAIN_EVERY_S:
            self._said = now
            share = f"{100 * done // total} %" if total else f"{done:,}"
            print(f"  {step}: {share} after {now - self._started:.0f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Say how long the step took, if it took long enough to matter."""
        seconds = time.monotonic() - self._started
        if self._step is not None and seconds >= 1.0:
            print(f"  {self._step}: {seconds:.1f} s", file=sys.stderr, flush=True)
        self._step = None


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, the names of its columns and a rule above it.

    >>> table_lines(("name", "rows"), [("orders", "1,200"), ("views", "80")])
    ['  name     rows', '  ──────  ─────', '  orders  1,200', '  views      80']
    """
    widths = [max(len(name), *(len(row[i]) for row in rows), 1) for i, name in enumerate(columns)]
    right = [bool(rows) and all(_NUMBER.match(row[i]) for row in rows) for i in range(len(columns))]
    lines = []
    for row in (columns, ["─" * width for width in widths], *rows):
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return lines


def fitted_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table no wider than a terminal, as far as that goes.

    A last column of sentences is wrapped; what is still too wide is cut into several tables, one below the other, each
    beginning with the first column.

    Args:
        columns: their names.
        rows: their cells.
        width: letters a line may have; None for any number.
    """
    lines = table_lines(columns, rows)
    if width is None or max(map(len, lines)) <= width or len(columns) == 1:
        return lines
    used = 2 + sum(max(len(name), *(len(row[i]) for row in rows)) + 2 for i, name in enumerate(columns[:-1]))
    if width - used >= _MIN_WRAPPED and any(" " in row[-1] for row in rows):
        wrapped: list[Sequence[str]] = []
        for row in rows:
            first, *rest = textwrap.wrap(row[-1], width - used, break_long_words=False, break_on_hyphens=False) or [""]
            wrapped += [(*row[:-1], first), *((*("" for _ in row[:-1]), part) for part in rest)]
        return table_lines(columns, wrapped)
    count = len(columns)
    while count > 2 and max(map(len, table_lines(columns[:count], [row[:count] for row in rows]))) > width:
        count -= 1
    if count == len(columns):
        return lines
    later = (columns[0], *columns[count:]), [(row[0], *row[count:]) for row in rows]
    return [*table_lines(columns[:count], [row[:count] for row in rows]), "", *fitted_lines(*later, width)]


def _bars() -> RichProgress:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=RichConsole(stderr=True), transient=False)


def amount(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``.

    >>> amount(2000, "row")
    '2,000 rows'
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
