"""Profiles of columns whose distribution is known, drawn as counts: a hundred thousand rows cost as much as fifty.

A numeric check looks at counts in bins that are quantiles of the reference. Of a *continuous* distribution those counts
do not depend on which one it is: between two of the reference's ranks lies a gamma share of the distribution, whatever
its tails. So normal and heavy-tailed columns are one and the same here; rows of both are drawn in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from airflow_mlops.core.profile import MAX_BINS, MAX_CATEGORIES, ColumnProfile

Rng = np.random.Generator
Pair = tuple[ColumnProfile, ColumnProfile]
Bins = tuple[tuple[float, ...], Any, Any]


def _continuous(rng: Rng, m: int, n: int, zeros: float = 0.0) -> Bins:
    """``zeros``: share of rows that are exactly 0, the least value."""
    least = int(rng.binomial(m, zeros)) if zeros else 0
    ranks = np.unique(np.ceil(m * np.arange(1, MAX_BINS) / MAX_BINS).astype(int))
    ranks = np.concatenate([[least], ranks[ranks > least]]) if least else ranks
    steps = np.diff([0, *ranks, m])
    above = steps[1:] if least else steps
    widths = rng.gamma(np.concatenate([above[:-1], [above[-1] + 1]]))
    rest = widths / widths.sum()
    shares = np.concatenate([[zeros], rest * (1 - zeros)]) if least else rest
    return tuple(range(len(ranks))), steps, rng.multinomial(n, shares)


_POISSON = np.array([np.exp(-2.0)] + [0.0] * 29)
for _i in range(1, 30):
    _POISSON[_i] = _POISSON[_i - 1] * 2.0 / _i
_POISSON /= _POISSON.sum()


def _discrete(rng: Rng, m: int, n: int) -> Bins:
    """Poisson with mean 2; the edges are the values that the reference has."""
    was, now = rng.multinomial(m, _POISSON), rng.multinomial(n, _POISSON)
    seen = np.flatnonzero(was)
    bins = np.searchsorted(seen, np.arange(30), side="left")
    k = len(seen) + 1
    return tuple(seen.tolist()), np.bincount(bins, was, k).astype(int), np.bincount(bins, now, k).astype(int)


def _binned(draw: Callable[[Rng, int, int], Bins]) -> Callable[[str, Rng, int, int, int, int], Pair]:
    def make(name: str, rng: Rng, m: int, n: int, nulls: int, nulls_now: int) -> Pair:
        edges, was, now = draw(rng, m - nulls, n - nulls_now)
        common: dict[str, Any] = {"name": name, "type": "float", "kind": "numeric", "edges": edges}
        low, high = -1.0, float(len(edges))
        more: dict[str, Any] = {"minimum": low, "maximum": high, "mean": 0.0, "m2": float(m)}
        return (
            ColumnProfile(**common, count=m, nulls=nulls, counts=tuple(was.tolist()), **more),
            ColumnProfile(**common, count=n, nulls=nulls_now, counts=tuple(now.tolist()), **more),
        )

    return make


def _categories(shares: Any) -> Callable[[str, Rng, int, int, int, int], Pair]:
    names = [f"c{i}" for i in range(len(shares))]

    def make(name: str, rng: Rng, m: int, n: int, nulls: int, nulls_now: int) -> Pair:
        was, now = rng.multinomial(m - nulls, shares), rng.multinomial(n - nulls_now, shares)
        order = np.argsort(-was, kind="stable")[:MAX_CATEGORIES]
        order = order[was[order] > 0]
        common: dict[str, Any] = {"name": name, "type": "string", "kind": "categorical"}
        other = m - nulls - int(was[order].sum())
        left = n - nulls_now - int(now[order].sum())
        return (
            ColumnProfile(
                **common, count=m, nulls=nulls, top=tuple((names[i], int(was[i])) for i in order), other=other
            ),
            ColumnProfile(
                **common,
                count=n,
                nulls=nulls_now,
                top=tuple((names[i], int(now[i])) for i in order),
                other=left,
                unseen=left if other == 0 else 0,
            ),
        )

    return make


_zipf = 1 / np.arange(1, 5001) ** 1.3
KINDS: Mapping[str, Callable[[str, Rng, int, int, int, int], Pair]] = {
    "continuous": _binned(_continuous),
    "discrete": _binned(_discrete),
    "zero_inflated": _binned(lambda rng, m, n: _continuous(rng, m, n, 0.8)),
    "categories": _categories(np.array([0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01])),
    "high_cardinality": _categories(_zipf / _zipf.sum()),
}
"""``(name, generator, rows of the reference, rows of the batch, nulls of either) -> both profiles of one column``."""


def pair(kind: str, name: str, rng: Rng, m: int, n: int, null_share: float = 0.05) -> Pair:
    """The same distribution twice: the profile of a reference, and of a batch counted in its bins."""
    nulls, nulls_now = (int(rng.binomial(rows, null_share)) for rows in (m, n))
    return KINDS[kind](name, rng, m, n, nulls, nulls_now)
