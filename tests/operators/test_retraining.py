"""DecideRetrainingOperator against a real MLflow: one decision, one training, nothing from a replay."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.core.retraining import RetrainingPolicy
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks._records import record_tags
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.retraining import DecideRetrainingOperator

if TYPE_CHECKING:
    from tests.kit.mlflow import MlflowServer
    from tests.kit.tasks import TaskRunner


@pytest.fixture
def champion(mlflow_local: Path) -> MlflowHook:
    """Version 1 of ``delays``, trained on data until March."""
    hook = MlflowHook()
    hook.ensure_model("delays")
    hook.client.create_model_version("delays", "file:///nowhere", tags={"mlops.data_until": "2013-03"})
    hook.set_alias("delays", "champion", "1")
    return hook


def checked(hook: MlflowHook, month: str, outcome: str, kind: str = "drift") -> None:
    body: dict[str, Any] = {"details": {"version": "1", "basis": "realised"}, "inputs": {"reference": "r"}}
    hook.record(
        Record(
            kind=kind, model="delays", key=f"{kind}{month}", outcome=outcome, body=body, subject=month, at=f"{month}-01"
        )
    )


def decide(**changes: Any) -> DecideRetrainingOperator:
    return DecideRetrainingOperator(**{"task_id": "decide", "model_name": "delays", "on_keep": "return", **changes})


def test_a_quiet_month_keeps_the_champion_and_says_what_would_change_that(
    champion: MlflowHook, run_task: TaskRunner
) -> None:
    checked(champion, "2013-04", "passed")
    result = run_task(decide(), partition_key="2013-05")
    assert result["decision"] == "keep" and "drift: 0 of the last 1 checks" in " ".join(result["reasons"])
    (record,) = champion.history("delays", kinds=("retraining",))
    assert record.outcome == "keep" and record.subject == "2013-05" and record.at.startswith("2013-05-01")


def test_keeping_skips_what_follows_after_the_decision_is_published(champion: MlflowHook, run_task: TaskRunner) -> None:
    with pytest.raises(AirflowSkipException, match="no reason"):
        run_task(decide(on_keep="skip"))
    assert run_task.last is not None and run_task.last.xcoms["return_value"]["decision"] == "keep"
    assert len(champion.history("delays", kinds=("retraining",))) == 1


def test_drift_in_two_of_three_checks_retrains_and_emits(champion: MlflowHook, run_task: TaskRunner) -> None:
    for month in ("2013-02", "2013-04", "2013-05"):
        checked(champion, month, "failed")
    result = run_task(decide(outlets=[Asset("retraining")], labelled_until="2013-04"), partition_key="2013-05")
    assert result["decision"] == "retrain" and "found drift" in result["reasons"][0]
    assert run_task.last is not None and [o.name for o in run_task.last.task.outlets] == ["retraining"]


def test_what_happens_often_does_not_push_out_of_sight_what_happens_seldom(
    champion: MlflowHook, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hourly checks and decisions to keep must not make a cooldown forgotten; nor what came later, a replay's past."""
    monkeypatch.setattr("airflow_mlops.operators.retraining.MOST_RECORDS", 3)
    for month in ("2013-02", "2013-03"):
        checked(champion, month, "failed")
    policy = {"reasons": ["drift", "person"], "cooldown": {"days": 365}, "in_flight_for": {"days": 1}}
    assert run_task(decide(policy=policy), partition_key="2013-04", run_id="a")["decision"] == "retrain"
    for month in ("2013-05", "2013-06", "2013-07", "2013-08"):
        checked(champion, month, "passed", "scoring")
        checked(champion, month, "failed")
        held = run_task(decide(policy=policy), partition_key=month, run_id=month)
        assert held["decision"] == "keep" and held["evidence"]["held_back_by"] == ["cooldown"], month
    replay = run_task(decide(policy=policy), partition_key="2013-04", run_type="backfill", run_id="b")
    assert [o["at"] for o in replay["evidence"]["facts"]["drift"]] == ["2013-03-01", "2013-02-01"]


@pytest.mark.parametrize("on_keep", ["skip", "return"])
def test_keeping_emits_no_event(champion: MlflowHook, run_task: TaskRunner, on_keep: str) -> None:
    task = decide(outlets=[Asset("retraining")], on_keep=on_keep)
    try:
        run_task(task)
    except AirflowSkipException:
        assert on_keep == "skip"
    assert run_task.last is not None and run_task.last.task.outlets == []


def test_a_retry_of_a_killed_task_says_again_what_it_said(champion: MlflowHook, run_task: TaskRunner) -> None:
    first = run_task(decide(reason="new price list"), run_id="r1")
    again = run_task(decide(reason="new price list"), run_id="r1", try_number=2)
    assert first == again and again["decision"] == "retrain"
    assert len(champion.history("delays", kinds=("retraining",))) == 1


def test_another_run_finds_the_training_in_flight(champion: MlflowHook, run_task: TaskRunner) -> None:
    assert run_task(decide(reason="new price list"), run_id="r1")["decision"] == "retrain"
    second = run_task(decide(reason="me too"), run_id="r2")
    assert second["decision"] == "keep" and second["evidence"]["held_back_by"] == ["in_flight"]


def test_a_run_that_a_decisions_event_started_honours_it(champion: MlflowHook, run_task: TaskRunner) -> None:
    """In the DAG that trains the decision is not taken again: there its own training would look in flight."""
    asset = Asset("retraining")
    first = run_task(decide(reason="new price list", outlets=[asset]), run_id="monitor")
    assert run_task.last is not None
    (event,) = run_task.last.outlet_events.values()
    events = [{"uri": asset.uri, "name": asset.name, "extra": event["extra"]}]
    again = run_task(decide(task_id="honour"), run_id="train", run_type="asset_triggered", events=events)
    assert again["decision"] == "retrain" and again["record"] == first["record"]
    assert run_task(decide(task_id="other"), run_id="other")["decision"] == "keep"


def test_nothing_to_train_on_yet_is_a_reason_to_wait(mlflow_local: Path, run_task: TaskRunner, tmp_path: Path) -> None:
    result = run_task(decide(model_name="new", data=str(tmp_path / "*.parquet")))
    assert result["decision"] == "keep" and "no labelled rows" in result["reasons"][0]


def test_of_two_that_decide_at_once_one_trains(
    champion: MlflowHook, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read a ledger without a decision before either writes."""
    barrier = threading.Barrier(2, timeout=60)
    read = MlflowHook.history

    def together(self: MlflowHook, *args: Any, **kwargs: Any) -> list[Record]:
        found = read(self, *args, **kwargs)
        barrier.wait()
        return found

    monkeypatch.setattr(MlflowHook, "history", together)
    results: dict[str, Any] = {}

    def one(run_id: str) -> None:
        context = {"dag_run": None, "ti": Ti(run_id), "partition_key": "2013-05"}
        results[run_id] = decide(reason="price list", task_id=run_id).execute(context)  # type: ignore[arg-type]

    threads = [threading.Thread(target=one, args=(name,)) for name in ("r1", "r2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r["decision"] for r in results.values()) == ["keep", "retrain"]


def test_of_two_that_decide_at_once_against_one_server_one_trains(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients of a real server, each with the ledger read before either has written."""
    hook = MlflowHook()
    hook.ensure_model("raced")
    hook.client.create_model_version("raced", "s3://models/raced", tags={"mlops.data_until": "2013-03"})
    hook.set_alias("raced", "champion", "1")
    barrier = threading.Barrier(2, timeout=60)
    read = MlflowHook.history

    def together(self: MlflowHook, *args: Any, **kwargs: Any) -> list[Record]:
        found = read(self, *args, **kwargs)
        barrier.wait()
        return found

    def one(run_id: str) -> Any:
        context = {"dag_run": None, "ti": Ti(run_id), "partition_key": "2013-05"}
        return decide(model_name="raced", reason="price list", task_id=run_id).execute(context)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as both:
        patch.setattr(MlflowHook, "history", together)
        results = list(both.map(one, ("r1", "r2")))
    assert sorted(r["decision"] for r in results) == ["keep", "retrain"]
    written = MlflowHook().history("raced", kinds=("retraining",))  # a new client: what survives a restart
    assert sorted(r.outcome for r in written) == ["keep", "retrain"]
    late = decide(model_name="raced", reason="me too", task_id="r3").execute(  # type: ignore[arg-type]
        {"dag_run": None, "ti": Ti("r3"), "partition_key": "2013-05"}
    )
    assert late["decision"] == "keep" and late["evidence"]["held_back_by"] == ["in_flight"]


@pytest.mark.parametrize(("seconds", "outcome"), [(1, "keep"), (3600, "retrain")])
def test_who_began_first_counts_before_it_has_ended(
    champion: MlflowHook, monkeypatch: pytest.MonkeyPatch, seconds: int, outcome: str
) -> None:
    """The other is between its first and its last write; what a killed task left an hour ago holds nobody up."""
    write = MlflowHook.record

    def behind(self: MlflowHook, record: Record, **kwargs: Any) -> Record:
        if record.outcome == "retrain":
            body = {
                **record.body,
                "dag_run": {"dag_id": "monitor", "run_id": "r0", "task_id": "decide", "map_index": -1},
            }
            tags = record_tags(dataclasses.replace(record, body=body), body["dag_run"])
            began = int((time.time() - seconds) * 1000)
            self.client.create_run(self.experiment_id(record.model), start_time=began, tags=tags)
        return write(self, record, **kwargs)

    monkeypatch.setattr(MlflowHook, "record", behind)
    context = {"dag_run": None, "ti": Ti("r1"), "partition_key": "2013-05"}
    result = decide(reason="price list").execute(context)  # type: ignore[arg-type]
    assert result["decision"] == outcome


@dataclasses.dataclass
class Ti:
    """As much of a task instance as a decision asks for."""

    run_id: str
    dag_id: str = "monitor"
    task_id: str = "decide"
    try_number: int = 1
    map_index: int = -1

    def xcom_push(self, key: str, value: Any) -> None:
        """Results are plain."""
        json.dumps(value, allow_nan=False)


def test_a_backfill_records_what_would_have_been_and_triggers_nothing(
    champion: MlflowHook, run_task: TaskRunner
) -> None:
    for month in ("2013-03", "2013-04"):
        checked(champion, month, "failed")
    result = run_task(decide(outlets=[Asset("retraining")]), run_type="backfill", partition_key="2013-05")
    assert result["decision"] == "keep" and result["reasons"][0].startswith("replay: would have said retrain")
    assert run_task.last is not None and run_task.last.task.outlets == []
    (record,) = champion.history("delays", kinds=("retraining",))
    assert record.backfill
    live = run_task(decide(labelled_until="2013-04"), run_id="live", partition_key="2013-05")
    assert live["decision"] == "retrain"


def test_no_new_labels_is_an_alert_that_somebody_hears(champion: MlflowHook, run_task: TaskRunner) -> None:
    checked(champion, "2013-04", "failed", kind="performance")
    heard: list[Any] = []
    result = run_task(decide(labelled_until="2013-03", on_alert=[heard.append]), partition_key="2013-05")
    assert result["decision"] == "alert" and "no label is newer" in result["reasons"][0]
    assert len(heard) == 1


def test_candidates_that_keep_being_rejected_stop_the_loop(champion: MlflowHook, run_task: TaskRunner) -> None:
    checked(champion, "2013-04", "failed", kind="performance")
    for version in ("2", "3"):
        gate = Record(kind="gate", model="delays", key=version, outcome="reject", subject=version, at="2013-04-02")
        champion.record(gate)
    result = run_task(decide(policy=RetrainingPolicy(breaker=2)), partition_key="2013-05")
    assert result["decision"] == "alert"


def test_a_model_that_was_never_trained_is_trained(mlflow_local: Path, run_task: TaskRunner) -> None:
    result = run_task(decide(model_name="new"))
    assert result["decision"] == "retrain" and "no champion" in result["reasons"][0]


def test_the_time_is_that_of_the_run_and_can_be_given(champion: MlflowHook, run_task: TaskRunner) -> None:
    result = run_task(decide(at="{{ params.when }}"), params={"when": "2013-07-01"})
    assert result["evidence"]["facts"]["at"] == "2013-07-01"


def test_a_policy_comes_from_a_file(champion: MlflowHook, run_task: TaskRunner, tmp_path: Path) -> None:
    file = tmp_path / "retraining.yaml"
    file.write_text("max_age: {days: 20}\n")
    assert run_task(decide(policy=str(file)), partition_key="2013-05")["decision"] == "retrain"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"policy": {"cooldwn": 1}}, UnknownName),
        ({"on_keep": "perhaps"}, UsageError),
        ({"new_rows": "many"}, UsageError),
        ({"at": "soon"}, UsageError),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    champion: MlflowHook, run_task: TaskRunner, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run_task(decide(**changes))


def test_an_mlflow_that_does_not_answer_is_retried(run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", '{"conn_type": "mlflow", "host": "http://127.0.0.1:9"}')
    with pytest.raises(MlflowUnavailable):
        run_task(decide())
