r"""Performance without labels: CBPE, confidence-based performance estimation.

A calibrated probability says how often its rows are positive. So the expected confusion matrix of a batch is known
before any label is: a row that is predicted positive with calibrated probability p is p of a true positive and
1 - p of a false one. Metrics follow from the expected matrix, ranking metrics from rows that are split likewise.

It sees a model that became less certain, and one whose inputs moved to where it is worse. It can **not** see that the
same inputs now mean something else (concept drift): only labels show that. So an estimate is always called one, and a
realised figure takes its place once there is one.

Calibration is learnt where labels are known, on the holdout that the version was evaluated on. Sources: Garg et al.
2022, "Leveraging unlabeled data to predict out-of-distribution performance" for the idea's reach and limits; NannyML's
documentation for the name; Zadrozny & Elkan 2002 for isotonic calibration; Naeini et al. 2015 for calibration error.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_mlops.core.errors import LabelError, UnknownName, UsageError
from airflow_mlops.core.results import JSON, plain

VERSION = 1
"""Form of the calibration dict; another one is refused."""

KNOTS = 400
"""Knots that the calibration map keeps at most."""

FOLDS = 10
"""Parts of the holdout that decide whether to calibrate: each is judged by a map learnt from the others."""

REPLICATES = 200


def calibration_of(scores: Any, labels: Any, *, threshold: float = 0.5, seed: int = 0) -> dict[str, JSON]:
    """What has to be remembered of a labelled holdout to estimate performance without labels.

    :param scores: P(positive), shape ``(n,)``, within 0 and 1.
    :param labels: 1 or true for positive, 0 or false for negative, shape ``(n,)``.
    :param threshold: scores from here on count as predicted positive, where predictions are not given.
    :param seed: of the resampling behind the sampling errors.
    :returns: plain values: ``map`` (knots of the calibration), ``reference`` (metric -> realised figure),
        ``estimated`` (metric -> what :func:`estimate` says of the same rows), ``row_error`` (metric -> sampling error
        of one row: divide by the root of a batch's rows), ``rows``, ``positives``, ``calibrated``.
    :raises UsageError: for scores outside 0 to 1 or shapes that differ.
    :raises LabelError: where there is only one class, or labels are neither 0 nor 1.

    >>> import numpy as np
    >>> p = np.linspace(0.01, 0.99, 500)
    >>> kept = calibration_of(p, np.random.default_rng(0).random(500) < p)
    >>> abs(estimate(p, kept, ["roc_auc"])["roc_auc"]["value"] - kept["reference"]["roc_auc"]) < 0.02
    True
    """
    import numpy as np

    p, y = np.asarray(scores, dtype=float), np.asarray(labels)
    _check_scores(p)
    if y.shape != p.shape:
        raise UsageError(f"scores have shape {p.shape} and labels {y.shape}; both must be (n,)")
    if y.dtype == object or not np.isin(np.unique(y), (0, 1)).all():
        raise LabelError("labels must be 1 (positive) or 0; encode them, and leave out rows without a label")
    y = y.astype(int)
    if y.min(initial=1) == y.max(initial=0):
        raise LabelError("labels of both classes are needed to calibrate")
    calibrated = _isotonic_is_better(p, y)
    knots = _isotonic(p, y) if calibrated else [[0.0, 1.0], [0.0, 1.0]]
    kept: dict[str, JSON] = {
        "version": VERSION,
        "method": "cbpe",
        "calibrated": calibrated,
        "map": plain(knots),
        "threshold": float(threshold),
        "rows": len(y),
        "positives": int(y.sum()),
    }
    known = _Rows.of(p, y.astype(float), np.ones(len(y)), p >= threshold)
    kept["reference"] = _figures(known, list(ESTIMATED))
    kept["estimated"] = _figures(dataclasses.replace(known, p=calibrate(p, kept)), list(ESTIMATED))
    kept["row_error"] = _row_errors(known, seed)
    return kept


def calibrate(scores: Any, calibration: Mapping[str, Any]) -> Any:
    """Calibrated P(positive) of scores, shape ``(n,)``."""
    import numpy as np

    if calibration.get("version") != VERSION:
        raise UsageError(
            f"calibration of version {calibration.get('version')!r} is not readable by this release, which knows "
            f"version {VERSION}; evaluate the model again"
        )
    x, y = calibration["map"]
    return np.interp(np.asarray(scores, dtype=float), x, y)


def estimate(
    scores: Any,
    calibration: Mapping[str, Any],
    metrics: Iterable[str] = ("roc_auc",),
    *,
    weights: Any = None,
    predicted: Any = None,
) -> dict[str, dict[str, JSON]]:
    """Expected metrics of a batch without labels.

    :param scores: P(positive) of the batch, shape ``(n,)``.
    :param calibration: what :func:`calibration_of` gave.
    :param metrics: names of :data:`ESTIMATED`.
    :param weights: rows behind each score; give the bins' counts here to estimate from a profile.
    :param predicted: 1 or true where the model said positive; default: scores from the calibration's threshold on.
    :returns: metric -> ``{"value", "error", "rows", "estimate": True}``; ``error`` is one standard error of *sampling*:
        what the realised figure of as many rows would scatter by. ``value`` is null where the metric is not defined.
    :raises UnknownName: for a metric that can not be estimated.
    """
    import numpy as np

    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in wanted:
        if name not in ESTIMATED:
            raise UnknownName("metric that can be estimated", name, ESTIMATED)
    s = np.asarray(scores, dtype=float)
    _check_scores(s)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    said = s >= calibration["threshold"] if predicted is None else np.asarray(predicted).astype(bool)
    rows = float(w.sum())
    values = _figures(_Rows.of(s, calibrate(s, calibration), w, said), wanted)
    errors = calibration["row_error"]
    return {
        name: {
            "value": values[name],
            "error": errors[name] / math.sqrt(rows) if errors.get(name) is not None and rows else None,
            "rows": round(rows),
            "estimate": True,
        }
        for name in wanted
    }


def expected_roc_auc(scores: Any, positive: Any) -> float:
    """ROC AUC where each row is positive with a probability; of labels, 0 or 1, it is the realised one.

    >>> expected_roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    import numpy as np

    s, p = np.asarray(scores, dtype=float), np.asarray(positive, dtype=float)
    return _roc_auc(_Rows.of(s, p, np.ones(len(s)), s))


def scores_of(counts: Any, edges: Any) -> tuple[Any, Any]:
    """Scores and weights from the bins of a score column's profile: each bin's rows at its middle.

    >>> scores, weights = scores_of([10, 30], [0.5])
    >>> scores.tolist(), weights.tolist()
    ([0.25, 0.75], [10.0, 30.0])
    """
    import numpy as np

    bounds = np.clip(np.concatenate([[0.0], np.asarray(edges, dtype=float), [1.0]]), 0.0, 1.0)
    return (bounds[:-1] + bounds[1:]) / 2, np.asarray(counts, dtype=float)


# --- expected metrics -------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Rows:
    """Rows to take a figure of.

    :param s: scores. :param p: P(positive). :param w: weights. :param said: where they are predicted positive.
    :param ranks: the place of each score among the different ones, and how many those are.
    """

    s: Any
    p: Any
    w: Any
    said: Any
    ranks: tuple[Any, int]

    @classmethod
    def of(cls, s: Any, p: Any, w: Any, said: Any) -> _Rows:
        import numpy as np

        values, which = np.unique(s, return_inverse=True)
        return cls(s, p, w, said, (which, len(values)))

    @functools.cached_property
    def parts(self) -> tuple[Any, Any]:
        """The positive and the negative part at each of the scores, the lowest first."""
        import numpy as np

        which, count = self.ranks
        positive = np.bincount(which, weights=self.w * self.p, minlength=count)
        return positive, np.bincount(which, weights=self.w, minlength=count) - positive

    @functools.cached_property
    def confusion(self) -> tuple[float, float, float, float]:
        """Rightly and wrongly said to be positive, wrongly and rightly said to be negative."""
        hits, misses = self.w * self.p, self.w * (1 - self.p)
        yes, no = float(hits[self.said].sum()), float(misses[self.said].sum())
        return yes, no, float(hits[~self.said].sum()), float(misses[~self.said].sum())


def _of_confusion(formula: Callable[[float, float, float, float], float]) -> Callable[[_Rows], float]:
    return lambda rows: formula(*rows.confusion)


def _roc_auc(rows: _Rows) -> float:
    """Rows split into a positive part p and a negative part 1 - p, ranked by score, ties half."""
    import numpy as np

    positive, negative = rows.parts
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def _average_precision(rows: _Rows) -> float:
    import numpy as np

    positive, negative = (part[::-1] for part in rows.parts)
    found, shown = np.cumsum(positive), np.cumsum(positive + negative)
    some = shown > 0
    return float((positive[some] * found[some] / shown[some]).sum() / found[-1])


def _brier(rows: _Rows) -> float:
    s, p, w = rows.s, rows.p, rows.w
    return float((w * (p * (1 - s) ** 2 + (1 - p) * s**2)).sum() / w.sum())


def _log_loss(rows: _Rows) -> float:
    import numpy as np

    edge, p, w = np.finfo(float).eps, rows.p, rows.w
    s = np.clip(rows.s, edge, 1 - edge)
    return float(-(w * (p * np.log(s) + (1 - p) * np.log1p(-s))).sum() / w.sum())


def _mcc(tp: float, fp: float, fn: float, tn: float) -> float:
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(spread) if spread > 0 else 0.0


ESTIMATED: Mapping[str, Callable[[Any], float]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "brier": _brier,
    "log_loss": _log_loss,
    "accuracy": _of_confusion(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)),
    "balanced_accuracy": _of_confusion(lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2),
    "precision": _of_confusion(lambda tp, fp, fn, tn: tp / (tp + fp)),
    "recall": _of_confusion(lambda tp, fp, fn, tn: tp / (tp + fn)),
    "f1": _of_confusion(lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn)),
    "mcc": _of_confusion(_mcc),
}
"""The metrics that can be estimated for a binary classifier; the names and directions are those of the metric table."""


def _figures(rows: _Rows, names: list[str]) -> dict[str, JSON]:
    import numpy as np

    values: dict[str, JSON] = {}
    for name in names:
        try:
            with np.errstate(all="ignore"):
                value = ESTIMATED[name](rows)
        except ZeroDivisionError:
            value = math.nan
        values[name] = value if math.isfinite(value) else None
    return values


def _row_errors(known: _Rows, seed: int) -> dict[str, JSON]:
    """Standard error of one row, by resampling: the scatter of the figure times the root of the rows."""
    import numpy as np

    rng, rows = np.random.default_rng(seed), min(len(known.s), 20_000)
    if len(known.s) > rows:
        kept = rng.choice(len(known.s), rows, replace=False)
        known = _Rows.of(known.s[kept], known.p[kept], known.w[kept], known.said[kept])
    drawn: dict[str, list[float]] = {name: [] for name in ESTIMATED}
    for _ in range(REPLICATES):
        weights = np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(float)
        for name, value in _figures(dataclasses.replace(known, w=weights), list(drawn)).items():
            if isinstance(value, float):
                drawn[name].append(value)
    return {
        name: float(np.std(values) * math.sqrt(rows)) if len(values) > REPLICATES / 2 else None
        for name, values in drawn.items()
    }


# --- calibration ------------------------------------------------------------------------------------------------


def _isotonic(p: Any, y: Any) -> list[list[float]]:
    """Knots of the non-decreasing function nearest to the labels: level within a block, a line from one to the next."""
    import numpy as np

    values, which, rows = np.unique(p, return_inverse=True, return_counts=True)
    return _knots(values, rows, np.bincount(which, weights=y))


def _knots(values: Any, rows: Any, positives: Any) -> list[list[float]]:
    import numpy as np
    from scipy.optimize import isotonic_regression

    x, n = values[rows > 0], rows[rows > 0].astype(float)
    fit = isotonic_regression(positives[rows > 0] / n, weights=n)
    ends = np.unique(np.concatenate([fit.blocks[:-1], fit.blocks[1:] - 1]))
    if len(ends) > KNOTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, KNOTS).round().astype(int))]
    return [x[ends].tolist(), fit.x[ends].tolist()]


def _isotonic_is_better(p: Any, y: Any) -> bool:
    """Whether a map that was learnt from other rows lowers the calibration error; else scores are left as they are.

    Not the squared error: an estimate is an average over many rows, in which the map's scatter from score to score
    cancels and a model that is too sure of itself does not. The folds follow from the rows, in whatever order they are.
    """
    import numpy as np

    if len(y) < 100:
        return False
    rng, fold = np.random.default_rng(0), np.empty(len(y), dtype=int)
    for label in (0, 1):
        of_label = np.flatnonzero(y == label)
        fold[of_label[np.argsort(p[of_label], kind="stable")]] = rng.permutation(len(of_label)) % FOLDS
    values, which, rows = np.unique(p, return_inverse=True, return_counts=True)
    positives, calibrated = np.bincount(which, weights=y), np.empty(len(y))
    for out in (fold == i for i in range(FOLDS)):
        left, hits = (np.bincount(which[out], weights=w, minlength=len(values)) for w in (None, y[out]))
        x, share = _knots(values, rows - left, positives - hits)
        calibrated[out] = np.interp(p[out], x, share)
    return _calibration_error(calibrated, y) < _calibration_error(p, y)


def _calibration_error(p: Any, y: Any, bins: int = 10) -> float:
    """Expected calibration error over bins of as many rows each; rows of one score are in one bin."""
    import numpy as np

    _, which, rows = np.unique(p, return_inverse=True, return_counts=True)
    middle = (np.cumsum(rows) - rows / 2) / len(p)
    at = np.minimum((middle * bins).astype(int), bins - 1)[which]
    return float(np.abs(np.bincount(at, weights=p - y)).sum() / len(p))


def _check_scores(p: Any) -> None:
    import numpy as np

    if p.ndim != 1 or not len(p):
        raise UsageError(f"scores must have shape (n,) with n > 0, got {p.shape}")
    bad = int((~np.isfinite(p)).sum())
    if bad or p.min() < 0 or p.max() > 1:
        raise UsageError(f"scores must be probabilities within 0 and 1; {bad} of {len(p)} are not finite")
