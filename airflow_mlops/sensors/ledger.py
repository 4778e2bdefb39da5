"""Waiting for a verdict or a decision: :class:`RecordSensor`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout

from airflow_mlops.core.ledger_watch import RecordWatch, record_of, told
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.triggers.ledger import RecordTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


class RecordSensor(BaseSensorOperator):
    """Waits until a model's ledger has a record: the drift verdict of a partition, the gate's of a version.

    For DAGs that run beside the ones that check: a month's report waits for that month's verdicts. Looks once before it
    defers. While MLflow does not answer it goes on waiting, until ``timeout``.

    Returns ``{"model_name", "kind", "subject", "outcome", "at", "record"}``.

    :param model_name: the registered model. (templated)
    :param kind: of the record: ``drift``, ``performance``, ``gate``, ``promotion`` ... (templated)
    :param subject: the partition or version that it is about; empty: any. (templated)
    :param outcomes: words that it has to end with, as in ``["passed", "failed"]``; empty: any. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :param deferrable: wait in the triggerer and not on a worker.
    :raises AirflowSensorTimeout: after ``timeout`` seconds; a skip with ``soft_fail``.
    """

    template_fields: Sequence[str] = ("model_name", "kind", "subject", "outcomes", "mlflow_conn_id")
    ui_color = "#fdf0d5"

    def __init__(
        self,
        *,
        model_name: str,
        kind: str,
        subject: str = "",
        outcomes: Sequence[str] = (),
        mlflow_conn_id: str = "mlflow_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.kind = kind
        self.subject = subject
        self.outcomes = outcomes
        self.mlflow_conn_id = mlflow_conn_id
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def watch(self) -> RecordWatch:
        """What is waited for, from the rendered arguments."""
        outcomes: Any = self.outcomes
        return RecordWatch(
            model=self.model_name, kind=self.kind, subject=self.subject, outcomes=outcomes or ()
        ).checked()

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once."""
        watch = self.watch()
        try:
            found = record_of(watch, self.hook.history(watch.model, **watch.search))
        except MlflowUnavailable as error:
            self.log.warning("%s; waiting for it to come back", error)
            return False
        if found is None:
            self.log.info("%r has no such %s record yet", watch.model, watch.kind)
            return False
        return PokeReturnValue(is_done=True, xcom_value=told(found))

    def execute(self, context: Context) -> Any:
        """Look, then wait: here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if not isinstance(seen, PokeReturnValue):
            limit = dt.timedelta(seconds=self.timeout)
            self.defer(
                trigger=RecordTrigger(
                    watch=self.watch().to_dict(),
                    mlflow_conn_id=self.mlflow_conn_id,
                    poll_interval=self.poke_interval,
                    deadline=(dt.datetime.now(dt.UTC) + limit).isoformat(),
                ),
                # The trigger ends itself, with its reason; Airflow's limit is for a triggerer that is not there.
                timeout=limit + dt.timedelta(minutes=1),
                method_name="execute_complete",
            )
        return seen.xcom_value

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the trigger saw becomes the result, or the failure that it reports."""
        event = dict(event or {})
        status = event.pop("status", "nothing")
        if status == "found":
            return event
        message = event.get("message") or f"the trigger ended with {status!r}"
        if status == "timeout":
            raise AirflowSensorTimeout(message)
        raise AirflowException(message)
