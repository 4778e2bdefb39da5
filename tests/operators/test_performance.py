"""CheckPerformanceOperator and the join behind it, against a real MLflow and real files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, UsageError
from airflow_mlops.core.estimation import calibration_of
from airflow_mlops.core.estimation_loss import loss_calibration_of
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import plain
from airflow_mlops.engines.joins import join_labels
from airflow_mlops.exceptions import LifecycleFailure, PerformanceDropped
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.performance import CheckPerformanceOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

POLICY = {"bounds": {"roc_auc": {"lower": 0.6, "max_drop": 0.05}}}


def scored(rows: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions, and the labels they foretold."""
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 3, rows)
    days = pd.Timestamp("2013-05-01") + pd.to_timedelta(np.arange(rows) % 31, unit="D")
    key = {"flight": np.arange(rows), "carrier": ["UA"] * rows}
    said = pd.DataFrame({**key, "day": days, "prediction": p >= 0.5, "score": p})
    return said, pd.DataFrame({**key, "late": rng.random(rows) < p})


@pytest.fixture
def champion(mlflow_local: Path) -> str:
    """A version with a calibration and holdout figures."""
    hook = MlflowHook()
    hook.ensure_model("delays")
    experiment = hook.experiment_id("delays")
    run = hook.client.create_run(experiment).info.run_id
    said, labels = scored(4000, 9)
    kept = calibration_of(said["score"].to_numpy(), labels["late"].to_numpy())
    hook.log_json(run, "calibration.json", plain(kept))
    version = hook.client.create_model_version(
        "delays", "file:///nowhere", run, tags={"mlops.target": "late", "mlops.problem": "classification"}
    )
    hook.set_alias("delays", "champion", str(version.version))
    return run


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return write(tmp_path, *scored())


def write(folder: Path, said: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    paths = {"predictions": str(folder / "said.parquet"), "labels": str(folder / "labels.parquet")}
    said.to_parquet(paths["predictions"])
    labels.to_parquet(paths["labels"])
    return paths


def check(files: dict[str, str], **changes: Any) -> CheckPerformanceOperator:
    arguments = {
        "task_id": "performance",
        "model_name": "delays",
        "key": ["flight", "carrier"],
        "policy": POLICY,
        **files,
        **changes,
    }
    return CheckPerformanceOperator(**arguments)


def test_labels_that_are_there_give_realised_figures_and_a_record(
    champion: str, run_task: TaskRunner, files: dict[str, str]
) -> None:
    result = run_task(check(files, metrics=["roc_auc", "brier"]), partition_key="2013-05")
    assert result["status"] == "passed" and result["basis"] == "realised"
    assert result["labels"]["coverage"] == 1.0
    estimated, seen = (result[k]["roc_auc"]["value"] for k in ("estimated", "realised"))
    assert seen == pytest.approx(estimated, abs=0.03) == pytest.approx(result["reference"]["roc_auc"], abs=0.05)
    (record,) = MlflowHook().history("delays", kinds=("performance",))
    assert record.subject == "2013-05" and record.body["details"]["version"] == "1"  # type: ignore[index,call-overload]
    assert {"realised_roc_auc", "realised_brier", "estimated_roc_auc", "label_coverage"} <= set(record.metrics)
    assert run_task.last is not None
    told = run_task.last.task.get_openlineage_facets_on_complete(None).inputs
    assert [d.name for d in told] == [files["predictions"], files["labels"], "delays"]
    assert all(d.facets["version"].datasetVersion for d in told)
    held = {a.assertion: a.success for a in told[0].inputFacets["dataQualityAssertions"].assertions}
    assert held and all(held.values())


def test_a_model_that_is_no_better_than_chance_fails_where_that_was_asked_for(
    champion: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    said, labels = scored()
    labels["late"] = np.random.default_rng(1).permutation(labels["late"])
    files = write(tmp_path, said, labels)
    result = run_task(check(files))
    assert result["status"] == "failed"
    with pytest.raises(PerformanceDropped, match="roc_auc") as error:
        run_task(check(files, task_id="again", on_drop="fail"))
    assert run_task.last is not None and error.value.report == run_task.last.xcoms["return_value"]


def test_labels_that_came_in_part_are_no_drop_and_the_estimate_speaks(
    champion: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    said, labels = scored()
    files = write(tmp_path, said, labels[~labels["late"]])  # what was in time is known first
    result = run_task(check(files, metrics=["roc_auc", "accuracy"]))
    assert result["basis"] == "estimated" and result["status"] == "passed"
    alone = run_task(check(files, task_id="alone", estimate=False))
    assert alone["basis"] == "none" and alone["status"] == "insufficient_data"


@pytest.mark.parametrize("labels", [None, "missing.parquet"])
def test_labels_that_are_not_there_yet_leave_an_estimate(
    champion: str, run_task: TaskRunner, files: dict[str, str], labels: str | None
) -> None:
    result = run_task(check({**files, "labels": labels}))
    assert result["basis"] == "estimated" and result["status"] == "passed" and result["realised"] == {}


def test_rows_younger_than_the_lag_are_not_judged(champion: str, run_task: TaskRunner, tmp_path: Path) -> None:
    said, labels = scored()
    files = write(tmp_path, said, labels[said["day"] <= "2013-05-20"])
    late = run_task(check(files, label_lag={"days": 10}, time_column="day", as_of="2013-05-30"))
    assert late["basis"] == "realised" and late["labels"]["coverage"] == 1.0
    early = run_task(check(files, task_id="early", label_lag={"days": 10}, time_column="day", as_of="2013-05-05"))
    assert early["labels"]["due"] == 0 and early["basis"] == "estimated"
    with pytest.raises(UsageError, match="time_column"):
        run_task(check(files, task_id="wrong", label_lag=60))


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda s, t: (s.drop(columns="flight"), t), "ids"),
        (lambda s, t: (s.assign(flight=s["flight"].where(s["flight"] > 5)), t), "ids"),
        (lambda s, t: (pd.concat([s, s[:10]]), t), "repeated_ids"),
        (lambda s, t: (s, pd.concat([t, t[:10].assign(late=~t["late"][:10])])), "contradicting_labels"),
        (lambda s, t: (s.assign(flight=s["flight"].astype(str)), t), "data"),
        (lambda s, t: (s, t.drop(columns="late")), "data"),
        (lambda s, t: (s.drop(columns="prediction"), t), "data"),
        (lambda s, t: (s.assign(prediction=True), t.assign(late=True)), "value"),
    ],
)
def test_what_can_not_be_judged_is_an_error_and_never_fine(
    champion: str, run_task: TaskRunner, tmp_path: Path, spoil: Any, name: str
) -> None:
    said, labels = scored()
    result = run_task(check(write(tmp_path, *spoil(said, labels))))
    assert result["status"] == "error"
    assert name in [c["name"] for c in result["report"]["checks"] if c["status"] == "error"]


def test_predictions_that_are_no_use_fail_without_a_label(champion: str, run_task: TaskRunner, tmp_path: Path) -> None:
    said, _ = scored()
    said.loc[:2, "score"] = np.nan
    files = write(tmp_path, said, said)
    result = run_task(check(files, labels=None))
    failed = [c for c in result["report"]["checks"] if c["status"] == "failed"]
    assert [c["name"] for c in failed] == ["missing_outputs"] and result["status"] == "failed"
    MlflowHook().tag_version("delays", "1", {"data_until": "2012-12"})
    policy = {**POLICY, "outputs": {"max_age": {"days": 60}, "max_missing": 0.01}}
    result = run_task(check(files, labels=None, policy=policy), partition_key="2013-05")
    said_so = {c["name"]: c["status"] for c in result["report"]["checks"]}
    assert said_so["model_age"] == "failed" and said_so["missing_outputs"] == "passed"


def test_slices_have_figures_of_their_own_and_a_bad_one_is_said(
    champion: str, run_task: TaskRunner, tmp_path: Path
) -> None:
    said, labels = scored(3000)
    said["origin"] = np.where(np.arange(3000) % 3 == 0, "JFK", "LGA")
    said.loc[:20, "origin"] = "EWR"
    bad = said["origin"] == "JFK"
    labels.loc[bad, "late"] = np.random.default_rng(1).permutation(labels.loc[bad, "late"])
    policy = {"bounds": {"roc_auc": {"lower": 0.6}}}
    result = run_task(check(write(tmp_path, said, labels), slices=["origin"], policy=policy))
    checks = {c["subject"]: c for c in result["report"]["checks"] if c["name"] == "slice_value"}
    assert checks["origin=JFK roc_auc"]["status"] == "failed" and checks["origin=LGA roc_auc"]["status"] == "passed"
    assert checks["origin=EWR roc_auc"]["status"] == "insufficient_data"
    jfk = result["report"]["details"]["slices"]["origin=JFK"]["roc_auc"]
    assert jfk["low"] < jfk["value"] < jfk["high"] < 0.6 and result["status"] == "passed"
    unknown = run_task(check(write(tmp_path, said, labels), task_id="unknown", slices="runway"))
    assert unknown["status"] == "error" and "runway" in unknown["report"]["checks"][0]["message"]


def test_labels_that_repeat_themselves_count_once(champion: str, run_task: TaskRunner, tmp_path: Path) -> None:
    said, labels = scored()
    result = run_task(check(write(tmp_path, said, pd.concat([labels, labels[:50]]))))
    assert result["status"] == "passed" and result["labels"]["repeated"] == 50 and result["labels"]["labelled"] == 2000


def test_a_drop_is_measured_from_the_newest_evaluation(
    champion: str, run_task: TaskRunner, files: dict[str, str]
) -> None:
    body = Record(kind="evaluation", model="delays", key="k", outcome="scored", metrics={"roc_auc": 0.99}, subject="1")
    MlflowHook().record(body)
    result = run_task(check(files))
    assert result["reference"]["roc_auc"] == 0.99 and result["status"] == "failed"


def test_a_broken_calibration_costs_the_estimate_and_not_the_truth(
    champion: str, run_task: TaskRunner, files: dict[str, str]
) -> None:
    policy = {"bounds": {"roc_auc": {"lower": 0.6}}}
    for text in ("{nothing", '{"version": 99}', "[]"):
        MlflowHook().log_text(champion, "calibration.json", text)
        result = run_task(check(files, policy=policy))
        assert result["status"] == "passed" and result["basis"] == "realised"


def test_predictions_say_which_version_made_them(champion: str, run_task: TaskRunner, files: dict[str, str]) -> None:
    said = {"data": {"uri": files["predictions"]}, "version": "7", "model_name": "delays"}
    with pytest.raises(AirflowSkipException, match="7"):
        run_task(check({**files, "predictions": said}))  # type: ignore[dict-item]
    with pytest.raises(LifecycleFailure, match="7"):
        run_task(check({**files, "predictions": said}, task_id="f", on_missing_model="fail"))  # type: ignore[dict-item]


def test_predictions_that_are_not_there_are_retried(champion: str, run_task: TaskRunner, files: dict[str, str]) -> None:
    with pytest.raises(DatasetNotFound):
        run_task(check({**files, "predictions": files["predictions"] + ".gone"}))


def test_numbers_are_judged_as_numbers(champion: str, run_task: TaskRunner, tmp_path: Path) -> None:
    said, labels = scored()
    rng = np.random.default_rng(0)
    labels["late"] = rng.normal(10, 5, len(labels))
    said = said.drop(columns="score").assign(prediction=labels["late"] + rng.normal(0, 1, len(labels)))
    result = run_task(check(write(tmp_path, said, labels), metrics=["mae"], policy={"bounds": {"mae": {"upper": 1.0}}}))
    assert result["status"] == "passed" and result["realised"]["mae"]["value"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("inputs", ["kept", "lost"])
def test_a_regressor_is_estimated_by_its_expected_loss(
    champion: str, run_task: TaskRunner, tmp_path: Path, inputs: str
) -> None:
    def sold(seed: int, old: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        rng = np.random.default_rng(seed)
        age = np.where(rng.random(3000) < old, 9.0, 3.0)
        key = {"flight": np.arange(3000), "carrier": ["UA"] * 3000}
        price = rng.normal(20 - age, np.where(age > 8, 4.0, 1.0))
        return pd.DataFrame({**key, "age": age, "prediction": 20 - age}), pd.DataFrame({**key, "price": price})

    said, labels = sold(0, 0.1)
    kept = loss_calibration_of(said[["age"]], said["prediction"].to_numpy(), labels["price"].to_numpy())
    MlflowHook().log_json(champion, "calibration.json", kept)
    said, labels = sold(1, 0.9)
    files = write(tmp_path, said if inputs == "kept" else said.drop(columns="age"), labels)
    policy = {"bounds": {"mae": {"max_relative_drop": 0.3}}}
    result = run_task(check({**files, "labels": None}, metrics=["mae"], policy=policy, target="price"))
    assert result["basis"] == "estimated"
    if inputs == "lost":  # what can't be estimated is an error that names the column, never fine
        assert result["status"] == "error" and "age" in str(result["report"])
        return
    assert result["status"] == "failed"
    truth = run_task(check(files, task_id="truth", metrics=["mae"], policy=policy, target="price"))
    assert truth["basis"] == "realised" and truth["status"] == "failed"
    assert result["estimated"]["mae"]["value"] == pytest.approx(truth["realised"]["mae"]["value"], rel=0.1)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([1368000000 + i for i in range(4)], "holds numbers, not times"),
        (["2013-05-01", None, "2013-05-02", "2013-05-03"], "null in 1 of 4 rows"),
        ([None] * 4, "null in 4 of 4 rows"),
    ],
)
def test_whether_a_label_is_due_is_never_guessed(tmp_path: Path, times: list[Any], why: str) -> None:
    said = pd.DataFrame({"id": [1, 2, 3, 4], "prediction": [0.1, 0.2, 0.3, 0.4], "at": times})
    files = write(tmp_path, said, pd.DataFrame({"id": [1, 2, 3, 4], "y": [0.0, 1.0, 0.0, 1.0]}))
    refs = [DatasetRef(uri=files[name]) for name in ("predictions", "labels")]
    due = dt.datetime(2013, 6, 1, tzinfo=dt.UTC)
    with pytest.raises(DataError, match=why):
        join_labels(*refs, key=["id"], target="y", time_column="at", due=due)


def test_the_join_keeps_each_due_prediction_once_and_only_with_its_own_label(tmp_path: Path) -> None:
    said = pd.DataFrame({"id": [1, 2, 3, 4], "prediction": [0.1, 0.2, 0.3, 0.4]})
    labels = pd.DataFrame({"id": [1, 1, 2, 2, 3, 9, 9], "y": [0.0, 0.0, 1.0, 2.0, None, 1.0, 2.0]})
    files = write(tmp_path, said, labels)
    joined = join_labels(DatasetRef(uri=files["predictions"]), DatasetRef(uri=files["labels"]), key=["id"], target="y")
    assert joined.rows[["id", "y"]].to_numpy().tolist() == [[1, 0.0]]
    found = joined.labels
    assert (found.due, found.labelled, found.repeated, found.contradicting) == (4, 1, 1, 1)  # 9 was never predicted
    assert all(len(d) == 32 for d in joined.digests.values())
