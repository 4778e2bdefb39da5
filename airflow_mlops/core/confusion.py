"""Confusion matrices: of the rows, and of resampled ones, as sums per cell and what metrics make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.results import JSON, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Statistic: TypeAlias = "Callable[[Array], Array]"
"""Counts of rows, shape ``(replicates, n)``, to the metric's figures, shape ``(replicates,)``, NaN where undefined."""


MOST_CLASSES = 20
"""Of more classes the matrix is no page any more."""


def confusion_of(y: Array, classes: Sequence[Any], said: Mapping[str, Array]) -> dict[str, JSON]:
    """How often each class was taken for which; empty where there are no classes, more than 20, or no labels.

    :param y: class index of each row, shape ``(n,)``.
    :param classes: the labels in the order of their index.
    :param said: who -> the class index that it gave to each row, shape ``(n,)``.
    :returns: ``{"classes": [...], who: [[rows of the first class taken for the first, ...], ...]}``.

    >>> import numpy as np
    >>> confusion_of(np.array([0, 0, 1]), ("ok", "late"), {"candidate": np.array([0, 1, 1])})
    {'classes': ['ok', 'late'], 'candidate': [[1, 1], [0, 1]]}
    """
    import numpy as np

    k = len(classes)
    if not 2 <= k <= MOST_CLASSES or not said:
        return {}
    found: dict[str, JSON] = {"classes": [str(c) for c in classes]}
    for who, labels in said.items():
        found[who] = plain(np.bincount(np.asarray(y) * k + labels, minlength=k * k).reshape(k, k))
    return found


def by_code(code: Array, size: int) -> Callable[[Array, Array | None], Array]:
    """Sums of the counts (times a value of each row) per code, shape ``(replicates, size)``."""
    import numpy as np

    order = np.argsort(code, kind="stable")
    present, first = np.unique(code[order], return_index=True)

    def sums(counts: Array, values: Array | None = None) -> Array:
        ordered = counts[:, order] if values is None else counts[:, order] * values[order]
        out = np.zeros((len(counts), size))
        out[:, present] = np.add.reduceat(ordered, first, axis=1, dtype=np.float64)
        return out

    return sums


def of_confusion(finish: Callable[[Array], Array]) -> Callable[[Array, Array], Statistic]:
    """``finish`` maps confusion matrices, shape ``(replicates, true, predicted)``, to figures."""

    def prepare(y: Array, output: Array) -> Statistic:
        import numpy as np

        y, output = np.asarray(y, dtype=int), np.asarray(output, dtype=int)
        k = int(max(y.max(), output.max(), 1)) + 1
        sums = by_code(y * k + output, k * k)
        return lambda counts: finish(sums(counts, None).reshape(-1, k, k))

    return prepare


def per_class(cells: Array) -> tuple[Array, Array, Array]:
    import numpy as np

    return np.diagonal(cells, axis1=1, axis2=2), cells.sum(axis=2), cells.sum(axis=1)


def macro(part: Callable[[Array, Array, Array], Array]) -> Callable[[Array], Array]:
    """The mean over the classes that occur, in truth or prediction; NaN where one of them has no figure."""

    def finish(cells: Array) -> Array:
        import numpy as np

        right, true, said = per_class(cells)
        occurs = (true + said) > 0
        return np.where(occurs, part(right, true, said), 0.0).sum(axis=1) / occurs.sum(axis=1)

    return finish


def balanced(cells: Array) -> Array:
    import numpy as np

    right, true, _ = per_class(cells)
    there = true > 0
    figures = np.where(there, right / np.where(there, true, 1), 0.0).sum(axis=1) / there.sum(axis=1)
    return np.where(there.sum(axis=1) < 2, np.nan, figures)


def kappa(cells: Array) -> Array:
    import numpy as np

    right, true, said = per_class(cells)
    n = cells.sum(axis=(1, 2))
    chance = (true * said).sum(axis=1) / n**2
    single = ((true + said) > 0).sum(axis=1) < 2
    return np.where(single, np.nan, (right.sum(axis=1) / n - chance) / np.where(chance < 1, 1 - chance, 1))


def f1_weighted(cells: Array) -> Array:
    import numpy as np

    right, true, said = per_class(cells)
    each = 2 * right / np.where(true + said > 0, true + said, 1)
    return (each * true).sum(axis=1) / true.sum(axis=1)


def mcc(cells: Array) -> Array:
    import numpy as np

    right, true, said = per_class(cells)
    n = cells.sum(axis=(1, 2))
    covariance = right.sum(axis=1) * n - (true * said).sum(axis=1)
    spread = (n**2 - (true**2).sum(axis=1)) * (n**2 - (said**2).sum(axis=1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)
