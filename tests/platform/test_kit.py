"""The common ground itself: a task that runs here runs as under a worker."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import BaseTrigger


class Echo(BaseOperator):
    template_fields = ("value",)

    def __init__(self, *, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context):
        return {"value": self.value, "run": context["run_id"]}


class Once(BaseTrigger):
    def serialize(self):
        return ("tests.platform.test_kit.Once", {})

    async def run(self):
        yield None


def test_templates_and_upstream_results_reach_a_task(run_task):
    with DAG("d", schedule=None, params={"n": 1}) as dag:
        first = Echo(task_id="first", value="{{ partition_key }} {{ params.n }}")
        second = Echo(task_id="second", value={"of": first.output, "key": "{{ ds }}"})
    assert run_task(first, partition_key="2013-05", params={"n": 4})["value"] == "2013-05 4"
    assert run_task(second)["value"] == {"of": {"value": "2013-05 4", "run": "manual__test"}, "key": "2013-05-01"}
    assert run_task.last.rendered["value"]["key"] == "2013-05-01"
    assert dag.task_ids == ["first", "second"]


def test_results_can_be_given(run_task):
    echo = Echo(task_id="e", value="{{ ti.xcom_pull('train')['version'] }}")
    assert run_task(echo, xcoms={"train": {"version": "7"}})["value"] == "7"


def test_a_value_that_is_not_json_fails(run_task):
    with pytest.raises((AssertionError, ValueError)):
        run_task(Echo(task_id="e", value=float("nan")))


def test_what_was_published_before_a_failure_is_there(run_task):
    class Fails(BaseOperator):
        def execute(self, context):
            context["ti"].xcom_push(key="return_value", value={"why": 1})
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_task(Fails(task_id="f"))
    assert run_task.last.xcoms == {"return_value": {"why": 1}}


def test_a_deferred_task_continues_without_its_attributes(run_task):
    class Waits(BaseSensorOperator):
        def execute(self, context):
            self.seen = 1
            self.defer(trigger=Once(), method_name="go_on")

        def go_on(self, context, event=None):
            return [event, hasattr(self, "seen")]

    sensor = Waits(task_id="w")
    with pytest.raises(TaskDeferred) as deferred:
        run_task(sensor)
    assert run_task.resume(sensor, deferred.value, {"status": "ok"}) == [{"status": "ok"}, False]


def test_events_states_and_triggers(run_task):
    asset = Asset("mlops://there")

    class Touch(BaseOperator):
        def execute(self, context):
            context["outlet_events"][asset].extra = {"version": "1"}
            tries = context["task_state_store"].get("tries", 0) + 1
            context["task_state_store"].set("tries", tries)
            context["asset_state_store"][asset].set("last", tries)
            triggered = [e.extra for a in context["triggering_asset_events"].values() for e in a]
            return {"tries": tries, "triggered": triggered, "logical_date": str(context.get("logical_date"))}

    touch = Touch(task_id="t", outlets=[asset])
    run_task(touch)
    got = run_task(
        touch,
        try_number=2,
        logical_date=None,
        run_type="asset_triggered",
        events=[{"uri": "x://y", "extra": {"a": 1}}],
    )
    assert got == {"tries": 2, "triggered": [{"a": 1}], "logical_date": "None"}
    assert list(run_task.last.outlet_events.values()) == [{"extra": {"version": "1"}, "partition_keys": []}]
    assert list(run_task.supervisor.asset_state.values()) == [2]


def test_a_branch_succeeds_and_says_what_it_skipped(run_task):
    from airflow.providers.standard.operators.python import BranchPythonOperator

    with DAG("b", schedule=None):
        branch = BranchPythonOperator(task_id="b", python_callable=lambda: "yes")
        branch >> [Echo(task_id="yes", value=1), Echo(task_id="no", value=1)]
    run_task(branch)
    assert run_task.last.skipped == ["no"]


def test_the_server_answers_and_the_connection_points_at_it(mlflow_server):
    from airflow.sdk import BaseHook

    assert BaseHook.get_connection("mlflow_default").host == mlflow_server.uri


def test_the_embedded_default_is_a_folder_of_its_own(mlflow_local, monkeypatch):
    import mlflow
    from airflow.sdk.configuration import conf

    client = mlflow.MlflowClient(tracking_uri=conf.get("mlops", "tracking_uri"))
    assert client.create_experiment("x", artifact_location=conf.get("mlops", "artifact_location")) == "1"
    assert (mlflow_local / "mlflow.db").exists()
