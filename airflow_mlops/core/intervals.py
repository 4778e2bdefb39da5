"""Intervals that theory knows, where no resampling is needed: areas under the ROC curve, and shares of rows.

DeLong, DeLong, Clarke-Pearson: Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
Curves. Biometrics 44 (1988), computed by mid-ranks as in Sun, Xu: Fast Implementation of DeLong's Algorithm for
Comparing the Areas Under Correlated Receiver Operating Characteristic Curves. IEEE Signal Processing Letters 21 (2014).

Clopper, Pearson: The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial. Biometrika 26
(1934).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.results import JSON

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

CONFIDENCE = 0.95


def interval_of(metric: str, y: Array, output: Array, *, confidence: float = CONFIDENCE) -> dict[str, JSON]:
    """The two-sided interval of a figure, ``{"method", "confidence", "low", "high"}``; empty where none is known.

    :param metric: ``roc_auc`` by DeLong; ``accuracy``, and of two classes ``precision`` and ``recall``, exactly.
    :param y: the truth, shape ``(n,)``.
    :param output: what the metric takes.
    :param confidence: above 0 and below 1.

    >>> interval_of("accuracy", [1, 0, 1, 1], [1, 0, 1, 0])["method"]
    'clopper_pearson'
    """
    import numpy as np

    y, output = np.asarray(y), np.asarray(output)
    ends: tuple[float, float] | None = None
    if metric == "roc_auc":
        method, ends = "delong", delong(y, output, confidence=confidence)
    elif metric in ("accuracy", "precision", "recall"):
        of = {"accuracy": np.ones(len(y), dtype=bool), "precision": output == 1, "recall": y == 1}[metric]
        method, ends = "clopper_pearson", clopper_pearson(int((y == output)[of].sum()), int(of.sum()), confidence)
    if ends is None:
        return {}
    return {"method": method, "confidence": confidence, "low": ends[0], "high": ends[1]}


def delong_variance(y: Array, score: Array) -> tuple[float, float] | None:
    """The area under the ROC curve and the variance of that estimate; ``None`` with fewer than two rows of a class.

    :param y: 1 for the positive class.
    :param score: shape ``(n,)``.
    """
    import numpy as np
    from scipy.stats import rankdata

    positive, negative = score[y == 1], score[y != 1]
    m, n = len(positive), len(negative)
    if m < 2 or n < 2:
        return None
    ranks = rankdata(np.concatenate([positive, negative]))
    over = (ranks[:m] - rankdata(positive)) / n  # of each positive: the share of negatives below it
    under = 1 - (ranks[m:] - rankdata(negative)) / m
    return float(over.mean()), float(over.var(ddof=1) / m + under.var(ddof=1) / n)


def delong(y: Array, score: Array, *, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """DeLong's interval, within 0 and 1; ``None`` where there is none: too few rows, or no overlap to estimate from."""
    from scipy.stats import norm

    known = delong_variance(y, score)
    if known is None or known[1] <= 0:
        return None
    area, half = known[0], float(norm.ppf(0.5 + confidence / 2)) * known[1] ** 0.5
    return max(0.0, area - half), min(1.0, area + half)


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The exact interval of a share; ``None`` of nothing.

    >>> [round(v, 4) for v in clopper_pearson(8, 10)]
    [0.4439, 0.9748]
    """
    from scipy.stats import beta

    if n < 1:
        return None
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return low, high
