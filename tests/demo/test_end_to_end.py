"""Three months of real flights through the whole loop, under a real scheduler, triggerer and dag-processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

PLAY = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [{repo!r}, {repo!r} + "/dags"]
from dev.demo import Demo
from dev.demo_world import World
from dev.stack import Stack

root = Path({root!r})
stack = Stack(root=root, env={{"AIRFLOW_VAR_FLIGHTS_ROOT": str(root / "flights")}})
demo = Demo(stack, World(root / "flights" / "landing", days=tuple(range(1, 6)) + tuple(range(17, 22))), MONTHS)
with stack:
    os.environ.update(stack.environment())
    demo.play()
    rows = [vars(row) for row in demo.rows()]
    runs = [(r["dag_id"], r["partition_key"], r["state"]) for r in demo.cascade.runs()]
    session = stack.state["session"]
from dev.keeper import members
print(json.dumps({{"rows": rows, "runs": runs, "left": members(session)}}))
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:  # type: ignore[type-arg]
    """The months as ``make demo`` plays them, a broken delivery among them; ten days of each."""
    root = tmp_path_factory.mktemp("demo")
    months = 'import dev.demo\ndev.demo.BROKEN = "2013-03"\nMONTHS = ("2013-01", "2013-02", "2013-03")'
    script = PLAY.format(repo=str(REPO), root=str(root)).replace("\nroot = ", f"\n{months}\nroot = ", 1)
    # In a process of its own: the tests' Airflow home is not the stack's.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MLFLOW"))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    print(done.stdout)
    found: dict[str, list] = json.loads(done.stdout.splitlines()[-1])  # type: ignore[type-arg]
    return {**found, "said": done.stdout}  # type: ignore[dict-item]


def test_the_loop_runs_by_itself_from_delivery_to_champion(played: dict) -> None:  # type: ignore[type-arg]
    runs = {tuple(run) for run in played["runs"]}
    for month in ("2013-01", "2013-02", "2013-03"):
        for dag_id in ("flights_ingest", "flights_train", "flights_score"):
            assert (dag_id, month, "success") in runs
    failed = [run for run in runs if run[2] != "success"]
    assert failed == [("flights_ingest", "2013-03", "failed")], "the broken delivery, and nothing else"
    assert "stopped at validation; the champion is still v1" in played["said"]
    assert ("flights_monitor", "2013-03", "success") in runs

    january, february, march = played["rows"]
    assert (january["decision"], january["candidate"]) == ("keep", ""), "no labels yet"
    assert march["validation"].startswith("failed, then passed")
    assert (february["decision"], february["candidate"], february["gate"]) == ("retrain", "1", "pass")
    assert (february["champion"], march["champion"] != "") == ("1", True)
    assert february["estimated"] is not None and february["realised"] is not None
    assert march["realised"] is None, "its labels are a month away"
    assert march["drift"] != ""
    assert played["left"] == [], "everything is stopped"
