"""When is all settled? Only when every run has ended and every event has started its runs, whatever the order."""

from __future__ import annotations

from typing import Any

import pytest

from dev.client import Client, ServerError, StackError
from dev.demo_cascade import PAGE, Cascade


class Airflow(Client):
    """One whose answers are scripted: each look at the runs takes the next scene."""

    def __init__(self, *scenes: dict[str, Any]) -> None:
        super().__init__()
        self.scenes = list(scenes)
        self.now: dict[str, Any] = {}
        self.listening = {1: ["score", "train"], 2: ["monitor"]}

    def api(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        if path == "/dags/~/dagRuns":
            if query["offset"] == 0 and self.scenes:
                self.now = self.scenes.pop(0)
            found, name = self.now["runs"], "dag_runs"
        elif path == "/assets":
            found = [{"id": i, "scheduled_dags": [{"dag_id": d} for d in dags]} for i, dags in self.listening.items()]
            name = "assets"
        else:
            if self.now["events"] is None:
                raise ServerError("500")
            found, name = self.now["events"], "asset_events"
        page = found[query["offset"] : query["offset"] + query["limit"]]
        return {name: page, "total_entries": len(found)}

    def tasks_of(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return [{"task_id": "only", "state": "success"}]


def run(dag_id: str, state: str = "success", n: int = 1) -> dict[str, Any]:
    return {"dag_id": dag_id, "dag_run_id": f"{dag_id}-{n}", "state": state, "partition_key": "2013-05"}


def event(asset: int, *started: str) -> dict[str, Any]:
    runs = [{"dag_id": d, "run_id": f"{d}-1"} for d in started]
    return {"asset_id": asset, "partition_key": "2013-05", "created_dagruns": runs}


def settled(*scenes: dict[str, Any], patience: float = 30) -> tuple[Airflow, list[str]]:
    ended: list[str] = []
    airflow = Airflow(*scenes)
    Cascade(airflow, lambda r, tasks: ended.append(r["dag_id"])).settle(patience=patience)
    return airflow, ended


END = {
    "runs": [run("ingest"), run("score"), run("train"), run("monitor")],
    "events": [event(1, "score", "train"), event(2, "monitor")],
}


def test_it_waits_for_runs_that_run_and_for_events_that_started_nothing_yet() -> None:
    airflow, ended = settled(
        {"runs": [run("ingest", "running")], "events": []},
        {"runs": [run("ingest")], "events": [event(1)]},
        {"runs": [run("ingest"), run("score", "queued")], "events": [event(1, "score")]},
        {"runs": [run("ingest"), run("score")], "events": [event(1, "score"), event(2)]},
        {"runs": [run("ingest"), run("score"), run("train")], "events": [event(1, "score", "train"), event(2)]},
        END,
    )
    assert airflow.scenes == [], "it looked until the end, and no longer"
    assert ended == ["ingest", "score", "train", "monitor"], "each run is told once"


def test_a_run_that_started_between_two_looks_is_waited_for() -> None:
    airflow, _ = settled(
        {"runs": [run("ingest"), run("score"), run("monitor")], "events": END["events"]},
        END,
    )
    assert airflow.scenes == []


def test_events_that_airflow_can_not_list_yet_are_asked_for_again() -> None:
    airflow, _ = settled({"runs": [run("ingest")], "events": None}, END)
    assert airflow.scenes == []


def test_events_that_can_not_be_listed_are_waited_for_and_reported() -> None:
    broken = {"runs": [run("ingest")], "events": None}
    airflow, _ = settled(broken, END)
    assert airflow.scenes == []
    with pytest.raises(StackError, match="not started"):
        settled(broken, patience=0)


def test_a_year_has_more_runs_than_a_page() -> None:
    runs = [run("ingest", n=n) for n in range(PAGE)]
    airflow, ended = settled(
        {"runs": [*runs, run("ingest", "running", PAGE)], "events": []}, {"runs": runs, "events": []}
    )
    assert airflow.scenes == []
    assert len(ended) == PAGE


def test_what_never_settles_is_named() -> None:
    with pytest.raises(StackError, match="train 2013-05 not started"):
        settled({"runs": [run("ingest"), run("score")], "events": [event(1, "score")]}, patience=0)
