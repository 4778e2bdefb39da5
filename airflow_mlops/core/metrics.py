"""The metrics: one visible table, and where a figure comes from.

A metric knows its direction, what it needs of a model (labels, scores or probabilities), the tasks it means
something for and the range a figure of it can lie in. A user's own plain function becomes one with
:func:`metric`. A figure is a finite number within the range, or ``None`` with the reason in words: never NaN, and
never the number that scikit-learn returns beside a warning that the metric is not defined.

What the functions receive, ``(y, output)``, both of length ``n``:

====================  ======================================  =============================================
``needs``             ``y``                                   ``output``
====================  ======================================  =============================================
``"labels"``          class index, or the number itself       class index, or the predicted number
``"scores"``          1 for the positive class, else 0        any number that grows with the positive class
``"probabilities"``   class index (binary: 1 is positive)     binary: P(positive), shape ``(n,)``;
                                                              multiclass: shape ``(n, classes)``
====================  ======================================  =============================================
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.metric_functions import (
    brier,
    ece,
    from_sklearn,
    kappa,
    log_loss,
    mape,
    ndcg,
    r2,
    roc_auc_ovr,
)
from airflow_mlops.core.ranking import list_function
from airflow_mlops.core.results import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

NEEDS = ("labels", "scores", "probabilities")
TASKS = ("binary", "multiclass", "regression")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to put a model's quality into a number.

    :param name: how policies and records call it.
    :param function: ``(y, output) -> float``, see the table above; may raise where it is not defined.
    :param higher_is_better: its direction; every comparison takes it from here.
    :param needs: one of :data:`NEEDS`.
    :param tasks: the tasks it is defined for, of :data:`TASKS`.
    :param low: the least value it can take.
    :param high: the greatest value it can take.
    :param per_query: whether it is the mean of a figure a query, see :mod:`.ranking`.
    """

    name: str
    function: Callable[[Any, Any], Any]
    higher_is_better: bool
    needs: str = "labels"
    tasks: tuple[str, ...] = TASKS
    low: float = -math.inf
    high: float = math.inf
    per_query: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if not self.name or not isinstance(self.name, str):
            raise UsageError("a metric needs a name")
        if not callable(self.function):
            raise UsageError(f"metric {self.name!r} needs a function (y, output) -> float")
        if not isinstance(self.higher_is_better, bool):
            raise UsageError(f"metric {self.name!r} needs higher_is_better=True or False")
        if self.needs not in NEEDS:
            raise UnknownName("need of a metric", self.needs, NEEDS)
        for task in self.tasks:
            if task not in TASKS:
                raise UnknownName("task", task, TASKS)

    def __repr__(self) -> str:
        return f"Metric({self.name!r}, {self.direction} is better, needs {self.needs})"

    @property
    def direction(self) -> str:
        """``"higher"`` or ``"lower"``: which is better."""
        return "higher" if self.higher_is_better else "lower"

    def possible(self, value: float) -> bool:
        """Whether a figure can be a value of this metric; rounding is allowed for.

        >>> METRICS["roc_auc"].possible(1.2), METRICS["rmse"].possible(1.2)
        (False, True)
        """
        return self.low - 1e-9 <= value <= self.high + 1e-9

    def figure(self, y: Array, output: Array) -> tuple[float | None, str]:
        """The figure and an empty text, or ``None`` and why there is none.

        :param y: the truth, shape ``(n,)``.
        :param output: what the model says, shape ``(n,)`` or ``(n, classes)``.

        >>> METRICS["mae"].figure([1.0, 2.0], [1.0, 4.0])
        (1.0, '')
        >>> METRICS["roc_auc"].figure([1, 1], [0.2, 0.3])
        (None, 'roc_auc is not defined on one class')
        >>> METRICS["mae"].figure([1.0], [float("nan")])
        (None, '1 of 1 predictions are NaN or infinite')
        """
        import numpy as np

        y, output = np.asarray(y), np.asarray(output)
        if len(y) == 0:
            return None, "no rows"
        if len(y) != len(output):
            return None, f"{len(output)} predictions for {len(y)} rows"
        if problem := unusable(output, self.needs):
            return None, problem
        try:
            with warnings.catch_warnings():
                for category in _undefined_warnings():
                    warnings.simplefilter("error", category)
                value = self.function(y, output)
        except Exception as e:  # a user's function can raise anything; that is an unknown figure, not a crash
            return None, _sentence(e)
        number = finite(value)
        if number is None:
            return None, f"{self.name} is {value!r}, not a finite number"[:200]
        if not self.possible(number):
            return None, f"{self.name} is {number!r}, outside {self.low:g} to {self.high:g}"
        return number, ""


def metric(
    function: Callable[[Any, Any], Any],
    *,
    higher_is_better: bool,
    name: str = "",
    needs: str = "labels",
    tasks: Iterable[str] = TASKS,
    low: float = -math.inf,
    high: float = math.inf,
) -> Metric:
    """A plain function as a metric.

    :param function: ``(y, output) -> float``.
    :param higher_is_better: its direction; there is no default, because a wrong one promotes the worse model.
    :param name: empty: the function's own.
    :param needs: one of :data:`NEEDS`.
    :param tasks: of :data:`TASKS`.
    :param low: the least value it can take.
    :param high: the greatest value it can take.
    :raises UsageError: for a name of the table, which already has its meaning.

    >>> def minutes_lost(y, output):
    ...     return float(abs(y - output).sum())
    >>> metric(minutes_lost, higher_is_better=False)
    Metric('minutes_lost', lower is better, needs labels)
    """
    name = name or getattr(function, "__name__", "")
    if name in METRICS:
        raise UsageError(f"metric {name!r} is already in the table; give your function another name")
    return Metric(
        name=name,
        function=function,
        higher_is_better=higher_is_better,
        needs=needs,
        tasks=tuple(tasks),
        low=low,
        high=high,
    )


def metrics_of(values: Iterable[str | Metric], *, task: str = "") -> tuple[Metric, ...]:
    """Metrics from names and metrics, in order, each once.

    :param values: names of the table or of a ranking, such as ``ndcg@10``, or metrics made with :func:`metric`.
    :param task: of :data:`TASKS`; empty: any.
    :raises UnknownName: for a name that is not in the table, with the nearest.
    :raises UsageError: for a metric that means nothing for the task, or for no metric at all.

    >>> metrics_of(["roc_auc", "roc_auc"])
    (Metric('roc_auc', higher is better, needs scores),)
    >>> metrics_of(["rmse"], task="binary")
    Traceback (most recent call last):
        ...
    airflow_mlops.core.errors.UsageError: metric 'rmse' is for regression, not for binary
    """
    if isinstance(values, str | Metric):
        values = (values,)
    found: dict[str, Metric] = {}
    for value in values:
        if isinstance(value, Metric):
            one = value
        elif callable(value):
            raise UsageError(f"wrap the function: metric({getattr(value, '__name__', 'f')}, higher_is_better=...)")
        elif str(value) in METRICS:
            one = METRICS[str(value)]
        elif (ranked := _ranking(str(value))) is not None:
            one = ranked
        else:
            raise UnknownName("metric", value, METRICS)
        if task and task not in one.tasks:
            raise UsageError(f"metric {one.name!r} is for {' and '.join(one.tasks)}, not for {task}")
        if found.setdefault(one.name, one) != one and not one.per_query:
            raise UsageError(f"two metrics are called {one.name!r}")
    if not found:
        raise UsageError("at least one metric is needed")
    return tuple(found.values())


def _ranking(name: str) -> Metric | None:
    """The metric of a ranking of that name, ``ndcg@10`` say; ``None`` where it is no such name."""
    function = list_function(name)
    if function is None:
        return None
    of: dict[str, Any] = {"needs": "scores", "tasks": ("binary", "regression"), "low": 0.0, "high": 1.0}
    return Metric(name=name, function=function, higher_is_better=True, per_query=True, **of)


def unusable(output: Array, needs: str) -> str:
    """Why a metric can not be computed from this output; empty where it can.

    :param output: shape ``(n,)`` or ``(n, classes)``.
    :param needs: one of :data:`NEEDS`.
    """
    import numpy as np

    if output.dtype == object or output.dtype.kind not in "biuf":
        return f"predictions are of type {output.dtype}, not numbers"
    known: Array = np.isfinite(output)
    bad = ~known.all(axis=1) if known.ndim == 2 else ~known
    if count := int(bad.sum()):
        return f"{count} of {len(output)} predictions are NaN or infinite"
    if needs == "probabilities" and len(output) and (output.min() < -1e-6 or output.max() > 1 + 1e-6):
        return f"probabilities lie between {output.min():g} and {output.max():g}, not within 0 and 1"
    return ""


def _undefined_warnings() -> tuple[type[Warning], ...]:
    from sklearn.exceptions import UndefinedMetricWarning

    return (UndefinedMetricWarning, RuntimeWarning)


def _sentence(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


_BINARY, _CLASSES, _NUMBERS = ("binary",), ("binary", "multiclass"), ("regression",)


def _up(function: Any, needs: str, tasks: tuple[str, ...], low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    return {"function": function, "higher_is_better": True, "needs": needs, "tasks": tasks, "low": low, "high": high}


def _down(function: Any, needs: str, tasks: tuple[str, ...], high: float = math.inf) -> dict[str, Any]:
    return {"function": function, "higher_is_better": False, "needs": needs, "tasks": tasks, "low": 0.0, "high": high}


METRICS: Mapping[str, Metric] = {
    name: Metric(name=name, **row)
    for name, row in {
        # ranking the positives first
        "roc_auc": _up(from_sklearn("roc_auc_score", classes=2), "scores", _BINARY),
        "average_precision": _up(from_sklearn("average_precision_score", classes=2), "scores", _BINARY),
        "roc_auc_ovr": _up(roc_auc_ovr, "probabilities", ("multiclass",)),
        "ndcg": _up(ndcg, "scores", _BINARY),
        # probabilities
        "log_loss": _down(log_loss, "probabilities", _CLASSES),
        "brier": _down(from_sklearn("brier_score_loss", pos_label=1), "probabilities", _BINARY, high=1.0),
        "brier_multiclass": _down(brier, "probabilities", ("multiclass",), high=2.0),
        "ece": _down(ece, "probabilities", _CLASSES, high=1.0),
        # labels
        "accuracy": _up(from_sklearn("accuracy_score"), "labels", _CLASSES),
        "balanced_accuracy": _up(from_sklearn("balanced_accuracy_score", classes=2), "labels", _CLASSES),
        "mcc": _up(from_sklearn("matthews_corrcoef"), "labels", _CLASSES, low=-1.0),
        "kappa": _up(kappa, "labels", _CLASSES, low=-1.0),
        "f1": _up(from_sklearn("f1_score"), "labels", _BINARY),
        "precision": _up(from_sklearn("precision_score"), "labels", _BINARY),
        "recall": _up(from_sklearn("recall_score"), "labels", _BINARY),
        "f1_macro": _up(from_sklearn("f1_score", average="macro"), "labels", ("multiclass",)),
        "f1_weighted": _up(from_sklearn("f1_score", average="weighted"), "labels", ("multiclass",)),
        "precision_macro": _up(from_sklearn("precision_score", average="macro"), "labels", ("multiclass",)),
        "recall_macro": _up(from_sklearn("recall_score", average="macro"), "labels", ("multiclass",)),
        # numbers
        "mae": _down(from_sklearn("mean_absolute_error"), "labels", _NUMBERS),
        "mse": _down(from_sklearn("mean_squared_error"), "labels", _NUMBERS),
        "rmse": _down(from_sklearn("root_mean_squared_error"), "labels", _NUMBERS),
        "median_ae": _down(from_sklearn("median_absolute_error"), "labels", _NUMBERS),
        "mape": _down(mape, "labels", _NUMBERS),
        "r2": _up(r2, "labels", _NUMBERS, low=-math.inf),
    }.items()
}
"""Every metric that a policy can name. A user's own is made with :func:`metric`."""
