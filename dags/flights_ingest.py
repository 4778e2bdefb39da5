"""Every month: wait for the delivery, judge it, prepare it, say that it is there.

The partition is the month, ``2013-05``, and travels with the event: scoring, monitoring and training of that month
start by themselves. ``airflow backfill create --dag-id flights_ingest --from-date 2013-01-01 --to-date 2013-12-01``
fills in the year without starting anything else; a partition is a function of its files, so a second run changes
nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import DAG, CronPartitionTimetable, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.operators.validation import ValidateDataOperator
from airflow_mlops.sensors.data import PartitionSensor
from flights.layout import FLIGHTS, MACROS, MODEL, MONTH, RETRIES, ROOT, SUITES, landing, month_param

with DAG(
    "flights_ingest",
    schedule=CronPartitionTimetable("0 0 1 * *", timezone="UTC", key_format="%Y-%m"),
    start_date=dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
    end_date=dt.datetime(2013, 12, 31, tzinfo=dt.UTC),  # where this data ends; a live feed has none
    catchup=False,
    max_active_runs=1,
    params={"month": month_param()},
    user_defined_macros=MACROS,
    default_args=RETRIES,
    tags=["flights"],
    doc_md=__doc__,
) as dag:
    delivered = PartitionSensor(
        task_id="wait_for_delivery",
        data=landing("flights", MONTH),
        marker=f"_SUCCESS-{MONTH}",  # written last, beside the files
        poke_interval=5,
        timeout=dt.timedelta(days=7).total_seconds(),
        deferrable=True,
    )

    # Two files, two suites: what is wrong with the weather must not hide what is wrong with the flights.
    judged = [
        ValidateDataOperator(
            task_id=f"validate_{kind}",
            data=landing(kind, MONTH),
            suite=str(SUITES / f"{kind}.yaml"),
            environment="SERVING",  # the label of these rows is a month away
            target="late",
            mlflow_conn_id="mlflow_default",
            model_name=MODEL,
        )
        for kind in ("flights", "weather")
    ]

    @task
    def prepare(root: str, month: str) -> dict[str, Any]:
        """The month's features, and the labels of the month before."""
        from flights.prepare import prepare_month

        return prepare_month(root, month)

    @task(outlets=[FLIGHTS])
    def publish(prepared: dict[str, Any], **context: Any) -> None:
        """Say that the month is there. A backfill writes history and starts nothing."""
        if context["dag_run"].run_type == "backfill":
            raise AirflowSkipException("a backfill starts nothing downstream; trigger a run for that")
        context["outlet_events"][FLIGHTS].extra = prepared

    prepared = prepare(root=ROOT, month=MONTH)
    delivered >> judged >> prepared
    publish(prepared)
