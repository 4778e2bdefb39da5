"""The bins of many values at once, by arithmetic instead of a search for each value.

A monotone map takes a value to one of 2,048 cells; most cells lie in one bin, a few have an edge in them, with which
the value is compared. That is exact, whatever the map: of two values the smaller is never in the higher cell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from airflow_mlops.engines.scratch import Scratch

CELLS = 2048
_MASK = np.int64(CELLS - 1)
_SIGN = np.int64(2**63 - 1)
_WHOLE = 1.5 * 2.0**52
"""Added to a float below 2**51, it is rounded to a whole number, which is what the lower bits of the sum then say."""

_MANY = 4
"""One part in so many of the values, beyond which those beside an edge are not looked at one by one."""


class Bins:
    """Bins ``(-inf, e0], (e0, e1], ..., (eK-1, inf)`` of finite values.

    :param edges: strictly increasing, at most some thousand.

    >>> bins = Bins([1.0, 2.0])
    >>> bins.count(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 1e300])).tolist()
    [2, 2, 2]
    >>> bins.of(np.array([0.0, 1.0, 1.5, 2.0, 3.0])).tolist()
    [0, 0, 1, 1, 2]
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = np.asarray(edges, float)
        self.size = len(self.edges) + 1
        self._searched = True
        for by_bits in (False, True) if len(self.edges) else ():
            found = Map.over(self.edges, by_bits)
            if found is None:
                continue
            cells = found.cells(self.edges, Scratch()).copy()
            crowded = len(np.unique(cells)) < len(cells)
            if self._searched or not crowded:
                self._map, self._searched = found, crowded
                self._edge = np.full(CELLS, np.inf)
                self._edge[cells] = self.edges
                self._crossed = np.isfinite(self._edge)
                self._dense = np.count_nonzero(self._crossed) * _MANY > CELLS
                self._first = np.searchsorted(cells, np.arange(CELLS), side="left")
            if not crowded:
                break

    def of(self, values: Any, scratch: Scratch | None = None) -> Any:
        """The bin of each value."""
        if self._searched:
            return np.searchsorted(self.edges, values)
        scratch = scratch or Scratch()
        cells = self._map.cells(values, scratch)
        above = np.greater(values, self._edges_of(cells, scratch), out=scratch.flags("above", len(values)))
        found = self._first.take(cells, out=scratch.whole("bins", len(values)), mode="wrap")
        return np.add(found, above, out=found)

    def count(self, values: Any, scratch: Scratch | None = None) -> Any:
        """Values in each bin."""
        if self.size == 1:
            return np.array([len(values)])
        if self._searched:
            return np.bincount(np.searchsorted(self.edges, values), minlength=self.size)
        scratch = scratch or Scratch()
        cells = self._map.cells(values, scratch)
        dense = self._dense
        if not dense:
            near = self._crossed.take(cells, out=scratch.flags("above", len(values)), mode="wrap")
            dense = np.count_nonzero(near) * _MANY > len(values)
        if dense:
            above = np.greater(values, self._edges_of(cells, scratch), out=scratch.flags("above", len(values)))
            np.left_shift(cells, 1, out=cells)
            np.add(cells, above, out=cells)
            below, beyond = np.bincount(cells, minlength=2 * CELLS).reshape(CELLS, 2).T
        else:
            places = np.flatnonzero(near)
            crossed = cells.take(places)
            beyond = np.bincount(crossed[values.take(places) > self._edge.take(crossed)], minlength=CELLS)
            below = np.bincount(cells, minlength=CELLS) - beyond
        # sums of floats, but of whole numbers; an edge has a bin after it, so that none falls out
        found = np.bincount(self._first, below, self.size)
        found += np.bincount(self._first + 1, beyond, self.size)[: self.size]
        return found.astype(np.int64)

    def _edges_of(self, cells: Any, scratch: Scratch) -> Any:
        return self._edge.take(cells, out=scratch.floats("edges", len(cells)), mode="wrap")


class Map:
    """A monotone map of values to cells: even steps between the edges, or even steps in the bits of a float.

    The second has as many steps from 1 to 2 as from 1,000 to 2,000.
    """

    def __init__(self, low: float, steps: float, by_bits: bool) -> None:
        self.low, self.steps, self.by_bits = low, steps, by_bits

    @classmethod
    def over(cls, edges: Any, by_bits: bool) -> Map | None:
        """The map over these edges, or ``None`` where there is none."""
        with np.errstate(all="ignore"):
            ends = _ordered(edges[[0, -1]], Scratch()) if by_bits else edges[[0, -1]]
            width = float(ends[1] - ends[0])
            if by_bits and width < 0:  # more than half of all floats
                return None
            steps = float(np.float64(CELLS - 3) / width) if width > 0 else 1.0
        return cls(ends[0], steps, by_bits) if np.isfinite(steps) and np.isfinite(width) else None

    def cells(self, values: Any, scratch: Scratch) -> Any:
        """The cell of each value, 0 to ``CELLS - 1``; they lie where ``scratch`` has its scaled floats."""
        size = len(values)
        scaled = scratch.floats("scaled", size)
        with np.errstate(all="ignore"):
            if self.by_bits:
                bits = _ordered(values, scratch)
                np.maximum(bits, self.low, out=bits)
                np.subtract(bits, self.low, out=bits)
                np.multiply(bits.view(np.uint64), self.steps, out=scaled)  # up to 2**63, as a float
            else:
                np.subtract(values, self.low, out=scaled)
                np.multiply(scaled, self.steps, out=scaled)
            np.clip(scaled, -1.0, CELLS - 2.0, out=scaled)
        np.add(scaled, _WHOLE + 1.0, out=scaled)
        cells = scaled.view(np.int64)
        return np.bitwise_and(cells, _MASK, out=cells)


NARROW = 1000
"""Bins of even width that bins of equal share are made of, at most; at least three quarters as many."""

_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)


def even(low: float, high: float) -> tuple[float, ...]:
    """Edges of many narrow bins from the least to the greatest value: multiples of a short decimal number. None where
    there is no room for so many.

    >>> edges = even(-3.02, 4.1)
    >>> len(edges), edges[:2], edges[-1]
    (890, (-3.016, -3.008), 4.096)
    """
    width = high - low
    if not (math.isfinite(width) and width > 1e-290):
        return ()
    power = math.floor(math.log10(width / NARROW))
    step = next(s for s in _STEPS if s == _STEPS[-1] or s * 10.0 ** (power - 1) >= width / NARROW)
    unit = float(f"{step}e{power - 1}")
    first, last = math.floor(low / unit), math.ceil(high / unit)
    if last - first > 2 * NARROW:
        return ()
    edges = tuple(e for k in range(first, last + 1) if low <= (e := float(f"{k * step}e{power - 1}")) < high)
    return edges if all(a < b for a, b in itertools.pairwise(edges)) else ()


def equal_shares(counts: Any, bins: int) -> Any:
    """Which edges make bins of equal share of narrow ones, to a quarter of a share; ``None``: no edges do.

    :param counts: of the narrow bins, the last of which has no upper edge.
    :param bins: how many there are to be.

    >>> equal_shares(np.array([5, 5, 1, 1, 8, 10, 10]), 4).tolist()
    [1, 4, 5]
    >>> equal_shares(np.array([5, 15, 0, 20, 0]), 4) is None
    True
    """
    sums, total = np.cumsum(counts)[:-1], int(np.sum(counts))
    if len(sums) < bins or not total:
        return None
    wanted = np.arange(1, bins) * (total / bins)
    after = np.searchsorted(sums, wanted).clip(1, len(sums) - 1)
    near = np.where(wanted - sums[after - 1] <= sums[after] - wanted, after - 1, after)
    close = np.abs(sums[near] - wanted) <= total / bins / 4
    return near if close.all() else None


def _ordered(values: Any, scratch: Scratch) -> Any:
    """Floats as whole numbers in the same order; -0 is 0."""
    plain = np.add(values, 0.0, out=scratch.floats("plain", len(values)))
    bits = plain.view(np.int64)
    signs = np.right_shift(bits, np.int64(63), out=scratch.whole("signs", len(values)))
    np.bitwise_and(signs, _SIGN, out=signs)
    return np.bitwise_xor(bits, signs, out=bits)
