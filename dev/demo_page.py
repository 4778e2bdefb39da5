"""The demo's result as one page: rows in, HTML out; no file, no clock, no network.

:func:`page` is self-contained (inline SVG and CSS, light and dark by the reader's setting), :func:`picture` is its
charts alone, as one SVG, and :func:`table` the same rows as text.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one month.

    :param month: ``"2013-05"``.
    :param rows: flights that were scheduled.
    :param late: share of the arrived flights that were more than 15 minutes late; known a month later.
    :param validation: how its deliveries were judged, in order.
    :param drift: the verdict in a word, empty when it was not checked.
    :param drift_share: share of the watched columns that drifted, in [0, 1].
    :param estimated: ROC AUC as it was estimated before any label was there.
    :param realised: ROC AUC once the labels were there.
    :param decision: ``"retrain"``, ``"keep"`` or ``"alert"``, of the last run of the month that decided.
    :param reason: its first reason.
    :param candidate: the version that was trained this month.
    :param gate: what the gate said of it.
    :param champion: the version that scores from then on.
    """

    month: str
    rows: int | None = None
    late: float | None = None
    validation: str = ""
    drift: str = ""
    drift_share: float | None = None
    estimated: float | None = None
    realised: float | None = None
    decision: str = ""
    reason: str = ""
    candidate: str = ""
    gate: str = ""
    champion: str = ""


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("month", lambda r: r.month),
    ("flights", lambda r: f"{r.rows:,}" if r.rows is not None else "–"),
    ("late", lambda r: _share(r.late)),
    ("validation", lambda r: r.validation or "–"),
    ("drift", lambda r: f"{r.drift} {_share(r.drift_share)}".removesuffix(" –") if r.drift else "–"),
    ("AUC est.", lambda r: _figure(r.estimated)),
    ("AUC real.", lambda r: _figure(r.realised)),
    ("decision", lambda r: r.decision or "–"),
    ("candidate", lambda r: f"v{r.candidate}" if r.candidate else "–"),
    ("gate", lambda r: r.gate or "–"),
    ("champion", lambda r: f"v{r.champion}" if r.champion else "–"),
    ("reason", lambda r: r.reason or "–"),
)
NUMBERS = ("flights", "late", "AUC est.", "AUC real.")


def table(rows: Sequence[Row], *, width: int = 60) -> str:
    """The rows as aligned text; the reason, last, is cut to ``width`` characters."""
    cells = [[name for name, _ in COLUMNS], *([value(r) for _, value in COLUMNS] for r in rows)]
    for line in cells:
        line[-1] = line[-1] if len(line[-1]) <= width else line[-1][: width - 1] + "…"
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.rjust(w) if name in NUMBERS else cell.ljust(w)
            for cell, w, (name, _) in zip(line, widths, COLUMNS, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def page(rows: Sequence[Row], *, notes: Sequence[str] = (), took: str = "") -> str:
    """The whole page.

    :param rows: one a month, in order.
    :param notes: sentences below the table.
    :param took: how long the year took, in words.
    """
    head = "".join(f"<th{_align(name)}>{html.escape(name)}</th>" for name, _ in COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td{_align(n)}{_tone(n, r)}>{html.escape(value(r))}</td>" for n, value in COLUMNS) + "</tr>"
        for r in rows
    )
    figures = "".join(
        f"<div><b>{html.escape(v)}</b><span>{html.escape(n)}</span></div>" for n, v in _headline(rows, took)
    )
    remarks = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A year of flights through the loop</title>
<style>{COLOURS}{STYLE}</style>
</head>
<body>
<main>
<h1>A year of flights through the loop</h1>
<p class="lead">Will a flight from New York arrive more than 15 minutes late? Each month was delivered, judged,
prepared, scored and watched by Airflow; the model was retrained when the data said so.</p>
<section class="figures">{figures}</section>
{_charts(rows)}
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table></div>
<section class="notes">{remarks}</section>
</main>
</body>
</html>
"""


def picture(rows: Sequence[Row]) -> str:
    """The charts as one SVG document that stands alone, for a README."""
    height = sum(h for _, h in CHARTS)
    parts, top = [], 0
    for draw, h in CHARTS:
        parts.append(f'<g transform="translate(0,{top})">{draw(rows)}</g>')
        top += h
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img"><style>{COLOURS}{CHART_STYLE}</style><rect class="ground" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n"
    )


# -- charts -----------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 920, 52, 16, 40, 26


def _charts(rows: Sequence[Row]) -> str:
    return "\n".join(
        f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img">{draw(rows)}</svg></figure>' for draw, height in CHARTS
    )


def _auc(rows: Sequence[Row]) -> str:
    known = [v for r in rows for v in (r.estimated, r.realised) if v is not None]
    ticks = _ticks(min([0.5, *known]), max([0.8, *known]), 0.05)
    low, high = ticks[0], ticks[-1]
    lines = "".join(
        _line(rows, [getattr(r, name) for r in rows], low, high, 260, name) for name in ("estimated", "realised")
    )
    return (
        _title("ROC AUC of the champion, month by month", ("realised", "estimated"))
        + _axes(rows, ticks, low, high, 260, lambda v: f"{v:.2f}")
        + lines
    )


def _shares(rows: Sequence[Row]) -> str:
    known = [v for r in rows for v in (r.late, r.drift_share) if v is not None]
    ticks = _ticks(0, max([0.4, *known]), 0.1)
    high = ticks[-1]
    half = _step(rows) * 0.3
    bars = ""
    for name, side in (("late", -1), ("drift_share", 0)):
        for i, r in enumerate(rows):
            value = getattr(r, name)
            if value is not None:
                y = _y(value, 0, high, 220)
                bars += (
                    f'<rect class="{name}" x="{_x(rows, i) + side * half:.1f}" y="{y:.1f}" width="{half:.1f}" '
                    f'height="{_y(0, 0, high, 220) - y:.1f}"><title>{_name(name)} {r.month}: {value:.0%}</title></rect>'
                )
    return (
        _title("Late arrivals, and features that drifted", ("late", "drift_share"))
        + _axes(rows, ticks, 0, high, 220, lambda v: f"{v:.0%}")
        + bars
    )


def _champions(rows: Sequence[Row]) -> str:
    step, drawn, i = _step(rows), "", 0
    for shade, (version, run) in enumerate(groupby(rows, key=lambda r: r.champion)):
        n = len(list(run))
        x, w = _x(rows, i) - step / 2, n * step
        i += n
        if version:
            drawn += (
                f'<rect class="reign{shade % 2}" x="{x + 1:.1f}" y="{TOP}" width="{w - 2:.1f}" height="30" rx="4">'
                f"<title>version {html.escape(version)}</title></rect>"
                f'<text class="on" x="{x + w / 2:.1f}" y="{TOP + 20}" text-anchor="middle">'
                f"v{html.escape(version)}</text>"
            )
        else:
            drawn += f'<text x="{x + w / 2:.1f}" y="{TOP + 20}" text-anchor="middle">none yet</text>'
    return _title("Champion at the end of the month") + drawn + _months(rows, 100)


CHARTS: tuple[tuple[Callable[[Sequence[Row]], str], int], ...] = ((_auc, 260), (_shares, 220), (_champions, 100))


def _line(rows: Sequence[Row], values: Sequence[float | None], low: float, high: float, height: int, name: str) -> str:
    points = [(_x(rows, i), _y(v, low, high, height), v, rows[i].month) for i, v in enumerate(values) if v is not None]
    paths = ""
    # A month without a figure is a gap, not a straight line across it.
    for _, run in groupby(((i, v) for i, v in enumerate(values)), key=lambda p: p[1] is None):
        part = [(_x(rows, i), _y(v, low, high, height)) for i, v in run if v is not None]
        if len(part) > 1:
            paths += f'<polyline class="{name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in part)}"/>'
    dots = "".join(
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{_name(name)} {m}: {v:.3f}</title></circle>'
        for x, y, v, m in points
    )
    return paths + dots


def _axes(
    rows: Sequence[Row], ticks: Iterable[float], low: float, high: float, height: int, say: Callable[[float], str]
) -> str:
    grid = ""
    for tick in ticks:
        y = _y(tick, low, high, height)
        grid += f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        grid += f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{say(tick)}</text>'
    return grid + _months(rows, height)


def _ticks(low: float, high: float, step: float) -> list[float]:
    """Round figures that enclose both."""
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _months(rows: Sequence[Row], height: int) -> str:
    return "".join(
        f'<text x="{_x(rows, i):.1f}" y="{height - 8}" text-anchor="middle">{html.escape(r.month)}</text>'
        for i, r in enumerate(rows)
    )


def _title(text: str, legend: Sequence[str] = ()) -> str:
    drawn, x = f'<text class="title" x="{LEFT}" y="20">{html.escape(text)}</text>', WIDTH - RIGHT
    for name in reversed(legend):
        label = _name(name)
        x -= 8 * len(label) + 22
        drawn += f'<rect class="{name} key" x="{x}" y="11" width="10" height="10" rx="2"/>'
        drawn += f'<text x="{x + 15}" y="20">{label}</text>'
    return drawn


def _step(rows: Sequence[Row]) -> float:
    return (WIDTH - LEFT - RIGHT) / max(1, len(rows))


def _x(rows: Sequence[Row], i: int) -> float:
    return LEFT + _step(rows) * (i + 0.5)


def _y(value: float, low: float, high: float, height: int) -> float:
    return height - BOTTOM - (value - low) / (high - low) * (height - TOP - BOTTOM)


# -- words ------------------------------------------------------------------------------------------------------


def _headline(rows: Sequence[Row], took: str) -> list[tuple[str, str]]:
    flights = sum(r.rows or 0 for r in rows)
    trained = len({r.candidate for r in rows if r.candidate})
    reigns = len({r.champion for r in rows if r.champion})
    realised = [r.realised for r in rows if r.realised is not None]
    found = [
        ("flights", f"{flights:,}"),
        ("months", str(len(rows))),
        ("candidates", str(trained)),
        ("champions", str(reigns)),
    ]
    if realised:
        found.append(("mean realised AUC", f"{sum(realised) / len(realised):.3f}"))
    if took:
        found.append(("played in", took))
    return found


def _name(name: str) -> str:
    return {"late": "late arrivals", "drift_share": "drifted features"}.get(name, name)


def _share(value: float | None) -> str:
    return f"{value:.0%}" if value is not None else "–"


def _figure(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else "–"


def _align(name: str) -> str:
    return ' class="number"' if name in NUMBERS else ""


def _tone(name: str, row: Row) -> str:
    bad: dict[str, Any] = {
        "validation": "failed" in row.validation,
        "drift": row.drift == "failed" or row.drift == "drift",
        "gate": row.gate == "reject",
        "decision": row.decision == "retrain",
    }
    return ' data-tone="notable"' if bad.get(name) else ""


COLOURS = """
:root{--ground:#fff;--text:#1f2933;--dim:#66727f;--grid:#e4e8ec;--a:#2563eb;--b:#d97706;--c:#64748b;--d:#db2777;
--r0:#1d4ed8;--r1:#0f766e;--on:#fff;--note:#9a3412}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--text:#e6eaee;--dim:#9aa7b4;--grid:#2b333c;--a:#60a5fa;
--b:#fbbf24;--c:#94a3b8;--d:#f472b6;--r0:#3b82f6;--r1:#14b8a6;--on:#0b0f14;--note:#fdba74}}
"""
CHART_STYLE = """
text{font:12px system-ui,sans-serif;fill:var(--dim)}text.title{font-size:14px;font-weight:600;fill:var(--text)}
text.on{fill:var(--on);font-weight:600}.ground{fill:var(--ground)}.grid{stroke:var(--grid)}
polyline{fill:none;stroke-width:2.5}polyline.realised{stroke:var(--a)}polyline.estimated{stroke:var(--b);
stroke-dasharray:6 4}.realised{fill:var(--a)}.estimated{fill:var(--b)}polyline.realised,polyline.estimated{fill:none}
.late{fill:var(--c)}.drift_share{fill:var(--d)}.reign0{fill:var(--r0)}.reign1{fill:var(--r1)}
"""
STYLE = (
    CHART_STYLE
    + """
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:2rem 1rem}h1{margin:0 0 .3rem;font-size:1.6rem}.lead{color:var(--dim);
margin:0 0 1.4rem;max-width:46rem}.figures{display:flex;flex-wrap:wrap;gap:1.6rem;margin-bottom:1rem}
.figures b{display:block;font-size:1.35rem}.figures span{color:var(--dim);font-size:.85rem}figure{margin:0 0 .6rem}
svg{width:100%;height:auto}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem}
th{text-align:left;color:var(--dim);font-weight:600}th,td{padding:.35rem .5rem;border-bottom:1px solid var(--grid);
white-space:nowrap}td:last-child{white-space:normal;min-width:16rem}.number{text-align:right;
font-variant-numeric:tabular-nums}td[data-tone]{color:var(--note);font-weight:600}.notes{color:var(--dim);
font-size:.85rem;margin-top:1rem}
"""
)
