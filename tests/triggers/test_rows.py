"""Rows that are waited for: the predicate, its sensor, its trigger and its event trigger say the same."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG, Asset, AssetWatcher
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.waiting import RowsLook, RowsWatch, rows_missing
from airflow_mlops.engines.counting import count
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.sensors.rows import RowsSensor
from airflow_mlops.triggers import _waiting
from airflow_mlops.triggers.data import DataEventTrigger, PartitionTrigger, RowsTrigger

MAY = "2013-05-01T00:00:00+00:00"
NOW = dt.datetime(2013, 5, 1, tzinfo=dt.UTC).timestamp()


def rows(folder: Path, *days: str, name: str = "a.parquet") -> str:
    """A file with a row for each time."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"at": pd.to_datetime(list(days), format="mixed"), "x": 1}).to_parquet(folder / name)
    return str(folder)


async def first(trigger: Any, most: int = 1) -> list[Any]:
    """The first events of a trigger."""
    found: list[Any] = []
    events = trigger.run()
    async for event in events:
        assert isinstance(event, TriggerEvent)
        found.append(event.payload)
        if len(found) == most:
            break
    await events.aclose()
    json.dumps(found, allow_nan=False)
    return found


WATCH = {"data": {"uri": "x"}, "time_column": "at"}


@pytest.mark.parametrize(
    ("rule", "look", "told", "over"),
    [
        ({"min_rows": 10}, {"rows": 9}, None, False),
        ({"min_rows": 10}, {"rows": 10}, None, True),
        ({"min_rows": 10}, {"rows": 29}, {"rows": 20}, False),
        ({"min_rows": 10}, {"rows": 30}, {"rows": 20}, True),
        ({"min_rows": 10}, {"rows": 10, "since": "2013-04"}, {"rows": 9, "since": "2013-03"}, True),  # trained since
        ({"min_rows": 10}, {"rows": 12}, {"rows": 400}, True),  # rows went away: the table was made anew
        ({"watermark": "2013-05"}, {}, None, False),
        ({"watermark": "2013-05"}, {"newest": "2013-04-30T23:59:59+00:00"}, None, False),
        ({"watermark": "2013-05"}, {"newest": "2013-05-01T00:00:00+00:00"}, None, True),
        ({"watermark": "2013-05-01T02:00+02:00"}, {"newest": "2013-05-01T00:00:00+00:00"}, None, True),
        (
            {"watermark": "2013"},
            {"newest": "2013-05-01T00:00:00+00:00"},
            {"newest": "2013-05-01T00:00:00+00:00"},
            False,
        ),
        ({"watermark": "2013"}, {"newest": "2013-05-02T00:00:00+00:00"}, {"newest": MAY}, True),
        ({"max_age": 3600}, {"newest": "2013-04-30T23:00:00+00:00"}, None, False),
        ({"max_age": 3599}, {"newest": "2013-04-30T23:00:00+00:00"}, None, True),
        ({"max_age": 3600}, {"newest": ""}, None, True),  # nobody knows how old: nobody can call it fresh
        ({"max_age": 60}, {"newest": "2013-04-30T23:00:00+00:00"}, {"newest": "2013-04-30T23:00:00+00:00"}, False),
        ({"max_age": 60}, {"newest": "2013-04-30T23:01:00+00:00"}, {"newest": "2013-04-30T23:00:00+00:00"}, True),
    ],
    ids=str,
)
def test_the_predicate(rule, look, told, over) -> None:
    watch = RowsWatch(**WATCH, **rule)
    seen = RowsLook(at=NOW, **look)
    assert (rows_missing(watch, seen, RowsLook(at=NOW, **told) if told else None) == "") is over
    assert RowsLook.from_dict(seen.to_dict()) == seen and RowsWatch.from_dict(watch.to_dict()) == watch


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"min_rows": 0},
        {"min_rows": True},
        {"min_rows": 3, "max_age": 2.0},
        {"max_age": float("nan")},
        {"max_age": -1},
        {"watermark": "soon"},
        {"watermark": "2013-05", "since": "2013"},
        {"min_rows": 3, "since": "lately"},
        {"min_rows": 3, "since": "2013", "model_name": "late"},
        {"min_rows": 3, "since": "2013", "time_column": ""},
        {"max_age": 3, "time_column": ""},
    ],
    ids=str,
)
def test_a_watch_that_can_not_end_is_refused(value) -> None:
    with pytest.raises(UsageError):
        RowsWatch(**{**WATCH, **value})


def test_rows_are_counted_where_they_are(tmp_path: Path) -> None:
    data = {"uri": rows(tmp_path, "2013-03-31 23:59", "2013-04-01", "2013-04-02", "2013-07-01")}
    new = RowsWatch(data=data, time_column="at", min_rows=1)
    assert count(new, at=NOW).rows == 4
    assert (count(new, at=NOW, since="2013-03").rows, count(new, at=NOW, since="2013-04-01T00:00:00").rows) == (3, 2)
    stale = count(RowsWatch(data=data, time_column="at", max_age=1), at=NOW)
    assert stale.newest == "2013-04-02T00:00:00+00:00", "a row from the future does not make it fresh"
    assert count(RowsWatch(data=data, min_rows=1), at=NOW) == RowsLook(at=NOW, rows=4)
    nothing = RowsWatch(data={"uri": str(tmp_path / "no" / "*.parquet")}, time_column="at", max_age=1)
    assert count(nothing, at=NOW) == RowsLook(at=NOW)
    with pytest.raises(SchemaMismatch):
        count(RowsWatch(data=data, time_column="when", max_age=1), at=NOW)
    with pytest.raises(UsageError, match="no date or timestamp"):
        count(RowsWatch(data=data, time_column="x", watermark="2013"), at=NOW)


def test_new_is_what_came_after_the_last_training(tmp_path: Path, mlflow_local: Path, run_task: Any) -> None:
    hook = MlflowHook()
    hook.ensure_model("late")
    data = rows(tmp_path, "2013-03-31 23:59", "2013-04-01", "2013-04-02")
    make = {"data": data, "time_column": "at", "model_name": "late", "deferrable": True}
    assert run_task(RowsSensor(task_id="never_trained", min_rows="3", **make))["rows"] == 3
    hook.client.create_model_version("late", "file:///nowhere", tags={"mlops.data_until": "2013-03"})
    result = run_task(RowsSensor(task_id="wait", min_rows=2, **make))
    assert (result["kind"], result["rows"], result["since"]) == ("new_rows", 2, "2013-03")
    with pytest.raises(TaskDeferred) as seen:
        run_task(RowsSensor(task_id="more", min_rows=3, **make))
    trigger = seen.value.trigger
    assert isinstance(trigger, RowsTrigger) and trigger.watch["model_name"] == "late"
    rows(tmp_path, "2013-04-03", name="b.parquet")
    (event,) = asyncio.run(first(RowsTrigger(**{**trigger.serialize()[1], "poll_interval": 0.0})))
    assert (event["status"], event["rows"]) == ("complete", 3)
    assert run_task.resume(RowsSensor(task_id="more", min_rows=3, **make), seen.value, event)["rows"] == 3
    hook.ensure_model("untold")
    hook.client.create_model_version("untold", "file:///nowhere")
    with pytest.raises(UsageError, match="until when"):
        run_task(RowsSensor(task_id="untold", min_rows=1, **{**make, "model_name": "untold"}))


def test_a_wait_that_lasts_too_long_says_what_is_missing(tmp_path: Path) -> None:
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)).isoformat()
    watch = RowsWatch(data={"uri": str(tmp_path / "no.parquet")}, time_column="at", min_rows=7).to_dict()
    (event,) = asyncio.run(first(RowsTrigger(watch, deadline=past)))
    assert event["status"] == "timeout"
    with pytest.raises(AirflowSensorTimeout):
        RowsSensor(task_id="t", data="x", min_rows=1).execute_complete({}, event)  # type: ignore[arg-type]
    broken = {**watch, "data": {"uri": rows(tmp_path, "2013-01-01")}, "time_column": "when"}
    (event,) = asyncio.run(first(RowsTrigger(broken)))
    assert event["status"] == "error" and "when" in event["message"]


# --- as events ------------------------------------------------------------------------------------------------------


class Store(dict):
    """An asset's state store."""

    async def aget(self, key: str) -> Any:
        return self.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value, allow_nan=False))


def event_trigger(data: str, store: Store | None = None, **rule: Any) -> DataEventTrigger:
    one = DataEventTrigger(data=data, poll_interval=0.0, **rule)
    one.asset_state_store = store  # type: ignore[assignment]
    return one


def test_what_was_told_is_not_told_again_not_even_after_a_restart(tmp_path: Path) -> None:
    data, store = rows(tmp_path, *["2013-04-01"] * 5), Store()
    rule = {"time_column": "at", "min_rows": 5}

    async def restarted() -> list[Any]:
        """A second triggerer meets the same rows, then five more."""
        (told,) = await first(event_trigger(data, store, **rule))
        again = event_trigger(data, store, **rule)
        real, looks = _waiting.Waiting.missing, []

        def missing(self: Any, seen: Any) -> str:
            looks.append(said := real(self, seen))
            if len(looks) == 3:
                rows(tmp_path, *["2013-04-02"] * 5, name="b.parquet")
            return said

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_waiting.Waiting, "missing", missing)
            (more,) = await first(again)
        return [told, more, looks]

    told, more, looks = asyncio.run(restarted())
    # The first triggerer was ended between telling and remembering, so it is told twice, and not lost.
    assert (told["rows"], more["rows"]) == (5, 5) and looks == [""]
    told, more, looks = asyncio.run(_twice_then_restarted(data, store, rule, tmp_path))
    assert told["rows"] == 5 and more["rows"] == 10 and len(looks) > 3 and looks[:3] == ["new rows: 0 of 5 there"] * 3


async def _twice_then_restarted(data: str, store: Store, rule: dict[str, Any], folder: Path) -> list[Any]:
    store.clear()
    events = event_trigger(data, store, **rule).run()
    told = (await anext(events)).payload
    going_on = asyncio.ensure_future(anext(events))
    while not store:
        await asyncio.sleep(0)
    going_on.cancel()
    looks: list[str] = []
    real = _waiting.Waiting.missing

    def missing(self: Any, seen: Any) -> str:
        looks.append(said := real(self, seen))
        if len(looks) == 3:
            rows(folder, *["2013-04-02"] * 5, name="b.parquet")
        return said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_waiting.Waiting, "missing", missing)
        (more,) = await first(event_trigger(data, store, **rule))
    return [told, more, looks]


def test_a_delivery_is_told_once_and_the_next_one_too(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"rows")

    async def two() -> list[Any]:
        events = event_trigger(str(tmp_path)).run()
        one = (await anext(events)).payload
        (tmp_path / "b.parquet").write_bytes(b"more")
        other = (await anext(events)).payload
        await events.aclose()
        return [one["files"], other["files"]]

    assert asyncio.run(two()) == [1, 2]


def test_staleness_is_told_even_of_nothing(tmp_path: Path) -> None:
    (event,) = asyncio.run(first(event_trigger(str(tmp_path / "no.parquet"), time_column="at", max_age=60)))
    assert (event["kind"], event["newest"], event["rows"]) == ("stale", None, 0)


def test_a_watcher_goes_on_after_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.engines import counting

    real, calls = counting.count, iter(range(9))

    def flaky(watch: Any, *, at: float, since: str = "") -> RowsLook:
        if (n := next(calls)) < 2:
            raise (OSError("away"), ValueError("a bug"))[n]
        return real(watch, at=at, since=since)

    monkeypatch.setattr(counting, "count", flaky)
    (event,) = asyncio.run(first(event_trigger(rows(tmp_path, "2013-04-01"), min_rows=1)))
    assert event["rows"] == 1


def test_airflow_knows_a_watcher_by_the_same_hash_on_both_sides(tmp_path: Path) -> None:
    """The hash of the DAG file's trigger and that of what comes back from the database: else watchers multiply."""
    one = DataEventTrigger(data=DatasetRef(uri=str(tmp_path), columns=("at",)), time_column="at", max_age=60)
    same = DataEventTrigger(data={"uri": str(tmp_path), "columns": ["at"]}, time_column="at", max_age=60.0)
    path, arguments = one.serialize()
    kept = json.loads(json.dumps(arguments))
    hashes = {BaseEventTrigger.hash(*t.serialize()) for t in (one, same, DataEventTrigger(**kept))}
    assert len(hashes) == 1 and BaseEventTrigger.hash(path, kept) in hashes
    asset = Asset("arrivals", watchers=[AssetWatcher(name="stale", trigger=one)])
    with DAG("alarm", schedule=[asset]) as dag:
        pass
    value = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    assert "DataEventTrigger" in json.dumps(value)
    DagSerialization.from_dict(value)


@pytest.mark.parametrize("rule", [{"max_age": -1, "time_column": "at"}, {"min_files": 0}], ids=str)
def test_a_watcher_that_can_not_end_is_an_import_error_of_its_dag(rule) -> None:
    with pytest.raises(UsageError):
        DataEventTrigger(data="x", **rule)
    with pytest.raises(UnknownName):
        DataEventTrigger(data="x", time_column="at", max_age=1, min_files=2)


# --- many -----------------------------------------------------------------------------------------------------------

BLOCKING = {"open", "os.listdir", "os.scandir", "socket.connect", "sqlite3.connect", "time.sleep", "subprocess.Popen"}
seen_by: Counter[tuple[str, bool]] = Counter()
loop_thread: list[int] = []


def _audit(event: str, _: Any) -> None:
    if loop_thread and event in BLOCKING:
        seen_by[event, threading.get_ident() == loop_thread[0]] += 1


def test_five_hundred_wait_and_the_loop_opens_nothing(tmp_path: Path) -> None:
    """Counted by the interpreter's own audit: files, sockets and sleeps of the loop's thread, while 500 wait."""
    data = rows(tmp_path / "rows", *["2013-04-01"] * 3)
    folders = [tmp_path / f"day={i}" for i in range(420)]
    for folder in folders:
        folder.mkdir()
        (folder / "part.parquet").write_bytes(b"rows")
    watch = {"data": {"uri": data}, "time_column": "at"}
    warm = RowsTrigger({**watch, "min_rows": 1}, poll_interval=0.0)
    asyncio.run(first(warm))  # what is imported once is imported
    sys.addaudithook(_audit)  # can't be taken away again; without a loop thread it does nothing

    async def all_of_them() -> list[list[Any]]:
        waiting: list[Any] = [PartitionTrigger({"data": {"uri": str(f)}}, poll_interval=0.0) for f in folders]
        waiting += [RowsTrigger({**watch, "min_rows": 1 + i % 3}, poll_interval=0.0) for i in range(40)]
        waiting += [event_trigger(data, time_column="at", max_age=i) for i in range(40)]
        seen_by.clear()
        loop_thread.append(threading.get_ident())
        try:
            return await asyncio.gather(*(first(w) for w in waiting))
        finally:
            loop_thread.clear()

    ended = asyncio.run(all_of_them())
    assert len(ended) == 500 and {e[0].get("status", "told") for e in ended} == {"complete", "told"}
    assert sum(n for (_, on_loop), n in seen_by.items() if not on_loop) >= 500  # the audit saw the looks
    assert {k: n for k, n in seen_by.items() if k[1]} == {}


def test_stores_that_hang_do_not_take_other_triggers_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.engines import looking

    release, hanging = threading.Event(), threading.Semaphore(0)

    def hangs(watch: Any, *, at: float) -> Any:
        hanging.release()
        release.wait(60)
        raise OSError("away")

    monkeypatch.setattr(looking, "look", hangs)

    async def others() -> str:
        stuck = [
            asyncio.create_task(first(PartitionTrigger({"data": {"uri": f"x{i}"}}, poll_interval=0.0)))
            for i in range(3 * _waiting.LOOKS_AT_ONCE)
        ]
        await asyncio.to_thread(hanging.acquire, timeout=60)
        answer = await asyncio.to_thread(lambda: "free")
        release.set()
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        return answer

    assert asyncio.run(others()) == "free"
