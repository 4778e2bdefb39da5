"""Metrics of rankings: a figure a query, and their mean over the queries.

What is ranked are the rows of one query, by falling score; a row is relevant when its label is above 0. Rows of the
same score are taken in the worst order, relevant ones last, so that a model that tells nothing apart gains nothing;
only ``ndcg`` averages over ties, as scikit-learn does. A query without a relevant row has no figure and is left out.

``ndcg@k``: Järvelin, Kekäläinen (2002), gains are the labels. ``mrr``: Voorhees (1999), one divided by the rank of the
first relevant row. ``map``: mean of the precision at every relevant row. ``precision@k`` and ``recall@k``: relevant
rows among the first ``k``, divided by ``k`` or by all relevant rows. Manning, Raghavan, Schütze: Introduction to
Information Retrieval (2008), chapter 8.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

NAME = re.compile(r"(ndcg|map|mrr|precision|recall)(?:@([1-9]\d{0,5}))?\Z")


def list_function(name: str) -> Callable[[Any, Any], float] | None:
    """What a metric of rankings computes of the rows of one query; ``None`` where it is no name of one.

    >>> list_function("mrr")([0, 1], [0.9, 0.1]), list_function("accuracy@10")
    (0.5, None)
    """
    found = NAME.match(name)
    if found is None or (found[1] not in ("map", "mrr") and found[2] is None):
        return None
    return functools.partial(LISTS[found[1]], k=int(found[2]) if found[2] else None)


def per_query(function: Callable[[Any, Any], float], y: Array, scores: Array, queries: Array) -> tuple[Array, str]:
    """The figure of every query, NaN where it has none, and why there are none at all.

    :param function: of :func:`list_function`.
    :param y: relevance, shape ``(n,)``; not negative.
    :param scores: shape ``(n,)``.
    :param queries: the number of each row's query, 0 to ``Q - 1``, shape ``(n,)``.
    :returns: shape ``(Q,)``, and an empty text or the reason.

    >>> import numpy as np
    >>> per_query(list_function("mrr"), np.array([0, 1, 1, 0]), np.array([0.9, 0.1, 0.8, 0.2]), np.array([0, 0, 1, 1]))
    (array([0.5, 1. ]), '')
    """
    import numpy as np

    order = np.argsort(queries, kind="stable")
    ends = np.flatnonzero(np.diff(queries[order])) + 1
    values = []
    for rows in np.split(order, ends):
        try:
            values.append(float(function(y[rows], scores[rows])))
        except UsageError as error:
            return np.empty(0), str(error)
    found = np.array(values)
    return found, "" if np.isfinite(found).any() else "no query has a relevant row"


def _ranked(y: Array, scores: Array) -> Array:
    """Relevance in the order of the ranking, ties in the worst one."""
    import numpy as np

    return np.asarray(y)[np.lexsort((y, -np.asarray(scores, dtype=float)))]


def _ndcg(y: Array, scores: Array, k: int | None) -> float:
    import numpy as np

    y = np.asarray(y, dtype=float)
    if y.min() < 0:
        raise UsageError("ndcg needs relevance that is not negative")
    if not y.any():
        return float("nan")
    discount = 1 / np.log2(np.arange(len(y)) + 2)
    discount[k:] = 0
    _, group, size = np.unique(-np.asarray(scores, dtype=float), return_inverse=True, return_counts=True)
    gain = np.bincount(group, weights=y) / size
    at = np.cumsum(discount)[np.cumsum(size) - 1]
    ideal = float((np.sort(y)[::-1] * discount).sum())
    return float((gain * np.diff(at, prepend=0.0)).sum() / ideal)


def _mrr(y: Array, scores: Array, k: int | None) -> float:
    import numpy as np

    ranks = np.flatnonzero(_ranked(y, scores) > 0)
    if not len(ranks):
        return float("nan")
    return 0.0 if k is not None and ranks[0] >= k else 1 / (int(ranks[0]) + 1)


def _map(y: Array, scores: Array, k: int | None) -> float:
    import numpy as np

    ranks = np.flatnonzero(_ranked(y, scores) > 0)
    if not len(ranks):
        return float("nan")
    each = np.arange(1, len(ranks) + 1) / (ranks + 1)
    return float(each[ranks < (k or len(y))].sum() / min(len(ranks), k or len(y)))


def _first(y: Array, scores: Array, k: int | None) -> tuple[int, int]:
    relevant = _ranked(y, scores) > 0
    return int(relevant[:k].sum()), int(relevant.sum())


def _precision(y: Array, scores: Array, k: int | None) -> float:
    hits, relevant = _first(y, scores, k)
    return hits / k if relevant and k else float("nan")


def _recall(y: Array, scores: Array, k: int | None) -> float:
    hits, relevant = _first(y, scores, k)
    return hits / relevant if relevant else float("nan")


LISTS: dict[str, Callable[..., float]] = {
    "ndcg": _ndcg,
    "mrr": _mrr,
    "map": _map,
    "precision": _precision,
    "recall": _recall,
}
"""What is computed of the rows of one query."""
