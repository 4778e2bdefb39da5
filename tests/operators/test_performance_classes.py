"""A classifier of several classes, from training to its estimate, against a real MLflow and real files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.performance import CheckPerformanceOperator
from airflow_mlops.operators.scoring import ScoreBatchOperator
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

METRICS = ["accuracy", "f1_macro", "roc_auc_ovr", "log_loss"]
CLASSES = np.array(["cancelled", "late", "ok"])


def fit(X: pd.DataFrame, y: pd.Series) -> Any:
    return LogisticRegression().fit(X, y)


def frame(rows: int, seed: int, sharp: float = 1.0) -> pd.DataFrame:
    """``sharp``: how far the classes are apart; 0: nothing can be told."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=rows) * sharp, rng.normal(size=rows) * sharp
    p = np.exp(np.column_stack([4 * x - 1, 3 * y, np.ones(rows)]))
    said = (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((rows, 1))
    return pd.DataFrame({"id": range(rows), "x": x, "y": y, "state": CLASSES[said.argmax(axis=1)]})


@pytest.fixture
def champion(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> str:
    """Version 1 of ``states``, evaluated on a holdout."""
    paths = {}
    for seed, name in enumerate(("train", "holdout")):
        paths[name] = str(tmp_path / f"{name}.parquet")
        frame(3000, seed).drop(columns="id").to_parquet(paths[name])
    train = TrainModelOperator(task_id="t", model_name="states", train=fit, data=paths["train"], target="state")
    version = run_task(train)["version"]
    evaluate = EvaluateModelOperator(
        task_id="e", model_name="states", candidate=version, data=paths["holdout"], target="state", metrics=METRICS
    )
    run_task(evaluate)
    MlflowHook().set_alias("states", "champion", version)
    return str(version)


def scored(run_task: TaskRunner, folder: Path, name: str, rows: pd.DataFrame, **changes: Any) -> Any:
    path = folder / f"{name}.parquet"
    rows.drop(columns="state").to_parquet(path)
    target = str(folder / f"{name}-said.parquet")
    score = ScoreBatchOperator(
        task_id=f"s-{name}", model_name="states", data=str(path), destination=target, columns_to_keep=["id"], **changes
    )
    return run_task(score)


def check(predictions: Any, **changes: Any) -> CheckPerformanceOperator:
    policy = {"bounds": {"accuracy": {"max_drop": 0.05}}}
    return CheckPerformanceOperator(
        task_id="p",
        model_name="states",
        predictions=predictions,
        key="id",
        metrics=METRICS,
        **{"policy": policy, **changes},
    )


def test_several_classes_are_estimated_before_their_labels_come_and_judged_after(
    champion: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    may = frame(3000, 7)
    said = scored(run_task, tmp_path, "may", may)
    written = pd.read_parquet(said["data"]["uri"])
    columns = [f"probability_{c}" for c in CLASSES]
    assert columns == [c for c in written.columns if c.startswith("probability_")]
    assert written[columns].sum(axis=1).to_numpy() == pytest.approx(np.ones(3000))
    assert (written["score"] == written[columns].max(axis=1)).all()

    before = run_task(check(said))
    assert before["basis"] == "estimated" and before["status"] == "passed"
    labels = str(tmp_path / "labels.parquet")
    may[["id", "state"]].to_parquet(labels)
    after = run_task(check(said, labels=labels))
    assert after["basis"] == "realised" and after["status"] == "passed"
    for name in METRICS:
        seen = after["realised"][name]["value"]
        assert before["estimated"][name]["value"] == pytest.approx(seen, abs=0.03)
        assert before["estimated"][name]["error"] > 0

    blurred = scored(run_task, tmp_path, "june", frame(3000, 8, sharp=0.1))
    worse = run_task(check(blurred))
    assert (
        worse["basis"] == "estimated" and worse["status"] == "failed"
    )  # less sure, so less right: seen without labels


@pytest.mark.parametrize(("value", "word"), [(np.nan, "missing_outputs"), (1.5, "output_range")])
def test_probabilities_that_are_none_are_no_sound_output(
    champion: str, run_task: TaskRunner, tmp_path: Path, value: float, word: str
) -> None:
    """Predictions and scores look sound, as those of another service can."""
    said = scored(run_task, tmp_path, "may", frame(300, 7))
    written = pd.read_parquet(said["data"]["uri"])
    written.loc[:5, "probability_ok"] = value
    written.to_parquet(tmp_path / "odd.parquet")
    result = run_task(check(str(tmp_path / "odd.parquet"), estimate=False))
    assert result["status"] == "failed"
    found = [c for c in result["report"]["checks"] if c["status"] == "failed"]
    assert [c["name"] for c in found] == [word]


def test_without_the_columns_there_is_no_estimate_and_that_is_said(
    champion: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    said = scored(run_task, tmp_path, "may", frame(300, 7), class_probabilities=False)
    assert not any(c.startswith("probability_") for c in pd.read_parquet(said["data"]["uri"]).columns)
    result = run_task(check(said))
    assert result["status"] not in ("passed", "failed")
    assert "class_probabilities" in result["estimated"]["accuracy"]["why"]
    again = scored(run_task, tmp_path, "may", frame(300, 7))
    assert again["created"] is True  # other columns are another file


def test_slow_predictions_are_no_good_ones(champion: str, run_task: TaskRunner, tmp_path: Path) -> None:
    said = str(tmp_path / "log.parquet")
    rng = np.random.default_rng(0)
    log = {"id": range(200), "prediction": CLASSES[rng.integers(0, 3, 200)], "seconds": rng.exponential(1.0, 200)}
    pd.DataFrame(log).to_parquet(said)
    policy = {"outputs": {"latency_column": "seconds", "max_latency": 0.5}}
    result = run_task(check(said, policy=policy))
    (latency,) = (c for c in result["report"]["checks"] if c["name"] == "latency")
    assert latency["status"] == "failed" and result["status"] == "failed"
