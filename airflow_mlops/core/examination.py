"""What else is found out of a candidate and its rows: leaks, what each column does for it, whether it says it again.

Findings, never verdicts: figures with the reason beside one that could not be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.metrics import Metric, unusable
from airflow_mlops.core.outputs import Outputs, Truth
from airflow_mlops.core.ranking import per_query
from airflow_mlops.core.results import JSON, finite

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

BINS = 50
"""Bins of a numeric column, categories of another, for how well it tells the label alone."""

MOST_ROWS = 100_000
"""Rows that single columns are tried on."""

FOLDS = 5


def single_features(rows: pd.DataFrame, truth: Truth, *, seed: int = 0) -> dict[str, JSON]:
    """How well each column tells the label by itself, out of fold: the label in disguise is near 1.

    A column is cut into bins (quantiles of a number, most frequent categories), a missing value being one too; the
    mean of the label in the bin, learned on the other four fifths of the rows, predicts it. Two classes: area under
    the ROC curve. More: the greatest of each class against the rest. Numbers: share of variance explained, at least 0.

    :param rows: the columns to try, ``n`` rows; of more than 100,000 a seeded part is taken.
    :param truth: the labels of the rows.
    :param seed: of the folds.
    :returns: ``{"rows": ..., "scores": {column: 0 to 1, or None}}``.

    >>> import numpy as np, pandas as pd
    >>> y = np.arange(1000) % 2
    >>> truth = Truth(task="binary", y=y, classes=(0, 1), kept=np.ones(1000, dtype=bool))
    >>> found = single_features(pd.DataFrame({"same": 1 - y, "noise": np.arange(1000) // 2}), truth)["scores"]
    >>> found["same"], found["noise"] < 0.6
    (1.0, True)
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    y, n = truth.y, len(truth.y)
    if n > MOST_ROWS:
        chosen = np.sort(rng.choice(n, MOST_ROWS, replace=False))
        rows, y, n = rows.iloc[chosen], y[chosen], MOST_ROWS
    fold = rng.permutation(n) % FOLDS
    targets = [y.astype(float)] if truth.task != "multiclass" else [(y == k) * 1.0 for k in range(len(truth.classes))]
    scores: dict[str, JSON] = {}
    for name in rows.columns:
        codes = _codes(rows[name])
        each = [_told(codes, target, fold, number=truth.task == "regression") for target in targets]
        known = [v for v in each if v is not None]
        scores[str(name)] = max(known) if known else None
    return {"rows": n, "scores": scores}


def _codes(column: pd.Series[Any]) -> Array:
    """A small number for each value; a missing one has its own."""
    import numpy as np
    import pandas as pd

    column = column.reset_index(drop=True)
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype("int64").where(column.notna())
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > BINS:
        values = column.to_numpy(dtype=float, na_value=np.nan)
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
    codes, distinct = pd.factorize(column.astype(str).where(column.notna(), None))
    often = np.bincount(codes[codes >= 0], minlength=len(distinct)).argsort()[::-1][:BINS]
    place = np.full(len(distinct) + 1, BINS)  # the rest; the last one is for what is missing
    place[often] = np.arange(len(often))
    place[-1] = BINS + 1
    return place[codes]


def _told(codes: Array, y: Array, fold: Array, *, number: bool) -> float | None:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    said = np.empty(len(y))
    size = int(codes.max()) + 1
    for k in range(FOLDS):
        here = fold == k
        if here.all() or not here.any():
            return None
        rest = ~here
        mean = y[rest].mean()
        total = np.bincount(codes[rest], weights=y[rest] - mean, minlength=size)
        # One row more at the mean: a bin of one row is not taken at its word.
        said[here] = (mean + total / (np.bincount(codes[rest], minlength=size) + 1))[codes[here]]
    if number:
        spread = float(((y - y.mean()) ** 2).sum())
        return None if spread == 0 else max(0.0, 1 - float(((y - said) ** 2).sum()) / spread)
    if y.min() == y.max():
        return None
    return finite(roc_auc_score(y, said))


def digests_of(rows: pd.DataFrame) -> Array:
    """A 64-bit fingerprint of each row, the same for the same values whatever their width or order of rows.

    :param rows: the columns that make two rows the same; shape ``(n, columns)``.
    """
    import numpy as np
    import pandas as pd

    plainer = {}
    for name in rows.columns:
        column = rows[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            plainer[name] = column.to_numpy(dtype=float, na_value=np.nan) + 0.0  # -0.0 is 0.0
        else:
            plainer[name] = column.astype(str).where(column.notna(), "").to_numpy(dtype=object)
    frame = pd.DataFrame(plainer)
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def repeated(parts: Iterable[pd.DataFrame]) -> dict[str, JSON]:
    """How many rows say in all of their columns what an earlier one says: ``{"rows", "share"}``.

    :param parts: the rows, a part at a time.

    >>> import pandas as pd
    >>> repeated([pd.DataFrame({"x": [1, 2, 1, 1], "y": ["a", "a", "a", None]})])
    {'rows': 4, 'share': 0.25}
    """
    import numpy as np

    digests = [digests_of(part) for part in parts]
    rows = sum(map(len, digests))
    distinct = len(np.unique(np.concatenate(digests))) if digests else 0
    return {"rows": rows, "share": (rows - distinct) / rows if rows else 0.0}


def parity(whole: Outputs, again: Outputs, places: Sequence[int]) -> dict[str, JSON]:
    """How far what a model says of some rows alone, loaded again, is from what it said of them among all.

    :param whole: of all rows.
    :param again: of the rows at ``places``.
    :param places: which rows, in order.
    :returns: ``{"rows", "differing", "max_difference"}``: labels that differ, and the greatest difference of scores,
        probabilities and numbers; ``None`` where one of them is not finite.
    """
    import numpy as np

    at = list(places)
    differing, most = 0, 0.0
    if set(whole.values) != set(again.values):
        return {"error": "it gives other kinds of answers after a reload"}
    for needs, values in whole.values.items():
        one, other = np.asarray(values)[at], np.asarray(again.values[needs])
        if one.shape != other.shape:
            return {"error": f"it gives {needs} of another shape after a reload"}
        if needs == "labels" and one.dtype.kind in "iu":
            differing += int((one != other).sum())
        else:
            most = max(most, float(np.abs(one - other).max(initial=0.0))) if np.isfinite(one - other).all() else np.nan
    return {"rows": len(at), "differing": differing, "max_difference": finite(most)}


def importances(
    metric: Metric,
    y: Array,
    whole: Outputs,
    without: Mapping[str, Sequence[Outputs]],
    *,
    repeats: int,
    queries: Array | None = None,
) -> dict[str, JSON]:
    """How much worse the metric is when a column is shuffled: permutation importance.

    Breiman: Random Forests. Machine Learning 45 (2001), section 10; here on rows that the model did not see.

    :param metric: by which; positive importance is a loss, whatever its direction.
    :param y: the truth of the shuffled rows.
    :param whole: what the model says of them as they are.
    :param without: column -> what it says when that column is shuffled, one a repetition.
    :param repeats: repetitions that were asked for.
    :param queries: the number of each row's query, for a metric that is a mean over queries.
    :returns: ``{"metric", "rows", "repeats", "features": [{"name", "mean", "std"}]}``, the most important first, or
        the ``error`` why it is not known.
    """
    import numpy as np

    found: dict[str, JSON] = {"metric": metric.name, "rows": len(y), "repeats": repeats}
    base, why = _of(metric, y, whole, queries)
    if base is None:
        return {**found, "features": [], "error": why}
    features = []
    for name, each in without.items():
        figures = [_of(metric, y, outputs, queries) for outputs in each]
        problems = [w for v, w in figures if v is None]
        if problems:
            return {**found, "features": [], "error": f"{name}: {problems[0]}"}
        sign = 1 if metric.higher_is_better else -1
        losses = np.array([sign * (base - v) for v, _ in figures if v is not None])
        features.append((name, float(f"{losses.mean():.9g}"), float(f"{losses.std():.9g}")))
    features.sort(key=lambda f: (-f[1], f[0]))
    return {**found, "features": [{"name": n, "mean": m, "std": s} for n, m, s in features]}


def _of(metric: Metric, y: Array, outputs: Outputs, queries: Array | None) -> tuple[float | None, str]:
    import numpy as np

    ranks_by_number = metric.per_query and metric.needs not in {*outputs.values, *outputs.missing}  # of a regressor
    output = outputs.values.get("labels" if ranks_by_number else metric.needs)
    if output is None:
        return None, outputs.missing.get(metric.needs, f"the model gives no {metric.needs}")
    if not metric.per_query:
        return metric.figure(y, output)
    if queries is None:
        return None, f"{metric.name} is a mean over queries, and which query a row belongs to is not known"
    if why := unusable(output, "scores"):
        return None, why
    each, why = per_query(metric.function, y, output, queries)
    return (None, why) if why else (finite(np.nanmean(each)), "")
