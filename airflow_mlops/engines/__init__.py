"""Where rows are read and counted: files, SQL through hooks, DataFrames.

Everything heavy (DuckDB, Arrow, pandas) is imported when an engine is used, not when this module is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, UsageError
from airflow_mlops.engines.files import FileEngine
from airflow_mlops.engines.frames import FrameEngine
from airflow_mlops.engines.protocol import Engine

if TYPE_CHECKING:
    from airflow_mlops.engines.sql import SqlEngine

__all__ = ["Engine", "FileEngine", "FrameEngine", "SqlEngine", "engine_for", "verify"]


def engine_for(ref: DatasetRef) -> Engine:
    """The engine that reads a reference: the one it names, else files by URI, a table through its Airflow connection.

    >>> type(engine_for(DatasetRef(uri="flights/*.parquet"))).__name__
    'FileEngine'
    """
    if ref.engine == "spark":
        from airflow_mlops.engines.spark import SparkEngine

        return SparkEngine()
    if ref.table or ref.query:
        from airflow_mlops.engines.sql import SqlEngine

        return SqlEngine()
    return FileEngine()


def verify(ref: DatasetRef) -> None:
    """The rows are still the ones that the reference was resolved to.

    :raises Conflict: when they are not.
    :raises UsageError: when the reference was never resolved.
    """
    if not ref.resolved:
        raise UsageError(f"{ref.label} has no digest to verify; resolve it first")
    now = engine_for(ref).resolve(ref)
    if now.digest != ref.digest:
        raise Conflict(
            f"{ref.label} changed since it was resolved: it had {ref.rows} rows with digest {ref.digest}, "
            f"now {now.rows} rows with digest {now.digest}. Run the tasks before this one again"
        )


def __getattr__(name: str) -> object:
    if name == "SqlEngine":
        from airflow_mlops.engines.sql import SqlEngine

        return SqlEngine
    raise AttributeError(name)
