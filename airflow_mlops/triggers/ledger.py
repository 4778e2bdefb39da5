"""Waiting for a record without a worker slot."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.ledger_watch import RecordWatch, record_of, told
from airflow_mlops.core.records import Record
from airflow_mlops.exceptions import MlflowUnavailable

if TYPE_CHECKING:
    from airflow_mlops.hooks.mlflow import MlflowHook


class RecordTrigger(BaseTrigger):
    """Fires when a record is in the ledger.

    An MLflow that does not answer is waited for as well. Each look runs in a thread, and the next one begins only when
    it is back, so a server that hangs never collects threads.

    Always ends in one event: ``{"status": "found", ...}`` with :func:`~airflow_mlops.core.ledger_watch.told`,
    ``{"status": "timeout", "message"}`` or ``{"status": "error", "message"}``.

    :param watch: a :class:`~airflow_mlops.core.ledger_watch.RecordWatch` as a dict.
    :param mlflow_conn_id: the MLflow connection.
    :param poll_interval: seconds between two looks.
    :param deadline: ISO time, with its zone, after which it gives up; empty: Airflow's own limit only.
    """

    def __init__(
        self,
        watch: dict[str, Any],
        mlflow_conn_id: str = "mlflow_default",
        poll_interval: float = 60.0,
        deadline: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch
        self.mlflow_conn_id = mlflow_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; the connection by its name only."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "watch": self.watch,
                "mlflow_conn_id": self.mlflow_conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
            },
        )

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection; made and used in the looking thread."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def _look(self, watch: RecordWatch) -> Record | None:
        return record_of(watch, self.hook.history(watch.model, **watch.search))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; see the class."""
        try:
            event = await self._wait(RecordWatch.from_dict(self.watch).checked())
        except Exception as error:  # whatever it is, a task is waiting for an end
            self.log.exception("waiting for a record failed")
            reason = str(error) if isinstance(error, MlopsError) else type(error).__name__
            event = {"status": "error", "message": f"waiting for a record of {self.watch.get('model')!r}: {reason}"}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, watch: RecordWatch) -> dict[str, Any]:
        answered = True
        while True:
            looking = asyncio.create_task(asyncio.to_thread(self._look, watch))
            done, _ = await asyncio.wait({looking}, timeout=self._left())
            if not done:
                return self._timeout(watch)
            try:
                found = looking.result()
                answered = True
            except MlflowUnavailable as error:
                if answered:
                    self.log.warning("%s; waiting for it to come back", error)
                found, answered = None, False
            if found is not None:
                return {"status": "found", **told(found)}
            left = self._left()
            if left is not None and left <= 0:
                return self._timeout(watch)
            await asyncio.sleep(self.poll_interval if left is None else min(self.poll_interval, left))

    def _left(self) -> float | None:
        if not self.deadline:
            return None
        return max(0.0, (dt.datetime.fromisoformat(self.deadline) - dt.datetime.now(dt.UTC)).total_seconds())

    def _timeout(self, watch: RecordWatch) -> dict[str, Any]:
        about = f" of {watch.subject}" if watch.subject else ""
        return {
            "status": "timeout",
            "message": f"{watch.model!r} has no {watch.kind} record{about} that was waited for until {self.deadline}",
        }
