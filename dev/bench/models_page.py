"""The Models page with 2,000 models: how long a request takes, and how long until a new process knows them all.

    python dev/bench/models_page.py            a real MLflow server on SQLite
    python dev/bench/models_page.py --direct   the SQLite file itself, as the embedded default does

The store is filled through its tables: 2,000 models with a year of records through MLflow's own API would take hours.
Requests go through the app that the API server mounts, with a user who may see everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder: its profile.py is not the library's

from dev.bench._print import Figures  # noqa: E402

MODELS = 2000

FIRST_NAMES, FIRST_READING, NEXT_READING = 10.0, 120.0, 15.0
"""Seconds in the background: of the models, of their records, and of what is new. No request waits for them."""

MONTHS = 3
"""Months of records of each model; a month has a drift and a performance check and a retraining decision."""


def fill(database: Path, models: int = MODELS) -> int:
    """Models with a champion and their records, straight into MLflow's tables; returns the number of records."""
    from airflow_mlops.core.records import Record
    from airflow_mlops.hooks._records import record_tags
    from tests.kit import ledger

    records = ledger.year("template", months=2 + MONTHS - 1, pending=False)
    now = int(time.time() * 1000)
    rows: dict[str, list[tuple[Any, ...]]] = {
        k: [] for k in ("experiments", "models", "aliases", "runs", "tags", "metrics")
    }
    for i in range(models):
        name = f"team-{i % 40:02}-model-{i:04}"
        rows["experiments"].append((i + 1, name, "/nowhere", "active", now, now))
        rows["models"].append((name, now, now))
        rows["aliases"].append(("champion", 1, name))
        for j, (record, run) in enumerate(records):
            mine = Record(**{**{f: getattr(record, f) for f in record.__dataclass_fields__}, "model": name})
            run_id = uuid.UUID(int=i * 1000 + j, version=4).hex
            start = now - (len(records) - j) * 7 * 86_400_000 - i  # a week apart
            rows["runs"].append((run_id, record.kind, "FINISHED", start, start + 500, "active", "/nowhere", i + 1))
            rows["tags"] += [(k, v, run_id) for k, v in record_tags(mine, run).items()]
            rows["metrics"] += [(k, v, start, run_id) for k, v in record.metrics.items()]
    with sqlite3.connect(database) as db:
        db.executemany(
            "insert into experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,"
            " last_update_time) values (?,?,?,?,?,?)",
            rows["experiments"],
        )
        db.executemany(
            "insert into registered_models (name, creation_time, last_updated_time) values (?,?,?)", rows["models"]
        )
        db.executemany(
            "insert into model_versions (name, version, creation_time, last_updated_time, current_stage, status)"
            " values (?,1,?,?,'None','READY')",
            rows["models"],
        )
        db.executemany("insert into registered_model_aliases (alias, version, name) values (?,?,?)", rows["aliases"])
        db.executemany(
            "insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage,"
            " artifact_uri, experiment_id) values (?,?,'UNKNOWN','',?,?,?,?,?,?)",
            rows["runs"],
        )
        db.executemany("insert into tags (key, value, run_uuid) values (?,?,?)", rows["tags"])
        db.executemany(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?,?,?,0,0,?)",
            rows["metrics"],
        )
    return len(rows["runs"])


def measure(figures: Figures, *, direct: bool) -> None:
    """Fill a store, start what serves it, and ask."""
    from tests.kit.mlflow import MlflowServer, template_database

    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        home = Path(folder)
        os.environ["AIRFLOW_HOME"] = folder
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        database = home / "mlflow.db"
        template_database(home).rename(database)
        figures.note(f"{MODELS:,} models with {fill(database):,} records")
        if direct:
            os.environ["AIRFLOW__MLOPS__TRACKING_URI"] = f"sqlite:///{database}"
            ask(figures)
            return
        server = MlflowServer(home).start()
        os.environ["AIRFLOW_CONN_MLFLOW_DEFAULT"] = json.dumps({"conn_type": "mlflow", "host": server.uri})
        try:
            ask(figures)
        finally:
            server.stop()


def ask(figures: Figures) -> None:
    """Ask as a browser does, from the first request of a new process on."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    from airflow_mlops.hooks._client import load_mlflow
    from airflow_mlops.plugin.models_app import create_app

    load_mlflow()
    manager = init_auth_manager()
    app = create_app()
    snapshot = app.state.snapshot
    client = TestClient(app)
    token = manager.generate_jwt(SimpleAuthManagerUser(username="bench", role="ADMIN"))
    client.headers["Authorization"] = f"Bearer {token}"

    def timed(path: str, holds: str) -> float:
        began = time.perf_counter()
        page = client.get(path)
        took = time.perf_counter() - began
        assert page.status_code == 200 and holds in page.text, (path, page.status_code, page.text[-600:])
        return took

    def median(path: str, holds: str) -> float:
        return statistics.median(timed(path, holds) for _ in range(5))

    began = time.perf_counter()
    figures.at_most("first request, answered with 'being read'", timed("/", "being read"), 1, "s")
    with snapshot._lock:
        assert snapshot._done.wait_for(lambda: snapshot._cards or not snapshot._reading, timeout=FIRST_READING)
    figures.at_most("a new process knows every model", time.perf_counter() - began, FIRST_NAMES, "s")
    view = snapshot.view(patience=FIRST_READING)
    assert len(view.cards) == MODELS and not view.partial, view.trouble or "it took too long"
    figures.at_most("a new process has read all records", time.perf_counter() - began, FIRST_READING, "s")
    every = f"{MODELS:,} of {MODELS:,} models"
    figures.at_most("a page of 50 of 2,000", median("/", every), 1, "s")
    figures.at_most("all 2,000 in one request", median("/?per=2000", f"model-{MODELS - 1:04}"), 1, "s")
    asked = "/?q=model&verdict=healthy&sort=-drift&page=2"
    figures.at_most("search, filter, sort, second page", median(asked, "Page 2 of"), 1, "s")
    snapshot._tried_at = None  # as if it had grown old
    began = time.perf_counter()
    figures.at_most("a request while MLflow is read again", timed("/", every), 1, "s")
    with snapshot._lock:
        snapshot._done.wait_for(lambda: not snapshot._reading)
    figures.at_most("MLflow read again", time.perf_counter() - began, NEXT_READING, "s")
    figures.at_most("one model with its history", median("/model?name=team-00-model-0000", "What happened"), 1, "s")


def main() -> int:
    """Print figures; 1 when one falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", action="store_true", help="no server: the SQLite file itself")
    figures = Figures()
    measure(figures, direct=parser.parse_args().direct)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
