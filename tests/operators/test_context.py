"""What operators take from a context, and what they do without."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.operators._code import code_version, commit_of
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of

WHEN = dt.datetime(2013, 5, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))


def test_who_is_deciding_as_far_as_it_is_known() -> None:
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", try_number=2, map_index=-1)
    run = SimpleNamespace(dag_id="d", run_id="r", logical_date=WHEN, run_type="manual")
    assert run_of({"ti": ti, "dag_run": run, "partition_key": "2013-05"}) == {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "try_number": 2,
        "logical_date": "2013-05-01T02:00:00+02:00",
        "partition_key": "2013-05",
    }
    ti.map_index = 0
    assert run_of({"task_instance": ti})["map_index"] == 0
    assert run_of({}) == {}


def test_the_time_is_the_datas_before_the_clocks() -> None:
    later = WHEN + dt.timedelta(days=1)
    run = SimpleNamespace(data_interval_end=None, logical_date=None, run_after=later, start_date=None)
    assert time_of({"dag_run": run}) == "2013-05-02T00:00:00+00:00"
    run.data_interval_end = WHEN
    assert time_of({"dag_run": run}) == "2013-05-01T00:00:00+00:00"
    assert time_of({}) == ""


def test_a_backfill_is_one_however_airflow_says_it() -> None:
    for run_type in ("backfill", SimpleNamespace(value="backfill")):
        assert is_backfill({"dag_run": SimpleNamespace(run_type=run_type)})
    assert not is_backfill({"dag_run": SimpleNamespace(run_type="scheduled")})


def test_what_is_published_is_plain() -> None:
    pushed: list[Any] = []
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.append((key, value)))
    assert publish({"ti": ti}, {"auc": float("nan"), "rows": (1, 2)}) == {"auc": None, "rows": [1, 2]}
    assert pushed == [("return_value", {"auc": None, "rows": [1, 2]})]
    assert publish({}, {"a": 1}) == {"a": 1}


def test_data_is_a_reference_or_a_result_that_carries_one() -> None:
    ref = DatasetRef(uri="a.parquet")
    for value in (ref, ref.to_dict(), "a.parquet", {"status": "passed", "data": ref.to_dict()}):
        assert data_of(value) == ref
    with pytest.raises(UsageError, match=r"data=validated\.output"):
        data_of(None)
    with pytest.raises(UsageError):
        data_of({"status": "passed"})


def test_the_commit_is_read_without_a_process(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    file = tmp_path / "dags" / "train.py"
    file.parent.mkdir()
    file.write_text("def fit(X, y): ...\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert commit_of(file) == head
    git("pack-refs", "--all")
    assert commit_of(file) == head
    git("checkout", "-q", "--detach")
    assert commit_of(file) == head
    git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    assert commit_of(tmp_path / "tree" / "dags" / "train.py") == head
    assert code_version({"ti": SimpleNamespace(bundle_instance=SimpleNamespace(version="v7"))}, len) == "v7"
    assert code_version({}, len) == ""
