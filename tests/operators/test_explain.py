"""SHAP values add up to the score, whatever the model is and whatever its columns are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from airflow_mlops.hooks import _models
from airflow_mlops.operators._explain import Wanted, _explanation

RNG = np.random.default_rng(4)
ROWS = pd.DataFrame(
    {"x": RNG.normal(size=120), "noise": RNG.normal(size=120), "carrier": RNG.choice(["AA", "UA"], 120)}
)
NUMBER = 3.0 * ROWS["x"] + 2.0 * (ROWS["carrier"] == "UA")
LATE = np.where(NUMBER > 1, "late", "ok")
TEXT = make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough")
NUMBERS = ["x", "noise"]
ALL = [*NUMBERS, "carrier"]


@pytest.mark.parametrize(
    ("model", "columns", "y", "task", "classes", "explainer"),
    [
        (RandomForestClassifier(10, random_state=0), NUMBERS, LATE, "binary", ("ok", "late"), "tree"),
        (RandomForestClassifier(10, random_state=0), NUMBERS, LATE, "binary", ("late", "ok"), "tree"),
        (RandomForestRegressor(10, random_state=0), NUMBERS, NUMBER, "regression", (), "tree"),
        (
            make_pipeline(TEXT, LogisticRegression()),
            [*NUMBERS, "carrier"],
            LATE,
            "binary",
            ("ok", "late"),
            "permutation",
        ),
        (make_pipeline(TEXT, LinearRegression()), ALL, NUMBER, "regression", (), "permutation"),
    ],
)
def test_values_add_up_and_name_what_matters(
    monkeypatch: pytest.MonkeyPatch, model: Any, columns: Any, y: Any, task: str, classes: Any, explainer: str
) -> None:
    fitted = model.fit(ROWS[columns], y)
    monkeypatch.setattr(_models, "load_files", lambda files, label: fitted)
    found = _explanation(
        Wanted(
            files=Path(),
            label="m/1",
            rows=ROWS,
            explained=30,
            target="y",
            features=tuple(columns),
            task=task,
            classes=classes,
        )
    )
    assert found["explainer"] == explainer and found["rows"] == 30
    assert found["features"][0]["name"] == "x" and found["features"][-1]["name"] == "noise"
    few = ROWS[columns][:30]
    if task == "binary":
        said = fitted.predict_proba(few)[:, list(fitted.classes_).index(classes[1])]
    else:
        said = fitted.predict(few)
    total = found["base"] + sum(np.array([p[0] for p in each]) for each in found["points"].values())
    assert total == pytest.approx(said, abs=1e-3)
