"""One MLflow server on one PostgreSQL for all schedules, and a table of what was played at the end."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_mlops.hooks.mlflow import MlflowHook
from tests.faults.schedules import SEED
from tests.faults.world import connection
from tests.kit.mlflow import MlflowServer, running_server
from tests.kit.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="session")
def server(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with running_server(tmp_path_factory.mktemp("mlflow"), postgres.uri) as mlflow:
        yield mlflow


@pytest.fixture
def hook(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowHook:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", connection(server.uri, retries=2))
    made = MlflowHook()
    made.get_conn()
    return made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row a play: how many schedules, tries and moves, and which faults happened."""
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(report.user_properties)
            if report.when == "call" and "play" in told:
                row = rows[told["play"]]
                row.update({outcome: 1, "tries": told.get("tries", 0), "moves": told.get("moves", 0)})
                row["ms"] += round(report.duration * 1000)
                row.update(f"fault {fault}" for fault in told.get("faults", "").split(", ") if fault)
    if not rows:
        return
    rows["all"] = sum(rows.values(), collections.Counter())
    terminalreporter.section(f"promotion under faults, seed {SEED}")
    names = ("passed", "failed", "tries", "moves")
    terminalreporter.line(f"{'play':<12}" + "".join(f"{n:>8}" for n in names) + f"{'seconds':>9}  faults")
    for play, row in rows.items():
        faults = ", ".join(f"{n} x {name[6:]}" for name, n in sorted(row.items()) if name.startswith("fault "))
        figures = "".join(f"{row[n]:>8}" for n in names)
        terminalreporter.line(f"{play:<12}{figures}{row['ms'] / 1000:>9.1f}  {faults}")
