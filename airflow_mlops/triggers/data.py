"""Waiting for a partition, for rows, and for either as an event, without a worker slot."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.partitions import Look
from airflow_mlops.core.results import digest
from airflow_mlops.core.waiting import RowsLook
from airflow_mlops.triggers._waiting import Waiting, passing, pool, watch_of


class PartitionTrigger(BaseTrigger):
    """Fires when a partition is complete.

    A store that does not answer is waited for as well: it is logged, once for each outage, and asked again. Each look
    runs in a thread, and the next one begins only when it is back, so a store that hangs never collects threads.

    Always ends in one event: ``{"status": "complete", ...}`` with what
    :func:`~airflow_mlops.core.partitions.sighting` tells, ``{"status": "timeout", "message"}`` or
    ``{"status": "error", "message"}``.

    :param watch: a :class:`~airflow_mlops.core.partitions.PartitionWatch` as a dict.
    :param previous: the last look as a dict; ``None``: nobody has looked yet.
    :param poll_interval: seconds between two looks.
    :param deadline: ISO time, with its zone, after which it gives up; empty: Airflow's own limit only. A point in time,
        so that a triggerer that restarts does not begin to count anew.
    """

    def __init__(
        self,
        watch: dict[str, Any],
        previous: dict[str, Any] | None = None,
        poll_interval: float = 60.0,
        deadline: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch
        self.previous = previous
        self.poll_interval = poll_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, all of them plain."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "watch": self.watch,
                "previous": self.previous,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
            },
        )

    def _waiting(self) -> Waiting:
        return Waiting(watch_of(self.watch))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; see the class."""
        try:
            event = await self._wait(self._waiting())
        except Exception as error:  # whatever it is, a task is waiting for an end
            self.log.exception("waiting for data failed")
            reason = str(error) if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"
            event = {"status": "error", "message": f"waiting for the data failed: {reason}"[:1000]}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, waiting: Waiting) -> dict[str, Any]:
        seen = waiting.look_of(self.previous)
        missing, answered = "a first look", True
        if seen is not None:
            await self._pause()  # a second look right after the first would see the same whatever is going on
        while True:
            looking = asyncio.get_running_loop().run_in_executor(pool(), waiting.look, seen)
            done, _ = await asyncio.wait({looking}, timeout=self._left())
            if not done:
                looking.cancel()  # one that has not begun yet takes no thread any more
                return self._timeout(waiting, "an answer")
            try:
                seen = looking.result()
                missing, answered = waiting.missing(seen), True
                if not missing:
                    return {"status": "complete", **waiting.sighting()}
            except Exception as error:
                if not passing(error):
                    raise
                missing = f"an answer: {error}"
                if answered:
                    self.log.warning("the data can't be looked at, waiting: %s", error)
                answered = False
            if self._left() == 0:
                return self._timeout(waiting, missing)
            await self._pause()

    async def _pause(self) -> None:
        left = self._left()
        await asyncio.sleep(self.poll_interval if left is None else min(self.poll_interval, left))

    def _left(self) -> float | None:
        if not self.deadline:
            return None
        return max(0.0, dt.datetime.fromisoformat(self.deadline).timestamp() - time.time())

    def _timeout(self, waiting: Waiting, missing: str) -> dict[str, Any]:
        return {"status": "timeout", "message": f"{_where(waiting)} is not complete in time, waiting for {missing}"}


class RowsTrigger(PartitionTrigger):
    """Fires when there are enough new rows, when a watermark is reached, or when the newest row is too old.

    Ends and outages as with :class:`PartitionTrigger`; what is told is that of
    :func:`~airflow_mlops.core.waiting.rows_sighting`.

    :param watch: a :class:`~airflow_mlops.core.waiting.RowsWatch` as a dict.
    :param mlflow_conn_id: where the last training is looked up, for a watch with ``model_name``.
    """

    def __init__(
        self,
        watch: dict[str, Any],
        previous: dict[str, Any] | None = None,
        poll_interval: float = 60.0,
        deadline: str = "",
        mlflow_conn_id: str = "mlflow_default",
    ) -> None:
        super().__init__(watch=watch, previous=previous, poll_interval=poll_interval, deadline=deadline)
        self.mlflow_conn_id = mlflow_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; the connection by its name only."""
        path, arguments = super().serialize()
        return path, {**arguments, "mlflow_conn_id": self.mlflow_conn_id}

    def _waiting(self) -> Waiting:
        return Waiting(watch_of(self.watch), mlflow_conn_id=self.mlflow_conn_id)


class DataEventTrigger(BaseEventTrigger):
    """Tells an asset when its data is complete, new enough or too old: for an ``AssetWatcher``.

    ::

        arrivals = Asset("arrivals", watchers=[AssetWatcher(name="new rows", trigger=DataEventTrigger(
            data=DatasetRef(table="flights", conn_id="dwh"), time_column="at", min_rows=100_000, model_name="late"))])

    With none of ``min_rows``, ``watermark`` and ``max_age`` it waits for complete files, as
    :class:`PartitionTrigger` does. It never ends. What was told is not told again: complete files once until another
    delivery is complete, new rows once for each ``min_rows`` of them, a watermark once for each newer row, staleness
    once until a newer row came. That is remembered in the asset's state store, so that a triggerer that restarts does
    not tell it again; where a crash came between both, it is told twice and not lost. An outage of the store is
    logged once and waited out.

    The event carries what :func:`~airflow_mlops.core.partitions.sighting` or
    :func:`~airflow_mlops.core.waiting.rows_sighting` says: in the triggered run,
    ``triggering_asset_events[asset][-1].extra["payload"]``.

    :param data: the files or rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict or a URI.
    :param marker: of files: one that is written last; empty: two looks have to see the same.
    :param min_age: of files: seconds that nothing may have been written for, where there is no marker.
    :param min_files: of files: how many have to be there.
    :param time_column: of rows: when a row is from.
    :param min_rows: new rows that are told.
    :param since: rows up to here are not new.
    :param model_name: rows up to the last training of this model are not new.
    :param watermark: time that the newest row has to reach.
    :param max_age: seconds that the newest row may be old.
    :param poll_interval: seconds between two looks.
    :param mlflow_conn_id: where the last training is looked up.
    :raises UsageError: when the DAG is parsed, for a watch that can't end.
    """

    def __init__(
        self,
        data: Any,
        marker: str = "",
        min_age: float = 0.0,
        min_files: int = 1,
        time_column: str = "",
        min_rows: int | None = None,
        since: str = "",
        model_name: str = "",
        watermark: str = "",
        max_age: float | None = None,
        poll_interval: float = 60.0,
        mlflow_conn_id: str = "mlflow_default",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Airflow knows a watcher by a hash of these arguments: one form of each, whatever the author gave.
        self.data = DatasetRef.of(data).to_dict()
        self.marker = marker
        self.min_age = float(min_age)
        self.min_files = min_files
        self.time_column = time_column
        self.min_rows = min_rows
        self.since = since
        self.model_name = model_name
        self.watermark = watermark
        self.max_age = None if max_age is None else float(max_age)
        self.poll_interval = float(poll_interval)
        self.mlflow_conn_id = mlflow_conn_id
        self._watch()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; the connection by its name only."""
        names = (*_FILES, *_ROWS, "poll_interval", "mlflow_conn_id")
        arguments = {"data": self.data, **{name: getattr(self, name) for name in names}}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    def _watch(self) -> Mapping[str, Any]:
        """Only what was given: files and rows have nothing in common but the data."""
        rows = {name: value for name in _ROWS if (value := getattr(self, name)) not in (None, "")}
        files = {name: value for name, default in _FILES.items() if (value := getattr(self, name)) != default}
        watch = {"data": self.data, **rows, **files}
        watch_of(watch)  # a name that the kind of watch does not have is refused
        return watch

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, tell, go on looking; see the class."""
        watch = self._watch()
        waiting = Waiting(watch_of(watch), mlflow_conn_id=self.mlflow_conn_id)
        key = f"mlops.told.{digest(dict(watch))}"
        waiting.told = waiting.look_of(await self._remembered(key))
        seen: Look | RowsLook | None = None
        answered = True
        while True:
            try:
                seen = await asyncio.get_running_loop().run_in_executor(pool(), waiting.look, seen)
                missing, answered = waiting.missing(seen), True
            except Exception as error:  # a watcher that dies is nobody's failed task: nobody would hear of it
                missing = str(error)
                if answered:
                    self.log.log(30 if passing(error) else 40, "%s can't be looked at: %s", _where(waiting), error)
                answered = False
            if not missing:
                yield TriggerEvent(waiting.sighting())  # type: ignore[no-untyped-call]
                waiting.told = seen
                await self._remember(key, seen)
            await asyncio.sleep(self.poll_interval)

    async def _remembered(self, key: str) -> Any:
        if self.asset_state_store is None:
            return None
        try:
            return await self.asset_state_store.aget(key)
        except Exception as error:  # told once too often is better than never
            self.log.warning("what was told before is not known: %s", error)
            return None

    async def _remember(self, key: str, seen: Look | RowsLook | None) -> None:
        if self.asset_state_store is None or seen is None:
            return
        try:
            await self.asset_state_store.aset(key, seen.to_dict())
        except Exception as error:
            self.log.warning("what was told can't be remembered: %s", error)


_FILES: Mapping[str, Any] = {"marker": "", "min_age": 0.0, "min_files": 1}
_ROWS = ("time_column", "min_rows", "since", "model_name", "watermark", "max_age")


def _where(waiting: Waiting) -> str:
    return DatasetRef.from_dict(waiting.watch.data).label
