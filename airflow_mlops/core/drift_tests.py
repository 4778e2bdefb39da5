"""Two samples, counted in the same cells: could their difference be chance.

A **test** works on counts per cell and gives a two-sample p-value: the reference is a sample too. They are looked up in
one table, :data:`TESTS`. How different the samples are is the business of ``drift_statistics``; a verdict needs both.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.drift_statistics import (
    CATEGORICAL,
    NUMERIC,
    Counts,
    cumulative_gap,
    ks_distance,
    relative_entropy,
    shares,
)
from airflow_mlops.core.tails import chi_square_above, normal_below


@dataclasses.dataclass(frozen=True, kw_only=True)
class Test:
    """Whether the difference could be chance.

    :param function: ``(reference counts, current counts) -> (statistic, two-sample p-value)``.
    :param kinds: the kinds of columns it is defined for.
    :param about: what it is, and where it comes from.
    :param statistic: the statistic alone, of many tables at once, shape ``(..., k)``; what :func:`refined` makes the
        p-values of small samples from. ``None``: they are left as they are.
    """

    function: Callable[[Counts, Counts], tuple[float, float]]
    kinds: tuple[str, ...]
    about: str
    statistic: Callable[[Counts, Counts], Any] | None = None

    __test__ = False  # pytest would take it for a class of tests


def chi_square(reference: Counts, current: Counts) -> tuple[float, float]:
    """Pearson's two-sample chi-square over ``k`` cells, ``k - 1`` degrees of freedom.

    >>> statistic, p = chi_square([10, 20, 30], [20, 20, 20])
    >>> round(statistic, 4), round(p, 4)
    (5.3333, 0.0695)
    """
    import numpy as np

    observed, expected = _table(reference, current)
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return statistic, chi_square_above(statistic, np.shape(observed)[1] - 1)


def g_test(reference: Counts, current: Counts) -> tuple[float, float]:
    """The likelihood-ratio test over ``k`` cells, ``k - 1`` degrees of freedom; too lively on small counts."""
    import numpy as np

    observed, expected = _table(reference, current)
    statistic = max(float(2 * relative_entropy(observed, expected).sum()), 0.0)
    return statistic, chi_square_above(statistic, np.shape(observed)[1] - 1)


def kolmogorov_smirnov(reference: Counts, current: Counts) -> tuple[float, float]:
    """Kolmogorov-Smirnov from bins: the largest gap at the edges, with scipy's asymptotic two-sample p-value.

    Looking only at the edges makes it smaller than on raw rows, never larger: the p-value errs to the safe side.
    """
    from scipy.stats import kstwo

    m, n = float(sum(reference)), float(sum(current))
    distance = float(ks_distance(reference, current))
    return distance, float(min(max(kstwo.sf(distance, max(round(m * n / (m + n)), 1)), 0.0), 1.0))


def cramer_von_mises(reference: Counts, current: Counts) -> tuple[float, float]:
    """Cramér-von Mises on grouped data; see :func:`anderson_darling` for the p-value."""
    return _quadratic(reference, current, tails=False)


def anderson_darling(reference: Counts, current: Counts) -> tuple[float, float]:
    r"""Anderson-Darling on grouped data, two samples.

    :math:`A^2 = \frac{mn}{m+n} \sum_{j<k} \frac{t_j (F_j - G_j)^2}{H_j (1 - H_j)}` with the cumulative shares F and
    G of the two samples, H of both together, and :math:`t_j` the mean share of the cells left and right of edge j.
    For *these* cells its distribution under equality is a weighted sum of chi-squares, with the eigenvalues of the
    covariance of F - G as weights: no error from binning, and ties are no trouble. (Choulakian, Lockhart & Stephens
    1994, "Cramér-von Mises statistics for discrete distributions"; the tail by Kuonen 1999, "Saddlepoint
    approximations for distributions of quadratic forms in normal variables".)

    >>> anderson_darling([50, 50, 50, 50], [50, 50, 50, 50])
    (0.0, 1.0)
    """
    return _quadratic(reference, current, tails=True)


def _quadratic(reference: Counts, current: Counts, *, tails: bool) -> tuple[float, float]:
    import numpy as np

    r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    m, n = r.sum(), c.sum()
    pooled = (r + c) / (m + n)
    cumulative = np.cumsum(pooled)[:-1]
    weights = (pooled[:-1] + pooled[1:]) / 2
    if tails:
        weights = weights / (cumulative * (1 - cumulative))
    statistic = float(m * n / (m + n) * (weights * cumulative_gap(r, c) ** 2).sum())
    covariance = np.minimum.outer(cumulative, cumulative) - np.outer(cumulative, cumulative)
    root = np.sqrt(weights)
    eigenvalues = np.linalg.eigvalsh(covariance * np.outer(root, root))
    return statistic, weighted_chi_square_tail(statistic, eigenvalues.tolist())


def _gaps(reference: Counts, current: Counts, *, tails: bool) -> Any:
    """The statistic of many tables with the same pooled cells."""
    import numpy as np

    r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    m, n = r.sum(axis=-1), c.sum(axis=-1)
    pooled = shares(r + c)
    cumulative = np.cumsum(pooled, axis=-1)[..., :-1]
    weights = (pooled[..., :-1] + pooled[..., 1:]) / 2
    if tails:
        weights = weights / (cumulative * (1 - cumulative))
    return m * n / (m + n) * (weights * cumulative_gap(r, c) ** 2).sum(axis=-1)


def weighted_chi_square_tail(value: float, weights: Sequence[float]) -> float:
    r"""P(:math:`\sum_i w_i Z_i^2` > value) for independent standard normal Z and positive weights.

    Saddlepoint approximation (Kuonen 1999), right to a few per cent of itself even far out in the tail.

    >>> round(weighted_chi_square_tail(3.841, [1.0]), 2), round(weighted_chi_square_tail(18.307, [1.0] * 10), 3)
    (0.05, 0.05)
    """
    import numpy as np

    w = np.asarray(weights, dtype=float)
    w = w[w > w.max(initial=0.0) * 1e-12]
    if value <= 0 or w.size == 0:
        return 1.0
    w, value = w / w.max(), value / float(w.max())
    if value < 1e-100:
        return 1.0
    if np.ptp(w) < 1e-9:
        return chi_square_above(value, w.size)
    if abs(float(w.sum()) - value) < 1e-6 * value:  # at the mean it is 0/0; step aside by less than it is exact
        value *= 1 + 1e-4
    t = _saddlepoint(w, value)
    cumulant = -0.5 * float(np.log1p(-2 * t * w).sum())
    bend = 2 * float((w**2 / (1 - 2 * t * w) ** 2).sum())
    root = math.copysign(math.sqrt(max(2 * (t * value - cumulant), 0.0)), t)
    if abs(root) < 1e-8:
        return 0.5
    return normal_below(-(root + math.log(t * math.sqrt(bend) / root) / root))


def _saddlepoint(w: Any, value: float) -> float:
    """Where the cumulant function's derivative, the sum of ``w / (1 - 2tw)``, is ``value``; the greatest weight is 1.

    The derivative rises and is convex, and where Newton's method begins it is not below ``value``: from there every
    step goes down and none goes past the root.
    """
    t = min((1 - 1 / value) / 2, 0.5 - 1e-12)
    for _ in range(200):
        terms = w / (1 - 2 * t * w)
        step = (float(terms.sum()) - value) / (2 * float(terms @ terms))
        if step <= 1e-14 * abs(t):
            break
        t -= step
    return t


def refined(test: Test, reference: Counts, current: Counts, p_value: float, *, seed: int, draws: int = 4000) -> float:
    """A small p-value made right where cells hold few rows: there the tails behind it are too thin.

    What the rows of both samples together could have been split into is drawn again, ``draws`` times: the share of the
    draws that reach as far, the sample itself among them, is a p-value that holds however few the rows are. Only where
    none does, the tail is that of the Pearson III distribution with the draws' mean, variance and skewness, raised by
    as much as it is too thin where draws still are.

    :param p_value: as the test says; never made smaller.
    :param seed: the same seed gives the same p-value.
    """
    import numpy as np

    r, c = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    pooled, m, n = r + c, int(r.sum()), int(c.sum())
    few = float(pooled.min()) * min(m, n) / (m + n)
    if test.statistic is None or few >= ENOUGH or m + n > 10**9:
        return p_value
    rng, seen = np.random.default_rng(seed), float(test.statistic(r, c))
    for times in (1, 10):  # more draws only where the first ones leave a doubt
        split = rng.multivariate_hypergeometric(pooled, min(m, n), times * draws, method="marginals")
        drawn = test.statistic(pooled - split, split)
        reached = int((drawn >= seen * (1 - 1e-9)).sum())
        tail = (reached + 1) / (times * draws + 1)
        if reached >= 20:
            break
        if reached:
            continue
        edge = float(np.partition(drawn, -LAST)[-LAST])
        there, beyond = _pearson_iii_above([edge, seen], drawn)
        tail = min(tail, float(beyond) * max(LAST / (times * draws) / max(float(there), 1e-300), 1.0))
        if tail < 1e-5:
            break
    return max(p_value, tail)


def _pearson_iii_above(values: Sequence[float], drawn: Any) -> Any:
    """P(X > value) of the Pearson III distribution, a shifted gamma, with the mean, variance and skewness of draws."""
    import numpy as np
    from scipy.special import gammaincc  # scipy.stats takes longer to import than many a file to count

    off = drawn - drawn.mean()
    scale = math.sqrt(float((off**2).mean()))
    shape = 4 / max(float((off**3).mean()) / scale**3, 0.01) ** 2
    return gammaincc(shape, np.maximum(shape + (np.asarray(values) - drawn.mean()) / scale * math.sqrt(shape), 0.0))


LAST = 40
"""The draw, from the greatest, where a tail is compared with that of the draws."""

ENOUGH = 30.0
"""Rows expected in the smallest cell of the smaller sample from which the distributions for large samples hold."""


def _pearson(reference: Counts, current: Counts) -> Any:
    import numpy as np

    r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    m, n = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    expected = (r + c) * n / (m + n)
    return ((c - expected) ** 2 / expected).sum(axis=-1) * (m + n)[..., 0] / m[..., 0]


def _likelihood(reference: Counts, current: Counts) -> Any:
    import numpy as np

    r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    m, n = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    both = (r + c) / (m + n)
    return 2 * (relative_entropy(r, both * m) + relative_entropy(c, both * n)).sum(axis=-1)


def _table(reference: Counts, current: Counts) -> tuple[Any, Any]:
    import numpy as np

    observed = np.stack([np.asarray(reference, dtype=float), np.asarray(current, dtype=float)])
    observed = observed[:, observed.sum(axis=0) > 0]
    return observed, np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()


TESTS: Mapping[str, Test] = {
    "anderson_darling": Test(
        function=anderson_darling,
        kinds=(NUMERIC,),
        about="grouped two-sample Anderson-Darling; sees the tails",
        statistic=functools.partial(_gaps, tails=True),
    ),
    "cramer_von_mises": Test(
        function=cramer_von_mises,
        kinds=(NUMERIC,),
        about="grouped two-sample Cramér-von Mises; sees the middle",
        statistic=functools.partial(_gaps, tails=False),
    ),
    "kolmogorov_smirnov": Test(
        function=kolmogorov_smirnov, kinds=(NUMERIC,), about="largest gap at the bins' edges; errs to the safe side"
    ),
    "chi_square": Test(
        function=chi_square,
        kinds=(NUMERIC, CATEGORICAL),
        about="Pearson's two-sample chi-square, small cells pooled",
        statistic=_pearson,
    ),
    "g_test": Test(
        function=g_test,
        kinds=(NUMERIC, CATEGORICAL),
        about="likelihood ratio, small cells pooled",
        statistic=_likelihood,
    ),
}
"""The tests by name."""


def share_test(hits_reference: float, rows_reference: float, hits: float, rows: float) -> float:
    """Two-sample p-value that two shares are equal: Fisher's exact test on small counts, else chi-square.

    >>> share_test(0, 1000, 0, 100), share_test(0, 1000, 30, 100) < 1e-20
    (1.0, True)
    """
    total = hits_reference + hits
    if total in (0, rows_reference + rows) or not rows_reference or not rows:
        return 1.0
    smallest = min(total, rows_reference + rows - total) * min(rows_reference, rows) / (rows_reference + rows)
    table = [hits_reference, rows_reference - hits_reference], [hits, rows - hits]
    if smallest < 10 and rows_reference + rows < 10_000_000:
        from scipy.stats import fisher_exact

        return float(fisher_exact([[int(x) for x in row] for row in table])[1])
    return chi_square(*table)[1]


def unseen_test(singles: float, doubles: float, rows_reference: float, unseen: float, rows: float) -> float:
    r"""One-sided p-value that there are more rows of unseen categories than the reference lets expect.

    A new row is of a category that ``m`` rows have not shown with a probability of about ``singles / m`` (Good 1953,
    "The population frequencies of species"), with variance :math:`(f_1 + 2 f_2) / m^2`. Where that is a handful of rows
    the hypergeometric tail counts instead; the larger p-value of the two is returned.

    :param singles: categories seen once in the reference. :param doubles: seen twice.

    >>> unseen_test(0, 0, 1000, 0, 100), unseen_test(50, 0, 50, 49, 50) > 0.5, unseen_test(0, 0, 1000, 20, 100) < 1e-10
    (1.0, True, True)
    """
    if unseen <= 0:
        return 1.0
    from scipy.stats import hypergeom, norm

    exact = float(hypergeom.sf(unseen - 1, rows_reference + rows, singles + unseen, rows))
    share, expected = unseen / rows, singles / rows_reference
    pooled = (unseen + singles) / (rows + rows_reference)
    variance = pooled * (1 - pooled) / rows + (singles + 2 * doubles) / rows_reference**2
    if singles == 0 or variance <= 0:
        return exact
    return max(exact, float(norm.sf((share - expected) / math.sqrt(variance))))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for the company it keeps: reject where it is at most alpha (Benjamini & Hochberg 1995).

    Where nothing differs at all, the chance of even one rejection is at most alpha.

    >>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.053, 0.053, 0.5]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    least = 1.0
    for rank in range(len(order), 0, -1):
        i = order[rank - 1]
        least = min(least, p_values[i] * len(order) / rank)
        adjusted[i] = least
    return adjusted
