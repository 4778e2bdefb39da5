"""What sensor, trigger and event trigger share while they wait for data: one look, and what it means."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.errors import DataError, SchemaMismatch, UsageError
from airflow_mlops.core.moments import newest
from airflow_mlops.core.partitions import Look, PartitionWatch, after, sighting, waiting_for
from airflow_mlops.core.results import JSON
from airflow_mlops.core.waiting import RowsLook, RowsWatch, rows_missing, rows_sighting
from airflow_mlops.exceptions import MlflowUnavailable

LOOKS_AT_ONCE = 16
"""Looks of one triggerer at a time. The pool is its own: a store that hangs never takes other triggers' threads."""

PASSING = (DataError, OSError, MlflowUnavailable)
"""What is waited out; a column that is not there does not come with time."""


@functools.cache
def pool() -> concurrent.futures.ThreadPoolExecutor:
    """The threads in which a triggerer looks."""
    return concurrent.futures.ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="mlops-look")


def watch_of(value: Mapping[str, Any]) -> PartitionWatch | RowsWatch:
    """The watch that a dict says: of rows where it waits for rows, a watermark or staleness."""
    rows = {"min_rows", "watermark", "max_age", "time_column"} & set(value)
    return RowsWatch.from_dict(value) if rows else PartitionWatch.from_dict(value)


@dataclasses.dataclass
class Waiting:
    """A wait for data, between two looks.

    :param watch: what is waited for.
    :param seen: the last look.
    :param told: the look with which the wait was last over, for one that goes on.
    :param mlflow_conn_id: where the last training is looked up.
    """

    watch: PartitionWatch | RowsWatch
    seen: Look | RowsLook | None = None
    told: Look | RowsLook | None = None
    mlflow_conn_id: str = "mlflow_default"

    def look(self, previous: Look | RowsLook | None = None) -> Look | RowsLook:
        """Look once. Blocks: a triggerer does it in :func:`pool`."""
        if isinstance(self.watch, RowsWatch):
            from airflow_mlops.engines.counting import count

            return count(self.watch, at=time.time(), since=self._since(self.watch))
        from airflow_mlops.engines.looking import look

        return after(previous if isinstance(previous, Look) else None, look(self.watch, at=time.time()))

    def missing(self, seen: Look | RowsLook) -> str:
        """What is still missing, in words; empty: the wait is over."""
        self.seen = seen
        told = self.told
        if isinstance(self.watch, RowsWatch) and isinstance(seen, RowsLook):
            return rows_missing(self.watch, seen, told if isinstance(told, RowsLook) else None)
        if isinstance(self.watch, PartitionWatch) and isinstance(seen, Look):
            same = isinstance(told, Look) and told.fingerprint == seen.fingerprint
            return waiting_for(self.watch, seen) or ("another delivery: this one was told" if same else "")
        raise UsageError(f"a {type(seen).__name__} says nothing about a {type(self.watch).__name__}")

    def sighting(self) -> dict[str, JSON]:
        """What is passed on once the wait is over."""
        if isinstance(self.watch, RowsWatch) and isinstance(self.seen, RowsLook):
            return rows_sighting(self.watch, self.seen)
        assert isinstance(self.watch, PartitionWatch) and isinstance(self.seen, Look)
        return sighting(self.watch, self.seen)

    def look_of(self, value: Any) -> Look | RowsLook | None:
        """A look that was kept as plain values; ``None`` for anything else."""
        if not isinstance(value, Mapping):
            return None
        return RowsLook.from_dict(value) if isinstance(self.watch, RowsWatch) else Look.from_dict(value)

    def _since(self, watch: RowsWatch) -> str:
        if not watch.model_name:
            return watch.since
        from airflow_mlops.hooks.mlflow import MlflowHook

        versions = MlflowHook(self.mlflow_conn_id).versions(watch.model_name)
        until = newest(v.tag("data_until") for v in versions)
        if versions and not until:
            raise UsageError(
                f"no version of {watch.model_name!r} says until when its data was (tag mlops.data_until): "
                "which rows are new is not known; give since"
            )
        return until


def passing(error: BaseException) -> bool:
    """Whether an error of a look may be over at the next one."""
    return isinstance(error, PASSING) and not isinstance(error, SchemaMismatch)
