"""Training, in plain values: what makes two trainings the same, which rows can be learned from, and whether what
came out can be used.

The functions are called in this order: :func:`training_config` and :func:`training_key` (is there anything to do?),
:func:`training_rows` (can it be done?), :func:`fit` (do it), :func:`describe_model` (what came out).
"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlops.core.errors import (
    DataError,
    EmptyDataset,
    LabelError,
    ModelError,
    SchemaMismatch,
    UnknownName,
    UsageError,
)
from airflow_mlops.core.fingerprint import describe_trainer, describe_value
from airflow_mlops.core.results import JSON, digest

if TYPE_CHECKING:
    import pandas as pd

Problem = Literal["classification", "regression"]
PROBLEMS = ("classification", "regression")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything a training is a function of, except the rows.

    :param train: the function or estimator.
    :param target: the column to learn.
    :param features: the columns to learn from, in order; empty: all but the target.
    :param params: passed to the function, or set on the estimator.
    :param param_grid: parameter -> values to search; for an estimator only.
    :param scoring: scikit-learn's name of the score the search maximises; empty: the estimator's own.
    :param folds: number of folds of the search.
    :param time_column: rows are put in its order before training; the folds of a search never look ahead.
    :param problem: ``classification`` or ``regression``.
    :param positive_label: the class whose probability is the score; ``None``: the greater of two.
    """

    train: Any
    target: str
    features: Sequence[str] = ()
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    param_grid: Mapping[str, Sequence[Any]] | None = None
    scoring: str = ""
    folds: int = 4
    time_column: str = ""
    problem: str = "classification"
    positive_label: Any = None

    def __post_init__(self) -> None:
        if self.problem not in PROBLEMS:
            raise UnknownName("problem", self.problem, PROBLEMS)
        if not self.target:
            raise UsageError("target is empty: name the column to learn")
        if isinstance(self.features, str):
            raise UsageError(f"features must be a list of columns, got the text {self.features!r}")
        object.__setattr__(self, "features", tuple(self.features))
        if self.target in self.features:
            raise UsageError(f"target {self.target!r} is among the features: the model would be told the answer")
        if self.param_grid is not None and not is_estimator(self.train):
            raise UsageError("param_grid needs an estimator in train; a training function searches for itself")
        if self.folds < 2:
            raise UsageError(f"folds must be at least 2, got {self.folds}")

    def describe(self) -> dict[str, JSON]:
        """The plain values the configuration digest is made of."""
        return {
            "train": describe_trainer(self.train),
            "target": self.target,
            "features": list(self.features),
            "params": describe_value(self.params),
            "param_grid": describe_value(self.param_grid),
            "search": [self.scoring, self.folds] if self.param_grid else None,
            "time_column": self.time_column,
            "problem": self.problem,
            "positive_label": describe_value(self.positive_label),
        }

    @property
    def digest(self) -> str:
        """16 hex digits; the same for the same meaning."""
        return digest(self.describe())

    def columns(self, available: Sequence[str]) -> list[str]:
        """The columns a training reads, in order: features, target, time column.

        :raises SchemaMismatch: for columns that are not there, with the nearest that are.
        """
        features = list(self.features) or [c for c in available if c not in (self.target, self.time_column)]
        wanted = [*features, self.target, *([self.time_column] if self.time_column else [])]
        require_columns(wanted, available)
        return list(dict.fromkeys(wanted))


def training_key(model_name: str, data_digest: str, config: TrainingConfig) -> str:
    """What a repeated training is recognised by: the model, the rows' content and the configuration.

    >>> config = TrainingConfig(train=dict, target="late")
    >>> training_key("delays", "d1", config) == training_key("delays", "d2", config)
    False
    """
    if not data_digest:
        raise UsageError("the data has no digest; resolve the reference first")
    return digest("training", model_name, data_digest, config.digest)


def require_columns(wanted: Sequence[str], available: Sequence[str], what: str = "the data") -> None:
    """Refuse rows without a column that is needed.

    :raises SchemaMismatch: naming what is missing, and for each the nearest name that is there.

    >>> require_columns(["dep_hour"], ["depHour", "month"])
    Traceback (most recent call last):
    airflow_mlops.core.errors.SchemaMismatch: the data has no column 'dep_hour' (nearest: 'depHour')
    """
    missing = [c for c in wanted if c not in set(available)]
    if not missing:
        return
    named = []
    for column in missing[:10]:
        near = difflib.get_close_matches(column, list(available), n=1)
        named.append(f"{column!r} (nearest: {near[0]!r})" if near else repr(column))
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    unexpected = [c for c in available if c not in set(wanted)]
    raise SchemaMismatch(f"{what} has no column {', '.join(named)}{more}", missing=missing, unexpected=unexpected)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """What is learned from.

    :param X: features, in order.
    :param y: labels, none missing.
    :param unlabelled: rows that were left out because they have no label.
    """

    X: pd.DataFrame
    y: pd.Series
    unlabelled: int = 0


def training_rows(frame: pd.DataFrame, config: TrainingConfig, *, label: str = "the data") -> TrainingRows:
    """Features and labels that can be learned from, or the reason why not.

    Rows without a label are left out and counted. Missing feature values are passed on: whether they are a problem
    is the estimator's to say. Infinite ones are always refused.

    :param frame: the rows.
    :param label: what to call them in a message.
    :raises EmptyDataset: no rows.
    :raises SchemaMismatch: a column is missing.
    :raises LabelError: no label at all, or one class only.
    :raises DataError: infinite values, with the columns.
    """
    columns = config.columns([str(c) for c in frame.columns])
    if not len(frame):
        raise EmptyDataset(f"{label} has no rows; there is nothing to train on")
    if config.time_column:
        frame = frame.sort_values(config.time_column, kind="stable")
    labelled = frame[config.target].notna()
    unlabelled = int((~labelled).sum())
    if unlabelled == len(frame):
        raise LabelError(f"all {len(frame)} labels in column {config.target!r} of {label} are missing")
    frame = frame.loc[labelled]
    features = [c for c in columns if c != config.target and (c != config.time_column or c in config.features)]
    y = _labels(frame[config.target], config, label)
    X = frame[features].reset_index(drop=True)
    infinite = infinite_columns(X)
    if infinite:
        some = ", ".join(f"{name!r} ({count})" for name, count in list(infinite.items())[:10])
        raise DataError(f"{label} has infinite values in {some}; replace or drop them before training")
    return TrainingRows(X=X, y=y, unlabelled=unlabelled)


def _labels(y: pd.Series, config: TrainingConfig, label: str) -> pd.Series:
    import numpy as np

    y = y.reset_index(drop=True).infer_objects()
    if config.problem == "classification":
        classes = y.unique()
        if len(classes) < 2:
            raise LabelError(
                f"all {len(y)} labels in column {config.target!r} of {label} are {classes[0]!r}; "
                "a classifier needs at least two classes"
            )
        if config.positive_label is not None and config.positive_label not in list(classes):
            known = ", ".join(sorted(map(repr, classes))[:10])
            raise LabelError(
                f"positive_label {config.positive_label!r} is no label of column {config.target!r}, which has {known}"
            )
        return _plain_labels(y)
    values = y.astype("float64")
    if np.isinf(values).any():
        raise LabelError(f"column {config.target!r} of {label} has infinite labels")
    return values


def _plain_labels(y: pd.Series) -> pd.Series:
    """Labels that only look nullable (a column that had missing ones) as the values scikit-learn knows."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(y.dtype):
        return y.astype("bool")
    if pd.api.types.is_integer_dtype(y.dtype):
        return y.astype("int64")
    if pd.api.types.is_float_dtype(y.dtype) and bool((y % 1 == 0).all()):
        return y.astype("int64")
    return y


def infinite_columns(X: pd.DataFrame) -> dict[str, int]:
    """Numeric columns that hold plus or minus infinity, with how often."""
    import numpy as np

    found = {}
    for name in X.columns:
        if X[name].dtype.kind == "f" or str(X[name].dtype) in ("Float64", "Float32"):
            count = int(np.isinf(X[name].to_numpy(dtype="float64", na_value=np.nan)).sum())
            if count:
                found[str(name)] = count
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained model.

    :param estimator: fitted, with ``predict``.
    :param seconds: wall clock of the fit, the search included.
    :param metrics: what the search found: ``cv_score_mean``, ``cv_score_std``, ``cv_candidates``; empty without one.
    :param best_params: the parameters the search chose.
    """

    estimator: Any
    seconds: float
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    best_params: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def fit(rows: TrainingRows, config: TrainingConfig) -> Fitted:
    """Train, and make sure that what comes out can be used.

    :raises ModelError: when the training raised, or returned something that is no fitted estimator. Errors of the
        machine (``OSError``, ``MemoryError``) pass unchanged: another try may go well.
    """
    begun = time.perf_counter()
    metrics: dict[str, float] = {}
    best: dict[str, Any] = {}
    try:
        if not is_estimator(config.train):
            estimator = config.train(rows.X, rows.y, **dict(config.params))
        else:
            from sklearn.base import clone

            estimator = clone(config.train).set_params(**dict(config.params))
            if config.param_grid:
                estimator, metrics, best = _search(estimator, rows, config)
            else:
                estimator = estimator.fit(rows.X, rows.y)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(_why(error, rows)) from error
    seconds = time.perf_counter() - begun
    require_fitted(estimator, rows.X)
    return Fitted(estimator=estimator, seconds=seconds, metrics=metrics, best_params=best)


def _search(estimator: Any, rows: TrainingRows, config: TrainingConfig) -> tuple[Any, dict[str, float], dict[str, Any]]:
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

    search = GridSearchCV(
        estimator,
        {k: list(v) for k, v in (config.param_grid or {}).items()},
        scoring=config.scoring or None,
        cv=TimeSeriesSplit(n_splits=config.folds),
        error_score="raise",
    ).fit(rows.X, rows.y)
    found = search.best_index_
    metrics = {
        "cv_score_mean": float(search.cv_results_["mean_test_score"][found]),
        "cv_score_std": float(search.cv_results_["std_test_score"][found]),
        "cv_candidates": float(len(search.cv_results_["params"])),
    }
    return search.best_estimator_, metrics, dict(search.best_params_)


def _why(error: Exception, rows: TrainingRows) -> str:
    text = f"training failed: {type(error).__name__}: {str(error).strip()[:1000]}"
    missing = [str(c) for c in rows.X.columns if rows.X[c].isna().any()]
    if isinstance(error, ValueError | TypeError) and missing and "NaN" in str(error):
        text += (
            f"\nMissing values are in {', '.join(missing[:10])}; this estimator does not take them: "
            "put an imputer into the pipeline or drop the rows before"
        )
    return text


def is_estimator(value: Any) -> bool:
    """Whether ``value`` is an estimator instance and not a training function."""
    return hasattr(value, "fit") and hasattr(value, "get_params") and not isinstance(value, type)


def require_fitted(estimator: Any, X: pd.DataFrame) -> None:
    """Refuse what can not predict: a class, an unfitted estimator, nothing at all.

    :raises ModelError: saying what came instead.
    """
    if isinstance(estimator, type) or not callable(getattr(estimator, "predict", None)):
        raise ModelError(f"training returned {_kind(estimator)}, which has no predict(): return the fitted estimator")
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        if hasattr(estimator, "fit"):
            check_is_fitted(estimator)
        head = X.head(5)
        predicted = estimator.predict(head)
    except NotFittedError as error:
        raise ModelError(
            f"training returned {_kind(estimator)} that is not fitted: call fit() before return"
        ) from error
    except Exception as error:
        raise ModelError(
            f"training returned {_kind(estimator)} that can not predict the rows it was trained on: "
            f"{type(error).__name__}: {str(error)[:500]}"
        ) from error
    if len(predicted) != len(head):
        raise ModelError(f"predict() of {_kind(estimator)} gives {len(predicted)} predictions for {len(head)} rows")


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def describe_model(estimator: Any, config: TrainingConfig) -> dict[str, JSON]:
    """What a reader of the model's predictions has to know.

    :return: ``type``, ``problem``, ``target`` and, for a classifier, ``classes`` (in the order of ``predict_proba``)
        and ``positive`` (the class whose probability is the score; ``None`` with more than two and none named).
    """
    described: dict[str, JSON] = {
        "type": type(estimator).__name__,
        "problem": config.problem,
        "target": config.target,
    }
    classes = getattr(estimator, "classes_", None)
    if config.problem == "classification" and classes is not None:
        known = list(classes.tolist() if hasattr(classes, "tolist") else classes)
        positive = config.positive_label
        if positive is None and len(known) == 2:
            positive = known[1]
        described["classes"] = known
        described["positive"] = positive.item() if hasattr(positive, "item") else positive
    return described
