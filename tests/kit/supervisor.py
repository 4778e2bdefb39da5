"""An Airflow supervisor in memory: the other side of a task process, without a database or an API server.

A task talks to its supervisor in messages of ``airflow.sdk.execution_time.comms``. :class:`Supervisor` answers them
from dicts, so a test runs the Task SDK's own code: the real ``RuntimeTaskInstance`` and its real template context,
rendering, state stores, outlet events, connections and XCom. Values are put through JSON as on the wire.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms


class Supervisor:
    """What the API server would remember.

    :ivar xcoms: ``(dag_id, run_id, task_id, map_index, key) -> value``.
    :ivar task_state: ``(task instance id, key) -> value``; survives retries.
    :ivar asset_state: ``(asset name or URI, key) -> value``; survives runs.
    :ivar variables: Airflow variables, as text.
    :ivar rendered: the rendered template fields of the latest task.
    :ivar skipped: ids of tasks that a branch skipped, in the latest task.
    :ivar forms: task instance id -> the form that a person is shown; the first one of a task stands, as in Airflow.
    :ivar states: ``(dag_id, run_id, task_id, map_index) -> state`` of other tasks; one that is not there is gone.
    :ivar messages: every message that was sent, in order.
    """

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str, str, int, str], Any] = {}
        self.task_state: dict[tuple[str, str], Any] = {}
        self.asset_state: dict[tuple[str, str], Any] = {}
        self.variables: dict[str, str] = {}
        self.rendered: dict[str, Any] = {}
        self.skipped: list[str] = []
        self.forms: dict[str, comms.CreateHITLDetailPayload] = {}
        self.states: dict[tuple[str, str, str, int], str] = {}
        self.messages: list[Any] = []

    def send(self, msg: Any) -> Any:
        """Answer one message.

        :raises AssertionError: for a message that nothing here answers: add it, do not swallow it.
        """
        self.messages.append(msg)
        answer = getattr(self, f"_on_{type(msg).__name__}", None)
        assert answer is not None, f"the supervisor in memory has no answer to {type(msg).__name__}"
        return answer(msg)

    async def asend(self, msg: Any) -> Any:
        """The same for asynchronous senders."""
        return self.send(msg)

    def of_task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """The XComs of one task, key -> value."""
        wanted = (dag_id, run_id, task_id, map_index)
        return {key[4]: value for key, value in self.xcoms.items() if key[:4] == wanted}

    # XCom ----------------------------------------------------------------------------------------------------

    def _on_SetXCom(self, msg: comms.SetXCom) -> comms.OKResponse:
        value = through_json(msg.value, f"XCom {msg.key!r} of {msg.task_id!r}")
        self.xcoms[_xcom_key(msg)] = value
        return comms.OKResponse(ok=True)

    def _on_GetXCom(self, msg: comms.GetXCom) -> comms.XComResult:
        return comms.XComResult(key=msg.key, value=self.xcoms.get(_xcom_key(msg)))

    def _on_DeleteXCom(self, msg: comms.DeleteXCom) -> comms.OKResponse:
        self.xcoms.pop(_xcom_key(msg), None)
        return comms.OKResponse(ok=True)

    def _on_GetXComCount(self, msg: comms.GetXComCount) -> comms.XComCountResponse:
        return comms.XComCountResponse(len=len(self._mapped(msg)))

    def _on_GetXComSequenceItem(self, msg: comms.GetXComSequenceItem) -> Any:
        values = self._mapped(msg)
        if not -len(values) <= msg.offset < len(values):
            return comms.ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
        return comms.XComSequenceIndexResult(root=values[msg.offset])

    def _on_GetXComSequenceSlice(self, msg: comms.GetXComSequenceSlice) -> comms.XComSequenceSliceResult:
        return comms.XComSequenceSliceResult(root=self._mapped(msg)[msg.start : msg.stop : msg.step])

    def _mapped(self, msg: Any) -> list[Any]:
        wanted = (msg.dag_id, msg.run_id, msg.task_id)
        found = {k[3]: v for k, v in self.xcoms.items() if k[:3] == wanted and k[4] == msg.key}
        return [found[index] for index in sorted(found)]

    # State stores --------------------------------------------------------------------------------------------

    def _on_GetTaskStateStore(self, msg: comms.GetTaskStateStore) -> Any:
        key = (str(msg.ti_id), msg.key)
        if key not in self.task_state:
            return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        return comms.TaskStateStoreResult(value=self.task_state[key])

    def _on_SetTaskStateStore(self, msg: comms.SetTaskStateStore) -> comms.OKResponse:
        self.task_state[str(msg.ti_id), msg.key] = through_json(msg.value, f"task state {msg.key!r}")
        return comms.OKResponse(ok=True)

    def _on_DeleteTaskStateStore(self, msg: comms.DeleteTaskStateStore) -> comms.OKResponse:
        self.task_state.pop((str(msg.ti_id), msg.key), None)
        return comms.OKResponse(ok=True)

    def _on_ClearTaskStateStore(self, msg: comms.ClearTaskStateStore) -> comms.OKResponse:
        self.task_state = {k: v for k, v in self.task_state.items() if k[0] != str(msg.ti_id)}
        return comms.OKResponse(ok=True)

    def _get_asset_state(self, msg: Any) -> Any:
        key = (_asset_of(msg), msg.key)
        if key not in self.asset_state:
            return comms.ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)
        return comms.AssetStateStoreResult(value=self.asset_state[key])

    def _set_asset_state(self, msg: Any) -> comms.OKResponse:
        self.asset_state[_asset_of(msg), msg.key] = through_json(msg.value, f"asset state {msg.key!r}")
        return comms.OKResponse(ok=True)

    def _delete_asset_state(self, msg: Any) -> comms.OKResponse:
        self.asset_state.pop((_asset_of(msg), msg.key), None)
        return comms.OKResponse(ok=True)

    def _clear_asset_state(self, msg: Any) -> comms.OKResponse:
        self.asset_state = {k: v for k, v in self.asset_state.items() if k[0] != _asset_of(msg)}
        return comms.OKResponse(ok=True)

    _on_GetAssetStateStoreByName = _on_GetAssetStateStoreByUri = _get_asset_state
    _on_SetAssetStateStoreByName = _on_SetAssetStateStoreByUri = _set_asset_state
    _on_DeleteAssetStateStoreByName = _on_DeleteAssetStateStoreByUri = _delete_asset_state
    _on_ClearAssetStateStoreByName = _on_ClearAssetStateStoreByUri = _clear_asset_state

    # Connections, variables, assets --------------------------------------------------------------------------

    def _on_GetConnection(self, msg: comms.GetConnection) -> comms.ErrorResponse:
        """Connections of tests are environment variables, which Airflow looks up before it asks."""
        return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": msg.conn_id})

    def _on_GetVariable(self, msg: comms.GetVariable) -> Any:
        if msg.key not in self.variables:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": msg.key})
        return comms.VariableResult(key=msg.key, value=self.variables[msg.key])

    def _on_PutVariable(self, msg: comms.PutVariable) -> comms.OKResponse:
        self.variables[msg.key] = msg.value or ""
        return comms.OKResponse(ok=True)

    def _on_ValidateInletsAndOutlets(self, msg: Any) -> comms.InactiveAssetsResult:
        return comms.InactiveAssetsResult(inactive_assets=[])

    def _on_GetAssetEventByAsset(self, msg: Any) -> comms.AssetEventsResult:
        return comms.AssetEventsResult(asset_events=[])

    _on_GetAssetEventByAssetAlias = _on_GetAssetEventByAsset

    def _on_GetTaskStates(self, msg: comms.GetTaskStates) -> comms.TaskStatesResult:
        found: dict[str, dict[str, str]] = {}
        for (dag_id, run_id, task_id, index), state in self.states.items():
            asked = dag_id == msg.dag_id and msg.map_index in (None, index)
            if asked and run_id in (msg.run_ids or [run_id]) and task_id in (msg.task_ids or [task_id]):
                found.setdefault(run_id, {})[task_id if index < 0 else f"{task_id}_{index}"] = state
        return comms.TaskStatesResult(task_states=found)

    # The task's own life -------------------------------------------------------------------------------------

    def _on_SetRenderedFields(self, msg: comms.SetRenderedFields) -> comms.OKResponse:
        self.rendered = dict(msg.rendered_fields)
        return comms.OKResponse(ok=True)

    def _on_SkipDownstreamTasks(self, msg: comms.SkipDownstreamTasks) -> comms.OKResponse:
        self.skipped += [t if isinstance(t, str) else t[0] for t in msg.tasks]
        return comms.OKResponse(ok=True)

    def _on_CreateHITLDetailPayload(self, msg: comms.CreateHITLDetailPayload) -> comms.HITLDetailRequestResult:
        stands = self.forms.setdefault(str(msg.ti_id), msg)
        return comms.HITLDetailRequestResult(**stands.model_dump(exclude={"type"}))

    def _on_GetPreviousDagRun(self, msg: Any) -> comms.PreviousDagRunResult:
        return comms.PreviousDagRunResult(dag_run=None)

    def _on_GetPrevSuccessfulDagRun(self, msg: Any) -> comms.PrevSuccessfulDagRunResult:
        return comms.PrevSuccessfulDagRunResult()

    def _on_GetTaskRescheduleStartDate(self, msg: Any) -> comms.TaskRescheduleStartDate:
        return comms.TaskRescheduleStartDate(start_date=None)

    def _on_SetRenderedMapIndex(self, msg: Any) -> comms.OKResponse:
        return comms.OKResponse(ok=True)

    _on_MaskSecret = _on_SetRenderedMapIndex


def through_json(value: Any, what: str) -> Any:
    """``value`` after a trip through JSON, as strict as the API: no NaN, and no pickled or wrapped objects.

    :raises AssertionError: when it is not made of plain values.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise AssertionError(f"{what} is not plain JSON: {e}: {value!r:.300}") from e
    assert "__classname__" not in text, f"{what} carries an object that only Python can read: {text:.300}"
    return json.loads(text)


def _xcom_key(msg: Any) -> tuple[str, str, str, int, str]:
    index = -1 if msg.map_index is None else msg.map_index
    return (msg.dag_id, msg.run_id, msg.task_id, index, msg.key)


def _asset_of(msg: Any) -> str:
    return str(getattr(msg, "name", None) or getattr(msg, "uri", ""))
