"""From profiles to histograms: bins with names, so that a chart can be read and spoken."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_mlops.core.results import finite
from airflow_mlops.pages import charts, words

MOST_PLOTS = 60
"""Columns that are drawn on one page; those that drifted come first."""

MOST_BARS = 30

ORDER = {"failed": 0, "error": 1, "insufficient_data": 2}
"""The gravest first; whatever else there is comes after."""


def columns_of(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns of a profile, each with its chart and what there is to say in words."""
    rows = []
    for column in _columns(profile):
        title = f"{words.shown(column.get('name'), 60)}: distribution"
        labels, counts = bins(column)
        chart: Markup | str = charts.histogram(title, labels, counts) if any(counts) else ""
        named = {k: column.get(k) or "?" for k in ("name", "type", "kind")}
        rows.append({**named, "chart": chart, "lines": _lines(column)})
    return rows


def plots_of(
    report: Mapping[str, Any], reference: Mapping[str, Any] | None, current: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """A pair of histograms for each column that can be drawn, those that drifted first."""
    verdicts: dict[str, Mapping[str, Any]] = {}
    for check in _list(report, "checks"):
        name = str(check.get("subject") or "") if isinstance(check, Mapping) else ""
        if name and (name not in verdicts or _rank(check) < _rank(verdicts[name])):
            verdicts[name] = check
    pairs = _of_profiles(reference, current) if reference and current else _of_details(report)
    plots = []
    for name, (labels, before, now) in pairs.items():
        check = verdicts.get(name, {})
        plots.append(
            {
                "name": name,
                "status": check.get("status"),
                "message": check.get("message") or "",
                "chart": charts.pair(f"{name}: reference and this batch", labels, before, now),
            }
        )
    plots.sort(key=lambda p: (ORDER.get(str(p["status"]), 3), str(p["name"])))
    return plots[:MOST_PLOTS]


def bins(column: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    """Names and counts of the bins of one column, or of its most frequent categories.

    >>> bins({"kind": "numeric", "edges": [1.0, 2.0], "counts": [3, 4, 5]})
    (['up to 1', '1 to 2', 'over 2'], [3.0, 4.0, 5.0])
    """
    pairs = _pairs(column)
    if pairs:
        rest = sum(n for _, n in pairs[MOST_BARS:]) + (finite(column.get("other")) or 0.0)
        labels = [v for v, _ in pairs[:MOST_BARS]] + (["other"] if rest else [])
        return labels, [n for _, n in pairs[:MOST_BARS]] + ([rest] if rest else [])
    counts, edges = _numbers(column, "counts"), _numbers(column, "edges")
    if not edges or len(counts) != len(edges) + 1:
        return (["all"], counts) if len(counts) == 1 else ([], [])
    say = _date if column.get("kind") == "datetime" else words.number
    names = [f"up to {say(edges[0])}"]
    names += [f"{say(a)} to {say(b)}" for a, b in itertools.pairwise(edges)]
    return [*names, f"over {say(edges[-1])}"], counts


def _of_profiles(
    reference: Mapping[str, Any], current: Mapping[str, Any]
) -> dict[str, tuple[list[str], list[float], list[float]]]:
    now = {str(c.get("name")): c for c in _columns(current)}
    found = {}
    for column in _columns(reference):
        name = str(column.get("name"))
        if name not in now:
            continue
        labels, before = bins(column)
        others, after = bins(now[name])
        if _pairs(column) or _pairs(now[name]):
            seen = dict(zip(others, after, strict=True))
            extra = [v for v in others if v not in labels]
            keys = [*[v for v in labels if v != "other"], *[v for v in extra if v != "other"]][:MOST_BARS]
            was = dict(zip(labels, before, strict=True))
            rest = (
                sum(was.values()) - sum(was.get(k, 0) for k in keys),
                sum(seen.values()) - sum(seen.get(k, 0) for k in keys),
            )
            names = keys + (["other"] if any(rest) else [])
            found[name] = (
                names,
                [was.get(k, 0.0) for k in keys] + ([rest[0]] if any(rest) else []),
                [seen.get(k, 0.0) for k in keys] + ([rest[1]] if any(rest) else []),
            )
        elif labels and labels == others:
            found[name] = (labels, before, after)
    return found


def _of_details(report: Mapping[str, Any]) -> dict[str, tuple[list[str], list[float], list[float]]]:
    details = report.get("details")
    given = details.get("histograms") if isinstance(details, Mapping) else None
    found = {}
    for name, value in (given or {}).items() if isinstance(given, Mapping) else ():
        if not isinstance(value, Mapping):
            continue
        before, now = _numbers(value, "reference"), _numbers(value, "current")
        labels = [str(v) for v in _list(value, "labels")] or bins({"edges": value.get("edges"), "counts": before})[0]
        if labels and len(labels) == len(before) == len(now):
            found[str(name)] = (labels, before, now)
    return found


def _rank(check: Mapping[str, Any]) -> tuple[int, bool]:
    """The gravest first; of equals the one about the distribution, which is what is drawn."""
    return ORDER.get(str(check.get("status")), 3), check.get("name") != "distribution"


def _columns(profile: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [c for c in _list(profile, "columns") if isinstance(c, Mapping)]


def _list(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = value.get(name)
    return found if isinstance(found, list | tuple) else ()


def _numbers(value: Mapping[str, Any], name: str) -> list[float]:
    return [finite(n) or 0.0 for n in _list(value, name)]


def _pairs(column: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The categories of a column, each once."""
    found = [p for p in _list(column, "top") if isinstance(p, list | tuple) and len(p) == 2]
    return list({str(v): finite(n) or 0.0 for v, n in found}.items())


def _lines(column: Mapping[str, Any]) -> list[str]:
    count = finite(column.get("count")) or 0
    nulls, nonfinite = (finite(column.get(k)) or 0 for k in ("nulls", "nonfinite"))
    lines = [f"nulls {words.share(nulls / count if count else None)} ({words.number(nulls)} of {words.number(count)})"]
    if nonfinite:
        lines.append(f"not finite: {words.number(nonfinite)}")
    if column.get("minimum") is not None:
        low, high = words.shown(column.get("minimum"), 40), words.shown(column.get("maximum"), 40)
        mean = f", mean {words.number(column['mean'])}" if column.get("mean") is not None else ""
        lines.append(f"{low} to {high}{mean}")
    if column.get("distinct"):
        about = "" if column.get("distinct_exact") else "about "
        lines.append(f"{about}{words.number(column['distinct'])} different values")
    return lines


def _date(value: Any) -> str:
    known = finite(value)
    if known is None:
        return words.NOTHING
    try:
        return dt.datetime.fromtimestamp(known, dt.UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return words.number(known)
