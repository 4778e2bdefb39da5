"""What a performance check knows of a version beside labels: its calibration, estimates by it, its holdout figures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError, MlopsError
from airflow_mlops.core.metrics import Metric
from airflow_mlops.core.performance import Figure, estimate
from airflow_mlops.core.records import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.hooks.mlflow import MlflowHook

log = logging.getLogger(__name__)

Calibration = Mapping[str, Any]


def calibration_in(hook: MlflowHook, version: ModelVersion) -> Calibration | None:
    """What was logged with the version to estimate from; ``None``: nothing, or nothing that can be read."""
    try:
        found = hook.read_json(version.run_id, "calibration.json") if version.run_id else None
    except ValueError as error:  # not JSON: no estimate, said in the log; realised figures need none
        log.warning("the calibration of %s can't be read: %s", version.label, error)
        return None
    return found if isinstance(found, Mapping) else None


def estimated(
    rows: pd.DataFrame, version: ModelVersion, calibration: Calibration | None, metrics: Sequence[Metric]
) -> dict[str, Figure]:
    """Expected figures of predictions, of those metrics that can be estimated; a figure that can't be says why."""
    from airflow_mlops.core import estimation, estimation_classes, estimation_loss

    method = (calibration or {}).get("method")
    known = {
        estimation_loss.METHOD: ("prediction", estimation_loss.LOSSES),
        estimation_classes.METHOD: ("prediction", estimation_classes.METRICS),
    }
    said, table = known.get(str(method), ("score", estimation.ESTIMATED))
    wanted = [m.name for m in metrics if m.name in table]
    if calibration is None or not wanted or said not in rows.columns or not len(rows):
        return {}
    try:
        if method == estimation_classes.METHOD:
            found = _of_classes(rows, calibration, wanted)
        else:
            numbers = rows[said].to_numpy(dtype=float)
            by_loss = method == estimation_loss.METHOD
            found = (
                estimation_loss.estimate_loss(rows, numbers, calibration, wanted)
                if by_loss
                else estimate(numbers, calibration, wanted)
            )
    except (MlopsError, ValueError, TypeError, KeyError) as error:
        log.warning("no estimate for %s: %s", version.label, error)
        return {name: Figure(value=None, why=str(error), estimated=True) for name in wanted}
    return {name: Figure(value=one["value"], error=one["error"], estimated=True) for name, one in found.items()}


def _of_classes(rows: pd.DataFrame, calibration: Calibration, wanted: list[str]) -> dict[str, dict[str, Any]]:
    from airflow_mlops.core.estimation_classes import estimate_classes

    missing = [c for c in calibration["inputs"] if c not in rows.columns]
    if missing:
        raise DataError(
            f"the predictions have no column {', '.join(map(repr, missing))}: score with class_probabilities"
        )
    index = {str(label): i for i, label in enumerate(calibration["labels"])}
    predicted = rows["prediction"].map(lambda label: index.get(str(label), -1)).to_numpy(dtype=int)
    if (predicted < 0).any():
        odd = rows["prediction"][predicted < 0].iloc[0]
        raise DataError(f"the prediction {odd!r} is none of the classes {', '.join(index)}")
    p = rows[list(calibration["inputs"])].to_numpy(dtype=float)
    return estimate_classes(p, calibration, wanted, predicted=predicted)


def holdout_figures(
    hook: MlflowHook, version: ModelVersion, calibration: Calibration | None
) -> tuple[dict[str, float], dict[str, float | None]]:
    """The version's figures on its holdout and their errors: of its newest evaluation, else of the calibration."""
    reference: dict[str, float] = {}
    errors: dict[str, float | None] = {}
    if calibration is not None:
        reference = {k: v for k, v in dict(calibration.get("reference", {})).items() if isinstance(v, float)}
        rows = calibration.get("rows") or 1
        errors = {k: v / rows**0.5 for k, v in dict(calibration.get("row_error", {})).items() if v is not None}
    for record in hook.history(version.name, kinds=("evaluation",)):
        if record.subject == version.version:
            return {**reference, **record.metrics}, errors
    return reference, errors


def outputs_in(rows: pd.DataFrame, truth: Any) -> dict[str, Any]:
    """What was recorded of the predictions, in the form that metrics take."""
    import numpy as np

    from airflow_mlops.core.scoring import probability_column

    outputs: dict[str, Any] = {}
    if truth.task == "regression":
        return {"labels": rows["prediction"].to_numpy(dtype=float)}
    index = {label: i for i, label in enumerate(truth.classes)}
    found = np.array([index.get(label, -1) for label in rows["prediction"].tolist()])
    if (found >= 0).all():
        outputs["labels"] = found
    if "score" in rows.columns and truth.task == "binary":
        outputs["scores"] = outputs["probabilities"] = rows["score"].to_numpy(dtype=float)
    columns = [probability_column(label) for label in truth.classes]
    if truth.task == "multiclass" and all(c in rows.columns for c in columns):
        outputs["probabilities"] = rows[columns].to_numpy(dtype=float)
    return outputs
