"""Charts: a strip of dots and whiskers, a curve by epoch, a calibration plot, score distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kincast.web.svg import element, number, padded, path_of, percent, ticks

Floats = NDArray[np.float64]
Scale = Callable[[float], float]
"""A value → its share of the width, or of the height from above."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One contender of a comparison.

    Attributes:
        name: what it is called.
        role: ``model``, ``baseline`` or ``quoted``.
        value: what it reached; NaN where it was not measured.
        low: lower end of its interval; equal to ``value`` where none is known.
        high: upper end.
    """

    name: str
    role: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Strip:
    """A mark with the drawing of its dot and whisker."""

    mark: Mark
    drawing: Markup


def strips(marks: Sequence[Mark]) -> tuple[list[Strip], Markup]:
    """Dots with whiskers over a common scale.

    Args:
        marks: in the order they are to stand; one that was not measured gets an empty strip.

    Returns:
        One drawing per mark, and the scale to put below them.
    """
    ends = [x for m in marks for x in (m.low, m.value, m.high) if math.isfinite(x)]
    scale, marked = _scale(*padded(ends) if ends else (0.0, 1.0))
    ours = next((m.value for m in marks if m.role == "model" and math.isfinite(m.value)), None)
    guides = [_upright(scale(t), "guide") for t in marked]
    if ours is not None:
        guides.append(_upright(scale(ours), "ours"))
    labels = [
        element("text", text, x=percent(scale(t)), y=13, text_anchor=_anchor(scale(t)), class_="tick")
        for t, text in _labelled(marked)
    ]
    axis = element("svg", *labels, class_="strip", width="100%", height=18, aria_hidden="true")
    return [Strip(mark, _strip(mark, scale, guides)) for mark in marks], axis


def _strip(mark: Mark, scale: Scale, guides: list[Markup]) -> Markup:
    parts = list(guides)
    label = f"{mark.name}: not measured"
    if math.isfinite(mark.value):
        label = f"{mark.name}: {number(mark.value)}"
        if mark.high > mark.low:
            label += f", from {number(mark.low)} to {number(mark.high)}"
            ends = {"x1": percent(scale(mark.low)), "x2": percent(scale(mark.high))}
            parts.append(element("line", class_=f"whisker {mark.role}", y1=14, y2=14, **ends))
        parts.append(element("circle", class_=f"dot {mark.role}", cx=percent(scale(mark.value)), cy=14, r=5))
    return element("svg", *parts, class_="strip", width="100%", height=28, role="img", aria_label=label)


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a list of sizes.

    Attributes:
        name: what it is of.
        size: at least 0.
        drawing: its bar.
    """

    name: str
    size: float
    drawing: Markup


def bars(sizes: Sequence[tuple[str, float]]) -> list[Bar]:
    """Horizontal bars over a common scale that begins at 0, in the order given."""
    most = max((size for _, size in sizes), default=0.0) or 1.0
    found = []
    for name, size in sizes:
        bar = element("rect", class_="bar up", x="0%", y=4, width=percent(size / most), height=12)
        label = f"{name}: {number(size)}"
        drawing = element("svg", bar, class_="strip", width="100%", height=20, role="img", aria_label=label)
        found.append(Bar(name, size, drawing))
    return found


def curve(values: Sequence[float], best: int | None, label: str) -> Markup:
    """A metric by epoch, the best epoch marked.

    Args:
        values: one per epoch, the first epoch first; NaN leaves a gap.
        best: 1-based epoch the weights were taken from; None marks none.
        label: what the values are.
    """
    epochs = len(values)
    finite = [v for v in values if math.isfinite(v)]
    down, marked = _scale(*padded(finite or [0.0], 0.12))
    across: Scale = lambda epoch: (epoch - 1) / max(epochs - 1, 1)  # noqa: E731
    points = [(across(i + 1), 1 - down(v)) for i, v in enumerate(values) if math.isfinite(v)]
    whole = sorted({1, epochs, *(int(t) for t in ticks(1, epochs, 6) if t >= 1)}) if epochs > 1 else [1]
    parts = [
        *_grid(marked, down),
        *_below([(across(e), str(e)) for e in whole if e in (1, epochs) or e < epochs - 0.5]),
    ]
    parts.append(_lines(("line", points)))
    for epoch, (x, y) in zip((i + 1 for i, v in enumerate(values) if math.isfinite(v)), points, strict=True):
        chosen = epoch == best
        parts.append(
            element(
                "circle",
                class_="dot model" if chosen else "dot small",
                cx=percent(x),
                cy=percent(y),
                r=5 if chosen else 3,
            )
        )
    return _plot(parts, f"{label} by epoch, {number(values[0])} at first, best in epoch {best}", 190)


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of similar score: their mean score, the share that turned out positive with its interval, how many."""

    score: float
    share: float
    low: float
    high: float
    count: int


def calibration_bins(target: Floats, scores: Floats, bins: int = 10) -> list[Bin]:
    """Rows in groups of equal size by score, each with a 95 % Wilson interval of its share of positives.

    Args:
        target: [n] 0 or 1.
        scores: [n] predicted probabilities.
        bins: groups at most; fewer for few rows.
    """
    bins = max(1, min(bins, len(scores) // 20))
    found = []
    for chosen in np.array_split(np.argsort(scores, kind="stable"), bins):
        count = len(chosen)
        if count:
            share = float(target[chosen].mean())
            found.append(Bin(float(scores[chosen].mean()), share, *_wilson(share, count), count))
    return found


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    # Wilson 1927: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def calibration(bins: Sequence[Bin], before: Sequence[Bin] = ()) -> Markup:
    """Predicted probability across, what happened upwards, the diagonal of a perfect model behind.

    Args:
        bins: of the scores that are given out.
        before: of those before calibration, drawn fainter and without intervals.
    """
    scale, marked = _scale(0.0, 1.0)
    parts = [*_grid(marked, scale), *_below([(scale(t), text) for t, text in _labelled(marked)])]
    drawn = [(name, [(b.score, 1 - b.share) for b in part]) for name, part in (("before", before), ("line", bins))]
    parts.append(_lines(("diagonal", [(0.0, 1.0), (1.0, 0.0)]), *drawn))
    faint = [(percent(b.score), percent(1 - b.share)) for b in before]
    parts += [element("circle", class_="dot before", cx=x, cy=y, r=3.5) for x, y in faint]
    for b in bins:
        x = percent(b.score)
        parts.append(element("line", class_="whisker model", x1=x, x2=x, y1=percent(1 - b.low), y2=percent(1 - b.high)))
        parts.append(element("circle", class_="dot model", cx=x, cy=percent(1 - b.share), r=4))
    return _plot(parts, "calibration: predicted probability against the share that happened", 240)


def distribution(target: Floats, scores: Floats, bins: int = 25) -> Markup:
    """How scores are spread: positives upwards, negatives downwards, each as shares of their own class."""
    counts = [np.histogram(scores[target == c], bins=bins, range=(0.0, 1.0))[0] for c in (1.0, 0.0)]
    shares = [c / max(c.sum(), 1) for c in counts]
    top = max(float(s.max()) for s in shares) or 1.0
    parts = _below([(t, text) for t, text in _labelled(ticks(0.0, 1.0))])
    for direction, share in zip(("up", "down"), shares, strict=True):
        for index, value in enumerate(share):
            height = float(value) / top * 0.47
            y = 0.5 - height if direction == "up" else 0.5
            parts.append(
                element(
                    "rect",
                    class_=f"bar {direction}",
                    x=percent((index + 0.08) / bins),
                    width=percent(0.84 / bins),
                    y=percent(y),
                    height=percent(height),
                )
            )
    parts.append(element("line", class_="axis", x1="0%", x2="100%", y1="50%", y2="50%"))
    return _plot(parts, "distribution of scores: positives upwards, negatives downwards", 240)


def _plot(parts: Sequence[Markup], label: str, height: int) -> Markup:
    return element("svg", *parts, class_="plot", height=height, role="img", aria_label=label)


def _lines(*lines: tuple[str, Sequence[tuple[float, float]]]) -> Markup:
    # Only paths need numbers instead of per cents: they get a drawing of their own, stretched over the plot.
    drawn = [
        element(
            "path", d=path_of((100 * x, 100 * y) for x, y in points), class_=name, vector_effect="non-scaling-stroke"
        )
        for name, points in lines
        if points
    ]
    box = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none"}
    return element("svg", *drawn, width="100%", height="100%", class_="lines", **box)


def _grid(marked: Sequence[float], scale: Scale) -> list[Markup]:
    parts = []
    for tick, text in _labelled(marked):
        y = percent(1 - scale(tick))
        parts.append(element("line", class_="guide", x1="0%", x2="100%", y1=y, y2=y))
        parts.append(element("text", text, class_="tick", x=0, y=y, dx=-8, dy=4, text_anchor="end"))
    return parts


def _below(labels: Sequence[tuple[float, str]]) -> list[Markup]:
    return [
        element("text", text, class_="tick", x=percent(share), y="100%", dy=18, text_anchor="middle")
        for share, text in labels
    ]


def _upright(share: float, name: str) -> Markup:
    return element("line", class_=name, x1=percent(share), x2=percent(share), y1=0, y2=28)


def _scale(low: float, high: float) -> tuple[Scale, list[float]]:
    return (lambda value: (value - low) / (high - low)), ticks(low, high)


def _labelled(marked: Sequence[float]) -> list[tuple[float, str]]:
    step = marked[1] - marked[0] if len(marked) > 1 else 1.0
    return [(tick, number(tick, step)) for tick in marked]


def _anchor(share: float) -> str:
    return "start" if share < 0.04 else "end" if share > 0.96 else "middle"
