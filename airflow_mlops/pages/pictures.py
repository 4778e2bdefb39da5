"""The pictures of an evaluation: each a chart of the page, and a file of its own that needs no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_mlops.core.results import finite
from airflow_mlops.pages import charts, words
from airflow_mlops.pages.axes import WIDTH, clip, drawable
from airflow_mlops.pages.layout import stylesheet
from airflow_mlops.pages.parts import listed, part

MOST_BARS = 20
"""Columns and groups that a picture has room for."""

MOST_DOTS = 150
"""Rows of a column that are drawn as dots."""


def charts_of(evaluation: Mapping[str, Any], points: Any = None) -> dict[str, Markup]:
    """Name -> chart, of what the evaluation knows.

    :param evaluation: an :class:`~airflow_mlops.core.evaluation.Evaluation` as a dict.
    :param points: column -> ``[[SHAP value, place of the column's value between 0 and 1], ...]``.
    """
    found: dict[str, Markup] = {}
    if rows := _figures(evaluation):
        found["intervals"] = _whiskers("Figures with their 95 % intervals", rows)
    importances, explanations = part(evaluation, "importances"), part(evaluation, "explanations")
    if bars := _bars(importances, "mean"):
        about = f"How much {importances.get('metric')} is lost when a column is shuffled"
        found["importance"] = charts.bars(about, bars, desc=f"On {importances.get('rows')} rows.")
    if bars := _bars(explanations, "mean_abs"):
        about = "Mean size of the SHAP values of a column"
        found["shap"] = charts.bars(about, bars, desc=f"Of {explanations.get('rows')} rows.")
    if isinstance(points, Mapping) and points:
        found["shap_rows"] = _swarm("SHAP values, a dot a row", points)
    for by, rates in part(part(evaluation, "fairness"), "by").items():
        groups = part(part(rates, "selection_rate"), "groups") if isinstance(rates, Mapping) else {}
        if groups:
            drawn = [(str(g), drawable(v)) for g, v in list(groups.items())[:MOST_BARS]]
            found[f"fairness_{_file(by)}"] = charts.bars(f"Share that is selected, by {by}", drawn)
    return found


def pictures_of(evaluation: Mapping[str, Any], points: Any = None) -> dict[str, str]:
    """:func:`charts_of` as files: the page's styles are in each of them, and nothing is fetched."""
    return {name: standalone(chart) for name, chart in charts_of(evaluation, points).items()}


def standalone(chart: Markup) -> str:
    """A chart as a file: namespace, size, ground and styles of its own."""
    if not chart.startswith("<svg"):  # nothing to draw is said in a picture as well
        said = Markup('<text class="dark" x="8" y="24">{}</text>').format(chart.striptags())
        chart = charts.svg(chart.striptags(), said, width=WIDTH, height=40)
    start, body = str(chart).split(">", 1)
    _, _, width, height = start.split('viewBox="')[1].split('"')[0].split()
    start = start.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1)
    style = f"<style>{str(stylesheet()).replace('&', '&amp;').replace('<', '&lt;')}</style>"
    return f'{start}>{style}<rect width="100%" height="100%" style="fill:var(--ground)"/>{body}'


def _bars(said: Mapping[str, Any], key: str) -> list[tuple[str, float | None]]:
    features = [f for f in listed(said, "features") if isinstance(f, Mapping)]
    return [(str(f.get("name")), drawable(f.get(key))) for f in features[:MOST_BARS]]


def _figures(evaluation: Mapping[str, Any]) -> list[tuple[str, float, float, float, float | None]]:
    from airflow_mlops.pages.evaluation import evaluated

    rows = []
    for f in evaluated(evaluation):
        ends = [finite(v) for v in f.get("interval") or ()]
        own = drawable(f.get("candidate"))
        if own is not None and len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            rows.append((str(f.get("metric")), own, ends[0], ends[1], drawable(f.get("champion"))))
    return rows


def _whiskers(title: str, rows: Sequence[tuple[str, float, float, float, float | None]]) -> Markup:
    """A line a figure, each with a scale of its own: the interval, a dot for the candidate, a bar for the champion."""
    parts, told = [], []
    for i, (name, own, low, high, other) in enumerate(rows):
        y = 20 + i * 30
        every = [v for v in (own, low, high, other) if v is not None]
        least, spread = min(every), (max(every) - min(every)) or 1.0

        def x(v: float, least: float = least, spread: float = spread) -> float:
            return 200 + (v - least) / spread * 260

        parts.append(Markup('<text class="dark" x="0" y="{:g}">{}</text>').format(y + 4, clip(name, 28)))
        parts.append(
            Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{:g}" y2="{:g}"/>').format(x(low), x(high), y, y)
        )
        parts.append(Markup('<circle class="mark-0" cx="{:.1f}" cy="{:g}" r="4"/>').format(x(own), y))
        if other is not None:
            mark = '<line class="stroke-1" x1="{0:.1f}" x2="{0:.1f}" y1="{1:g}" y2="{2:g}"/>'
            parts.append(Markup(mark).format(x(other), y - 9, y + 9))
        say = f"{words.number(own)} ({words.number(low)} to {words.number(high)})"
        parts.append(Markup('<text x="475" y="{:g}">{}</text>').format(y + 4, say))
        told.append(f"{name} {say}" + (f", champion {words.number(other)}" if other is not None else ""))
    return charts.svg(
        title, Markup("").join(parts), width=max(WIDTH, 700), height=10 + 30 * len(rows), desc="; ".join(told)
    )


def _swarm(title: str, points: Mapping[str, Any]) -> Markup:
    """A lane a column, a dot a row: right of the line the column raised the score.

    Where the column's own value is in the upper half the mark is a diamond, else a circle; a missing one is a ring.
    """
    shown = list(points.items())[:MOST_BARS]
    each = {name: [p for p in rows if isinstance(p, list) and len(p) == 2][:MOST_DOTS] for name, rows in shown}
    most = max((abs(drawable(p[0]) or 0.0) for rows in each.values() for p in rows), default=0.0) or 1.0
    parts = [
        Markup('<line class="axis" x1="450" x2="450" y1="0" y2="{:g}"/>').format(10 + 26 * len(each)),
    ]
    for i, (name, rows) in enumerate(each.items()):
        y = 18 + i * 26
        parts.append(Markup('<text class="dark" x="0" y="{:g}">{}</text>').format(y + 4, clip(name, 28)))
        for j, (value, place) in enumerate(rows):
            x, lane = 450 + (drawable(value) or 0.0) / most * 230, y + (j * 7 % 15 - 7)
            high = drawable(place)
            if high is None:
                parts.append(Markup('<circle class="ev-bad" cx="{:.1f}" cy="{:g}" r="2"/>').format(x, lane))
            elif high >= 0.5:
                mark = Markup('<path class="mark-1" d="M{:.1f} {:g}l3 3l-3 3l-3 -3z"/>')
                parts.append(mark.format(x, lane - 3))
            else:
                parts.append(Markup('<circle class="mark-0" cx="{:.1f}" cy="{:g}" r="2.4"/>').format(x, lane))
    foot = 26 * len(each) + 24
    parts.append(Markup('<text x="220" y="{0:g}">lowers the score</text>').format(foot))
    parts.append(
        Markup('<text x="680" y="{:g}" text-anchor="end">raises it by up to {}</text>').format(foot, words.number(most))
    )
    desc = (
        f"{len(each)} columns. A diamond: the column's value is in the upper half of its range; a circle: in the lower."
    )
    return charts.svg(title, Markup("").join(parts), width=max(WIDTH, 700), height=foot + 8, desc=desc)


def _file(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:60] or "_"
