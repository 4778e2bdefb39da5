"""What the registry says and the ledger does not: :class:`RecordAliasMovesOperator`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mlops.core.outside import notice
from airflow_mlops.core.results import JSON
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


class RecordAliasMovesOperator(BaseOperator):
    """Enter a move of the champion that was made outside of this package, by hand in MLflow, into the ledger.

    MLflow keeps no history of its aliases: without an entry nobody can say afterwards which version was champion. Put
    it behind a ``ModelAliasSensor``, or at the start of a scheduled DAG. The same move is entered once; a promotion
    that is under way is none. Nothing is moved back: whether it should be is a person's decision, or a rollback's.

    Returns ``{"model_name", "moved": whether there was such a move, "decision": the entry as a dict, or null}``.

    :param model_name: the registered model. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "mlflow_conn_id")
    ui_color = "#f4e6d7"

    def __init__(self, *, model_name: str, mlflow_conn_id: str = "mlflow_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Compare, and enter what differs."""
        decision = notice(
            self.hook, self.model_name, at=time_of(context), dag_run=run_of(context), backfill=is_backfill(context)
        )
        if decision is not None:
            self.log.warning("%s: %s", self.model_name, decision.reasons[0])
        entry = decision.to_dict() if decision is not None else None
        return publish(context, {"model_name": self.model_name, "moved": decision is not None, "decision": entry})
