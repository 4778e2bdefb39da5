"""Every operator and sensor that can be found keeps the rules that a DAG author relies on."""

from __future__ import annotations

import builtins
import inspect
import json
import re
import socket
import subprocess
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.bases.decorator import DecoratedOperator
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.serialization.serialized_objects import DagSerialization

from tests.conformance.discovery import classes, example_arguments, own_arguments

TASKS = classes(BaseOperator, "operators", "sensors")
SENSORS = [c for c in TASKS if issubclass(c, BaseSensorOperator)]


def example(cls: type, **changes: Any) -> Any:
    return cls(task_id="task", **{**example_arguments(cls, BaseOperator, BaseSensorOperator), **changes})


def added(cls: type) -> dict[str, inspect.Parameter]:
    return own_arguments(cls, BaseOperator, BaseSensorOperator)


@pytest.fixture
def no_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, sockets and processes are refused."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"I/O in a constructor: {args!r:.200}")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_there_are_operators_and_sensors():
    assert len(TASKS) > len(SENSORS) > 0


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
class TestEveryTask:
    def test_is_built_without_io(self, cls, no_io):
        assert example(cls).task_id == "task"

    def test_is_mapped_with_the_defaults_of_a_single_one(self, cls):
        """A mapped task whose inlets are ``None`` ends before it begins."""
        alone, mapped = example(cls), cls.partial(task_id="task").kwargs
        names = ("inlets", "executor_config", "retries", "retry_delay", "trigger_rule", "pool_slots")
        assert {n: mapped[n] for n in names} == {n: getattr(alone, n) for n in names}
        assert list(mapped["outlets"]) == []  # what it adds itself depends on what it is mapped over

    def test_has_its_template_fields(self, cls):
        task = example(cls)
        assert task.template_fields
        for field in task.template_fields:
            assert hasattr(task, field), f"{field} fails only when it is rendered"

    def test_constructor_only_assigns_templated_values(self, cls):
        """A value that Jinja has yet to render is kept as it is, whatever it will be."""
        for name in set(added(cls)) & set(cls.template_fields):
            unrendered = "{{ params.unknown }}"
            assert getattr(example(cls, **{name: unrendered}), name) == unrendered

    def test_takes_keywords_only(self, cls):
        positional = [n for n, p in added(cls).items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        assert positional == []

    def test_takes_no_name_from_its_base(self, cls):
        base = BaseSensorOperator if issubclass(cls, BaseSensorOperator) else BaseOperator
        own = inspect.signature(inspect.unwrap(cls.__init__)).parameters
        taken = set(inspect.signature(inspect.unwrap(base.__init__)).parameters)
        assert set(own) & taken <= {"self", "kwargs", "args", "task_id"}
        assert [n for n in added(cls) if hasattr(base, n)] == [], "hides something of its base"

    def test_describes_every_argument(self, cls):
        text = "".join(inspect.getdoc(c) or "" for c in cls.__mro__ if c.__module__.startswith("airflow_mlops"))
        missing = [n for n in added(cls) if not re.search(rf":param {n}:", text)]
        assert missing == []

    def test_survives_serialization_into_a_dag(self, cls):
        with DAG("conformance", schedule=None) as dag:
            task = example(cls)
        data = json.loads(json.dumps(DagSerialization.to_dict(dag)))
        back = DagSerialization.from_dict(data).get_task("task")
        assert back.task_type == cls.__name__
        assert tuple(back.template_fields) == tuple(task.template_fields)

    def test_talks_to_others_through_a_connection_that_can_be_named(self, cls):
        named = {"mlflow_conn_id", "dvc_conn_id"} & set(inspect.signature(inspect.unwrap(cls.__init__)).parameters)
        assert named or not hasattr(cls, "hook")


@pytest.mark.parametrize("cls", SENSORS, ids=lambda c: c.__name__)
def test_every_sensor_can_wait_without_a_worker(cls):
    assert "deferrable" in own_arguments(cls)
    assert example(cls).deferrable is False
    assert example(cls, deferrable=True).deferrable is True


def test_decorated_operators_are_no_operators_of_their_own():
    """``@task.<name>`` belongs in decorators/, so that the operators' list is what a DAG author imports."""
    assert [c for c in TASKS if issubclass(c, DecoratedOperator)] == []
