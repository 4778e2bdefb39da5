"""What a trigger sets off, followed until nothing more can come of it.

Airflow answers the question exactly: a run that has ended has emitted all its events, and an event knows the runs it
started. So all is settled when every run has ended and every event has started a run in each DAG that listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dev.client import FINISHED, Client, ServerError, StackError

PAGE = 100
"""Airflow's largest page."""


class Cascade:
    """The runs of an Airflow, seen from outside through the REST API.

    :param airflow: a running one.
    :param ended: called once with each run that has ended, and with its task instances.
    """

    def __init__(self, airflow: Client, ended: Callable[[dict[str, Any], list[dict[str, Any]]], None]) -> None:
        self.airflow = airflow
        self.ended = ended
        self._told: set[tuple[str, str]] = set()

    def settle(self, *, patience: float = 300) -> None:
        """Wait until nothing is running and nothing is going to.

        :raises StackError: when that has not happened after ``patience`` seconds, with what is still open.
        """
        waiting: list[str] = []

        def nothing_open() -> bool:
            waiting[:] = self._open()
            return not waiting

        if not self.airflow.until(nothing_open, patience):
            raise StackError(f"still open after {patience:.0f} s: {', '.join(waiting)}")

    def task_reaches(self, dag_id: str, run_id: str, task_id: str, state: str, *, patience: float = 60) -> None:
        """Wait until a task is in a state.

        :raises StackError: when it is not after ``patience`` seconds.
        """

        def reached() -> bool:
            return self._states(dag_id, run_id).get(task_id) == state

        if not self.airflow.until(reached, patience):
            seen = self._states(dag_id, run_id).get(task_id)
            raise StackError(f"{dag_id}.{task_id} is {seen}, not {state}, after {patience:.0f} s")

    def runs(self) -> list[dict[str, Any]]:
        """All runs so far, the oldest first."""
        return list(self._pages("/dags/~/dagRuns", "dag_runs", order_by="run_after"))

    def _states(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {t["task_id"]: t["state"] for t in self.airflow.tasks_of(dag_id, run_id)}

    def _open(self) -> list[str]:
        """What is not settled. The runs are asked first: once all have ended, no further event can appear."""
        runs = self.runs()
        for run in runs:
            key = run["dag_id"], run["dag_run_id"]
            if run["state"] in FINISHED and key not in self._told:
                self._told.add(key)
                self.ended(run, self.airflow.tasks_of(*key))
        if active := [
            f"{r['dag_id']} {r['partition_key'] or ''} {r['state']}" for r in runs if r["state"] not in FINISHED
        ]:
            return active
        listening = {
            asset["id"]: {dag["dag_id"] for dag in asset["scheduled_dags"]}
            for asset in self._pages("/assets", "assets", only_active=True)
        }
        known = {(r["dag_id"], r["dag_run_id"]) for r in runs}
        try:
            events = list(self._pages("/assets/events", "asset_events"))
        except ServerError:
            # Airflow 3.3.2 can't list an event while a run that it created is queued (start_date is null).
            return ["an event whose run has not started"]
        found = []
        for event in events:
            started = {(r["dag_id"], r["run_id"]) for r in event["created_dagruns"]}
            missing = listening.get(event["asset_id"], set()) - {dag_id for dag_id, _ in started}
            found += [f"{dag_id} {event['partition_key'] or ''} not started" for dag_id in sorted(missing)]
            # Started after the runs were listed: look again.
            found += [f"{dag_id} started" for dag_id, _ in started - known]
        return found

    def _pages(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            answer = self.airflow.api("GET", path, limit=PAGE, offset=offset, **query)
            yield from answer[name]
            offset += PAGE
            if offset >= answer["total_entries"]:
                return
