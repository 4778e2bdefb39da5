"""Rows whose distribution is known, unchanged and changed by a size in standard deviations. Needs numpy alone.

A peer draws the same rows in its own environment: same seeds, same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Rng = np.random.Generator
REFERENCE = 5000
COLUMNS = 10
SIZES = (0.1, 0.25, 0.5, 1.0)
ROWS = (200, 1000)
SHIFTS = {"mean": "numeric", "scale": "numeric", "shape": "numeric", "nulls": "numeric", "mix": "few", "unseen": "many"}
"""What changes, and the family whose false alarms say who may be compared.

Who sees a category that was never there has to keep quiet about the rare ones that the reference happens to lack.
"""

_EIGHT = [0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01]
_ZIPF = 1 / np.arange(1, 5001) ** 1.3

SAMPLERS: Mapping[str, Mapping[str, Callable[[Rng, int], Any]]] = {
    "numeric": {
        "normal": lambda rng, n: rng.normal(size=n),
        "heavy_tailed": lambda rng, n: rng.standard_t(1.5, n),
        "discrete": lambda rng, n: rng.poisson(2.0, n).astype(float),
        "zero_inflated": lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.exponential(3.0, n)),
    },
    "few": {"categories": lambda rng, n: np.array(list("abcdefgh"))[rng.choice(8, n, p=_EIGHT)]},
    "many": {
        "high_cardinality": lambda rng, n: np.char.add("z", rng.choice(5000, n, p=_ZIPF / _ZIPF.sum()).astype(str)),
    },
}


def shifted(what: str, size: float, rng: Rng, rows: int) -> Any:
    """A column that changed by ``size`` standard deviations, or by as much as that tells of a normal column.

    A mix is as far from the old one as that: the sum of (q - p)^2 / p is the square of the size. Of nulls and of a
    category that was never there, a size of 1 is a fifth and a tenth of the rows.
    """
    x = rng.normal(size=rows)
    if what == "mean":
        return x + size
    if what == "scale":
        return x * (1 + size)
    if what == "shape":  # the same mean and variance, skewed the more the larger
        if not size:
            return x
        shape = 4 / (2 * size) ** 2
        return (rng.gamma(shape, size=rows) - shape) / shape**0.5
    if what == "nulls":
        return np.where(rng.random(rows) < 0.2 * size, np.nan, x)
    shares = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    if what == "mix":
        shares = shares + size / 12.5**0.5 * np.array([-1.0, 0.0, 0.0, 1.0, 0.0])
    if what == "unseen":
        shares = shares * (1 - 0.1 * size) + np.array([0, 0, 0, 0, 0.1 * size])
    return np.array(list("abcde"))[rng.choice(5, rows, p=shares)]


def changed(what: str, size: float, rows: int, check: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reference and batch: one of ten columns changed, nine are normal and as they were."""
    rng = np.random.default_rng([len(what), ord(what[0]), rows, int(size * 100), check])
    was = {"x": shifted(what if SHIFTS[what] != "numeric" else "mean", 0.0, rng, REFERENCE)}
    was |= {f"n{i}": rng.normal(size=REFERENCE) for i in range(COLUMNS - 1)}
    now = {"x": shifted(what, size, rng, rows), **{f"n{i}": rng.normal(size=rows) for i in range(COLUMNS - 1)}}
    return was, now


def same(family: str, rows: int, check: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reference and batch of the same distributions: ten columns of a family."""
    rng = np.random.default_rng([len(family), rows, check])
    made = list(SAMPLERS[family].values())
    return tuple({f"x{i}": made[i % len(made)](rng, n) for i in range(COLUMNS)} for n in (REFERENCE, rows))  # type: ignore[return-value]
