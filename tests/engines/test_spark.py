"""What is Spark's own: floats as it writes them, bad files, its connection; see also test_conformance."""

from __future__ import annotations

import decimal
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, SchemaMismatch, UsageError
from airflow_mlops.engines import FileEngine, FrameEngine
from airflow_mlops.engines.spark import SparkEngine
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.quarantine import QuarantineDataOperator
from airflow_mlops.operators.validation import ValidateDataOperator
from tests.engines.test_engines import FRAME, parquet, sample
from tests.engines.test_sql_rows import leaky

pytestmark = pytest.mark.usefixtures("spark")


def in_spark(ref: DatasetRef) -> DatasetRef:
    return DatasetRef.from_dict({**ref.to_dict(), "engine": "spark"})


def test_floats_have_the_same_shortest_text(tmp_path: Path) -> None:
    values = [0.1, 1e15, 1e16, 1e15 + 0.125, -1e15 - 0.5, 9999999999999998.0, 5e-324, 1e-323, -5e-324, 1.5e-323]
    values += [1.7976931348623157e308, 1e22, -0.0, 2e-3, 1e-4, 1e-5, -1.25e-7, 1e7, 123456789.125, 2.0**-44, 2e23]
    values += [math.nan, math.inf, -math.inf, 1 / 3, 4.35, 1e23, 8.41e21, 2.2250738585072014e-308, 9007199254740993.0]
    pq.write_table(pa.table({"x": pa.array([*values, None], pa.float64(), from_pandas=False)}), tmp_path / "f.parquet")
    file = DatasetRef(uri=str(tmp_path / "f.parquet"))
    assert SparkEngine().resolve(in_spark(file)).digest == FileEngine().resolve(file).digest


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


def test_rows_that_spark_counts_are_divided(run_task: Any, tmp_path: Path) -> None:
    """They come back to be looked at one by one; exact numbers, dates and times as what they are."""
    frame = sample().assign(fare=[decimal.Decimal(i) / 4 for i in range(60)])
    ref = in_spark(parquet(tmp_path / "rows.parquet", frame))
    places = {"quarantine": str(tmp_path / "bad.parquet"), "good": str(tmp_path / "good.parquet")}
    suite = [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay"}}]
    result = run_task(QuarantineDataOperator(task_id="q", data=ref, suite=suite, max_share=0.5, **places))
    good, bad = frame.dropna(subset=["delay"]), frame[frame["delay"].isna()]
    assert result["counts"]["good"] == len(good) and result["counts"]["quarantined"] == len(bad) == 9
    assert result["input"]["digest"] == FileEngine().resolve(DatasetRef(uri=ref.uri)).digest
    assert result["data"]["digest"] == FrameEngine(good).resolve(FRAME).digest
    aside = pq.read_table(places["quarantine"])
    assert sorted(aside.column("id").to_pylist()) == sorted(bad["id"].tolist())
    with pytest.raises(DataValidationFailed, match=r"9 of 60 rows do not hold, more than 0\.1"):
        run_task(QuarantineDataOperator(task_id="stopped", data=ref, suite=suite, **places))


def test_what_gives_the_label_away_is_found_in_rows_that_spark_counts(run_task: Any, tmp_path: Path) -> None:
    train, later = leaky(2000, 0, "2013-01-01"), leaky(400, 1, "2013-03-01")
    twice = pd.concat([later, train[:7]], ignore_index=True)
    told = train.assign(minutes=train["late"] * 15.0)
    named = {"train": train, "later": later, "twice": twice, "told": told}
    refs = {n: in_spark(parquet(tmp_path / f"{n}.parquet", f)) for n, f in named.items()}
    suite = [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "distance"}}]
    options: dict[str, Any] = {"suite": suite, "target": "late", "leakage": {"time": "at"}}
    holds = ValidateDataOperator(task_id="v", data=refs["train"], holdout=refs["later"], **options)
    assert run_task(holds)["passed"]
    with pytest.raises(DataValidationFailed, match="7 of 407 rows of the holdout are in the training data"):
        run_task(ValidateDataOperator(task_id="v", data=refs["train"], holdout=refs["twice"], **options))
    with pytest.raises(DataValidationFailed, match="label_leak minutes"):
        run_task(ValidateDataOperator(task_id="v", data=refs["told"], **{**options, "leakage": {}}))


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
