"""@task.train_model: a function in a DAG file becomes a training task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from airflow.sdk import DAG, task

from airflow_mlops.decorators.training import train_model_task
from airflow_mlops.hooks.mlflow import MlflowHook

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"x": [float(i) for i in range(20)], "y": [i > 9 for i in range(20)]}).to_parquet(path)
    return str(path)


def logistic(X: Any, y: Any, C: float = 1.0) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C).fit(X, y)


def test_rows_come_from_upstream_and_parameters_from_the_call(
    mlflow_local: Path, run_task: TaskRunner, rows: str
) -> None:
    with DAG("train", schedule=None):

        @task
        def prepare() -> dict[str, Any]:
            return {"status": "passed", "data": {"uri": rows}}

        @task
        def choose() -> float:
            return 0.25

        trained = train_model_task(logistic, model_name="decorated", target="y")(prepare(), C=choose())
    operator = trained.operator
    assert operator.task_id == "logistic" and operator.upstream_task_ids == {"prepare", "choose"}
    result = run_task(operator, xcoms={"prepare": {"data": {"uri": rows}}, "choose": 0.25})
    run = MlflowHook().get_conn().get_run(result["run_id"])
    assert run.data.params["C"] == "0.25" and run.data.params["train"] == "logistic"


def test_the_call_is_checked_where_the_dag_is_read() -> None:
    with DAG("train", schedule=None):
        with pytest.raises(TypeError, match="has no data"):
            train_model_task(logistic, model_name="m", target="y")()
        with pytest.raises(TypeError, match="only the data is positional"):
            train_model_task(logistic, model_name="m", target="y")("a.parquet", 0.5)
        with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
            train_model_task(logistic, model_name="m", target="y")("a.parquet", c=0.5)
