"""Triggers, hooks, notifiers and decorators that can be found keep their rules too."""

from __future__ import annotations

import inspect
import json
import re

import pytest
from airflow.sdk import DAG, BaseHook, BaseNotifier, task
from airflow.sdk.bases.decorator import DecoratedOperator
from airflow.sdk.module_loading import import_string
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseTrigger

from airflow_mlops.provider_info import get_provider_info
from tests.conformance.discovery import classes, example_arguments, own_arguments

TRIGGERS = classes(BaseTrigger, "triggers")
HOOKS = classes(BaseHook, "hooks")
NOTIFIERS = classes(BaseNotifier, "notifications")
DECORATORS = get_provider_info()["task-decorators"]
SECRETS = {"password", "token", "secret", "credentials"}


def _undocumented(cls: type) -> list[str]:
    text = "".join(inspect.getdoc(c) or "" for c in cls.__mro__ if c.__module__.startswith("airflow_mlops"))
    return [n for n in own_arguments(cls) if not re.search(rf":param {n}:", text)]


def test_there_are_triggers_and_hooks():
    assert TRIGGERS
    assert HOOKS


@pytest.mark.parametrize("cls", TRIGGERS, ids=lambda c: c.__name__)
class TestEveryTrigger:
    def test_survives_the_way_to_the_triggerer(self, cls):
        path, kwargs = cls(**example_arguments(cls)).serialize()
        assert import_string(path) is cls
        there = json.loads(json.dumps(kwargs, allow_nan=False))
        assert cls(**there).serialize() == (path, kwargs)

    def test_takes_every_argument_along(self, cls):
        _, kwargs = cls(**example_arguments(cls)).serialize()
        assert set(kwargs) == set(own_arguments(cls))

    def test_carries_no_secret(self, cls):
        assert not set(own_arguments(cls)) & SECRETS

    def test_describes_every_argument(self, cls):
        assert _undocumented(cls) == []

    def test_waits_asynchronously(self, cls):
        assert inspect.isasyncgenfunction(cls.run)


@pytest.mark.parametrize("cls", HOOKS, ids=lambda c: c.__name__)
class TestEveryHook:
    def test_can_be_a_connection_type(self, cls):
        for name in ("conn_name_attr", "default_conn_name", "conn_type", "hook_name"):
            assert isinstance(getattr(cls, name), str)
            assert getattr(cls, name)
        assert cls.conn_name_attr in own_arguments(cls)

    def test_is_declared(self, cls):
        declared = {c["connection-type"]: c for c in get_provider_info()["connection-types"]}
        assert declared[cls.conn_type]["hook-class-name"] == f"{cls.__module__}.{cls.__name__}"
        assert declared[cls.conn_type]["hook-name"] == cls.hook_name

    def test_has_a_test_button(self, cls):
        assert cls.test_connection is not getattr(BaseHook, "test_connection", None)

    def test_describes_every_argument(self, cls):
        assert _undocumented(cls) == []


def test_every_notifier_has_its_template_fields_and_describes_its_arguments():
    for cls in NOTIFIERS:
        notifier = cls(**example_arguments(cls, BaseNotifier))
        assert [f for f in notifier.template_fields if not hasattr(notifier, f)] == [], cls
        assert _undocumented(cls) == [], cls


def test_every_notifier_is_declared():
    paths = {f"{c.__module__}.{c.__name__}" for c in NOTIFIERS if not c.__subclasses__()}  # what is no base
    assert paths == set(get_provider_info().get("notifications", ())), "add it to airflow_mlops/provider_info.py"


@pytest.mark.parametrize("entry", DECORATORS, ids=lambda e: e["name"])
def test_every_decorator_makes_a_task_that_serializes(entry):
    decorator = getattr(task, entry["name"])
    assert decorator is import_string(entry["class-name"])
    wanted = {"model_name": "late", "target": "late"}
    with DAG("decorated", schedule=None) as dag:

        @decorator(**wanted)
        def fit(X, y):
            return None

        fit({"uri": "data/2013-05.parquet"})
    made = dag.get_task("fit")
    assert isinstance(made, DecoratedOperator)
    for field in made.template_fields:
        assert hasattr(made, field)
    back = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert back.get_task("fit").task_type == made.task_type
