"""What charts are made of: scales, axes, points and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from airflow_mlops.core.results import finite

WIDTH = 640
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 12, 26

LEAST = 1e-290
"""What is nearer than this is the same on any axis: near the end of floating point there are no round figures."""


def drawable(value: Any) -> float | None:
    """A figure that has a place in a picture: known, finite, and not so large that sums of it are neither.

    >>> drawable(0.5), drawable(1e300), drawable(None)
    (0.5, None, None)
    """
    known = finite(value)
    return known if known is not None and abs(known) < 1e100 else None


def scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends and ticks of an axis that holds ``low`` to ``high``, at round figures.

    >>> scale(0.61, 0.74)
    (0.6, 0.75, [0.6, 0.65, 0.7, 0.75])
    """
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, LEAST):
        pad = largest * 0.1 if largest > 10 * LEAST else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def marker(place: int, x: float, y: float, told: str) -> Markup:
    """A point; the shape differs from series to series, so that colour is not needed."""
    kind = place % 4
    if kind == 0:
        shape = Markup('<circle class="mark-0" cx="{:.1f}" cy="{:.1f}" r="3.5">').format(x, y)
        return Markup("{}<title>{}</title></circle>").format(shape, told)
    path = {
        1: f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
        2: f"M{x - 3.5:.1f} {y - 3.5:.1f}h7v7h-7z",
        3: f"M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z",
    }[kind]
    return Markup('<path class="mark-{}" d="{}"><title>{}</title></path>').format(kind, path, told)


def grid(ticks: Iterable[float], low: float, high: float, height: int, say: Callable[[float], str]) -> Markup:
    return Markup("").join(
        Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        + Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, say(tick))
        for tick in ticks
        for y in (height_of(tick, low, high, height),)
    )


def tick_labels(labels: Sequence[str], x: Sequence[float], height: float) -> Markup:
    """Labels below an axis, as many as there is room for, the last always."""
    if not labels:
        return Markup("")
    longest = max(len(label) for label in labels)
    room = max(1, math.ceil((longest * 6.6 + 14) / max((x[-1] - x[0]) / max(len(x) - 1, 1), 1)))
    keep = {i for i in range(len(labels)) if (len(labels) - 1 - i) % room == 0}
    return Markup("").join(
        Markup('<text x="{:.1f}" y="{:g}" text-anchor="{}">{}</text>').format(
            x[i],
            height - 7,
            "end" if i == len(labels) - 1 and len(labels) > 1 and longest > 7 else "middle",
            clip(labels[i], 20),
        )
        for i in sorted(keep)
    )


def places(n: int) -> list[float]:
    span = WIDTH - LEFT - RIGHT - 16
    return [LEFT + 8 + (span * i / (n - 1) if n > 1 else span / 2) for i in range(n)]


def height_of(value: float, low: float, high: float, height: int) -> float:
    return height - BOTTOM - (value - low) / ((high - low) or 1.0) * (height - TOP - BOTTOM)


def shares_of(counts: Sequence[float]) -> list[float]:
    known = [max(drawable(n) or 0.0, 0.0) for n in counts]
    total = sum(known)
    return [n / total for n in known] if total > 0 else [0.0] * len(known)


def clip(text: str, most: int) -> Markup:
    return escape(text if len(text) <= most else text[: most - 1] + "…")
