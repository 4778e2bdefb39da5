"""Every Monday, roll a copy of the champion back: what is never tried does not work on the day it is needed.

And compare the ledger with the alias: a champion that somebody set by hand in MLflow is entered, and warned of.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from airflow_mlops.operators.drill import RollbackDrillOperator
from airflow_mlops.operators.registry import RecordAliasMovesOperator
from flights.layout import MODEL, RETRIES

with DAG(
    "flights_rollback_drill",
    schedule="30 6 * * MON",
    start_date=dt.datetime(2013, 1, 7, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    tags=["flights"],
    doc_md=__doc__,
) as dag:
    RecordAliasMovesOperator(task_id="moves", model_name=MODEL) >> RollbackDrillOperator(
        task_id="drill", model_name=MODEL, on_nothing="skip"
    )
