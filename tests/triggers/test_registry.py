"""ModelAliasTrigger: waits through an outage, never collects threads, always ends in one event."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_mlops.core.aliases import AliasWatch, alias_moved
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.triggers.registry import ModelAliasTrigger

WATCH = AliasWatch(model="churn", different_from="1")


class Hook:
    """Answers with what it is given, one after the other, then with the last for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.looks = 0

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        assert (model, alias) == ("churn", "champion")
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer()  # type: ignore[no-any-return]
        return ModelVersion(name=model, version=answer) if answer else None


def trigger(hook: Hook, *, watch: AliasWatch = WATCH, seconds: float | None = 3600) -> ModelAliasTrigger:
    deadline = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat() if seconds is not None else ""
    made = ModelAliasTrigger(watch=watch.to_dict(), poll_interval=0, deadline=deadline)
    made.__dict__["hook"] = hook
    return made


def events(made: ModelAliasTrigger) -> list[Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in made.run()]

    return asyncio.run(collect())


def test_it_fires_when_the_alias_points_elsewhere() -> None:
    hook = Hook("1", "1", None, "2")
    (event,) = events(trigger(hook))
    assert (event["status"], event["version"], event["model_name"]) == ("moved", "2", "churn")
    assert hook.looks == 4


def test_it_waits_through_an_outage() -> None:
    down = MlflowUnavailable("mlflow_default", "connection refused")
    assert events(trigger(Hook("1", down, down, "2")))[0]["status"] == "moved"


@pytest.mark.parametrize("answer", ["1", None, MlflowUnavailable("mlflow_default", "down")])
def test_it_gives_up_at_its_deadline(answer: Any) -> None:
    (event,) = events(trigger(Hook(answer), seconds=0.05))
    assert event["status"] == "timeout" and "'champion' of 'churn'" in event["message"]


def test_it_gives_up_at_its_deadline_also_while_a_look_hangs() -> None:
    let_go = threading.Event()
    hook = Hook(let_go.wait)
    made = trigger(hook, seconds=0.2)

    async def first() -> Any:
        async for event in made.run():
            let_go.set()
            return event.payload
        raise AssertionError("no event")

    assert asyncio.run(first())["status"] == "timeout"
    assert hook.looks == 1, "one look at a time"


@pytest.mark.parametrize("broken", [RuntimeError("s3cr3t in a driver's text"), KeyError("x")])
def test_whatever_else_happens_ends_in_an_event_without_the_text_of_strangers(broken: Exception) -> None:
    (event,) = events(trigger(Hook(broken)))
    assert event["status"] == "error" and "s3cr3t" not in event["message"]


def test_a_watch_that_can_not_be_ends_in_an_event() -> None:
    (event,) = events(ModelAliasTrigger(watch={"model": "", "alias": "champion"}))
    assert event["status"] == "error"


def test_it_comes_back_from_what_it_serializes_to_and_carries_no_secret() -> None:
    made = trigger(Hook("1"))
    path, arguments = made.serialize()
    assert json.loads(json.dumps(arguments)) == arguments
    again = import_string(path)(**arguments)
    assert again.serialize() == (path, arguments)
    assert set(arguments) == {"watch", "mlflow_conn_id", "poll_interval", "deadline"}


def test_sensor_and_trigger_share_the_predicate() -> None:
    import airflow_mlops.sensors.registry as sensor
    import airflow_mlops.triggers.registry as triggers

    assert sensor.alias_moved is triggers.alias_moved is alias_moved


@pytest.mark.parametrize("ready", [lambda: ModelVersion(name="churn", version="2")])
def test_a_look_runs_outside_of_the_event_loop(ready: Callable[[], ModelVersion]) -> None:
    threads = []

    def look() -> ModelVersion:
        threads.append(threading.current_thread())
        return ready()

    events(trigger(Hook(look)))
    assert threads and threads[0] is not threading.main_thread()
