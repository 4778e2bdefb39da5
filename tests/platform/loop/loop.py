"""A small retraining loop for the end-to-end test: train, judge, promote; the promotion starts the scoring."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_mlops.assets import model_asset
from airflow_mlops.decorators.training import train_model_task
from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator
from airflow_mlops.operators.scoring import ScoreBatchOperator

FOLDER = os.environ.get("LOOP_FOLDER", ".")


@train_model_task(
    model_name="late", target="late", features=["x0", "x1"], requirements=["scikit-learn"], code_version="1"
)
def fit(X, y):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y)


for name, lower in (("train_late", 0.5), ("train_hopeless", 0.999)):
    with DAG(name, schedule=None) as dag:
        trained = fit(f"{FOLDER}/train.parquet")
        judged = EvaluateModelOperator(
            task_id="evaluate",
            model_name="late",
            candidate=trained,
            data=f"{FOLDER}/holdout.parquet",
            target="late",
            replicates=100,
        )
        policy = {"checks": [{"value": {"metric": "roc_auc", "lower": lower}}]}
        gate = GateOperator(task_id="gate", evaluation=judged.output, policy=policy)
        PromoteModelOperator(task_id="promote", model_name="late", gate=gate.output)
    globals()[name] = dag

with DAG("score_late", schedule=[model_asset("late")]) as score:
    ScoreBatchOperator(
        task_id="score",
        model_name="late",
        data=f"{FOLDER}/month.parquet",
        destination=f"{FOLDER}/scores.parquet",
        columns_to_keep=["id"],
    )
