"""From two column profiles to two histograms over the same cells, or the reason why not.

Cells are pooled until each can be expected to hold a handful of rows in the smaller sample: below that, the
approximations behind the p-values do not hold and effect sizes measure noise. Which cells are pooled depends only on
both samples *together*, so that where nothing changed neither sample is favoured.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from airflow_mlops.core.drift_statistics import Cells

if TYPE_CHECKING:
    from airflow_mlops.core.columns import ColumnProfile

EXPECTED = 5.0
"""Rows that the smaller sample must be expected to hold in every cell."""

MARGIN = 4.0
"""Standard deviations by which a category must clear the cut of a truncated list to be a cell of its own."""


class TooFew(Exception):
    """There are too few rows for two cells.

    :param reason: the sentence for a person.
    :param enough: rows of the smaller sample that would be enough; ``None`` when no number of rows would be.
    """

    def __init__(self, reason: str, enough: int | None) -> None:
        super().__init__(reason)
        self.enough = enough


class NotComparable(Exception):
    """The two profiles were not counted alike; no number of rows helps."""


def numeric_cells(reference: ColumnProfile, current: ColumnProfile) -> Cells:
    """Histograms over the edges that both profiles have, neighbours pooled.

    :raises NotComparable: when they have no edge in common.
    :raises TooFew: when fewer than two cells can be filled.
    """
    edges = tuple(e for e in reference.edges if e in set(current.edges))
    if not edges:
        if _is_constant(reference):
            return _against_constant(reference, current)
        raise NotComparable("it was counted in other bins; profile it with reference=")
    r, c = _at(reference, edges), _at(current, edges)
    low = _number(min, reference.minimum, current.minimum, edges[0])
    high = _number(max, reference.maximum, current.maximum, edges[-1])
    bounds = (min(low, edges[0]), *edges, max(high, edges[-1]))
    middles = tuple((a + b) / 2 for a, b in itertools.pairwise(bounds))
    groups = _neighbours(r, c)
    if len(groups) < 2:
        if _is_constant(reference) and (current.minimum, current.maximum) != (reference.minimum, reference.maximum):
            return _against_constant(reference, current)
        if sum(x + y > 0 for x, y in zip(r, c, strict=True)) < 2:
            return Cells(reference=(sum(r),), current=(sum(c),), points=(reference.mean or 0.0,))
        raise _too_few(r, c)
    extremes = (reference.minimum, reference.maximum, current.minimum, current.maximum)
    known = all(isinstance(x, int | float) for x in extremes)
    points = tuple(sum(middles[i] * (r[i] + c[i]) for i in g) / sum(r[i] + c[i] for i in g) for g in groups)
    return Cells(
        reference=tuple(sum(r[i] for i in g) for g in groups),
        current=tuple(sum(c[i] for i in g) for g in groups),
        points=points,
        reach=tuple(max(x - bounds[g[0]], bounds[g[-1] + 1] - x) for x, g in zip(points, groups, strict=True))
        if known
        else (),
        scale=reference.std or 0.0,
    )


def categorical_cells(reference: ColumnProfile, current: ColumnProfile) -> Cells:
    """Counts per category, the rare ones and those that the reference does not name in one cell.

    A profile names its most frequent categories only. Those just above that cut are there partly by luck, and would
    seem to shrink in any other sample: a category is a cell of its own only where its rows in both samples together
    put it well above the cut.

    :raises TooFew: when fewer than two cells can be filled.
    """
    named = dict(current.top)
    known = [(name, rows) for name, rows in reference.top if name in named or current.complete]
    m, n = reference.valid, current.valid
    least = _least(reference, m, n)
    pairs = [(rows, named.get(name, 0)) for name, rows in known]
    own = [pair for pair in pairs if sum(pair) >= least]
    rest = (m - sum(r for r, _ in own), n - sum(c for _, c in own))
    if sum(rest) * min(m, n) / (m + n) < EXPECTED and sum(rest) > 0 and own:
        smallest = min(own, key=sum)  # a lonely handful joins the smallest cell, as neighbours do
        own.remove(smallest)
        rest = (rest[0] + smallest[0], rest[1] + smallest[1])
    cells = sorted(own, key=lambda pair: (-sum(pair), pair))
    cells += [rest] if sum(rest) else []
    if len(cells) < 2:
        everything = [*pairs, (m - sum(r for r, _ in pairs), n - sum(c for _, c in pairs))]
        filled = [pair for pair in everything if sum(pair)]
        if len(filled) < 2:
            return Cells(reference=(m,), current=(n,))
        if not reference.complete:
            raise TooFew("its categories are too many of similar share for a mix to be compared", None)
        raise _too_few(tuple(r for r, _ in filled), tuple(c for _, c in filled))
    return Cells(reference=tuple(r for r, _ in cells), current=tuple(c for _, c in cells))


def unseen_rows(reference: ColumnProfile, current: ColumnProfile) -> int | None:
    """Rows of categories that the reference does not have; ``None`` where that can't be known."""
    if not reference.complete:
        return None
    if current.unseen:
        return current.unseen
    seen = {name for name, _ in reference.top}
    strange = sum(rows for name, rows in current.top if name not in seen)
    listed = all(name in dict(current.top) for name in seen)
    return strange + (current.other if listed else 0) if listed or current.complete else None


def _least(reference: ColumnProfile, m: int, n: int) -> float:
    """Rows in both samples together from which a category is a cell of its own."""
    least = EXPECTED * (m + n) / min(m, n)
    if reference.complete or not reference.top:
        return least
    cut = reference.top[-1][1]
    share = m / (m + n)
    spread = MARGIN * math.sqrt(share * (1 - share))
    # rows t with t * share - spread * sqrt(t) = cut: the reference's part of them clears the cut by the margin
    root = (spread + math.sqrt(spread**2 + 4 * share * max(cut, 1))) / (2 * share)
    return max(least, root**2)


def _neighbours(reference: tuple[int, ...], current: tuple[int, ...]) -> list[list[int]]:
    """Runs of neighbouring cells, each with enough rows; the last one takes what is left over."""
    m, n = sum(reference), sum(current)
    least = EXPECTED * (m + n) / min(m, n)
    groups: list[list[int]] = []
    run: list[int] = []
    held = 0
    for i, rows in enumerate(x + y for x, y in zip(reference, current, strict=True)):
        run.append(i)
        held += rows
        if held >= least:
            groups.append(run)
            run, held = [], 0
    if run:
        if groups:
            groups[-1].extend(run)
        else:
            groups.append(run)
    return groups


def _too_few(reference: tuple[int, ...], current: tuple[int, ...]) -> TooFew:
    total = sum(reference) + sum(current)
    largest = max(x + y for x, y in zip(reference, current, strict=True))
    share = (total - largest) / total
    return TooFew("all but a few rows have the same value", math.ceil(EXPECTED / share) + 1)


def _is_constant(column: ColumnProfile) -> bool:
    return column.valid > 0 and column.minimum is not None and column.minimum == column.maximum


def _against_constant(reference: ColumnProfile, current: ColumnProfile) -> Cells:
    """The reference has one value only. How many rows of the current batch have another follows from its moments.

    By Cauchy-Schwarz P(X != v) >= (E|X - v|)^2 / E(X - v)^2 >= (mean - v)^2 / (variance + (mean - v)^2): a lower bound,
    so that a change is understated and never invented. One extreme off the value is at least one row.
    """
    value = float(reference.minimum or 0.0)
    rows = current.valid
    moved = 0
    if (current.minimum, current.maximum) != (reference.minimum, reference.maximum):
        gap = (value if current.mean is None else current.mean) - value
        spread = (current.m2 or 0.0) / rows + gap**2
        moved = max(math.floor(rows * gap**2 / spread + 1e-9) if spread > 0 else 0, 1)
        if isinstance(current.minimum, float | int) and isinstance(current.maximum, float | int):
            outside = value < current.minimum or value > current.maximum
            moved = rows if outside else moved
    return Cells(
        reference=(float(reference.valid), 0.0),
        current=(float(rows - moved), float(moved)),
        points=(value, value if current.mean is None else float(current.mean)),
    )


def _number(choose: object, *values: float | str | None) -> float:
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return float(choose(numbers))  # type: ignore[operator]


def _at(column: ColumnProfile, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Counts in some of the column's own edges: neighbouring bins are summed, exactly."""
    if edges == column.edges:
        return column.counts
    counts, at = [0] * (len(edges) + 1), 0
    for i, count in enumerate(column.counts):
        counts[at] += count
        if at < len(edges) and i < len(column.edges) and column.edges[i] == edges[at]:
            at += 1
    return tuple(counts)
