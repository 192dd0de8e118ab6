"""Svg: drawings as text, every word of it escaped; positions in per cent, so that a chart fits any width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """One element; ``class_`` and ``text_anchor`` become ``class`` and ``text-anchor``; None leaves an attribute out.

    >>> str(element("text", "a < b", class_="label", x=3))
    '<text class="label" x="3">a &lt; b</text>'
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, inside)


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def percent(share: float) -> str:
    """A share of the width or height as an attribute.

    >>> percent(0.5)
    '50%'
    """
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """Straight lines through points."""
    return "M" + " L".join(f"{x:.2f},{y:.2f}" for x, y in points)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about that many.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** np.floor(np.log10(rough))
    step = min((1, 2, 5, 10), key=lambda times: abs(times * unit - rough)) * unit
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(round(number * step, 10)) + 0.0 for number in range(first, last + 1)]


def number(value: float, step: float | None = None) -> str:
    """A number as short as it can be read: 0.8123, 4.17, 1,204.

    Args:
        value: the number.
        step: distance of neighbouring ticks; decides the digits of a tick's label.
    """
    if step is not None:
        return f"{value:,.{max(0, -int(np.floor(np.log10(step) + 1e-9)))}f}"
    size = abs(value)
    digits = 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}"


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Least and greatest value with some room on both sides; never an empty range."""
    low, high = float(min(values)), float(max(values))
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room
