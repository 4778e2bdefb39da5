"""Rows counted by Spark: files and tables that one machine is too small for.

The counting is the one SQL of files and tables, in Spark's dialect (see ``dev/decisions``); only counts come back, and
rows where rows were asked for. The digest is the other engines' for the same rows. Where the types can't agree: arrays,
maps and structs are the text that Spark writes; Parquet's nanoseconds Spark does not read.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, MlopsError, SchemaMismatch, SourceUnavailable
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import spark_session
from airflow_mlops.engines.duck import Column, DuckEngine
from airflow_mlops.engines.headers import alike, same_kinds, unambiguous
from airflow_mlops.engines.profiling import SAMPLE
from airflow_mlops.engines.spark_sql import Spark, content
from airflow_mlops.engines.sql_source import Session, SqlSource, _batch, chosen, parts_of, said

DELIMITERS = (",", ";", "\t", "|")

_TYPES = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
    "binary": "BLOB",
}
"""Spark's types: those that DuckDB has for them."""


class SparkEngine(DuckEngine):
    """Rows that Spark reads and counts, in the session of the reference's connection."""

    @contextlib.contextmanager
    def open(self, ref: DatasetRef) -> Iterator[SparkSource]:
        """The rows as a view of a session of their own."""
        spark = spark_session.session(ref)
        rows = _Rows(Spark(), spark, ref.label)
        with rows.explained():
            frame = _frame(spark, ref)
            fields = [(f.name, f.dataType.simpleString()) for f in frame.schema.fields]
            unambiguous(ref.label, [name for name, _ in fields])
            frame.createOrReplaceTempView("raw")
        try:
            yield SparkSource(rows, *chosen(ref, [Column(n, _type(t)) for n, t in fields], '"raw"'))
        finally:
            with contextlib.suppress(Exception):  # the first error is the one to be told
                spark.catalog.dropTempView("raw")

    def resolve(self, ref: DatasetRef) -> DatasetRef:
        """See :meth:`airflow_mlops.engines.Engine.resolve`."""
        with self.open(ref) as source:
            found, rows = content(source)
            return ref.resolve(digest=found, rows=rows, schema={c.name: c.type for c in source.columns})

    def profile(self, ref: DatasetRef, *, reference: Profile | None = None, columns: Sequence[str] = ()) -> Profile:
        """See :meth:`airflow_mlops.engines.Engine.profile`."""
        from airflow_mlops.engines import sql_profile

        with self.open(ref) as source:
            return sql_profile.profile(source, reference=reference, columns=columns, digest=ref.digest)

    def judge(self, ref: DatasetRef, expectations: Sequence[Expectation]) -> list[Outcome]:
        """See :meth:`airflow_mlops.engines.Engine.judge`."""
        from airflow_mlops.engines import judging

        with self.open(ref) as source:
            outcomes = judging.judge(source, expectations)
        return [dataclasses.replace(o, judged_by="spark") if o.judged_by == "duckdb" else o for o in outcomes]


@dataclasses.dataclass
class _Rows(Session):
    """A session; ``cursor`` is Spark's."""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query, through Arrow: a time of Spark's own rows would be in this machine's zone."""
        from airflow_mlops.engines.sql_source import _plain

        with self.explained():
            table = self.cursor.sql(sql).toArrow()
            return [tuple(map(_plain, row)) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


@dataclasses.dataclass(frozen=True)
class SparkSource(SqlSource):
    """Rows in Spark, open for counting."""

    def sampled(self, rows: int) -> str:
        """Rows whose hash falls into a fraction: the same ones in any order."""
        if rows <= SAMPLE:
            return ""
        keys = ", ".join(c.sql for c in self.columns[:64])
        return f"pmod(xxhash64({keys}), {-(-rows // SAMPLE)}) = 0"

    def reader(self, select: str, rows: int) -> Any:
        """The rows, sorted by all their columns, partition by partition; as an Arrow reader."""
        import pyarrow as pa
        from pyspark.sql.functions import col
        from pyspark.sql.pandas.types import to_arrow_schema

        session: Session = self.con
        order = ", ".join(f"{c.sql} NULLS LAST" for c in self.columns)
        with session.explained():
            frame = session.cursor.sql(self.dialect(f"SELECT {select} FROM {self.relation} AS data ORDER BY {order}"))
            zoned = {f.name for f in frame.schema.fields if f.dataType.simpleString() == "timestamp"}
            names = [f"`{n.replace('`', '``')}`" for n in frame.columns]
            # Spark hands a time with a zone out in this machine's; without one it stays as it is, in UTC.
            frame = frame.select(
                [
                    col(q).cast("timestamp_ntz").alias(n) if n in zoned else col(q)
                    for n, q in zip(frame.columns, names, strict=True)
                ]
            )
            schema = to_arrow_schema(frame.schema)
            found = frame.toLocalIterator()
        told = pa.schema([pa.field(f.name, pa.timestamp("us", "UTC") if f.name in zoned else f.type) for f in schema])

        def made() -> Iterator[Any]:
            held: list[Any] = []
            with session.explained():
                for row in found:
                    held.append(tuple(row))
                    if len(held) >= rows:
                        yield _batch(held, told, self.label)
                        held = []
            if held:
                yield _batch(held, told, self.label)

        return pa.RecordBatchReader.from_batches(told, made())


def _type(spark_type: str) -> str:
    if spark_type.startswith("decimal"):
        return spark_type.upper()
    if spark_type.startswith(("char(", "varchar(")):
        return "VARCHAR"
    return _TYPES.get(spark_type, f"SPARK_{spark_type.partition('<')[0].upper()}")


def _frame(spark: Any, ref: DatasetRef) -> Any:
    """The rows as Spark's DataFrame."""
    if ref.query:
        from airflow_mlops.engines.sql_query import reading

        return spark.sql(reading(ref, "spark").sql("spark"))
    if ref.table:
        return spark.table(".".join(f"`{p.replace('`', '``')}`" for p in parts_of(ref.table)))
    if ref.version:
        raise DataError(f"{ref.label}: Spark reads what is there now, and not version {ref.version!r}")
    path = spark_session.local(ref.uri)
    return _READERS[ref.file_format](spark, ref, path)


def _parquet(spark: Any, ref: DatasetRef, path: str) -> Any:
    frame = spark.read.option("mergeSchema", "true").parquet(path)
    headers = spark_session.driver_files(spark, sorted(frame.inputFiles()))
    for file, kinds in headers:
        unambiguous(file, [name for name, _ in kinds])
    if headers:
        alike(ref.label, [(file, [name for name, _ in kinds]) for file, kinds in headers])
        same_kinds(ref.label, [(file, dict(kinds)) for file, kinds in headers])
    return frame


def _csv(spark: Any, ref: DatasetRef, path: str) -> Any:
    first = spark.read.text(path).first()
    if first is None or not first[0].strip():
        raise SchemaMismatch(f"{ref.label} has no header row; the first row must name the columns")
    line = first[0].removeprefix("\ufeff")
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([line], delimiter=d))))
    unambiguous(ref.label, next(csv.reader([line], delimiter=delimiter)))
    options = {"header": True, "inferSchema": True, "enforceSchema": False, "mode": "FAILFAST", "sep": delimiter}
    return spark.read.options(**options, escape='"', multiLine=True, nullValue="", emptyValue="").csv(path)


def _jsonl(spark: Any, ref: DatasetRef, path: str) -> Any:
    return spark.read.options(mode="FAILFAST").json(path)


_READERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}


def problem(error: Exception, about: str) -> MlopsError:
    """What an error of Spark means."""
    text = " ".join(str(error).split())
    for word in ("TABLE_OR_VIEW_NOT_FOUND", "PATH_NOT_FOUND", "UNABLE_TO_INFER_SCHEMA"):
        if word in text:
            return DatasetNotFound(f"{about} does not exist: {said(error)}. Has the data landed?")
    if type(error).__module__.startswith("py4j") and "Network" in type(error).__name__:
        return SourceUnavailable(f"{about}: Spark is gone: {said(error)}. Try again")
    # What happened first stands last, and Spark's own errors have a name in brackets.
    causes = re.findall(r"\[[A-Z_.]{6,}\][^\[]*", text) or re.findall(r"Caused by: \S+ [^\t]*?(?= at )", text) or [text]
    cause = causes[-1].split(" at org.")[0][:300]
    return DataError(
        f"{about} could not be read or counted by Spark: {cause}. Is a file truncated, or has a row other "
        "fields than the header?"
    )
