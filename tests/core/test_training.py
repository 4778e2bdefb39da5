"""Training in plain values: one key for one meaning, and refusals that say why."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from airflow_mlops.core.errors import DataError, EmptyDataset, LabelError, ModelError, SchemaMismatch, UsageError
from airflow_mlops.core.fingerprint import describe_trainer
from airflow_mlops.core.portable import modules_of, requirements_of, self_contained
from airflow_mlops.core.results import digest
from airflow_mlops.core.training import TrainingConfig, describe_model, fit, training_key, training_rows

COUNT = iter(range(10_000))


def module(text: str, folder: Path) -> types.ModuleType:
    """A module of the project with this text, under a name of its own."""
    name = f"project_{next(COUNT)}"
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def meaning(text: str, folder: Path, name: str = "fit") -> str:
    return _without_name(module(text, folder), name)


def _without_name(made: types.ModuleType, name: str) -> str:
    return json.dumps(describe_trainer(getattr(made, name)), sort_keys=True).replace(made.__name__, "project")


FIT = """
RATE = 0.1

def prepare(X):
    return X * RATE

def fit(X, y, C=1.0):
    return prepare(X)
"""


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("return prepare(X)", "return prepare(X)  # the rows"), True),
        (("def fit(X, y, C=1.0):", 'def fit(X, y, C=1.0):\n    """What it does."""'), True),
        (("def fit(", "import functools\n\n@functools.cache\ndef fit("), True),
        (("    return prepare(X)", "\n    return (\n        prepare(X)\n    )"), True),
        (("C=1.0", "C=2.0"), False),
        (("RATE = 0.1", "RATE = 0.2"), False),
        (("X * RATE", "X + RATE"), False),
        (("return prepare(X)", "return prepare(X + 1)"), False),
    ],
)
def test_the_key_follows_the_meaning_and_not_the_wording(tmp_path: Path, change: tuple[str, str], same: bool) -> None:
    assert change[0] in FIT
    assert (meaning(FIT, tmp_path) == meaning(FIT.replace(*change), tmp_path)) is same


def test_a_helper_in_another_module_of_the_project_counts(tmp_path: Path) -> None:
    def described(helper: str) -> str:
        made = module(helper, tmp_path)
        user = module(f"import {made.__name__} as h\n\ndef fit(X, y):\n    return h.prepare(X)\n", tmp_path)
        return _without_name(user, "fit").replace(made.__name__, "helper")

    assert described("def prepare(X):\n    return X\n") == described("def prepare(X):\n    return X  # as it is\n")
    assert described("def prepare(X):\n    return X\n") != described("def prepare(X):\n    return -X\n")


def test_recursion_and_methods_end(tmp_path: Path) -> None:
    made = module("def fit(X, y):\n    return other(X)\n\ndef other(X):\n    return fit(X, None)\n", tmp_path)
    assert describe_trainer(made.fit) == describe_trainer(made.fit)


def test_estimators_are_what_their_parameters_say() -> None:
    def described(estimator: Any) -> str:
        return digest(describe_trainer(estimator))

    def pipeline(C: float = 1.0) -> Any:
        return make_pipeline(StandardScaler(), FunctionTransformer(np.log1p), LogisticRegression(C=C))

    assert described(pipeline()) == described(pipeline())
    assert described(pipeline()) != described(pipeline(C=2))
    assert described(HistGradientBoostingClassifier(monotonic_cst=np.array([1, 0]))) != described(
        HistGradientBoostingClassifier(monotonic_cst=np.array([0, 1]))
    )
    assert described(LogisticRegression(C=float("inf"))) != described(LogisticRegression())
    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert described(fitted) == described(LogisticRegression()), (
        "an estimator is cloned: what it has learned is forgotten"
    )
    assert described(functools.partial(len, 1)) != described(functools.partial(len, 2))


@given(st.permutations(["a", "b", "c"]), st.permutations(["a", "b", "c"]))
def test_the_order_of_features_counts_and_that_of_parameters_does_not(one: list[str], two: list[str]) -> None:
    def key(features: list[str], params: list[str]) -> str:
        config = TrainingConfig(
            train=LogisticRegression(), target="y", features=features, params=dict.fromkeys(params, 1)
        )
        return training_key("m", "d", config)

    assert key(one, one) == key(one, two)
    assert (key(one, one) == key(two, one)) is (one == two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ""}, "target is empty"),
        ({"problem": "ranking"}, "unknown problem 'ranking'"),
        ({"features": ["y", "x"]}, "told the answer"),
        ({"features": "x"}, "must be a list"),
        ({"param_grid": {"a": [1]}, "train": len}, "needs an estimator"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"train": 3}, "train must be a function"),
    ],
)
def test_what_can_not_be_meant_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = TrainingConfig(**{"train": LogisticRegression(), "target": "y", **arguments}).digest


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"t": [3, 1, 2, 0], "x": [3.0, 1.0, 2.0, 0.0], "y": [1, 0, 1, 0]} | columns)


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"train": LogisticRegression(), "target": "y", "time_column": "t", **changes})


def test_rows_are_in_time_order_and_the_time_is_no_feature() -> None:
    rows = training_rows(frame(), config())
    assert list(rows.X.columns) == ["x"] and rows.X["x"].tolist() == [0, 1, 2, 3] and rows.y.tolist() == [0, 0, 1, 1]
    assert list(training_rows(frame(), config(features=["t", "x"])).X.columns) == ["t", "x"]


@pytest.mark.parametrize(
    "labels", [[1.0, 0.0, None, 0.0], [True, False, None, False], pd.array([1, 0, None, 0], dtype="Int64")]
)
def test_labels_that_are_missing_are_left_out_and_leave_no_trace_in_the_type(labels: Any) -> None:
    rows = training_rows(frame(y=labels), config())
    assert rows.unlabelled == 1 and len(rows.X) == 3 == len(rows.y)
    assert rows.y.dtype.kind in "ib"


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"y": [None] * 4}, LabelError, "all 4 labels"),
        ({"y": [1] * 4}, LabelError, "at least two classes"),
        ({"x": [1, float("inf"), 2, -float("inf")]}, DataError, r"infinite values in 'x' \(2\)"),
    ],
)
def test_rows_that_can_not_be_learned_from(columns: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        training_rows(frame(**columns), config())


def test_no_rows_and_no_column() -> None:
    with pytest.raises(EmptyDataset):
        training_rows(frame().head(0), config())
    with pytest.raises(SchemaMismatch, match="nearest: 'xx'") as caught:
        training_rows(frame().rename(columns={"x": "xx"}), config(features=["x"]))
    assert caught.value.missing == ("x",) and "xx" in caught.value.unexpected


def test_a_missing_value_is_the_estimators_to_accept() -> None:
    rows = training_rows(frame(x=[1.0, None, 2.0, 0.0]), config())
    with pytest.raises(ModelError, match="Missing values are in x; this estimator does not take them"):
        fit(rows, config())
    assert fit(rows, config(train=HistGradientBoostingClassifier())).estimator is not None


def test_the_machines_errors_pass_as_they_are() -> None:
    def full(X: Any, y: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        fit(training_rows(frame(), config()), config(train=full))


@pytest.mark.parametrize("given_back", [None, LogisticRegression, LogisticRegression(), "model"])
def test_what_comes_back_must_predict(given_back: Any) -> None:
    with pytest.raises(ModelError, match=r"return the fitted estimator|not fitted"):
        fit(training_rows(frame(), config()), config(train=lambda X, y: given_back))


def test_the_estimator_that_was_given_stays_unfitted() -> None:
    given_one = LogisticRegression()
    fitted = fit(training_rows(frame(), config()), config(train=given_one))
    assert not hasattr(given_one, "coef_")
    assert describe_model(fitted.estimator, config()) == {
        "type": "LogisticRegression",
        "problem": "classification",
        "target": "y",
        "classes": [0, 1],
        "positive": 1,
    }
    assert describe_model(fitted.estimator, config(positive_label=0))["positive"] == 0


def test_requirements_are_the_packages_of_the_models_classes(tmp_path: Path) -> None:
    made = module("def prepare(X):\n    return helper(X)\n\ndef helper(X):\n    return X\n", tmp_path)
    model = make_pipeline(FunctionTransformer(made.prepare), LogisticRegression())
    assert made.__name__ in modules_of(model)
    with self_contained(model) as modules:
        assert made.__name__ not in modules
        assert [r.partition("==")[0] for r in requirements_of(modules)] == [
            "cloudpickle",
            "numpy",
            "pandas",
            "scikit-learn",
            "scipy",
        ]
    assert made.__name__ in modules_of(model), "the registration ends with the block"
    with pytest.raises(ModelError, match="can't be stored"):
        modules_of(FunctionTransformer(threading.Lock().acquire))
