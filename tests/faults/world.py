"""Tasks in processes of their own, against MLflow through proxies that break calls, and what Airflow answers them."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import threading
from collections.abc import Mapping
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
PRELOAD = ["mlflow", "mlflow.tracking", "airflow_mlops.hooks.mlflow", "airflow_mlops.operators.promotion"]
PROCESSES.set_forkserver_preload([*PRELOAD, "tests.kit.tasks", "airflow_mlops.operators._card"])

AGAIN = ("killed", "MlflowUnavailable")
"""How a task ends that Airflow tries again."""


def connection(uri: str, retries: int = 0, timeout: int = 30) -> str:
    """The Airflow connection to MLflow, as JSON.

    :param timeout: seconds after which a call is given up; short only where an answer never comes.
    """
    extra = {"timeout": timeout, "max_retries": retries}
    return json.dumps({"conn_type": "mlflow", "host": uri, "extra": extra})


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a task ended: its decision, or the name of its error, or ``"killed"``; and the events that it would emit."""

    how: str
    message: str = ""
    events: tuple[Mapping[str, Any], ...] = ()


class Airflow:
    """What Airflow's server knows of the tasks of one model: their states, and the events.

    A try's events are written in the moment in which it succeeds; a try that Airflow has given up succeeds no more.
    """

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.states: dict[str, tuple[int, str]] = {}
        self._lock = threading.Lock()

    def began(self, run_id: str, try_number: int) -> None:
        with self._lock:
            self.states[run_id] = (try_number, "running")

    def ended(self, run_id: str, try_number: int, how: Ended) -> None:
        with self._lock:
            if self.states[run_id][0] != try_number:
                return
            self.states[run_id] = (try_number, "up_for_retry" if how.how in AGAIN else "failed")
            if how.how not in AGAIN and not how.message:
                self.states[run_id] = (try_number, "success")
                self.events += how.events

    def answer(self, question: str) -> Any:
        with self._lock:
            return (
                list(self.events) if question == "events" else {run: state for run, (_, state) in self.states.items()}
            )


class Running:
    """A task in a process of its own.

    :param uri: MLflow's address, as its connection says it.
    :param kind: ``promote`` or ``rollback``.
    :param options: ``retries`` and ``timeout`` of the connection, ``skew`` of its clock in seconds; the others go to
        ``run_task``.
    """

    def __init__(
        self,
        airflow: Airflow,
        uri: str,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        run_id: str = "manual__1",
        try_number: int = 1,
        **options: Any,
    ) -> None:
        env = {k: v for k, v in os.environ.items() if k.startswith(("AIRFLOW", "MLFLOW"))}
        env["AIRFLOW_CONN_MLFLOW_DEFAULT"] = connection(uri, options.pop("retries", 0), options.pop("timeout", 30))
        options |= {"run_id": run_id, "try_number": try_number}
        self._airflow, self._options = airflow, options
        airflow.began(run_id, try_number)
        self._ours, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_task, args=(env, kind, dict(arguments), theirs, options))
        self._process.start()
        theirs.close()
        self._ended: Ended | None = None
        self._service = threading.Thread(target=self._serve, daemon=True)
        self._service.start()

    def _serve(self) -> None:
        """What the task asks Airflow is answered until it ends."""
        found = Ended("killed")
        try:
            while not isinstance(said := self._ours.recv(), Ended):
                self._ours.send(self._airflow.answer(said))
            found = said
        except (EOFError, ConnectionResetError):
            pass
        self._airflow.ended(self._options["run_id"], self._options["try_number"], found)
        self._ended = found

    def end(self) -> Ended:
        """Wait for it."""
        self._service.join(120)
        self._process.join(60)
        assert self._ended is not None and self._process.exitcode is not None, "a task that does not end"
        assert (self._process.exitcode == -9) == (self._ended.how == "killed"), (self._process.exitcode, self._ended)
        return self._ended


def _task(env: Mapping[str, str], kind: str, arguments: Any, airflow: Any, options: Any) -> None:
    os.environ.update(env)
    import time

    from airflow.sdk.api.datamodels._generated import AssetResponse
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import AssetEventResponse, AssetEventsResult

    from airflow_mlops.assets import model_asset
    from airflow_mlops.operators import promotion
    from tests.kit.tasks import START, TaskRunner

    if skew := options.pop("skew", 0):  # the clock that MLflow's client dates runs with
        right = time.time
        time.time = lambda: right() + skew
    operators = {"promote": promotion.PromoteModelOperator, "rollback": promotion.RollbackModelOperator}
    asset = model_asset(arguments["model_name"])
    named = AssetResponse(name=asset.name, uri=asset.uri, group="mlmodel")
    run_task = TaskRunner()

    def ask(question: str) -> Any:
        airflow.send(question)
        return airflow.recv()

    def events(msg: Any) -> AssetEventsResult:
        return AssetEventsResult(
            asset_events=[
                AssetEventResponse(id=i, timestamp=START, extra=dict(extra), asset=named, created_dagruns=[])
                for i, extra in enumerate(ask("events"))
            ]
        )

    def states(msg: Any) -> Any:
        run_task.supervisor.states = {("test_dag", run, kind, -1): state for run, state in ask("states").items()}
        return answer(msg)

    answer = run_task.supervisor._on_GetTaskStates
    run_task.supervisor._on_GetAssetEventByAsset = events  # type: ignore[attr-defined]
    run_task.supervisor._on_GetTaskStates = states  # type: ignore[method-assign]
    try:
        result = run_task(operators[kind](task_id=kind, **arguments), **options)
    except Exception as error:
        airflow.send(Ended(type(error).__name__, str(error) or "no message"))
        return
    assert run_task.last is not None
    outlets = [p.name for p in task_runner._build_asset_profiles(run_task.last.task.outlets)]
    sent = task_runner._serialize_outlet_events(run_task.last.context["outlet_events"])
    extras = [e["extra"] for e in sent if e["dest_asset_key"]["name"] in outlets]
    airflow.send(Ended(str(result["decision"]), "", tuple(extras or [{} for _ in outlets])))
