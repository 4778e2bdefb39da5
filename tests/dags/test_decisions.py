"""Monitoring decides, training honours: one decision, carried by its event, and never taken twice."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.operators.retraining import DecideRetrainingOperator
from flights import layout

RUN = {"partition_key": "2013-03", "logical_date": None, "run_type": "asset_triggered"}


def monitors_decision() -> DecideRetrainingOperator:
    """The last task of ``flights_monitor``, in a DAG of its own."""
    return DecideRetrainingOperator(
        task_id="decide", model_name=layout.MODEL, policy={"cooldown": {"days": 20}}, outlets=[layout.RETRAINING]
    )


@pytest.fixture
def root(prepared: Callable[..., Path], mlflow_local: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = prepared("2013-01", "2013-02", "2013-03")
    monkeypatch.setenv("AIRFLOW_VAR_FLIGHTS_ROOT", str(root))
    return root


def decide() -> Any:
    return importlib.import_module("flights_train").dag.get_task("decide")


def test_the_event_of_a_decision_is_honoured_and_without_it_the_training_is_in_flight(
    root: Path, run_task: Any
) -> None:
    decided = run_task(monitors_decision(), run_id="monitor", **RUN)
    assert decided["decision"] == "retrain"
    (emitted,) = (e for uri, e in run_task.last.outlet_events.items() if "retraining" in uri)
    assert emitted["extra"]["decision"] == decided["record"]["key"]

    with pytest.raises(AirflowSkipException, match="keep"):
        run_task(decide(), run_id="new flights", **RUN)

    event = {"name": layout.RETRAINING.name, "uri": layout.RETRAINING.uri, "extra": emitted["extra"]}
    honoured = run_task(decide(), run_id="asked for", events=[event], **RUN)
    assert honoured["decision"] == "retrain"
    assert honoured["record"]["key"] == decided["record"]["key"], "the same decision, not another"


def test_an_event_that_names_no_decision_of_the_ledger_starts_nothing_by_itself(root: Path, run_task: Any) -> None:
    run_task(monitors_decision(), run_id="monitor", **RUN)
    event = {"name": layout.RETRAINING.name, "uri": layout.RETRAINING.uri, "extra": {"decision": "made up"}}
    with pytest.raises(AirflowSkipException, match="keep"):
        run_task(decide(), run_id="asked for", events=[event], **RUN)


def test_not_even_a_person_trains_on_nothing(world: Any, tmp_path: Path, mlflow_local: Path, run_task: Any,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_VAR_FLIGHTS_ROOT", str(tmp_path))
    with pytest.raises(AirflowSkipException, match="no labelled rows"):
        run_task(decide(), params={"reason": "because I say so"}, **{**RUN, "run_type": "manual"})


def test_what_is_rendered_is_what_came_before_the_month(root: Path, run_task: Any) -> None:
    run_task(decide(), **RUN)
    rendered = run_task.last.task
    assert rendered.labelled_until == "2013-02-16"
    assert rendered.data["uri"] == f"{root}/labelled/month=*/flights.parquet"
    assert ["date", "<", "2013-02-16"] in [list(f) for f in rendered.data["filters"]]
