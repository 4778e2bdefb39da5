"""That Airflow itself, with its database and its own registration of asset events, writes one event a promotion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow_mlops.hooks.mlflow import MlflowHook
from tests.operators.promotions import aliases, make_gate, make_version

DAG_FILE = """
import datetime as dt, json, os
from airflow.sdk import DAG
from airflow_mlops.operators.promotion import PromoteModelOperator

with DAG("promotes", schedule=None, start_date=dt.datetime(2013, 1, 1, tzinfo=dt.UTC)) as dag:
    PromoteModelOperator(task_id="promote", model_name="churn", gate=json.loads(os.environ["GATE"]))
"""

PLAY = """
import datetime as dt, json, sys
sys.path.insert(0, sys.argv[1])
from promotes import dag
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select

runs = [  # a run, the same run again, another run with the same gate decision
    dag.test(logical_date=dt.datetime(2013, 5, day, tzinfo=dt.UTC), run_conf={}) for day in (1, 1, 2)
]
states = [[str(run.state), run.run_id] for run in runs]
with create_session() as session:
    mine = select(AssetEvent).where(AssetEvent.source_dag_id == "promotes")
    events = [[e.asset.uri, e.extra, e.source_run_id] for e in session.scalars(mine)]
print("RESULT" + json.dumps([states, events]))
"""


def test_runs_of_the_same_decision_write_one_event(airflow_db: Path, mlflow_local: Path, tmp_path: Path) -> None:
    hook = MlflowHook()
    old, new = make_version(hook, "churn", until="2013-04"), make_version(hook, "churn")
    hook.set_alias("churn", "champion", old)
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "promotes.py").write_text(DAG_FILE)
    gate = make_gate(hook, "churn", new, old)
    env = {**os.environ, "AIRFLOW__CORE__DAGS_FOLDER": str(folder), "GATE": json.dumps(gate)}
    done = subprocess.run([sys.executable, "-c", PLAY, str(folder)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("RESULT")]
    states: list[list[str]]
    events: list[Any]
    states, events = json.loads(line.removeprefix("RESULT"))
    assert [state for state, _ in states] == ["success"] * 3, done.stderr[-4000:]
    ((uri, extra, run_id),) = events
    assert uri == "mlmodel://churn/" and run_id == states[0][1]
    assert (extra["version"], extra["kind"], extra["replaces"]) == (new, "promotion", old)
    assert aliases(hook, "churn") == {"champion": new, "previous_champion": old}
