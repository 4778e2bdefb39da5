"""Every figure of an evaluation under a name that MLflow takes: for charts over versions and for searches."""

from __future__ import annotations

from typing import Any

from airflow_mlops.core.evaluation import Evaluation, Figure
from airflow_mlops.core.results import digest, finite

CONFIDENCE = 0.95

MOST = 400
"""Figures of slices that become metrics, the largest slices first; all of them are in the record."""

LONGEST = 200
"""Letters of a name; MLflow allows 250."""


def metrics_of_evaluation(evaluation: Evaluation) -> dict[str, float]:
    """Name -> figure, those that are known.

    ``roc_auc`` is the candidate's, with its 95 % interval as ``roc_auc_lower`` and ``roc_auc_upper``;
    ``roc_auc_champion`` and ``roc_auc_baseline`` those of the others; ``roc_auc_improvement`` is positive where the
    candidate is better, and ``roc_auc_improvement_lower`` is what one is 95 % sure of; ``roc_auc/carrier/UA`` is the
    candidate's in a slice, ``importance/x`` and ``shap/x`` what a column does, and
    ``fairness/carrier/selection_rate_ratio`` how alike groups are treated; of two classes ``confusion/true_positives``
    and the other three are counts of rows.

    >>> from airflow_mlops.core.evaluation import Contender
    >>> figure = Figure(metric="roc_auc", direction="higher", candidate=0.75, champion=0.5)
    >>> one = Contender(version="2")
    >>> metrics_of_evaluation(Evaluation(model_name="late", candidate=one, champion=one, metrics=(figure,)))
    {'roc_auc': 0.75, 'roc_auc_champion': 0.5, 'roc_auc_improvement': 0.25}
    """
    found: dict[str, float] = {}

    def add(value: object, *parts: str) -> None:
        number = finite(value)
        if number is not None:
            name = "/".join(map(_plain, parts))
            if name in found or len(name) > LONGEST:  # two values that differ in letters MLflow does not take
                name = f"{name[: LONGEST - 9]}_{digest(list(parts))[:8]}"
            found[name] = number

    for figure in evaluation.metrics:
        for suffix, value in _of(figure).items():
            add(value, figure.metric + suffix)
    parts = [(s, f) for s in sorted(evaluation.slices, key=lambda s: (-s.rows, s.by, s.value)) for f in s.metrics]
    for s, figure in parts[:MOST]:
        add(figure.candidate, figure.metric, s.by, s.value)
    for prefix, key, said in (
        ("importance", "mean", evaluation.importances),
        ("shap", "mean_abs", evaluation.explanations),
    ):
        listed = said.get("features")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict):
                add(one.get(key), prefix, str(one.get("name")))
    by = evaluation.fairness.get("by")
    for name, rates in by.items() if isinstance(by, dict) else ():
        for rate, spread in rates.items() if isinstance(rates, dict) else ():
            for what in ("difference", "ratio"):
                add(spread.get(what) if isinstance(spread, dict) else None, "fairness", name, f"{rate}_{what}")
    cells: Any = evaluation.confusion.get("candidate")
    if isinstance(cells, list) and [len(row) for row in cells if isinstance(row, list)] == [2, 2]:
        for i, true in enumerate(("negatives", "positives")):
            for j, taken in enumerate(("negatives", "positives")):
                add(cells[i][j], "confusion", f"true_{true}" if i == j else f"false_{taken}")
    return found


def _of(figure: Figure) -> dict[str, float | None]:
    interval = figure.interval(CONFIDENCE)
    return {
        "": figure.candidate,
        "_lower": interval[0] if interval else None,
        "_upper": interval[1] if interval else None,
        "_champion": figure.champion,
        "_baseline": figure.baseline,
        **{f"_{name}": value for name, value in figure.baselines.items()},
        "_improvement": figure.improvement(),
        "_improvement_lower": figure.bound(CONFIDENCE),
    }


def _plain(part: str) -> str:
    """A part of a name in the letters that MLflow takes everywhere, and never a path of its own."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-. ") else "_" for c in part).strip()
    return kept if kept.strip(".") else "_" * max(1, len(kept))
