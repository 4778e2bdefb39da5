"""RollbackDrillOperator: the real rollback on a copy, and nothing of the model itself is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.drill import Drill, report_of
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.exceptions import DrillFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import drill as module
from airflow_mlops.operators.drill import RollbackDrillOperator
from airflow_mlops.operators.training import TrainModelOperator
from tests.kit.tasks import TaskRunner


def train(run_task: TaskRunner, data: str, strength: float) -> str:
    task = TrainModelOperator(
        task_id="train",
        model_name="m",
        train=LogisticRegression(C=strength),
        data=data,
        target="y",
        features=["x"],
        requirements=["scikit-learn"],
        code_version=str(strength),
    )
    return str(run_task(task)["version"])


def state(hook: MlflowHook) -> Any:
    """All of the model that a drill could disturb."""
    versions = [(v.version, v.aliases, v.tags) for v in hook.versions("m")]
    return versions, hook.written("m", "1"), hook.written("m", "2"), hook.written("m", "")


def test_a_drill(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = MlflowHook()
    data = tmp_path / "rows.parquet"
    x = np.linspace(-1, 1, 100)
    pd.DataFrame({"x": x, "y": (x > 0).astype(int)}).to_parquet(data)
    drill = RollbackDrillOperator(task_id="drill", model_name="m")
    with pytest.raises(DrillFailed, match="no champion with one before it"):
        run_task(drill)
    with pytest.raises(AirflowSkipException, match="no champion with one before it"):
        run_task(RollbackDrillOperator(task_id="drill", model_name="m", on_nothing="skip"))
    with pytest.raises(DrillFailed, match="did you mean 'skip'"):
        run_task(RollbackDrillOperator(task_id="drill", model_name="m", on_nothing="skp"))

    first, second = train(run_task, str(data), 1.0), train(run_task, str(data), 2.0)
    hook.set_alias("m", "champion", second)
    hook.set_alias("m", "previous_champion", first)
    before = state(hook)
    report = run_task(drill, run_id="one")
    assert report["status"] == "passed" and len(report["checks"]) == 6
    assert (report["details"]["version"], report["details"]["to"]) == (f"m/{second}", f"m/{first}")
    assert state(hook) == before
    assert hook.versions("m__drill") == []
    record = hook.history("m", kinds=["drill"])[0]
    assert record.outcome == "passed" and set(record.metrics) == {"rollback_seconds", "load_seconds"}
    assert hook.history("m", kinds=["rollback"]) == []

    assert run_task(drill, run_id="two")["status"] == "passed", "every drill is one of its own"
    assert len(hook.history("m", kinds=["drill"])) == 3

    with pytest.raises(DrillFailed, match=r"time.* of 0 s"):
        run_task(RollbackDrillOperator(task_id="hasty", model_name="m", max_seconds=0.0))
    hook.tag_version("m", first, {"model_digest": "other"})
    with pytest.raises(DrillFailed, match=r"model: it does not load.*not the ones that were registered"):
        run_task(drill, run_id="three")
    with monkeypatch.context() as patch:
        patch.setattr(module, "rollback", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_task(drill, run_id="killed")
    assert hook.versions("m__drill") == []


def test_nothing_that_was_not_seen_counts_as_working() -> None:
    copies = [ModelVersion(name="m__drill", version=v) for v in "12"]
    report = report_of("m", Drill(left=copies[1], target=copies[0]), max_seconds=9, inputs={})
    assert not report.passed and [c.name for c in report.failures()] == [c.name for c in report.checks]
