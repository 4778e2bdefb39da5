"""Profiles counted by a database: four queries for all columns together, and only counts come back.

The queries are: counts, extremes and lengths; moments and where the bins begin; the bins; the categories. A database
reads whole rows, so that one query for all columns is what one query a column is to a column store.

A profile is the one that a file of the same rows has, but for two things, both more exact here: ``distinct`` is
counted and not estimated, and bins of more rows than :data:`~airflow_mlops.engines.profiling.SAMPLE` are quantiles
of all rows and not of a sample. Counted with ``reference=``, bins are the reference's anyway.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.core.columns import MAX_BINS, ColumnProfile, ordered
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import profiling
from airflow_mlops.engines.duck import Column, need
from airflow_mlops.engines.sql_source import SqlSource

_CHUNK = 150
"""Columns of one query: eight figures each, and databases have limits (PostgreSQL: 1,664)."""

_NUMBERS = ("int", "float", "decimal")
_BINNED = ("numeric", "datetime")


@dataclasses.dataclass
class _Counting:
    """What is known of a column so far."""

    column: Column
    model: ColumnProfile | None
    kind: str = ""
    basics: dict[str, Any] = dataclasses.field(default_factory=dict)
    lengths: tuple[int, int, int] | None = None
    center: float = 0.0
    width: float = 0.0
    sums: tuple[int, int] = (0, 0)
    edges: tuple[float, ...] = ()
    exact: bool = False
    groups: dict[Any, int] = dataclasses.field(default_factory=dict)

    @property
    def valid(self) -> int:
        return int(self.basics["count"] - self.basics["nulls"] - self.basics["nonfinite"])


def profile(
    source: SqlSource, *, reference: Profile | None = None, columns: Sequence[str] = (), digest: str = ""
) -> Profile:
    """The profile of a table; see :meth:`airflow_mlops.engines.Engine.profile`."""
    need(source.label, [c.name for c in source.columns], columns)
    chosen = [c for c in source.columns if not columns or c.name in columns]
    if columns:
        chosen.sort(key=lambda c: list(columns).index(c.name))
    known = reference.columns if reference else {}
    counted: dict[str, ColumnProfile] = {}
    rows = 0
    for start in range(0, len(chosen), _CHUNK):
        here = [_Counting(c, _model(c, known)) for c in chosen[start : start + _CHUNK]]
        rows = _basics(source, here)
        _second(source, [c for c in here if c.kind in _BINNED])
        _bins(source, [c for c in here if c.kind in _BINNED])
        _categories(source, [c for c in here if c.kind == "categorical"])
        counted |= {c.column.name: _made(c) for c in here}
    return Profile(rows=rows, columns=counted, dataset_digest=digest, name=source.label)


def _model(column: Column, known: Mapping[str, ColumnProfile]) -> ColumnProfile | None:
    """The reference's column, when this one can be counted as it was."""
    model = known.get(column.name)
    groups = (_NUMBERS, ("datetime", "date"), ("bool",), ("string",), ("other",))
    same = model is not None and any(model.type in g and column.type in g for g in groups)
    return model if same else None


def _basics(source: SqlSource, here: Sequence[_Counting]) -> int:
    """Rows; and of each column: nulls, non-finite values, extremes, distinct values, lengths."""
    parts = ["count(*)"]
    for c in here:
        value, size = finite(c.column), f"length(CAST({c.column.sql} AS VARCHAR))"
        lengths = [f"min({size})", f"max({size})", f"sum({size})"] if c.column.type == "string" else ["NULL"] * 3
        different = "NULL" if c.column.type == "other" else f"count(DISTINCT {value})"
        extremes = profiling._extremes(c.column, value)
        parts += [f"count({c.column.sql})", f"count({value})", *extremes, different, *lengths]
    (row,) = source.fetch(", ".join(parts))
    rows, values = int(row[0]), row[1:]
    for i, c in enumerate(here):
        present, found, low, high, distinct, *lengths = values[8 * i : 8 * i + 8]
        c.basics = {
            "count": rows,
            "nulls": rows - int(present),
            "nonfinite": int(present) - int(found),
            "minimum": profiling._extreme(low),
            "maximum": profiling._extreme(high),
            "distinct": int(distinct or 0),
        }
        c.kind = profiling._kind(c.column, c.model, c.basics)
        c.lengths = None if lengths[0] is None else (int(lengths[0]), int(lengths[1]), int(lengths[2]))
    return rows


def _second(source: SqlSource, here: Sequence[_Counting]) -> None:
    """Moments; and where bins of one's own begin."""
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    for i, c in enumerate(here):
        value, there = c.column.number, f"FILTER (WHERE {finite(c.column)} IS NOT NULL)"
        asked = {"first": "NULL", "second": "NULL", "values": "NULL", "quantiles": "NULL"}
        if c.column.type in _NUMBERS:
            c.center, c.width = profiling.scale(c.basics["minimum"], c.basics["maximum"])
        if c.width:
            parameters |= {f"center_{i}": c.center, f"width_{i}": c.width}
            scaled = f"(({value} - CAST($center_{i} AS DOUBLE)) / CAST($width_{i} AS DOUBLE))"
            asked["first"] = f"sum({profiling._fixed(scaled)}) {there}"
            asked["second"] = f"sum({profiling._fixed(f'{scaled} * {scaled}')}) {there}"
        part = source.sampled(c.valid) if c.model is None else ""
        if c.model is None and c.valid:
            distinct = c.basics["distinct"]
            if distinct <= 2 * MAX_BINS:
                asked["values"] = f"list(DISTINCT {value}) {there}"
            if distinct >= MAX_BINS:
                shares = ", ".join(repr(i / MAX_BINS) for i in range(1, MAX_BINS)) if part else _shares(c.valid)
                chosen = f"{there[:-1]} AND {part})" if part else there
                asked["quantiles"] = f"quantile_disc({value}, [{shares}]) {chosen}"
        parts += asked.values()
    if not any(p != "NULL" for p in parts):
        row: Sequence[Any] = [None] * len(parts)
    else:
        (row,) = source.fetch(", ".join(parts), **parameters)
    for i, c in enumerate(here):
        first, second, values, quantiles = row[4 * i : 4 * i + 4]
        c.sums = (int(first or 0), int(second or 0))
        if c.model is not None:
            c.edges = c.model.edges
        elif values is not None and len(values) < MAX_BINS:
            c.edges, c.exact = tuple(sorted(float(v) for v in values)), True
        else:
            c.edges = profiling._increasing(quantiles or ())


def _shares(rows: int) -> str:
    """The shares of the quantiles, each in the middle of its row, so that no rounding takes the row beside it."""
    ranks = (rows - math.floor(rows - i / MAX_BINS * rows) for i in range(1, MAX_BINS))
    return ", ".join(repr((max(rank, 1) - 0.5) / rows) for rank in ranks)


def _bins(source: SqlSource, here: Sequence[_Counting]) -> None:
    """Rows a bin."""
    binned = [f"CASE WHEN {finite(c.column)} IS NOT NULL THEN {_bin(c)} END" for c in here]
    _grouped(source, here, binned)


def _bin(c: _Counting) -> str:
    """The number of a value's bin; ``bin_of`` is a leaf's to say."""
    return f"bin_of({c.column.number}, '{','.join(map(repr, c.edges))}')" if c.edges else "0"


def _categories(source: SqlSource, here: Sequence[_Counting]) -> None:
    """Rows a category; of a reference's column, those of the reference's categories only."""
    named: list[str] = []
    parameters: dict[str, Any] = {}
    for c in here:
        text = f"CAST({c.column.sql} AS VARCHAR)"
        if c.model is not None:
            slots = []
            for category, _ in c.model.top:
                key = f"known_{len(parameters)}"
                parameters[key] = category
                slots.append(f"CAST(${key} AS VARCHAR)")
            text = f"CASE WHEN {text} IN ({', '.join(slots)}) THEN {text} END" if slots else "CAST(NULL AS VARCHAR)"
        named.append(text)
    _grouped(source, here, named, **parameters)


def _grouped(source: SqlSource, here: Sequence[_Counting], values: Sequence[str], **parameters: Any) -> None:
    """Rows of every value of every column, in one pass: a row becomes as many as it has columns."""
    if not here:
        return
    numbers = ", ".join(str(i) for i in range(len(here)))
    pairs = f"SELECT unnest([{numbers}]) AS k, unnest([{', '.join(values)}]) AS v FROM {source.relation} AS data"
    sql = f"SELECT k, v, count(*) FROM ({pairs}) AS pairs WHERE v IS NOT NULL GROUP BY 1, 2"
    for k, v, n in source.run(sql, **parameters):
        here[int(k)].groups[v] = int(n)


def _made(c: _Counting) -> ColumnProfile:
    common = {"name": c.column.name, "type": c.column.type, "kind": c.kind, **c.basics}
    common["distinct_exact"] = c.column.type != "other"
    if c.kind == "text":
        return ColumnProfile(**common, lengths=c.lengths)
    if c.kind == "categorical":
        return _categorical(c, common)
    counts = [0] * (len(c.edges) + 1)
    for bin_, n in c.groups.items():
        counts[int(bin_)] = n
    mean, m2 = None, None
    if c.column.type in _NUMBERS:
        mean, m2 = profiling.moments(c.center, c.width, sum(counts), *c.sums)
    if c.exact:
        common["distinct"] = len(c.edges)
    return ColumnProfile(**common, mean=mean, m2=m2, edges=c.edges, counts=tuple(counts))


def _categorical(c: _Counting, common: dict[str, Any]) -> ColumnProfile:
    found = {str(v): n for v, n in c.groups.items()}
    if c.model is None:
        top = profiling._bounded(ordered(found.items()))
    else:
        top = ordered((category, found.get(category, 0)) for category, _ in c.model.top)
    other = c.valid - sum(n for _, n in top)
    unseen = other if c.model is not None and c.model.complete else 0
    return ColumnProfile(**common, top=top, other=other, unseen=unseen)


def finite(column: Column) -> str:
    """The value, or NULL where it is not finite."""
    if column.type in ("float", "decimal"):
        return f"CASE WHEN isfinite(CAST({column.sql} AS DOUBLE)) THEN {column.sql} END"
    if column.type in ("datetime", "date"):
        zone = "TIMESTAMPTZ" if column.zoned else "TIMESTAMP"
        return f"CASE WHEN isfinite(CAST({column.sql} AS {zone})) THEN {column.sql} END"
    return f"CAST({column.sql} AS VARCHAR)" if column.type in ("string", "other") else column.sql
