"""The same faults under a real scheduler: it notices the killed task process, retries it, and writes the events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.champion import promote
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.hooks.mlflow import MlflowHook
from dev.stack import Stack
from tests.faults.world import connection
from tests.kit.mlflow import running_server
from tests.kit.postgres import running_postgres
from tests.kit.proxy import FaultProxy, fault_proxy
from tests.operators.promotions import aliases, make_gate, make_version, runs_of

DAGS = Path(__file__).parent / "dags"
PLAN = [{call: "kill after"} for call in (4, 9, 12, 15, 18)] + [
    {10: "kill before", 16: "kill after", 30: "kill before"},
    {11: "500 after", 14: "late"},
    {13: "cut after"},
]
"""What happens to each run: number of the call -> fault."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, MlflowHook, list[FaultProxy]]]:
    with ExitStack() as at_end:
        patch = at_end.enter_context(pytest.MonkeyPatch.context())
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            patch.delenv(name)  # the tests' own Airflow is not this one
        postgres = at_end.enter_context(running_postgres())
        mlflow = at_end.enter_context(running_server(tmp_path_factory.mktemp("mlflow"), postgres.uri))
        proxies = [at_end.enter_context(fault_proxy(mlflow.uri, faults)) for faults in PLAN]
        env = {f"AIRFLOW_CONN_MLFLOW_{i}": connection(p.uri, timeout=4) for i, p in enumerate(proxies)}
        env["AIRFLOW_CONN_MLFLOW_DEFAULT"] = connection(mlflow.uri, retries=2)
        patch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", env["AIRFLOW_CONN_MLFLOW_DEFAULT"])
        stack = at_end.enter_context(Stack(tmp_path_factory.mktemp("faults"), DAGS, env))
        stack.wait_dags("promotes")
        yield stack, MlflowHook(), proxies


def test_killed_tasks_are_retried_to_one_champion_and_one_event(
    world: tuple[Stack, MlflowHook, list[FaultProxy]],
) -> None:
    stack, hook, proxies = world
    runs: dict[str, list[tuple[str, str]]] = {}  # model -> (run, version), the runs of a model at once

    def ask(model: str, conn: str, old: str) -> None:
        version = make_version(hook, model)
        conf = {"model": model, "conn": conn, "gate": make_gate(hook, model, version, old)}
        run = stack.patiently(lambda: stack.trigger("promotes", conf=conf))["dag_run_id"]
        runs.setdefault(model, []).append((run, version))

    olds: dict[str, str] = {}
    for i in range(len(proxies)):
        model = f"delay {i}"
        olds[model] = make_version(hook, model)
        assert promote(hook, PromotionRequest.of(model, make_gate(hook, model, olds[model], None))).moved
        ask(model, f"mlflow_{i}", olds[model])
        if i % 3 == 0:  # another candidate at the same time
            ask(model, "mlflow_default", olds[model])

    states = {run: stack.wait_run("promotes", run)["state"] for asked in runs.values() for run, _ in asked}
    again = runs["delay 1"][0][0]
    clear: dict[str, Any] = {"dag_run_id": again, "dry_run": False, "only_failed": False}
    stack.patiently(lambda: stack.api("POST", "/dags/promotes/clearTaskInstances", clear))
    assert stack.wait_run("promotes", again)["state"] == "success"

    events = stack.api("GET", "/assets/events", limit=100)["asset_events"]
    for i, (model, asked) in enumerate(runs.items()):
        assert proxies[i].done == list(PLAN[i].values()), (model, proxies[i].done, proxies[i].calls)
        (winner,) = [version for run, version in asked if states[run] == "success"]
        assert aliases(hook, model) == {"champion": winner, "previous_champion": olds[model]}
        told = {str(r.info.run_id): r.data.tags["mlops.subject"] for r in runs_of(hook, model, "promotion", "promoted")}
        assert sorted(told.values()) == sorted([olds[model], winner])
        decision = stack.xcom("promotes", next(r for r, v in asked if v == winner), "promote")
        mine = [e for e in events if e["extra"].get("decision") == decision["key"]]
        assert [(e["extra"]["version"], e["extra"]["model_digest"]) for e in mine] == [(winner, f"digest-of-{winner}")]
        for run, version in asked:
            if version != winner:
                assert stack.xcom("promotes", run, "promote")["evidence"]["codes"] == ["champion_moved"]
    assert len(events) == len(runs), "one event a model"
    tries = {run: stack.tasks_of("promotes", run)[0]["try_number"] for asked in runs.values() for run, _ in asked}
    assert tries[runs["delay 5"][0][0]] >= 3, tries
