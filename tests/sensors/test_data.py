"""PartitionSensor: looks before it defers, and agrees with its trigger."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.partitions import Look, PartitionWatch, after, waiting_for
from airflow_mlops.engines.looking import look
from airflow_mlops.sensors.data import PartitionSensor


def written(folder: Path, name: str = "part.parquet", content: bytes = b"rows") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def sensor(folder: Path | str, **kwargs) -> PartitionSensor:
    return PartitionSensor(task_id="wait", data=str(folder), **{"deferrable": True, **kwargs})


def test_a_partition_that_is_marked_is_complete_at_the_first_look(run_task, tmp_path: Path) -> None:
    written(tmp_path / "day=1")
    written(tmp_path / "day=1", "_SUCCESS", b"")
    result = run_task(sensor(tmp_path / "day=1", marker="_SUCCESS"))
    assert (result["files"], result["size"], result["data"]) == (1, 4, {"uri": str(tmp_path / "day=1")})
    marker = str(written(tmp_path / "marks", "day-{{ no }}", b"") / "day-1")
    written(tmp_path / "marks", "day-1", b"")
    assert run_task(sensor(tmp_path / "day={{ params.day }}", marker=marker), params={"day": 1})["files"] == 1


def test_it_looks_before_it_defers_and_hands_its_look_on(run_task, tmp_path: Path) -> None:
    written(tmp_path / "day=1")
    with pytest.raises(TaskDeferred) as seen:
        run_task(sensor(tmp_path / "day=1", min_age_seconds=5))
    trigger = seen.value.trigger
    assert trigger.previous["files"] == 1 and trigger.watch["min_age"] == 5 and trigger.deadline
    event = {"status": "complete", "data": {"uri": "x"}, "files": 1, "size": 4, "newest": 1.0}
    result = run_task.resume(sensor(tmp_path / "day=1"), seen.value, event)
    assert result == {"data": {"uri": "x"}, "files": 1, "size": 4, "newest": 1.0}


@pytest.mark.parametrize(
    ("event", "soft", "error"),
    [
        ({"status": "timeout", "message": "too late"}, False, AirflowSensorTimeout),
        ({"status": "error", "message": "broken"}, False, AirflowException),
        ({"status": "timeout", "message": "too late"}, True, AirflowSkipException),
        ({}, False, AirflowException),
        (None, False, AirflowException),
    ],
)
def test_every_other_end_is_no_success(tmp_path: Path, event, soft, error) -> None:
    with pytest.raises(error):
        sensor(tmp_path, soft_fail=soft).execute_complete({}, event)  # type: ignore[arg-type]


def test_poking_needs_two_looks_that_see_the_same(tmp_path: Path) -> None:
    folder = written(tmp_path / "day=1")
    one = sensor(folder, deferrable=False)
    assert not one.poke({})  # type: ignore[arg-type]
    written(folder, content=b"more rows")
    assert not one.poke({})  # type: ignore[arg-type]
    assert one.poke({})  # type: ignore[arg-type]


def test_rescheduled_looks_are_kept_between_processes(tmp_path: Path) -> None:
    folder = written(tmp_path / "day=1")

    class Store(dict):
        def set(self, key, value, **_) -> None:
            self[key] = value

    store = Store()
    make = {"deferrable": False, "mode": "reschedule"}
    context = {"task_state_store": store}
    assert not sensor(folder, **make).poke(context)  # type: ignore[arg-type]
    assert sensor(folder, **make).poke(context)  # type: ignore[arg-type]


def test_what_is_there_is_looked_at(tmp_path: Path) -> None:
    watch = PartitionWatch(data={"uri": str(tmp_path / "lake" / "*.parquet")}, marker="_SUCCESS")
    assert look(watch, at=1.0) == Look(at=1.0)
    folder = written(tmp_path / "lake")
    written(folder, ".hidden.parquet")
    written(folder, "b.parquet", b"12")
    os.utime(folder / "part.parquet", (50, 50))
    os.utime(folder / "b.parquet", (70, 70))
    seen = look(watch, at=100.0)
    assert (seen.files, seen.size, seen.newest, seen.marker) == (2, 6, 70.0, False)
    written(folder, "_SUCCESS", b"")
    again = look(watch, at=101.0)
    assert again.marker and again.fingerprint == seen.fingerprint
    os.utime(folder / "b.parquet", (71, 71))
    assert look(watch, at=102.0).fingerprint != seen.fingerprint


@pytest.mark.parametrize(
    ("rule", "previous", "now", "complete"),
    [
        ({}, None, {"files": 0}, False),
        ({}, None, {"files": 1}, False),
        ({}, {"files": 1}, {"files": 1}, True),
        ({}, {"files": 1, "fingerprint": "other"}, {"files": 1}, False),
        ({}, {"files": 1}, {"files": 2}, False),
        ({"min_files": 2}, {"files": 1}, {"files": 1}, False),
        ({"min_age": 10}, {"files": 1}, {"files": 1, "newest": 91}, False),
        ({"min_age": 10}, {"files": 1}, {"files": 1, "newest": 90}, True),
        ({"min_age": 10}, {"files": 1, "at": 89}, {"files": 1}, True),
        ({"min_age": 10}, {"files": 1, "at": 91}, {"files": 1}, False),
        ({"min_age": 10}, {"files": 1}, {"files": 1, "newest": 200}, False),
        ({"marker": "m"}, {"files": 1}, {"files": 1}, False),
        ({"marker": "m"}, None, {"files": 1, "marker": True}, True),
        ({"marker": "m"}, None, {"files": 0, "marker": True}, False),
    ],
    ids=str,
)
def test_the_predicate(rule, previous, now, complete) -> None:
    watch = PartitionWatch(data={"uri": "x"}, **rule)
    before = after(None, Look(**{"at": 40.0, "fingerprint": "f", **previous})) if previous else None
    seen = after(before, Look(**{"at": 100.0, "fingerprint": "f", **now}))
    assert (waiting_for(watch, seen) == "") is complete
    assert Look.from_dict(seen.to_dict()) == seen and PartitionWatch.from_dict(watch.to_dict()) == watch


@pytest.mark.parametrize(
    "value", [{"min_age": -1}, {"min_age": float("nan")}, {"min_files": 0}, {"marker": 3}, {"data": {"table": "t"}}]
)
def test_a_watch_that_can_not_end_is_refused(value) -> None:
    with pytest.raises(UsageError):
        PartitionWatch(**{"data": {"uri": "x"}, **value})
