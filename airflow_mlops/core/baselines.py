"""A simple model with features, to see whether the candidate is worth its trouble."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_mlops.core.outputs import Outputs, Truth

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
MOST_ROWS = 20_000
"""Rows that a fold is learned from."""

CATEGORIES = 20
"""Categories of a column that get a coefficient of their own; the rarer share one."""


class Parts(Protocol):
    """Rows that are gone through a part at a time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[pd.DataFrame]: ...

    def take(self, places: Any, /) -> pd.DataFrame:
        """The rows at those places, which grow."""


def linear(rows: Parts, truth: Truth, *, features: Sequence[str], seed: int = 0) -> Outputs:
    """Logistic or ridge regression on the rows that judge, each fifth predicted by a model of the other four.

    Numbers are standardised, missing ones are the median; of other columns the most frequent values are told apart.
    Having seen rows of the same time, it is at least as hard to beat as one fitted on the training rows.

    :param rows: the rows that have a label, ``n`` of them.
    :param truth: their labels.
    :param features: the columns it may use; those that are not there are left out.
    :param seed: of the folds.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, StratifiedKFold

    columns = [f for f in features if f in rows.take([0]).columns]
    n, classes = len(truth.y), len(truth.classes)
    said = np.zeros((n, classes)) if classes else np.zeros(n)
    folds = min(FOLDS, n if not classes else int(np.bincount(truth.y)[np.bincount(truth.y) > 0].min()))
    if folds < 2 or not columns:
        why = "a class has one row only" if columns else "there are no columns to learn from"
        return Outputs(missing=dict.fromkeys(("labels", "scores", "probabilities"), why))
    split = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
    rng = np.random.default_rng(seed)
    fold, learned = np.zeros(n, dtype=int), []
    for k, (learn, here) in enumerate(split.split(np.zeros((n, 1)), truth.y)):
        fold[here] = k
        learned.append(np.sort(rng.choice(learn, MOST_ROWS, replace=False)) if len(learn) > MOST_ROWS else learn)
    held = np.unique(np.concatenate(learned))  # all that is learned from, of which no more is in memory at once
    X = _plainer(rows.take(held)[columns])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [_pipeline(X, classes > 0).fit(X.iloc[np.searchsorted(held, at)], truth.y[at]) for at in learned]
    start = 0
    for part in rows:
        plainer, own = _plainer(part[columns]), fold[start : start + len(part)]
        for k, model in enumerate(models):
            here = np.flatnonzero(own == k)
            if len(here) and classes:
                said[np.ix_(start + here, model.classes_)] = model.predict_proba(plainer.iloc[here])
            elif len(here):
                said[start + here] = model.predict(plainer.iloc[here])
        start += len(part)
    if not classes:
        return Outputs(values={"labels": said})
    if truth.task == "binary":
        p = said[:, 1]
        return Outputs(values={"labels": (p > 0.5).astype(int), "scores": p, "probabilities": p})
    return Outputs(values={"labels": said.argmax(axis=1), "probabilities": said})


def _plainer(rows: pd.DataFrame) -> pd.DataFrame:
    """Every column a float or text."""
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in rows.columns:
        column = rows[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            column = column.astype("int64").where(column.notna())
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(dtype=float, na_value=np.nan)
            columns[str(name)] = np.where(np.isfinite(values), values, np.nan)
        else:
            columns[str(name)] = column.astype(str).where(column.notna(), "null").to_numpy(dtype=object)
    return pd.DataFrame(columns, index=rows.index)


def _pipeline(X: pd.DataFrame, classifies: bool) -> Any:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [c for c in X.columns if pd.api.types.is_numeric_dtype(X[c])]
    scaled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    told = OneHotEncoder(max_categories=CATEGORIES, handle_unknown="infrequent_if_exist")
    columns = ColumnTransformer([("n", scaled, numbers), ("c", told, [c for c in X.columns if c not in numbers])])
    return make_pipeline(columns, LogisticRegression(max_iter=300) if classifies else Ridge())
