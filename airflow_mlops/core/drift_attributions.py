r"""Attributions: does the model still look at the same columns.

What a column does for one prediction is its *attribution*; a column's size is the mean of their absolute values over
the rows. Watched is the **ranking** of the columns, as normalised discounted cumulative gain of the reference's sizes
in the current order: 1 where the order is the same, and a change at the top weighs most. (Järvelin & Kekäläinen 2002,
"Cumulated gain-based evaluation of IR techniques".) Columns that do next to nothing change places by chance and weigh
next to nothing; how far chance goes is found by dealing the rows of both samples out anew (a permutation test).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import ModelError, UsageError
from airflow_mlops.core.results import Check, Status

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 2_000
"""Rows of either sample whose attributions are worked out: every column is one more prediction of all of them."""

REPLICATES = 500

Attributions = Callable[[Any, "pd.DataFrame"], Any]
"""``(fitted estimator, rows) -> attributions``, shape ``(rows, columns)``, in the order of the rows' columns, as SHAP
gives them."""


def shuffled(estimator: Any, rows: pd.DataFrame, *, seed: int = 0) -> Any:
    """How far each prediction moves when one column is shuffled among the rows: attributions of any model, label-free.

    Of a classifier with probabilities it is the share of probability that moves, 0 to 1; of other class labels, whether
    the label changes; of a regressor the absolute change. (Breiman 2001, "Random forests", for the shuffling.)

    :param estimator: has ``predict``, and may have ``predict_proba``.
    :param rows: the columns that the model takes.
    :param seed: of the shuffling.
    :returns: shape ``(n, columns)``, none negative.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    said = _said(estimator, rows)
    moves = []
    for name in rows.columns:
        turned = rows.copy(deep=False)
        turned[name] = rows[name].iloc[rng.permutation(len(rows))].set_axis(rows.index)
        other = _said(estimator, turned)
        if said.ndim == 2:
            moves.append(np.abs(other - said).sum(axis=1) / 2)
        elif said.dtype.kind in "fiu":
            moves.append(np.abs(other.astype(float) - said.astype(float)))
        else:
            moves.append((other != said).astype(float))
    return np.column_stack(moves)


def _said(estimator: Any, rows: pd.DataFrame) -> Any:
    import numpy as np

    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows), dtype=float)
    return np.asarray(estimator.predict(rows)).reshape(len(rows), -1)[:, 0]


def ranking_agreement(reference: Mapping[str, float], current: Mapping[str, float]) -> float:
    """nDCG of the reference's attributions in the order of the current ones, 0 to 1; 1: the same order.

    :param reference: column -> what it does for the model, >= 0; signs are left out. :param current: likewise, now.
    :raises UsageError: when they are not of the same columns, there are none, or one is not finite.

    >>> ranking_agreement({"a": 3, "b": 2, "c": 1}, {"a": 30, "b": 20, "c": 10})
    1.0
    >>> round(ranking_agreement({"a": 3, "b": 2, "c": 1}, {"a": 1, "b": 2, "c": 3}), 3)
    0.79
    """
    if set(reference) != set(current) or not reference:
        raise UsageError("attributions are compared of the same columns, at least one")
    if not all(math.isfinite(v) for v in (*reference.values(), *current.values())):
        raise UsageError("attributions must be finite")
    gain = {c: abs(v) for c, v in reference.items()}

    def cumulated(order: list[str]) -> float:
        return sum(gain[c] / math.log2(place + 2) for place, c in enumerate(order))

    best = cumulated(sorted(gain, key=lambda c: (-gain[c], c)))
    if best == 0:
        return 1.0
    return min(cumulated(sorted(gain, key=lambda c: (-abs(current[c]), -gain[c], c))) / best, 1.0)


def check_attributions(
    reference: Mapping[str, float], current: Mapping[str, float], *, least: float = 0.9, band: float | None = None
) -> Check:
    """Whether the columns still matter in the order they did.

    :param least: agreement below which a change matters, 0 to 1: the effect's floor.
    :param band: agreement that chance alone seldom goes below, see :func:`compare_attributions`; ``None``: not known,
        ``least`` alone decides.
    """
    agreement = ranking_agreement(reference, current)
    moved = sorted(reference, key=lambda c: -abs(current[c]))[:3]
    turned = agreement < least and (band is None or agreement < band)
    chance = "" if band is None else f"; chance reaches down to {band:.3f}"
    return Check(
        name="attribution_ranking",
        status=Status.FAILED if turned else Status.PASSED,
        observed=agreement,
        expected=f"nDCG >= {least:g}" + ("" if band is None else f" or >= {band:.3g} (chance)"),
        message=f"nDCG {agreement:.3f} of the ranking; now first: {', '.join(moved)}{chance}",
        details={
            "band": band,
            "floor": least,
            "reference": {c: abs(v) for c, v in reference.items()},
            "current": {c: abs(v) for c, v in current.items()},
        },
    )


def compare_attributions(
    reference: Any,
    current: Any,
    columns: list[str],
    *,
    alpha: float = 0.05,
    least: float = 0.9,
    minimum_rows: int = 100,
    seed: int = 0,
) -> Check:
    """Whether two samples' attributions rank the columns alike, chance allowed for.

    :param reference: attributions of the reference's rows, shape ``(m, k)``; signs are left out.
    :param current: of the batch's rows, shape ``(n, k)``.
    :param columns: the ``k`` names.
    :param alpha: greatest chance that samples of the same distribution are said to differ.
    :param least: agreement below which a change matters, 0 to 1.
    :param minimum_rows: of either sample, below which nothing is said.
    :param seed: of the dealing.
    :raises UsageError: for shapes that do not fit, or an attribution that is not finite.
    """
    import numpy as np

    was, now = (np.abs(np.asarray(a, dtype=float)) for a in (reference, current))
    for a in (was, now):
        if a.ndim != 2 or a.shape[1] != len(columns) or not columns:
            raise UsageError(f"attributions must have shape (rows, {len(columns)}), got {a.shape}")
        if not np.isfinite(a).all():
            raise UsageError("attributions must be finite")
    few = min(len(was), len(now))
    if few < minimum_rows:
        return Check(
            name="attribution_ranking",
            status=Status.INSUFFICIENT,
            observed=few,
            message=f"{few} rows; {minimum_rows} would be enough",
            details={"enough": minimum_rows},
        )
    rng = np.random.default_rng(seed)
    both, m = np.concatenate([was, now]), len(was)
    first = rng.random((REPLICATES, len(both))).argsort(axis=1) < m  # m of the rows, drawn anew each time
    sums = first @ both
    deals = zip(sums / m, (both.sum(axis=0) - sums) / len(now), strict=True)
    scattered = sorted(ranking_agreement(_of(columns, a), _of(columns, b)) for a, b in deals)
    place = math.floor(alpha * (REPLICATES + 1))  # so many of all deals, this one too, may be as low
    band = scattered[place - 1] if place else 0.0
    return check_attributions(_of(columns, was.mean(axis=0)), _of(columns, now.mean(axis=0)), least=least, band=band)


def _of(columns: list[str], sizes: Any) -> dict[str, float]:
    return dict(zip(columns, sizes.tolist(), strict=True))


def attributions_of(function: Attributions | None, estimator: Any, rows: pd.DataFrame, *, seed: int = 0) -> Any:
    """Attributions by one's own function, or by :func:`shuffled`; what goes wrong in either is the model's error.

    :raises ModelError: with what went wrong.
    """
    try:
        return shuffled(estimator, rows, seed=seed) if function is None else function(estimator, rows)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        name = "shuffling columns" if function is None else getattr(function, "__name__", type(function).__name__)
        raise ModelError(f"no attributions by {name}: {type(error).__name__}: {str(error)[:500]}") from error
