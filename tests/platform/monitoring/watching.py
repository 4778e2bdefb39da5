"""Monitoring for the test under a real scheduler: months checked for many models, and data that is awaited."""

from __future__ import annotations

import datetime as dt
import os

from airflow.sdk import (
    DAG,
    Asset,
    AssetWatcher,
    CronPartitionTimetable,
    DeadlineAlert,
    DeadlineReference,
    SyncCallback,
    task,
)

from airflow_mlops.assets import model_asset
from airflow_mlops.notifications.webhook import WebhookNotifier
from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from airflow_mlops.sensors.registry import ModelAliasSensor
from airflow_mlops.triggers.data import DataEventTrigger

FOLDER = os.environ.get("MONITORING_FOLDER", ".")
MODELS = ["first", "second"]
BEGIN, END = dt.datetime(2012, 1, 1, tzinfo=dt.UTC), dt.datetime(2014, 1, 1, tzinfo=dt.UTC)
RETRAINING = Asset("retraining")


def checked(name: str, schedule: object) -> DAG:
    """One check for each model, mapped without a line around it, and a decision about the first."""
    month = "{{ partition_key }}"
    with DAG(name, schedule=schedule, start_date=BEGIN, end_date=END, catchup=False) as dag:
        check = CheckDriftOperator.partial(
            task_id="check", data=f"{FOLDER}/month={month}/rows.parquet", on_drift="record"
        ).expand(model_name=MODELS)
        decide = DecideRetrainingOperator(
            task_id="decide",
            model_name=MODELS[0],
            policy={"reasons": ["drift"], "drift_needed": 1, "drift_checks": 1},
            labelled_until=month,
            on_keep="return",
            outlets=[RETRAINING],
        )
        check >> decide
    return dag


year = checked("year", CronPartitionTimetable("0 0 1 * *", timezone="UTC", key_format="%Y-%m"))

arrivals = Asset(
    "arrivals",
    watchers=[
        AssetWatcher(
            name="new rows",
            trigger=DataEventTrigger(
                data=FOLDER + "/arrivals", time_column="at", min_rows=5, since="2013-03", poll_interval=0.5
            ),
        )
    ],
)

with DAG("awaited", schedule=[arrivals]) as awaited:

    @task
    def tell(triggering_asset_events=None):
        return [e.extra["payload"] for events in triggering_asset_events.values() for e in events]

    tell()


with DAG("train", schedule=[RETRAINING]):

    @task
    def trained():
        return "a training was started"

    trained()


# A run begins with a promotion and ends with the next one; the deadline is the age that a champion may reach.
with DAG(
    "model_age",
    schedule=[model_asset(MODELS[0])],
    deadline=DeadlineAlert(
        name="the champion is old",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=dt.timedelta(seconds=1),
        callback=SyncCallback(WebhookNotifier, kwargs={"http_conn_id": "chat", "title": "Old: {{ message.title }}"}),
    ),
):
    ModelAliasSensor(
        task_id="next_champion",
        model_name=MODELS[0],
        different_from="{{ (triggering_asset_events.values() | first | first).extra.version }}",
        poke_interval=0.5,
        deferrable=True,
    )
