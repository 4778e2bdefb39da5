"""Approvals for the test under a real scheduler: each run of ``evaluate`` makes another candidate."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param, task

from airflow_mlops.operators.approval import ApproveModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator

POLICY = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.6}}], "on_missing_champion": "require_approval"}
WAITS = {
    "approve_mine": {"assigned_users": ["admin"]},
    "approve_others": {"assigned_users": ["somebody.else"], "response_timeout": dt.timedelta(seconds=20)},
}


@task
def evaluate(params=None):
    from airflow_mlops.core.evaluation import Contender, Evaluation, Figure
    from airflow_mlops.hooks.mlflow import MlflowHook
    from tests.operators.promotions import make_version

    version = make_version(MlflowHook(), params["model"])
    return Evaluation(
        model_name=params["model"],
        candidate=Contender(version=version, model_digest=f"digest-of-{version}", data_until="2013-05"),
        champion=Contender(state="missing"),
        metrics=(Figure(metric="roc_auc", direction="higher", candidate=0.7),),
        rows=1000,
        data={"uri": "holdout.parquet", "digest": "e" * 32},
    ).to_dict()


for name, waits in WAITS.items():
    with DAG(name, schedule=None, params={"model": Param("late", type="string")}) as dag:
        gate = GateOperator(task_id="gate", evaluation=evaluate(), policy=POLICY, unrecorded="accept")
        approve = ApproveModelOperator(task_id="approve", model_name="{{ params.model }}", gate=gate.output, **waits)
        PromoteModelOperator(
            task_id="promote", model_name="{{ params.model }}", gate=gate.output, approval=approve.output
        )
    globals()[name] = dag


with DAG("approve_both", schedule=None, params={"model": Param("late", type="string")}) as both:
    gate = GateOperator(task_id="gate", evaluation=evaluate(), policy=POLICY, unrecorded="accept")
    approvals = [
        ApproveModelOperator(task_id=name, model_name="{{ params.model }}", gate=gate.output)
        for name in ("approve", "second")
    ]
    PromoteModelOperator(
        task_id="promote", model_name="{{ params.model }}", gate=gate.output, approval=[a.output for a in approvals]
    )
