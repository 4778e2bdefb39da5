"""Tails of the normal and the chi-square distribution, from ``math`` alone.

``scipy.special`` has them too; its import takes longer than a drift check of a million rows.
"""

from __future__ import annotations

import math


def normal_below(value: float) -> float:
    """P(Z <= value) of a standard normal Z.

    >>> round(normal_below(-1.959964), 6), normal_below(-40.0) < 1e-300
    (0.025, True)
    """
    return 0.5 * math.erfc(-value / math.sqrt(2))


def chi_square_above(value: float, freedom: int) -> float:
    r"""P(X > value) of a chi-square X with a whole number of degrees of freedom.

    The regularised upper incomplete gamma function is a finite sum of positive terms there, by its recurrence
    :math:`Q(a + 1, x) = Q(a, x) + x^a e^{-x} / \Gamma(a + 1)` (DLMF 8.8.6) from Q(1/2, x) = erfc(sqrt x) or Q(1, x).

    :param freedom: at least 1.

    >>> round(chi_square_above(3.841459, 1), 6), round(chi_square_above(18.307038, 10), 6), chi_square_above(0.0, 3)
    (0.05, 0.05, 1.0)
    """
    if not value > 0:
        return 1.0
    half = value / 2
    if math.isinf(half):
        return 0.0
    a = 1.0 if freedom % 2 == 0 else 0.5
    terms = [math.exp(-half) if a == 1.0 else math.erfc(math.sqrt(half))]
    while a < freedom / 2 - 0.25:
        terms.append(math.exp(a * math.log(half) - half - math.lgamma(a + 1)))
        a += 1
    return min(math.fsum(terms), 1.0)
