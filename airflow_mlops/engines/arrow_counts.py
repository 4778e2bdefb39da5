"""What is counted for expectations while a column of Parquet goes by: values that are there, that do not hold, that
repeat; and the first of those, to be shown.

A count takes Arrow arrays in any order, each with the place of its first row, and adds up with the counts of other
threads. NaN is no value, as pandas and with it Great Expectations have it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from airflow_mlops.engines import arrays


class Condition(Protocol):
    """Which values of a column do not hold."""

    def bad(self, values: Any, ends: tuple[Any, Any] | None) -> Any:
        """A flag a value: whether it does not hold; ``None``: all hold.

        :param values: numbers, or texts as an Arrow array, none of them missing.
        :param ends: of numbers, the least and the greatest.
        """


@dataclasses.dataclass(frozen=True)
class Within:
    """Numbers between two bounds, either of which may be missing.

    :param strict_min: whether the lower bound itself does not hold; likewise ``strict_max``.

    >>> Within(1, 2, False, True).bad(np.array([0, 1, 2, 3]), (0, 3)).tolist()
    [True, False, True, True]
    >>> Within(0, None, False, False).bad(np.array([0, 1]), (0, 1)) is None
    True
    """

    low: float | None
    high: float | None
    strict_min: bool
    strict_max: bool

    def bad(self, values: Any, ends: tuple[Any, Any] | None) -> Any:
        """See :class:`Condition`; numbers compare with a float as floats."""
        if ends is not None and not self._below(ends[0]) and not self._above(ends[1]):
            return None
        return self._below(values) | self._above(values)

    def _below(self, value: Any) -> Any:
        if self.low is None:
            return np.zeros(np.shape(value), bool)
        value = _like(value, self.low)
        return value <= self.low if self.strict_min else value < self.low

    def _above(self, value: Any) -> Any:
        if self.high is None:
            return np.zeros(np.shape(value), bool)
        value = _like(value, self.high)
        return value >= self.high if self.strict_max else value > self.high


def _like(value: Any, bound: float) -> Any:
    return np.asarray(value).astype(np.float64, copy=False) if isinstance(bound, float) else value


@dataclasses.dataclass(frozen=True)
class Among:
    """Numbers that are, or are not, among these."""

    values: Any
    wanted: bool

    def bad(self, values: Any, ends: tuple[Any, Any] | None) -> Any:
        """See :class:`Condition`."""
        if self.values.dtype.kind == "f":
            values = values.astype(np.float64, copy=False)
        return np.isin(values, self.values, invert=self.wanted)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts, which a function looks at: an Arrow array of them -> a flag each, whether it holds."""

    holds: Callable[[Any], Any]

    def bad(self, values: Any, ends: tuple[Any, Any] | None) -> Any:
        """See :class:`Condition`."""
        return ~self.holds(values)


class Never:
    """No value holds."""

    def bad(self, values: Any, ends: tuple[Any, Any] | None) -> Any:
        """See :class:`Condition`."""
        return np.ones(len(values), bool)


class Count:
    """What is counted of one column.

    :param conditions: counted one by one.
    :param examples: how many values that do not hold are held of each: the first ones.
    :param keep: whether all values are held, to be asked for those that repeat; only whole numbers.
    """

    def __init__(self, conditions: Sequence[Condition], *, examples: int, keep: bool) -> None:
        self.conditions = tuple(conditions)
        self.rows = 0
        self.missing = 0
        self.wrong = [0] * len(conditions)
        self.first: list[list[tuple[int, Any]]] = [[] for _ in conditions]
        self.kept: list[tuple[int, Any]] = []
        self._examples, self._keep = examples, keep
        self._dictionary: tuple[Any, list[Any]] | None = None

    def add(self, place: int, array: Any) -> None:
        """Count a batch, whose first row has this place among all rows."""
        self.rows += len(array)
        if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
            self._numbers(place, array)
            return
        self.missing += array.null_count
        if not self.conditions or array.null_count == len(array):
            return
        if pa.types.is_dictionary(array.type):
            self._codes(place, array)
            return
        known = arrays.there(array)
        values = array if known is None else array.drop_null()
        for k, condition in enumerate(self.conditions):
            bad = condition.bad(values, None)
            if known is not None:
                bad, held = np.zeros(len(array), bool), bad
                bad[known] = held
            self._found(k, bad, place, lambda i: array[int(i)])

    def _numbers(self, place: int, array: Any) -> None:
        if not len(array):
            return
        values, nulls = _filled(*arrays.raw(array))
        if self._keep:
            self.kept.append((place, values if nulls is None else np.delete(values, nulls)))
        low, high = values.min(), values.max()
        if low != low:  # NaN
            lost = np.isnan(values)
            if nulls is not None:
                lost[nulls] = True
            values, nulls = _filled(values, ~lost)
            low, high = values.min(), values.max()
        self.missing += 0 if nulls is None else len(nulls)
        for k, condition in enumerate(self.conditions):
            bad = condition.bad(values, (low.item(), high.item()))
            if bad is not None:
                if nulls is not None:
                    bad[nulls] = False
                self._found(k, bad, place, values.__getitem__)

    def _codes(self, place: int, array: Any) -> None:
        """Texts of a dictionary are looked at once each."""
        texts = array.dictionary
        if self._dictionary is None or not self._dictionary[0].equals(texts):
            self._dictionary = texts, [c.bad(texts, None) for c in self.conditions]
        codes, nulls = _filled(*arrays.raw(array.indices))
        used = np.bincount(codes, minlength=len(texts))
        for k, wrong in enumerate(self._dictionary[1]):
            if used[wrong].any():
                bad = wrong[codes]
                if nulls is not None:
                    bad[nulls] = False
                self._found(k, bad, place, lambda i: texts[int(codes[i])])

    def _found(self, k: int, bad: Any, place: int, value: Callable[[Any], Any]) -> None:
        """Values of a batch that do not hold are counted, and the first ones held."""
        number = int(np.count_nonzero(bad))
        self.wrong[k] += number
        first = self.first[k]
        if number and (len(first) < self._examples or place < first[-1][0]):
            chosen = np.flatnonzero(bad)[: self._examples]
            here = [(place + int(i), shown(value(i))) for i in chosen]
            self.first[k] = sorted([*first, *here], key=_place)[: self._examples]

    def merge(self, other: Self) -> None:
        """Count what another has counted."""
        self.rows += other.rows
        self.missing += other.missing
        for k, number in enumerate(other.wrong):
            self.wrong[k] += number
            self.first[k] = sorted([*self.first[k], *other.first[k]], key=_place)[: self._examples]
        self.kept += other.kept

    def repeated(self) -> tuple[int, list[Any]]:
        """Rows whose value is not theirs alone, and the first of those values; only of what was kept."""
        parts = [values for _, values in sorted(self.kept, key=_place) if len(values)]
        ends = [(part[0], part[-1]) for part in parts]
        if all(a[1] < b[0] for a, b in itertools.pairwise(ends)) and all(map(_rising, parts)):
            return 0, []
        ordered = np.concatenate(parts) if parts else np.empty(0, np.int64)
        ordered.sort()
        again = ordered[1:] == ordered[:-1]  # as the one before
        number = int(np.count_nonzero(again))
        if not number:
            return 0, []
        starts = again.copy()
        starts[1:] &= ~again[:-1]
        twice = ordered[1:][starts]
        examples: list[Any] = []
        for part in parts:
            near = twice[np.minimum(np.searchsorted(twice, part), len(twice) - 1)]
            examples += [shown(v) for v in part[near == part][: self._examples - len(examples)]]
            if len(examples) == self._examples:
                break
        return number + len(twice), examples


def _filled(values: Any, known: Any) -> tuple[Any, Any]:
    """Values in whose gaps is one of them, and the places of the gaps; ``None``: there is none.

    >>> _filled(np.array([7, 5, 0, 6]), np.array([False, True, False, True]))
    (array([5, 5, 5, 6]), array([0, 2]))
    """
    if known is None:
        return values, None
    nulls = np.flatnonzero(~known)
    if len(nulls):
        values = values.copy()
        values[nulls] = values[known.argmax()]
    return values, nulls


def _place(item: tuple[int, Any]) -> int:
    return item[0]


def _rising(values: Any) -> bool:
    return bool(np.all(values[1:] > values[:-1]))


def shown(value: Any) -> Any:
    """A value as an example shows it: of a text its beginning.

    >>> shown(np.float32(0.5)), shown(np.float64("inf")), shown(np.int8(3))
    (0.5, None, 3)
    """
    if isinstance(value, np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value.as_py()[:200]
