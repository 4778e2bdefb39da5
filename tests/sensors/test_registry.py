"""ModelAliasSensor: looks, defers, and ends as its trigger did."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_mlops.core.errors import UsageError
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.sensors.registry import ModelAliasSensor
from airflow_mlops.triggers.registry import ModelAliasTrigger
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import make_version


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    return MlflowHook()


def sensor(**arguments: Any) -> ModelAliasSensor:
    return ModelAliasSensor(task_id="wait", model_name="churn", **arguments)


def champion(hook: MlflowHook, alias: str = "champion") -> str:
    version = make_version(hook, "churn")
    hook.set_alias("churn", alias, version)
    return version


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_is_there_already_is_seen_without_waiting(
    hook: MlflowHook, run_task: TaskRunner, deferrable: bool
) -> None:
    version = champion(hook)
    result = run_task(sensor(deferrable=deferrable))
    assert (result["version"], result["model_digest"]) == (version, f"digest-of-{version}")


def test_a_named_version_and_another_alias_are_waited_for(hook: MlflowHook, run_task: TaskRunner) -> None:
    version = champion(hook, "challenger")
    result = run_task(sensor(alias="challenger", version="{{ params.v }}", deferrable=True), params={"v": version})
    assert result["alias"] == "challenger"
    with pytest.raises(TaskDeferred):
        run_task(sensor(alias="challenger", version="99", deferrable=True))


def test_it_defers_and_its_trigger_sees_the_move(hook: MlflowHook, run_task: TaskRunner) -> None:
    first = champion(hook)
    waiting = sensor(different_from=first, deferrable=True, poke_interval=0)
    with pytest.raises(TaskDeferred) as deferred:
        run_task(waiting)
    trigger = deferred.value.trigger
    assert isinstance(trigger, ModelAliasTrigger)
    second = champion(hook)

    async def fire() -> Any:
        (event,) = [event.payload async for event in trigger.run()]
        return event

    event = json.loads(json.dumps(asyncio.run(fire())))
    result = run_task.resume(sensor(different_from=first, deferrable=True), deferred.value, event)
    assert (result["version"], result["different_from"]) == (second, first)


def test_the_trigger_gives_up_before_airflow_does(hook: MlflowHook, run_task: TaskRunner) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        run_task(sensor(deferrable=True, timeout=600))
    assert deferred.value.timeout is not None and deferred.value.timeout.total_seconds() > 600
    assert deferred.value.trigger.serialize()[1]["deadline"]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"status": "timeout", "message": "not until then"}, AirflowSensorTimeout),
        ({"status": "error", "message": "no such connection"}, AirflowException),
        ({}, AirflowException),
        (None, AirflowException),
    ],
)
def test_a_trigger_that_did_not_see_it_fails_the_task(
    mlflow_local: Path, run_task: TaskRunner, event: Any, error: type[Exception]
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        run_task(sensor(deferrable=True))
    with pytest.raises(error):
        run_task.resume(sensor(deferrable=True), deferred.value, event)
    with pytest.raises(AirflowSkipException):
        run_task.resume(sensor(deferrable=True, soft_fail=True), deferred.value, event)


def test_an_outage_is_waited_for(run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    down = {"conn_type": "mlflow", "host": "http://127.0.0.1:9", "extra": {"timeout": 1, "max_retries": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(down))
    with pytest.raises(TaskDeferred):
        run_task(sensor(deferrable=True))
    with pytest.raises(AirflowSensorTimeout):
        run_task(sensor(deferrable=False, timeout=0, poke_interval=0))


def test_conditions_that_contradict_are_refused(mlflow_local: Path, run_task: TaskRunner) -> None:
    with pytest.raises(UsageError, match="both"):
        run_task(sensor(version="2", different_from="2", deferrable=True))
    with pytest.raises(UsageError, match="empty"):
        run_task(sensor(alias="", deferrable=True))
