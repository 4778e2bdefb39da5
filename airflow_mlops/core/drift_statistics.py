"""Two samples, counted in the same cells: how different are they. Whether it could be chance: ``drift_tests``.

An **effect** works on *counts*, what two profiles hold of a column, never its rows; it answers "does it matter" with a
figure that does not grow with the number of rows. They are looked up in one table, :data:`EFFECTS`; a statistic of
one's own is one more entry, a plain function over counts.

Counts are arrays of shape ``(..., k)``: the last axis runs over the cells, so that a thousand resampled histograms
are one call. numpy and scipy are imported inside the functions, because operators import this module at parse time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from airflow_mlops.core.errors import UnknownName

NUMERIC, CATEGORICAL = "numeric", "categorical"

Counts = Any
"""Counts per cell, shape ``(..., k)``: a numpy array or a sequence of numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """Two histograms of one column over the same cells.

    :param reference: rows per cell in the reference.
    :param current: rows per cell in the current batch.
    :param points: where each cell lies, in the column's own unit; for ordered cells only.
    :param reach: how far from its point a row of each cell can be, in the same unit; empty: not known.
    :param scale: the reference's standard deviation, in the same unit; 0 where it has none.
    """

    reference: tuple[float, ...]
    current: tuple[float, ...]
    points: tuple[float, ...] = ()
    reach: tuple[float, ...] = ()
    scale: float = 0.0

    @property
    def rows(self) -> tuple[float, float]:
        """Values counted in the reference and in the current batch."""
        return sum(self.reference), sum(self.current)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """How different two distributions are, free of the number of rows.

    :param function: ``(reference counts, current counts, cells) -> figure``, over the last axis.
    :param floor: the least figure that matters, unless the policy says otherwise.
    :param kinds: the kinds of columns it is defined for.
    :param about: what the figure says, in one line.
    :param power: in which power the part of chance adds to it: 2 for a distance, 1 for a divergence.
    """

    function: Callable[[Counts, Counts, Cells], Any]
    floor: float
    kinds: tuple[str, ...]
    about: str
    power: float = 2.0


def shares(counts: Counts) -> Any:
    """Counts as shares of their sum, over the last axis."""
    import numpy as np

    counts = np.asarray(counts, dtype=float)
    return counts / counts.sum(axis=-1, keepdims=True)


def relative_entropy(p: Any, q: Any) -> Any:
    r"""The terms :math:`p \ln(p / q)`, 0 where p is 0; q is above 0 wherever p is.

    >>> relative_entropy([0.0, 1.0], [0.0, 0.5]).round(3).tolist()
    [0.0, 0.693]
    """
    import numpy as np

    p, q = np.broadcast_arrays(np.asarray(p, dtype=float), np.asarray(q, dtype=float))
    return p * np.log(np.divide(p, q, out=np.ones(p.shape), where=p > 0))


def psi(reference: Counts, current: Counts, _: Cells | None = None) -> Any:
    r"""Population stability index, :math:`\sum (q - p) \ln(q / p)`; half a row is added to every cell.

    Without the half, one empty cell makes it infinite. Even where nothing changed it is about ``(k - 1)(1/n + 1/m)``
    on average, which is why its floor has to know the batch size.

    >>> round(float(psi([50, 50], [80, 20])), 3)
    0.406
    """
    import numpy as np

    p = shares(np.asarray(reference, dtype=float) + 0.5)
    q = shares(np.asarray(current, dtype=float) + 0.5)
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def jensen_shannon(reference: Counts, current: Counts, _: Cells | None = None) -> Any:
    """Jensen-Shannon distance, base 2: 0 where equal, 1 where they share no cell.

    >>> float(jensen_shannon([1, 0], [0, 1])), float(jensen_shannon([3, 1], [6, 2]))
    (1.0, 0.0)
    """
    import numpy as np

    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    divergence = (relative_entropy(p, middle) + relative_entropy(q, middle)).sum(axis=-1) / (2 * math.log(2))
    return np.sqrt(np.clip(divergence, 0, 1))


def total_variation(reference: Counts, current: Counts, _: Cells | None = None) -> Any:
    """The share of rows that would have to change cell to make the two equal, 0 to 1.

    >>> round(float(total_variation([50, 50], [80, 20])), 3)
    0.3
    """
    import numpy as np

    return np.abs(shares(reference) - shares(current)).sum(axis=-1) / 2


def hellinger(reference: Counts, current: Counts, _: Cells | None = None) -> Any:
    """Hellinger distance: 0 where equal, 1 where they share no cell."""
    import numpy as np

    difference = np.sqrt(shares(reference)) - np.sqrt(shares(current))
    return np.sqrt((difference**2).sum(axis=-1) / 2)


def ks_distance(reference: Counts, current: Counts, _: Cells | None = None) -> Any:
    """The greatest distance between the two cumulative shares at the cells' edges, 0 to 1.

    Never more than the distance on the raw rows; how much less it can be:
    :func:`~airflow_mlops.core.drift_bounds.ks_bound`.
    """
    import numpy as np

    return np.abs(cumulative_gap(reference, current)).max(axis=-1)


def wasserstein(reference: Counts, current: Counts, cells: Cells) -> Any:
    """The distance mass has to be moved on average, in standard deviations of the reference.

    The mass of a cell is taken to sit at its point: :func:`~airflow_mlops.core.drift_bounds.wasserstein_bound` says how
    far off that can be. Infinite where the reference is constant and any mass moved.
    """
    import numpy as np

    gaps = np.diff(np.asarray(cells.points, dtype=float))
    moved = (np.abs(cumulative_gap(reference, current)) * gaps).sum(axis=-1)
    return moved / cells.scale if cells.scale > 0 else np.where(moved > 0, np.inf, moved)


def cumulative_gap(reference: Counts, current: Counts) -> Any:
    """Difference of the cumulative shares at the k - 1 inner edges."""
    import numpy as np

    return np.cumsum(shares(reference) - shares(current), axis=-1)[..., :-1]


EFFECTS: Mapping[str, Effect] = {
    "jensen_shannon": Effect(
        function=jensen_shannon,
        floor=0.03,
        kinds=(NUMERIC, CATEGORICAL),
        about="distance 0 to 1, base 2; a normal column moved by 0.1 / 0.25 / 0.5 sd has about 0.04 / 0.1 / 0.2",
    ),
    "psi": Effect(
        function=psi,
        floor=0.1,
        kinds=(NUMERIC, CATEGORICAL),
        power=1.0,
        about="population stability index; 0.1 is called moderate and 0.25 large, about 0.3 and 0.5 sd",
    ),
    "total_variation": Effect(
        function=total_variation,
        floor=0.03,
        kinds=(NUMERIC, CATEGORICAL),
        about="share of rows that changed cell; a normal column moved by 0.1 sd has about 0.04",
    ),
    "hellinger": Effect(
        function=hellinger, floor=0.025, kinds=(NUMERIC, CATEGORICAL), about="distance 0 to 1; 0.1 sd has about 0.035"
    ),
    "ks_distance": Effect(
        function=ks_distance, floor=0.03, kinds=(NUMERIC,), about="largest gap between the cumulative shares"
    ),
    "wasserstein": Effect(
        function=wasserstein,
        floor=0.07,
        kinds=(NUMERIC,),
        about="mean distance moved, in sd of the reference; heavy tails make it noisy",
    ),
}
"""The effects by name. ``{**EFFECTS, "mine": Effect(...)}`` adds one's own."""


def risen_floor(cells: Cells, effect: Effect, floor: float, *, seed: int, replicates: int) -> float:
    """A floor and what chance adds to it in a batch of this size: what a difference as large as the floor would show.

    Effects of samples are larger than those of the distributions behind them, by as much as two samples of the *same*
    distribution show. Both samples are drawn again from the shares of the two together, ``replicates`` times; the
    mean, in the effect's :attr:`Effect.power`, is what adds to the floor.

    :param floor: the least figure that matters, were there no end of rows.
    :param seed: the same seed gives the same floor.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    pooled = shares(np.asarray(cells.reference, dtype=float) + np.asarray(cells.current, dtype=float))
    m, n = (max(round(rows), 1) for rows in cells.rows)
    figures = effect.function(rng.multinomial(m, pooled, replicates), rng.multinomial(n, pooled, replicates), cells)
    chance = float((np.asarray(figures) ** effect.power).mean())
    return float((floor**effect.power + chance) ** (1 / effect.power))


def named(table: Mapping[str, Any], kind: str, name: str) -> Any:
    """The entry of a table, or an error that lists the names.

    :raises UnknownName: if it is not there.
    """
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]
