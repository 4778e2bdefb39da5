"""Waiting for a partition without a worker slot."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, MlopsError
from airflow_mlops.core.partitions import Look, PartitionWatch, after, sighting, waiting_for


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

    def _look(self, watch: PartitionWatch) -> Look:
        from airflow_mlops.engines.looking import look

        return look(watch, at=time.time())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; see the class."""
        try:
            event = await self._wait(PartitionWatch.from_dict(self.watch))
        except Exception as error:  # whatever it is, a task is waiting for an end
            self.log.exception("waiting for a partition failed")
            reason = str(error) if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"
            event = {"status": "error", "message": f"waiting for the partition failed: {reason}"[:1000]}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, watch: PartitionWatch) -> dict[str, Any]:
        seen = Look.from_dict(self.previous) if self.previous else None
        missing, answered = "a first look", True
        if seen is not None:
            await self._pause()  # a second look right after the first would see the same whatever is going on
        while True:
            looking = asyncio.create_task(asyncio.to_thread(self._look, watch))
            done, _ = await asyncio.wait({looking}, timeout=self._left())
            if not done:
                return self._timeout(watch, "an answer")
            try:
                seen = after(seen, looking.result())
                missing, answered = waiting_for(watch, seen), True
                if not missing:
                    return {"status": "complete", **sighting(watch, seen)}
            except (DataError, OSError) as error:
                missing = f"an answer: {error}"
                if answered:
                    self.log.warning("the partition can't be looked at, waiting: %s", error)
                answered = False
            if self._left() == 0:
                return self._timeout(watch, missing)
            await self._pause()

    async def _pause(self) -> None:
        left = self._left()
        await asyncio.sleep(self.poll_interval if left is None else min(self.poll_interval, left))

    def _left(self) -> float | None:
        if not self.deadline:
            return None
        return max(0.0, dt.datetime.fromisoformat(self.deadline).timestamp() - time.time())

    def _timeout(self, watch: PartitionWatch, missing: str) -> dict[str, Any]:
        where = watch.data.get("name") or DatasetRef.from_dict(watch.data).location
        return {"status": "timeout", "message": f"{where} is not complete in time, waiting for {missing}"}
