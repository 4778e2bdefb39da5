"""Lineage as the real OpenLineage provider extracts and writes it."""

from __future__ import annotations

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
        ("gates", {"data": DATA}, {}, [], []),
        ("drift", {}, {"data": object()}, [], []),
    ],
    ids=str,
)
def test_roles(kind, result, arguments, inputs, outputs) -> None:
    found = lineage_of(kind, result, arguments)
    said = [[f"{t.name} {t.version}" if t.namespace == "mlmodel" else t.name for t in side] for side in found]
    assert said == [inputs, outputs]


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
