"""One look at the rows that somebody waits for: how many, and how new the newest is. One query; no row leaves."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, EmptyDataset, UsageError
from airflow_mlops.core.waiting import NEW_ROWS, STALE, RowsLook, RowsWatch, new_since


def count(watch: RowsWatch, *, at: float, since: str = "") -> RowsLook:
    """What is there now. What is not there yet has no rows.

    Rows from the future don't make a dataset fresh: for staleness only those until ``at`` are looked at.

    :param at: the time of the look, in seconds since 1970.
    :param since: of ``min_rows``: rows up to here are not new.
    :raises DataError: when the store or the database can't be reached, or the time column is not there.
    :raises UsageError: when the time column is neither a date nor a timestamp.
    """
    from airflow_mlops.engines import engine_for

    ref = DatasetRef.from_dict(watch.data)
    if watch.time_column:
        ref = ref.select(watch.time_column)
    if watch.kind == NEW_ROWS and (new := new_since(since)):
        ref = ref.where((watch.time_column, *new))
    if watch.kind == STALE:
        ref = ref.where((watch.time_column, "<=", dt.datetime.fromtimestamp(at, dt.UTC).isoformat()))
    engine: Any = engine_for(ref)
    rows, newest = 0, None
    with contextlib.suppress(DatasetNotFound, EmptyDataset), engine.open(ref) as source:
        column = next((c for c in source.columns if c.name == watch.time_column), None)
        if column is not None and column.type not in ("date", "datetime"):
            raise UsageError(f"time_column {column.name!r} of {ref.label} is {column.type}, no date or timestamp")
        ((rows, newest),) = source.fetch(f"COUNT(*), {f'MAX({column.sql})' if column is not None else 'NULL'}")
    return RowsLook(at=at, rows=int(rows), newest=_iso(newest), since=since if watch.kind == NEW_ROWS else "")


def _iso(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):  # a database that keeps its times as text
        value = dt.datetime.fromisoformat(value)
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    return (value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()
