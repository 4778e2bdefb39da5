"""Columns of known distributions, and profiles of them counted as the engines count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from airflow_mlops.core.profile import MAX_BINS, MAX_CATEGORIES, ColumnProfile, Profile

Rng = np.random.Generator


def _zero_inflated(rng: Rng, n: int) -> Any:
    return np.where(rng.random(n) < 0.8, 0.0, rng.exponential(3.0, n))


SAMPLERS: Mapping[str, Callable[[Rng, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy_tailed": lambda rng, n: rng.standard_t(1.5, n),
    "log_normal": lambda rng, n: rng.lognormal(0, 1.5, n),
    "discrete": lambda rng, n: rng.poisson(2.0, n).astype(float),
    "zero_inflated": _zero_inflated,
    "rare_flag": lambda rng, n: (rng.random(n) < 0.01).astype(float),
    "categories": lambda rng, n: np.array(list("abcdefgh"))[
        rng.choice(8, n, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01])
    ],
    "many_alike": lambda rng, n: np.char.add("u", rng.integers(0, 10_000, n).astype(str)),
    "zipf": lambda rng, n: np.char.add("z", np.minimum(rng.zipf(1.3, n), 5_000).astype(str)),
    "some_alike": lambda rng, n: np.char.add("s", rng.integers(0, 150, n).astype(str)),
}
"""Distributions by name: ``(generator, rows) -> values``; text is categorical."""


def column(name: str, values: Any, *, like: ColumnProfile | None = None) -> ColumnProfile:
    """The profile of one column; ``None`` and NaN are nulls."""
    values = np.asarray(values)
    if values.dtype.kind in "fiu":
        kept = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        return _numeric(name, kept.astype(float), len(values), like)
    kept = [str(v) for v in values.tolist() if v is not None]
    return _categorical(name, kept, len(values), like)


def _numeric(name: str, values: Any, count: int, like: ColumnProfile | None) -> ColumnProfile:
    if like is not None:
        edges = np.asarray(like.edges)
    elif len(values) == 0:
        edges = np.array([])
    else:
        distinct = np.unique(values)
        edges = (
            distinct
            if len(distinct) <= MAX_BINS - 1
            else np.unique(np.quantile(values, np.arange(1, MAX_BINS) / MAX_BINS, method="inverted_cdf"))
        )
    where = np.searchsorted(edges, values, side="left")
    return ColumnProfile(
        name=name,
        type="float",
        kind="numeric",
        count=count,
        nulls=count - len(values),
        minimum=float(values.min()) if len(values) else None,
        maximum=float(values.max()) if len(values) else None,
        mean=float(values.mean()) if len(values) else None,
        m2=float(((values - values.mean()) ** 2).sum()) if len(values) else None,
        edges=tuple(edges.tolist()),
        counts=tuple(np.bincount(where, minlength=len(edges) + 1).tolist()),
    )


def _categorical(name: str, values: list[str], count: int, like: ColumnProfile | None) -> ColumnProfile:
    seen = Counter(values)
    if like is None:
        top = sorted(seen.items(), key=lambda c: (-c[1], c[0]))[:MAX_CATEGORIES]
    else:
        top = [(c, seen.get(c, 0)) for c, _ in like.top]
    other = len(values) - sum(n for _, n in top)
    return ColumnProfile(
        name=name,
        type="string",
        kind="categorical",
        count=count,
        nulls=count - len(values),
        distinct=len(seen),
        distinct_exact=True,
        top=tuple(top),
        other=other,
        unseen=other if like is not None and like.other == 0 else 0,
    )


def profile(columns: Mapping[str, Any], *, like: Profile | None = None, name: str = "") -> Profile:
    """The profile of a table; with ``like``, counted in the bins of that one."""
    made = {key: column(key, values, like=like.columns.get(key) if like else None) for key, values in columns.items()}
    rows = next(iter(made.values())).count if made else 0
    return Profile(rows=rows, columns=made, name=name)
