"""Lineage as the real OpenLineage provider extracts and writes it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from airflow_mlops.core.lineage import lineage_of
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.profile import ProfileDataOperator
from airflow_mlops.operators.quarantine import QuarantineDataOperator
from airflow_mlops.operators.validation import ValidateDataOperator

SUITE = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}},
]


@pytest.fixture
def data(tmp_path: Path) -> str:
    pd.DataFrame({"id": [1, 2], "carrier": ["AA", None]}).to_parquet(tmp_path / "rows.parquet", index=False)
    return str(tmp_path / "rows.parquet")


def event_of(operator: Any, ti: Any, folder: Path, *, failed: bool = False) -> dict[str, Any]:
    """The event that the provider's extractors make, written by OpenLineage's own file transport and read again."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.transport.file import FileConfig, FileTransport

    state = TaskInstanceState.FAILED if failed else TaskInstanceState.SUCCESS
    found = ExtractorManager().extract_metadata(
        dagrun=SimpleNamespace(run_id="r"), task=operator, task_instance_state=state, task_instance=ti
    )
    path = folder / "events.json"
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(path), append=True)))
    client.emit(
        RunEvent(
            eventTime="2013-05-01T00:00:00Z",
            eventType=RunState.FAIL if failed else RunState.COMPLETE,
            run=Run(runId="01941f29-7c00-7087-8940-40e512257bd4"),
            job=Job(namespace="default", name="dag.task"),
            inputs=found.inputs,
            outputs=found.outputs,
        )
    )
    event: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    return event


def test_what_was_validated_and_how_it_ended(run_task: Any, data: str, tmp_path: Path) -> None:
    """Of a task that its verdict failed as well: the assertion that did not hold is why one looks at lineage."""
    task = ValidateDataOperator(task_id="v", data=data, suite=SUITE)
    with pytest.raises(DataValidationFailed):
        run_task(task)
    published = run_task.last.xcoms["return_value"]
    event = event_of(run_task.last.task, None, tmp_path, failed=True)
    (told,) = event["inputs"]
    assert (told["namespace"], told["name"]) == ("file", data)
    assert told["facets"]["version"]["datasetVersion"] == published["data"]["digest"]
    assert {f["name"] for f in told["facets"]["schema"]["fields"]} == {"id", "carrier"}
    assert told["inputFacets"]["inputStatistics"]["rowCount"] == 2
    assertions = told["inputFacets"]["dataQualityAssertions"]["assertions"]
    held = {a["assertion"]: (a["success"], a.get("column")) for a in assertions}
    assert held["expect_column_values_to_be_unique"] == (True, "id")
    assert held["expect_column_values_to_not_be_null"] == (False, "carrier")
    assert event["outputs"] == []


def test_the_counts_of_a_profile(run_task: Any, data: str, tmp_path: Path) -> None:
    run_task(ProfileDataOperator(task_id="p", data=data))
    (told,) = event_of(run_task.last.task, None, tmp_path)["inputs"]
    counted = told["inputFacets"]["dataQualityMetrics"]
    assert counted["rowCount"] == 2 and set(counted["columnMetrics"]) == {"id", "carrier"}
    told_of_id = {k: v for k, v in counted["columnMetrics"]["id"].items() if v}
    assert told_of_id == {"count": 2, "distinctCount": 2, "min": 1, "max": 2, "sum": 3.0}
    assert counted["columnMetrics"]["carrier"]["nullCount"] == 1
    assert counted["columnMetrics"]["carrier"].get("min") is None


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_rows_that_were_divided(run_task: Any, data: str, tmp_path: Path, share: float) -> None:
    """What holds of the rows that go on is not told of the rows that came."""
    files = {"quarantine": str(tmp_path / "bad.parquet"), "good": str(tmp_path / "good.parquet")}
    task = QuarantineDataOperator(task_id="q", data=data, suite=SUITE, max_share=share, **files)
    stopped = share < 0.5
    with pytest.raises(DataValidationFailed) if stopped else contextlib.nullcontext():
        run_task(task)
    event = event_of(run_task.last.task, None, tmp_path, failed=stopped)
    (told,) = event["inputs"]
    assert told["name"] == data and told["facets"]["version"]
    assertions = told["inputFacets"]["dataQualityAssertions"]["assertions"]
    held = {a["assertion"]: a["success"] for a in assertions}
    assert held["expect_column_values_to_not_be_null(carrier)"] is False
    assert "expect_column_values_to_not_be_null" not in held and held["expect_column_values_to_be_unique"] is True
    assert held["quarantined_share"] is not stopped
    made = {o["name"]: o.get("outputFacets", {}).get("outputStatistics", {}).get("rowCount") for o in event["outputs"]}
    assert made == ({files["quarantine"]: 1} if stopped else {files["good"]: 1, files["quarantine"]: 1})


def test_rows_that_go_on_as_they_came_are_not_made(run_task: Any, data: str, tmp_path: Path) -> None:
    quarantine = str(tmp_path / "bad.parquet")
    run_task(QuarantineDataOperator(task_id="q", data=data, suite=SUITE[:1], quarantine=quarantine))
    assert [o["name"] for o in event_of(run_task.last.task, None, tmp_path)["outputs"]] == [quarantine]


def test_what_is_told_of_a_task_that_never_came_to_publish(run_task: Any, tmp_path: Path) -> None:
    task = ProfileDataOperator(task_id="p", data="s3://lake/day=1/*.parquet")
    (told,) = event_of(task, None, tmp_path)["inputs"]
    assert (told["namespace"], told["name"]) == ("s3://lake", "day=1/*.parquet") and "version" not in told["facets"]


DATA = {"uri": "/a.parquet", "digest": "d" * 32, "rows": 5}


@pytest.mark.parametrize(
    ("kind", "result", "arguments", "inputs", "outputs"),
    [
        ("training", {"model_name": "m", "version": "3", "data": DATA}, {}, ["/a.parquet"], ["m 3"]),
        ("training", {"model_name": "m", "version": None}, {"data": "/b.parquet"}, ["/b.parquet"], []),
        (
            "evaluation",
            {"model_name": "m", "data": DATA, "candidate": {"version": "3"}, "champion": {"version": "2"}},
            {},
            ["/a.parquet", "m 3", "m 2"],
            [],
        ),
        (
            "scoring",
            {"model_name": "m", "version": "3", "input": DATA, "data": {"uri": "s3://b/p.parquet"}},
            {"data": "/a.parquet"},
            ["/a.parquet", "m 3"],
            ["p.parquet"],
        ),
        ("scoring", {"model_name": "m", "version": None, "data": None}, {"data": "/a.parquet"}, [], []),
        (
            "promotion",
            {"model": "m", "decision": "promoted", "evidence": {"candidate": {"version": "3"}}},
            {},
            [],
            ["m 3"],
        ),
        ("promotion", {"model": "m", "decision": "refused", "evidence": {"candidate": {"version": "3"}}}, {}, [], []),
        ("drift", {"model_name": "m", "version": "3", "data": DATA}, {}, ["/a.parquet", "m 3"], []),
        (
            "performance",
            {"model_name": "m", "version": "3"},
            {"predictions": {"data": DATA}, "labels": "/l.parquet"},
            ["/a.parquet", "/l.parquet", "m 3"],
            [],
        ),
        (
            "drift",
            {"model_name": "m", "version": "3", "data": DATA},
            {"predictions": "/p.parquet", "reference_rows": {"uri": "/t.parquet"}},
            ["/a.parquet", "/p.parquet", "/t.parquet", "m 3"],
            [],
        ),
        (
            "validation",
            {"data": DATA},
            {"reference": {"rows": 1}, "holdout": "/h.parquet"},
            ["/a.parquet", "/h.parquet"],
            [],
        ),
        (
            "shadow",
            {"model_name": "m", "data": DATA, "champion": "2", "challenger": "3"},
            {},
            ["/a.parquet", "m 2", "m 3"],
            [],
        ),
        ("gates", {"data": DATA}, {}, [], []),
        ("drift", {}, {"data": object()}, [], []),
    ],
    ids=str,
)
def test_roles(kind, result, arguments, inputs, outputs) -> None:
    found = lineage_of(kind, result, arguments)
    said = [[f"{t.name} {t.version}" if t.namespace == "mlmodel" else t.name for t in side] for side in found]
    assert said == [inputs, outputs]


def test_rows_that_were_given_unresolved_have_the_digests_of_the_report() -> None:
    report = {"checks": [], "inputs": {"predictions": "p" * 32, "labels": "none"}}
    inputs, _ = lineage_of("performance", {"report": report}, {"predictions": "/p.parquet", "labels": "/l.parquet"})
    assert [t.version for t in inputs] == ["p" * 32, ""]
    inputs, _ = lineage_of("drift", {"report": {"inputs": {"predictions_data": "q"}}}, {"predictions": "/p.parquet"})
    assert [t.version for t in inputs] == ["q"]


def test_a_version_in_a_repository_has_the_name_by_which_it_is_read_again() -> None:
    ref = {"uri": "dvc://data/flights.parquet", "conn_id": "lake_repo", "digest": "d", "version": "abc"}
    inputs, outputs = lineage_of("snapshot", {"input": DATA, "data": ref}, {})
    (read, *_), _ = lineage_of("training", {"data": ref}, {})
    assert [t.name for t in inputs] == ["/a.parquet"] and outputs == (read,)
    assert (read.namespace, read.name, read.version) == ("dvc://lake_repo", "data/flights.parquet", "d")


def test_what_could_not_be_judged_claims_nothing() -> None:
    statuses = ("passed", "failed", "error", "insufficient_data", "skipped")
    report = {"checks": [{"name": s, "status": s, "severity": "warning"} for s in statuses]}
    (told, *_), _ = lineage_of("drift", {"data": DATA, "report": report}, {})
    assert [(a.name, a.success, a.severity) for a in told.assertions] == [
        ("passed", True, "warn"),
        ("failed", False, "warn"),
        ("error", False, "warn"),
    ]


def test_nothing_of_it_is_imported_where_nobody_asks(tmp_path: Path) -> None:
    """As where the provider is not installed: every operator is imported while its packages can't be."""
    code = """
import sys
for name in ("openlineage.client", "airflow.providers.openlineage.extractors"):
    sys.modules[name] = None
import importlib
from airflow_mlops.provider_info import OPERATORS
for name in OPERATORS:
    importlib.import_module(f"airflow_mlops.operators.{name}")
"""
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__OPENLINEAGE__DISABLED": "true"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
