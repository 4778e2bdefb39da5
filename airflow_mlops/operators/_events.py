"""One asset event for each move of a champion, however often its task is run.

Airflow writes the events of a task's outlets in the transaction in which the task succeeds. So a try that fails emits
nothing, and its retry emits; but a task that succeeded and is cleared would emit again, and its
state says nothing of that. The events themselves do: each carries the key of its decision, and before a task ends it
looks whether there is one with its key. If so, the outlet is taken off the task's own copy for this run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.assets import MODELS, model_asset
from airflow_mlops.core.results import JSON

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

LOOK_BACK = 200
"""How many events of the model are looked through, newest first."""


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
    task: BaseOperator, context: Mapping[str, Any], model_name: str, key: str, extra: Mapping[str, JSON]
) -> bool:
    """Have the model's asset event emitted when this task succeeds, unless one with this key was.

    :param task: the running operator: Airflow's copy for this run.
    :param context: the task's context.
    :param model_name: as rendered.
    :param key: of the decision; becomes ``extra["decision"]``.
    :param extra: what else the event carries.
    :return: whether an event will be emitted.
    """
    asset = model_asset(model_name)
    if key in emitted_keys(asset.name, asset.uri):
        return without_event(task, model_name)
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


def emitted_keys(name: str, uri: str) -> set[str]:
    """The keys of the decisions that this asset's newest events carry.

    Outside of a task process nobody can be asked, and nothing is emitted either.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.context import InletEventsAccessor

    if getattr(task_runner, "SUPERVISOR_COMMS", None) is None:
        return set()
    events = InletEventsAccessor(asset_name=name, asset_uri=uri).ascending(False).limit(LOOK_BACK)
    return {str(event.extra["decision"]) for event in events if event.extra and "decision" in event.extra}
