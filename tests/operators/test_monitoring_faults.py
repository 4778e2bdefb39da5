"""Monitoring when something is wrong: a server killed midway, clocks, types and ids. Never "no drift" by accident."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import requests

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.engines import FrameEngine
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.performance import CheckPerformanceOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from tests.kit.mlflow import MlflowServer, running_server

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

MONTHS = [f"2013-{m:02}" for m in range(1, 7)]


def rows(seed: int, wind: float = 0.0, n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"wind": rng.normal(wind, 1, n), "carrier": np.array(["AA", "UA"])[rng.integers(0, 2, n)]})


def champion(name: str) -> MlflowHook:
    """A model with a training profile and without anything else."""
    hook = MlflowHook()
    hook.ensure_model(name)
    run = hook.client.create_run(hook.experiment_id(name)).info.run_id
    hook.log_json(run, "profile/training.json", FrameEngine(rows(0, n=2000)).profile(DatasetRef(uri="t")).to_dict())
    hook.client.create_model_version(name, f"runs:/{run}/model", run)
    hook.set_alias(name, "champion", "1")
    return hook


def check(folder: Path, month: str, name: str, frame: pd.DataFrame | None = None, **more: Any) -> CheckDriftOperator:
    path = folder / f"{month}.parquet"
    (rows(int(month[-2:])) if frame is None else frame).to_parquet(path)
    return CheckDriftOperator(task_id="drift", model_name=name, data=str(path), **more)


@pytest.fixture
def own_server(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server that a test may kill."""
    with running_server(tmp_path_factory.mktemp("killed")) as server:
        connection = {"conn_type": "mlflow", "host": server.uri, "extra": {"max_retries": 0, "timeout": 10}}
        monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
        yield server


def test_a_server_that_is_killed_midway_is_retried_to_one_record(
    own_server: MlflowServer, run_task: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after the reference was read, before the verdict is written; then months are asked for in one search."""
    champion("delays")

    def dies(reference: Any, current: Any) -> float:
        """A statistic during which the server is killed."""
        own_server.kill()
        return 0.0

    with pytest.raises(MlflowUnavailable):
        run_task(check(tmp_path, "2013-01", "delays", effects={"dies": dies}), partition_key="2013-01")
    assert (
        run_task.last is not None and "return_value" not in run_task.last.xcoms
    )  # no verdict, least of all a good one
    own_server.start()
    assert MlflowHook().history("delays", kinds=("drift",)) == []
    for month in MONTHS:
        moved = rows(1, wind=2.0 if month == "2013-03" else 0.0)
        run_task(check(tmp_path, month, "delays", moved), partition_key=month, try_number=2)

    hook, asked = MlflowHook(), []
    experiment = hook.experiment_id("delays")
    send = requests.Session.send

    def counted(self: Any, request: Any, **kwargs: Any) -> Any:
        asked.append(request.url)
        return send(self, request, **kwargs)

    monkeypatch.setattr(requests.Session, "send", counted)
    series = {r.subject: r.metrics["share_drifted"] for r in hook.history("delays", kinds=("drift",))}
    assert len(asked) == 1, asked
    assert series == {m: 0.5 if m == "2013-03" else 0.0 for m in MONTHS}
    # The same as a plain search of MLflow's own, for a notebook or a dashboard.
    found = hook.client.search_runs([experiment], "tags.`mlops.kind` = 'drift'", order_by=["tags.`mlops.at` ASC"])
    assert len(asked) == 2
    assert [r.data.metrics["effect.wind"] > 0.3 for r in found] == [m == "2013-03" for m in MONTHS]


def test_a_category_that_became_numbers_is_drift_and_columns_without_values_say_so(
    mlflow_local: Path, run_task: TaskRunner, tmp_path: Path
) -> None:
    champion("delays")
    coded = rows(1).assign(carrier=lambda f: (f["carrier"] == "AA").astype(int))
    result = run_task(check(tmp_path, "2013-01", "delays", coded))
    assert result["drift"] is True and result["columns"] == ["carrier"]
    (schema,) = (c for c in result["report"]["checks"] if c["name"] == "schema")
    assert "was categorical" in schema["message"] and "is numeric" in schema["message"]
    empty = run_task(check(tmp_path, "2013-02", "delays", rows(1).assign(wind=np.nan)))
    assert empty["drift"] is True and empty["columns"] == ["wind"]  # its nulls
    constant = run_task(check(tmp_path, "2013-03", "delays", rows(1).assign(wind=0.0)))
    assert constant["drift"] is True and constant["columns"] == ["wind"]


def test_a_clock_that_went_back_changes_no_verdict_and_hides_no_drift(
    mlflow_local: Path, run_task: TaskRunner, tmp_path: Path
) -> None:
    """The newest check stays the newest by what it is about, though an older month is checked after it."""
    hook = champion("delays")
    for month in ("2013-05", "2013-06"):
        assert run_task(check(tmp_path, month, "delays", rows(3, wind=2.0)), partition_key=month)["drift"] is True
    late = run_task(check(tmp_path, "2013-02", "delays"), partition_key="2013-02")
    assert late["drift"] is False
    rolling = run_task(check(tmp_path, "2013-03", "delays", reference="last:3"), partition_key="2013-03")
    assert rolling["report"]["details"]["compared_with"] == "1 partition: 2013-02"  # nothing of what came after
    policy = {"reasons": ["drift"], "drift_needed": 2, "drift_checks": 2}
    decide = DecideRetrainingOperator(
        task_id="decide", model_name="delays", policy=policy, labelled_until="2013-06", on_keep="return"
    )
    now = run_task(decide, partition_key="2013-06")
    assert now["decision"] == "retrain"  # by May and June, not by the two that were looked at last
    assert hook.history("delays", kinds=("drift",))[0].subject == "2013-06"


def test_predictions_without_ids_and_labels_that_contradict_are_errors(
    mlflow_local: Path, run_task: TaskRunner, tmp_path: Path
) -> None:
    champion("delays")
    said = pd.DataFrame({"prediction": [True, False] * 100, "score": np.linspace(0, 1, 200)})
    labels = pd.DataFrame({"id": range(200), "late": [True, False] * 100})
    cases = {
        "none": (said, labels, "ids"),
        "some": (said.assign(id=[None, *range(199)]), labels, "ids"),
        "twice": (said.assign(id=[0, *range(199)]), labels, "repeated_ids"),
        "contradict": (
            said.assign(id=range(200)),
            pd.concat([labels, labels.head(3).assign(late=[False, True, False])]),
            "contradicting_labels",
        ),
    }
    for name, (predictions, truth, expected) in cases.items():
        paths = {k: str(tmp_path / f"{name}-{k}.parquet") for k in ("predictions", "labels")}
        predictions.to_parquet(paths["predictions"])
        truth.to_parquet(paths["labels"])
        task = CheckPerformanceOperator(
            task_id="p", model_name="delays", key="id", target="late", metrics=["accuracy"], **paths
        )
        result = run_task(task)
        errors = [c["name"] for c in result["report"]["checks"] if c["status"] == "error"]
        assert result["status"] == "error" and expected in errors, name
