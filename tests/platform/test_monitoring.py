"""Monitoring under a real scheduler and triggerer: a year backfilled, data and age awaited, lineage written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.training import TrainModelOperator
from dev.stack import Stack
from tests.kit.inbox import Inbox, web_server

DAGS = Path(__file__).parent / "monitoring"
MODELS = ("first", "second")
MONTHS = tuple(f"2013-{m:02}" for m in range(1, 13))
SHIFTED = ("2013-06", "2013-07", "2013-11")


def fit(X: Any, y: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y)


def frame(rows: int, seed: int, wind: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"wind": rng.normal(wind, 1, rows), "gust": rng.normal(0, 1, rows)})


@pytest.fixture
def lived(mlflow_local: Path, run_task: Any, tmp_path: Path) -> dict[tuple[str, str], Any]:
    """Two champions and the year that they lived through: a check and a decision for each month."""
    late = np.random.default_rng(1).random(1000) < 0.3
    frame(1000, 0).assign(late=late).to_parquet(tmp_path / "train.parquet")
    for name in MODELS:
        train = {"train": fit, "data": str(tmp_path / "train.parquet"), "target": "late", "data_until": "2012-12"}
        made = run_task(TrainModelOperator(task_id="t", model_name=name, requirements=["scikit-learn"], **train))
        MlflowHook().set_alias(name, "champion", made["version"])
    found: dict[tuple[str, str], Any] = {}
    for i, month in enumerate(MONTHS):
        folder = tmp_path / f"month={month}"
        folder.mkdir()
        frame(400, 10 + i, 1.5 if month in SHIFTED else 0.0).to_parquet(folder / "rows.parquet")
        for name in MODELS:
            task = CheckDriftOperator(task_id="check", model_name=name, data=str(folder / "rows.parquet"))
            found[name, month] = run_task(task, run_id=f"{month} {name}", partition_key=month)
    return found


def verdict(result: Any) -> Any:
    """What a check found; who ran it is not part of it."""
    return {k: result[k] for k in ("status", "drift", "columns", "share_drifted", "report", "version", "subject")}


def test_a_year_again_data_that_is_awaited_and_a_champion_that_grows_old(
    lived: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    events = tmp_path / "openlineage.json"
    environment = {
        "MONITORING_FOLDER": str(tmp_path),
        **{n: os.environ[n] for n in ("AIRFLOW__MLOPS__TRACKING_URI", "AIRFLOW__MLOPS__ARTIFACT_LOCATION")},
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
    }
    root = tmp_path / "stack"
    with pytest.MonkeyPatch.context() as patch, web_server() as chat:
        environment["AIRFLOW_CONN_CHAT"] = f"http://{chat.address[0]}:{chat.address[1]}"
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            if name not in environment:
                patch.delenv(name)  # the tests' own Airflow is not this one
        with Stack(root, DAGS, environment) as stack:
            stack.wait_dags("year", "awaited", "train", "model_age")
            run = _promoted(stack)
            _awaited(stack, tmp_path)
            _grown_old(stack, run, chat)
            _again(stack, lived)
    _lineage(events, lived)


def _again(stack: Stack, lived: dict[tuple[str, str], Any]) -> None:
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "year", "--max-active-runs", "3"]
    command += ["--from-date", f"{MONTHS[0]}-01", "--to-date", f"{MONTHS[-1]}-01"]
    env = {**os.environ, **stack.environment()}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    ran = lambda: [r for r in stack.runs("year") if r["run_type"] == "backfill"]  # noqa: E731
    assert stack.until(lambda: len(ran()) == 12 and all(r["state"] in ("success", "failed") for r in ran()), 400), ran()
    tasks = {r["partition_key"]: stack.tasks_of("year", r["dag_run_id"]) for r in ran()}
    failed = [(month, t["task_id"]) for month, found in tasks.items() for t in found if t["state"] != "success"]
    assert failed == [], stack.logs

    def result(run: str, task: str, index: int) -> Any:
        path = f"/dags/year/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return stack.api("GET", path, map_index=index, deserialize="false", stringify="false")["value"]

    again: dict[tuple[str, str], Any] = {}
    for run in ran():
        for index, name in enumerate(MODELS):
            again[name, run["partition_key"]] = result(run["dag_run_id"], "check", index)
        decided = result(run["dag_run_id"], "decide", -1)
        assert decided["decision"] == "keep" and decided["reasons"][0].startswith("replay: would have said"), decided
    assert set(again) == set(lived)
    for key, was in lived.items():
        assert verdict(again[key]) == verdict(was), key
        assert was["drift"] is (key[1] in SHIFTED), key
    assert stack.runs("train") == [], "a replay of history triggers nothing"


def _promoted(stack: Stack) -> str:
    """The run that a promotion begins."""
    [asset] = [a for a in stack.api("GET", "/assets", limit=100)["assets"] if a["uri"].startswith("mlmodel://first")]
    stack.api("POST", "/assets/events", {"asset_id": asset["id"], "extra": {"version": "1"}})
    assert stack.until(lambda: len(stack.runs("model_age")) > 0, 60)
    return str(stack.runs("model_age")[0]["dag_run_id"])


def _grown_old(stack: Stack, run: str, chat: Inbox) -> None:
    """A DeadlineAlert: no newer champion in time, and somebody is told; then there is one, and the run is done."""
    assert stack.until(lambda: len(chat.got) > 0, 120), stack.tasks_of("model_age", run)
    ((_, _, told),) = chat.got
    assert told["event"] == "deadline_missed" and told["title"] == "Old: Too late: model_age"
    assert told["dag_run"] == {"dag_id": "model_age", "run_id": run}
    hook = MlflowHook()
    newer = hook.client.create_model_version("first", "file:///nowhere")
    hook.set_alias("first", "champion", str(newer.version))
    assert stack.wait_run("model_age", run, patience=120)["state"] == "success"
    hook.set_alias("first", "champion", "1")


def _awaited(stack: Stack, folder: Path) -> None:
    """An AssetWatcher in the real triggerer: nothing at four new rows, one run at five."""
    arrivals = folder / "arrivals"
    arrivals.mkdir()
    days = ["2013-03-30", *[f"2013-04-0{i}" for i in range(1, 5)]]
    pd.DataFrame({"at": pd.to_datetime(days)}).to_parquet(arrivals / "a.parquet")
    assert stack.runs("awaited") == []
    pd.DataFrame({"at": pd.to_datetime(["2013-04-05"])}).to_parquet(arrivals / "b.parquet")
    assert stack.until(lambda: len(stack.runs("awaited")) > 0, 120)
    (run,) = stack.runs("awaited")
    assert stack.wait_run("awaited", run["dag_run_id"], patience=120)["state"] == "success"
    (told,) = stack.xcom("awaited", run["dag_run_id"], "tell")
    assert (told["kind"], told["rows"], told["since"]) == ("new_rows", 5, "2013-03")


def _lineage(events: Path, lived: dict[tuple[str, str], Any]) -> None:
    """What the provider wrote about a real task of the backfill."""
    told = [json.loads(line) for line in events.read_text().splitlines()]
    done = [e for e in told if e["eventType"] == "COMPLETE" and e["job"]["name"] == "year.check"]
    versions = {i["facets"]["version"]["datasetVersion"] for e in done for i in e["inputs"] if i["namespace"] == "file"}
    assert versions == {r["data"]["digest"] for r in lived.values()}
    held = [
        a
        for e in done
        for i in e["inputs"]
        for a in i["inputFacets"].get("dataQualityAssertions", {}).get("assertions", [])
    ]
    assert any(a["column"] == "wind" and not a["success"] for a in held if a.get("column"))
    assert {
        (i["name"], i["facets"]["version"]["datasetVersion"])
        for e in done
        for i in e["inputs"]
        if i["namespace"] == "mlmodel"
    } == {(name, "1") for name in MODELS}
