"""Predictions and the labels that came later, joined by key."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, SchemaMismatch, UsageError
from airflow_mlops.core.performance import Labels

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joined:
    """What the join found.

    :param rows: due predictions that have a label: the prediction's columns and the target, each id once.
    :param predictions: all predictions, as read.
    :param labels: the counts.
    :param digests: content digests of both sides; ``none`` where there are no labels yet.
    """

    rows: pd.DataFrame
    predictions: pd.DataFrame
    labels: Labels
    digests: dict[str, str]


def join_labels(
    predictions: DatasetRef,
    labels: DatasetRef | None,
    *,
    key: Sequence[str],
    target: str,
    keep: Sequence[str] = ("prediction", "score", "model_version"),
    time_column: str = "",
    due: dt.datetime | None = None,
) -> Joined:
    """Find the label of each prediction.

    :param predictions: what was predicted; needs the key's columns.
    :param labels: what turned out: the key's columns and the target. ``None``, or not there yet: no labels.
    :param key: columns that identify a row on both sides.
    :param target: the column of the labels; null is no label.
    :param keep: further columns of the predictions, where they exist.
    :param time_column: of the predictions: when each was due; with ``due``.
    :param due: rows later than this are not judged yet; ``None``: all are.
    :raises DatasetNotFound: when the predictions are not there.
    :raises SchemaMismatch: when the labels lack the key or the target, or key columns have types that never match.
    """
    from airflow_mlops.engines import engine_for

    key = [key] if isinstance(key, str) else list(key)
    if not key:
        raise UsageError("key names the columns that predictions and labels are joined by")
    engine = engine_for(predictions)
    predictions = engine.resolve(predictions)
    there = predictions.schema
    wanted = [c for c in dict.fromkeys([*key, *keep, *([time_column] if time_column else [])]) if c in there]
    said = engine.read(predictions.select(*wanted))
    digests = {"predictions": predictions.digest, "labels": "none"}
    without_key = [c for c in key if c not in there]
    if without_key:
        counts = Labels(predictions=len(said), due=0, labelled=0, without_id=len(said))
        return Joined(rows=said.head(0), predictions=said, labels=counts, digests=digests)
    lost = said[key].isna().any(axis=1)
    repeated_ids = int(said.duplicated(key, keep=False)[~lost].sum())
    ready = _due(said, time_column, due, predictions.label) & ~lost
    truth = _labels(labels, key, target, digests)
    known: dict[str, Any] = {}
    rows = said.head(0)
    if truth is not None:
        _same_types(said, truth, key)
        truth = truth[truth[target].notna()].merge(said.loc[ready, key].drop_duplicates(), on=key)
        known["repeated"] = int(truth.duplicated([*key, target]).sum())
        truth = truth.drop_duplicates([*key, target])
        twice = truth.duplicated(key, keep=False)
        known["contradicting"] = len(truth.loc[twice, key].drop_duplicates())
        rows = said[ready].merge(truth[~twice], on=key, how="inner", suffixes=("", "_label"))
    counts = Labels(
        predictions=len(said),
        due=int(ready.sum()),
        labelled=len(rows),
        without_id=int(lost.sum()),
        repeated_ids=repeated_ids,
        **known,
    )
    return Joined(rows=rows, predictions=said, labels=counts, digests=digests)


def _labels(labels: DatasetRef | None, key: list[str], target: str, digests: dict[str, str]) -> pd.DataFrame | None:
    from airflow_mlops.engines import engine_for

    if labels is None:
        return None
    engine = engine_for(labels)
    try:
        labels = engine.resolve(labels)
    except DatasetNotFound:  # labels come later than predictions; that they are not there is no failure
        return None
    digests["labels"] = labels.digest
    missing = [c for c in (*key, target) if c not in labels.schema]
    if missing:
        raise SchemaMismatch(
            f"{labels.label} has no column {', '.join(map(repr, missing))}; it has {', '.join(labels.schema)}",
            missing=missing,
        )
    return engine.read(labels.select(*key, target))


def _due(said: pd.DataFrame, time_column: str, due: dt.datetime | None, label: str) -> Any:
    import numpy as np
    import pandas as pd

    if due is None:
        return np.ones(len(said), dtype=bool)
    if not time_column or time_column not in said.columns:
        raise SchemaMismatch(
            f"{label} has no column {time_column!r} to tell which rows are older than the label lag",
            missing=[time_column],
        )
    if unknown := int(said[time_column].isna().sum()):
        raise DataError(
            f"{label}: column {time_column!r} is null in {unknown} of {len(said)} rows: whether their label is due is "
            "not known"
        )
    if pd.api.types.is_numeric_dtype(said[time_column]) and len(said):  # would be taken for nanoseconds since 1970
        raise DataError(f"{label}: column {time_column!r} holds numbers, not times: every row would seem due")
    try:
        times = pd.to_datetime(said[time_column], utc=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"{label}: column {time_column!r} holds no times: {error}") from error
    return (times <= due).to_numpy()


def _same_types(said: pd.DataFrame, truth: pd.DataFrame, key: list[str]) -> None:
    """A text never equals a number: that would look like labels that have not come."""
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

    def kind(column: Any) -> str:
        if is_bool_dtype(column):
            return "bool"
        return "time" if is_datetime64_any_dtype(column) else "number" if is_numeric_dtype(column) else "text"

    for name in key:
        one, other = kind(said[name]), kind(truth[name])
        if one != other and len(said) and len(truth):
            raise SchemaMismatch(
                f"key column {name!r} is {one} in the predictions and {other} in the labels: no row would match",
                unexpected=[name],
            )
