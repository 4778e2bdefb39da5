"""What each event says, from the reports and decisions that the core makes."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_mlops.core.gates import GatePolicy, Value
from airflow_mlops.core.results import Check, Decision, Report, Severity, Status
from airflow_mlops.notifications.lifecycle import message_of
from airflow_mlops.notifications.messages import NAMES, message_for
from tests.kit import ledger

RUN = {"dag_id": "flights_train", "run_id": "manual__2013", "task_id": "gate"}


def _moved(kind: str, decision: str) -> dict:
    return Decision(
        kind=kind, model="late", decision=decision, reasons=("because",), evidence={"version": "7"}
    ).to_dict()


WARNED = Check(name="new_column", status=Status.FAILED, severity=Severity.WARNING, subject="extra", message="it is new")


def _warned(kind: str) -> dict:
    return Report(kind=kind, subject="2013-08", checks=(WARNED, Check(name="x", status=Status.PASSED))).to_dict()


CASES = {
    "drift_warning": (_warned("drift"), "Warning for 2013-08: no drift, but new_column extra"),
    "performance_warning": (_warned("performance"), "Warning for 2013-08: performance held, but new_column extra"),
    "gate_rejected": (ledger.decision_of(ledger.evaluation_of(auc=0.6)).to_dict(), "Rejected: flights_delay version 4"),
    "gate_passed": (ledger.decision_of(ledger.evaluation_of()).to_dict(), "Passed: flights_delay version 4"),
    "approval_needed": (
        ledger.decision_of(
            ledger.evaluation_of(champion=""),
            GatePolicy(checks=[Value("roc_auc", lower=0.5)], on_missing_champion="require_approval"),
        ).to_dict(),
        "Approval needed: flights_delay version 4",
    ),
    "drift": (ledger.drift_of(0.5, "2013-08").to_dict(), "Drift in 2013-08: 3 of 7 columns"),
    "performance_drop": (
        ledger.performance_of("2013-08", 0.6, 0.7).to_dict(),
        "Performance dropped in 2013-08: roc_auc 0.6",
    ),
    "validation_failed": (ledger.validation_of().to_dict(), "Data not valid: flights 2013-06"),
    "not_judged": (
        Report(kind="drift", subject="2013-09", checks=(Check(name="rows", status=Status.INSUFFICIENT),)).to_dict(),
        "Drift could not be judged: 2013-09",
    ),
    "promoted": (_moved("promotion", "promoted"), "Promoted: late version 7 is the champion"),
    "rolled_back": (_moved("rollback", "rolled_back"), "Rolled back: late version 7 is the champion again"),
    "refused": (_moved("promotion", "refused"), "Refused: the champion of late was not changed"),
    "retrain": (_moved("retraining", "retrain"), "Retraining: late"),
    "retraining_alert": (_moved("retraining", "alert"), "Attention: late needs a person"),
}


@pytest.mark.parametrize("event", CASES)
def test_each_event_is_recognised_and_named(event):
    value, title = CASES[event]
    message = message_for(value, run=RUN)
    assert message.event == event
    assert message.title.startswith(title)
    assert "dag flights_train, run manual__2013, task gate" in message.text
    assert message.to_dict()["text"].startswith(message.title)


def test_every_event_has_a_case():
    assert {*CASES, "deadline_missed", "task_failed", "finished"} == set(NAMES)


def test_drift_names_the_columns_that_moved_furthest_and_links_to_the_record():
    moved = {"gust": 1.5, "wind": 9.0, "hour": 3.0, "dew": 2.0}
    checks = [Check(name="new_column", status=Status.FAILED, severity="warning", subject="new", message="m")]
    checks += [
        Check(name="distribution", status=Status.FAILED, subject=c, message="moved", details={"excess": e})
        for c, e in moved.items()
    ]
    report = Report(kind="drift", subject="2013-08", checks=tuple(checks), details={"columns_drifted": 4, "columns": 9})
    value = {"report": report.to_dict(), "record": {"link": "https://mlflow.example.org/#/runs/1"}}
    message = message_for(value, run=RUN)
    assert message.title == "Drift in 2013-08: 4 of 9 columns (wind, hour, dew)"
    names = [line.split()[2].rstrip(":") for line in message.text.splitlines() if line.startswith("- ")]
    assert names == ["wind", "hour", "dew", "gust", "new"]
    assert "Record: https://mlflow.example.org/#/runs/1" in message.text
    assert "javascript" not in message_for(value | {"record": {"link": "javascript:alert(1)"}}).text


def test_a_deadline_that_was_missed_says_of_which_run():
    context = {
        "dag_run": {"dag_id": "model_age", "dag_run_id": "asset__1"},
        "deadline": {"id": "7", "deadline_time": "2013-09-01T00:00:00Z"},
    }
    message = message_of(context)
    assert (message["event"], message["title"]) == ("deadline_missed", "Too late: model_age")
    assert "done by 2013-09-01" in message["text"] and "run asset__1" in message["text"]


def test_the_reasons_are_in_the_text_and_bounded():
    checks = tuple(Check(name="psi", subject=f"c{i}", status=Status.FAILED, message="moved") for i in range(30))
    text = message_for(Report(kind="drift", checks=checks).to_dict()).text
    assert "- psi c0: moved" in text and "- psi c9: moved" in text and "c10" not in text
    assert "- and 20 more" in text


def test_an_estimate_is_called_one():
    report = ledger.performance_of("2013-10", None, 0.5).to_dict()
    assert message_for(report).title.startswith("Estimated performance dropped in 2013-10")


def test_the_report_inside_of_a_result_is_found():
    result = {"model_name": "late", "report": ledger.drift_of(0.5, "2013-08").to_dict(), "data": {}}
    assert message_for(result).event == "drift"
    assert message_for(result).model == "late"


def test_a_title_is_one_line_whatever_a_name_holds():
    value = _moved("promotion", "promoted") | {"model": "late\r\nBcc: everybody@example.org"}
    assert "\n" not in message_for(value).title and "\r" not in message_for(value).title


def test_without_a_report_only_what_airflow_knows_is_said():
    message = message_for(None, run=RUN, error="MlflowUnavailable: nobody answers")
    assert (message.event, message.title) == ("task_failed", "Failed: flights_train / gate")
    assert "nobody answers" in message.text
    assert message_for({"rows": 3}, run=RUN).event == "finished"


@pytest.mark.parametrize(
    ("kind", "warning", "others", "event", "title"),
    [
        ("drift", WARNED, Status.PASSED, "drift_warning", "Warning for 2013-08: no drift, but new_column extra"),
        ("drift", WARNED, Status.ERROR, "not_judged", "Drift could not be judged: 2013-08"),
        ("drift", WARNED, Status.FAILED, "drift", "Drift in 2013-08 (x)"),
        (
            "performance",
            dataclasses.replace(WARNED, name="repeated_labels", subject=""),
            Status.PASSED,
            "performance_warning",
            "Warning for 2013-08: performance held, but repeated_labels",
        ),
        ("performance", WARNED, Status.INSUFFICIENT, "not_judged", "Performance could not be judged: 2013-08"),
    ],
)
def test_a_warning_is_not_announced_as_what_it_is_not(
    kind: str, warning: Check, others: Status, event: str, title: str
) -> None:
    checks = (warning, Check(name="distribution", status=others, subject="x", message="m"))
    message = message_for(Report(kind=kind, subject="2013-08", checks=checks).to_dict())
    assert (message.event, message.title) == (event, title)
    assert f"{warning.name} {warning.subject}".strip() in message.text
