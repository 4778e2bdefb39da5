"""Put an earlier champion back, by hand, with a reason that stays in the ledger."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_mlops.operators.promotion import RollbackModelOperator
from flights.layout import MODEL, RETRIES

with DAG(
    "flights_rollback",
    schedule=None,
    max_active_runs=1,
    params={
        "to_version": Param("", type="string", description="Version to put back; empty: the previous champion"),
        "reason": Param(type="string", minLength=10, description="For whoever reads the ledger next year"),
    },
    render_template_as_native_obj=False,
    default_args=RETRIES,
    tags=["flights", "mlops:rollback", f"mlmodel:{MODEL}"],  # the button on the Models page
    doc_md=__doc__,
) as dag:
    RollbackModelOperator(
        task_id="rollback",
        model_name=MODEL,
        to_version="{{ params.to_version }}",
        reason="{{ params.reason }}",
    )
