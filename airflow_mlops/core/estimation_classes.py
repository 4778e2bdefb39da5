"""Performance of a classifier of several classes, without labels: CBPE class by class.

As for two classes, a calibrated probability says how often its rows are of that class. Each class is calibrated against
all others, and what comes out is scaled to 1 a row; expected metrics follow. See ``estimation`` for what an estimate
can see and what it can't: it is always called one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_mlops.core.errors import LabelError, UnknownName, UsageError
from airflow_mlops.core.estimation import calibrate, calibration_of, expected_roc_auc
from airflow_mlops.core.results import JSON

METHOD = "cbpe_classes"

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "precision_macro",
    "recall_macro",
    "roc_auc_ovr",
    "log_loss",
    "brier_multiclass",
)
"""The metrics that can be estimated for several classes; names and directions are those of the metric table."""

REPLICATES = 100
MOST_DRAWN = 5_000
"""Rows of a resample behind the sampling error; a figure's scatter falls with the root of the rows."""


def class_calibration_of(probabilities: Any, labels: Any, *, seed: int = 0) -> dict[str, JSON]:
    """What has to be remembered of a labelled holdout.

    :param probabilities: shape ``(n, k)``, a row adds up to 1; columns in the order of the classes.
    :param labels: index of the class, 0 to k - 1, shape ``(n,)``; every class at least once.
    :param seed: of the resampling behind the sampling errors.
    :returns: plain values: a calibration for each class, ``classes``, ``rows``, ``reference`` (metric -> realised
        figure) and ``row_error`` (metric -> sampling error of one row: divide by the root of a batch's rows).
    :raises UsageError: for shapes that do not fit. :raises LabelError: for labels that are no such index.
    """
    import numpy as np

    p, y = _checked(probabilities), np.asarray(labels)
    if y.shape != p.shape[:1]:
        raise UsageError(f"probabilities have shape {p.shape} and labels {y.shape}; (n, k) and (n,) belong together")
    if set(np.unique(y).tolist()) != set(range(p.shape[1])):
        raise LabelError(f"labels must be the indices 0 to {p.shape[1] - 1}, each at least once")
    kept = [calibration_of(p[:, i], y == i, seed=seed) for i in range(p.shape[1])]
    maps: list[JSON] = [{"version": one["version"], "map": one["map"]} for one in kept]
    seen, said = np.eye(p.shape[1])[y], p.argmax(axis=1)
    return {
        "method": METHOD,
        "maps": maps,
        "classes": p.shape[1],
        "rows": len(y),
        "reference": dict(_figures(p, seen, said, METRICS)),
        "row_error": _row_errors(p, seen, said, seed),
    }


def estimate_classes(
    probabilities: Any,
    calibration: Mapping[str, Any],
    metrics: Iterable[str] = ("accuracy",),
    *,
    predicted: Any = None,
) -> dict[str, dict[str, JSON]]:
    """Expected metrics of a batch without labels.

    :param probabilities: of the batch, shape ``(n, k)``.
    :param calibration: what :func:`class_calibration_of` gave.
    :param metrics: names of :data:`METRICS`.
    :param predicted: index of the class that the model said, shape ``(n,)``; default: the most probable one.
    :returns: metric -> ``{"value", "error", "rows", "estimate": True}``; ``error`` is one standard error of *sampling*:
        what the realised figure of as many rows would scatter by.
    :raises UnknownName: for a metric that can not be estimated.
    """
    import numpy as np

    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in wanted:
        if name not in METRICS:
            raise UnknownName("metric that can be estimated", name, METRICS)
    p = _checked(probabilities)
    if p.shape[1] != calibration["classes"]:
        raise UsageError(f"{p.shape[1]} classes, and a calibration of {calibration['classes']}")
    q = np.column_stack([calibrate(p[:, i], one) for i, one in enumerate(calibration["maps"])])
    total = q.sum(axis=1, keepdims=True)
    q = np.where(total > 0, q / np.where(total > 0, total, 1), p)
    said = p.argmax(axis=1) if predicted is None else np.asarray(predicted)
    if said.shape != p.shape[:1] or said.min() < 0 or said.max() >= p.shape[1]:
        raise UsageError(f"predicted must be indices 0 to {p.shape[1] - 1}, one a row")
    values = _figures(p, q, said, wanted)
    errors = calibration["row_error"]
    return {
        name: {
            "value": values[name],
            "error": errors[name] / math.sqrt(len(p)) if errors.get(name) is not None else None,
            "rows": len(p),
            "estimate": True,
        }
        for name in wanted
    }


def _figures(p: Any, q: Any, said: Any, wanted: Iterable[str]) -> dict[str, float | None]:
    """Figures where row i is of class k with probability ``q[i, k]``; of labels that is 0 or 1."""
    import numpy as np

    confusion = np.array([q[said == i].sum(axis=0) for i in range(p.shape[1])])  # rows: said, columns: expected truth
    right, there, predicted = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(there + predicted > 0, 2 * right / (there + predicted), 0.0)
        recall, precision = np.where(there > 0, right / there, 0.0), np.where(predicted > 0, right / predicted, 0.0)
    figures: dict[str, Callable[[], float | None]] = {
        "accuracy": lambda: float(right.sum() / len(p)),
        "balanced_accuracy": lambda: float(recall[there > 0].mean()),
        "f1_macro": lambda: float(f1.mean()),
        "precision_macro": lambda: float(precision.mean()),
        "recall_macro": lambda: float(recall.mean()),
        "roc_auc_ovr": lambda: _ovr(p, q),
        "log_loss": lambda: float(-(q * np.log(np.clip(p, np.finfo(float).eps, 1))).sum(axis=1).mean()),
        "brier_multiclass": lambda: float(((p**2).sum(axis=1) - 2 * (p * q).sum(axis=1) + 1).mean()),
    }
    return {name: figures[name]() for name in wanted}


def _ovr(p: Any, q: Any) -> float | None:
    """Mean over the classes of the area under each one against the rest; ``None`` where a class is not there."""
    there = q.sum(axis=0)
    if (there <= 0).any() or (there >= len(q)).any():
        return None
    return float(sum(expected_roc_auc(p[:, i], q[:, i]) for i in range(p.shape[1])) / p.shape[1])


def _row_errors(p: Any, seen: Any, said: Any, seed: int) -> dict[str, JSON]:
    import numpy as np

    rng, rows = np.random.default_rng(seed), min(len(p), MOST_DRAWN)
    drawn: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(REPLICATES):
        pick = rng.integers(0, len(p), rows)
        for name, value in _figures(p[pick], seen[pick], said[pick], METRICS).items():
            if value is not None:
                drawn[name].append(value)
    return {
        name: float(np.std(values) * math.sqrt(rows)) if len(values) > REPLICATES / 2 else None
        for name, values in drawn.items()
    }


def _checked(probabilities: Any) -> Any:
    import numpy as np

    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise UsageError(f"probabilities must have shape (n, k) with k >= 2, got {p.shape}")
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise UsageError("probabilities must be finite, at least 0, and add up to 1 a row")
    return p
