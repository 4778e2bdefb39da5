"""ValidateDataOperator on real files: published first, then failed; warnings go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, UsageError
from airflow_mlops.core.results import Report
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.profile import ProfileDataOperator
from airflow_mlops.operators.validation import ValidateDataOperator

ROWS = pd.DataFrame({"id": [1, 2, 3, 4], "carrier": ["AA", "UA", None, "AA"], "late": [True, False, None, True]})


def expect(what: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{what}", "kwargs": kwargs, "severity": severity}


HOLDS = expect("column_values_to_be_unique", column="id")
FAILS = expect("column_values_to_not_be_null", column="carrier")
WARNS = {**FAILS, "severity": "warning"}


@pytest.fixture
def data(tmp_path: Path) -> str:
    ROWS.to_parquet(tmp_path / "rows.parquet", index=False)
    return str(tmp_path / "rows.parquet")


def test_rows_that_hold_go_on(run_task, data: str) -> None:
    result = run_task(ValidateDataOperator(task_id="v", data=DatasetRef(uri=data), suite=[HOLDS], target="late"))
    assert (result["status"], result["passed"], result["counts"]) == ("passed", True, {"passed": 5})
    assert DatasetRef.of(result["data"]).resolved and result["data"]["rows"] == 4
    report = Report.from_dict(result["report"])
    assert report.passed and report.details["judged_by"] == {"arrow": 1}
    assert set(report.inputs) == {"data", "configuration"}


def test_the_report_is_published_before_the_task_fails(run_task, data: str) -> None:
    with pytest.raises(DataValidationFailed, match="1 of 4 rows do not hold") as seen:
        run_task(ValidateDataOperator(task_id="v", data=data, suite=[HOLDS, FAILS]))
    published = run_task.last.xcoms["return_value"]
    assert published["passed"] is False and published["status"] == "failed"
    assert published["report"]["checks"][0]["name"] == FAILS["type"]
    assert seen.value.report == published


def test_a_warning_notifies_and_goes_on(run_task, data: str) -> None:
    heard: list[dict[str, Any]] = []

    def broken(context: Any) -> None:
        raise RuntimeError("no mail today")

    notify = [broken, lambda context: heard.append(context["mlops_report"])]
    info = {**FAILS, "severity": "info"}
    result = run_task(ValidateDataOperator(task_id="v", data=data, suite=[HOLDS, WARNS, info], on_warning=notify))
    assert result["passed"] is True and result["counts"]["failed"] == 2
    assert len(heard) == 1 and heard[0]["checks"][2]["severity"] == "warning"
    run_task(ValidateDataOperator(task_id="v", data=data, suite=[HOLDS, info], on_warning=notify))
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("suite", "data_", "error", "words"),
    [
        ([], None, UsageError, "no expectations"),
        ([{"type": "expect_nothing"}], None, UsageError, "unknown expectation"),
        ([HOLDS], "gone.parquet", DatasetNotFound, r"gone\.parquet"),
        ([expect("column_values_to_not_be_null", column="idd")], None, DataValidationFailed, "did you mean 'id'"),
        ([HOLDS], "torn.parquet", DataValidationFailed, "not a whole Parquet file"),
        ([HOLDS], "empty.parquet", DataValidationFailed, "there are no rows"),
    ],
)
def test_bad_input_never_passes(run_task, tmp_path: Path, data: str, suite, data_, error, words) -> None:
    (tmp_path / "torn.parquet").write_bytes(Path(data).read_bytes()[:100])
    ROWS[:0].to_parquet(tmp_path / "empty.parquet", index=False)
    uri = str(tmp_path / data_) if data_ else data
    with pytest.raises(error, match=words):
        run_task(ValidateDataOperator(task_id="v", data=uri, suite=suite))


def test_zero_rows_pass_where_the_author_says_so(run_task, tmp_path: Path) -> None:
    ROWS[:0].to_parquet(tmp_path / "empty.parquet", index=False)
    empty = str(tmp_path / "empty.parquet")
    assert run_task(ValidateDataOperator(task_id="v", data=empty, suite=[HOLDS], allow_empty=True))["passed"]


def test_a_label_is_required_in_training_only(run_task, tmp_path: Path) -> None:
    ROWS.drop(columns="late").to_parquet(tmp_path / "serving.parquet", index=False)
    uri = str(tmp_path / "serving.parquet")
    suite = [HOLDS, expect("column_values_to_not_be_null", column="late")]
    with pytest.raises(DataValidationFailed, match="'late' is required in TRAINING"):
        run_task(ValidateDataOperator(task_id="v", data=uri, suite=suite, target="late"))
    result = run_task(ValidateDataOperator(task_id="v", data=uri, suite=suite, target="late", environment="SERVING"))
    assert result["counts"] == {"passed": 2, "skipped": 1}


def test_a_reference_profile_is_held_against_the_rows(run_task, tmp_path: Path, data: str) -> None:
    profiled = run_task(ProfileDataOperator(task_id="p", data=data))
    renamed = ROWS.rename(columns={"carrier": "carriers"})
    renamed.to_parquet(tmp_path / "renamed.parquet", index=False)
    for reference in (profiled, profiled["profile"], DatasetRef(uri=data), data):
        operator = ValidateDataOperator(
            task_id="v", data=str(tmp_path / "renamed.parquet"), suite=[HOLDS], reference=reference
        )
        with pytest.raises(DataValidationFailed, match="was it renamed to 'carriers'"):
            run_task(operator)
    result = run_task(ValidateDataOperator(task_id="v", data=data, suite=[HOLDS], reference=profiled))
    assert result["passed"] and "reference" in result["report"]["inputs"]
    policy = {"min_rows_ratio": 3, "max_rows_ratio": 4, "severity": "critical"}
    with pytest.raises(DataValidationFailed, match="4 rows, expected 3 to 4 times 4"):
        run_task(ValidateDataOperator(task_id="v", data=data, suite=[HOLDS], reference=profiled, comparison=policy))


def test_arguments_are_templates_and_a_suite_lies_beside_the_dag(
    run_task, tmp_path: Path, data: str, monkeypatch
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps({"expectations": [HOLDS]}))
    folder = str(tmp_path)
    operator = ValidateDataOperator(
        task_id="v",
        data={"uri": folder + "/{{ params.name }}.parquet"},
        suite=folder + "/{{ params.name }}.json",
        environment="{{ params.environment }}",
    )
    result = run_task(operator, params={"name": "rows", "environment": "SERVING"})
    assert result["report"]["details"]["suite"] == "rows"
    assert result["report"]["details"]["environment"] == "SERVING"


def test_many_failures_stay_a_small_xcom_and_a_short_message(run_task, data: str) -> None:
    suite = [expect("column_values_to_be_in_set", column="carrier", value_set=[f"value {i}"]) for i in range(300)]
    with pytest.raises(DataValidationFailed) as seen:
        run_task(ValidateDataOperator(task_id="v", data=data, suite=[*suite, HOLDS]))
    assert str(seen.value).count("expect_column_values_to_be_in_set") == 10
    assert "and 290 more" in str(seen.value)
    published = run_task.last.xcoms["return_value"]
    assert len(json.dumps(published)) < 60_000
    assert published["report"]["details"]["checks_omitted"] == 302 - len(published["report"]["checks"])
    assert published["counts"] == {"failed": 300, "passed": 2}


def test_the_record_is_in_mlflow_before_the_failure_and_once(run_task, data: str, mlflow_local: Path) -> None:
    from airflow_mlops.hooks.mlflow import MlflowHook

    for _ in range(2):
        with pytest.raises(DataValidationFailed):
            run_task(
                ValidateDataOperator(
                    task_id="v", data=data, suite=[FAILS], model_name="flights", mlflow_conn_id="mlflow_default"
                )
            )
    (record,) = MlflowHook().history("flights")
    assert (record.kind, record.outcome) == ("validation", "failed")
    assert run_task.last.xcoms["return_value"]["record"]["key"] == record.key
    folder = next(mlflow_local.rglob("report.html")).parent
    page, suite = (folder / name for name in ("report.html", "suite.json"))
    assert "1 of 4 rows do not hold" in page.read_text() and "<script" not in page.read_text()
    assert json.loads(suite.read_text())["expectations"][0]["type"] == FAILS["type"]
    with pytest.raises(UsageError, match="model_name"):
        run_task(ValidateDataOperator(task_id="v", data=data, suite=[FAILS], mlflow_conn_id="mlflow_default"))


def test_a_suite_that_compiles_imports_no_great_expectations(data: str) -> None:
    code = (
        "import sys\nfrom airflow_mlops.engines import engine_for\nfrom airflow_mlops.core.datasets import DatasetRef\n"
        "from airflow_mlops.core.expectations import load\n"
        f"ref = DatasetRef(uri={data!r})\nsuite = load([{HOLDS!r}, {FAILS!r}])\n"
        "print([o.success for o in engine_for(ref).judge(ref, suite.expectations)])\n"
        "print([m for m in ('great_expectations', 'pandas', 'duckdb', 'airflow') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[True, False]", "[]"]


def test_the_library_judges_in_a_process_without_a_main_file(data: str) -> None:
    """PySpark, where it is installed, would take it for its own doctests and end it as if all were well."""
    code = (
        "from airflow_mlops.engines import engine_for\nfrom airflow_mlops.core.datasets import DatasetRef\n"
        "from airflow_mlops.core.expectations import load\n"
        f"ref = DatasetRef(uri={data!r})\n"
        "suite = load([{'type': 'expect_column_values_to_be_increasing', 'kwargs': {'column': 'id'}}])\n"
        "print([(o.success, o.judged_by) for o in engine_for(ref).judge(ref, suite.expectations)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[(True, 'great_expectations')]"]
