"""What a model says about rows, in the form that metrics take, and the truth beside it.

A model is whatever has ``predict``: a scikit-learn estimator (``predict_proba``, ``decision_function`` and ``classes_``
are used where it has them) or MLflow's generic model, whose output is told apart by its shape: a column of labels, a
column of probabilities of the positive class, or a matrix with a column per class.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.errors import EmptyDataset, LabelError, ModelError, SchemaMismatch, UsageError
from airflow_mlops.core.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

BASELINES = ("prior",)
"""Models without features: ``prior`` says the shares of the classes, or the mean of the numbers, of these very rows.
Labels are those of one class, numbers the mean or the median: whichever is better by the metric."""

OFF_BY = 1e-3
"""Probabilities in single precision add up to 1 within this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """The labels of the rows that have one.

    :param task: ``"binary"``, ``"multiclass"`` or ``"regression"``.
    :param y: class index (binary: 1 is the positive class) or the number, shape ``(n,)``.
    :param classes: the labels in the order of their index; empty for regression.
    :param kept: which of the rows that were read have a label, shape ``(rows read,)``.
    """

    task: str
    y: Array
    classes: tuple[Any, ...]
    kept: Array

    @property
    def dropped(self) -> int:
        """Rows without a label."""
        return int(len(self.kept) - self.kept.sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one model says.

    :param values: of ``labels``, ``scores``, ``probabilities`` those that it can give; see :mod:`.metrics`.
    :param missing: why it can't give the others.
    :param instead: other values of a simple model, of which the best by each metric counts.
    """

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    instead: tuple[Mapping[str, Any], ...] = ()

    def figure(self, metric: Metric, y: Array, rows: Array | None = None) -> tuple[float | None, str, Array | None]:
        """The metric's figure, why there is none, and the output that it is of.

        :param metric: which.
        :param y: the truth of the rows.
        :param rows: places of them; ``None``: all.
        """
        found: list[tuple[float | None, str, Array | None]] = []
        for values in (self.values, *self.instead):
            output = values.get(metric.needs)
            if output is None:
                continue
            output = output if rows is None else output[rows]
            found.append((*metric.figure(y, output), output))
        known = [f for f in found if f[0] is not None]
        if known:
            sign = 1 if metric.higher_is_better else -1
            return max(known, key=lambda f: sign * (f[0] or 0.0))
        return found[0] if found else (None, self.missing.get(metric.needs, f"the model gives no {metric.needs}"), None)


def task_of(metrics: Sequence[Metric], wanted: str = "") -> str:
    """``"classification"`` or ``"regression"``, from what is asked for; empty when the metrics leave it open.

    :param metrics: their tasks decide.
    :param wanted: the author's word, which the metrics must not contradict.
    :raises UsageError: when metrics of both kinds are asked for, or against the author's word.
    """
    if wanted and wanted not in ("classification", "regression"):
        raise UsageError(f"problem must be 'classification' or 'regression', got {wanted!r}")
    found = {wanted} if wanted else set()
    for m in metrics:
        if "regression" not in m.tasks:
            found.add("classification")
        elif set(m.tasks) == {"regression"}:
            found.add("regression")
    if len(found) > 1:
        names = ", ".join(m.name for m in metrics)
        raise UsageError(f"these can't be of one task: {names}{f' and problem={wanted!r}' if wanted else ''}")
    return found.pop() if found else ""


def truth_of(
    labels: Any, *, task: str, known: Iterable[Any] = (), positive_label: Any = None, name: str = "target"
) -> Truth:
    """The truth from a column of labels; rows without one are dropped and counted.

    :param labels: shape ``(n,)``; null, and for numbers infinite, is missing.
    :param task: ``"classification"``, ``"regression"``, or empty: by the labels.
    :param known: classes that the models know and these rows may lack.
    :param positive_label: of two classes the one to find; ``None``: the greater one.
    :param name: of the column, for messages.
    :raises EmptyDataset: zero rows.
    :raises LabelError: all missing, of one class only, or not numbers where numbers are needed.

    >>> truth = truth_of(["late", None, "ok", "late"], task="classification", positive_label="late")
    >>> truth.y.tolist(), truth.classes, truth.dropped
    ([1, 0, 1], ('ok', 'late'), 1)
    """
    import numpy as np
    import pandas as pd

    column = pd.Series(labels).reset_index(drop=True)
    if column.empty:
        raise EmptyDataset("there are no rows to judge the models on")
    kept = column.notna().to_numpy(dtype=bool)
    if not kept.any():
        raise LabelError(f"all {len(column)} labels in {name!r} are missing")
    values = column[kept]
    if not task:
        numbers = pd.api.types.is_float_dtype(values) and bool((values % 1 != 0).any())
        task = "regression" if numbers else "classification"
    if task == "regression":
        try:
            y = pd.to_numeric(column).to_numpy(dtype=float)
        except (TypeError, ValueError) as e:
            raise LabelError(f"the labels in {name!r} are not numbers: {e}") from None
        kept = np.isfinite(y)
        if not kept.any():
            raise LabelError(f"all {len(column)} labels in {name!r} are missing or infinite")
        return Truth(task=task, y=y[kept], classes=(), kept=kept)
    seen = set(values.unique().tolist())
    if len(seen) < 2:
        raise LabelError(f"the labels in {name!r} are all {next(iter(seen))!r}: one class can't be judged")
    classes = _ordered(seen | {_item(k) for k in known}, positive_label, name)
    index = {label: i for i, label in enumerate(classes)}
    y = values.map(index).to_numpy(dtype=int)
    return Truth(task="binary" if len(classes) == 2 else "multiclass", y=y, classes=classes, kept=kept)


def _ordered(labels: set[Any], positive_label: Any, name: str) -> tuple[Any, ...]:
    try:
        classes = sorted(labels)
    except TypeError:
        classes = sorted(labels, key=str)
    if positive_label is None:
        return tuple(classes)
    # A rendered template is text, whatever the labels are.
    chosen = [c for c in classes if c == positive_label] or [c for c in classes if str(c) == str(positive_label)]
    if not chosen:
        raise LabelError(f"positive_label {positive_label!r} is none of the labels in {name!r}: {classes[:10]}")
    if len(classes) != 2:
        raise LabelError(f"positive_label needs two classes, {name!r} and the models know {len(classes)}")
    return (*(c for c in classes if c != chosen[0]), chosen[0])


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def features_of(model: Any, frame: pd.DataFrame, *, target: str, features: Sequence[str] = ()) -> pd.DataFrame:
    """The columns the model takes: those asked for, else those it says it was fitted on, else all but the target.

    :raises SchemaMismatch: when the rows lack one of them.
    :raises ModelError: when the label is among them: it would be told what it is asked.
    """
    names = list(features) or _known_features(model) or [c for c in frame.columns if c != target]
    if target in names:
        raise ModelError(f"the model takes the label {target!r} itself as a column: it can't be judged, or used")
    missing = [n for n in names if n not in frame.columns]
    if missing:
        raise SchemaMismatch(f"the model needs columns that the rows do not have: {missing[:10]}", missing=missing)
    return frame[names]


def _known_features(model: Any) -> list[str]:
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return [str(n) for n in names]
    schema = getattr(getattr(model, "metadata", None), "get_input_schema", lambda: None)()
    return [str(n) for n in schema.input_names()] if schema is not None and schema.has_input_names() else []


def classes_of(model: Any) -> list[Any]:
    """The classes that a model knows; empty where it does not say."""
    known = getattr(model, "classes_", None)
    return [] if known is None else [_item(k) for k in known]


def outputs_of(model: Any, rows: Sized, truth: Truth) -> Outputs:
    """What the model says about the rows.

    :param model: a fitted estimator or MLflow's generic model.
    :param rows: the features, ``n`` rows: those that have a label.
    :param truth: their labels; its classes give the order of probabilities.
    :raises ModelError: when it raises, or gives another number of predictions than there are rows.
    """
    try:
        said = model.predict(rows)
        if truth.task == "regression":
            return Outputs(values={"labels": _column(said, len(rows), number=True)})
        return _classifier(model, rows, said, truth)
    except ModelError:
        raise
    except Exception as e:  # whatever a model raises on rows, it can't predict them
        raise ModelError(
            f"the model can't predict these rows: {type(e).__name__}: {' '.join(str(e).split())[:300]}"
        ) from e


def _column(said: Any, n: int, *, number: bool = False) -> Any:
    import numpy as np

    values = np.asarray(said)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or len(values) != n:
        raise ModelError(f"the model gave predictions of shape {values.shape} for {n} rows")
    if not number:
        return values
    texts = values.dtype.kind not in "biufO" or (
        values.dtype.kind == "O" and any(v is not None and not isinstance(v, numbers.Real) for v in values)
    )
    if texts:  # "1.5" would become a number here, and not where the predictions are used
        raise ModelError(f"the model gave predictions of type {values.dtype}, not numbers: {values[:3].tolist()!s}")
    return values.astype(float)


def _classifier(model: Any, rows: Sized, said: Any, truth: Truth) -> Outputs:
    import numpy as np

    n = len(rows)
    values: dict[str, Any] = {}
    missing: dict[str, str] = {}
    known = classes_of(model)
    problem = ""
    if hasattr(model, "predict_proba") and known:
        matrix = model.predict_proba(rows)
        values["probabilities"] = _probabilities(matrix, known, truth, n)
        problem = _no_probabilities(matrix)
    elif not known and (guess := _generic(said, truth, n)) is not None:
        values["probabilities"] = guess
        problem = _no_probabilities(said)
        said = None
    p: Any = values.get("probabilities")
    if problem:
        del values["probabilities"]
        missing |= {"probabilities": problem, "scores": problem}
    elif p is None:
        missing["probabilities"] = "the model gives no probabilities"
    if truth.task == "binary" and not problem:
        if p is not None:
            values["scores"] = p
        elif hasattr(model, "decision_function") and known:
            sign = 1.0 if known[1] == truth.classes[1] else -1.0
            values["scores"] = sign * _column(model.decision_function(rows), n, number=True)
        else:
            missing["scores"] = "the model gives neither probabilities nor a decision function"
    elif not problem:
        missing["scores"] = "a score of the positive class needs two classes"
    if said is None and problem:
        missing["labels"] = problem
        return Outputs(values=values, missing=missing)
    if said is None:
        values["labels"] = (p > 0.5).astype(int) if p.ndim == 1 else p.argmax(axis=1)
        return Outputs(values=values, missing=missing)
    index = {label: i for i, label in enumerate(truth.classes)}
    found = np.array([index.get(label, -1) for label in _column(said, n).tolist()])
    if known and (found < 0).any():
        strange = next(label for label in _column(said, n).tolist() if label not in index)
        raise ModelError(f"the model predicts {strange!r}, which is none of its own classes {known[:10]}")
    if (found < 0).any():
        missing["labels"] = f"{int((found < 0).sum())} of {n} predicted labels are none of {list(truth.classes)[:10]}"
    else:
        values["labels"] = found
    return Outputs(values=values, missing=missing)


def _no_probabilities(matrix: Any) -> str:
    """Why a row of numbers a class is no distribution over the classes; empty where it is, or is not finite."""
    import numpy as np

    given = np.asarray(matrix, dtype=float)
    if given.ndim != 2 or given.shape[1] < 2 or not np.isfinite(given).all():
        return ""  # a single column says P(positive); what is not finite is counted where the figure is made
    sums = given.sum(axis=1)
    if np.abs(sums - 1).max(initial=0.0) > OFF_BY:
        return f"the probabilities of a row add up to between {sums.min():.4g} and {sums.max():.4g}, not to 1"
    if given.min() < -OFF_BY or given.max() > 1 + OFF_BY:
        return f"probabilities lie between {given.min():g} and {given.max():g}, not within 0 and 1"
    return ""


def _probabilities(matrix: Any, known: Sequence[Any], truth: Truth, n: int) -> Any:
    import numpy as np

    given = np.asarray(matrix, dtype=float)
    if given.shape != (n, len(known)):
        raise ModelError(f"the model gave probabilities of shape {given.shape} for {n} rows and {len(known)} classes")
    column = {label: i for i, label in enumerate(known)}
    full = np.stack(
        [given[:, column[c]] if c in column else np.zeros(n) for c in truth.classes],
        axis=1,
    )
    return full[:, 1] if truth.task == "binary" else full


def _generic(said: Any, truth: Truth, n: int) -> Any:
    """Probabilities, where the output of a generic model is some; ``None`` where it is labels."""
    import numpy as np

    values = np.asarray(said)
    if values.dtype.kind != "f":
        return None
    if values.ndim == 2 and values.shape == (n, len(truth.classes)) and len(truth.classes) > 1:
        # Named columns say which class each is; without names they are in the order that classes sort in, as every
        # library has them, and not in that of the truth, where the positive class is the last.
        named = [str(c) for c in said.columns] if hasattr(said, "columns") else []
        order = _ordered(set(truth.classes), None, "")
        if set(named) == {str(c) for c in truth.classes}:
            return _probabilities(values, named, _as_text(truth), n)
        return _probabilities(values, order, truth, n)
    values = _column(values, n)
    labels = {c for c in truth.classes if isinstance(c, int | float)}
    if truth.task != "binary" or set(np.unique(values).tolist()) <= labels:
        return None
    return values


def _as_text(truth: Truth) -> Truth:
    return dataclasses.replace(truth, classes=tuple(map(str, truth.classes)))


def baseline_of(name: str, truth: Truth) -> Outputs:
    """What a model without features says: the best constant for these rows, known only afterwards.

    Fitted on the rows it is judged on, it is at least as hard to beat as one fitted on the training rows. Which
    constant is best is the metric's to say: the mean has the least squared error, the median the least absolute one,
    and by F1 the best is often the positive class, although its rows are the fewer.

    :param name: of :data:`BASELINES`.
    """
    import numpy as np

    n = len(truth.y)
    if truth.task == "regression":
        mean, median = ({"labels": np.full(n, float(v))} for v in (truth.y.mean(), np.median(truth.y)))
        return Outputs(values=mean, instead=(median,))
    shares = np.bincount(truth.y, minlength=len(truth.classes)) / n
    labels = np.full(n, int(shares.argmax()))
    if truth.task == "binary":
        p = np.full(n, shares[1])
        other = {"labels": 1 - labels}
        return Outputs(values={"labels": labels, "scores": p, "probabilities": p}, instead=(other,))
    return Outputs(values={"labels": labels, "probabilities": np.tile(shares, (n, 1))})
