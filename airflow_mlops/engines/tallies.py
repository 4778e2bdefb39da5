"""What is counted of a column while its batches go by, one class a kind of column.

A tally takes Arrow arrays, adds up with the tallies of other threads, and says what a profile remembers. Everything in
it is a count, an extreme or a sum of whole numbers: neither order nor split makes a difference.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from airflow_mlops.core.columns import MAX_BINS, TEXT_LIMIT
from airflow_mlops.engines import arrays, hashing
from airflow_mlops.engines.binning import Bins, equal_shares
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.profiling import moments, scale
from airflow_mlops.engines.scratch import Scratch
from airflow_mlops.engines.sums import sum_of_half, sum_of_rounded

_ONE = 2.0**52
_HALF = 2.0**51
_FEW = 4096
"""Texts that are looked at one by one; for more it is worth to load Arrow's functions."""

_EPOCH = dt.datetime(1970, 1, 1)


class Tally:
    """Rows, nulls and what a kind of column adds."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.rows = 0
        self.nulls = 0
        self.nonfinite = 0
        self.different = hashing.Distinct()

    @property
    def valid(self) -> int:
        """Rows with a finite value."""
        return self.rows - self.nulls - self.nonfinite

    @property
    def distinct(self) -> tuple[int, bool]:
        """Different finite values, and whether they were counted."""
        return min(self.different.count(), self.valid), False

    def add(self, array: Any, scratch: Scratch) -> None:
        """Count a batch."""
        self.rows += len(array)
        self.nulls += array.null_count

    def close(self) -> None:
        """All batches were seen."""

    def merge(self, other: Self) -> None:
        """Count what another has counted."""
        self.rows += other.rows
        self.nulls += other.nulls
        self.nonfinite += other.nonfinite
        self.different.merge(other.different)


def numbers(array: Any, scratch: Scratch, chosen: Any = None) -> tuple[Any, tuple[Any, Any]]:
    """The finite values as floats, dates as seconds since 1970 (UTC); and the least and the greatest of them, of dates
    in microseconds; infinite where there is none.

    :param chosen: the places that are asked for.
    """
    values, known, times = arrays.floats(array, scratch, chosen)
    if known is not None:
        values, times = values[known], None if times is None else times[known]
    if times is not None:
        endless = np.abs(times) == arrays.ENDLESS
        if endless.any():
            values, times = values[~endless], times[~endless]
        return values, _ends(times)
    ends = _ends(values)
    if len(values) and not (math.isfinite(ends[0]) and math.isfinite(ends[1])):
        values = values[np.isfinite(values)]
        ends = _ends(values)
    return values, ends


def _ends(values: Any) -> tuple[Any, Any]:
    return (values.min().item(), values.max().item()) if len(values) else (math.inf, -math.inf)


class Numbers(Tally):
    """Bins, extremes and moments.

    :param edges: of the bins.
    :param discrete: whether the edges are all values there are, so far as is known: others are counted on their own.
    :param extremes: what the least and the greatest value are said to be; moments are sums in that scale.
    """

    def __init__(
        self,
        column: Column,
        edges: Sequence[float],
        *,
        discrete: bool = False,
        extremes: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(column)
        self.bins = Bins(edges)
        self.edges = tuple(edges)
        self.counts = np.zeros(self.bins.size, np.int64)
        self.others: dict[float, int] | None = {} if discrete else None
        self.low, self.high = math.inf, -math.inf
        self.said = None if self.date else extremes
        self.center, self.width = scale(*self.said) if self.said else (0.0, 0.0)
        self.first = self.second = 0
        if self.said and self.width:
            least, most = ((end - self.center) / (self.width / _ONE) for end in self.said)
            self._sum = sum_of_half if least >= -_HALF - 0.5 and most <= _HALF + 0.5 else sum_of_rounded
            self._cut = self._sum is sum_of_half and least < -_HALF

    MOST = MAX_BINS
    """Values beside the known ones after which a column is not taken for discrete any more."""

    def add(self, array: Any, scratch: Scratch) -> None:
        """See :class:`Tally`."""
        super().add(array, scratch)
        values, (low, high) = numbers(array, scratch)
        self.nonfinite += len(array) - array.null_count - len(values)
        if not len(values):
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.said is not None and not self.said[0] <= self.low <= self.high <= self.said[1]:
            self.width = 0.0  # what was said of the column is not so
        if self.others is None:
            self.counts += self.bins.count(values, scratch)
            self.different.add(hashing.of_numbers(values, scratch, finite=True), scratch)
        else:
            self._add_known(values, scratch)
        if self.width:
            self._add_moments(values, scratch)

    def _add_known(self, values: Any, scratch: Scratch) -> None:
        bins = self.bins.of(values, scratch)
        self.counts += np.bincount(bins, minlength=self.bins.size)
        if self.others is None or len(self.others) > self.MOST:
            return
        strange = scratch.flags("above", len(values))
        if self.edges:
            near = self.bins.edges.take(bins, out=scratch.floats("edges", len(values)), mode="clip")
            np.not_equal(values, near, out=strange)
        else:
            strange[:] = True
        if strange.any():
            found, counts = np.unique(values[strange] + 0.0, return_counts=True)
            for value, count in zip(found[: self.MOST + 1].tolist(), counts.tolist(), strict=False):
                self.others[value] = self.others.get(value, 0) + count

    def _add_moments(self, values: Any, scratch: Scratch) -> None:
        """Sums of whole numbers of 2**-52, in two halves, so that a float holds each without a loss."""
        size = len(values)
        scaled, whole = scratch.floats("scaled", size), scratch.floats("fixed", size)
        np.subtract(values, self.center, out=scaled)
        np.divide(scaled, self.width / _ONE, out=scaled)  # a power of two changes nothing else
        np.multiply(scaled, scaled, out=whole)
        np.multiply(whole, 1 / _ONE, out=whole)
        self.second += self._sum(whole, scratch)
        if self._cut:
            np.maximum(scaled, -_HALF, out=scaled)  # which is what it is rounded to
        self.first += self._sum(scaled, scratch)

    def merge(self, other: Self) -> None:
        """See :class:`Tally`."""
        super().merge(other)
        self.counts += other.counts
        if self.others is not None and other.others is not None:
            for value, count in other.others.items():
                self.others[value] = self.others.get(value, 0) + count
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.first += other.first
        self.second += other.second

    def settle(self) -> bool:
        """Make bins of equal share of these, many narrow ones; whether that can be done."""
        chosen = equal_shares(self.counts, MAX_BINS)
        if chosen is None:
            return False
        self.edges = tuple(self.edges[i] for i in chosen)
        self.counts = np.add.reduceat(self.counts, [0, *(chosen + 1)])
        return True

    @property
    def date(self) -> bool:
        """Whether it is one of times, which have no moments."""
        return self.column.type in ("datetime", "date")

    @property
    def scaled(self) -> bool:
        """Whether the sums of the moments are in the scale of what the least and the greatest value really are."""
        return self.date or not self.valid or (self.low, self.high) == self.said

    @property
    def discrete(self) -> bool:
        """Whether every value was counted on its own."""
        return self.others is not None and len(self.others) <= self.MOST

    def values(self) -> dict[float, int]:
        """Rows of every value, of a discrete column."""
        known = dict(zip(self.edges, self.counts.tolist(), strict=False))
        inside = dict(known)
        for value, count in (self.others or {}).items():
            place = int(np.searchsorted(self.bins.edges, value))
            if place < len(self.edges):  # it was counted with the edge above it
                inside[self.edges[place]] -= count
        return {**{v: n for v, n in inside.items() if n}, **(self.others or {})}

    def extremes(self) -> tuple[float | str | None, float | str | None]:
        """The least and the greatest value, as a profile has them."""
        if not self.valid:
            return None, None
        if self.date:
            return _text(int(self.low), self.column), _text(int(self.high), self.column)
        return float(self.low) + 0.0, float(self.high) + 0.0

    def moments(self) -> tuple[float | None, float | None]:
        """Mean and sum of squared deviations."""
        return (None, None) if self.date else moments(self.center, self.width, self.valid, self.first, self.second)


def _text(us: int, column: Column) -> str:
    try:
        time = _EPOCH + dt.timedelta(microseconds=us)
    except OverflowError:  # years that Python does not have
        return str(np.datetime64(us, "us")).replace("T", " ")
    if column.type == "date":
        return time.date().isoformat()
    return (time.replace(tzinfo=dt.UTC) if column.zoned else time).isoformat()


class Words(Tally):
    """Texts: rows a category while there are few, else lengths.

    :param most: different texts up to which they are counted one by one.
    :param known: the categories to count, and no others; ``None``: all that come.
    """

    def __init__(self, column: Column, most: int, known: Sequence[str] | None = None) -> None:
        super().__init__(column)
        self.most = most
        self.known = None if known is None else dict.fromkeys(known, 0)
        self.words: dict[str, int] | None = {} if known is None and column.type != "other" else None
        self.low: str | None = None
        self.high: str | None = None
        self.lengths: tuple[int, int, int] | None = None
        self._last: tuple[Any, Any] | None = None  # a dictionary, and rows of each of its texts

    def add(self, array: Any, scratch: Scratch) -> None:
        """See :class:`Tally`."""
        super().add(array, scratch)
        if pa.types.is_boolean(array.type):
            named = self.words if self.known is None else self.known
            trues = array.true_count
            for word, count in (("true", trues), ("false", len(array) - array.null_count - trues)):
                if named is not None and count:
                    named[word] = named.get(word, 0) + count
            return
        if array.null_count == len(array):
            return
        if self.column.type not in ("string", "other"):  # a number that the reference has as a category
            array = array.cast(pa.string())
        if not pa.types.is_dictionary(array.type):
            if self.words is None and self.known is None:
                self._flush()
                self._lengths(array.drop_null() if array.null_count else array)
                return
            array = array.dictionary_encode()
        codes, known = arrays.raw(array.indices)
        if self._last is None or not self._last[0].equals(array.dictionary):
            self._flush()
            self._last = (array.dictionary, np.zeros(len(array.dictionary), np.int64))
        found = np.bincount(codes if known is None else codes[known], minlength=len(array.dictionary))
        np.add(self._last[1], found, out=self._last[1])

    def _flush(self) -> None:
        """What was counted by its place in a dictionary is counted by itself."""
        if self._last is None:
            return
        (texts, counts), self._last = self._last, None
        used = np.flatnonzero(counts)
        if not len(used):
            return
        if len(used) < len(counts):
            texts, counts = texts.take(arrays.of_whole(used)), counts[used]
        if self.words is not None and len(texts) <= self.most:
            for text, count in zip(texts.to_pylist(), counts.tolist(), strict=True):
                self.words[text] = self.words.get(text, 0) + count
            self._overflow()
            return
        if self.words is not None:
            self._overflow(at_once=True)
        if self.known is not None:
            for text, count in zip(texts.to_pylist(), counts.tolist(), strict=True):
                if text in self.known:
                    self.known[text] += count
        self._lengths(texts, counts)

    def _overflow(self, *, at_once: bool = False) -> None:
        """Too many different texts: what is known of each becomes lengths."""
        if self.words is not None and (at_once or len(self.words) > self.most):
            words, self.words = self.words, None
            if words:
                self._lengths(arrays.of_texts(words), np.array(list(words.values()), np.int64))

    def _lengths(self, texts: Any, counts: Any = None) -> None:
        """Extremes, lengths and hashes of texts; rows of each, where they are more than one."""
        if len(texts) <= _FEW:
            words = texts.to_pylist()
            low, high, sizes = min(words), max(words), np.array([len(w) for w in words], np.int64)
        else:
            import pyarrow.compute as pc

            ends = pc.min_max(texts)
            low, high, sizes = ends["min"].as_py(), ends["max"].as_py(), arrays.raw(pc.utf8_length(texts))[0]
        self.low, self.high = _end(min, self.low, low), _end(max, self.high, high)
        total = int(sizes.sum(dtype=np.int64) if counts is None else (sizes.astype(np.int64) * counts).sum())
        self._longer((int(sizes.min()), int(sizes.max()), total))
        self.different.add(hashing.of_texts(texts))

    def _longer(self, lengths: tuple[int, int, int] | None) -> None:
        if self.lengths is None or lengths is None:
            self.lengths = self.lengths or lengths
            return
        (a, b, c), (x, y, z) = self.lengths, lengths
        self.lengths = min(a, x), max(b, y), c + z

    def close(self) -> None:
        """All batches were seen."""
        self._flush()

    def merge(self, other: Self) -> None:
        """See :class:`Tally`."""
        self.close()
        other.close()
        if self.words is not None and other.words is not None:
            for text, count in other.words.items():
                self.words[text] = self.words.get(text, 0) + count
            self._overflow()
        elif self.words is not None or other.words is not None:
            for one in (self, other):
                one._overflow(at_once=True)
        if self.known is not None and other.known is not None:
            for text, count in other.known.items():
                self.known[text] += count
        super().merge(other)
        self._longer(other.lengths)
        self.low, self.high = _end(min, self.low, other.low), _end(max, self.high, other.high)

    @property
    def distinct(self) -> tuple[int, bool]:
        """See :class:`Tally`."""
        if self.words is not None:
            return len(self.words), True
        if self.known is not None and sum(self.known.values()) == self.valid:
            return sum(n > 0 for n in self.known.values()), True
        return super().distinct

    def extremes(self) -> tuple[str | None, str | None]:
        """The least and the greatest text, cut."""
        if self.column.type != "string":
            return None, None
        low, high = (min(self.words), max(self.words)) if self.words else (self.low, self.high)
        return (None if low is None else low[:TEXT_LIMIT]), (None if high is None else high[:TEXT_LIMIT])


def _end(choose: Any, a: str | None, b: str | None) -> str | None:
    return b if a is None else a if b is None else choose(a, b)
