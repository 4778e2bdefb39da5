"""``run_task``: execute one operator as a worker would, with an in-memory supervisor on the other side."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import structlog
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.sdk.api.datamodels._generated import (
    AssetEventDagRunReference,
    AssetReferenceAssetEventDagRun,
    DagRun,
    TIRunContext,
)
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from airflow.sdk.execution_time import task_runner

from tests.kit.supervisor import Supervisor

START = dt.datetime(2013, 5, 1, tzinfo=dt.UTC)
"""The logical date of a run that a test does not date itself."""

_log = structlog.get_logger("task")


@dataclasses.dataclass
class Ran:
    """What the latest task left behind.

    :param context: its context, the very dict that ``execute`` saw.
    :param task: the operator after rendering.
    :param xcoms: key -> value, as JSON.
    :param outlet_events: asset URI -> ``{"extra", "partition_keys"}``, for every outlet event that was touched.
    :param skipped: ids of the tasks a branch skipped.
    :param rendered: rendered template fields, as the UI would show them.
    """

    context: Any
    task: BaseOperator
    xcoms: dict[str, Any]
    outlet_events: dict[str, dict[str, Any]]
    skipped: list[str]
    rendered: dict[str, Any]


class TaskRunner:
    """Runs operators against one remembered world: XComs, state stores and variables last as long as it does.

    Call it with an operator; ``last`` tells what the latest task left behind, ``supervisor`` is the whole memory.
    """

    def __init__(self) -> None:
        self.supervisor = Supervisor()
        self.last: Ran | None = None

    def __call__(
        self,
        operator: Any,
        *,
        xcoms: Mapping[str, Any] | None = None,
        run_id: str = "manual__test",
        run_type: str = "manual",
        logical_date: dt.datetime | None = START,
        data_interval: tuple[dt.datetime, dt.datetime] | None = None,
        partition_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        conf: Mapping[str, Any] | None = None,
        events: Sequence[Mapping[str, Any]] = (),
        try_number: int = 1,
        map_index: int = -1,
        next_method: str | None = None,
        next_kwargs: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Execute ``operator`` and return its result; see the ``run_task`` fixture for the parameters."""
        dag = operator.dag if operator.has_dag() else None
        if dag is None:
            dag = DAG("test_dag", schedule=None, start_date=START)
            dag.add_task(operator)
        for task_id, value in (xcoms or {}).items():
            self.supervisor.xcoms[dag.dag_id, run_id, task_id, -1, "return_value"] = value
        start, end = data_interval or (logical_date, logical_date)
        run = DagRun(
            dag_id=dag.dag_id,
            run_id=run_id,
            logical_date=logical_date,
            data_interval_start=start,
            data_interval_end=end,
            run_after=end or START,
            start_date=START,
            end_date=None,
            run_type=run_type,
            state="running",
            conf={**(params or {}), **(conf or {})},  # as a person who triggers the DAG gives them
            consumed_asset_events=[_event(e) for e in events],
            partition_key=partition_key,
        )
        ti = task_runner.RuntimeTaskInstance.model_construct(
            id=uuid.uuid5(uuid.NAMESPACE_OID, f"{dag.dag_id}/{run_id}/{operator.task_id}/{map_index}"),
            task_id=operator.task_id,
            dag_id=dag.dag_id,
            run_id=run_id,
            try_number=try_number,
            dag_version_id=uuid.uuid5(uuid.NAMESPACE_OID, dag.dag_id),
            map_index=map_index,
            task=operator,
            max_tries=operator.retries or 0,
            start_date=START,
            state="running",
            bundle_instance=None,
            _ti_context_from_server=TIRunContext(
                dag_run=run,
                max_tries=operator.retries or 0,
                next_method=next_method,
                next_kwargs=dict(next_kwargs) if next_kwargs is not None else None,
            ),
        )
        return self._execute(ti, dict(context or {}))

    def resume(self, operator: Any, deferred: TaskDeferred, event: Any, **kwargs: Any) -> Any:
        """Continue a deferred task after its trigger fired ``event``, as a new process would: on a fresh task.

        :param operator: the operator as the DAG file made it; what ``execute`` set on its own copy is gone.
        :param deferred: the exception that ``run_task`` raised.
        :param event: the payload of the ``TriggerEvent``.
        """
        return self(
            operator,
            next_method=deferred.method_name,
            next_kwargs={**(deferred.kwargs or {}), "event": event},
            **kwargs,
        )

    def _execute(self, ti: Any, overrides: Mapping[str, Any]) -> Any:
        self.supervisor.skipped, self.supervisor.rendered = [], {}
        with (
            mock.patch.object(task_runner, "SUPERVISOR_COMMS", self.supervisor, create=True),
            mock.patch.dict(os.environ),
        ):
            context = ti.get_template_context()
            context.update(overrides)
            try:
                with task_runner.set_current_context(context):
                    task_runner._prepare(ti, _log, context)
                    result = task_runner._execute_task(context, ti, _log)
                task_runner._push_xcom_if_needed(result, ti, _log)
            except DownstreamTasksSkipped as skip:  # the task itself succeeds
                self.supervisor.skipped += [t if isinstance(t, str) else t[0] for t in skip.tasks]
                result = self._xcoms(ti).get("return_value")
            finally:
                self.last = Ran(
                    context=context,
                    task=ti.task,
                    xcoms=self._xcoms(ti),
                    outlet_events=_outlet_events(context),
                    skipped=list(self.supervisor.skipped),
                    rendered=self.supervisor.rendered,
                )
        return result

    def _xcoms(self, ti: Any) -> dict[str, Any]:
        return self.supervisor.of_task(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def _event(event: Mapping[str, Any]) -> AssetEventDagRunReference:
    asset = Asset(name=event.get("name", event["uri"]), uri=event["uri"])  # normalises, as the scheduler's did
    return AssetEventDagRunReference(
        asset=AssetReferenceAssetEventDagRun(name=asset.name, uri=asset.uri, extra={}),
        extra=dict(event.get("extra", {})),
        source_task_id=event.get("task_id"),
        source_dag_id=event.get("dag_id"),
        source_run_id=event.get("run_id"),
        source_map_index=-1,
        source_aliases=[],
        timestamp=event.get("timestamp", START),
        partition_key=event.get("partition_key"),
    )


def _outlet_events(context: Any) -> dict[str, dict[str, Any]]:
    return {
        key.uri: {"extra": accessor.extra, "partition_keys": list(accessor.partition_keys)}
        for key, accessor in context["outlet_events"]._dict.items()
        if hasattr(key, "uri")
    }
