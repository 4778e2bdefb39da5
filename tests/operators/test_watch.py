"""WatchChampionOperator in front of a rollback, against a real MLflow."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_mlops.core.records import Record
from airflow_mlops.exceptions import PromotionRefused
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.promotion import PromoteModelOperator, RollbackModelOperator
from airflow_mlops.operators.watch import WatchChampionOperator
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import aliases, make_gate, make_version

MODEL = "late"
MAY = dt.datetime(2013, 5, 1, tzinfo=dt.UTC)
BACK = "{{ ti.xcom_pull('watch')"


def tasks(**options: Any) -> tuple[WatchChampionOperator, RollbackModelOperator]:
    with DAG("watched", schedule=None):
        watch = WatchChampionOperator(task_id="watch", model_name=MODEL, **options)
        back = RollbackModelOperator(
            task_id="roll_back",
            model_name=MODEL,
            from_version=BACK + ".evidence.version }}",
            reason=BACK + ".reasons | join('; ') }}",
        )
        watch >> back
    return watch, back


def checked(hook: MlflowHook, month: int, outcome: str) -> None:
    body: dict[str, Any] = {"details": {"version": "2", "basis": "realised"}}
    at = f"2013-{month:02}-01T00:00:00+00:00"
    hook.record(Record(kind="performance", model=MODEL, key=at, outcome=outcome, at=at, body=body))


def test_a_champion_that_falls_is_rolled_back_and_its_successor_is_not(
    mlflow_local: Path, run_task: TaskRunner
) -> None:
    hook = MlflowHook()
    versions = [make_version(hook, MODEL, until=f"2013-0{n}") for n in (1, 2, 3)]
    for version, before in zip(versions[:2], [None, "1"], strict=True):
        gate = make_gate(hook, MODEL, version, before)
        run_task(PromoteModelOperator(task_id=f"promote{version}", model_name=MODEL, gate=gate), logical_date=MAY)

    checked(hook, 6, "passed")
    assert run_task(tasks()[0])["decision"] == "extend"
    assert run_task.last is not None and run_task.last.skipped == ["roll_back"]
    checked(hook, 7, "failed")
    replayed = run_task(tasks()[0], run_type="backfill")
    assert replayed["decision"] == "roll_back" and run_task.last.skipped == ["roll_back"]
    watch, back = tasks()
    decided = run_task(watch)
    assert (decided["decision"], decided["evidence"]["version"]) == ("roll_back", "2")
    assert run_task.last.skipped == []

    with pytest.raises(PromotionRefused, match="version 2 was to be left; the champion is now version 3"):
        hook.set_alias(MODEL, "champion", "3")
        run_task(back)
    hook.set_alias(MODEL, "champion", "2")
    assert run_task(back)["reasons"] == ["performance not failed does not hold on 2013-07-01T00:00:00+00:00"]
    assert aliases(hook, MODEL)["champion"] == "1"
    assert run_task(tasks()[0])["decision"] == "not_watched"
    assert {r.outcome for r in hook.history(MODEL, kinds=["watch"])} == {"extend", "roll_back", "not_watched"}


def test_a_typing_error_is_final(mlflow_local: Path, run_task: TaskRunner) -> None:
    with pytest.raises(AirflowFailException, match="did you mean 'skip'"):
        run_task(tasks(on_hold="skp")[0])
    with pytest.raises(AirflowFailException, match="did you mean 'guards'"):
        run_task(tasks(policy={"guard": []})[0])
