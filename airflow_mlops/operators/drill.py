"""Whether a rollback would work today: :class:`RollbackDrillOperator`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.champion import rollback
from airflow_mlops.core.drill import SUFFIX, Drill, report_of
from airflow_mlops.core.errors import MlopsError, UnknownName
from airflow_mlops.core.promotion import RollbackRequest
from airflow_mlops.core.records import CHAMPION, PREVIOUS_CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON, Report, digest
from airflow_mlops.exceptions import DrillFailed
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


ON_NOTHING = ("fail", "skip")


class RollbackDrillOperator(BaseOperator):
    """Roll a copy of the champion back to a copy of the version before it, and record whether it worked and how long.

    Champion and previous champion are registered once more, as ``<model_name>__drill``; the copies go through the very
    rollback that :class:`~airflow_mlops.operators.promotion.RollbackModelOperator` makes, and the version that it leads
    to is loaded. Aliases, versions and ledger of the model itself are only read, but for the drill's own record. The
    copies are taken away again. Let one drill of a model run at a time.

    Returns the :class:`~airflow_mlops.core.results.Report` as a dict.

    :param model_name: the registered model. (templated)
    :param max_seconds: that rollback and loading may take together.
    :param on_nothing: ``fail`` or ``skip`` where there is no version to go back to. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises DrillFailed: not retried: something of it did not work, took too long, or there is nothing to roll back to.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "on_nothing", "mlflow_conn_id")
    ui_color = "#f7dede"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        model_name: str,
        max_seconds: float = 120.0,
        on_nothing: str = "fail",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.max_seconds = max_seconds
        self.on_nothing = on_nothing
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Copy, roll back, load, record, clean up."""
        copy = f"{self.model_name}{SUFFIX}"
        asked = digest({k: run_of(context).get(k) for k in ("dag_id", "run_id", "task_id", "map_index", "try_number")})
        champion = self.hook.by_alias(self.model_name, CHAMPION)
        previous = self.hook.by_alias(self.model_name, PREVIOUS_CHAMPION)
        versions = {"from": champion.version if champion else "", "to": previous.version if previous else ""}
        inputs = {**versions, "request": asked}
        drill, why = None, f"{self.model_name!r} has no champion with one before it to go back to"
        if self.on_nothing not in ON_NOTHING:
            raise DrillFailed(str(UnknownName("on_nothing", self.on_nothing, ON_NOTHING)))
        if (champion is None or previous is None) and self.on_nothing == "skip":
            raise AirflowSkipException(why)
        if champion is not None and previous is not None:
            self.hook.delete_versions(copy)  # what a drill that was killed has left
            try:
                drill = self._drill(copy, champion, previous, asked)
            finally:
                self.hook.delete_versions(copy)
        report = report_of(self.model_name, drill, why=why, max_seconds=self.max_seconds, inputs=inputs)
        self._record(context, report)
        published = publish(context, report.to_dict())
        if not report.passed:
            raise DrillFailed(report.summary(), published)
        self.log.info("%s", report.summary())
        return published

    def _drill(self, copy: str, champion: ModelVersion, previous: ModelVersion, asked: str) -> Drill:
        target = self.hook.copy_version(previous, copy)
        left = self.hook.copy_version(champion, copy)
        self.hook.set_alias(copy, CHAMPION, left.version)
        self.hook.set_alias(copy, PREVIOUS_CHAMPION, target.version)
        drill = Drill(left=left, target=target)
        request = RollbackRequest(model=copy, request=f"{asked} {left.version}", reason="a drill")
        try:
            began = time.perf_counter()
            outcome = rollback(self.hook, request)
            drill = dataclasses.replace(drill, decision=outcome.decision, rollback_seconds=time.perf_counter() - began)
            found = self.hook.by_alias(copy, CHAMPION)
            drill = dataclasses.replace(
                drill,
                champion=found,
                left_after=self.hook.version(copy, left.version),
                recorded=self.hook.find_record(copy, "rollback", request.key) is not None,
            )
            began = time.perf_counter()
            if found is not None:
                self.hook.load_model(found)
                drill = dataclasses.replace(drill, loaded=True, load_seconds=time.perf_counter() - began)
        except MlopsError as error:
            return dataclasses.replace(drill, error=f"{type(error).__name__}: {error}"[:1000])
        return drill

    def _record(self, context: Context, report: Report) -> None:
        seconds = {n: v for n in ("rollback_seconds", "load_seconds") if isinstance(v := report.details.get(n), float)}
        record = Record.of_report(
            report,
            model=self.model_name,
            at=time_of(context),
            metrics=seconds,
            backfill=is_backfill(context),
        )
        self.hook.record(record, dag_run=run_of(context))
