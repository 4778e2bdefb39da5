r"""Drift that no column shows alone: a classifier that tells reference rows from current ones, and attributions.

Where rows are at hand, a **domain classifier** is asked which sample a row is from. Where nothing changed it can only
guess: its ROC AUC on rows held out is 0.5, give or take what chance does with so many. Joint changes (a correlation
that turned) are seen here and in no histogram. (Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests".)

**Attributions**: how the ranking of what columns do for the model changed, as normalised discounted cumulative gain of
the reference's attributions in the current order: 1 where the order is the same, and a change at the top weighs most.
(Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import Check, Status

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000
"""Rows of either sample that the classifier sees."""


def domain_classifier(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    alpha: float = 0.05,
    floor: float = 0.55,
    minimum_rows: int = 100,
    seed: int = 0,
) -> Check:
    """Whether the two samples can be told apart by all of their columns together.

    :param reference: rows of what is normal. :param current: rows of the batch; the columns that both have are used.
    :param alpha: greatest chance that samples of the same distribution are told apart.
    :param floor: ROC AUC that matters, over 0.5: the second condition, as for a single column.
    :param minimum_rows: of either sample, below which nothing is said.
    :param seed: of sample, split and classifier.
    :returns: a check ``domain_classifier``; ``details`` has ``band``, the greatest ROC AUC that chance explains.
    :raises UsageError: when the samples have no column in common.
    """
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    common = [c for c in reference.columns if c in current.columns]
    if not common:
        raise UsageError("the samples have no column in common")
    few = min(len(reference), len(current))
    if few < minimum_rows:
        message = f"{few} rows; {minimum_rows} would be enough"
        return Check(
            name="domain_classifier",
            status=Status.INSUFFICIENT,
            observed=few,
            message=message,
            details={"enough": minimum_rows},
        )
    samples = [f[common].sample(min(len(f), MOST_ROWS), random_state=seed) for f in (reference, current)]
    rows = _numbers(pd.concat(samples, ignore_index=True))
    y = np.repeat([0, 1], [len(s) for s in samples])
    # Judged on rows that it has not seen: there Mann-Whitney's distribution holds. Folds that share their training rows
    # are not independent, and the mean of their figures strays further than any formula says.
    train, test = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=seed)
    model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed)
    said = model.fit(rows[train], y[train]).predict_proba(rows[test])[:, 1]
    area = float(roc_auc_score(y[test], said))
    m, n = (int((y[test] == side).sum()) for side in (0, 1))
    band = _band(m, n, alpha)
    drift = area > band and area >= floor
    return Check(
        name="domain_classifier",
        status=Status.FAILED if drift else Status.PASSED,
        observed=area,
        expected=f"ROC AUC <= {band:.3g} (chance) or < {floor:.3g}",
        message=f"rows of both samples are told apart with a ROC AUC of {area:.3g}; chance reaches {band:.3g}",
        details={"band": band, "floor": floor, "rows": [m, n], "columns": len(common)},
    )


def _band(m: int, n: int, alpha: float) -> float:
    """What the ROC AUC of guessing reaches on so many rows: Mann and Whitney's U; ties make it less."""
    from statistics import NormalDist

    return 0.5 + NormalDist().inv_cdf(1 - alpha) * math.sqrt((m + n + 1) / (12 * m * n))


def _numbers(frame: Any) -> Any:
    """Columns as numbers: categories by their code, times by their instant, missing as NaN."""
    import numpy as np
    import pandas as pd

    columns = []
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            columns.append(column.to_numpy(dtype=float, na_value=np.nan))
        elif pd.api.types.is_datetime64_any_dtype(column):
            instants = pd.to_datetime(column, utc=True).astype("int64").to_numpy(dtype=float)
            columns.append(np.where(column.isna(), np.nan, instants))
        else:
            codes = pd.factorize(column.astype("string"), sort=True)[0].astype(float)
            columns.append(np.where(codes < 0, np.nan, codes))
    values = np.column_stack(columns)
    values[~np.isfinite(values)] = np.nan
    return values


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


def check_attributions(reference: Mapping[str, float], current: Mapping[str, float], *, least: float = 0.9) -> Check:
    """Whether the columns still matter in the order they did.

    :param least: agreement below which they do not, 0 to 1.
    """
    agreement = ranking_agreement(reference, current)
    moved = sorted(reference, key=lambda c: -abs(current[c]))[:3]
    return Check(
        name="attribution_ranking",
        status=Status.PASSED if agreement >= least else Status.FAILED,
        observed=agreement,
        expected=f"nDCG >= {least:g}",
        message=f"nDCG {agreement:.3f} of the ranking; now first: {', '.join(moved)}",
    )
