"""Where the links of a task instance lead: to what the task of that try wrote, and never with a password."""

from __future__ import annotations

import json
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
from airflow.sdk import BaseOperator

from airflow_mlops.exceptions import GateRejected
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators._context import publish
from airflow_mlops.operators.links import LINKS, DataDocsLink, MlflowRunLink, MlflowVersionLink, ReportLink
from airflow_mlops.operators.validation import ValidateDataOperator
from tests.operators.promotions import make_version


class Judge(BaseOperator):
    """Publishes what it is given, then passes or fails."""

    operator_extra_links = LINKS

    def __init__(self, *, result, fails=False, **kwargs):
        super().__init__(**kwargs)
        self.result, self.fails = result, fails

    @property
    def hook(self):
        return MlflowHook()

    def execute(self, context):
        publish(context, self.result)
        if self.fails:
            raise GateRejected("no", self.result)
        return self.result


def links_after(run_task, result, **more):
    """As Airflow asks for them when the task has ended."""
    task = Judge(task_id="judge", result=result, **more)
    if more.get("fails"):
        with pytest.raises(GateRejected):
            run_task(task)
    else:
        run_task(task)
    result = run_task.last.xcoms["return_value"]
    ti = SimpleNamespace(
        dag_id="d",
        run_id="asset_triggered__2013-05-01T00:00:00+00:00",
        task_id="judge",
        map_index=-1,
        xcom_pull=lambda task_ids, key: result if (task_ids, key) == ("judge", "return_value") else None,
    )
    return {link.name: link.get_link(task, ti_key=ti) for link in task.operator_extra_links}


@pytest.mark.parametrize("fails", [False, True])
def test_run_and_version_lead_to_pages_that_mlflow_has(mlflow_server, run_task, fails):
    hook = MlflowHook()
    number = make_version(hook, "linked model")
    run_id = hook.version("linked model", number).run_id
    found = links_after(
        run_task, {"model": "linked model", "version": number, "record": {"run_id": run_id}}, fails=fails
    )
    assert found["MLflow run"].startswith(f"{mlflow_server.uri}/#/experiments/")
    assert found["MLflow run"].endswith(f"/runs/{run_id}")
    assert found["MLflow version"] == f"{mlflow_server.uri}/#/models/linked model/versions/{number}"
    assert urlopen(found["MLflow run"].split("#")[0], timeout=30).status == 200


def test_a_decision_leads_to_its_candidate(mlflow_server, run_task):
    found = links_after(run_task, {"model": "late", "evidence": {"candidate": {"version": "3"}}})
    assert found["MLflow version"].endswith("/#/models/late/versions/3") and found["MLflow run"] == ""


@pytest.mark.parametrize("result", [{}, {"version": None}, {"record": "text", "evidence": [1]}])
def test_where_nothing_is_known_there_is_no_link(mlflow_server, run_task, result):
    found = links_after(run_task, result)
    assert found["MLflow run"] == found["MLflow version"] == ""


def test_without_a_server_there_is_no_page(mlflow_local, run_task):
    found = links_after(run_task, {"model": "late", "version": "1", "run_id": "a" * 32})
    assert found["MLflow run"] == found["MLflow version"] == ""


def test_an_address_with_a_password_is_not_shown(run_task, monkeypatch):
    secret = {"conn_type": "mlflow", "host": "http://ann:hunter2@127.0.0.1:9"}
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(secret))
    found = links_after(run_task, {"model": "late", "version": "1"})
    assert "hunter2" not in json.dumps(found)


def test_the_report_is_the_tab_of_that_task(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/team/")
    key = SimpleNamespace(dag_id="d", run_id="a b", task_id="t", map_index=2)
    tab = "https://example.org/team/dags/d/runs/a%20b/tasks/t/mapped/2/plugin/mlops-report"
    assert ReportLink().get_link(None, ti_key=key) == tab
    assert {type(link) for link in LINKS} == {ReportLink, MlflowRunLink, MlflowVersionLink}


def test_data_docs_are_the_page_that_is_logged_with_the_record(mlflow_server, run_task, tmp_path):
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    suite = [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "max_value": 2}}]
    task = ValidateDataOperator(
        task_id="v", data=str(tmp_path / "rows.csv"), suite=suite, model_name="docs", mlflow_conn_id="mlflow_default"
    )
    result = run_task(task)
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="v", map_index=-1, xcom_pull=lambda task_ids, key: result)
    (link,) = [one for one in task.operator_extra_links if isinstance(one, DataDocsLink)]
    run_id = result["record"]["run_id"]
    page = link.get_link(task, ti_key=ti)
    assert page.startswith(f"{mlflow_server.uri}/#/experiments/") and page.endswith(
        f"/runs/{run_id}/artifacts/report.html"
    )
    with urlopen(f"{mlflow_server.uri}/get-artifact?run_id={run_id}&path=report.html", timeout=30) as kept:
        assert "values_to_be_between" in kept.read().decode()
    result.pop("record")
    assert link.get_link(task, ti_key=ti) == "", "what was not recorded has no page"
