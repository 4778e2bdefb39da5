"""Approvals under a real scheduler, answered through Airflow's REST API as its UI does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.approval import FIELD
from dev.client import Client, StackError
from dev.stack import Stack

DAGS = Path(__file__).parent / "approval"
ENV = {
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,grace:op",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            patch.delenv(name)  # the tests' own Airflow is not this one
        with Stack(tmp_path_factory.mktemp("approval"), DAGS, ENV) as running:
            running.wait_dags("approve_mine", "approve_others", "approve_both")
            yield running


class Run:
    """One run of a DAG, and the form that its task shows."""

    def __init__(self, stack: Stack, dag: str, model: str) -> None:
        self.stack = stack
        self.dag = dag
        self.id = str(stack.trigger(dag, conf={"model": model})["dag_run_id"])

    def states(self) -> dict[str, Any]:
        return {t["task_id"]: t["state"] for t in self.stack.tasks_of(self.dag, self.id)}

    def waiting(self, task: str = "approve") -> dict[str, Any]:
        """The form, once it is shown and the worker that wrote it is gone.

        Airflow 3.3.2 fails a task that is answered before: it takes the end of that worker for the task's.
        """
        assert self.stack.until(lambda: self.states().get(task) == "awaiting_input", 60), self.states()
        form = self.form(task)
        parked = (form["task_instance"]["id"], "TaskInstance Finished", "state=awaiting_input")
        log = self.stack.logs / "scheduler.log"

        def gone() -> bool:
            return any(all(word in line for word in parked) for line in log.read_text(errors="replace").splitlines())

        assert self.stack.until(gone, 60), log
        return form

    def path(self, task: str) -> str:
        return f"/dags/{self.dag}/dagRuns/{self.id}/taskInstances/{task}/-1/hitlDetails"

    def form(self, task: str = "approve") -> dict[str, Any]:
        form: dict[str, Any] = self.stack.api("GET", self.path(task))
        return form

    def answer(self, option: str, reason: str = "", task: str = "approve", who: Client | None = None) -> None:
        body = {"chosen_options": [option], "params_input": {FIELD: reason}}
        self.stack.patiently(lambda: (who or self.stack).api("PATCH", self.path(task), body))

    def clear(self, *tasks: str) -> None:
        """As a person does in the UI."""
        body = {"dag_run_id": self.id, "task_ids": list(tasks), "dry_run": False, "only_failed": False}
        # SQLite may be locked by the scheduler; cleared twice is cleared.
        self.stack.patiently(lambda: self.stack.api("POST", f"/dags/{self.dag}/clearTaskInstances", body))

    def ended(self) -> str:
        return str(self.stack.wait_run(self.dag, self.id, patience=60)["state"])

    def result(self, task: str = "approve") -> Any:
        return self.stack.xcom(self.dag, self.id, task)


def test_approvals_under_a_real_scheduler(stack: Stack) -> None:
    """One world for all, so that the runs wait for one another's tasks and not in turn."""
    names = ("yes", "no", "cleared", "older")
    runs = {name: Run(stack, "approve_mine", f"late {name}") for name in names}
    others = Run(stack, "approve_others", "late others")
    two = Run(stack, "approve_both", "late two")
    passwords = json.loads((stack.home / "simple_auth_manager_passwords.json.generated").read_text())
    grace = Client(stack.url, "grace", passwords["grace"])

    yes = runs["yes"].waiting()
    assert yes["subject"] == "Approve late yes version 1?"
    assert "digest-of-1" in yes["body"] and yes["defaults"] == ["Reject"]
    runs["yes"].answer("Approve", "looks right")

    runs["no"].waiting()
    runs["no"].answer("Reject", "too few rows")

    runs["cleared"].waiting()
    runs["cleared"].clear("evaluate", "gate", "approve")

    runs["older"].waiting()
    runs["older"].clear("evaluate", "gate")
    again = lambda: stack.xcom("approve_mine", runs["older"].id, "gate")  # noqa: E731
    assert stack.until(lambda: _or_nothing(again).get("subject_version") == "2", 60)
    runs["older"].answer("Approve")

    others.waiting()
    with pytest.raises(StackError, match=r"403.*not a respondent"):
        others.answer("Approve")

    for task, who in (("approve", None), ("second", grace)):
        two.waiting(task)
        two.answer("Approve", task=task, who=who)

    assert runs["yes"].ended() == "success"
    decision = runs["yes"].result()
    assert (decision["decision"], decision["decided_by"], decision["reasons"]) == ("approved", "admin", ["looks right"])
    promoted = runs["yes"].result("promote")
    assert (promoted["decision"], promoted["decided_by"]) == ("promoted", "admin")

    assert runs["no"].ended() == "success"
    assert (runs["no"].states()["promote"], runs["no"].result()["reasons"]) == ("skipped", ["too few rows"])

    assert runs["cleared"].ended() == "failed"
    assert runs["cleared"].states()["promote"] == "upstream_failed"
    assert "stands since an earlier try" in runs["cleared"].result()["why"]
    assert runs["cleared"].form()["subject"] == "Approve late cleared version 1?", "Airflow keeps the form"
    runs["cleared"].answer("Approve")
    assert runs["cleared"].states()["promote"] == "upstream_failed"

    assert runs["older"].ended() == "failed"
    assert runs["older"].result()["why"].startswith("not what was shown any more: version, model_digest, gate, text")

    assert others.ended() == "success"
    decision = others.result()
    assert (decision["decision"], decision["decided_by"]) == ("rejected", "timeout")
    assert others.states()["promote"] == "skipped"

    assert two.ended() == "success"
    assert [two.result(task)["decided_by"] for task in ("approve", "second")] == ["admin", "grace"]
    assert (two.result("promote")["decision"], two.result("promote")["decided_by"]) == ("promoted", "admin and grace")


def _or_nothing(read: Any) -> dict[str, Any]:
    try:
        gate = read()
    except StackError:  # cleared: there is no result at the moment
        return {}
    return {"subject_version": gate["evidence"]["candidate"]["version"]}
