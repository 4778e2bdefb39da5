"""What the operators of this package take from Airflow's context, and how they publish.

Every function takes whatever mapping Airflow gives and does without what is missing: a run that an asset
triggered has no logical date, ``dag.test()`` has no supervisor, and a unit test has neither.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import JSON, plain


def run_of(context: Mapping[str, Any]) -> dict[str, JSON]:
    """Who is deciding: the DAG run and task, as plain values for a decision's ``dag_run``.

    :param context: Airflow's task context, or anything shaped like it.
    :return: those of ``dag_id, run_id, task_id, try_number, map_index, logical_date, partition_key`` that are known;
        ``map_index`` only for mapped tasks.

    >>> run_of({"partition_key": "2013-04"})
    {'partition_key': '2013-04'}
    """
    ti = context.get("ti") or context.get("task_instance")
    dag_run = context.get("dag_run")
    found = {
        "dag_id": _of(ti, "dag_id") or _of(dag_run, "dag_id"),
        "run_id": _of(ti, "run_id") or _of(dag_run, "run_id"),
        "task_id": _of(ti, "task_id") or _of(context.get("task"), "task_id"),
        "try_number": _of(ti, "try_number"),
        "map_index": index if (index := _of(ti, "map_index")) not in (None, -1) else None,
        "logical_date": _of(dag_run, "logical_date"),
        "partition_key": context.get("partition_key") or _of(dag_run, "partition_key"),
    }
    return {name: _text(value) for name, value in found.items() if value is not None}


def is_backfill(context: Mapping[str, Any]) -> bool:
    """Whether the DAG run replays history; what such a run writes triggers nothing.

    >>> from types import SimpleNamespace
    >>> is_backfill({"dag_run": SimpleNamespace(run_type="backfill")}), is_backfill({})
    (True, False)
    """
    run_type = _of(context.get("dag_run"), "run_type")
    return str(getattr(run_type, "value", run_type)) == "backfill"


def time_of(context: Mapping[str, Any]) -> str:
    """The time the run is about, ISO in UTC: its partition, else its data interval's end, its logical date, or when
    it was asked for.

    The partition comes first: the run that an asset triggered for May, played back in July, is about May.

    :return: empty where the context knows none of them; the caller decides what that means.

    >>> from types import SimpleNamespace
    >>> time_of({"dag_run": SimpleNamespace(logical_date=dt.datetime(2013, 5, 1, tzinfo=dt.UTC))})
    '2013-05-01T00:00:00+00:00'
    >>> time_of({"partition_key": "2013-06"}), time_of({"partition_key": "eu-west"})
    ('2013-06-01T00:00:00+00:00', '')
    """
    dag_run = context.get("dag_run")
    date = context.get("partition_date") or _of(dag_run, "partition_date") or _date(context.get("partition_key"))
    if isinstance(date, dt.datetime):
        return date.astimezone(dt.UTC).isoformat()
    for name in ("data_interval_end", "logical_date", "run_after", "start_date"):
        value = _of(dag_run, name)
        if isinstance(value, dt.datetime):
            return value.astimezone(dt.UTC).isoformat()
    return ""


def _date(key: Any) -> dt.datetime | None:
    """The time of a partition key that is one: a month, a date or a date-time, UTC unless it says otherwise."""
    text = str(key or "")
    if re.fullmatch(r"\d{4}-\d\d", text):
        text += "-01"
    try:
        date = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=dt.UTC)


def publish(context: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, JSON]:
    """Push ``value`` as the task's XCom now, so that it is there when the task fails a moment later.

    :param value: the operator's result; made plain, so NaN and infinity become null.
    :return: the plain dict that was pushed, for the operator to return.
    """
    result: dict[str, JSON] = {str(k): plain(v) for k, v in value.items()}
    ti = context.get("ti") or context.get("task_instance")
    if ti is not None:
        ti.xcom_push(key="return_value", value=result)
    remember = getattr(context.get("task") or getattr(ti, "task", None), "remember_result", None)
    if callable(remember):  # for its lineage
        remember(result)
    return result


def data_of(value: Any) -> DatasetRef:
    """The reference that an argument ``data`` means: a reference, its dict, a URI, or a task's whole result.

    Airflow's ``validated["data"]`` asks for an XCom of that key, which no task of this package pushes: a result is
    one dict. So the result itself can be passed on, ``data=validated.output``.

    :raises UsageError: for anything else.

    >>> data_of({"status": "passed", "data": {"uri": "a.parquet"}}).uri
    'a.parquet'
    """
    if value is None:
        raise UsageError(
            "data is empty: the upstream task has no such result. Pass its whole result on, as in data=validated.output"
        )
    if isinstance(value, Mapping) and value.get("data") is not None and "uri" not in value and "table" not in value:
        value = value["data"]
    return DatasetRef.of(value)


def _of(value: Any, name: str) -> Any:
    return getattr(value, name, None) if value is not None else None


def _text(value: Any) -> JSON:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str) else str(value)
