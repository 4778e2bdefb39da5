"""RecordSensor and its trigger: one predicate, an outage waited through, always one end."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, TaskDeferred
from airflow.sdk.module_loading import import_string  # type: ignore[attr-defined]

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.ledger_watch import RecordWatch
from airflow_mlops.core.records import Record
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.sensors.ledger import RecordSensor
from airflow_mlops.triggers.ledger import RecordTrigger
from tests.kit.tasks import TaskRunner


def sensor(**arguments: Any) -> RecordSensor:
    return RecordSensor(**{"task_id": "wait", "model_name": "churn", "kind": "drift", **arguments})


def verdict(month: str, outcome: str = "passed", kind: str = "drift") -> Record:
    record = Record(kind=kind, model="churn", key=kind + month, outcome=outcome, subject=month, at=f"{month}-01")
    return MlflowHook().record(record)


def event_of(trigger: RecordTrigger) -> dict[str, Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(collect())
    return dict(event)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_verdict_that_is_there_is_seen_without_waiting(
    mlflow_local: Path, run_task: TaskRunner, deferrable: bool
) -> None:
    stored = verdict("2013-05", "failed")
    result = run_task(sensor(subject="{{ partition_key }}", deferrable=deferrable), partition_key="2013-05")
    assert result["outcome"] == "failed" and result["record"]["run_id"] == stored.run_id


@pytest.mark.parametrize("subject", ["2013-04", "it's", "both \" and '"])
def test_what_is_waited_for_may_be_older_than_many_others(
    mlflow_local: Path, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """A backfill waits for April while the ledger is full of later months: that never ended."""
    monkeypatch.setattr("airflow_mlops.core.ledger_watch.LOOK", 3 if '"' in subject else 1)
    MlflowHook().record(
        Record(kind="drift", model="churn", key="k", outcome="passed", subject=subject, at="2013-04-01")
    )
    for month in ("2013-05", "2013-06"):
        verdict(month)
    assert run_task(sensor(subject=subject, timeout=0, poke_interval=0))["subject"] == subject
    found = event_of(RecordTrigger(watch={"model": "churn", "kind": "drift", "subject": subject}, poll_interval=0))
    assert found["status"] == "found" and found["at"] == "2013-04-01"


def test_it_defers_and_its_trigger_sees_what_it_waits_for_and_nothing_else(
    mlflow_local: Path, run_task: TaskRunner
) -> None:
    verdict("2013-04")
    verdict("2013-05", kind="performance")
    verdict("2013-05", "insufficient_data")
    waiting = sensor(subject="2013-05", outcomes="passed, failed", deferrable=True, poke_interval=0, timeout=0.2)
    with pytest.raises(TaskDeferred) as deferred:
        run_task(waiting)
    path, arguments = deferred.value.trigger.serialize()
    assert json.loads(json.dumps(arguments)) == arguments
    assert event_of(import_string(path)(**arguments))["status"] == "timeout"
    MlflowHook().record(Record(kind="drift", model="churn", key="again", outcome="passed", subject="2013-05"))
    event = event_of(import_string(path)(**{**arguments, "deadline": ""}))
    assert run_task.resume(waiting, deferred.value, event)["outcome"] == "passed"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"status": "timeout", "message": "late"}, AirflowSensorTimeout),
        ({"status": "error"}, AirflowException),
        (None, AirflowException),
    ],
)
def test_it_ends_as_its_trigger_did(event: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        sensor().execute_complete({}, event)


class Flaky:
    """An MLflow that is away for two looks."""

    def __init__(self) -> None:
        self.looks = 0

    def history(self, model: str, kinds: tuple[str, ...], **_: Any) -> list[Record]:
        self.looks += 1
        if self.looks < 3:
            raise MlflowUnavailable("mlflow_default", "down")
        return [Record(kind=kinds[0], model=model, key="k", outcome="passed")]


def test_an_outage_is_waited_through() -> None:
    deadline = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    trigger = RecordTrigger({"model": "churn", "kind": "drift"}, poll_interval=0, deadline=deadline)
    trigger.__dict__["hook"] = Flaky()
    assert event_of(trigger)["status"] == "found"


def test_whatever_happens_there_is_an_end() -> None:
    event = event_of(RecordTrigger({"model": "churn", "kind": "weather"}))
    assert event["status"] == "error" and "weather" in event["message"]


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError):
        RecordWatch(model=" ", kind="drift").checked()
    with pytest.raises(UnknownName):
        RecordWatch(model="churn", kind="weather").checked()
