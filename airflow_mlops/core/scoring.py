"""Scoring, in plain values: what makes two scorings the same, and what a batch of predictions looks like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import ModelError, SchemaMismatch, UsageError
from airflow_mlops.core.results import JSON, digest

if TYPE_CHECKING:
    import pandas as pd

PREDICTION = "prediction"
SCORE = "score"
RESERVED = (PREDICTION, SCORE)
MOST_CLASSES = 100
"""Classes up to which each has a column of its own."""


def probability_column(label: Any) -> str:
    """The column of the probability of one of several classes.

    >>> probability_column("late")
    'probability_late'
    """
    return f"probability_{label}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoringModel:
    """A model that is ready to score, and what has to be known to read its predictions.

    :param estimator: has ``predict``, and ``predict_proba`` where there are scores.
    :param features: the columns it takes, in order.
    :param label: ``name/version``, for messages.
    :param described: what training wrote down about it: ``problem``, ``classes``, ``positive``.
    """

    estimator: Any
    features: tuple[str, ...]
    label: str = "the model"
    described: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> tuple[Any, ...]:
        """Of a classifier with probabilities: its classes, in the order of ``predict_proba``; else none."""
        known = getattr(self.estimator, "classes_", None)
        if known is None or not hasattr(self.estimator, "predict_proba"):
            return ()
        return tuple(getattr(known, "tolist", lambda: list(known))())


def scoring_key(
    model: str, version: str, model_digest: str, data_digest: str, keep: Sequence[str], probabilities: bool = True
) -> str:
    """What a repeated scoring is recognised by: the model's content, the rows' content and the columns written.

    >>> scoring_key("m", "1", "d", "rows", ["id"]) == scoring_key("m", "1", "d", "rows", [])
    False
    """
    return digest("scoring", model, version, model_digest, data_digest, list(keep), probabilities)


def require_scorable(model: ScoringModel, available: Sequence[str], keep: Sequence[str], what: str) -> None:
    """Refuse rows that lack a feature of the model or a column to keep.

    :raises SchemaMismatch: with everything that is missing, at most ten by name.
    :raises UsageError: when a kept column has the name of an output.
    """
    taken = [c for c in keep if c in (*RESERVED, *map(probability_column, model.classes))]
    if taken:
        raise UsageError(f"columns_to_keep has {taken[0]!r}, which is the name of an output; rename that column before")
    missing = [c for c in dict.fromkeys([*model.features, *keep]) if c not in set(available)]
    if missing:
        some = ", ".join(map(repr, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise SchemaMismatch(f"{what} has no column {some}, which {model.label} needs", missing=missing)


def predict(
    model: ScoringModel, frame: pd.DataFrame, keep: Sequence[str] = (), *, probabilities: bool = True
) -> pd.DataFrame:
    """One batch: the kept columns, ``prediction``, and for a classifier ``score``.

    ``score`` is the probability of the positive class, or of the most probable one where no class is positive. Of more
    than two classes, up to :data:`MOST_CLASSES`, each has a column :func:`probability_column` as well.

    :param frame: rows with the model's features, and any others.
    :param probabilities: whether the columns of several classes are wanted.
    :raises ModelError: when the model fails on these rows, or answers in another shape.
    """
    X = frame[list(model.features)]
    try:
        predicted = model.estimator.predict(X)
        said = model.estimator.predict_proba(X) if hasattr(model.estimator, "predict_proba") else None
        scores = None if said is None else _scores(model, said)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{model.label} can't score these rows: {type(error).__name__}: {str(error)[:500]}") from error
    if hasattr(predicted, "to_numpy"):
        predicted = predicted.to_numpy()
    if getattr(predicted, "ndim", 1) == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if len(predicted) != len(frame) or getattr(predicted, "ndim", 1) != 1:
        shape = getattr(predicted, "shape", (len(predicted),))
        raise ModelError(
            f"{model.label} answers {len(frame)} rows with predictions of shape {shape}; one a row is needed"
        )
    result = frame[list(keep)].reset_index(drop=True)
    result[PREDICTION] = predicted
    if scores is not None:
        result[SCORE] = scores
    if said is not None and probabilities and 2 < len(model.classes) <= MOST_CLASSES:
        for i, label in enumerate(model.classes):
            result[probability_column(label)] = said[:, i]
    return result


def _scores(model: ScoringModel, probabilities: Any) -> Any:
    known = list(model.classes)
    positive = model.described.get("positive", known[1] if len(known) == 2 else None)
    if positive is not None and positive in known:
        return probabilities[:, known.index(positive)]
    return probabilities.max(axis=1)


def not_finite(predictions: pd.DataFrame) -> int:
    """How many rows have a prediction or score that is missing or infinite."""
    import numpy as np

    bad = np.zeros(len(predictions), dtype=bool)
    for name in RESERVED:
        if name in predictions:
            values = predictions[name]
            bad |= values.isna().to_numpy()
            if values.dtype.kind == "f":
                bad |= np.isinf(values.to_numpy())
    return int(bad.sum())
