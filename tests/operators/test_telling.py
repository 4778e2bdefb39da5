"""Two DAG runs with the very same gate decision: one event, whoever ends first, and not lost with a run that failed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import GetTaskStates

from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import _events
from airflow_mlops.operators.promotion import PromoteModelOperator
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import make_gate, make_version
from tests.operators.test_promotion import Events

A, B = "manual__a", "manual__b"


class Runs:
    """Two DAG runs that promote by one decision. Neither succeeds before :meth:`succeed`."""

    def __init__(self, hook: MlflowHook, run_task: TaskRunner) -> None:
        self.run_task = run_task
        self.events = Events(run_task)
        self.model = "churn"
        old, new = make_version(hook, self.model, until="2013-04"), make_version(hook, self.model)
        hook.set_alias(self.model, "champion", old)
        self.gate = make_gate(hook, self.model, new, old)
        self.ran: dict[str, Any] = {}

    def run(self, run_id: str, try_number: int = 1, ends: str = "promoted") -> None:
        self.state(run_id, "running")
        operator = PromoteModelOperator(task_id="promote", model_name=self.model, gate=self.gate)
        assert self.run_task(operator, run_id=run_id, try_number=try_number)["decision"] == ends
        self.ran[run_id] = self.run_task.last

    def succeed(self, run_id: str) -> None:
        self.run_task.last = self.ran[run_id]
        self.events.succeed()
        self.state(run_id, "success")

    def state(self, run_id: str, state: str) -> None:
        self.run_task.supervisor.states["test_dag", run_id, "promote", -1] = state


@pytest.fixture
def runs(mlflow_local: Any, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(_events, "LOOK_EVERY", 0.0)
    return Runs(MlflowHook(), run_task)


def test_runs_that_end_in_the_same_second_emit_one_event(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.run(A)
    looks = 0
    answer = runs.run_task.supervisor._on_GetTaskStates

    def look(msg: GetTaskStates) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            runs.succeed(A)
        return answer(msg)

    monkeypatch.setattr(runs.run_task.supervisor, "_on_GetTaskStates", look)
    runs.run(B)
    runs.succeed(B)
    assert looks == 3 and len(runs.events.written) == 1


@pytest.mark.parametrize("state", ["failed", "skipped", "removed", None])
def test_an_event_is_not_lost_with_the_run_that_was_to_emit_it(runs: Runs, state: str | None) -> None:
    runs.run(A)
    if state:
        runs.state(A, state)
    else:
        runs.run_task.supervisor.states.clear()  # the run was deleted
    runs.run(B)
    runs.succeed(B)
    assert len(runs.events.written) == 1
    runs.run(A, try_number=2)  # cleared
    runs.succeed(A)
    assert len(runs.events.written) == 1


@pytest.mark.parametrize("state", ["running", "up_for_retry", "queued", "deferred"])
def test_a_run_that_can_still_emit_is_waited_for_and_then_left_to_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    runs.run(A)
    runs.state(A, state)
    monkeypatch.setattr(_events, "PATIENCE", 0.0)
    with caplog.at_level(logging.WARNING):
        runs.run(B)
    runs.succeed(B)
    assert not runs.events.written
    runs.run(A, try_number=2)
    runs.succeed(A)
    assert len(runs.events.written) == 1


def test_a_version_that_is_gone_is_told_of_by_the_events_alone(runs: Runs) -> None:
    runs.run(A)
    runs.succeed(A)
    hook = MlflowHook()
    new = hook.by_alias(runs.model, "champion")
    assert new is not None
    hook.set_alias(runs.model, "champion", "1")
    hook.get_conn().delete_model_version(runs.model, new.version)
    runs.run(A, try_number=2, ends="superseded")
    runs.succeed(A)
    assert len(runs.events.written) == 1
