r"""The paired bootstrap over rows, fast enough for a million of them.

A resample is how often each row was drawn: a vector of counts, the same for every metric and for both models, so
that what the models have in common cancels. What a metric can do before the first resample (sorting by score, the loss
of each row, the cell of the confusion matrix) it does once; a replicate is then a pass over the counts. The area under
the ROC curve, for example, sorts once and per replicate accumulates the weights of the negatives:

.. math:: AUC_w = \frac{\sum_{i \in pos} w_i (\sum_{j: s_j < s_i} w_j + \frac12 \sum_{j: s_j = s_i} w_j)}
          {\sum_{pos} w \sum_{neg} w}

which is exactly the figure of the resampled rows, not an approximation of it. Metrics without such a form (users' own
functions) are computed on the repeated rows, one replicate after the other.

Percentile intervals: Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapters 13 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.confusion import Statistic, balanced, by_code, f1_weighted, kappa, macro, mcc, of_confusion
from airflow_mlops.core.metric_functions import ECE_BINS, ece_rows, normalised
from airflow_mlops.core.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

LEVELS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.98, 0.99, 0.995, 0.9975, 0.999, 0.9995),
)
"""The levels at which a bootstrap distribution is kept."""

CELLS = 2_000_000
"""Counts held at once: replicates of small data are computed together, of large data one by one."""


def resamples(n: int, replicates: int, seed: int, strata: Array | None = None) -> Iterator[Array]:
    """How often each row is drawn, in blocks of shape ``(replicates of the block, n)``.

    :param n: rows.
    :param replicates: resamples in total.
    :param seed: the same seed gives the same resamples.
    :param strata: shape ``(n,)``, integers: draws are made within each, so that each keeps its number of rows.

    >>> blocks = list(resamples(5, 3, seed=1))
    >>> [b.shape for b in blocks], blocks[0].sum(axis=1).tolist()
    ([(3, 5)], [5, 5, 5])
    """
    import numpy as np

    rng = np.random.Generator(np.random.SFC64(seed))
    groups = [None] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    block = max(1, min(replicates, CELLS // max(n, 1)))
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        # One byte a count: below 256 rows no count is greater, above it one that great has a chance of under 1e-500.
        counts = np.zeros((size, n), dtype=np.uint8)
        for rows in groups:
            m = n if rows is None else len(rows)
            drawn = rng.integers(0, m, size=(size, m))
            if size > 1:
                drawn += (np.arange(size) * m)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * m).reshape(size, m)
            if rows is None:
                counts[:] = times
            else:
                counts[:, rows] = times
        yield counts


def rare(y: Array, *, share: float = 0.05, rows: int = 100) -> bool:
    """Whether a class is so rare that resamples are drawn within the classes.

    :param y: class indices.
    :param share: below this share of the rows a class is rare.
    :param rows: below this number as well.
    """
    import numpy as np

    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() < max(rows, share * len(y)))


def replicate(
    statistics: Sequence[Statistic], n: int, *, replicates: int, seed: int, strata: Array | None = None
) -> list[Array]:
    """The figures of several statistics, all on the same resamples of the same rows.

    :param statistics: of :func:`statistic`: one per metric and model.
    :param n: rows.
    :param replicates: resamples.
    :param seed: same seed, same resamples.
    :param strata: shape ``(n,)``, integers: draw within each.
    :returns: per statistic an array of shape ``(replicates,)``, NaN where a resample does not define it.
    """
    import numpy as np

    figures = [np.empty(replicates) for _ in statistics]
    done = 0
    with np.errstate(all="ignore"):
        for counts in resamples(n, replicates, seed, strata):
            for one, into in zip(statistics, figures, strict=True):
                into[done : done + len(counts)] = one(counts)
            done += len(counts)
    return figures


def quantiles(figures: Array, *, higher_is_better: bool) -> list[float | None]:
    """The distribution at :data:`LEVELS`, conservative: a replicate without a figure counts as the worst.

    :param figures: shape ``(replicates,)``.
    :param higher_is_better: which end is the worst one.
    :returns: per level an observed figure, or ``None`` where it falls among those without one.

    >>> import numpy as np
    >>> values = quantiles(np.arange(1000.0), higher_is_better=True)
    >>> values[LEVELS.index(0.05)], values[LEVELS.index(0.95)]
    (49.0, 949.0)
    """
    import numpy as np

    worst = -np.inf if higher_is_better else np.inf
    known = np.sort(np.where(np.isnan(figures), worst, figures))
    places = np.clip(np.ceil(np.array(LEVELS) * len(known) - 1e-9).astype(int) - 1, 0, len(known) - 1)
    return [float(f"{v:.9g}") if np.isfinite(v) else None for v in known[places]]


def statistic(metric: Metric, y: Array, output: Array) -> Statistic:
    """The metric as a function of the counts; its sorting and its losses are computed here, once.

    :param metric: the metric.
    :param y: the truth, shape ``(n,)``.
    :param output: what the model says.
    """
    prepare = FAST.get(metric.name)
    return prepare(y, output) if prepare else _repeated(metric, y, output)


def _repeated(metric: Metric, y: Array, output: Array) -> Statistic:
    import numpy as np

    def compute(counts: Array) -> Array:
        values = []
        for row in counts:
            rows = np.repeat(np.arange(len(row)), row)
            value, _ = metric.figure(y[rows], output[rows])
            values.append(np.nan if value is None else value)
        return np.array(values)

    return compute


def _mean(rows: Array, finish: Callable[[Array], Array] = lambda x: x) -> Statistic:
    return lambda counts: finish((counts @ rows) / counts.sum(axis=1))


def _auc(y: Array, score: Array) -> Statistic:
    import numpy as np

    positive, negative = _sorted_rows(y, score)
    low = np.searchsorted(score[negative], score[positive], side="left")
    high = np.searchsorted(score[negative], score[positive], side="right")
    tied = bool((low != high).any())

    def compute(counts: Array) -> Array:
        w = counts[:, positive]
        below = _accumulated(counts[:, negative])
        twice = below[:, low] + below[:, high] if tied else 2 * below[:, low]
        total = 2.0 * w.sum(axis=1) * below[:, -1]
        return _dot(w, twice) / total

    return compute


def _average_precision(y: Array, score: Array) -> Statistic:
    import numpy as np

    positive, negative = (rows[::-1] for rows in _sorted_rows(y, score))
    values, first = np.unique(-score[positive], return_index=True)
    above = np.searchsorted(-score[negative], values, side="right")

    def compute(counts: Array) -> Array:
        hits = np.add.reduceat(counts[:, positive], first, axis=1, dtype=np.int64)
        found = np.cumsum(hits, axis=1)
        misses = _accumulated(counts[:, negative])
        shown = found + misses[:, above]
        precision = np.divide(found, shown, out=np.zeros(found.shape), where=shown > 0)
        area = _dot(hits, precision) / found[:, -1]
        return np.where(misses[:, -1] > 0, area, np.nan)

    return compute


def _roc_auc_ovr(y: Array, output: Array) -> Statistic:
    each = [_auc(y == k, output[:, k]) for k in range(output.shape[1])]
    return lambda counts: sum(one(counts) for one in each) / len(each)  # type: ignore[return-value]


def _sorted_rows(y: Array, score: Array) -> tuple[Array, Array]:
    """The positive rows and the negative ones, each by growing score."""
    import numpy as np

    order = np.argsort(score, kind="stable")
    is_positive = np.asarray(y)[order] == 1
    return order[is_positive], order[~is_positive]


def _accumulated(counts: Array) -> Array:
    """Running sums from 0, shape ``(replicates, n + 1)``."""
    import numpy as np

    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.uint32)
    np.cumsum(counts, axis=1, dtype=np.uint32, out=sums[:, 1:])
    return sums


def _dot(a: Array, b: Array) -> Array:
    import numpy as np

    return np.einsum("ij,ij->i", a, b, dtype=np.float64, casting="unsafe")


def _ndcg(y: Array, score: Array) -> Statistic:
    """With each place's gain its share of the discounts that its ties take up together."""
    import numpy as np

    order = np.argsort(-score, kind="stable")
    first = np.unique(-score[order], return_index=True)[1]
    gain = np.asarray(y)[order] == 1

    def compute(counts: Array) -> Array:
        n = int(counts[0].sum())
        discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(n) + 2.0))])
        drawn = counts[:, order].astype(np.int64)
        each = np.add.reduceat(drawn, first, axis=1)
        hits = np.add.reduceat(drawn * gain, first, axis=1)
        ends = np.cumsum(each, axis=1)
        taken = discounts[ends] - discounts[ends - each]
        found = (np.where(each > 0, hits / np.where(each > 0, each, 1), 0.0) * taken).sum(axis=1)
        best = discounts[hits.sum(axis=1)]
        return np.where(best > 0, found / np.where(best > 0, best, 1), np.nan)

    return compute


def _log_loss(y: Array, output: Array) -> Statistic:
    import numpy as np

    p = normalised(output)
    said = np.where(y == 1, p, 1 - p) if p.ndim == 1 else p[np.arange(len(y)), y]
    edge = np.finfo(float).eps
    return _mean(-np.log(np.clip(said, edge, 1 - edge)))


def _off(y: Array, output: Array) -> Array:
    import numpy as np

    squares: Array = (normalised(output) - np.eye(output.shape[1])[y]) ** 2
    return squares.sum(axis=1)


def _ece(y: Array, output: Array) -> Statistic:
    import numpy as np

    bins, p, right = ece_rows(y, output)
    sums = by_code(bins, ECE_BINS)
    return lambda counts: np.abs(sums(counts, right - p)).sum(axis=1) / counts.sum(axis=1)


def _r2(y: Array, output: Array) -> Statistic:
    import numpy as np

    centred = np.asarray(y, dtype=float) - np.mean(y)
    columns = np.stack([(y - output) ** 2.0, centred, centred**2, np.ones(len(y))], axis=1)
    nothing = 1e-14 * float((centred**2).max())

    def compute(counts: Array) -> Array:
        error, total, squares, n = (counts @ columns).T
        spread = squares - total**2 / n
        return np.where(spread > nothing, 1 - error / spread, np.nan)

    return compute


def _median_ae(y: Array, output: Array) -> Statistic:
    import numpy as np

    error = np.abs(np.asarray(y, dtype=float) - output)
    order = np.argsort(error, kind="stable")

    def compute(counts: Array) -> Array:
        until = _accumulated(counts[:, order])[:, 1:]
        n = until[:, -1].astype(int)
        middle = [error[order][np.argmax(until > k[:, None], axis=1)] for k in ((n - 1) // 2, n // 2)]
        return (middle[0] + middle[1]) / 2

    return compute


def _rmse(y: Array, output: Array) -> Statistic:
    import numpy as np

    return _mean((y - output) ** 2.0, np.sqrt)


FAST: Mapping[str, Callable[[Array, Array], Statistic]] = {
    "roc_auc": _auc,
    "average_precision": _average_precision,
    "roc_auc_ovr": _roc_auc_ovr,
    "ndcg": _ndcg,
    "log_loss": _log_loss,
    "brier": lambda y, p: _mean((p - y) ** 2.0),
    "brier_multiclass": lambda y, p: _mean(_off(y, p)),
    "ece": _ece,
    "accuracy": lambda y, p: _mean((y == p).astype(float)),
    "balanced_accuracy": of_confusion(balanced),
    "mcc": of_confusion(mcc),
    "kappa": of_confusion(kappa),
    "f1_weighted": of_confusion(f1_weighted),
    "f1": of_confusion(lambda c: 2 * c[:, 1, 1] / (2 * c[:, 1, 1] + c[:, 0, 1] + c[:, 1, 0])),
    "precision": of_confusion(lambda c: c[:, 1, 1] / (c[:, 1, 1] + c[:, 0, 1])),
    "recall": of_confusion(lambda c: c[:, 1, 1] / (c[:, 1, 1] + c[:, 1, 0])),
    "f1_macro": of_confusion(macro(lambda right, true, said: 2 * right / (true + said))),
    "precision_macro": of_confusion(macro(lambda right, true, said: right / said)),
    "recall_macro": of_confusion(macro(lambda right, true, said: right / true)),
    "mae": lambda y, p: _mean(abs(y - p) * 1.0),
    "mse": lambda y, p: _mean((y - p) ** 2.0),
    "rmse": _rmse,
    "median_ae": _median_ae,
    "mape": lambda y, p: _mean(abs((y - p) / y)),
    "r2": _r2,
}
"""The metrics that are computed from counts; each equals its function on the repeated rows."""
