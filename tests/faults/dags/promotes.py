"""One promotion a run, through a connection of its own: behind it is a proxy that breaks its calls."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_mlops.operators.promotion import PromoteModelOperator

with DAG(
    "promotes",
    schedule=None,
    params={"model": Param("m", type="string"), "conn": Param("mlflow_default", type="string"), "gate": Param({})},
    render_template_as_native_obj=True,
    default_args={"retries": 8, "retry_delay": dt.timedelta(seconds=1)},
) as dag:
    PromoteModelOperator(
        task_id="promote",
        model_name="{{ params.model }}",
        mlflow_conn_id="{{ params.conn }}",
        gate="{{ params.gate }}",
    )
