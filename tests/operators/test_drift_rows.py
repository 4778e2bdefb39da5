"""What CheckDriftOperator asks of rows, and statistics of one's own, against a real MLflow and real files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, PolicyError, UsageError
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import _rows
from airflow_mlops.operators._rows import sample
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner


def fit(X: pd.DataFrame, y: pd.Series) -> Any:
    return HistGradientBoostingClassifier(max_iter=20).fit(X, y)


def frame(rows: int, seed: int, turn: float = 0.8) -> pd.DataFrame:
    """``a`` decides where ``b`` is about 0, which it is as long as both go together; each alone is always the same."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    b = turn * a + (1 - turn**2) ** 0.5 * rng.normal(size=rows)
    days = pd.Timestamp("2013-01-01") + pd.to_timedelta(seed, unit="D")
    return pd.DataFrame({"a": a, "b": b, "noise": rng.normal(size=rows), "day": days, "late": a - 0.7 * b > 0})


def written(path: Path, rows: pd.DataFrame) -> str:
    rows.to_parquet(path)
    return str(path)


@pytest.fixture
def training(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> str:
    """The rows that version 1 of ``delays`` was trained on."""
    data = written(tmp_path / "train.parquet", frame(1500, 0))
    columns = ["a", "b", "noise", "late"]
    train = TrainModelOperator(
        task_id="train", model_name="delays", train=fit, data={"uri": data, "columns": columns}, target="late"
    )
    MlflowHook().set_alias("delays", "champion", run_task(train)["version"])
    return data


def check(data: str, training: Any, **changes: Any) -> CheckDriftOperator:
    return CheckDriftOperator(task_id="drift", model_name="delays", data=data, reference_rows=training, **changes)


def of(result: Any, name: str) -> Any:
    (found,) = (c for c in result["report"]["checks"] if c["name"] == name)
    return found


def test_what_no_column_shows_alone_is_drift_where_rows_are_at_hand(
    training: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    same, turned = (
        written(tmp_path / f"{turn}.parquet", frame(1500, 7, turn).drop(columns="late")) for turn in (0.8, -0.8)
    )
    assert run_task(CheckDriftOperator(task_id="columns", model_name="delays", data=turned))["drift"] is False
    fine = run_task(check(same, training, attributions=True))
    assert fine["drift"] is False and fine["status"] == "passed"  # another day is another day, and no drift
    assert of(fine, "domain_classifier")["details"]["columns"] == 3  # not the day, not what is to be predicted
    bad = run_task(check(turned, training, attributions=True))
    assert bad["drift"] is True and bad["status"] == "failed" and bad["columns"] == []
    assert of(bad, "domain_classifier")["observed"] > 0.7
    assert run_task.last is not None
    told = run_task.last.task.get_openlineage_facets_on_complete(None).inputs
    assert [d.name for d in told] == [turned, training, "delays"] and all("version" in d.facets for d in told)
    counted = told[0].inputFacets["dataQualityMetrics"]
    assert set(counted.columnMetrics) == {"a", "b", "noise"} and counted.rowCount == 1500
    (record, *_) = MlflowHook().history("delays", kinds=("drift",))
    assert record.metrics["domain_auc"] > 0.7 and record.metrics["attribution_ndcg"] <= 1.0
    assert record.body["details"]["drift"] is True  # type: ignore[index,call-overload]


def test_a_ranking_that_turned_is_drift_by_ones_own_attributions(
    training: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(600, 7))
    calm = run_task(check(data, training, attributions=by_day))
    assert of(calm, "attribution_ranking")["status"] == "passed"
    turned = run_task(check(data, training, attributions=by_rows))
    assert turned["drift"] is True and of(turned, "attribution_ranking")["status"] == "failed"
    assert turned["record"]["run_id"] != calm["record"]["run_id"]  # another function is another check


def by_day(estimator: Any, rows: pd.DataFrame) -> Any:
    return np.abs(rows.to_numpy()) * [9.0, 3.0, 1.0]


def by_rows(estimator: Any, rows: pd.DataFrame) -> Any:
    return np.abs(rows.to_numpy()) * ([9.0, 3.0, 1.0] if len(rows) > 1000 else [1.0, 3.0, 9.0])


@pytest.mark.parametrize(
    ("rows", "changes", "status"),
    [
        (99, {}, "insufficient_data"),
        (600, {"attributions": lambda estimator, rows: 1 / 0}, "error"),
        (600, {"reference": "other"}, "error"),
    ],
)
def test_rows_that_can_not_be_asked_are_not_no_drift(
    training: str, run_task: TaskRunner, tmp_path: Path, rows: int, changes: Any, status: str
) -> None:
    changes = dict(changes)
    if changes.pop("reference", ""):
        training = written(tmp_path / "other.parquet", pd.DataFrame({"c": range(600)}))
    result = run_task(check(written(tmp_path / "may.parquet", frame(rows, 7)), training, **changes))
    assert result["status"] == status and result["drift"] is None


def test_reference_rows_that_are_not_there_are_retried_and_attributions_need_them(
    training: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    data = written(tmp_path / "may.parquet", frame(600, 7))
    with pytest.raises(DatasetNotFound):
        run_task(check(data, str(tmp_path / "nowhere.parquet")))
    with pytest.raises(UsageError, match="reference_rows"):
        run_task(check(data, None, attributions=True))


def test_a_sample_is_of_all_rows_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "SAMPLED", 100)
    ref = DatasetRef(uri=written(tmp_path / "all.parquet", pd.DataFrame({"x": range(1000), "y": 0})))
    few = sample(ref, ["x"], 50)
    assert few.columns.tolist() == ["x"] and len(few) == few["x"].nunique() == 50
    assert few.equals(sample(ref, ["x"], 50)) and 300 < few["x"].mean() < 700
    assert sorted(sample(ref, ["x"], 5000)["x"]) == list(range(1000))


def biggest(reference: Any, current: Any) -> float:
    return float(np.abs(reference / reference.sum() - current / current.sum()).max())


def test_a_plain_function_of_ones_own_decides(training: str, run_task: TaskRunner, tmp_path: Path) -> None:
    data = written(tmp_path / "may.parquet", frame(600, 7).drop(columns="late").assign(noise=lambda f: f["noise"] + 1))
    policy = {"numeric_effect": "biggest", "floors": {"biggest": 0.5}}
    own: dict[str, Any] = {"effects": {"biggest": biggest}, "tests": {"never": lambda r, c: 1.0}}
    blind = run_task(check(data, None, policy=policy, **own))
    assert blind["drift"] is False  # no cell's share changed by half
    seeing = run_task(check(data, None, policy={**policy, "floors": {"biggest": 0.05}}, **own))
    assert seeing["columns"] == ["noise"]
    (found,) = (c for c in seeing["report"]["checks"] if c["name"] == "distribution" and c["subject"] == "noise")
    assert found["details"]["measure"] == "biggest"
    never = run_task(check(data, None, policy={"numeric_test": "never"}, **own))
    assert never["drift"] is False
    with pytest.raises(PolicyError, match="floor"):
        run_task(check(data, None, policy={"numeric_effect": "biggest"}, **own))
