"""What looks at single rows works on a table that PostgreSQL counts, too: quarantine, leakage, waiting for rows."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import SourceUnavailable
from airflow_mlops.engines import FrameEngine, fetched
from airflow_mlops.engines.counting import count
from airflow_mlops.engines.quarantine import REASONS
from airflow_mlops.engines.sql import SqlEngine
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.quarantine import QuarantineDataOperator
from airflow_mlops.operators.validation import ValidateDataOperator
from airflow_mlops.sensors.rows import RowsSensor
from tests.engines.sql_tables import filled, table, watched
from tests.engines.test_engines import FRAME, sample
from tests.kit.postgres import PostgresServer

NEVER_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay"}}


def test_rows_of_a_table_are_divided(run_task: Any, postgres: PostgresServer, tmp_path: Path) -> None:
    ref = table(postgres, "divided", sample())
    places = {"quarantine": str(tmp_path / "bad.parquet"), "good": str(tmp_path / "good.parquet")}
    result = run_task(QuarantineDataOperator(task_id="q", data=ref, suite=[NEVER_NULL], max_share=0.5, **places))
    good, bad = sample().dropna(subset=["delay"]), sample()[sample()["delay"].isna()]
    assert result["counts"]["good"] == len(good) and result["counts"]["quarantined"] == len(bad) == 9
    assert result["data"]["digest"] == FrameEngine(good).resolve(FRAME).digest
    aside = pq.read_table(places["quarantine"])
    assert aside.column("id").to_pylist() == bad["id"].tolist()
    assert set(aside.column(REASONS).to_pylist()[0]) == {"expect_column_values_to_not_be_null(delay)"}


def test_rows_are_fetched_a_few_at_a_time_and_are_the_tables(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "FETCH", 7)
    hook, seen = watched()
    engine, ref = SqlEngine(hook), table(postgres, "fetched", sample())
    with engine.open(ref) as source, fetched.in_duckdb(source) as here:
        assert here.fetch("count(*), count(delay)") == [(60, 51)]
        assert [(c.name, c.type) for c in here.columns] == [(c.name, c.type) for c in source.columns]
    assert seen.most <= 7
    money = filled(
        postgres, "money", ["m numeric(12,3)", "d date"], [[decimal.Decimal("1.5"), None], [None, "2013-01-01"]]
    )
    with engine.open(money) as source, fetched.in_duckdb(source) as here:
        assert here.fetch("m, d", "ORDER BY m")[0] == (decimal.Decimal("1.5"), None)
        assert [c.type for c in here.columns] == ["decimal", "date"]
    with engine.open(money.where(("m", ">", 9))) as source, fetched.in_duckdb(source) as here:
        assert here.fetch("count(*)") == [(0,)] and [c.type for c in here.columns] == ["decimal", "date"]


def test_a_database_that_goes_away_meanwhile_is_worth_another_try(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "FETCH", 7)
    ref = table(postgres, "away", sample())
    with pytest.raises(SourceUnavailable, match="Try again"), SqlEngine().open(ref) as source:
        reader = source.reader("*", 7)
        next(iter(reader))
        with postgres.connect() as connection:
            others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")
        with fetched.in_duckdb(source):
            pass


def leaky(rows: int, seed: int, start: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    late = rng.random(rows) < 0.3
    at = pd.Timestamp(start) + pd.to_timedelta(rng.integers(0, 28 * 86400, rows), unit="s")
    return pd.DataFrame({"distance": rng.normal(size=rows) + late, "at": at, "late": late})


def test_what_gives_the_label_away_is_found_in_tables(run_task: Any, postgres: PostgresServer) -> None:
    train, later = leaky(2000, 0, "2013-01-01"), leaky(400, 1, "2013-03-01")
    rows = table(postgres, "train", train)
    options = {"suite": [NEVER_NULL | {"kwargs": {"column": "distance"}}], "target": "late", "leakage": {"time": "at"}}
    holds = ValidateDataOperator(task_id="v", data=rows, holdout=table(postgres, "later", later), **options)
    assert run_task(holds)["passed"]
    twice = table(postgres, "twice", pd.concat([later, train[:7]], ignore_index=True))
    with pytest.raises(DataValidationFailed, match="7 of 407 rows of the holdout are in the training data"):
        run_task(ValidateDataOperator(task_id="v", data=rows, holdout=twice, **options))
    told = table(postgres, "told", train.assign(minutes=train["late"] * 15.0))
    with pytest.raises(DataValidationFailed, match="label_leak minutes"):
        run_task(ValidateDataOperator(task_id="v", data=told, **{**options, "leakage": {}}))


def test_rows_of_a_table_and_of_a_query_are_waited_for(run_task: Any, postgres: PostgresServer) -> None:
    days = ["2013-04-30", "2013-05-01", "2013-05-02"]
    ref = table(
        postgres, "arrivals", pd.DataFrame({"at": pd.to_datetime(days).astype("datetime64[us]"), "x": [1, 2, 3]})
    )
    asked = DatasetRef(query="select at, x from arrivals where x > 1", conn_id="lake")
    for data, new in ((ref, 2), (asked, 2), (asked.where(("x", ">", 2)), 1)):
        sensor = RowsSensor(task_id="w", data=data, time_column="at", min_rows=new, since="2013-04")
        found = run_task(sensor)
        assert (found["rows"], found["newest"]) == (new, "2013-05-02T00:00:00+00:00")
        mark = RowsSensor(task_id="m", data=data, time_column="at", watermark="2013-05-02")
        assert run_task(mark)["newest"] == "2013-05-02T00:00:00+00:00"


def test_a_look_is_one_query_and_fetches_one_row(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_mlops.core.waiting import RowsWatch
    from airflow_mlops.engines import sql

    ref = table(postgres, "arrivals", pd.DataFrame({"at": pd.to_datetime(["2013-05-01"]).astype("datetime64[us]")}))
    hook, seen = watched()
    monkeypatch.setattr(sql, "_hook", lambda ref: hook)
    found = count(RowsWatch(data=ref.to_dict(), time_column="at", min_rows=1), at=0.0)
    assert found.rows == 1 and len(seen.counting) == 1 and seen.fetched == 2  # the settings, and the count
