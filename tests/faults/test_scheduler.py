"""The same faults under a real scheduler: it notices the killed task process, retries it, and writes the events."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.champion import promote
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.core.results import Decision
from airflow_mlops.hooks.mlflow import MlflowHook
from dev.client import StackError
from dev.stack import Stack
from tests.faults.schedules import PROMOTION_WRITES
from tests.faults.world import connection
from tests.kit.mlflow import MlflowServer
from tests.kit.proxy import FaultProxy, fault_proxy
from tests.operators.promotions import aliases, make_gate, make_version, runs_of

DAGS = Path(__file__).parent / "dags"
INTENT, CLAIM, CHAMPION, _, _, _, CLOSE, SEAL, _, TELL, *_ = PROMOTION_WRITES


class Promotions:
    """DAG runs that promote, each model with a champion that the ledger knows."""

    def __init__(self, stack: Stack, hook: MlflowHook, proxies: dict[str, FaultProxy]) -> None:
        self.stack = stack
        self.hook = hook
        self.proxies = proxies
        self.olds: dict[str, str] = {}
        self.asked: dict[str, list[tuple[str, str]]] = {}

    def champion(self, model: str) -> str:
        if model not in self.olds:
            self.olds[model] = make_version(self.hook, model)
            gate = make_gate(self.hook, model, self.olds[model], None)
            assert promote(self.hook, PromotionRequest.of(model, gate)).moved
        return self.olds[model]

    def ask(self, model: str, conn: str, version: str = "") -> str:
        """Trigger a run: its id is given, so that asking again after the connection was cut asks for the same."""
        old = self.champion(model)
        version = version or make_version(self.hook, model)
        asked = self.asked.setdefault(model, [])
        run = f"{model.replace(' ', '_')}__{len(asked)}"
        conf = {"model": model, "conn": conn, "gate": make_gate(self.hook, model, version, old)}
        asked.append((run, version))

        def trigger() -> bool:
            try:
                self.stack.trigger("promotes", dag_run_id=run, conf=conf)
            except StackError as error:
                return " 409 " in str(error)  # it is there
            except (OSError, http.client.HTTPException):
                return False
            return True

        assert self.stack.until(trigger, 60), f"run {run} could not be triggered"
        return version

    def states(self) -> dict[str, str]:
        return {
            run: str(self.stack.wait_run("promotes", run)["state"]) for asked in self.asked.values() for run, _ in asked
        }

    def tries(self, run: str) -> int:
        return int(self.stack.tasks_of("promotes", run)[0]["try_number"])


@pytest.fixture(scope="module")
def promotions(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promotions]:
    def killed() -> None:
        server.kill()
        server.start()

    plans: dict[str, dict[int, str | Callable[[], Any]]] = {
        "killed": {CLAIM: "kill after", CLOSE + CHAMPION: "kill after"},
        "retold": {TELL: "kill after"},
        "thrice": {INTENT: "kill before", CLAIM + SEAL: "kill after", CLAIM + SEAL + INTENT: "kill before"},
        "broken": {CHAMPION: "500 after", CHAMPION + CLAIM: "cut after"},
        "server": {CHAMPION: killed},
    }
    with ExitStack() as at_end:
        patch = at_end.enter_context(pytest.MonkeyPatch.context())
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            patch.delenv(name)  # the tests' own Airflow is not this one
        proxies = {n: at_end.enter_context(fault_proxy(server.uri, faults)) for n, faults in plans.items()}
        env = {f"AIRFLOW_CONN_{name.upper()}": connection(proxy.uri) for name, proxy in proxies.items()}
        env["AIRFLOW_CONN_MLFLOW_DEFAULT"] = connection(server.uri, retries=2)
        patch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", env["AIRFLOW_CONN_MLFLOW_DEFAULT"])
        stack = at_end.enter_context(Stack(tmp_path_factory.mktemp("faults"), DAGS, env))
        stack.wait_dags("promotes")
        yield Promotions(stack, MlflowHook(), proxies)


def test_killed_tasks_are_retried_to_one_champion_and_one_event(promotions: Promotions) -> None:
    """Rivals, one of them killed twice; a task killed after it was to emit, and a second run with its very decision; a
    task killed three times; a broken network; MLflow killed in the midst of all."""
    hook, stack, proxies = promotions.hook, promotions.stack, promotions.proxies
    for model, conn in (("rivals", "killed"), ("same", "retold"), ("thrice", "thrice"), ("broken", "broken")):
        version = promotions.ask(model, conn)
        if model == "rivals":
            promotions.ask(model, "mlflow_default")
        if model == "same":
            promotions.ask(model, "mlflow_default", version)
    promotions.states()
    promotions.ask("server", "server")
    states = promotions.states()
    again = promotions.asked["thrice"][0][0]
    clear = {"dag_run_id": again, "dry_run": False, "only_failed": False}
    stack.patiently(lambda: stack.api("POST", "/dags/promotes/clearTaskInstances", clear))
    assert stack.wait_run("promotes", again)["state"] == "success"

    events = stack.api("GET", "/assets/events", limit=100)["asset_events"]
    assert not proxies["thrice"].faults, proxies["thrice"].calls
    for name in ("broken", "server"):  # how many calls are left after the first fault is the schedule's affair
        assert proxies[name].done, (name, proxies[name].calls)
    assert "kill after" in proxies["killed"].done
    for model, asked in promotions.asked.items():
        winners = {version for run, version in asked if states[run] == "success"}
        assert len(winners) == 1, (model, states)
        (winner,) = winners
        old = promotions.olds[model]
        assert aliases(hook, model) == {"champion": winner, "previous_champion": old}
        told = [r.data.tags["mlops.subject"] for r in runs_of(hook, model, "promotion", "promoted")]
        assert sorted(told) == sorted([old, winner]), "one record a move"
        decision = stack.xcom("promotes", next(r for r, v in asked if v == winner), "promote")
        mine = [e for e in events if (e["extra"] or {}).get("decision") == Decision.from_dict(decision).key]
        assert [(e["extra"]["version"], e["extra"]["model_digest"]) for e in mine] == [(winner, f"digest-of-{winner}")]
        for run, version in asked:
            if version != winner:
                assert stack.xcom("promotes", run, "promote")["evidence"]["codes"] == ["champion_moved"]
    assert len(events) == len(promotions.asked), "one event a model"
    assert promotions.tries(promotions.asked["thrice"][0][0]) >= 5, "three kills, and cleared"
