"""What the served pages show, from the records in MLflow."""

from __future__ import annotations

import json
import re

import pytest

from airflow_mlops.pages import words
from tests.kit import ledger

HARM = re.fullmatch(r"<bdi[^>]*>(.*)</bdi>", words.name(ledger.NASTY_MODEL, 60))[1]


@pytest.fixture
def listed(admin):
    """The list, once it was read."""

    def page(**params):
        from airflow_mlops.plugin.mlops_plugin import MlopsPlugin

        admin.get("/mlops/")
        MlopsPlugin.fastapi_apps[0]["app"]._app.state.snapshot.view(patience=60)
        return admin.get("/mlops/", params=params).text

    return page


def _rows(page):
    return re.findall(r'<th scope="row" class="key"><a href="[^"]*"><bdi[^>]*>(.*?)</bdi>', page)


def test_the_list_shows_each_model_with_its_verdicts(listed):
    page = listed()
    assert set(_rows(page)) == {"flights_delay", "untouched", HARM}
    row = page[page.index(">flights_delay<") :].split("</tr>")[0]
    for text in ("v1", "no drift", "holds", "waits for approval", "roc_auc", "<svg"):
        assert text in row
    assert "v4 waits for approval" in row
    assert "/dags/flights_train/runs/asset_triggered__2013-03/required_actions" in row


def test_what_needs_attention_comes_first(listed):
    assert _rows(listed())[-1] == "untouched"


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"q": "FLIGHTS"}, ["flights_delay"]),
        ({"q": "delay flights"}, ["flights_delay"]),
        ({"q": "nothing like it"}, []),
        ({"verdict": "approval"}, ["flights_delay"]),
        ({"verdict": "no_champion"}, ["untouched"]),
        ({"sort": "-name", "per": 1}, ["untouched"]),
        ({"sort": "-name", "per": 1, "page": 99}, [HARM]),
        ({"sort": "nonsense", "verdict": "nonsense", "q": "untouched"}, ["untouched"]),
    ],
)
def test_search_filter_sort_and_pages_work_without_a_script(params, names, listed):
    assert _rows(listed(**params)) == names


def test_a_model_shows_its_history(admin):
    page = admin.get("/mlops/model", params={"name": "flights_delay"}).text
    assert "Version <bdi>4</bdi> waits for a person" in page
    assert "Read the verdict" in page and "Decide in Airflow" in page
    for heading in ("What happened", "Performance over time", "Drift by column over time", "Champion and challenger"):
        assert f"<h2>{heading}</h2>" in page
    assert "/dags/flights_monitor/runs/asset_triggered__2013-03/tasks/check_drift" in page
    assert ledger.DATA_DIGEST[:12] in page
    assert '<span class="badge good"><bdi>champion</bdi></span>' in page


def test_a_model_that_is_only_a_name_has_a_page(admin):
    page = admin.get("/mlops/model", params={"name": "untouched"})
    assert page.status_code == 200 and "No version is registered" in page.text and "no records" in page.text


def test_a_model_that_is_not_there_is_a_404(admin):
    assert admin.get("/mlops/model", params={"name": "no such model"}).status_code == 404


def test_each_record_opens_as_its_report(admin, store):
    for record in store.history("flights_delay"):
        page = admin.get(f"/mlops/report/{record.run_id}")
        assert page.status_code == 200 and "flights_delay" in page.text


def test_the_report_tab_finds_what_the_task_recorded(admin):
    query = {
        "dag_id": "flights_train",
        "run_id": "asset_triggered__2013-03",
        "task_id": "gate",
        "map_index": "{MAP_INDEX}",
    }
    page = admin.get("/mlops/task", params=query).text
    assert "version <bdi>4</bdi>: gate" in page and "waits for approval" in page


def test_the_report_tab_is_honestly_empty_elsewhere(admin):
    page = admin.get("/mlops/task", params={"dag_id": "other", "run_id": "r", "task_id": "t"}).text
    assert "has not written a report" in page


def test_the_report_tab_prefers_what_this_run_returned(admin, airflow_app):
    """The same inputs a second time find the first run's record; its own result is in Airflow."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import text

    value = {"status": "failed", "report": ledger.validation_of("this very batch").to_dict()}
    with create_session(scoped=False) as session:
        session.execute(text("PRAGMA foreign_keys=OFF"))  # a run without a DAG, a result without a task
        run = DagRun(dag_id="ingest", run_id="manual__7", run_type="manual")
        session.add(run)
        session.flush()
        for task, stored in (("validate", value), ("text", json.dumps(value)), ("junk", "{not json"), ("list", [1])):
            session.add(
                XComModel(
                    dag_run_id=run.id,
                    dag_id="ingest",
                    run_id="manual__7",
                    task_id=task,
                    key="return_value",
                    value=stored,
                )
            )
    for task in ("validate", "text"):
        page = admin.get("/mlops/task", params={"dag_id": "ingest", "run_id": "manual__7", "task_id": task}).text
        assert "this very batch" in page and "912 of 27075 rows do not hold" in page
    for task in ("junk", "list"):
        page = admin.get("/mlops/task", params={"dag_id": "ingest", "run_id": "manual__7", "task_id": task})
        assert page.status_code == 200 and "has not written a report" in page.text


def test_airflow_knows_both_views(airflow_app):
    from airflow import plugins_manager

    views = {v["name"]: v for v in plugins_manager._get_ui_plugins()[0]}
    assert views["Models"]["href"] == "/mlops/" and views["Models"]["destination"] == "nav"
    assert views["Report"]["destination"] == "task_instance"


def test_links_keep_the_path_that_airflow_is_served_under(monkeypatch):
    from airflow_mlops.plugin.mlops_plugin import airflow_path

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/team/airflow/")
    assert airflow_path() == "/team/airflow"
