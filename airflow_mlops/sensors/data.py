"""Waiting for data: :class:`PartitionSensor`."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError
from airflow_mlops.core.partitions import Look, PartitionWatch, after, sighting, waiting_for
from airflow_mlops.triggers.data import PartitionTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class PartitionSensor(BaseSensorOperator):
    """Waits until a partition is there and complete: a file, a glob or a folder that nobody is still writing.

    With ``marker`` the producer says so. Without, two looks have to see the same files, sizes and times, and nothing
    newer than ``min_age_seconds``. Looks once before it defers. A store that can't be reached is waited for.

    Returns ``{"data", "files", "size", "newest"}``; ``data`` can be passed on, ``size`` is in bytes, ``newest`` in
    seconds since 1970 (null where the store does not tell).

    :param data: the files: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. (templated)
    :param marker: a file that is written last: its name beside the data, or a path or URI of its own. (templated)
    :param min_age_seconds: for how long nothing may have been written, where there is no marker.
    :param min_files: files that have to be there.
    :param deferrable: wait in the triggerer and not on a worker.
    :raises AirflowSensorTimeout: after ``timeout`` seconds; a skip with ``soft_fail``.
    """

    template_fields: Sequence[str] = ("data", "marker", "min_age_seconds", "min_files")
    ui_color = "#d7f0dd"

    def __init__(
        self,
        *,
        data: Any,
        marker: str = "",
        min_age_seconds: float = 0.0,
        min_files: int = 1,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.marker = marker
        self.min_age_seconds = min_age_seconds
        self.min_files = min_files
        self.deferrable = deferrable
        self._seen: Look | None = None

    def watch(self) -> PartitionWatch:
        """What is waited for, from the rendered arguments; numbers may have been rendered as text."""
        return PartitionWatch(
            data=ref_of(self.data).to_dict(),
            marker=self.marker or "",
            min_age=float(self.min_age_seconds),
            min_files=int(self.min_files),
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once, and remember it for the next look."""
        from airflow_mlops.engines.looking import look

        watch = self.watch()
        try:
            self._seen = after(self._previous(context), look(watch, at=time.time()))
        except (DataError, OSError) as error:
            self.log.warning("the partition can't be looked at, waiting: %s", error)
            return False
        self._remember(context, self._seen)
        missing = waiting_for(watch, self._seen)
        if missing:
            self.log.info("waiting for %s", missing)
            return False
        return PokeReturnValue(is_done=True, xcom_value=sighting(watch, self._seen))

    def execute(self, context: Context) -> Any:
        """Look, then wait: here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if not isinstance(seen, PokeReturnValue):
            limit = dt.timedelta(seconds=self.timeout)
            self.defer(
                trigger=PartitionTrigger(
                    watch=self.watch().to_dict(),
                    previous=self._seen.to_dict() if self._seen else None,
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
        return ended(event, soft_fail=self.soft_fail)

    def _previous(self, context: Context) -> Look | None:
        """The last look: of this process, or in mode ``reschedule`` the one that an earlier process kept."""
        if self._seen is not None or not self.reschedule:
            return self._seen
        store: Any = context.get("task_state_store")
        kept = store.get(_KEPT) if store is not None else None
        return Look.from_dict(kept) if isinstance(kept, dict) else None

    def _remember(self, context: Context, look: Look) -> None:
        store: Any = context.get("task_state_store")
        if self.reschedule and store is not None:
            store.set(_KEPT, look.to_dict())


def ended(event: Mapping[str, Any] | None, *, soft_fail: bool) -> dict[str, Any]:
    """What a trigger told, as a sensor's result.

    :raises AirflowSkipException: for every other end, with ``soft_fail``.
    :raises AirflowSensorTimeout: when the time is over.
    """
    told = dict(event or {})
    status = told.pop("status", "nothing")
    if status == "complete":
        return told
    message = str(told.get("message") or f"the trigger ended with {status!r}")
    if soft_fail:
        raise AirflowSkipException(message)
    if status == "timeout":
        raise AirflowSensorTimeout(message)
    raise AirflowException(message)


def ref_of(value: Any) -> DatasetRef:
    """A reference, its dict, a URI, or a result that has one under ``data``."""
    if isinstance(value, Mapping) and value.get("data") is not None and not {"uri", "table", "query"} & set(value):
        value = value["data"]
    return DatasetRef.of(value)


_KEPT = "mlops.partition"
"""Key of the last look in the task's state store."""
