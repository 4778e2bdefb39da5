"""What a partition is compared with, and that a replay of a year says what the year said."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift_reference import ReferenceChoice, added
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.engines import FrameEngine
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from tests.core.drift_samples import profile

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

MONTHS = [f"2013-{m:02d}" for m in range(1, 7)]


def rows(seed: int, wind: float = 0.0, n: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"wind": rng.normal(wind, 1, n), "hour": rng.integers(0, 24, n).astype(float)})


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    """A champion with a training profile."""
    hook = MlflowHook()
    hook.ensure_model("delays")
    run = hook.client.create_run(hook.experiment_id("delays")).info.run_id
    known = FrameEngine(rows(0, n=2000)).profile(DatasetRef(uri="training"))
    hook.log_json(run, "profile/training.json", known.to_dict())
    hook.client.create_model_version("delays", "file:///nowhere", run)
    hook.set_alias("delays", "champion", "1")
    return hook


def check(folder: Path, month: str, wind: float, **changes: Any) -> CheckDriftOperator:
    path = folder / f"{month}.parquet"
    if not path.exists():
        rows(int(month[-2:]), wind).to_parquet(path)
    return CheckDriftOperator(task_id="drift", model_name="delays", data=str(path), **changes)


def test_a_season_that_comes_back_is_drift_from_the_training_and_not_from_the_year_before(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    first = run_task(check(tmp_path, "2012-01", 1.0, reference="before:365d"), partition_key="2012-01")
    assert first["drift"] is True  # nothing is known of the year before that: the training data it is
    assert first["report"]["details"]["compared_with"].startswith("training profile (no such partition")
    assert first["report"]["details"]["comparison"] == "skew"
    again = run_task(check(tmp_path, "2013-01", 1.0, reference="before:365d"), partition_key="2013-01")
    assert again["drift"] is False
    assert again["report"]["details"]["compared_with"] == "1 partition: 2012-01"
    assert again["report"]["details"]["comparison"] == "drift"
    skew = run_task(check(tmp_path, "2013-01", 1.0), partition_key="2013-01")
    assert skew["drift"] is True and skew["report"]["details"]["compared_with"] == "training profile"


def test_a_replay_of_the_months_says_what_the_months_said(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    """With a rolling reference: a replay of March knows what March knew, though June has been checked since."""
    live = []
    for i, month in enumerate(MONTHS):
        wind = 0.6 if i >= 3 else 0.0
        live.append(run_task(check(tmp_path, month, wind, reference="last:2"), partition_key=month))
    assert [r["drift"] for r in live] == [False, False, False, True, True, False]
    assert live[3]["report"]["details"]["compared_with"] == "2 partitions: 2013-02, 2013-03"
    for month, was in zip(reversed(MONTHS), reversed(live), strict=True):
        task = check(tmp_path, month, 0.0, reference="last:2")
        now = run_task(task, partition_key=month, run_type="backfill", run_id=f"backfill-{month}")
        assert now["report"] == was["report"] and now["record"] == was["record"]
    assert len(hook.history("delays", kinds=("drift",))) == len(MONTHS)


def test_a_column_that_stays_away_is_missed_every_time(hook: MlflowHook, run_task: TaskRunner, tmp_path: Path) -> None:
    """The partitions before this one came without it as well: that makes it no less gone."""
    seen = []
    for i, month in enumerate(MONTHS):
        frame = rows(20 + i)
        (frame if i < 2 else frame[["hour"]]).to_parquet(tmp_path / f"{month}.parquet")
        seen.append(run_task(check(tmp_path, month, 0.0, reference="last:2"), partition_key=month))
    assert [r["columns"] for r in seen] == [[], [], *[["wind"]] * 4]
    assert seen[3]["report"]["details"]["compared_with"] == "2 partitions: 2013-01, 2013-02"


def test_partitions_of_which_fewer_columns_were_kept_are_no_reference(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    run_task(check(tmp_path, "2013-01", 0.0, reference="last:2", policy={"include": ["hour"]}), partition_key="2013-01")
    seen = run_task(check(tmp_path, "2013-02", 3.0, reference="last:2"), partition_key="2013-02")
    assert seen["columns"] == ["wind"]
    assert seen["report"]["details"]["compared_with"].startswith("training profile (those partitions lack columns")


def test_after_an_outage_is_compared_with_before_it(hook: MlflowHook, run_task: TaskRunner, tmp_path: Path) -> None:
    """Broken partitions are nothing to compare with: when all is well again, that is no drift."""
    seen = []
    for i, month in enumerate(MONTHS):
        frame = rows(20 + i)
        if i in (2, 3):
            frame.loc[: len(frame) // 2, "wind"] = np.nan
        frame.to_parquet(tmp_path / f"{month}.parquet")
        seen.append(run_task(check(tmp_path, month, 0.0, reference="last:2"), partition_key=month))
    assert [r["drift"] for r in seen] == [False, False, True, True, False, False]
    assert seen[4]["report"]["details"]["compared_with"] == "2 partitions: 2013-01, 2013-02"
    decided = run_task(decide(), partition_key=MONTHS[3])
    assert decided["decision"] == "alert" and decided["reasons"][0].startswith("data incident in 2013-04: null_share")


def test_a_file_that_is_written_over_is_another_partition_each_time(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    """Without partition keys all its checks are called like the file: drift twice is drift twice."""
    seen = []
    for i, wind in enumerate((0.0, 1.0, 1.0)):
        rows(i, wind).to_parquet(tmp_path / "latest.parquet")
        day = dt.datetime(2013, 4, i + 1, tzinfo=dt.UTC)
        seen.append(run_task(check(tmp_path, "latest", 0.0, reference="last:2"), logical_date=day, run_id=f"day-{i}"))
    assert [r["drift"] for r in seen] == [False, True, True]
    assert seen[2]["report"]["details"]["compared_with"] == "2 partitions: " + ", ".join([str(seen[0]["subject"])] * 2)
    decided = run_task(decide(), logical_date=dt.datetime(2013, 4, 4, tzinfo=dt.UTC))
    assert decided["decision"] == "retrain", decided["reasons"]


def decide() -> DecideRetrainingOperator:
    return DecideRetrainingOperator(
        task_id="decide", model_name="delays", policy={"reasons": ["drift"]}, on_keep="return"
    )


def test_only_what_the_model_needs_counts_where_the_rule_says_so(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    policy = {"rule": "importance", "share": 0.5}
    unknown = run_task(check(tmp_path, "2013-02", 1.0, policy=policy))
    assert unknown["status"] == "error"  # nobody has measured what the columns do
    features: Any = [{"name": "hour", "mean": 0.2, "std": 0.0}, {"name": "wind", "mean": 0.01, "std": 0.0}]
    body = {"importances": {"features": features}}
    record = Record(
        kind="evaluation",
        model="delays",
        key="e",
        outcome="passed",
        subject="1",
        body=body,
    )
    hook.record(record)
    slight = run_task(check(tmp_path, "2013-02", 1.0, policy=policy))
    assert slight["columns"] == ["wind"] and slight["drift"] is False
    assert slight["share_drifted"] == pytest.approx(0.01 / 0.21)


def test_an_importance_that_is_null_is_unknown_and_not_nothing(
    hook: MlflowHook, run_task: TaskRunner, tmp_path: Path
) -> None:
    features: Any = [{"name": "hour", "mean": 0.2, "std": 0.0}, {"name": "wind", "mean": None, "std": None}]
    body = {"importances": {"features": features}}
    hook.record(Record(kind="evaluation", model="delays", key="e", outcome="passed", subject="1", body=body))
    result = run_task(check(tmp_path, "2013-02", 1.0, policy={"rule": "importance", "share": 0.5}))
    assert result["status"] == "error" and result["drift"] is None


@pytest.mark.parametrize("text", ["last:0", "before:1y", "yesterday"])
def test_a_reference_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="last:4"):
        ReferenceChoice.of(text)


@given(st.lists(st.integers(0, 800), max_size=30), st.integers(0, 800), st.integers(1, 5))
def test_the_reference_is_earlier_than_the_partition(days: list[int], at: int, last: int) -> None:
    start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    known = [(start + dt.timedelta(days=d), d) for d in days]
    now = start + dt.timedelta(days=at)
    taken = ReferenceChoice(last=last).among(known, now)
    assert taken == sorted(d for d in days if d < at)[-last:]
    for d in ReferenceChoice(days=100).among(known, now):
        assert 90 <= at - d <= 110


def test_profiles_add_up_over_the_columns_that_all_have() -> None:
    one = profile({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    both = added([one, profile({"x": [2.0]}, like=one)])
    assert both.rows == 3 and list(both.columns) == ["x"]
    with pytest.raises(UsageError):
        added([])
