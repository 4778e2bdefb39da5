"""Charts as inline SVG, drawn on the server: figures in, markup out.

Every chart has ``role="img"``, a title and a description that says in words what is drawn; what colour says is said
by a shape, a dash or a sign as well. Colours come from the page's stylesheet by class, so a chart follows light and
dark, and there is no style attribute, no script and no asset: it works offline and under the strictest policy.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from airflow_mlops.core.records import KINDS
from airflow_mlops.pages.axes import (
    WIDTH,
    clip,
    drawable,
    grid,
    height_of,
    marker,
    places,
    scale,
    shares_of,
    tick_labels,
)
from airflow_mlops.pages.words import moment, number, share, verdict

MOST_POINTS = 400
"""A series is thinned to about so many points; more can't be told apart at this width."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """A line.

    :param name: in the legend.
    :param values: one for each label of the chart; ``None``: a gap, not a line across it.
    :param dashed: drawn dashed, for what is estimated or a reference.
    """

    name: str
    values: Sequence[float | None]
    dashed: bool = False


def svg(title: str, body: Markup | str, *, width: float, height: float, desc: str = "", kind: str = "chart") -> Markup:
    """The frame of every chart: a picture with a name and a description."""
    told = f"<desc>{escape(desc)}</desc>" if desc else ""
    return Markup(
        f'<svg class="{escape(kind)}" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'preserveAspectRatio="xMinYMid meet"><title>{escape(title)}</title>{told}{Markup(body)}</svg>'
    )


def line(
    title: str, labels: Sequence[str], series: Sequence[Series], *, height: int = 200, desc: str = "", unit: str = ""
) -> Markup:
    """Lines over time.

    :param labels: one for each point, in order.
    :param unit: ``"share"`` writes the axis in per cent.
    """
    step = max(1, math.ceil(len(labels) / MOST_POINTS))
    keep = sorted({*range(0, len(labels), step), len(labels) - 1} - {-1})
    labels = [labels[i] for i in keep]
    drawn = [
        dataclasses.replace(s, values=[drawable(s.values[i]) if i < len(s.values) else None for i in keep])
        for s in series
    ]
    known = [v for s in drawn for v in s.values if v is not None]
    if not known:
        return _empty(title)
    say: Callable[[float], str] = share if unit == "share" else number
    low, high, ticks = scale(min(known), max(known))
    x = places(len(labels))
    parts = [grid(ticks, low, high, height, say), tick_labels(labels, x, height)]
    for place, s in enumerate(drawn):
        parts.append(_polyline(s, x, low, high, height, place))
        parts += [
            marker(place, x[i], height_of(v, low, high, height), f"{s.name} {labels[i]}: {say(v)}")
            for i, v in enumerate(s.values)
            if v is not None and (len(labels) <= 60 or i == len(labels) - 1)
        ]
    told = "; ".join(_told(s, labels, say) for s in drawn)
    figure = svg(title, Markup("").join(parts), width=WIDTH, height=height, desc=f"{desc} {told}".strip())
    return _legend([(s.name, f"mark-{i % 4}", s.dashed) for i, s in enumerate(drawn)]) + figure


def pair(
    title: str, labels: Sequence[str], reference: Sequence[float], current: Sequence[float], *, height: int = 130
) -> Markup:
    """Two histograms over the same bins: the reference as an outline, the current as bars; heights are shares."""
    r, c = shares_of(reference), shares_of(current)
    top = max([*r, *c], default=0.0)
    if not labels or top <= 0:
        return _empty(title)
    width, ground = 320.0, height - 20
    step = (width - 4) / len(labels)
    bars, outline = [], []
    for i, label in enumerate(labels):
        x = 2 + i * step
        h, edge = c[i] / top * (ground - 6), ground - r[i] / top * (ground - 6)
        gap = step * 0.12 if step > 4 else 0
        bars.append(
            Markup('<rect class="fill-0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                x + gap, ground - h, max(step - 2 * gap, 0.5), h
            )
        )
        outline += [f"{x:.1f},{edge:.1f}", f"{x + step:.1f},{edge:.1f}"]
        bars.append(
            Markup('<rect class="hit" x="{:.1f}" y="0" width="{:.1f}" height="{:g}"><title>{}</title></rect>').format(
                x, step, ground, f"{label}: reference {share(r[i])}, current {share(c[i])}"
            )
        )
    path = f"2,{ground} {' '.join(outline)} {2 + step * len(labels):.1f},{ground}"
    body = Markup("").join(bars) + Markup('<polyline class="outline" points="{}"/>').format(path)
    body += Markup('<line class="axis" x1="0" x2="{:g}" y1="{:g}" y2="{:g}"/>').format(width, ground, ground)
    body += Markup('<text x="2" y="{:g}">{}</text>').format(height - 5, clip(labels[0], 22))
    body += Markup('<text x="{:g}" y="{:g}" text-anchor="end">{}</text>').format(
        width - 2, height - 5, clip(labels[-1], 22)
    )
    worst = max(range(len(labels)), key=lambda i: abs(c[i] - r[i]))
    desc = (
        f"{len(labels)} bins. The largest difference is at {labels[worst]}: "
        f"reference {share(r[worst])}, current {share(c[worst])}."
    )
    return svg(title, body, width=width, height=height, desc=desc, kind="chart small")


def histogram(title: str, labels: Sequence[str], counts: Sequence[float], *, height: int = 110) -> Markup:
    """One histogram; heights are shares."""
    shares = shares_of(counts)
    top = max(shares, default=0.0)
    if not labels or top <= 0:
        return _empty(title)
    width, ground = 320.0, height - 20
    step = (width - 4) / len(labels)
    bars = Markup("").join(
        Markup(
            '<rect class="fill-0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
        ).format(2 + i * step, ground - s / top * (ground - 6), max(step - 1, 0.5), s / top * (ground - 6), told)
        for i, (s, told) in enumerate(
            zip(shares, (f"{label}: {number(n)}" for label, n in zip(labels, counts, strict=True)), strict=True)
        )
    )
    body = bars + Markup('<line class="axis" x1="0" x2="{:g}" y1="{:g}" y2="{:g}"/>').format(width, ground, ground)
    body += Markup('<text x="2" y="{:g}">{}</text>').format(height - 5, clip(labels[0], 22))
    if len(labels) > 1:
        body += Markup('<text x="{:g}" y="{:g}" text-anchor="end">{}</text>').format(
            width - 2, height - 5, clip(labels[-1], 22)
        )
    most = max(range(len(labels)), key=lambda i: shares[i])
    desc = f"{len(labels)} bins; the fullest is {labels[most]} with {share(shares[most])}."
    return svg(title, body, width=width, height=height, desc=desc, kind="chart small")


def bars(title: str, rows: Sequence[tuple[str, float | None]], *, desc: str = "") -> Markup:
    """Lying bars, each with its figure beside it."""
    top = max((abs(v) for _, v in rows if drawable(v) is not None and v is not None), default=0.0)
    if not rows or top <= 0:
        return _empty(title)
    parts = []
    for i, (label, value) in enumerate(rows):
        y, known = 6 + i * 24, drawable(value)
        length = abs(known) / top * 330 if known is not None else 0
        parts.append(Markup('<text class="dark" x="0" y="{:g}">{}</text>').format(y + 13, clip(label, 30)))
        parts.append(
            Markup('<rect class="fill-0" x="210" y="{:g}" width="{:.1f}" height="16" rx="2"/>').format(y, length)
        )
        parts.append(Markup('<text x="{:.1f}" y="{:g}">{}</text>').format(216 + length, y + 13, number(known)))
    return svg(title, Markup("").join(parts), width=WIDTH, height=12 + 24 * len(rows), desc=desc)


def sparkline(title: str, values: Sequence[float | None]) -> Markup:
    """A trend in the height of a line of text; its title has the first and the last figure."""
    known = [(i, v) for i, v in enumerate(map(drawable, values)) if v is not None]
    if not known:
        return Markup('<span class="dim" aria-label="no figures">–</span>')
    low, high = min(v for _, v in known), max(v for _, v in known)
    spread = (high - low) or 1.0
    last = max(len(values) - 1, 1)
    points = [(3 + i / last * 90, 21 - (v - low) / spread * 18 if high > low else 12.0) for i, v in known]
    told = f"{title}: {number(known[-1][1])}"
    if len(known) > 1:
        told = f"{title}: {number(known[0][1])} to {number(known[-1][1])} in {len(known)} checks"
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    body = Markup(
        f'<polyline class="stroke-0" points="{line}"/><circle class="mark-0" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
    )
    return svg(told, body, width=98, height=24, kind="spark")


def interval(title: str, candidate: float, low: float, high: float, champion: float | None) -> Markup:
    """The candidate's figure with its interval, and the champion's as a line across."""
    every = [v for v in (candidate, low, high, champion) if v is not None]
    least, most = min(every), max(every)
    spread = (most - least) or 1.0

    def x(value: float) -> float:
        return 6 + (value - least) / spread * 148

    body = Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="12" y2="12"/>').format(x(low), x(high))
    for end in (low, high):
        body += Markup('<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="7" y2="17"/>').format(x(end))
    body += Markup('<circle class="mark-0" cx="{:.1f}" cy="12" r="4"/>').format(x(candidate))
    if champion is not None:
        body += Markup('<line class="stroke-1" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="22"/>').format(x(champion))
    told = f"{title}: candidate {number(candidate)} ({number(low)} to {number(high)})"
    told += f", champion {number(champion)}" if champion is not None else ""
    return svg(told, body, width=160, height=24, kind="whiskers")


def heat(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[float | None, str, str]]]]
) -> Markup:
    """A heat map: rows by columns, each cell a level, an outcome and a text.

    :param rows: name -> one ``(level, outcome, text)`` for each column. ``level`` is effect over its floor: 1 is the
        bound; ``None``: not checked. A cell that failed has a cross as well as its colour.
    """
    if not columns or not rows:
        return _empty(title)
    left, cell = 170.0, max(14.0, min(44.0, (WIDTH - 170) / len(columns)))
    parts, drifted = [], 0
    for j, (label, cells) in enumerate(rows):
        y = 4 + j * 22
        parts.append(Markup('<text class="dark" x="0" y="{:g}">{}</text>').format(y + 15, clip(label, 26)))
        for i, (level, outcome, told) in enumerate(cells):
            x = left + i * cell
            tone = "none" if level is None else f"heat-{min(4, int(max(level, 0.0) * 2))}"
            tone = "heat-unsure" if outcome in ("insufficient_data", "error") else tone
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="{:g}" width="{:.1f}" height="20" rx="2"><title>{}</title></rect>'
                ).format(tone, x, y, cell - 2, f"{label}, {columns[i]}: {told}")
            )
            sign = {"failed": "✗", "insufficient_data": "?", "error": "!"}.get(outcome, "")
            drifted += outcome == "failed"
            if sign:
                parts.append(
                    Markup('<text class="{}" x="{:.1f}" y="{:g}" text-anchor="middle">{}</text>').format(
                        "on" if outcome == "failed" else "dark", x + (cell - 2) / 2, y + 15, sign
                    )
                )
    height = 4 + 22 * len(rows) + 22
    places = [left + (i + 0.5) * cell for i in range(len(columns))]
    parts.append(tick_labels(columns, places, height))
    width = left + cell * len(columns)
    desc = f"{len(rows)} columns in {len(columns)} checks; {drifted} cells are past their bound, marked with a cross."
    return svg(title, Markup("").join(parts), width=max(width, WIDTH), height=height, desc=desc)


def timeline(title: str, events: Sequence[tuple[str, str, str, str]]) -> Markup:
    """What happened when, a lane a kind.

    :param events: ``(kind, at, outcome, text)``; those without a readable time are left out.
    """
    dated = [(kind, t, outcome, told) for kind, at, outcome, told in events if (t := moment(at)) is not None]
    if not dated:
        return _empty(title)
    present = {kind for kind, *_ in dated}
    lanes = [k for k in KINDS if k in present] + sorted(present - set(KINDS))
    first, last = min(t for _, t, _, _ in dated), max(t for _, t, _, _ in dated)
    spread = (last - first) or 1.0
    left, width = 96.0, float(WIDTH)
    parts = []
    for j, lane in enumerate(lanes):
        y = 16 + j * 26
        parts.append(Markup('<text class="dark" x="0" y="{:g}">{}</text>').format(y + 4, lane))
        parts.append(
            Markup('<line class="grid" x1="{:g}" x2="{:g}" y1="{:g}" y2="{:g}"/>').format(left, width - 4, y, y)
        )
    for kind, t, outcome, told in sorted(dated, key=lambda e: e[1]):
        x = left + 10 + (t - first) / spread * (width - left - 24)
        parts.append(_event(x, 16 + lanes.index(kind) * 26, outcome, told, kind))
    height = 16 + 26 * len(lanes) + 14
    ends = [(left + 10, "start", first), (width - 14, "end", last)] if last > first else [(left + 10, "start", first)]
    for x, anchor, t in ends:
        parts.append(
            Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(
                x, height - 4, anchor, dt.datetime.fromtimestamp(t, dt.UTC).strftime("%Y-%m-%d")
            )
        )
    desc = f"{len(dated)} events: " + ", ".join(f"{sum(k == lane for k, *_ in dated)} of {lane}" for lane in lanes)
    return svg(title, Markup("").join(parts), width=width, height=height, desc=desc)


# --- parts ------------------------------------------------------------------------------------------------------


def _event(x: float, y: float, outcome: str, told: str, kind: str) -> Markup:
    tone = verdict(outcome, kind).tone
    shape = {
        "good": Markup('<circle class="ev-good" cx="{:.1f}" cy="{:g}" r="5"/>').format(x, y),
        "bad": Markup('<path class="ev-bad" d="M{:.1f} {:g}l9 9m0 -9l-9 9"/>').format(x - 4.5, y - 4.5),
        "unsure": Markup('<path class="ev-unsure" d="M{:.1f} {:g}l6 9h-12z"/>').format(x, y - 5),
    }.get(tone, Markup('<rect class="ev-plain" x="{:.1f}" y="{:g}" width="8" height="8"/>').format(x - 4, y - 4))
    return Markup("<g>{}<title>{}</title></g>").format(shape, told)


def _polyline(s: Series, x: Sequence[float], low: float, high: float, height: int, place: int) -> Markup:
    parts: list[Markup] = []
    run: list[str] = []
    for i, value in enumerate([*s.values, None]):
        if value is not None:
            run.append(f"{x[i]:.1f},{height_of(value, low, high, height):.1f}")
            continue
        if len(run) > 1:
            kind = f"stroke-{place % 4}{' dashed' if s.dashed else ''}"
            parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, " ".join(run)))
        run = []
    return Markup("").join(parts)


def _legend(entries: Sequence[tuple[str, str, bool]]) -> Markup:
    if len(entries) < 2:
        return Markup("")
    keys = Markup("").join(
        Markup(
            '<span class="entry"><svg class="swatch" aria-hidden="true" viewBox="0 0 24 10">{}{}</svg> '
            "<bdi>{}</bdi></span>"
        ).format(
            Markup('<line class="{}" x1="0" x2="24" y1="5" y2="5"/>').format(
                kind.replace("mark", "stroke") + (" dashed" if dashed else "")
            ),
            marker(int(kind[-1]), 12, 5, label),
            label,
        )
        for label, kind, dashed in entries
    )
    return Markup('<p class="legend">{}</p>').format(keys)


def _empty(title: str) -> Markup:
    return Markup('<p class="dim">{}: there are no figures to draw.</p>').format(title)


def _told(s: Series, labels: Sequence[str], say: Callable[[float], str]) -> str:
    known = [(labels[i], v) for i, v in enumerate(s.values) if v is not None]
    if not known:
        return f"{s.name}: none"
    (first, a), (last, b) = known[0], known[-1]
    return f"{s.name}: {say(a)} at {first}, {say(b)} at {last}"
