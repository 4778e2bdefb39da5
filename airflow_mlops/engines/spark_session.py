"""A Spark session for a reference: the cluster of its Airflow connection, or the one that is there.

``DatasetRef(..., engine="spark", conn_id="cluster")`` names a connection of the type ``spark``: its host is the master
(``spark://head``, with the port, ``yarn``, ``k8s://...``, ``local[4]``), the extra ``conf`` what the session is set to.
Without a connection it is the session that the process has, or whatever ``spark-defaults.conf`` says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import MlopsError, SourceUnavailable, UsageError

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.caseSensitive": "true",
    "spark.sql.csv.parser.columnPruning.enabled": "false",  # else a row with other fields goes unnoticed
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
}
"""What a session of ours is set to; the session it comes from keeps its own."""


def session(ref: DatasetRef) -> Any:
    """A session of one's own on the context that is there, or on a new one.

    :raises UsageError: without PySpark or Java, or for a connection of another type.
    :raises SourceUnavailable: when the cluster can't be reached.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise UsageError(
            f"{ref.label} is counted by Spark, and PySpark is not installed: install the extra 'spark'"
        ) from None
    active = SparkSession.getActiveSession()
    if active is None:
        active = _started(ref, SparkSession.builder)
    made = active.newSession()
    for key, value in SETTINGS.items():
        made.conf.set(key, value)
    return made


def _started(ref: DatasetRef, builder: Any) -> Any:
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise UsageError(f"{ref.label} is counted by Spark, which needs Java 17: install it, or set JAVA_HOME")
    for key, value in {"spark.ui.showConsoleProgress": "false", **_said(ref)}.items():
        builder = builder.config(key, value)
    try:
        return builder.appName("airflow_mlops").getOrCreate()
    except MlopsError:
        raise
    except Exception as error:
        raise SourceUnavailable(
            f"{ref.label}: no Spark session through connection {ref.conn_id or '(none)'!r}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}. Try again"
        ) from error


def _said(ref: DatasetRef) -> dict[str, str]:
    """What the connection says."""
    if not ref.conn_id:
        return {}
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(ref.conn_id)
    if connection.conn_type != "spark":
        raise UsageError(
            f"{ref.label}: connection {ref.conn_id!r} is of the type {connection.conn_type!r}; Spark is reached "
            "through one of the type 'spark', whose host is the master"
        )
    extra: Mapping[str, Any] = connection.extra_dejson
    conf = extra.get("conf") or {}
    if not isinstance(conf, Mapping):
        raise UsageError(f"connection {ref.conn_id!r}: the extra 'conf' is a mapping of Spark's settings")
    host = connection.host or ""
    master = f"{host}:{connection.port}" if connection.port else host
    return {**({"spark.master": master} if master else {}), **{str(k): str(v) for k, v in conf.items()}}


def driver_files(spark: Any, paths: list[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each Parquet file's columns and their types, from its footer, as Spark's driver reads it."""
    jvm, conf = spark._jvm, spark._jsc.hadoopConfiguration()
    found = []
    for path in paths:
        place = jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(path))  # Spark tells URIs, a path is no URI
        source = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(place, conf)
        reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(source)
        try:
            fields = reader.getFileMetaData().getSchema().getFields()
            found.append((path, [(f.getName(), _kind(f)) for f in fields]))
        finally:
            reader.close()
    return found


def _kind(field: Any) -> str:
    """What values of a Parquet column compare with."""
    if not field.isPrimitive():
        return "nested"
    logical = str(field.getLogicalTypeAnnotation() or "").partition("(")[0]
    if logical in ("STRING", "DATE", "TIMESTAMP", "ENUM", "JSON"):
        return {"STRING": "text", "ENUM": "text"}.get(logical, logical.lower())
    physical = str(field.getPrimitiveTypeName())
    return (
        "bytes" if physical in ("BINARY",) and logical != "DECIMAL" else "bool" if physical == "BOOLEAN" else "number"
    )


def local(path: str) -> str:
    """A path of this machine, as Spark names it: a URI in which a space is a space."""
    return path if "://" in path or path.startswith("file:") else f"file://{Path(path).absolute()}"
