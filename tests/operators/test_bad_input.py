"""What goes wrong in every stage alike: no files, a column of another type, an MLflow that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.drift_policy import DriftPolicy
from airflow_mlops.core.errors import DatasetNotFound, PolicyError
from airflow_mlops.exceptions import DataValidationFailed, MlflowUnavailable, ScoringFailed, TrainingFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators._monitoring import policy_of
from airflow_mlops.operators.performance import CheckPerformanceOperator
from airflow_mlops.operators.scoring import ScoreBatchOperator
from airflow_mlops.operators.training import TrainModelOperator
from airflow_mlops.operators.validation import ValidateDataOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

ROWS = pd.DataFrame({"id": range(100), "x": [i / 10 for i in range(100)], "y": [i >= 40 for i in range(100)]})
SUITE = [{"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "x", "type_": "float"}}]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    ROWS.to_parquet(tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


@pytest.fixture
def retyped(tmp_path: Path) -> str:
    """The same rows, delivered with words in place of a number."""
    ROWS.assign(x=["many" if i % 2 else "few" for i in ROWS["id"]]).to_parquet(tmp_path / "retyped.parquet")
    return str(tmp_path / "retyped.parquet")


def validate(data: str, **changes: Any) -> ValidateDataOperator:
    return ValidateDataOperator(task_id="validate", data=data, suite=SUITE, **changes)


def train(data: str) -> TrainModelOperator:
    return TrainModelOperator(
        task_id="train", model_name="m", train=LogisticRegression(), data=data, target="y", features=["x"]
    )


def score(data: str, tmp_path: Path) -> ScoreBatchOperator:
    return ScoreBatchOperator(
        task_id="score", model_name="m", data=data, destination=str(tmp_path / "scores.parquet"), columns_to_keep=["id"]
    )


def check(data: str) -> CheckPerformanceOperator:
    return CheckPerformanceOperator(
        task_id="check", model_name="m", predictions=data, labels=data, key=["id"], target="y"
    )


def test_a_column_of_another_type_is_named_at_every_stage(
    mlflow_local: Path, run_task: TaskRunner, rows: str, retyped: str, tmp_path: Path
) -> None:
    assert run_task(validate(rows))["passed"]
    with pytest.raises(DataValidationFailed, match="x"):
        run_task(validate(retyped))
    with pytest.raises(TrainingFailed):
        run_task(train(retyped))
    assert MlflowHook().versions("m") == [], "nothing was registered"
    run_task(train(rows))
    MlflowHook().set_alias("m", "champion", "1")
    with pytest.raises(ScoringFailed, match="m/1"):
        run_task(score(retyped, tmp_path))
    assert not (tmp_path / "scores.parquet").exists()


def test_a_glob_that_matches_nothing_is_named_at_every_stage(
    mlflow_local: Path, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    nothing = str(tmp_path / "month=*" / "*.parquet")
    run_task(train(rows))
    MlflowHook().set_alias("m", "champion", "1")
    for operator in (validate(nothing), train(nothing), score(nothing, tmp_path)):
        with pytest.raises(DatasetNotFound, match=r"month=\*"):
            run_task(operator)


def test_an_mlflow_that_is_not_there_is_retried_and_tells_no_secret(
    run_task: TaskRunner, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_MLFLOW_DEFAULT",
        '{"conn_type": "mlflow", "host": "http://127.0.0.1:9", "login": "a", "password": "s3cret"}',
    )
    recorded = validate(rows, model_name="m", mlflow_conn_id="mlflow_default")
    for operator in (recorded, train(rows), score(rows, tmp_path), check(rows)):
        with pytest.raises(MlflowUnavailable, match="mlflow_default") as failed:
            run_task(operator)
        assert "s3cret" not in str(failed.value)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_policy_whose_keys_are_said_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("alpha: 0.05\nalpha: 0.000001\n")
    with pytest.raises(PolicyError, match="the policy can't be read: the key 'alpha' is there twice"):
        policy_of(DriftPolicy, str(tmp_path / "policy.yaml"))
