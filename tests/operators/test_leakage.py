"""What an author can ask for at validation: rows in both, the future in the training data, the label in a feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.errors import PolicyError, UnknownName, UsageError
from airflow_mlops.core.leakage import Leakage, time_check
from airflow_mlops.core.results import Status
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.validation import ValidateDataOperator

SUITE = [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}]
N = 2000


def frame(seed: int = 0, start: str = "2013-01-01", rows: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    late = rng.random(rows) < 0.3
    return pd.DataFrame(
        {
            "distance": rng.normal(size=rows) + late,  # tells something, as a feature should
            "carrier": rng.choice(["AA", "UA", "DL"], rows),
            "at": pd.Timestamp(start) + pd.to_timedelta(rng.integers(0, 28 * 86400, rows), unit="s"),
            "late": late,
        }
    )


LEAKS: dict[str, Any] = {
    "a copy": lambda f: f["late"].astype(int),
    "a number beyond a threshold": lambda f: np.where(f["late"], 15.0, -5.0) + np.random.default_rng(5).random(len(f)),
    "a category": lambda f: np.where(f["late"], "arrived late", "arrived"),
    "that it is missing": lambda f: pd.Series(np.random.default_rng(6).random(len(f))).mask(f["late"]),
}


def judged(run_task: Any, tmp_path: Path, train: pd.DataFrame, holdout: pd.DataFrame | None = None, **kwargs: Any):
    train.to_parquet(tmp_path / "train.parquet", index=False)
    if holdout is not None:
        holdout.to_parquet(tmp_path / "holdout.parquet", index=False)
        kwargs["holdout"] = str(tmp_path / "holdout.parquet")
    kwargs = {"target": "late", "leakage": {}, **kwargs}
    return run_task(ValidateDataOperator(task_id="v", data=str(tmp_path / "train.parquet"), suite=SUITE, **kwargs))


def test_rows_without_a_leak_pass_and_every_feature_was_looked_at(run_task, tmp_path: Path) -> None:
    result = judged(run_task, tmp_path, frame(), frame(1, "2013-03-01"), leakage={"time": "at"})
    seen = {(c["name"], c["subject"]) for c in result["report"]["checks"] if c["status"] == "passed"}
    assert {("label_leak", c) for c in ("distance", "carrier", "at")} < seen
    assert ("time_order", "at") in seen and ("rows_in_both", "distance, carrier, at") in seen
    assert "holdout" in result["report"]["inputs"]


@pytest.mark.parametrize("leak", LEAKS)
def test_a_feature_that_is_the_label_is_told(run_task, tmp_path: Path, leak: str) -> None:
    rows = frame().assign(status=lambda f: LEAKS[leak](f))
    with pytest.raises(DataValidationFailed, match=r"label_leak status: it alone tells 100\.0%"):
        judged(run_task, tmp_path, rows)
    assert judged(run_task, tmp_path, rows, leakage={"ignore": ["status"]})["passed"]
    assert judged(run_task, tmp_path, rows, environment="SERVING")["passed"]
    warned = judged(run_task, tmp_path, rows, leakage={"severity": "warning"})
    assert warned["passed"] and warned["counts"]["failed"] == 1


def test_a_number_as_the_label(run_task, tmp_path: Path) -> None:
    rows = frame().assign(late=lambda f: f["distance"] * 100 + 3, minutes=lambda f: f["distance"] * 60)
    with pytest.raises(DataValidationFailed, match="label_leak minutes"):
        judged(run_task, tmp_path, rows.drop(columns="distance"))
    assert judged(run_task, tmp_path, rows.drop(columns=["distance", "minutes"]))["passed"]


def test_rows_of_the_holdout_in_the_training_data(run_task, tmp_path: Path) -> None:
    train, holdout = frame(), pd.concat([frame(1, "2013-03-01"), frame()[:7]])
    with pytest.raises(DataValidationFailed, match="7 of 2007 rows of the holdout are in the training data"):
        judged(run_task, tmp_path, train, holdout)
    other = holdout.assign(late=~holdout["late"], carrier=holdout["carrier"] + "x")  # the label does not make a row new
    with pytest.raises(DataValidationFailed, match="7 of 2007"):
        judged(run_task, tmp_path, train, other, leakage={"keys": ["distance", "at"]})
    assert judged(run_task, tmp_path, train, holdout, leakage={"max_duplicate_share": 0.01})["passed"]


@pytest.mark.parametrize(
    ("last", "first", "missing", "status"),
    [
        ("2013-01-31T10:00:00", "2013-01-31T10:00:01", 0, Status.PASSED),
        ("2013-01-31T10:00:00", "2013-01-31T10:00:00", 0, Status.FAILED),
        ("2013-01-31T10:00:00+00:00", "2013-01-31T11:00:00+02:00", 0, Status.FAILED),
        ("2013-01-31T10:00:00+00:00", "2013-01-31T11:00:00", 0, Status.ERROR),
        (3.0, 4.0, 0, Status.PASSED),
        (3.0, "2013-01-01", 0, Status.ERROR),
        (None, "2013-01-01", 0, Status.ERROR),
        (3.0, 4.0, 1, Status.ERROR),
    ],
)
def test_the_order_in_time_is_known_or_an_error(last, first, missing, status) -> None:
    assert time_check("at", last, first, missing).status is status


def test_a_holdout_that_begins_too_early(run_task, tmp_path: Path) -> None:
    with pytest.raises(DataValidationFailed, match="time_order at: the training data goes on until"):
        judged(run_task, tmp_path, frame(), frame(1, "2013-01-15"), leakage={"time": "at"})


def test_few_rows_tell_nothing_and_do_not_pass(run_task, tmp_path: Path) -> None:
    with pytest.raises(DataValidationFailed, match="40 rows with a label, 200 are needed"):
        judged(run_task, tmp_path, frame(rows=40))
    with pytest.raises(DataValidationFailed, match="holdout has no rows"):
        judged(run_task, tmp_path, frame(), frame()[:0])


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"leakage": {"max_powr": 1}}, UnknownName, "did you mean 'max_power'"),
        ({"leakage": {"max_power": 2}}, PolicyError, "share"),
        ({"leakage": {"time": "at"}}, UsageError, "needs a holdout"),
        ({"target": ""}, UsageError, "nothing to look for"),
        ({"leakage": {"ignore": ["carier"]}}, DataValidationFailed, "did you mean 'carrier'"),
    ],
)
def test_what_makes_no_sense_is_refused(run_task, tmp_path: Path, kwargs, error, words) -> None:
    with pytest.raises(error, match=words):
        judged(run_task, tmp_path, frame(), **kwargs)
    assert Leakage.from_dict(Leakage(keys=("a",)).to_dict()) == Leakage(keys=("a",))
