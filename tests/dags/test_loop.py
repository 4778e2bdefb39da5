"""Every DAG run in this process (``dag.test()``) on a few days of each month, against a real registry."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.hooks.mlflow import MlflowHook
from dev.demo_world import World

MODEL = "flights_late"


class Loop:
    """The DAGs over one folder of flights."""

    def __init__(self, world: World, root: Path) -> None:
        self.world, self.root = world, root

    def run(self, dag_id: str, **conf: str) -> tuple[str, dict[str, str]]:
        """One run by hand: its state and the states of its tasks."""
        file = "flights_train" if dag_id == "flights_train_weekly" else dag_id
        module = importlib.import_module(file)
        dag = module.weekly if dag_id == "flights_train_weekly" else module.dag
        run = dag.test(logical_date=None, run_conf=conf)
        return str(run.state), {ti.task_id: str(ti.state) for ti in run.get_task_instances()}

    def champion(self) -> str:
        found = MlflowHook().by_alias(MODEL, "champion")
        return found.version if found else ""

    def records(self, kind: str) -> list[Any]:
        return MlflowHook().history(MODEL, kinds=(kind,))


@pytest.fixture
def loop(world: World, tmp_path: Path, mlflow_local: Path, airflow_db: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setenv("AIRFLOW_VAR_FLIGHTS_ROOT", str(tmp_path))
    return Loop(world, tmp_path)


def test_a_quarter_goes_through_every_dag(loop: Loop) -> None:
    # January: flights, and not a single label yet.
    loop.world.deliver("2013-01")
    state, tasks = loop.run("flights_ingest", month="2013-01")
    assert state == "success", tasks
    state, tasks = loop.run("flights_train", month="2013-01")
    assert (state, tasks["decide"], tasks["promote"]) == ("success", "skipped", "skipped")
    assert "no labelled rows" in loop.records("retraining")[0].body["reasons"][0]
    state, tasks = loop.run("flights_score", month="2013-01")
    assert (state, tasks["score"]) == ("success", "skipped"), "no champion yet"

    # February brings January's arrivals: the first champion.
    loop.world.deliver("2013-02")
    assert loop.run("flights_ingest", month="2013-02")[0] == "success"
    state, tasks = loop.run("flights_train", month="2013-02")
    assert (state, set(tasks.values())) == ("success", {"success"})
    assert loop.champion() == "1"

    for month in ("2013-02", "2013-03"):
        loop.world.deliver(month)
        assert loop.run("flights_ingest", month=month)[0] == "success"
        state, tasks = loop.run("flights_score", month=month)
        assert (state, tasks["score"]) == ("success", "success")
        state, tasks = loop.run("flights_monitor", month=month)
        assert state == "success", tasks
    # February could only be estimated while it was new; with March's delivery it is known.
    assert (tasks["drift"], tasks["estimated"], tasks["realised"]) == ("success",) * 3
    # The champion is on probation, and holds: nothing goes back.
    assert (tasks["watch"], tasks["roll_back"], loop.champion()) == ("success", "skipped", "1")
    assert {r.outcome for r in loop.records("watch")} == {"extend"}
    bases = [r.body["details"]["basis"] for r in loop.records("performance")]
    assert sorted(bases) == ["estimated", "estimated", "realised"]

    # A person asks, and says why.
    state, tasks = loop.run("flights_train", month="2013-03", reason="trying the loop out")
    assert tasks["train"] == "success"
    assert [r.outcome for r in loop.records("retraining")].count("retrain") >= 2

    state, tasks = loop.run("flights_rollback", to_version="1", reason="trying the rollback out")
    assert (state in ("success", "failed"), loop.champion()) == (True, "1")


def test_a_broken_delivery_is_stopped_at_validation(loop: Loop) -> None:
    loop.world.deliver("2013-01", broken=True)
    state, tasks = loop.run("flights_ingest", month="2013-01")
    assert state == "failed"
    assert (tasks["validate_flights"], tasks["prepare"]) == ("failed", "upstream_failed")
    failed = {
        (c["name"], c["subject"])
        for r in loop.records("validation")
        for c in r.body["checks"]
        if c["status"] != "passed"
    }
    assert ("expect_column_values_to_not_be_null", "carrier") in failed
    assert not (loop.root / "features").exists()


def test_the_sweep_offers_nothing_while_there_is_nothing(loop: Loop) -> None:
    state, tasks = loop.run("flights_train_weekly")
    assert (state, tasks) == ("success", {"offer": "skipped"})
