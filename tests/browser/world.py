"""An Airflow with something to see: a year of a dozen models in the ledger, and a small loop that runs for real."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from dev.bench._cases import write_files
from dev.stack import Stack
from tests.kit import ledger

DAGS = Path(__file__).parent / "dags"
MODEL = "late_departures"
YEARS: Mapping[str, dict[str, Any]] = {
    "flights_delay": {"months": 10, "pending": True},
    "churn_retail": {"months": 5, "seed": 3},
    "credit_risk_eu": {"months": 4, "seed": 4},
    "demand_forecast": {"months": 7, "seed": 5},
    "fraud_cards": {"months": 3, "seed": 6},
}
"""Models that only the ledger knows, and their years."""

SETTINGS = {
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


def fill(home: Path, *, nasty: bool) -> None:
    """The ledger, before Airflow is started."""
    from airflow_mlops.hooks.mlflow import MlflowHook
    from tests.kit.mlflow import template_database

    store = home / "mlops"
    store.mkdir(parents=True)
    template = home / "template"
    template.mkdir()
    shutil.copy(template_database(template), store / "mlflow.db")
    there = {
        "AIRFLOW__MLOPS__TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}",
        "AIRFLOW__MLOPS__ARTIFACT_LOCATION": str(store / "artifacts"),
    }
    with mock.patch.dict(os.environ, there):
        os.environ.pop("AIRFLOW_CONN_MLFLOW_DEFAULT", None)
        hook = MlflowHook()
        for name, how in YEARS.items():
            ledger.fill(hook, name, ledger.year(name, **how), versions=4 if how.get("pending") else 2)
        hook.ensure_model("anomaly_sensors")
        pending = next(r for r in hook.history("flights_delay", kinds=["gate"]) if r.outcome == "require_approval")
        page = "<script>document.title='ran'; parent.document.title='ran'</script><h1>Logged by a task</h1>"
        hook.log_text(pending.run_id, "notes.html", page)
        if nasty:
            harm = ledger.drift_of(1.0, ledger.NASTY, (ledger.NASTY, "distance", "carrier", "origin"))
            record = ledger.Record.of_report(
                harm, model=ledger.NASTY_MODEL, at="2013-05-01", metrics={"<b>psi</b>": 1.0}, subject=ledger.NASTY
            )
            ledger.fill(
                hook,
                ledger.NASTY_MODEL,
                [(record, {"dag_id": ledger.NASTY, "run_id": "r", "task_id": "t"})],
                versions=1,
            )
            hook.tag_version(ledger.NASTY_MODEL, 1, {"data_until": ledger.NASTY, "pinned": ledger.NASTY})


@contextmanager
def world(root: Path, env: Mapping[str, str] | None = None, *, nasty: bool = True) -> Iterator[Stack]:
    """All of it, running; ``env`` is further environment of Airflow."""
    rows = root / "rows"
    rows.mkdir(parents=True)
    write_files(rows, 2_000)
    stack = Stack(root / "stack", DAGS, {"LATE_FOLDER": str(rows), **SETTINGS, **(env or {})})
    fill(stack.home, nasty=nasty)
    with stack as running:
        running.wait_dags("late_train", "late_rollback", "late_hopeless", "late_other")
        yield running


def parked(stack: Stack, run: str) -> None:
    """Until a run's form is shown and the worker that wrote it is gone: Airflow 3.3.2 fails a task answered before."""

    def waits() -> bool:
        return any(t["state"] == "awaiting_input" for t in stack.tasks_of("late_train", run))

    assert stack.until(waits, 300), [(t["task_id"], t["state"]) for t in stack.tasks_of("late_train", run)]
    form = stack.api("GET", f"/dags/late_train/dagRuns/{run}/taskInstances/approve/-1/hitlDetails")
    words = (form["task_instance"]["id"], "TaskInstance Finished", "state=awaiting_input")
    log = stack.logs / "scheduler.log"

    def gone() -> bool:
        return any(all(w in line for w in words) for line in log.read_text(errors="replace").splitlines())

    assert stack.until(gone, 120), log
