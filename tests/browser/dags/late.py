"""A small real loop for the browser: train, judge, ask a person, promote; and a way back."""

from __future__ import annotations

import datetime as dt
import os

from airflow.sdk import DAG, Param, task

from airflow_mlops.decorators.training import train_model_task
from airflow_mlops.notifications.email import EmailNotifier
from airflow_mlops.notifications.webhook import WebhookNotifier
from airflow_mlops.operators.approval import ApproveModelOperator
from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator, RollbackModelOperator
from airflow_mlops.operators.validation import ValidateDataOperator

FOLDER = os.environ.get("LATE_FOLDER", ".")
MODEL = "late_departures"
SUITE = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x0"}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x1", "min_value": -9, "max_value": 9}},
]


RETRIES = {"retries": 2, "retry_delay": dt.timedelta(seconds=1)}
"""SQLite is locked now and then."""


@train_model_task(
    model_name="{{ params.model }}",
    target="late",
    features=["x0", "x1"],
    requirements=["scikit-learn"],
    code_version="1",
    data_until="{{ '2013-02' if params.get('rows') == 'month' else '2013-01' }}",
)
def train(X, y):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y)


def judged(candidate):
    return EvaluateModelOperator(
        task_id="evaluate",
        model_name="{{ params.model }}",
        candidate=candidate,
        data=f"{FOLDER}/holdout.parquet",
        target="late",
        metrics=("roc_auc", "log_loss"),
        replicates=100,
    )


with DAG(
    "late_train",
    schedule=None,
    tags=["mlops:retrain", f"mlmodel:{MODEL}"],
    default_args=RETRIES,
    params={
        "model": Param(MODEL, type="string"),
        "rows": Param("train", type="string", enum=["train", "month"], description="Which rows to learn from"),
        "reason": Param("", type="string", description="Why it is trained now"),
    },
) as dag:
    valid = ValidateDataOperator(task_id="validate", data=f"{FOLDER}/train.parquet", suite={"expectations": SUITE})
    trained = train(FOLDER + "/{{ params.rows }}.parquet")
    evaluation = judged(trained)
    gate = GateOperator(
        task_id="gate",
        evaluation=evaluation.output,
        policy={
            "checks": [
                {"value": {"metric": "roc_auc", "lower": 0.6}},
                {"value": {"metric": "log_loss", "upper": 0.69}},
            ],
            "on_missing_champion": "require_approval",
        },
    )
    approve = ApproveModelOperator(
        task_id="approve",
        model_name=MODEL,
        gate=gate.output,
        on_pass="ask",
        retries=2,
        retry_delay=dt.timedelta(seconds=1),
    )
    promote = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate.output, approval=approve.output)
    valid >> trained


with DAG(
    "late_rollback",
    schedule=None,
    tags=["mlops:rollback", f"mlmodel:{MODEL}"],
    params={
        "to_version": Param("", type="string", description="Version to put back; empty: the previous champion"),
        "reason": Param(type="string", minLength=10, description="For whoever reads the ledger next year"),
    },
) as rollback:
    RollbackModelOperator(
        task_id="rollback", model_name=MODEL, to_version="{{ params.to_version }}", reason="{{ params.reason }}"
    )


with DAG("late_hopeless", schedule=None, default_args=RETRIES, params={"model": "late_hopeless"}) as hopeless:
    told = [WebhookNotifier(http_conn_id="chat"), EmailNotifier(to="team@example.org")]
    GateOperator(
        task_id="gate",
        evaluation=judged(train(f"{FOLDER}/train.parquet")).output,
        policy={"checks": [{"value": {"metric": "roc_auc", "lower": 0.999}}]},
        on_failure_callback=told,
    )


with DAG("late_other", schedule=None) as other:

    @task
    def count():
        return {"rows": 3}

    count()
