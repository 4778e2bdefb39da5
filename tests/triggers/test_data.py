"""PartitionTrigger: always ends in one event, and never stands in the loop's way."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_mlops.core.partitions import Look
from airflow_mlops.triggers.data import PartitionTrigger


def trigger(folder: Path | str, **kwargs: Any) -> PartitionTrigger:
    watch = {"data": {"uri": str(folder)}, **kwargs.pop("watch", {})}
    return PartitionTrigger(watch=watch, **{"poll_interval": 0.0, **kwargs})


async def ended(one: PartitionTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in one.run() if isinstance(event, TriggerEvent)]


def run(one: PartitionTrigger) -> dict[str, Any]:
    (event,) = asyncio.run(ended(one))
    json.dumps(event, allow_nan=False)
    return event


def past() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)).isoformat()


def test_it_ends_when_the_partition_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"rows")
    event = run(trigger(tmp_path))
    assert (event["status"], event["files"], event["data"]) == ("complete", 1, {"uri": str(tmp_path)})
    event = run(trigger(tmp_path, watch={"marker": "a.parquet"}))
    assert event["status"] == "complete"


def test_serialization_comes_back_as_the_same_trigger(tmp_path: Path) -> None:
    one = trigger(tmp_path, watch={"min_age": 3.0}, previous=Look(at=1.0).to_dict(), deadline=past())
    path, arguments = one.serialize()
    assert path == "airflow_mlops.triggers.data.PartitionTrigger"
    assert PartitionTrigger(**json.loads(json.dumps(arguments))).serialize() == one.serialize()


@pytest.mark.parametrize("previous", [None, Look(at=1.0).to_dict()], ids=["first", "second"])
def test_too_late_says_what_is_missing(tmp_path: Path, previous) -> None:
    event = run(trigger(tmp_path / "never", deadline=past(), previous=previous))
    assert event["status"] == "timeout" and "never" in event["message"]


@pytest.mark.parametrize(
    "watch",
    [{"min_age": -1}, {"no_such": 1}, {"data": {"uri": ""}}, {"data": {"table": "t", "conn_id": "c"}}],
    ids=str,
)
def test_whatever_goes_wrong_is_an_event(tmp_path: Path, watch) -> None:
    assert run(trigger(tmp_path, watch=watch))["status"] == "error"


def test_a_store_that_fails_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.engines import looking

    (tmp_path / "a.parquet").write_bytes(b"rows")
    real, calls = looking.look, iter(range(100))

    def flaky(watch, *, at):
        if next(calls) < 2:
            raise OSError("the store is away")
        return real(watch, at=at)

    monkeypatch.setattr(looking, "look", flaky)
    assert run(trigger(tmp_path))["status"] == "complete"


def test_the_loop_goes_on_while_a_look_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.engines import looking

    looked, release = threading.Event(), threading.Event()

    def hangs(watch, *, at):
        looked.set()
        release.wait(30)
        return Look(at=at, files=1, marker=True)

    monkeypatch.setattr(looking, "look", hangs)

    async def both() -> dict[str, Any]:
        waiting = asyncio.create_task(ended(trigger(tmp_path, watch={"marker": "m"})))
        await asyncio.to_thread(looked.wait, 30)
        assert not waiting.done()  # and this line runs: the loop is free
        release.set()
        return (await waiting)[0]

    assert asyncio.run(both())["status"] == "complete"


def test_five_hundred_wait_in_one_loop(tmp_path: Path) -> None:
    folders = [tmp_path / f"day={i}" for i in range(500)]
    for folder in folders:
        folder.mkdir()
        (folder / "part.parquet").write_bytes(b"rows")
        os.utime(folder / "part.parquet", (1, 1))

    async def all_of_them() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(*(ended(trigger(f, watch={"min_age": 5.0})) for f in folders))

    assert {events[0]["status"] for events in asyncio.run(all_of_them())} == {"complete"}
