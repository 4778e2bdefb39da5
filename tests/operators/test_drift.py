"""CheckDriftOperator against a real MLflow and real files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import DriftPolicy
from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.engines import FrameEngine
from airflow_mlops.exceptions import DriftDetected, LifecycleFailure, MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner


def fit(X: pd.DataFrame, y: pd.Series) -> Any:
    return LogisticRegression().fit(X, y)


def frame(rows: int, seed: int, *, wind: float = 0.0, late: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"hour": rng.integers(0, 24, rows).astype(float), "wind": rng.normal(wind, 1, rows)}
    if late:
        columns["late"] = rng.random(rows) < 0.3
    return pd.DataFrame(columns)


def written(path: Path, rows: pd.DataFrame) -> str:
    rows.to_parquet(path)
    return str(path)


@pytest.fixture
def champion(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> dict[str, Any]:
    """Version 1 of ``delays``, trained on 2,000 rows; the profile of its predictions is there too."""
    data = written(tmp_path / "train.parquet", frame(2000, 0))
    train = TrainModelOperator(task_id="train", model_name="delays", train=fit, data=data, target="late")
    result: dict[str, Any] = run_task(train)
    hook = MlflowHook()
    hook.set_alias("delays", "champion", result["version"])
    said = pd.DataFrame({"prediction": [False, True] * 500, "score": np.random.default_rng(0).beta(2, 5, 1000)})
    profile = FrameEngine(said).profile(DatasetRef(uri="predictions"))
    hook.log_json(result["run_id"], "profile/predictions.json", profile.to_dict())
    return result


def check(data: Any, **changes: Any) -> CheckDriftOperator:
    return CheckDriftOperator(**{"task_id": "drift", "model_name": "delays", "data": data, **changes})


def test_a_partition_like_the_training_data_is_no_drift_and_is_recorded(
    champion: Any, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1, late=False))
    result = run_task(check(data), partition_key="2013-05")
    assert result["status"] == "passed" and result["drift"] is False and result["columns"] == []
    assert result["subject"] == "2013-05" and result["version"] == champion["version"]
    (record,) = MlflowHook().history("delays", kinds=("drift",))
    assert record.outcome == "passed" and record.subject == "2013-05" and record.at.startswith("2013-05-01")
    assert record.body["details"]["version"] == champion["version"]  # type: ignore[index,call-overload]
    assert {"share_drifted", "max_psi", "effect.wind"} <= set(record.metrics)


def test_drift_names_the_column_and_a_second_look_writes_nothing(
    champion: Any, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1, wind=1.0))
    results = [run_task(check(data), partition_key="2013-05") for _ in range(2)]
    assert results[0] == results[1]
    assert results[0]["status"] == "failed" and results[0]["drift"] is True and results[0]["columns"] == ["wind"]
    assert len(MlflowHook().history("delays", kinds=("drift",))) == 1
    run_task(check(data), partition_key="2013-06")  # the same rows, another partition
    assert len(MlflowHook().history("delays", kinds=("drift",))) == 2


def test_a_dag_that_asks_for_it_fails_on_drift_after_the_report_is_published(
    champion: Any, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1, wind=1.0))
    with pytest.raises(DriftDetected, match="wind") as error:
        run_task(check(data, on_drift="fail"))
    assert run_task.last is not None
    assert run_task.last.xcoms["return_value"]["drift"] is True
    assert error.value.report == run_task.last.xcoms["return_value"]
    assert MlflowHook().history("delays", kinds=("drift",))[0].outcome == "failed"


def test_predictions_are_watched_like_a_column(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1))
    scores = np.random.default_rng(3).beta(5, 2, 800)
    said = written(
        tmp_path / "said.parquet", pd.DataFrame({"prediction": scores > 0.5, "score": scores, "id": range(800)})
    )
    result = run_task(check(data, predictions={"data": {"uri": said}, "version": "1"}))
    assert result["status"] == "failed" and "predictions score" in result["columns"]
    page = MlflowHook().read_text(result["record"]["run_id"], "report.html") or ""
    # Every column with the reference's bars beside the batch's, the predictions' too, and nothing from elsewhere.
    assert page.count('class="chart small"') == 5 and page.index(">predictions score<") < page.index(">hour<")
    assert "default-src 'none'" in page


@pytest.mark.parametrize(("rows", "status"), [(5, "insufficient_data"), (800, "error")])
def test_predictions_that_can_not_be_judged_are_not_no_drift(
    champion: Any, run_task: TaskRunner, tmp_path: Path, rows: int, status: str
) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1))
    scores = np.random.default_rng(3).beta(2, 5, rows)
    said = written(tmp_path / "said.parquet", pd.DataFrame({"prediction": scores > 0.5, "score": scores}))
    if status == "error":
        MlflowHook().log_text(champion["run_id"], "profile/predictions.json", "{not json")
    result = run_task(check(data, predictions=said))
    assert result["status"] == status and result["drift"] is None and result["report"]["details"]["drift"] is None


def test_a_vanished_column_is_drift_and_the_label_that_is_not_there_yet_is_none(
    champion: Any, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1, late=False).drop(columns="wind"))
    result = run_task(check(data))
    failed = [(c["name"], c["subject"]) for c in result["report"]["checks"] if c["status"] == "failed"]
    assert ("schema", "wind") in failed and ("schema", "late") not in failed
    other = written(tmp_path / "other.parquet", pd.DataFrame({"a": range(100)}))
    assert run_task(check(other))["status"] == "failed"


def test_a_column_that_became_text_is_drift(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    rows = frame(800, 1)
    rows["wind"] = rows["wind"].map(lambda x: "strong" if x > 0 else "weak")
    result = run_task(check(written(tmp_path / "may.parquet", rows)))
    assert result["drift"] is True and result["columns"] == ["wind"]


@pytest.mark.parametrize("content", ["{not json", '{"version": 99, "rows": 1, "columns": []}', "[]"])
def test_a_broken_profile_is_an_error_and_never_no_drift(
    champion: Any, run_task: TaskRunner, tmp_path: Path, content: str
) -> None:
    MlflowHook().log_text(champion["run_id"], "profile/training.json", content)
    data = written(tmp_path / "may.parquet", frame(800, 1))
    result = run_task(check(data))
    assert result["status"] == "error" and result["drift"] is None
    with pytest.raises(DriftDetected, match="profile"):
        run_task(check(data, on_drift="fail"))


def test_a_version_without_a_profile_is_an_error(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> None:
    hook = MlflowHook()
    hook.ensure_model("delays")
    hook.client.create_model_version("delays", "file:///nowhere")
    result = run_task(check(written(tmp_path / "may.parquet", frame(100, 1)), version="1"))
    assert result["status"] == "error" and "no training profile" in result["report"]["checks"][0]["message"]


def test_few_rows_are_insufficient_and_no_rows_too(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    for rows in (0, 5):
        result = run_task(check(written(tmp_path / f"{rows}.parquet", frame(rows, 1, wind=5.0))))
        assert result["status"] == "insufficient_data" and result["drift"] is None


def test_without_a_champion_there_is_nothing_to_compare_with(
    mlflow_local: Path, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(100, 1))
    with pytest.raises(AirflowSkipException, match="champion"):
        run_task(check(data))
    with pytest.raises(LifecycleFailure, match="champion"):
        run_task(check(data, on_missing_model="fail"))


def test_a_partition_that_is_not_there_is_retried(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound):
        run_task(check(str(tmp_path / "june.parquet")))


def test_a_backfill_writes_history(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1))
    live = run_task(check(data, task_id="live"), partition_key="2013-05")
    again = run_task(check(data, task_id="again"), partition_key="2013-05", run_type="backfill")
    assert again["report"] == live["report"]
    run_task(check(data, subject="2013-04"), run_type="backfill")
    marked = {r.subject: r.backfill for r in MlflowHook().history("delays", kinds=("drift",))}
    assert marked == {"2013-05": False, "2013-04": True}


def test_a_policy_comes_as_a_value_a_dict_or_a_file(champion: Any, run_task: TaskRunner, tmp_path: Path) -> None:
    data = written(tmp_path / "may.parquet", frame(800, 1, wind=1.0))
    file = tmp_path / "drift.yaml"
    file.write_text("exclude: [wind]\n")
    for policy in (DriftPolicy(exclude=("wind",)), {"exclude": ["wind"]}, str(file)):
        assert run_task(check(data, policy=policy))["drift"] is False


def test_an_mlflow_that_does_not_answer_is_retried(
    run_task: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = '{"conn_type": "mlflow", "host": "http://127.0.0.1:9", "login": "a", "password": "s3cret"}'
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", uri)
    with pytest.raises(MlflowUnavailable, match="mlflow_default") as error:
        run_task(check(written(tmp_path / "may.parquet", frame(100, 1))))
    assert "s3cret" not in str(error.value)
