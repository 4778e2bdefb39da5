"""Profiles, counted in few passes and bounded memory.

One pass over all columns gives counts, extremes and estimates; one pass a column, which in a column store reads that
column only, gives its histogram and moments, or its categories. Bin counts are exact. Where bins have to be chosen,
they are quantiles of a sample that depends on the rows alone and not on their order: rows whose hash falls into a
fraction. Moments are sums of whole numbers, because a sum of floats depends on its order in the last digits. So the
same rows give the same profile in any order and any split into files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from airflow_mlops.core.columns import MAX_BINS, MAX_CATEGORIES, TEXT_LIMIT, ColumnProfile, ordered
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines.duck import Column, Source, need

SAMPLE = 200_000
"""Rows that bins are chosen from, about; all of them below it."""

MOST_DISTINCT = 1000
"""Different texts up to which a column is categorical; beyond it is text."""

TOP_BYTES = 1500
"""Bytes of JSON that the named categories of a column may take, so that a profile stays one small artifact."""

_CHUNK = 400
"""Columns of one query; DuckDB plans thousands of aggregates slowly."""


def profile(
    source: Source, *, reference: Profile | None = None, columns: Sequence[str] = (), digest: str = ""
) -> Profile:
    """The profile of an open source; see :meth:`airflow_mlops.engines.Engine.profile`."""
    need(source.label, [c.name for c in source.columns], columns)
    chosen = [c for c in source.columns if not columns or c.name in columns]
    if columns:
        chosen.sort(key=lambda c: list(columns).index(c.name))
    rows, basics = _basics(source, chosen)
    counted = {}
    known = reference.columns if reference else {}
    fresh = [c for c in chosen if _reference(c, known) is None and _kind(c, None, basics[c.name]) in _BINNED]
    edges = _edges(source, fresh, basics, rows)
    for column in chosen:
        model = _reference(column, known)
        kind = _kind(column, model, basics[column.name])
        counted[column.name] = _COUNT[kind](source, column, rows, basics[column.name], model, edges.get(column.name))
    return Profile(rows=rows, columns=counted, dataset_digest=digest, name=source.label)


Basics = Mapping[str, Any]


def _basics(source: Source, columns: Sequence[Column]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Rows, and per column: nulls, non-finite values, extremes, estimate of the distinct values."""
    rows, found = int(source.fetch("count(*)")[0][0]), {}
    for chunk in _chunks(columns, _CHUNK):
        parts: list[str] = []
        for c in chunk:
            value = _finite(c)
            parts += [f"count({c.sql})", f"count({value})", *_extremes(c, value), f"approx_count_distinct({value})"]
        (row,) = source.fetch(", ".join(parts))
        for c, values in zip(chunk, _chunks(row, 5), strict=True):
            present, finite, low, high, distinct = values
            found[c.name] = {
                "nulls": rows - int(present),
                "nonfinite": int(present) - int(finite),
                "minimum": _extreme(low),
                "maximum": _extreme(high),
                "distinct": min(int(distinct or 0), int(finite)),
            }
    return rows, found


def _numeric(
    source: Source, column: Column, rows: int, basics: Basics, model: ColumnProfile | None, own: Any
) -> ColumnProfile:
    """A histogram and moments; of dates the histogram only."""
    edges, exact = (model.edges, None) if model is not None else own
    date = column.type in ("datetime", "date")
    center, width = (0.0, 0.0) if date else _scale(basics)
    scaled = f"(({column.number} - $center) / $width)"
    sums = f"sum({_fixed(scaled)}), sum({_fixed(f'{scaled} * {scaled}')})" if width else "0, 0"
    groups = source.fetch(
        f"{_tree(column.number, edges)} AS bin, count(*), {sums}",
        f"WHERE {_finite(column)} IS NOT NULL GROUP BY bin",
        **({"center": center, "width": width} if width else {}),
    )
    counts = [0] * (len(edges) + 1)
    for bin_, count, _, _ in groups:
        counts[int(bin_)] = int(count)
    mean, m2 = (None, None) if date else _moments(center, width, sum(counts), groups)
    return ColumnProfile(
        **_common(column, rows, basics),
        kind="datetime" if date else "numeric",
        distinct=basics["distinct"] if exact is None else exact,
        distinct_exact=exact is not None,
        mean=mean,
        m2=m2,
        edges=edges,
        counts=tuple(counts),
    )


_ONE = 2**52


def _fixed(value: str) -> str:
    """A number of at most 1 as a whole number of 2**-52: whole numbers add up the same in every order."""
    return f"CAST({value} * {_ONE} AS BIGINT)"


def _scale(basics: Basics) -> tuple[float, float]:
    """What a column is shifted and divided by, so that every value is within -1 and 1; 0: it can't be scaled."""
    low, high = basics["minimum"], basics["maximum"]
    if low is None:
        return 0.0, 0.0
    center, width = low / 2 + high / 2, high - low
    return center, width if math.isfinite(width) and width > 1e-290 else 0.0


def _moments(center: float, width: float, valid: int, groups: Iterable[Any]) -> tuple[float | None, float | None]:
    """Mean and sum of squared deviations, from sums of whole numbers that have lost nothing.

    The least and the greatest value alone give squares of half the squared range, so that what the 2**-52 cuts off
    is at most about rows * 2**-52 of the result.
    """
    if not valid:
        return None, None
    if not width:
        return (center, 0.0) if math.isfinite(center) else (None, None)
    rows = list(groups)
    first = Fraction(sum(int(g[2]) for g in rows), _ONE)
    second = Fraction(sum(int(g[3]) for g in rows), _ONE)
    m2 = float(max(second - first * first / valid, Fraction(0)))
    mean, m2 = center + width * float(first / valid), m2 * width * width
    return mean, m2 if math.isfinite(m2) else None


def _categorical(
    source: Source, column: Column, rows: int, basics: Basics, model: ColumnProfile | None, own: Any
) -> ColumnProfile:
    """Rows a category: the most frequent ones, or those of the reference."""
    text = f"CAST({column.sql} AS VARCHAR)"
    if model is None:
        found = ordered(
            (v, int(n)) for v, n in source.fetch(f"{text} AS v, count(*)", f"WHERE {text} IS NOT NULL GROUP BY v")
        )
        top = _bounded(found)
        distinct: int | None = len(found)
    else:
        wanted = [c for c, _ in model.top]
        hits = dict(
            source.fetch(
                "known.v, count(*)",
                f"LEFT JOIN (SELECT unnest($wanted::VARCHAR[]) AS v) AS known ON {text} = known.v "
                f"WHERE {text} IS NOT NULL GROUP BY known.v",
                wanted=wanted,
            )
        )
        top = ordered((c, int(hits.get(c, 0))) for c in wanted)
        distinct = None if hits.get(None) else sum(n > 0 for _, n in top)
    valid = rows - basics["nulls"]
    other = valid - sum(n for _, n in top)
    return ColumnProfile(
        **_common(column, rows, basics),
        kind="categorical",
        distinct=basics["distinct"] if distinct is None else distinct,
        distinct_exact=distinct is not None,
        top=top,
        other=other,
        unseen=other if model is not None and model.complete else 0,
    )


def _text(
    source: Source, column: Column, rows: int, basics: Basics, model: ColumnProfile | None, own: Any
) -> ColumnProfile:
    """Lengths only."""
    lengths = None
    if column.type == "string":
        size = f"length(CAST({column.sql} AS VARCHAR))"
        ((low, high, total),) = source.fetch(f"min({size}), max({size}), sum({size})")
        lengths = None if low is None else (int(low), int(high), int(total))
    return ColumnProfile(**_common(column, rows, basics), kind="text", distinct=basics["distinct"], lengths=lengths)


_NUMBERS = ("int", "float", "decimal")
_ORDERED = (*_NUMBERS, "datetime", "date")
_BINNED = ("numeric", "datetime")
_COUNT = {"numeric": _numeric, "datetime": _numeric, "categorical": _categorical, "text": _text}


def _common(column: Column, rows: int, basics: Basics) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "count": rows,
        **{k: basics[k] for k in ("nulls", "nonfinite", "minimum", "maximum")},
    }


def _kind(column: Column, model: ColumnProfile | None, basics: Basics) -> str:
    if model is not None:
        return model.kind
    if column.type in _NUMBERS:
        return "numeric"
    if column.type in ("datetime", "date"):
        return "datetime"
    if column.type == "bool" or (column.type == "string" and basics["distinct"] <= MOST_DISTINCT):
        return "categorical"
    return "text"


def _reference(column: Column, known: Mapping[str, ColumnProfile]) -> ColumnProfile | None:
    """The reference's column, when this one can be counted as it was."""
    model = known.get(column.name)
    if model is None:
        return None
    groups = (_NUMBERS, ("datetime", "date"), ("bool",), ("string",), ("other",))
    same = any(model.type in g and column.type in g for g in groups)
    return model if same else None


def _edges(
    source: Source, columns: Sequence[Column], basics: Mapping[str, Basics], rows: int
) -> dict[str, tuple[tuple[float, ...], int | None]]:
    """Bins of one's own: at every value of a discrete column, at quantiles of the others."""
    found: dict[str, tuple[tuple[float, ...], int | None]] = {}
    rest = []
    for c in columns:
        if basics[c.name]["distinct"] <= 2 * MAX_BINS:
            values = [
                v for (v,) in source.fetch(f"DISTINCT {c.number} AS v", f"WHERE {_finite(c)} IS NOT NULL ORDER BY v")
            ]
            if len(values) < MAX_BINS:
                found[c.name] = (tuple(values), len(values))
                continue
        rest.append(c)
    # `hash` of the casts, so that a row falls into the sample whatever the width of its integers.
    fraction = math.ceil(rows / SAMPLE) if rows else 1
    key = ", ".join(
        c.number if c.type in (*_NUMBERS, "datetime", "date") else f"CAST({c.sql} AS VARCHAR)"
        for c in source.columns[:64]
    )
    for tail in ([f"WHERE hash({key}) % {fraction} = 0"] if fraction > 1 else []) + [""]:
        asked = [c for c in rest if c.name not in found]
        for chunk in _chunks(asked, 50):
            shares = [i / MAX_BINS for i in range(1, MAX_BINS)]
            parts = ", ".join(
                f"quantile_disc({c.number}, $shares::DOUBLE[]) FILTER ({_finite(c)} IS NOT NULL)" for c in chunk
            )
            (row,) = source.fetch(parts, tail, shares=shares)
            for c, values in zip(chunk, row, strict=True):
                if values:
                    found[c.name] = (_increasing(values), None)
                elif not tail:
                    found[c.name] = ((), None)
    return found


def _increasing(values: Iterable[float]) -> tuple[float, ...]:
    """Edges, rounded to nine digits so that they are short to write; what falls together is one edge."""
    return tuple(sorted({_digits(v, 9) or 0.0 for v in values}))


def _tree(value: str, edges: Sequence[float], first: int = 0) -> str:
    """The bin of a value as nested CASE: six comparisons for fifty bins. Only finite floats are written into it."""
    if not edges:
        return str(first)
    middle = len(edges) // 2
    left, right = edges[:middle], edges[middle + 1 :]
    return (
        f"CASE WHEN {value} <= {float(edges[middle])!r}::DOUBLE THEN {_tree(value, left, first)} "
        f"ELSE {_tree(value, right, first + middle + 1)} END"
    )


def _finite(column: Column) -> str:
    """The value, or NULL where it is not finite."""
    if column.type == "float":
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    if column.type in ("datetime", "date"):
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    return column.sql if column.type != "other" else f"CAST({column.sql} AS VARCHAR)"


def _extremes(column: Column, value: str) -> tuple[str, str]:
    if column.type in ("bool", "other"):
        return "NULL", "NULL"
    if column.type == "string":
        value = f"CAST({column.sql} AS VARCHAR)"
        return f"left(min({value}), {TEXT_LIMIT})", f"left(max({value}), {TEXT_LIMIT})"
    if column.type in ("datetime", "date"):
        value = (
            f"CAST({value} AS {'TIMESTAMPTZ' if column.zoned else 'TIMESTAMP'})" if column.type == "datetime" else value
        )
    else:
        value = f"CAST({value} AS DOUBLE)"
    return f"min({value})", f"max({value})"


def _extreme(value: Any) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else float(value)


def _bounded(categories: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """The first categories that fit: all, or so many that the rest is worth counting as one."""
    kept, size = [], 0
    for category in categories[:MAX_CATEGORIES]:
        size += len(json.dumps(category))
        if size > TOP_BYTES:
            break
        kept.append(category)
    return tuple(kept)


def _digits(value: Any, digits: int) -> float | None:
    """A float of so many significant digits, or ``None`` where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits - 1}e}")


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
