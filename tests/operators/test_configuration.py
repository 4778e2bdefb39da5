"""Code or parameters that changed since the last training are a reason for another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk import DAG, BaseOperator
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.training import TrainingConfig
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner


def fit(X: pd.DataFrame, y: pd.Series, C: float = 1.0) -> Any:
    return LogisticRegression(C=C).fit(X, y)


def loop(data: str, **parameters: Any) -> tuple[TrainModelOperator, DecideRetrainingOperator]:
    """Both tasks of one DAG."""
    with DAG("loop", schedule=None, params={"C": 1.0}, render_template_as_native_obj=True):
        train = TrainModelOperator(
            task_id="train", model_name="delays", train=fit, data=data, target="late", train_params=parameters
        )
        decide = DecideRetrainingOperator(
            task_id="decide", model_name="delays", training_task="train", on_keep="return", policy={"reasons": WATCHED}
        )
        BaseOperator(task_id="other")
    return train, decide


WATCHED = ("person", "no_champion", "configuration")


@pytest.fixture
def data(mlflow_local: Path, tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"wind": rng.normal(size=200), "late": rng.random(200) < 0.3})
    rows.to_parquet(tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


def test_another_parameter_is_a_reason_until_a_candidate_has_tried_it(data: str, run_task: TaskRunner) -> None:
    train, decide = loop(data, C="{{ params.C }}")
    version = run_task(train)["version"]
    hook = MlflowHook()
    hook.set_alias("delays", "champion", version)
    kept = hook.version("delays", version)
    config = TrainingConfig(train=fit, target="late", params={"C": 1.0})
    assert kept is not None and kept.tag("config_digest") == config.digest
    same = run_task(decide, run_id="same", partition_key="2013-05")
    assert same["decision"] == "keep" and any("configuration: unchanged" in r for r in same["reasons"])
    changed = run_task(decide, run_id="changed", params={"C": 0.5}, partition_key="2013-06")
    assert changed["decision"] == "retrain" and changed["evidence"]["fired"] == ["configuration"]
    run_task(train, params={"C": 0.5})  # a challenger that nobody promotes: tried is tried
    again = run_task(decide, run_id="again", params={"C": 0.5}, partition_key="2013-08")
    assert again["decision"] == "keep"


def test_a_parameter_that_is_not_there_yet_is_no_change(data: str, run_task: TaskRunner) -> None:
    train, decide = loop(data)
    MlflowHook().set_alias("delays", "champion", run_task(train)["version"])
    train.train_params = {"C": "{{ nothing.there }}"}
    result = run_task(decide, partition_key="2013-05")
    assert result["decision"] == "keep" and any("configuration: not known" in r for r in result["reasons"])


def test_a_task_that_trains_nothing_is_refused(data: str, run_task: TaskRunner) -> None:
    _, decide = loop(data)
    decide.training_task = "other"
    with pytest.raises(UsageError, match="no TrainModelOperator"):
        run_task(decide)
