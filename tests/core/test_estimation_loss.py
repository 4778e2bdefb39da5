"""Direct loss estimation: how far off a regressor is, without labels."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.errors import LabelError, SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.estimation_loss import estimate_loss, loss_calibration_of


def sold(rows: int, seed: int, *, old: float = 0.3) -> tuple[pd.DataFrame, Any, Any]:
    """Cars: inputs, predictions and prices; of old cars the price is less sure, of imports too."""
    rng = np.random.default_rng(seed)
    age = np.where(rng.random(rows) < old, rng.uniform(8, 12, rows), rng.uniform(0, 8, rows))
    origin = rng.choice(["home", "import"], rows)
    said = 30 - 2 * age
    noise = np.where(age > 8, 4.0, 1.0) * np.where(origin == "import", 1.5, 1.0)
    frame = pd.DataFrame({"age": np.where(rng.random(rows) < 0.05, np.nan, age), "origin": origin})
    return frame, said, said + rng.normal(0, noise)


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return json.loads(json.dumps(loss_calibration_of(*sold(20_000, 0)), allow_nan=False))  # type: ignore[no-any-return]


@pytest.mark.parametrize("old", [0.0, 0.3, 0.9])
def test_the_estimate_is_near_what_the_labels_say_later(kept: dict[str, Any], old: float) -> None:
    frame, said, truth = sold(20_000, 1, old=old)
    found = estimate_loss(frame, said, kept, ["mae", "mse", "rmse"])
    seen = {"mae": np.abs(said - truth).mean(), "mse": ((said - truth) ** 2).mean()}
    seen["rmse"] = seen["mse"] ** 0.5
    for name, value in seen.items():
        assert found[name]["value"] == pytest.approx(value, rel=0.1), name
        assert found[name]["estimate"] is True
    if old != 0.3:  # what was normal is no estimate of another mix
        assert kept["reference"]["mae"] != pytest.approx(seen["mae"], rel=0.2)


def test_an_error_is_what_as_many_rows_scatter_by(kept: dict[str, Any]) -> None:
    batches = [sold(400, seed) for seed in range(100, 200)]
    seen = np.std([np.abs(said - truth).mean() for _, said, truth in batches])
    frame, said, _ = batches[0]
    assert estimate_loss(frame, said, kept)["mae"]["error"] == pytest.approx(seen, rel=0.3)


def test_unknown_categories_and_missing_values_have_an_estimate(kept: dict[str, Any]) -> None:
    frame, said, _ = sold(300, 3)
    frame["origin"] = "the moon"
    frame.loc[:100, "age"] = None
    value = estimate_loss(frame, said, kept)["mae"]["value"]
    assert isinstance(value, float) and np.isfinite(value) and value > 0


@pytest.mark.parametrize("break_", ["metric", "column", "version", "nan", "few", "shape", "truth"])
def test_what_can_not_be_estimated_says_why(kept: dict[str, Any], break_: str) -> None:
    frame, said, truth = sold(300, 4)
    broken = said.copy()
    broken[0] = np.nan
    calls = {
        "metric": (UnknownName, "mae", lambda: estimate_loss(frame, said, kept, ["r2"])),
        "column": (SchemaMismatch, "'age'", lambda: estimate_loss(frame[["origin"]], said, kept)),
        "version": (UsageError, "evaluate the model again", lambda: estimate_loss(frame, said, {**kept, "version": 9})),
        "nan": (UsageError, "finite", lambda: estimate_loss(frame, broken, kept)),
        "few": (LabelError, "200", lambda: loss_calibration_of(frame[:50], said[:50], truth[:50])),
        "shape": (UsageError, "must be", lambda: loss_calibration_of(frame[:250], said, truth)),
        "truth": (UsageError, "finite", lambda: loss_calibration_of(frame, broken, truth)),
    }
    error, words, call = calls[break_]
    with pytest.raises(error, match=words):
        call()


def test_a_process_that_learnt_a_loss_can_still_be_forked() -> None:
    """Models are asked in forked children, which wait for ever where OpenMP's threads were begun before."""
    code = """
import os, time, numpy as np, pandas as pd
from airflow_mlops.core.estimation_loss import loss_calibration_of
x = np.linspace(0, 1, 5000)
frame = pd.DataFrame({"x": x})
loss_calibration_of(frame, x, x + np.random.default_rng(0).normal(0, 0.1 + x))
if (pid := os.fork()) == 0:
    loss_calibration_of(frame, x, x * 2)
    from sklearn.ensemble import HistGradientBoostingRegressor
    HistGradientBoostingRegressor(max_iter=3).fit(frame, x)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_the_same_rows_are_remembered_the_same() -> None:
    assert loss_calibration_of(*sold(1000, 5)) == loss_calibration_of(*sold(1000, 5))
