"""The loop under a real scheduler, triggerer, dag-processor and api-server, from training to scoring by asset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev.bench._cases import write_files
from dev.keeper import members
from dev.stack import Stack

LOOP = Path(__file__).parent / "loop"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    write_files(folder, 2_000)
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            patch.delenv(name)  # the tests' own Airflow is not this one
        with Stack(folder / "root", LOOP, {"LOOP_FOLDER": str(folder)}) as running:
            running.wait_dags("train_late", "train_hopeless", "score_late")
            session = running.state["session"]
            yield running
    assert members(session) == []
    assert not (folder / "root" / "stack.json").exists()


def _play(stack, dag_id):
    run = stack.trigger(dag_id)["dag_run_id"]
    ended = stack.wait_run(dag_id, run)
    return run, ended["state"], {t["task_id"]: t["state"] for t in stack.tasks_of(dag_id, run)}


def test_a_loop_closes_once_and_stays_closed(stack):
    first, state, tasks = _play(stack, "train_late")
    assert (state, set(tasks.values())) == ("success", {"success"}), stack.tasks_of("train_late", first)
    assert stack.xcom("train_late", first, "fit")["created"] is True
    assert stack.xcom("train_late", first, "promote")["decision"] == "promoted"

    assert stack.until(lambda: stack.runs("score_late", state="success"), 120), stack.runs("score_late")
    [scored] = stack.runs("score_late")
    assert scored["logical_date"] is None
    result = stack.xcom("score_late", scored["dag_run_id"], "score")
    assert (result["version"], result["rows"]) == ("1", 2_000)

    again, state, _ = _play(stack, "train_late")
    assert state == "success"
    assert stack.xcom("train_late", again, "fit")["created"] is False
    assert stack.xcom("train_late", again, "promote")["decision"] == "already_promoted"

    refused, state, tasks = _play(stack, "train_hopeless")
    assert (state, tasks["gate"], tasks["promote"]) == ("failed", "failed", "upstream_failed")
    assert stack.xcom("train_hopeless", refused, "gate")["decision"] == "reject"

    events = stack.api("GET", "/assets/events", limit=50)["asset_events"]
    assert [e["extra"]["version"] for e in events] == ["1"]
    assert len(stack.runs("score_late")) == 1


def test_starting_it_again_finds_the_one_that_runs(stack):
    said = []
    other = Stack(stack.root, LOOP, say=said.append).start()
    assert (other.url, other.password) == (stack.url, stack.password)
    assert said == [f"already running at {stack.url}"]
    assert other.api("GET", "/version")["version"].startswith("3.")
