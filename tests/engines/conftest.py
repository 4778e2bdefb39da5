"""A database for the engines' tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.kit.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, and the Airflow connection ``lake`` that points at it."""
    from tests.kit.postgres import running_postgres

    with running_postgres() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_LAKE", server.airflow_connection)
        yield server


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """One session of Spark, and with it one JVM, for all tests."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.codegen.wholeStage": "false",  # compiling costs more than counting few rows
        "spark.sql.adaptive.enabled": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()
