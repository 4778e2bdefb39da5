"""One task in a process of its own, against MLflow through a proxy that breaks calls; Airflow's events beside it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
PRELOAD = ["mlflow", "mlflow.tracking", "airflow_mlops.hooks.mlflow", "airflow_mlops.operators.promotion"]
PROCESSES.set_forkserver_preload([*PRELOAD, "tests.kit.tasks", "airflow_mlops.operators._card"])


def connection(uri: str, retries: int = 0, timeout: int = 30) -> str:
    """The Airflow connection to MLflow, as JSON.

    :param timeout: seconds after which a call is given up; short only where an answer never comes.
    """
    extra = {"timeout": timeout, "max_retries": retries}
    return json.dumps({"conn_type": "mlflow", "host": uri, "extra": extra})


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a task ended: its decision, or the name of its error, or ``"killed"``; and the events that it emitted."""

    how: str
    message: str = ""
    events: tuple[Mapping[str, Any], ...] = ()


def play(uri: str, kind: str, arguments: Mapping[str, Any], known: list[Mapping[str, Any]], **options: Any) -> Ended:
    """Run a task to its end, in a process of its own."""
    return begin(uri, kind, arguments, known, **options)()


def begin(uri: str, kind: str, arguments: Mapping[str, Any], known: list[Mapping[str, Any]], **options: Any) -> Any:
    """Start it; the function that is returned waits for its end."""
    env = {k: v for k, v in os.environ.items() if k.startswith(("AIRFLOW", "MLFLOW"))}
    env["AIRFLOW_CONN_MLFLOW_DEFAULT"] = connection(uri, options.pop("retries", 0), options.pop("timeout", 30))
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_task, args=(env, kind, dict(arguments), list(known), theirs, options))
    process.start()
    theirs.close()

    def end() -> Ended:
        try:
            found: Ended = ours.recv()
        except EOFError:
            found = Ended("killed")
        process.join(60)
        assert process.exitcode is not None, "a task that does not end"
        assert (process.exitcode == -9) == (found.how == "killed"), (process.exitcode, found)
        return found

    return end


def _task(env: Mapping[str, str], kind: str, arguments: Any, known: Any, results: Any, options: Any) -> None:
    os.environ.update(env)
    from airflow.sdk.api.datamodels._generated import AssetResponse
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import AssetEventResponse, AssetEventsResult

    from airflow_mlops.assets import model_asset
    from airflow_mlops.operators import promotion
    from tests.kit.tasks import START, TaskRunner

    operators = {"promote": promotion.PromoteModelOperator, "rollback": promotion.RollbackModelOperator}
    asset = model_asset(arguments["model_name"])
    told = AssetResponse(name=asset.name, uri=asset.uri, group="mlmodel")
    written = [
        AssetEventResponse(id=i, timestamp=START, extra=dict(extra), asset=told, created_dagruns=[])
        for i, extra in enumerate(known)
    ]
    run_task = TaskRunner()
    run_task.supervisor._on_GetAssetEventByAsset = (  # type: ignore[attr-defined]
        lambda msg: AssetEventsResult(asset_events=written if msg.ascending else written[::-1])
    )
    try:
        result = run_task(operators[kind](task_id=kind, **arguments), **options)
    except Exception as error:
        results.send(Ended(type(error).__name__, str(error)))
        return
    assert run_task.last is not None
    outlets = [p.name for p in task_runner._build_asset_profiles(run_task.last.task.outlets)]
    sent = task_runner._serialize_outlet_events(run_task.last.context["outlet_events"])
    extras = [e["extra"] for e in sent if e["dest_asset_key"]["name"] in outlets]
    results.send(Ended(str(result["decision"]), "", tuple(extras or [{} for _ in outlets])))
