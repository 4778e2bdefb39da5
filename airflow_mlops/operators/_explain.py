"""SHAP values of a few rows, in a process of its own: what each column does for the score of a row.

Lundberg, Lee: A Unified Approach to Interpreting Model Predictions (2017). A model of trees whose columns are all
numbers is walked (``shap.TreeExplainer``); every other one is asked again with columns replaced by those of other rows
(``shap.PermutationExplainer``), so that any flavour can be explained. Values of a row and the base add up to its
score, and where they do not, nothing is told.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.outputs import Truth, features_of, outputs_of
from airflow_mlops.core.results import JSON, finite
from airflow_mlops.operators._asking import preload
from airflow_mlops.operators._child import ChildFailed, Limits, in_child

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

BACKGROUND = 50
"""Rows whose columns stand in for those that are taken away."""

MOST_FEATURES = 20
"""Columns that a picture has room for, the most important ones."""

OFF_BY = 1e-4
"""Values of a row and the base add up to its score within this, of the spread of the scores."""

EXTRA = "pip install 'airflow-mlops[explain]'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be explained.

    :param files: the folder with the model's files.
    :param label: ``name/version``, for messages.
    :param rows: the rows, first those that are explained.
    :param explained: how many these are.
    :param target: the column that is none of its features.
    :param features: its columns, where they are known.
    :param task: of the truth.
    :param classes: of the truth, in order.
    :param seed: of the order in which columns are replaced.
    """

    files: Path
    label: str
    rows: pd.DataFrame
    explained: int
    target: str
    features: tuple[str, ...]
    task: str
    classes: tuple[Any, ...]
    seed: int = 0


def explained(wanted: Wanted, limits: Limits) -> dict[str, JSON]:
    """The explanation, or the ``error`` why there is none; never raises for what the model or the library does.

    :returns: ``{"method": "shap", "explainer", "rows", "base", "features": [{"name", "mean_abs", "mean"}], "points"}``:
        the most important column first; ``points`` has, of the first of them, the value of each row and where the
        column's own value lies between the least and the greatest.
    """
    preload(wanted.files)
    with tempfile.TemporaryDirectory(prefix="mlops-explain-") as folder:
        try:
            in_child(explain, wanted, Path(folder), limits)
            found: dict[str, JSON] = json.loads((Path(folder) / "shap.json").read_text(encoding="utf-8"))
        except ChildFailed as failed:
            return {"error": f"explaining {wanted.label}: {failed}"}
        except (OSError, ValueError):
            return {"error": f"explaining {wanted.label} ended without an answer"}
    return found


def explain(folder: Path, wanted: Wanted) -> None:
    """In the child: load, explain, write down."""
    try:
        found = _explanation(wanted)
    except MemoryError:
        raise
    except ImportError as error:
        found = {"error": f"SHAP can't be imported ({error}): {EXTRA}"}
    except Exception as error:  # whatever model or library raise, there is no explanation
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    (folder / "shap.json").write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


def _explanation(wanted: Wanted) -> dict[str, JSON]:
    import numpy as np
    import shap

    from airflow_mlops.hooks._models import load_files

    model = load_files(wanted.files, wanted.label)
    X = features_of(model, wanted.rows, target=wanted.target, features=wanted.features).reset_index(drop=True)
    numbers, decode = _numbers(X)
    few, background = numbers[: wanted.explained], numbers[wanted.explained :][:BACKGROUND]

    def score(values: Any) -> Any:
        frame = decode(np.asarray(values, dtype=float))
        truth = Truth(
            task=wanted.task, y=np.zeros(len(frame), dtype=int), classes=wanted.classes, kept=np.ones(len(frame), bool)
        )
        said = outputs_of(model, frame, truth)
        needs = {"regression": "labels", "binary": "scores"}.get(wanted.task, "probabilities")
        if needs not in said.values:
            raise ValueError(said.missing.get(needs, f"the model gives no {needs}"))
        return np.asarray(said.values[needs], dtype=float)

    asked = score(few)
    explainer, told = "", None
    if wanted.task in ("binary", "regression") and all(c.dtype.kind in "biuf" for _, c in X.items()):
        told = _walked(shap, model, few, background, wanted, asked)
        explainer = "tree"
    if told is None:
        explainer = "permutation"
        masker = shap.maskers.Independent(background, max_samples=len(background))
        chosen = shap.PermutationExplainer(score, masker, seed=wanted.seed)
        made = chosen(few, max_evals=4 * few.shape[1] + 2, silent=True)
        told = np.asarray(made.values), np.asarray(made.base_values)
    values, base = told
    total = base + values.sum(axis=1)
    if not np.isfinite(values).all() or np.abs(total - asked).max() > OFF_BY * max(float(np.ptp(asked)), 1e-6):
        raise ValueError("the values of a row do not add up to its score")
    return _summary(values, base, few, [str(c) for c in X.columns], explainer)


def _walked(shap: Any, model: Any, few: Any, background: Any, wanted: Wanted, asked: Any) -> Any:
    """By walking its trees; ``None`` where the library can't, or says another score than the model."""
    import numpy as np

    try:
        output = "probability" if hasattr(model, "predict_proba") else "raw"
        made = shap.TreeExplainer(model, background, model_output=output)(few, check_additivity=False)
        values, base = np.asarray(made.values), np.asarray(made.base_values)
        if values.ndim == 3:
            place = [str(c) for c in model.classes_].index(str(wanted.classes[1]))
            values, base = values[:, :, place], base[..., place]
        elif wanted.task == "binary" and str(model.classes_[1]) != str(wanted.classes[1]):
            values, base = -values, 1 - base
        off = np.abs(base + values.sum(axis=1) - asked).max()
        return (values, base) if off <= OFF_BY * max(float(np.ptp(asked)), 1e-6) else None
    except Exception:  # a model it does not know; the other way asks the model itself
        return None


def _numbers(X: pd.DataFrame) -> tuple[Any, Any]:
    """The columns as numbers, text and the like as a place in a list of values; and the way back."""
    import numpy as np
    import pandas as pd

    columns: list[Array] = []
    back: list[Any] = []
    for name in X.columns:
        column = X[name]
        if column.dtype.kind in "biuf":
            columns.append(column.to_numpy(dtype=float))
            back.append(lambda v, dtype=column.dtype: pd.Series(v).astype(dtype))
        else:
            codes, distinct = pd.factorize(column)
            columns.append(codes.astype(float))
            missing = pd.Series([None], dtype=column.dtype) if (codes < 0).any() else column.iloc[:0]
            kinds = pd.concat([pd.Series(distinct, dtype=column.dtype), missing], ignore_index=True)
            back.append(lambda v, kinds=kinds: kinds.take(np.rint(v).astype(int)).reset_index(drop=True))

    def decode(values: Any) -> pd.DataFrame:
        return pd.DataFrame({name: back[i](values[:, i]) for i, name in enumerate(X.columns)})

    return np.stack(columns, axis=1), decode


def _summary(values: Any, base: Any, few: Any, names: Sequence[str], explainer: str) -> dict[str, JSON]:
    import numpy as np

    each = values if values.ndim == 2 else None
    size = np.abs(values).mean(axis=(0, *range(2, values.ndim)))
    mean = each.mean(axis=0) if each is not None else np.full(len(names), np.nan)
    order = sorted(range(len(names)), key=lambda i: (-size[i], names[i]))
    features: list[JSON] = [
        {"name": names[i], "mean_abs": float(f"{size[i]:.9g}"), "mean": finite(mean[i])} for i in order
    ]
    points: dict[str, JSON] = {}
    for i in order[:MOST_FEATURES]:
        if each is None:
            break
        column = few[:, i]
        low, spread = np.nanmin(column), float(np.nanmax(column) - np.nanmin(column)) or 1.0
        points[names[i]] = [
            [float(f"{v:.6g}"), finite(round(float((c - low) / spread), 3))]
            for v, c in zip(each[:, i], column, strict=True)
        ]
    told = np.asarray(base, dtype=float)
    return {
        "method": "shap",
        "explainer": explainer,
        "rows": len(few),
        "base": finite(float(told.reshape(-1)[0])) if told.size and each is not None else None,
        "features": features,
        "points": points,
    }
