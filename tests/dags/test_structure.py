"""The DAG files: they parse, quickly and without what is heavy; what starts what; and who may learn from what."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.assets import model_asset
from flights import layout

DAGS = Path(__file__).resolve().parents[2] / "dags"
FILES = sorted(p.stem for p in DAGS.glob("*.py"))
HEAVY = ("mlflow", "sklearn", "pandas", "scipy", "great_expectations", "duckdb", "ibis", "pyarrow", "docker", "boto3")

PARSE = f"""
import json, sys
sys.path.insert(0, {str(DAGS)!r})  # as Airflow's dag-processor does
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
airflow.sdk.Asset("mlmodel://any")  # Airflow looks for the scheme's handler, and loads every provider's
after_airflow = set(sys.modules)
bag = DagBag({str(DAGS)!r})
heavy = [m for m in {HEAVY!r} if m in sys.modules and m not in after_airflow]
print(json.dumps({{"errors": bag.import_errors, "heavy": heavy, "dags": {{
    d.dag_id: {{
        "schedule": type(d.timetable).__name__,
        "tasks": {{t.task_id: sorted(t.downstream_task_ids) for t in d.tasks}},
        "max_active_runs": d.max_active_runs,
        "doc": bool(d.doc_md),
    }} for d in bag.dags.values()}}}}))
"""


@pytest.fixture(scope="module")
def bag() -> dict[str, Any]:
    """What a fresh process finds in the DAGs folder."""
    done = subprocess.run([sys.executable, "-c", PARSE], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_file_is_read_without_errors_and_without_heavy_imports(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert bag["heavy"] == []
    assert sorted(bag["dags"]) == sorted([*FILES, "flights_train_weekly"])


def test_every_dag_explains_itself_and_runs_one_at_a_time(bag: dict[str, Any]) -> None:
    for dag_id, dag in bag["dags"].items():
        assert dag["doc"], dag_id
        if dag_id != "flights_train_weekly":
            assert dag["max_active_runs"] == 1, dag_id


def test_a_dag_file_is_read_in_one_sitting() -> None:
    for name in FILES:
        text = (DAGS / f"{name}.py").read_text()
        assert len(text.splitlines()) <= 120, name
        assert ast.get_docstring(ast.parse(text)), name


def test_nothing_reaches_the_registry_but_through_the_gate(bag: dict[str, Any]) -> None:
    tasks = bag["dags"]["flights_train"]["tasks"]
    order = ["decide", "train", "evaluate", "gate", "promote"]
    for task, following in itertools.pairwise(order):
        assert following in tasks[task]
    assert tasks["promote"] == []
    for dag_id, dag in bag["dags"].items():
        assert "promote" not in dag["tasks"] or dag_id == "flights_train"


def test_nothing_is_prepared_before_both_files_were_judged(bag: dict[str, Any]) -> None:
    tasks = bag["dags"]["flights_ingest"]["tasks"]
    assert sorted(tasks["wait_for_delivery"]) == ["validate_flights", "validate_weather"]
    assert tasks["validate_flights"] == tasks["validate_weather"] == ["prepare"]
    assert tasks["prepare"] == ["publish"]


@pytest.mark.parametrize(
    ("file", "assets"),
    [
        ("flights_score", {layout.FLIGHTS, model_asset(layout.MODEL)}),
        ("flights_monitor", {layout.PREDICTIONS}),
        ("flights_train", {layout.FLIGHTS, layout.RETRAINING, layout.DUE}),
    ],
)
def test_what_starts_what(file: str, assets: set[Any]) -> None:
    dag = importlib.import_module(file).dag
    condition = dag.timetable.asset_condition
    found = {a.uri for a in getattr(condition, "objects", [condition])}
    assert found == {a.uri for a in assets}
    # An event of a partition starts only DAGs whose timetable is partitioned.
    assert type(dag.timetable).__name__ == "PartitionedAssetTimetable"


def test_every_event_comes_from_somewhere() -> None:
    emitted = set()
    for file in FILES:
        module = importlib.import_module(file)
        for dag in [module.dag, *([module.weekly] if hasattr(module, "weekly") else [])]:
            emitted |= {o.uri for task in dag.tasks for o in task.outlets}
    wanted = {layout.FLIGHTS, layout.PREDICTIONS, layout.RETRAINING, layout.DUE, model_asset(layout.MODEL)}
    assert {a.uri for a in wanted} <= emitted


def test_a_candidate_never_sees_what_it_is_judged_on() -> None:
    (past,) = [f for f in layout.PAST.filters if f[0] == "date"]
    (later,) = [f for f in layout.HOLDOUT.filters if f[0] == "date"]
    assert past == ("date", "<", layout.CUT)
    assert later == ("date", ">=", layout.CUT)
    train = importlib.import_module("flights_train")
    tasks = {t.task_id: t for t in train.dag.tasks}
    assert tasks["train"].data == layout.PAST.to_dict()
    assert tasks["evaluate"].data == layout.HOLDOUT.to_dict()
    assert tasks["train"].data_until == layout.CUT


@pytest.mark.parametrize(
    ("asset", "scored", "expected"),
    [
        (layout.FLIGHTS, False, True),
        (layout.FLIGHTS, True, True),
        (model_asset(layout.MODEL), False, True),
        (model_asset(layout.MODEL), True, False),
    ],
)
def test_a_promotion_scores_only_what_nobody_could_score_before(
    asset: Any, scored: bool, expected: bool, tmp_path: Path, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_FLIGHTS_ROOT", str(tmp_path))
    if scored:
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "month=2013-05.parquet").touch()
    due = importlib.import_module("flights_score").dag.get_task("due")
    event = {"name": asset.name, "uri": asset.uri, "extra": {}}
    run_task(due, partition_key="2013-05", logical_date=None, events=[event])
    assert run_task.last.skipped == ([] if expected else ["score"])


def test_a_backfill_writes_history_and_starts_nothing(run_task: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    publish = importlib.import_module("flights_ingest").dag.get_task("publish")
    given = {"xcoms": {"prepare": {"month": "2013-05"}}, "partition_key": "2013-05", "logical_date": None}
    run_task(publish, run_type="scheduled", **given)
    with pytest.raises(AirflowSkipException, match="backfill"):
        run_task(publish, run_type="backfill", **given)


@pytest.mark.parametrize("suite", ["flights", "weather"])
def test_a_suite_is_a_file_that_great_expectations_reads_too(suite: str) -> None:
    import yaml

    content = yaml.safe_load((layout.SUITES / f"{suite}.yaml").read_text())
    assert {e.get("severity") for e in content["expectations"]} == {"critical", "warning"}
