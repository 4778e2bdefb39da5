"""Sent for real: to an HTTP server and to an SMTP server on this machine."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import BaseOperator

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.exceptions import GateRejected
from airflow_mlops.notifications.email import EmailNotifier
from airflow_mlops.notifications.webhook import WebhookNotifier
from tests.kit import ledger
from tests.notifications.test_messages import CASES

REJECTED = ledger.decision_of(ledger.evaluation_of(auc=0.6)).to_dict()


def context_of(exception: Exception | None = None, returned: object = None) -> dict:
    """As Airflow hands it to a callback."""
    ti = SimpleNamespace(
        dag_id="flights_train",
        run_id="manual__2013",
        task_id="gate",
        try_number=1,
        map_index=-1,
        log_url="http://airflow.example.org/dags/flights_train",
        xcom_pull=lambda task_ids, key: returned if (task_ids, key) == ("gate", "return_value") else None,
    )
    return {"ti": ti, "exception": exception} if exception else {"ti": ti}


@pytest.fixture
def webhook(web, monkeypatch):
    host, port = web.address
    connection = {
        "conn_type": "http",
        "host": host,
        "port": port,
        "login": "bot",
        "password": "s3cret",
        "extra": {"X-Team": "ml"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps(connection))
    return web


@pytest.fixture
def mailbox(post, monkeypatch):
    host, port = post.address
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
    connection = {"conn_type": "smtp", "host": host, "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    return post


def test_a_rejection_reaches_the_webhook(webhook):
    WebhookNotifier(http_conn_id="chat", endpoint="hooks/1")(context_of(GateRejected("no", REJECTED)))
    ((path, headers, body),) = webhook.got
    assert path == "/hooks/1"
    assert headers["X-Team"] == "ml" and headers["Authorization"].startswith("Basic ")
    assert body["event"] == "gate_rejected"
    assert body["title"] == "Rejected: flights_delay version 4 did not pass the gate"
    assert "roc_auc" in body["text"] and body["dag_run"]["task_id"] == "gate"
    assert body["url"] == "http://airflow.example.org/dags/flights_train"


def test_what_a_task_returned_reaches_the_webhook_on_success(webhook):
    promoted = {"kind": "promotion", "model": "late", "decision": "promoted", "reasons": ["the gate passed"]}
    WebhookNotifier(http_conn_id="chat")(context_of(returned=promoted))
    assert webhook.got[0][2]["event"] == "promoted"


def test_a_receiver_that_refuses_unknown_fields_gets_only_those_it_knows(webhook):
    WebhookNotifier(http_conn_id="chat", fields=["text"])(context_of(GateRejected("no", REJECTED)))
    assert list(webhook.got[0][2]) == ["text"]


def test_only_the_events_that_were_asked_for_are_sent(webhook):
    notifier = WebhookNotifier(http_conn_id="chat", events=["drift"])
    notifier(context_of(GateRejected("no", REJECTED)))
    assert webhook.got == []
    notifier(context_of() | {"mlops_report": ledger.drift_of(0.5, "2013-08").to_dict()})
    assert [body["event"] for _, _, body in webhook.got] == ["drift"]


def test_an_event_that_there_is_not_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'drift'"):
        WebhookNotifier(events=["drfit"])(context_of(returned={}))


def test_templates_see_the_message_and_stay_templates(webhook):
    notifier = WebhookNotifier(http_conn_id="chat", title="{{ message.subject }}: {{ ti.task_id }}", text="look")
    notifier(context_of(GateRejected("no", REJECTED)))
    notifier(context_of() | {"mlops_report": ledger.drift_of(0.5, "2013-08").to_dict()})
    assert [b["title"] for _, _, b in webhook.got] == ["4: gate", "2013-08: gate"]
    assert webhook.got[0][2]["text"] == "look"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_an_error_that_names_the_connection_and_no_secret(webhook, status):
    webhook.status = status
    notifier = WebhookNotifier(http_conn_id="chat", endpoint="secret-path")
    with pytest.raises(UsageError, match=f"'chat' answers HTTP {status}") as error:
        notifier(context_of(GateRejected("no", REJECTED)))  # Airflow logs what a callback raises
    assert "secret-path" not in str(error.value) and "s3cret" not in str(error.value)
    assert len(webhook.got) == 1  # a redirect is not followed


@pytest.mark.parametrize("event", CASES)
def test_each_event_arrives_both_ways(event, webhook, mailbox):
    value, title = CASES[event]
    context = context_of() | {"mlops_report": value}
    WebhookNotifier(http_conn_id="chat")(context)
    EmailNotifier(to="team@example.org")(context)
    ((_, _, body),) = webhook.got
    ((_, mail),) = mailbox.got
    assert body["event"] == event and body["title"].startswith(title) and mail["Subject"] == body["title"]
    assert "flights_train" in _text(mail) and "http://airflow.example.org/dags/flights_train" in _text(mail)


def test_a_rejection_reaches_a_mailbox(mailbox):
    EmailNotifier(to="team@example.org")(context_of(GateRejected("no", REJECTED)))
    ((recipients, mail),) = mailbox.got
    assert recipients == ("team@example.org",)
    assert mail["Subject"] == "Rejected: flights_delay version 4 did not pass the gate"
    assert mail["From"] == "airflow@example.org"
    assert "roc_auc" in _text(mail)


def test_a_name_can_put_neither_markup_nor_a_header_into_a_mail(mailbox):
    value = REJECTED | {"model": ledger.NASTY + "\r\nBcc: all@example.org", "reasons": [ledger.NASTY]}
    EmailNotifier(to=["a@example.org", "b@example.org"])(context_of(GateRejected("no", value)))
    ((recipients, mail),) = mailbox.got
    assert recipients == ("a@example.org", "b@example.org")
    assert mail["Bcc"] is None
    assert "<script>" not in _text(mail) and "&lt;script&gt;" in _text(mail)


def test_it_serves_as_a_callback_of_a_task_that_runs(webhook, run_task):
    class Gate(BaseOperator):
        def execute(self, context):
            raise GateRejected("not good enough", REJECTED)

    notifier = WebhookNotifier(http_conn_id="chat")
    gate = Gate(task_id="gate", on_failure_callback=notifier)
    assert list(gate.on_failure_callback) == [notifier]
    with pytest.raises(GateRejected) as error:
        run_task(gate)
    for callback in gate.on_failure_callback:
        callback({**run_task.last.context, "exception": error.value})
    assert webhook.got[0][2]["event"] == "gate_rejected"


def _text(mail) -> str:
    return "".join(part.get_content() for part in mail.walk() if part.get_content_type() == "text/html")
