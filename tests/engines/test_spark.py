"""Spark counts what the other engines count: the same digests, profiles, verdicts and frames; no bad file passes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, SchemaMismatch, UsageError
from airflow_mlops.core.expectations import Expectation
from airflow_mlops.engines import Engine, FileEngine, FrameEngine, engine_for
from airflow_mlops.engines.spark import SparkEngine
from tests.engines.test_engines import FRAME, parquet, sample
from tests.engines.test_expectations import frames, same, suites
from tests.engines.test_sql_agreement import resembles


@pytest.fixture(scope="module", autouse=True)
def spark() -> Iterator[Any]:
    """One session for all tests of this file."""
    from pyspark.sql import SparkSession

    settings_ = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.codegen.wholeStage": "false",  # compiling costs more than counting few rows
        "spark.sql.adaptive.enabled": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in settings_.items():
        builder = builder.config(key, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()


def in_spark(ref: DatasetRef) -> DatasetRef:
    return DatasetRef.from_dict({**ref.to_dict(), "engine": "spark"})


def test_the_same_rows_have_the_same_digest_profile_and_frame(tmp_path: Path) -> None:
    frame = sample()
    file = parquet(tmp_path / "a.parquet", frame)
    ref = in_spark(file)
    engine = engine_for(ref)
    assert isinstance(engine, SparkEngine) and isinstance(engine, Engine)
    ours, theirs = engine.resolve(ref), FileEngine().resolve(file)
    assert (ours.digest, ours.rows, ours.schema) == (theirs.digest, 60, theirs.schema)
    resembles(engine.profile(ref), FileEngine().profile(file))
    read = engine.read(ref).sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(read, FileEngine().read(file))
    kept = ref.where(("delay", ">", 0), ("at", "<=", "2013-01-02"), ("carrier", "in", ["AA", "UA"]))
    assert engine.resolve(kept).digest == FrameEngine(frame).resolve(FRAME.where(*kept.filters)).digest


def test_floats_have_the_same_shortest_text(tmp_path: Path) -> None:
    values = [0.1, 1e15, 1e16, 1e15 + 0.125, -1e15 - 0.5, 9999999999999998.0, 5e-324, 1e-323, -5e-324, 1.5e-323]
    values += [1.7976931348623157e308, 1e22, -0.0, 2e-3, 1e-4, 1e-5, -1.25e-7, 1e7, 123456789.125, 2.0**-44, 2e23]
    values += [math.nan, math.inf, -math.inf, 1 / 3, 4.35, 1e23, 8.41e21, 2.2250738585072014e-308, 9007199254740993.0]
    pq.write_table(pa.table({"x": pa.array([*values, None], pa.float64(), from_pandas=False)}), tmp_path / "f.parquet")
    file = DatasetRef(uri=str(tmp_path / "f.parquet"))
    assert SparkEngine().resolve(in_spark(file)).digest == FileEngine().resolve(file).digest


@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True
)
@given(frames(), suites())
def test_verdicts_and_counts_are_those_of_a_frame(
    tmp_path_factory: Any, frame: pd.DataFrame, suite: list[Expectation]
) -> None:
    file = parquet(tmp_path_factory.mktemp("judged") / "a.parquet", frame)
    ours, theirs = SparkEngine().judge(in_spark(file), suite), FrameEngine(frame).judge(FRAME, suite)
    assert {o.judged_by for o in ours} == {"spark"}
    differ = [
        f"{expectation.type} {expectation.kwargs}\nspark {a}\nframe {b}"
        for expectation, a, b in zip(suite, ours, theirs, strict=True)
        if a.error or not same(a, b)
    ]
    assert not differ, "\n".join([*differ, str(frame.to_dict("list"))])


def test_bad_files_are_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "good.parquet", sample())
    (tmp_path / "cut.parquet").write_bytes(Path(whole.uri).read_bytes()[:700])
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n1,2,3\n")
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n")
    (tmp_path / "broken.jsonl").write_text('{"a": 1}\n{"a": \n')
    parquet(tmp_path / "two" / "a.parquet", pd.DataFrame({"x": [1], "y": [1]}))
    parquet(tmp_path / "two" / "b.parquet", pd.DataFrame({"x": [1]}))
    for name, error in {
        "gone.parquet": DatasetNotFound,
        "cut.parquet": DataError,
        "broken.csv": DataError,
        "twice.csv": SchemaMismatch,
        "broken.jsonl": DataError,
        "two": SchemaMismatch,
    }.items():
        with pytest.raises(error, match=name):
            SparkEngine().resolve(DatasetRef(uri=str(tmp_path / name), engine="spark"))
    with pytest.raises(SchemaMismatch, match="did you mean 'carrier'"):
        SparkEngine().resolve(in_spark(whole.select("carier")))


def test_a_connection_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.engines import spark_session

    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", '{"conn_type": "spark", "host": "spark://head", "port": 7077}')
    ref = DatasetRef(table="flights", conn_id="cluster", engine="spark")
    assert spark_session._said(ref) == {"spark.master": "spark://head:7077"}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", '{"conn_type": "postgres", "host": "h"}')
    with pytest.raises(UsageError, match="of the type 'spark'"):
        spark_session._said(ref)


def test_pyspark_is_not_imported_for_anything_else(tmp_path: Path) -> None:
    ref = parquet(tmp_path / "a.parquet", sample())
    code = (
        "import sys\nfrom airflow_mlops.engines import engine_for\nfrom airflow_mlops.core.datasets import DatasetRef\n"
        f"ref = DatasetRef(uri={ref.uri!r})\nengine_for(ref).profile(ref)\nprint('pyspark' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
