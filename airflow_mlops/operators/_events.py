"""One asset event for each move of a champion, however often its task is run, and by however many tasks.

Airflow writes the events of a task's outlets in the transaction in which the task succeeds. So a try that fails emits
nothing, and its retry emits; but a task that succeeded and is cleared would emit again, and so would another DAG run
with the same gate decision. Who may emit is decided in MLflow (:mod:`airflow_mlops.core.telling`); whoever may
not takes the outlet off the task's own copy for this run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_mlops.assets import MODELS, model_asset
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import JSON
from airflow_mlops.core.telling import ENDED, Teller, WriteOnce, may_tell
from airflow_mlops.operators._context import run_of

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

PATIENCE = 60.0
"""Seconds that a task waits for another one that may emit and has not ended."""

LOOK_EVERY = 1.0
"""Seconds between two looks at it."""


def with_model_outlet(outlets: Any, model_name: Any) -> list[Any]:
    """``outlets`` and the model's asset; where the name is known only at run time, an alias to emit through.

    :param outlets: what the author of the DAG gave: nothing, one asset or several.
    :param model_name: plain text, a Jinja template or an XComArg.
    """
    from airflow.sdk import AssetAlias

    given = [] if outlets is None else list(outlets) if isinstance(outlets, list | tuple) else [outlets]
    plain = isinstance(model_name, str) and "{{" not in model_name and "{%" not in model_name
    asset = model_asset(model_name) if plain else AssetAlias(MODELS)
    return given if asset in given else [*given, asset]


def emit_once(
    task: BaseOperator,
    context: Mapping[str, Any],
    registry: WriteOnce,
    model_name: str,
    version: str,
    key: str,
    extra: Mapping[str, JSON],
) -> bool:
    """Have the model's asset event emitted when this task succeeds, unless another try or task emits it.

    :param task: the running operator: Airflow's copy for this run.
    :param context: the task's context.
    :param registry: where it is written down who emits.
    :param model_name: as rendered.
    :param version: that was moved to.
    :param key: of the decision; becomes ``extra["decision"]``.
    :param extra: what else the event carries.
    :return: whether an event will be emitted.
    """
    asset = model_asset(model_name)
    me = Teller.of_run(run_of(context), id=str(getattr(context.get("ti"), "id", "") or ""))
    told = partial(_is_told, asset.name, asset.uri, key)
    until = time.monotonic() + PATIENCE
    while _listened_to():
        try:
            teller = may_tell(registry, model_name, version, key, me, told=told, ended=has_ended)
        except UsageError:  # the version is gone, and with it where that is written down
            teller = None if told() else me
        if teller == me:
            break
        if teller is None:
            return without_event(task, model_name)
        if time.monotonic() > until:
            # It holds the right, and is red or running for all to see: cleared or ended, it emits.
            task.log.warning(
                "the event of %s is for task %s of %s, run %s, to emit, which has not ended",
                model_name,
                teller.task_id,
                teller.dag_id,
                teller.run_id,
            )
            return without_event(task, model_name)
        time.sleep(LOOK_EVERY)
    payload = {**extra, "decision": key}
    if any(getattr(o, "uri", None) == asset.uri for o in task.outlets):
        context["outlet_events"][asset].extra.update(payload)
    else:
        from airflow.sdk import AssetAlias

        context["outlet_events"][AssetAlias(MODELS)].add(asset, extra=payload)
    return True


def without_event(task: BaseOperator, model_name: str) -> bool:
    """Let this run of the task succeed without an event of the model's asset; ``False``, for the caller to return."""
    uri = model_asset(model_name).uri
    task.outlets = [o for o in task.outlets if getattr(o, "uri", None) != uri]
    return False


def _is_told(name: str, uri: str, key: str) -> bool:
    """Whether the asset has an event of this decision. Asked only where somebody may have emitted it before."""
    from airflow.sdk.execution_time.context import InletEventsAccessor

    events = InletEventsAccessor(asset_name=name, asset_uri=uri)
    return any(event.extra and event.extra.get("decision") == key for event in events)


def has_ended(teller: Teller) -> bool:
    """Whether that task can't succeed any more as it is now; one that is gone can't."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    index = teller.map_index if teller.map_index >= 0 else None
    states = RuntimeTaskInstance.get_task_states(
        teller.dag_id, map_index=index, task_ids=[teller.task_id], run_ids=[teller.run_id]
    )
    name = teller.task_id if index is None else f"{teller.task_id}_{index}"
    found = states.get(teller.run_id) or {}
    return name not in found or str(getattr(found[name], "value", found[name])) in ENDED


def _listened_to() -> bool:
    """Outside of a task process nobody can be asked, and nothing is emitted either."""
    from airflow.sdk.execution_time import task_runner

    return getattr(task_runner, "SUPERVISOR_COMMS", None) is not None
