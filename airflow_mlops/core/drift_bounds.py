"""What binning can hide: how far a figure from bins can be from the one on the rows that were counted in them.

A profile keeps how many rows are in a bin, not where. Each function says what the rows can be at most, whatever their
order inside the bins; the figures are guaranteed, and usually far more than what is seen. No p-value needs them: that
of Anderson-Darling and Cramér-von Mises is of the grouped statistic itself, that of Kolmogorov-Smirnov errs to the
safe side.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlops.core.drift_statistics import Cells, Counts, shares

QUADRATIC: Mapping[str, bool] = {"anderson_darling": True, "cramer_von_mises": False}
"""The tests that :func:`quadratic_bounds` is about, and whether theirs is the statistic that weighs the tails."""


def ks_bound(reference: Counts, current: Counts) -> float:
    """How far above the binned Kolmogorov-Smirnov distance the one on raw rows can be.

    Inside a cell the reference can gain its whole share before the current batch gains any, or the other way round;
    the cumulative shares at both ends of the cell limit it.

    >>> round(ks_bound([25, 25, 25, 25], [25, 25, 25, 25]), 3)
    0.25
    """
    import numpy as np

    p, q = shares(reference), shares(current)
    after = np.cumsum(p - q)
    before = np.concatenate([[0.0], after[:-1]])
    above = np.minimum(before + p, after + q)
    below = np.minimum(-before + q, -after + p)
    return float(max(above.max(), below.max()) - np.abs(after).max())


def wasserstein_bound(cells: Cells) -> float | None:
    """How far the Wasserstein distance from bins can be from that of the rows, in the reference's standard deviations.

    No row is further from its cell's point than :attr:`Cells.reach`, so neither sample is moved by more on average, and
    the distance obeys the triangle inequality. ``None`` where the cells' widths or a deviation are not known.

    >>> wasserstein_bound(Cells(reference=(5, 5), current=(8, 2), points=(0.0, 4.0), reach=(1.0, 3.0), scale=2.0))
    1.7
    """
    import numpy as np

    if not cells.reach or cells.scale <= 0:
        return None
    moved = (shares(cells.reference) + shares(cells.current)) @ np.asarray(cells.reach, dtype=float)
    return float(moved / cells.scale)


def quadratic_bounds(reference: Counts, current: Counts, *, tails: bool) -> tuple[float, float]:
    r"""The least and the greatest that Anderson-Darling's (``tails``) or Cramér-von Mises' statistic of rows can be.

    Of m and n rows, all different: :math:`\frac{mn}{N} \sum_{j<N} w_j (F_j - G_j)^2` over the rows of both together,
    with :math:`w_j = N / (j (N - j))` and :math:`1 / N`. Inside a cell F and G only rise, so their difference stays
    between what it is when one sample's rows of the cell come all first; and it is at most N / min(m, n) times the
    share of the rows before, or behind.

    >>> [round(end, 2) for end in quadratic_bounds([4] * 25 + [6] * 25, [6] * 25 + [4] * 25, tails=False)]
    [1.21, 2.22]
    """
    import numpy as np

    r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    r, c = r[r + c > 0], c[r + c > 0]
    m, n = r.sum(), c.sum()
    total, behind = m + n, np.cumsum(r + c)
    ahead = behind - r - c
    gap = np.concatenate([[0.0], np.cumsum(r / m - c / n)[:-1]])
    most, least = gap + r / m, gap - c / n
    far = np.maximum(np.abs(most), np.abs(least))
    near = np.where((least <= 0) & (most >= 0), 0.0, np.minimum(np.abs(most), np.abs(least)))
    if not tails:
        return tuple(float(m * n / total**2 * ((r + c) * d**2).sum()) for d in (near, far))  # type: ignore[return-value]
    # N / (j (N - j)) is 1 / j + 1 / (N - j), whose sums lie between logarithms.
    start, stop, ends = ahead.copy(), np.minimum(behind, total - 1), 0.0
    steep = total / min(m, n)
    for at in (0, -1):
        rows = np.floor(min(far[at] / steep * total, stop[at] - start[at]))
        ends += steep**2 / total * rows * (rows + 1) / 2 / max(total - rows, 1)
        if at == 0:
            start[at] += rows
        else:
            stop[at] -= rows
    above = np.log((stop + 0.5) / (start + 0.5)) + np.log((total - start - 0.5) / (total - stop - 0.5))
    below = np.log((behind + 1) / (ahead + 1)) + np.log((total - ahead) / np.maximum(total - behind, 1))
    low, high = (near**2 * below).sum(), ends + (far**2 * above).sum()
    return float(m * n / total * low), float(m * n / total * high)
