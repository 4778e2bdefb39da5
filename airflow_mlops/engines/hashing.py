"""Hashes of values, many at a time, and how many different values there were.

A hash depends on the value alone: not on the type that it was stored as, on the order of the rows, or on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from airflow_mlops.engines.scratch import Scratch

_ONE, _TWO, _THREE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
NOTHING = np.uint64(0x165667B19E3779F9)
"""The hash of a null."""

_NAN = np.uint64(0x27D4EB2F165667C5)
_BYTES = 1 << 20
"""Bytes of text that are hashed at a time."""


def of_numbers(values: Any, scratch: Scratch | None = None, *, finite: bool = False) -> Any:
    """Hashes of floats; the upper bits are the good ones. -0 is 0, and NaN is NaN, whatever its bits.

    :param scratch: where they are put, until the next ones.
    :param finite: that none is NaN is known.
    """
    scratch = scratch or Scratch()
    plain = np.add(values, 0.0, out=scratch.floats("plain", len(values)))
    found = _mixed(plain.view(np.uint64), scratch)
    if not finite and len(values) and np.isnan(values.min()):
        found[np.isnan(values)] = _NAN
    return found


def of_texts(texts: Any) -> Any:
    """Hashes of an Arrow array of texts without nulls: polynomials in their bytes, modulo 2**64."""
    import pyarrow as pa

    wide = pa.types.is_large_string(texts.type)
    _, offsets, data = texts.buffers()
    ends: Any = np.frombuffer(offsets, np.int64 if wide else np.int32)[texts.offset : texts.offset + len(texts) + 1]
    ends = ends.astype(np.int64)
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    found, first = np.empty(len(texts), np.uint64), 0
    while first < len(texts):
        last = max(int(np.searchsorted(ends, ends[first] + _BYTES, side="right")) - 1, first + 1)
        here = ends[first : last + 1]
        part = raw[here[0] : here[-1]]
        up, down = _powers(len(part))
        sums = np.zeros(len(part) + 1, np.uint64)
        np.cumsum((part + np.uint64(1)) * up[: len(part)], dtype=np.uint64, out=sums[1:])
        starts = here[:-1] - here[0]
        found[first:last] = (sums[here[1:] - here[0]] - sums[starts]) * down[starts]
        found[first:last] += np.diff(here).astype(np.uint64) * _THREE
        first = last
    return _mixed(found, Scratch())


_POWERS: list[Any] = [np.ones(1, np.uint64), np.ones(1, np.uint64)]


def _powers(count: int) -> list[Any]:
    """Powers of an odd number and of its inverse, at least so many; kept, because every batch needs them."""
    global _POWERS
    found = _POWERS
    if len(found[0]) <= count:
        size = max(count + 1, 1 << 16)
        inverse = pow(int(_TWO), -1, 2**64)
        steps = (np.full(size, base, np.uint64) for base in (int(_TWO), inverse))
        found = [np.cumprod(np.concatenate([np.ones(1, np.uint64), s[1:]]), dtype=np.uint64) for s in steps]
        _POWERS = found
    return found


def of_rows(columns: Iterable[Any], rows: int) -> Any:
    """Hashes of rows, from the hashes of their columns in order, each of which may be gone when the next is there."""
    total, times = np.zeros(rows, np.uint64), int(_TWO)
    for column in columns:
        total += np.multiply(column, np.uint64(times), out=column)
        times = (times * int(_ONE) + 2) % 2**64 | 1
    return _mixed(total, Scratch())


def _mixed(bits: Any, scratch: Scratch) -> Any:
    found, held = scratch.bits("hashes", len(bits)), scratch.bits("held", len(bits))
    np.right_shift(bits, _HALF, out=held)
    np.bitwise_xor(bits, held, out=found)
    np.multiply(found, _ONE, out=found)
    np.right_shift(found, _HALF, out=held)
    np.bitwise_xor(found, held, out=found)
    return np.multiply(found, _TWO, out=found)


_CELLS = 8192
_CELL, _REST = np.uint64(64 - 13), np.uint64(13)
_NONE = np.uint64(2**64 - 1)
_LATE = 256 * _CELLS
"""Values after which few are less than the greatest of what the cells keep."""


class Distinct:
    """An estimate of how many different values there were, from their hashes: mostly within 2 %, and exact for few.

    A hash falls into one of 8,192 cells, each of which keeps the least it has seen: no order and no split makes a
    difference. Few values are counted by the empty cells (Whang et al. 1990, "A linear-time probabilistic counting
    algorithm"), many by the sum of what the cells keep (Lumbroso 2010, "An optimal cardinality estimation algorithm
    based on order statistics and its full analysis").

    >>> one, two = Distinct(), Distinct()
    >>> one.add(of_numbers(np.arange(500.0)))
    >>> two.add(of_numbers(np.arange(250.0, 1000.0)))
    >>> one.merge(two)
    >>> abs(one.count() - 1000) < 30
    True
    """

    def __init__(self) -> None:
        self.least = np.full(_CELLS, _NONE, np.uint64)
        self._added, self._again, self._most = 0, _LATE, _NONE

    def add(self, hashes: Any, scratch: Scratch | None = None) -> None:
        """See some values."""
        scratch = scratch or Scratch()
        self._added += len(hashes)
        rest = np.left_shift(hashes, _REST, out=scratch.bits("rest", len(hashes)))
        if self._most < _NONE:  # hardly any is less than what its cell has
            places = np.flatnonzero(np.less(rest, self._most, out=scratch.flags("less", len(rest))))
            hashes, rest = hashes.take(places), rest.take(places)
        cells = np.right_shift(hashes, _CELL, out=scratch.bits("held", len(hashes)))
        np.minimum.at(self.least, cells.view(np.int64), rest)
        if self._added >= self._again:
            self._again, self._most = 2 * self._added, self.least.max()

    def merge(self, other: Distinct) -> None:
        """See what another has seen."""
        np.minimum(self.least, other.least, out=self.least)

    def count(self) -> int:
        """Different values, about."""
        free = int(np.count_nonzero(self.least == _NONE))
        if free > _CELLS / 8:
            return round(-_CELLS * math.log(free / _CELLS))
        # the least of k numbers between 0 and 1 is 1 / (k + 1) on average; k is binomial
        seen = float(np.sum(self.least / 2.0**64))
        low, high = 0.0, 2.0**64
        while high - low > 1e-9 * high:
            middle = math.sqrt(max(low, 1.0) * high)
            expected = _CELLS**2 / (middle + 1) * -math.expm1((middle + 1) * math.log1p(-1 / _CELLS))
            low, high = (middle, high) if expected > seen else (low, middle)
        return round(high)
