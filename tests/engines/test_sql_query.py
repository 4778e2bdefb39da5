"""Queries as sources: their rows count where they are, and they can't write."""

from __future__ import annotations

import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, MlopsError, UsageError
from airflow_mlops.core.expectations import Expectation
from airflow_mlops.engines import FrameEngine, engine_for, sql
from airflow_mlops.engines.sql import SqlEngine
from tests.engines.sql_tables import table, watched
from tests.engines.test_engines import FRAME, sample
from tests.kit.postgres import PostgresServer

QUERY = """
with kept as (select *, 'a;b -- 50% "x"' as note from flights where id % 2 = 0)
select id, delay, carrier from kept where note like '%50\\%%' escape '\\' order by id
"""


def _expected() -> pd.DataFrame:
    return sample()[lambda f: f["id"] % 2 == 0][["id", "delay", "carrier"]]


@pytest.mark.parametrize("where", ["counted", "streamed"])
def test_a_query_is_the_same_rows_as_a_frame(postgres: PostgresServer, monkeypatch, where: str) -> None:
    table(postgres, "flights", sample())
    if where == "streamed":
        monkeypatch.setattr(sql, "LEAVES", {})
    ref = DatasetRef(query=QUERY, conn_id="lake")
    resolved = engine_for(ref).resolve(ref)
    assert (resolved.digest, resolved.rows) == (FrameEngine(_expected()).resolve(FRAME).digest, 30)
    assert DatasetRef.from_dict(resolved.to_dict()) == resolved
    engine = SqlEngine()
    assert engine.read(ref)["id"].tolist() == _expected()["id"].tolist()
    assert engine.profile(ref).columns["delay"].nulls == int(_expected()["delay"].isna().sum())
    (outcome,) = engine.judge(ref, [Expectation(type="expect_column_values_to_not_be_null", kwargs={"column": "id"})])
    assert (outcome.success, outcome.judged_by) == (True, "postgresql" if where == "counted" else "duckdb")


def test_a_filter_on_a_query_is_a_filter(postgres: PostgresServer) -> None:
    table(postgres, "flights", sample())
    ref = DatasetRef(query=QUERY, conn_id="lake", filters=[("id", "<", 10)], columns=("carrier",))
    assert SqlEngine().resolve(ref).rows == 5


def test_only_counts_leave_the_database_of_a_query_too(postgres: PostgresServer) -> None:
    table(postgres, "flights", sample())
    hook, seen = watched()
    SqlEngine(hook).resolve(DatasetRef(query=QUERY, conn_id="lake"))
    assert len(seen.counting) == 1 and seen.fetched == 2


@pytest.mark.parametrize(
    "query",
    [
        "select 1; drop table flights",
        "drop table flights",
        "delete from flights returning *",
        "with gone as (delete from flights returning *) select * from gone",
        "select * into copied from flights",
        "select * from flights for update",
        "select * from",
        "",
        "-- nothing",
    ],
)
def test_what_writes_locks_or_is_no_query_is_refused(postgres: PostgresServer, query: str) -> None:
    table(postgres, "flights", sample())
    with pytest.raises(UsageError):
        SqlEngine().resolve(DatasetRef(query=query, conn_id="lake"))
    assert SqlEngine().resolve(DatasetRef(table="flights", conn_id="lake")).rows == 60


def test_a_function_that_writes_finds_a_transaction_that_can_not(postgres: PostgresServer) -> None:
    table(postgres, "flights", sample())
    with postgres.connect() as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION wipe() RETURNS integer LANGUAGE sql AS 'DELETE FROM flights; SELECT 1'"
        )
    with pytest.raises(MlopsError, match="read-only"):
        SqlEngine().resolve(DatasetRef(query="select wipe() as a", conn_id="lake"))
    assert SqlEngine().resolve(DatasetRef(table="flights", conn_id="lake")).rows == 60


def test_a_table_that_is_not_there_is_named(postgres: PostgresServer) -> None:
    with pytest.raises((DatasetNotFound, MlopsError), match="gone"):
        SqlEngine().resolve(DatasetRef(query="select * from gone", conn_id="lake"))
