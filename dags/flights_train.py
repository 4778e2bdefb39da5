"""Decide, train, evaluate, gate, promote: the loop's only way to a new champion.

It starts on a new month of flights, on monitoring's decision to retrain, on the weekly sweep, and by hand. Whatever
started it, the first task decides whether to train at all, and records why; the others are skipped when it says no.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from airflow_mlops.operators.training import TrainModelOperator
from flights.features import FEATURES, train
from flights.layout import (
    CUT,
    DUE,
    FLIGHTS,
    HOLDOUT,
    MACROS,
    MODEL,
    PAST,
    RETRAINING,
    RETRIES,
    ROOT,
    TARGET,
    month_param,
)
from flights.policies import GATE, RETRAIN

with DAG(
    "flights_train",
    # An event with a partition starts only DAGs that are scheduled on partitions, and those have no cron of their
    # own: the sweep below speaks to this DAG with an event as well.
    schedule=PartitionedAssetTimetable(assets=FLIGHTS | RETRAINING | DUE),
    max_active_runs=1,
    params={
        "month": month_param(),
        "reason": Param("", type="string", description="Why a person wants a training; empty: the policy decides"),
    },
    user_defined_macros=MACROS,
    default_args=RETRIES,
    tags=["flights", "mlops:retrain", f"mlmodel:{MODEL}"],  # the button on the Models page
    doc_md=__doc__,
) as dag:
    decide = DecideRetrainingOperator(
        task_id="decide",
        model_name=MODEL,
        policy=RETRAIN,
        reason="{{ params.reason }}",
        data=PAST,
        labelled_until=CUT,
    )
    candidate = TrainModelOperator(
        task_id="train",
        model_name=MODEL,
        train=train,
        data=PAST,
        features=FEATURES,
        target=TARGET,
        data_until=CUT,
    )
    evaluation = EvaluateModelOperator(
        task_id="evaluate",
        model_name=MODEL,
        candidate=candidate.output,
        data=HOLDOUT,
        target=TARGET,
        metrics=("roc_auc", "log_loss"),
        slices=("origin",),
        baseline="prior",
        positive_label=1,
    )
    gate = GateOperator(task_id="gate", evaluation=evaluation.output, policy=GATE, on_reject="skip")
    promote = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate.output)

    decide >> candidate >> evaluation >> gate >> promote


with DAG(
    "flights_train_weekly",
    schedule="0 6 * * MON",
    start_date=dt.datetime(2013, 1, 7, tzinfo=dt.UTC),
    catchup=False,
    default_args=RETRIES,
    tags=["flights"],
    doc_md="Once a week, offer the newest labels to `flights_train`, whatever became of their event.",
) as weekly:

    @task(outlets=[DUE])
    def offer(root: str, **context: Any) -> str:
        """Say which month's delivery brought the newest labels."""
        from flights.layout import NO_MONTH, label_month, next_month

        newest = label_month(root)
        if newest == NO_MONTH:
            raise AirflowSkipException("no labelled flights yet")
        context["outlet_events"][DUE].add_partitions(next_month(newest))
        return newest

    offer(ROOT)
