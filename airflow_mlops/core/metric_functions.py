"""What the metrics of the table compute, each a function of the truth and of what a model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ECE_BINS = 15


class _Undefined(ValueError):
    """A metric that these rows do not define."""


def from_sklearn(name: str, /, *, classes: int = 0, **options: Any) -> Callable[[Any, Any], Any]:
    """scikit-learn's function of that name, imported when it is called."""

    def function(y: Any, output: Any) -> Any:
        import numpy as np
        from sklearn import metrics

        if classes and len(np.unique(y)) < classes:
            raise _Undefined(f"{name.removesuffix('_score')} is not defined on one class")
        return getattr(metrics, name)(y, output, **options)

    function.__name__ = name
    return function


def log_loss(y: Any, output: Any) -> Any:
    import numpy as np
    from sklearn import metrics

    labels = np.arange(output.shape[1] if output.ndim == 2 else 2)
    return metrics.log_loss(y, normalised(output), labels=labels)


def normalised(output: Any) -> Any:
    """Probabilities in double precision that stay within 0 and 1 and add up to 1 in each row."""
    import numpy as np

    output = np.asarray(output, dtype=float)
    if output.ndim == 1:
        return np.clip(output, 0, 1)
    return output / output.sum(axis=1, keepdims=True)


def roc_auc_ovr(y: Any, output: Any) -> Any:
    """Mean over the classes of the area under each one against the rest (macro, one-vs-rest).

    A class without rows here has no area, and a mean without it would be of another quantity.
    """
    import numpy as np
    from sklearn import metrics

    present = np.bincount(y, minlength=output.shape[1])
    if (present == 0).any() or (present == len(y)).any():
        raise _Undefined("roc_auc_ovr is not defined: a class has no rows")
    return float(np.mean([metrics.roc_auc_score(y == k, output[:, k]) for k in range(output.shape[1])]))


def ece(y: Any, output: Any) -> float:
    r"""Expected calibration error: :math:`\sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|` over 15 bins of equal width.

    Binary: of P(positive) against the positives. Multiclass: of the greatest probability against being right.
    Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    """
    import numpy as np

    bins, p, right = ece_rows(y, output)
    gap = np.bincount(bins, weights=right - p, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(y))


def ece_rows(y: Any, output: Any) -> tuple[Any, Any, Any]:
    """Per row: its bin, its confidence, and whether the confident class was the true one."""
    import numpy as np

    if output.ndim == 2:
        p, right = output.max(axis=1), (output.argmax(axis=1) == y).astype(float)
    else:
        p, right = output.astype(float), np.asarray(y, dtype=float)
    bins = np.clip((p * ECE_BINS).astype(int), 0, ECE_BINS - 1)
    return bins, p, right


def mape(y: Any, output: Any) -> float:
    import numpy as np
    from sklearn import metrics

    if (np.asarray(y) == 0).any():
        raise _Undefined("mape is not defined where the truth is zero")
    return float(metrics.mean_absolute_percentage_error(y, output))


def r2(y: Any, output: Any) -> float:
    import numpy as np
    from sklearn import metrics

    if len(y) < 2 or float(np.ptp(y)) == 0.0:
        raise _Undefined("r2 is not defined where the truth is constant")
    return float(metrics.r2_score(y, output))


def brier(y: Any, output: Any) -> float:
    r"""Mean over the rows of :math:`\sum_k (p_k - [y = k])^2`, 0 to 2, for any number of classes: Brier (1950)."""
    import numpy as np

    return float(((normalised(output) - np.eye(output.shape[1])[y]) ** 2).sum(axis=1).mean())


def kappa(y: Any, output: Any) -> Any:
    """Agreement beyond chance: Cohen (1960)."""
    import numpy as np
    from sklearn import metrics

    if len(np.union1d(y, output)) < 2:
        raise _Undefined("kappa is not defined on one class")
    return metrics.cohen_kappa_score(y, output)


def ndcg(y: Any, output: Any) -> Any:
    """Normalised discounted cumulative gain of all rows as one ranking, ties averaged; Järvelin, Kekäläinen (2002)."""
    import numpy as np
    from sklearn import metrics

    if len(y) < 2 or not np.any(y):
        raise _Undefined("ndcg is not defined: there is nothing to rank first")
    return metrics.ndcg_score([y], [output])
