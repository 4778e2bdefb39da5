"""Waiting for the registry: :class:`ModelAliasSensor`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout

from airflow_mlops.core.aliases import AliasWatch, alias_moved, sighting
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.triggers.registry import ModelAliasTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


class ModelAliasSensor(BaseSensorOperator):
    """Waits until a model's alias points where it is wanted: at a version, or away from one.

    Sees moves that were made outside of Airflow too. Looks once before it defers. While MLflow does not answer it
    goes on waiting, until ``timeout``. A model or an alias that does not exist is waited for.

    Returns ``{"model_name", "alias", "version", "model_digest", "different_from"}``.

    :param model_name: the registered model. (templated)
    :param alias: the alias. (templated)
    :param version: wait until it points at this version; empty: at any. (templated)
    :param different_from: wait until it points at another version than this. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :param deferrable: wait in the triggerer and not on a worker.
    :raises AirflowSensorTimeout: after ``timeout`` seconds; a skip with ``soft_fail``.
    """

    template_fields: Sequence[str] = ("model_name", "alias", "version", "different_from", "mlflow_conn_id")
    ui_color = "#d7f0dd"

    def __init__(
        self,
        *,
        model_name: str,
        alias: str = "champion",
        version: str | int = "",
        different_from: str | int = "",
        mlflow_conn_id: str = "mlflow_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.alias = alias
        self.version = version
        self.different_from = different_from
        self.mlflow_conn_id = mlflow_conn_id
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def watch(self) -> AliasWatch:
        """What is waited for, from the rendered arguments."""
        return AliasWatch(
            model=self.model_name,
            alias=self.alias,
            version=str(self.version or ""),
            different_from=str(self.different_from or ""),
        ).checked()

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once."""
        watch = self.watch()
        try:
            found = self.hook.by_alias(watch.model, watch.alias)
        except MlflowUnavailable as error:
            self.log.warning("%s; waiting for it to come back", error)
            return False
        if found is None or not alias_moved(watch, found):
            where = f"version {found.version}" if found else "missing"
            self.log.info("alias %r of %r is %s", watch.alias, watch.model, where)
            return False
        return PokeReturnValue(is_done=True, xcom_value=sighting(watch, found))

    def execute(self, context: Context) -> Any:
        """Look, then wait: here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if not isinstance(seen, PokeReturnValue):
            limit = dt.timedelta(seconds=self.timeout)
            self.defer(
                trigger=ModelAliasTrigger(
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
        if status == "moved":
            return event
        message = event.get("message") or f"the trigger ended with {status!r}"
        if status == "timeout":
            raise AirflowSensorTimeout(message)
        raise AirflowException(message)
