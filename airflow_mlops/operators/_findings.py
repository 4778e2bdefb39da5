"""What is found out of the rows of an evaluation, beside what the models say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import SchemaMismatch
from airflow_mlops.core.outputs import BASELINES, Outputs, Truth
from airflow_mlops.core.results import JSON, plain

if TYPE_CHECKING:
    from airflow_mlops.operators._spool import Rows

SIMPLE = (*BASELINES, "linear")
"""The simple models: the best constant, and a linear one of the same columns."""

BATCH_ROWS = 250_000


def places(n: int, most: int, seed: int) -> tuple[int, ...]:
    """At most so many of ``n`` rows, drawn with the seed, in order."""
    import numpy as np

    if n <= most:
        return tuple(range(n))
    return tuple(np.sort(np.random.default_rng(seed).choice(n, most, replace=False)).tolist())


def places_of_queries(queries: Any, most: int, seed: int) -> tuple[int, ...]:
    """The rows of whole queries, drawn with the seed until there are at most so many rows, in order.

    A ranking is of all rows of its query. One query is taken however long it is.

    :param queries: which query each row belongs to; rows without one are left out.
    """
    import numpy as np
    import pandas as pd

    numbers, distinct = pd.factorize(pd.Series(queries))
    if not most or not len(distinct):
        return ()
    order = np.random.default_rng(seed).permutation(len(distinct))
    ends = np.cumsum(np.bincount(numbers[numbers >= 0])[order])
    chosen = order[: max(1, int(np.searchsorted(ends, most, side="right")))]
    return tuple(np.flatnonzero(np.isin(numbers, chosen)).tolist())


def simple_models(
    names: Sequence[str], rows: Rows, truth: Truth, features: Sequence[str], seed: int
) -> dict[str, Outputs]:
    """Those of the named baselines that learn from the rows."""
    from airflow_mlops.core.baselines import linear

    return {"linear": linear(rows, truth, features=features, seed=seed)} if "linear" in names else {}


def findings(
    rows: Rows,
    truth: Truth,
    features: Sequence[str],
    training: DatasetRef | None,
    *,
    time_column: str,
    target: str,
) -> dict[str, JSON]:
    """What is known of leaks, see :attr:`~airflow_mlops.core.evaluation.Evaluation.leakage`.

    :param rows: those that have a label.
    :param features: the candidate's columns; empty: not known, nothing is tried.
    :param training: the candidate's training rows; ``None``: not compared.
    :raises SchemaMismatch: when the training rows lack a column.
    """
    import pandas as pd

    from airflow_mlops.core.examination import MOST_ROWS, repeated, single_features

    found: dict[str, JSON] = {"repeated": repeated(rows)}
    if features:
        tried = places(len(rows), MOST_ROWS, 0)
        few = dataclasses.replace(truth, y=truth.y[list(tried)])
        found["features"] = single_features(rows.take(tried)[list(features)], few)
    if time_column:
        begins = [part[time_column].min() for part in rows]
        found["time"] = {"column": time_column, "begins": str(plain(pd.Series(begins).min()))}
    if training is not None and features:
        found["duplicates"] = _duplicates(rows, training, [*dict.fromkeys([*features, target])])
    return found


def _duplicates(rows: Rows, training: DatasetRef, columns: list[str]) -> dict[str, JSON]:
    """How many of the rows are among the training rows; they are told by the features and the label."""
    import numpy as np

    from airflow_mlops.core.examination import digests_of
    from airflow_mlops.engines import engine_for

    missing = [c for c in columns if training.schema and c not in training.schema]
    if missing:
        raise SchemaMismatch(f"{training.label} has no column {', '.join(map(repr, missing))}", missing=missing)
    ours = np.concatenate([digests_of(part[columns]) for part in rows])
    seen = np.zeros(len(ours), dtype=bool)
    for batch in engine_for(training).batches(training, BATCH_ROWS):
        seen |= np.isin(ours, digests_of(batch[columns]))
    return {"rows": len(ours), "share": float(seen.mean()), "training": training.digest}
