r"""Performance of a regressor without labels: DLE, direct loss estimation.

A second, small model learns on labelled rows how far off the first one is, from its inputs and its prediction. Where
labels are missing it says how large the loss of each row is to be expected, and the mean over a batch is the estimate.
It sees inputs that moved to where the model is worse, and can **not** see that the same inputs now mean something else:
an estimate is always called one. (NannyML's documentation for the name.)

The second model is a sum of small regression trees, boosted on the squared error (Friedman 2001, "Greedy function
approximation: a gradient boosting machine") by scikit-learn. What is kept of it are plain numbers: nothing has to be
unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import LabelError, SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.results import JSON, plain

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Form of the calibration dict; another one is refused."""

METHOD = "dle"
LOSSES: Mapping[str, str] = {"mae": "absolute", "mse": "squared", "rmse": "squared"}
"""The metrics that can be estimated for a regressor, and the loss of a row behind each."""

PREDICTION = "prediction"
TREES, LEAVES, DEPTH, STEP = 100, 16, 6, 0.1
LEAST_ROWS = 200
MOST_ROWS = 50_000
MOST_CATEGORIES = 50


def loss_calibration_of(features: pd.DataFrame, predictions: Any, labels: Any, *, seed: int = 0) -> dict[str, JSON]:
    """What has to be remembered of a labelled holdout, which the regressor was not fitted on.

    :param features: inputs of the regressor, one row a prediction.
    :param predictions: what it said, shape ``(n,)``. :param labels: what turned out, shape ``(n,)``.
    :param seed: of the rows that are drawn where there are more than :data:`MOST_ROWS`.
    :returns: plain values: ``inputs``, ``trees`` by loss, ``reference`` (metric -> realised figure), ``row_error``
        (metric -> sampling error of one row), ``rows``.
    :raises UsageError: for shapes that differ, or figures that are not finite.
    :raises LabelError: below :data:`LEAST_ROWS` rows.

    >>> import numpy as np, pandas as pd
    >>> x = np.linspace(0, 1, 1000)
    >>> noise = np.random.default_rng(0).normal(0, 0.1 + x)
    >>> kept = loss_calibration_of(pd.DataFrame({"x": x}), x, x + noise)
    >>> high = x > 0.8
    >>> bool(estimate_loss(pd.DataFrame({"x": x[high]}), x[high], kept)["mae"]["value"] > kept["reference"]["mae"])
    True
    """
    import numpy as np

    said, truth = np.asarray(predictions, dtype=float), np.asarray(labels, dtype=float)
    if said.ndim != 1 or said.shape != truth.shape or len(features) != len(said):
        raise UsageError(
            f"features have {len(features)} rows, predictions shape {said.shape}, labels {truth.shape}: must be (n,)"
        )
    if len(said) < LEAST_ROWS:
        raise LabelError(f"{len(said)} labelled rows; {LEAST_ROWS} would be enough to learn the loss from")
    if not (np.isfinite(said).all() and np.isfinite(truth).all()):
        raise UsageError("predictions and labels must be finite; leave out rows without one")
    if len(said) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(said), MOST_ROWS, replace=False))
        features, said, truth = features.iloc[rows], said[rows], truth[rows]
    inputs = {str(c): _categories(features[c]) for c in features.columns if str(c) != PREDICTION}
    numbers = _numbers(features, said, inputs)
    losses = {"absolute": np.abs(said - truth), "squared": (said - truth) ** 2}
    squared = float(losses["squared"].mean())
    spread = {k: float(v.std()) for k, v in losses.items()}
    rmse = math.sqrt(squared)
    return {
        "version": VERSION,
        "method": METHOD,
        "rows": len(said),
        "inputs": plain(inputs),
        "trees": {name: _boosted(numbers, loss) for name, loss in losses.items()},
        "reference": {"mae": float(losses["absolute"].mean()), "mse": squared, "rmse": rmse},
        "row_error": {
            "mae": spread["absolute"],
            "mse": spread["squared"],
            "rmse": spread["squared"] / (2 * rmse) if rmse else 0.0,  # the delta method
        },
    }


def estimate_loss(
    features: pd.DataFrame, predictions: Any, calibration: Mapping[str, Any], metrics: Iterable[str] = ("mae",)
) -> dict[str, dict[str, JSON]]:
    """Expected metrics of a batch without labels.

    :param features: inputs of the batch; the columns that the calibration knows.
    :param predictions: what the regressor said, shape ``(n,)``.
    :param calibration: what :func:`loss_calibration_of` gave.
    :param metrics: names of :data:`LOSSES`.
    :returns: metric -> ``{"value", "error", "rows", "estimate": True}``; ``error`` is one standard error of sampling.
    :raises UnknownName: for a metric that can not be estimated.
    :raises SchemaMismatch: when an input is missing.
    :raises UsageError: for another form of calibration, or predictions that are not finite.
    """
    import numpy as np

    if calibration.get("version") != VERSION or calibration.get("method") != METHOD:
        raise UsageError(
            f"calibration {calibration.get('method')!r} of version {calibration.get('version')!r} is not a loss that "
            f"this release knows ({METHOD!r}, version {VERSION}); evaluate the model again"
        )
    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in wanted:
        if name not in LOSSES:
            raise UnknownName("metric that can be estimated", name, LOSSES)
    said = np.asarray(predictions, dtype=float)
    if said.ndim != 1 or len(said) != len(features) or not len(said) or not np.isfinite(said).all():
        raise UsageError("predictions must be finite, one for each row of the features, and at least one")
    missing = [c for c in calibration["inputs"] if c not in features.columns]
    if missing:
        names = ", ".join(map(repr, missing[:10]))
        raise SchemaMismatch(
            f"the predictions have no column {names}, which the expected loss depends on; "
            "keep it with columns_to_keep when scoring",
            missing=missing,
        )
    numbers = _numbers(features, said, calibration["inputs"])
    found: dict[str, dict[str, JSON]] = {}
    for name in wanted:
        expected = np.maximum(_evaluated(numbers, calibration["trees"][LOSSES[name]]), 0.0)
        value = float(expected.mean())
        value = math.sqrt(value) if name == "rmse" else value
        error = float(calibration["row_error"][name]) / math.sqrt(len(said))
        found[name] = {"value": value, "error": error, "rows": len(said), "estimate": True}
    return found


def _categories(column: Any) -> list[str] | None:
    """The most frequent values of a column that holds no numbers, ties by name; of one with numbers ``None``."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return None
    counts = column.dropna().astype(str).value_counts()
    return sorted(counts.index, key=lambda c: (-int(counts[c]), c))[:MOST_CATEGORIES]


def _numbers(features: pd.DataFrame, said: Any, inputs: Mapping[str, Any]) -> Any:
    """The prediction and the inputs as float32, as trees compare them; unknown categories are missing."""
    import numpy as np
    import pandas as pd

    columns = [said]
    for name, categories in inputs.items():
        column = features[name]
        if categories is not None:
            places = {c: float(i) for i, c in enumerate(categories)}
            columns.append(column.astype(object).map(lambda v, p=places: p.get(str(v), np.nan)).to_numpy(dtype=float))
        elif pd.api.types.is_datetime64_any_dtype(column):
            instants = (pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
            columns.append(instants.to_numpy(dtype=float, na_value=np.nan))
        else:
            columns.append(pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan))
    with np.errstate(over="ignore"):
        numbers = np.column_stack(columns).astype(np.float32)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _boosted(numbers: Any, loss: Any) -> dict[str, JSON]:
    """Trees whose sum, over a constant, is the expected loss; each is ``[feature, threshold, left, right, missing,
    value]`` by node, ``missing`` 1 where a missing value goes left, ``left`` -1 of a leaf."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = HistGradientBoostingRegressor(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        max_depth=DEPTH,
        learning_rate=STEP,
        min_samples_leaf=max(20, len(loss) // 500),
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(1, user_api="openmp"):  # a process that has OpenMP's threads can't be forked any more
        model.fit(numbers, loss)
        said = model.predict(numbers[:100])
    trees = []
    for (tree,) in model._predictors:
        nodes, leaf = tree.nodes, tree.nodes["is_leaf"] == 1
        kept = [
            np.where(leaf, 0, nodes["feature_idx"]).tolist(),
            np.where(leaf, 0.0, nodes["num_threshold"]).tolist(),
            np.where(leaf, -1, nodes["left"].astype(int)).tolist(),
            np.where(leaf, -1, nodes["right"].astype(int)).tolist(),
            nodes["missing_go_to_left"].astype(int).tolist(),
            nodes["value"].tolist(),
        ]
        trees.append(kept)
    start = float(np.asarray(model._baseline_prediction).ravel()[0])
    if not np.allclose(_evaluated(numbers[:100], {"start": start, "trees": trees}), said):
        raise RuntimeError("the trees that are kept are not the model's: this release of scikit-learn is not known")
    return {"start": start, "trees": plain(trees)}


def _evaluated(numbers: Any, model: Mapping[str, Any]) -> Any:
    import numpy as np

    return sum((_walked(numbers, tree) for tree in model["trees"]), np.full(len(numbers), float(model["start"])))


def _walked(numbers: Any, tree: Any) -> Any:
    """Each row's leaf, one level of the rows that are not there yet at a time."""
    import numpy as np

    feature, threshold, left, right, missing, value = (np.asarray(part) for part in tree)
    at, rows = np.zeros(len(numbers), dtype=np.int64), np.arange(len(numbers))
    while len(rows := rows[left[at[rows]] >= 0]):
        node = at[rows]
        x = numbers[rows, feature[node]]
        goes_left = (x <= threshold[node]) | (np.isnan(x) & (missing[node] == 1))
        at[rows] = np.where(goes_left, left[node], right[node])
    return value[at]
