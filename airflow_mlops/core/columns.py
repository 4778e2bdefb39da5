"""ColumnProfile: what is remembered of one column, and how two of them add up.

The moments are combined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances" (1979).
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from airflow_mlops.core.errors import SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.results import JSON, plain

TYPES = ("int", "float", "bool", "string", "datetime", "date", "decimal", "other")
"""Types of columns, the same names on every engine."""

KINDS = ("numeric", "categorical", "datetime", "text")
"""How a column is remembered: by bins, by categories, by bins of epoch seconds, or by lengths only."""

MAX_BINS = 50
"""Bins of a histogram that is made without a reference; one more than its edges."""

MAX_CATEGORIES = 100
"""Categories that are named; the rest are counted in ``other``."""

TEXT_LIMIT = 64
"""Characters of a text extreme that are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """What is remembered of one column.

    :param name: the column.
    :param type: one of :data:`TYPES`.
    :param kind: one of :data:`KINDS`.
    :param count: rows, nulls included.
    :param nulls: rows without a value. NaN is counted in ``nonfinite`` where the source can tell the two apart; a
        DataFrame can't, and there NaN is a null.
    :param nonfinite: NaN and infinities.
    :param distinct: different finite values; an estimate (within about 2 to 5 %) unless ``distinct_exact``. After
        a merge of estimates: the greater of the two, which is a lower bound.
    :param distinct_exact: whether ``distinct`` was counted.
    :param minimum: smallest finite value; ISO text for dates, at most :data:`TEXT_LIMIT` characters of a text.
    :param maximum: greatest finite value, likewise.
    :param mean: mean of the finite values of a numeric column.
    :param m2: sum of squared deviations from the mean, in squared units of the column.
    :param edges: strictly increasing inner edges, K of them, of a numeric column, or epoch seconds (UTC) of dates.
    :param counts: K + 1 counts of finite values: ``(-inf, e0], (e0, e1], ..., (eK-1, inf)``.
    :param top: categories with their rows, most frequent first, ties by name. Counted against a reference, all of
        the reference's categories are here, those with no rows too.
    :param other: rows whose category is not in ``top``.
    :param unseen: of those, rows whose category is known to be absent from the reference.
    :param lengths: of a text column: shortest and longest length and the sum of all lengths, in characters.

    >>> ages = ColumnProfile(name="age", type="int", kind="numeric", count=5, nulls=1, mean=30.0, m2=200.0,
    ...                      edges=(20.0, 40.0), counts=(1, 2, 1))
    >>> ages.valid, ages.null_share, round(ages.std, 2)
    (4, 0.2, 8.16)
    """

    name: str
    type: str
    kind: str
    count: int
    nulls: int = 0
    nonfinite: int = 0
    distinct: int = 0
    distinct_exact: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    mean: float | None = None
    m2: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    other: int = 0
    unseen: int = 0
    lengths: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if self.type not in TYPES:
            raise UnknownName("column type", self.type, TYPES)
        if self.kind not in KINDS:
            raise UnknownName("column kind", self.kind, KINDS)
        set_(self, "edges", tuple(float(e) for e in self.edges))
        set_(self, "counts", tuple(int(c) for c in self.counts))
        set_(self, "top", ordered((str(v), int(n)) for v, n in self.top))
        if self.lengths is not None:
            low, high, total = self.lengths
            set_(self, "lengths", (int(low), int(high), int(total)))
        if self.kind in ("numeric", "datetime") and not self.counts:
            set_(self, "counts", (self.valid,))  # one bin without edges holds everything
        self._check()

    def _check(self) -> None:
        about = f"profile of column {self.name!r}"
        if any(not math.isfinite(e) for e in self.edges) or any(
            a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)
        ):
            raise UsageError(f"{about}: edges must be finite and strictly increasing, got {self.edges}")
        if self.counts and len(self.counts) != len(self.edges) + 1:
            raise UsageError(
                f"{about}: {len(self.edges)} edges need {len(self.edges) + 1} counts, got {len(self.counts)}"
            )
        numbers = (self.count, self.nulls, self.nonfinite, self.other, self.unseen, *self.counts)
        if min(numbers) < 0 or self.nulls + self.nonfinite > self.count:
            raise UsageError(f"{about}: counts must not be negative nor exceed the rows")
        if self.counts and sum(self.counts) != self.valid:
            raise UsageError(f"{about}: bins hold {sum(self.counts)} values, the column {self.valid}")
        if len({v for v, _ in self.top}) != len(self.top):
            raise UsageError(f"{about}: a category is named twice")
        named = sum(n for _, n in self.top) + self.other
        if self.kind == "categorical" and (named != self.valid or self.unseen > self.other):
            raise UsageError(f"{about}: categories hold {named} values, the column {self.valid}")

    @property
    def valid(self) -> int:
        """Rows with a finite value."""
        return self.count - self.nulls - self.nonfinite

    @property
    def null_share(self) -> float:
        """Nulls as a share of the rows, 0 to 1; 0 of no rows."""
        return self.nulls / self.count if self.count else 0.0

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1), or ``None`` below two values."""
        if self.m2 is None or self.valid < 2:
            return None
        return math.sqrt(self.m2 / (self.valid - 1))

    @property
    def complete(self) -> bool:
        """Whether ``top`` names every category there is."""
        return self.kind == "categorical" and self.other == 0

    def share(self, category: str) -> float | None:
        """Rows of a category as a share of the finite values, or ``None`` where it is not known."""
        if not self.valid:
            return None
        found = dict(self.top).get(category, 0 if self.complete else None)
        return None if found is None else found / self.valid

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; what is empty is left out."""
        return {
            f.name: plain(value)
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) not in (None, (), "") and value is not False
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName("ColumnProfile field", key, names)
        return cls(**{**value, "top": tuple((v, n) for v, n in value.get("top", ()))})


def merge_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    """The profile of one column over both datasets; see :func:`merge`."""
    type_, kind = _type_of(a, b), a.kind if a.kind == b.kind else "text"
    mean, m2 = _moments(a, b)
    edges = tuple(e for e in a.edges if e in set(b.edges)) if a.kind == b.kind else ()
    binned = kind in ("numeric", "datetime")
    top, other = _categories(a, b) if kind == "categorical" else ((), 0)
    exact = kind == "categorical" and a.complete and b.complete and a.distinct_exact and b.distinct_exact
    return ColumnProfile(
        name=a.name,
        type=type_,
        kind=kind,
        count=a.count + b.count,
        nulls=a.nulls + b.nulls,
        nonfinite=a.nonfinite + b.nonfinite,
        distinct=sum(n > 0 for _, n in top) if exact else max(a.distinct, b.distinct),
        distinct_exact=exact,
        minimum=_extreme(min, a.minimum, b.minimum),
        maximum=_extreme(max, a.maximum, b.maximum),
        mean=mean,
        m2=m2,
        edges=edges,
        counts=tuple(x + y for x, y in zip(_at(a, edges), _at(b, edges), strict=True)) if binned else (),
        top=top,
        other=other,
        unseen=(a.unseen + b.unseen) if kind == "categorical" else 0,
        lengths=_lengths(a.lengths, b.lengths),
    )


def ordered(categories: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Categories as a profile lists them: most frequent first, ties by name.

    >>> ordered([("b", 1), ("a", 1), ("c", 9)])
    (('c', 9), ('a', 1), ('b', 1))
    """
    return tuple(sorted(categories, key=lambda c: (-c[1], c[0])))


def bin_of(edges: Sequence[float], value: float) -> int:
    """The bin of a finite value: 0 for ``(-inf, e0]``, ``len(edges)`` for ``(eK-1, inf)``.

    >>> [bin_of((1.0, 2.0), v) for v in (0, 1, 1.5, 2, 3)]
    [0, 0, 1, 1, 2]
    """
    return bisect.bisect_left(edges, value)


def _at(column: ColumnProfile, edges: Sequence[float]) -> tuple[int, ...]:
    """Counts in some of the column's own edges: neighbouring bins are summed, exactly."""
    counts = [0] * (len(edges) + 1)
    for edge, count in zip((*column.edges, math.inf), column.counts, strict=False):
        counts[bin_of(edges, edge)] += count
    return tuple(counts)


def _categories(a: ColumnProfile, b: ColumnProfile) -> tuple[tuple[tuple[str, int], ...], int]:
    """Categories whose count both know; a category that is missing from a complete list has none."""
    in_a, in_b = dict(a.top), dict(b.top)
    known = {c for c in {*in_a, *in_b} if (c in in_a or a.complete) and (c in in_b or b.complete)}
    top = ordered((c, in_a.get(c, 0) + in_b.get(c, 0)) for c in known)
    rest = [n for counts in (in_a, in_b) for c, n in counts.items() if c not in known]
    return top, a.other + b.other + sum(rest)


def _moments(a: ColumnProfile, b: ColumnProfile) -> tuple[float | None, float | None]:
    if a.valid == 0 or b.valid == 0:
        one = b if a.valid == 0 else a
        return one.mean, one.m2
    if a.mean is None or b.mean is None:
        return None, None
    n = a.valid + b.valid
    mean = (a.valid * a.mean + b.valid * b.mean) / n
    if a.m2 is None or b.m2 is None:
        return mean, None
    gap = b.mean - a.mean
    m2 = a.m2 + b.m2 + gap * gap * a.valid * b.valid / n
    return (mean if math.isfinite(mean) else None), (m2 if math.isfinite(m2) else None)


def _extreme(choose: Any, a: float | str | None, b: float | str | None) -> float | str | None:
    known = [v for v in (a, b) if v is not None]
    return choose(known) if known else None


def _lengths(a: tuple[int, int, int] | None, b: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1]), a[2] + b[2]


def _type_of(a: ColumnProfile, b: ColumnProfile) -> str:
    if a.type == b.type:
        return a.type
    if {a.type, b.type} <= {"int", "float", "decimal"}:
        return "float" if "float" in (a.type, b.type) else "decimal"
    raise SchemaMismatch(
        f"column {a.name!r} is {a.type} in one profile and {b.type} in the other; they do not add up",
        unexpected=[a.name],
    )
