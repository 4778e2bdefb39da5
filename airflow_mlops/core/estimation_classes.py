"""Performance of a classifier of several classes, without labels: CBPE class by class.

As for two classes, a calibrated probability says how often its rows are of that class. Each class is calibrated against
all others, and what comes out is scaled to 1 a row; expected metrics follow. See ``estimation`` for what an estimate
can see and what it can't: it is always called one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_mlops.core.errors import LabelError, UnknownName, UsageError
from airflow_mlops.core.estimation import calibrate, calibration_of
from airflow_mlops.core.results import JSON

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")
"""The metrics that can be estimated for several classes."""


def class_calibration_of(probabilities: Any, labels: Any, *, seed: int = 0) -> dict[str, JSON]:
    """What has to be remembered of a labelled holdout.

    :param probabilities: shape ``(n, k)``, a row adds up to 1; columns in the order of the classes.
    :param labels: index of the class, 0 to k - 1, shape ``(n,)``; every class at least once.
    :returns: plain values: a calibration for each class, ``classes`` and ``rows``.
    :raises UsageError: for shapes that do not fit. :raises LabelError: for labels that are no such index.
    """
    import numpy as np

    p, y = _checked(probabilities), np.asarray(labels)
    if y.shape != p.shape[:1]:
        raise UsageError(f"probabilities have shape {p.shape} and labels {y.shape}; (n, k) and (n,) belong together")
    if set(np.unique(y).tolist()) != set(range(p.shape[1])):
        raise LabelError(f"labels must be the indices 0 to {p.shape[1] - 1}, each at least once")
    maps: list[JSON] = [calibration_of(p[:, i], y == i, seed=seed) for i in range(p.shape[1])]
    return {"method": "cbpe_classes", "maps": maps, "classes": p.shape[1], "rows": len(y)}


def estimate_classes(
    probabilities: Any, calibration: Mapping[str, Any], metrics: Iterable[str] = ("accuracy",)
) -> dict[str, dict[str, JSON]]:
    """Expected metrics of a batch without labels; the predicted class is the most probable one.

    :param probabilities: of the batch, shape ``(n, k)``.
    :param calibration: what :func:`class_calibration_of` gave.
    :param metrics: names of :data:`METRICS`.
    :returns: metric -> ``{"value", "rows", "estimate": True}``.
    :raises UnknownName: for a metric that can not be estimated.
    """
    import numpy as np

    p = _checked(probabilities)
    if p.shape[1] != calibration["classes"]:
        raise UsageError(f"{p.shape[1]} classes, and a calibration of {calibration['classes']}")
    q = np.column_stack([calibrate(p[:, i], one) for i, one in enumerate(calibration["maps"])])
    total = q.sum(axis=1, keepdims=True)
    q = np.where(total > 0, q / np.where(total > 0, total, 1), p)
    said = p.argmax(axis=1)
    confusion = np.array([q[said == i].sum(axis=0) for i in range(p.shape[1])])  # rows: said, columns: expected truth
    right, there, predicted = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(there + predicted > 0, 2 * right / (there + predicted), 0.0)
        recall = right[there > 0] / there[there > 0]
    values = {
        "accuracy": float(right.sum() / len(p)),
        "balanced_accuracy": float(recall.mean()),
        "f1_macro": float(f1.mean()),
        "log_loss": float(-(q * np.log(np.clip(p, np.finfo(float).eps, 1))).sum(axis=1).mean()),
    }
    found: dict[str, dict[str, JSON]] = {}
    for name in [metrics] if isinstance(metrics, str) else metrics:
        if name not in values:
            raise UnknownName("metric that can be estimated", name, METRICS)
        found[name] = {"value": values[name], "rows": len(p), "estimate": True}
    return found


def _checked(probabilities: Any) -> Any:
    import numpy as np

    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise UsageError(f"probabilities must have shape (n, k) with k >= 2, got {p.shape}")
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise UsageError("probabilities must be finite, at least 0, and add up to 1 a row")
    return p
