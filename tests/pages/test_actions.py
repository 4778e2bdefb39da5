"""What a form asks follows from the DAG's parameters, and where a version comes from is a chain without gaps."""

from __future__ import annotations

import pytest

from airflow_mlops.core.records import ModelVersion
from airflow_mlops.pages import models as pages
from airflow_mlops.pages.actions import action_of, offered
from airflow_mlops.pages.cards import Entry, card_of
from airflow_mlops.pages.lineage import lineage
from tests.kit.ledger import NASTY
from tests.pages.markup import Page

PARAMS = {
    "reason": {"schema": {"type": "string", "minLength": 10}, "description": "Why"},
    "to_version": {"value": "", "schema": {"type": "string"}},
    "model_name": {"value": "", "schema": {"type": "string"}},
    "rows": {"value": 5, "schema": {"type": "integer", "minimum": 1}},
    "share": {"value": None, "schema": {"type": ["number", "null"], "maximum": 1}},
    "dry": {"value": True, "schema": {"type": "boolean"}},
    "how": {"value": "b", "schema": {"type": "string", "enum": ["a", "b"]}},
}


def shown(*actions, versions=(), entries=()):
    return pages.model_page(
        card_of("late", {}, entries), versions=versions, entries=entries, now=0.0, actions=actions, form_id="f0rm"
    )


def test_the_parameters_of_the_dag_are_the_fields_of_the_form():
    action = action_of("rollback", "roll_back", PARAMS, model="late")
    fields = {f.name: f for f in action.fields}
    assert action.fixed == {"model_name": "late"} and "model_name" not in fields
    assert list(fields)[-1] == "reason" and fields["reason"].required and fields["reason"].min_length == 10
    assert (fields["rows"].type, fields["rows"].minimum, fields["rows"].required) == ("integer", 1, False)
    assert fields["share"].nullable and not fields["share"].required
    assert fields["how"].choices == ("a", "b")
    page = shown(action)
    Page(page)
    assert 'data-run="/api/v2/dags/roll_back/dagRuns"' in page and 'data-id="models_page__f0rm_1"' in page
    assert '<input type="hidden" name="model_name" value="late" data-type="string">' in page
    assert 'minlength="10"' in page and 'type="number" step="1" min="1"' in page and "data-nullable" in page
    assert "<option selected>b</option>" in page and "checked" in page


@pytest.mark.parametrize(
    "schema", [{"type": "object"}, {"type": ["string", "integer"]}, {"type": "array"}, {"type": 7}]
)
def test_a_parameter_that_no_field_can_ask_leads_to_airflows_own_form(schema):
    action = action_of("retrain", "train", {"odd": {"value": {}, "schema": schema}}, model="late")
    assert action.fields is None
    assert "Airflow&#39;s own form" in shown(action) or "Airflow's own form" in shown(action)
    assert "<form data-run" not in shown(action)


def test_nothing_that_a_dag_says_becomes_markup():
    params = {NASTY: {"value": NASTY, "description": NASTY, "schema": {"type": "string", "pattern": NASTY}}}
    page = shown(action_of("retrain", NASTY, params, model=NASTY))
    Page(page)
    assert "<script>" not in page and 'data-run="/api/v2/dags/%3Cscript%3E' in page


def test_a_paused_dag_says_that_the_run_will_wait():
    assert "It is paused" in shown(action_of("retrain", "train", {}, model="late", paused=True))


def test_a_dag_is_offered_to_the_models_that_it_names():
    assert offered(["mlops:rollback", "mlops:retrain", "mlmodel:a", "mlmodel:b"], "b") == ("rollback", "retrain")
    assert offered(["mlops:rollback", "mlmodel:a"], "b") == ()
    assert offered(["mlmodel:a"], "a") == ()


def _version(**more):
    tags = {"mlops.data_digest": "d" * 64, "mlops.data_until": "2013-05", "mlops.model_digest": "m" * 64}
    return ModelVersion(name="late", version="3", run_id="r" * 32, aliases=("champion",), tags=tags, **more)


def _entry(kind, outcome, run_id, **more):
    more = {"subject": "3", "at": "2013-06-01T00:00:00+00:00", "dag_id": "d", "dag_run_id": "x", "task_id": kind} | more
    return Entry(kind=kind, model="late", outcome=outcome, run_id=run_id, **more)


def test_the_chain_goes_from_rows_to_champion():
    entries = [
        _entry("promotion", "promoted", "p"),
        _entry("approval", "approved", "a"),
        _entry("gate", "require_approval", "g"),
        _entry("gate", "reject", "other", subject="2"),
        _entry("training", "trained", "r" * 32, subject=""),
    ]
    steps = lineage(
        _version(),
        entries,
        report=lambda e: f"/report/{e.run_id}",
        dag_run=lambda e: f"/dags/{e.task_id}",
        outside="https://m.example/v3",
        card="/card",
    )
    assert [s.what for s in steps] == ["Data", "Training run", "Version", "Gate", "Approval", "Role"]
    assert all(s.known for s in steps)
    links = {s.what: [url for _, url, _ in s.links] for s in steps}
    assert links["Training run"] == ["/report/" + "r" * 32, "/dags/training"]
    assert links["Version"] == ["https://m.example/v3", "/card"]
    assert links["Gate"] == ["/report/g", "/dags/gate"]
    assert "champion" in steps[-1].value
    Page(shown(versions=[_version()], entries=entries))


def test_a_step_without_a_record_says_so():
    bare = ModelVersion(name="late", version="3", aliases=("champion",))
    steps = lineage(bare, [], report=lambda e: "", dag_run=lambda e: "")
    assert [s.what for s in steps if not s.known] == ["Data", "Training run", "Gate"]
    assert "no record" in shown(versions=[bare])
