r"""Drift that no column shows alone: a classifier that tells reference rows from current ones.

Where rows are at hand, a **domain classifier** is asked which sample a row is from. Where nothing changed it can only
guess: its ROC AUC on rows held out is 0.5, give or take what chance does with so many. Joint changes (a correlation
that turned) are seen here and in no histogram. (Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests".)

It is cross-validated: each half is judged by what the other half taught. Either half's ROC AUC has Mann and Whitney's
distribution, but the two are not independent, and their mean strays further than a formula for independent ones says.
So their p-values are merged in a way that holds whatever their dependence: twice their mean. (Vovk & Wang 2020,
"Combining p-values via averaging".)
"""

from __future__ import annotations

import math
from statistics import NormalDist
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
    :returns: a check ``domain_classifier`` of the mean ROC AUC; ``details`` has ``band``, what chance reaches where
        both folds are alike, ``folds`` and ``p_value``.
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
    halves = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=seed)
    areas, scores = [], []
    for train, test in (halves, halves[::-1]):
        model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed)
        said = model.fit(rows[train], y[train]).predict_proba(rows[test])[:, 1]
        areas.append(float(roc_auc_score(y[test], said)))
        scores.append((areas[-1] - 0.5) / _spread(*(int((y[test] == side).sum()) for side in (0, 1))))
    p_value = min(sum(1 - NormalDist().cdf(z) for z in scores), 1.0)
    area = sum(areas) / 2
    m, n = (int((y == side).sum()) for side in (0, 1))
    band = 0.5 + NormalDist().inv_cdf(1 - alpha / 2) * _spread(m // 2, n // 2)
    drift = p_value <= alpha and area >= floor
    return Check(
        name="domain_classifier",
        status=Status.FAILED if drift else Status.PASSED,
        observed=area,
        expected=f"p > {alpha:.3g} or ROC AUC < {floor:.3g}",
        message=f"rows of both samples are told apart with a ROC AUC of {area:.3g} (p {p_value:.2g}); "
        f"chance reaches {band:.3g}",
        details={
            "band": band,
            "floor": floor,
            "p_value": p_value,
            "folds": [*areas],
            "rows": [m, n],
            "columns": len(common),
        },
    )


def _spread(m: int, n: int) -> float:
    """Standard deviation of the ROC AUC of guessing on so many rows: Mann and Whitney's U; ties make it less."""
    return math.sqrt((m + n + 1) / (12 * m * n))


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
