"""ShadowScoreOperator with real models in a real MLflow."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from airflow_mlops.exceptions import ScoringFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.shadow import ShadowScoreOperator
from airflow_mlops.operators.training import TrainModelOperator
from tests.kit.tasks import TaskRunner

BATCH = 250
SURE = {"partitions": 2, "min_rows": 500, "effect": 0.1, "max_latency_ratio": None}


class Broken(LogisticRegression):
    """Fits, and fails on live rows, which come in batches."""

    def predict(self, X: Any) -> Any:
        if len(X) == BATCH:
            raise RuntimeError("out of coffee")
        return super().predict(X)


def partition(folder: Path, day: int, *, labelled: bool = True) -> str:
    random = np.random.default_rng(day)
    x = random.normal(size=1000)
    late = (x + random.normal(scale=0.5, size=1000) > 0).astype(float)
    frame = pd.DataFrame({"x": x, "late": late if labelled else np.full(1000, np.nan)})
    path = folder / f"day{day}{labelled}.parquet"
    frame.to_parquet(path)
    return str(path)


def train(run_task: TaskRunner, model: Any, data: str) -> str:
    task = TrainModelOperator(
        task_id="train",
        model_name="m",
        train=model,
        data=data,
        target="late",
        features=["x"],
        requirements=["scikit-learn"],
        code_version=type(model).__name__,
        problem="classification",
    )
    return str(run_task(task)["version"])


def shadow(data: str, **options: Any) -> ShadowScoreOperator:
    with DAG("shadows", schedule=None):
        task = ShadowScoreOperator(task_id="shadow", model_name="m", data=data, batch_rows=BATCH, **options)
        task >> BaseOperator(task_id="after")
    return task


def on(day: int) -> dict[str, Any]:
    return {"logical_date": dt.datetime(2013, 5, day, tzinfo=dt.UTC)}


def test_a_better_challenger_shows_itself(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> None:
    data = partition(tmp_path, 1)
    hook = MlflowHook()
    champion = train(run_task, DummyClassifier(), data)
    with pytest.raises(AirflowSkipException, match="no challenger beside a champion"):
        run_task(shadow(data))
    hook.set_alias("m", "champion", champion)
    challenger = train(run_task, LogisticRegression(), data)

    unlabelled = run_task(shadow(partition(tmp_path, 2, labelled=False), target="late", policy=SURE), **on(2))
    assert (unlabelled["champion"], unlabelled["challenger"], unlabelled["outcome"]) == (
        champion,
        challenger,
        "compared",
    )
    assert unlabelled["difference"]["rows"] == 0
    assert {"agreement", "score_difference_p95", "champion_latency_p95"} <= set(unlabelled["metrics"])
    assert unlabelled["decision"]["decision"] == "continue"

    first = run_task(shadow(partition(tmp_path, 2), target="late", policy=SURE, on_wait="skip"), **on(2))
    assert first["difference"]["loss"] == "brier" and first["difference"]["mean"] > 0.1
    assert run_task.last is not None and run_task.last.skipped == ["after"]
    second = run_task(shadow(partition(tmp_path, 3), target="late", policy=SURE, on_wait="skip"), **on(3))
    assert second["decision"]["decision"] == "promote" and run_task.last.skipped == []
    again = run_task(shadow(partition(tmp_path, 3), target="late", policy=SURE), **on(3))
    assert again == second
    assert len([r for r in hook.history("m", kinds=["shadow"]) if r.outcome == "compared"]) == 3
    alias = hook.by_alias("m", "champion")
    assert alias is not None and alias.version == champion, "a shadow moves nothing"

    broken = train(run_task, Broken(), data)
    told = run_task(shadow(data, challenger=broken, policy=SURE), **on(4))
    assert told["outcome"] == "error" and "out of coffee" in told["error"]
    assert told["decision"]["decision"] == "stop"
    hook.set_alias("m", "champion", broken)
    with pytest.raises(ScoringFailed, match="out of coffee"):
        run_task(shadow(data, challenger=challenger))
    with pytest.raises(ScoringFailed, match="no column 'lat'"):
        run_task(shadow(data, challenger=champion, target="lat"))
