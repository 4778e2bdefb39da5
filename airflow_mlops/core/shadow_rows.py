"""Two models' predictions of the same rows, side by side: what a shadow's record is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.results import JSON
from airflow_mlops.core.scoring import PREDICTION, SCORE

if TYPE_CHECKING:
    import pandas as pd


def compare(champion: pd.DataFrame, challenger: pd.DataFrame) -> dict[str, float]:
    """How much two models differ on the same rows, without knowing who is right.

    :param champion: as :func:`airflow_mlops.core.scoring.predict` gives them, in the order of the rows.
    :param challenger: likewise.
    :return: ``rows``, ``agreement`` (share of rows with the same prediction), and where both have scores
        ``score_difference_mean`` (challenger minus champion), ``_absolute`` and ``_p95`` of its size.
    """
    import numpy as np

    found = {
        "rows": float(len(champion)),
        "agreement": float((champion[PREDICTION].to_numpy() == challenger[PREDICTION].to_numpy()).mean()),
    }
    column = SCORE if SCORE in champion and SCORE in challenger else PREDICTION
    if champion[column].dtype.kind in "fiu" and challenger[column].dtype.kind in "fiu":
        difference = challenger[column].to_numpy(dtype=float) - champion[column].to_numpy(dtype=float)
        found |= {
            "score_difference_mean": float(difference.mean()),
            "score_difference_absolute": float(np.abs(difference).mean()),
            "score_difference_p95": float(np.quantile(np.abs(difference), 0.95)),
        }
    return found


def paired(
    champion: pd.DataFrame, challenger: pd.DataFrame, labels: Any, *, regression: bool, positive: Any = None
) -> dict[str, JSON]:
    """Paired differences of losses, champion's minus challenger's, of the rows that have a label.

    :param labels: one a row; null where it is not known yet.
    :param regression: squared error; otherwise the Brier score where ``positive`` is known and both have scores, else
        the share of wrong predictions.
    :param positive: the class whose probability the scores of both are.
    :return: ``{"loss", "rows", "mean", "m2"}``; no row has a label: ``rows`` is 0 and there is no mean.
    """
    import numpy as np
    import pandas as pd

    known = ~pd.isna(labels).to_numpy() if hasattr(labels, "to_numpy") else ~pd.isna(np.asarray(labels))
    truth = np.asarray(labels)[known]
    brier = not regression and positive is not None and SCORE in champion and SCORE in challenger

    def loss(predictions: pd.DataFrame) -> Any:
        if regression:
            return (predictions[PREDICTION].to_numpy(dtype=float)[known] - truth.astype(float)) ** 2
        if brier:
            return (predictions[SCORE].to_numpy(dtype=float)[known] - (truth == positive)) ** 2
        return (predictions[PREDICTION].to_numpy()[known] != truth).astype(float)

    name = "squared" if regression else "brier" if brier else "zero_one"
    if not len(truth):
        return {"loss": name, "rows": 0, "mean": None, "m2": None}
    difference = loss(champion) - loss(challenger)
    mean = float(difference.mean())
    return {"loss": name, "rows": len(truth), "mean": mean, "m2": float(((difference - mean) ** 2).sum())}


def latency(milliseconds: Sequence[float]) -> dict[str, float]:
    """Of one model: ``p50`` and ``p95``, in milliseconds for 1,000 rows.

    >>> latency([1.0, 2.0, 3.0])["p50"]
    2.0
    """
    import numpy as np

    return {f"p{q}": float(np.quantile(np.asarray(milliseconds), q / 100)) for q in (50, 95)} if milliseconds else {}
