"""Profiles, counted in one pass and bounded memory; in two where bins have to be chosen first.

Batches of Arrow go through the tallies of their columns (:mod:`airflow_mlops.engines.tallies`), on as many threads as
there are. Bin counts are exact. Where bins have to be chosen, they are of equal share: made of many narrow ones, or
quantiles of a sample that depends on the rows alone and not on their order, rows whose hash is small. Moments are sums
of whole numbers, because a sum of floats depends on its order in the last digits. So the same rows give the same
profile in any order and any split into files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.columns import MAX_BINS, MAX_CATEGORIES, TEXT_LIMIT, ColumnProfile, ordered
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines.duck import Column, Source, need

if TYPE_CHECKING:
    from airflow_mlops.engines.streams import Rows
    from airflow_mlops.engines.tallies import Numbers, Words

SAMPLE = 200_000
"""Rows that bins are chosen from, about; all of them below it."""

MOST_DISTINCT = 1000
"""Different texts up to which a column is categorical; beyond it is text."""

TOP_BYTES = 1500
"""Bytes of JSON that the named categories of a column may take, so that a profile stays one small artifact."""

GROUP = 64
"""Columns that are counted together; of many columns only so many are ever in memory."""


def profile(
    rows: Rows | Source, *, reference: Profile | None = None, columns: Sequence[str] = (), digest: str = ""
) -> Profile:
    """The profile of rows, or of an open source; see :meth:`airflow_mlops.engines.Engine.profile`."""
    from airflow_mlops.engines import streams

    rows = streams.DuckRows.of(rows) if isinstance(rows, Source) else rows
    need(rows.label, [c.name for c in rows.columns], columns)
    chosen = [c for c in rows.columns if not columns or c.name in columns]
    if columns:
        chosen.sort(key=lambda c: list(columns).index(c.name))
    known = reference.columns if reference else {}
    counted: dict[str, ColumnProfile] = {}
    for group in _chunks(chosen, GROUP):
        counted |= _counted(rows, group, {c.name: m for c in group if (m := _reference(c, known)) is not None})
    return Profile(rows=rows.count, columns=counted, dataset_digest=digest, name=rows.label)


def _counted(rows: Rows, group: Sequence[Column], models: Mapping[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    """The profiles of some columns: counted in the bins of a reference, else in those that are found on the way.

    Of many rows, numbers are counted in many narrow bins first, of which bins of equal share are made. What that does
    not do for (few different values, long tails, times) needs a first look at some rows, and a count after it.
    """
    from airflow_mlops.engines import binning, sampling, streams
    from airflow_mlops.engines.tallies import Numbers, Words

    fresh = {c.name for c in group if c.type in _ORDERED and c.name not in models}
    numbers = [c for c in group if c.type in _NUMBERS]
    said = rows.extremes(numbers)
    said |= sampling.extremes(rows, unsaid) if (unsaid := [c for c in numbers if c.name not in said]) else {}
    narrow: dict[str, tuple[float, ...]] = {}
    if rows.count > SAMPLE:
        narrow = {name: binning.even(*said[name]) for name in said if name in fresh}
    few: dict[str, tuple[float, ...]] = {}
    looks: dict[str, sampling.Look] = {}

    def tally(column: Column) -> Numbers | Words:
        name, model = column.name, models.get(column.name)
        if column.type not in _ORDERED or (model is not None and model.kind == "categorical"):
            known = [c for c, _ in model.top] if model is not None and model.kind == "categorical" else None
            return Words(column, -1 if model is not None and model.kind == "text" else MOST_DISTINCT, known)
        if model is not None:
            edges = model.edges
        else:
            edges = few.get(name) or (_increasing(looks[name].quantiles) if name in looks else narrow[name])
        return Numbers(column, edges, discrete=name in few, extremes=said.get(name))

    def counted(columns: Sequence[Column]) -> dict[str, Numbers | Words]:
        """Each column's tally. It relies on what the first look saw and on what somebody says the extremes are; where
        it turns out otherwise, the column is counted again.
        """
        found, again = dict(sampling.tallied(rows, columns, tally)), []
        for name, one in found.items():
            if isinstance(one, Numbers):
                said[name] = (one.low, one.high)
                more = name in few and len(one.values()) >= MAX_BINS  # than the first look could see
                if more:
                    del few[name]
                if name in narrow and not one.scaled:
                    narrow[name] = binning.even(one.low, one.high)
                if more or not one.scaled:
                    again.append(one.column)
        return {**found, **(sampling.tallied(rows, again, tally) if again else {})}

    found = counted([c for c in group if c.name not in fresh or c.name in narrow]) if narrow else {}
    for name in list(narrow):
        one = found[name]
        if not (isinstance(one, Numbers) and one.settle()):
            del found[name]
    rest = [c for c in group if c.name not in found]
    unseen = [c for c in rest if c.name in fresh]
    if unseen:
        rows = streams.held(rows, [*(sampling.keys(rows.columns) if rows.count > SAMPLE else ()), *rest])
        looks |= sampling.looks(rows, unseen, SAMPLE)
        few |= {name: seen.values for name, seen in looks.items() if seen.values is not None}
    found |= counted(rest) if rest else {}
    return {c.name: _made(found[c.name], models.get(c.name)) for c in group}


def _made(tally: Numbers | Words, model: ColumnProfile | None) -> ColumnProfile:
    """What is remembered of a column that was counted."""
    from airflow_mlops.engines.tallies import Numbers

    (distinct, exact), column = tally.distinct, tally.column
    common: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "count": tally.rows,
        "nulls": tally.nulls,
        "nonfinite": tally.nonfinite,
        "distinct": distinct,
        "distinct_exact": exact,
    }
    common["minimum"], common["maximum"] = tally.extremes()
    if isinstance(tally, Numbers) and model is not None and model.kind == "text":
        return ColumnProfile(**common, kind="text")
    if isinstance(tally, Numbers):
        edges, counts = tally.edges, tuple(tally.counts.tolist())
        if tally.others is not None:
            values = tally.values()
            edges = tuple(sorted(values))
            counts = (*(values[v] for v in edges), 0)
            common |= {"distinct": len(values), "distinct_exact": True}
        mean, m2 = tally.moments()
        kind = "datetime" if tally.date else "numeric"
        return ColumnProfile(**common, kind=kind, mean=mean, m2=m2, edges=edges, counts=counts)
    if tally.known is not None:
        top, complete = ordered(tally.known.items()), model is not None and model.complete
    elif tally.words is not None:
        top, complete = _bounded(ordered(tally.words.items())), False
    else:
        lengths = tally.lengths if column.type == "string" else None
        return ColumnProfile(**common, kind="text", lengths=lengths)
    other = tally.valid - sum(n for _, n in top)
    return ColumnProfile(**common, kind="categorical", top=top, other=other, unseen=other if complete else 0)


def scale(low: float | None, high: float | None) -> tuple[float, float]:
    """What a column is shifted and divided by, so that every value is within -1 and 1; 0: it can't be scaled."""
    if low is None or high is None:
        return 0.0, 0.0
    center, width = low / 2 + high / 2, high - low
    return center, width if math.isfinite(width) and width > 1e-290 else 0.0


def moments(center: float, width: float, valid: int, first: int, second: int) -> tuple[float | None, float | None]:
    """Mean and sum of squared deviations, from sums of whole numbers that have lost nothing.

    The least and the greatest value alone give squares of half the squared range, so that what the 2**-52 cuts off
    is at most about rows * 2**-52 of the result.

    :param first: sum of the scaled values, in 2**-52. :param second: of their squares.
    """
    if not valid:
        return None, None
    if not width:
        return (center, 0.0) if math.isfinite(center) else (None, None)
    one, two = Fraction(first, ONE), Fraction(second, ONE)
    m2 = float(max(two - one * one / valid, Fraction(0)))
    mean, m2 = center + width * float(one / valid), m2 * width * width
    return mean, m2 if math.isfinite(m2) else None


ONE = 2**52


def _fixed(value: str) -> str:
    """A number of at most 1 as a whole number of 2**-52: whole numbers add up the same in every order."""
    return f"CAST({value} * {ONE} AS BIGINT)"


_NUMBERS = ("int", "float", "decimal")
_ORDERED = (*_NUMBERS, "datetime", "date")


def _kind(column: Column, model: ColumnProfile | None, basics: Mapping[str, Any]) -> str:
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
    return value.isoformat() if hasattr(value, "isoformat") else float(value) + 0.0


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
