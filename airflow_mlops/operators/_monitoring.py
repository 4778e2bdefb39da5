"""What the monitoring operators share: which version is watched, policies from files, bounded results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from airflow_mlops.core.errors import PolicyError, UsageError
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON, Check, Report, Status
from airflow_mlops.core.settings import Policy
from airflow_mlops.core.strict_yaml import read_yaml
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow_mlops.hooks.mlflow import MlflowHook

P = TypeVar("P", bound=Policy)

MOST_CHECKS = 50
"""Checks that a task's result carries; the record in MLflow has all."""


class MonitoringOperator(TellsLineage, BaseOperator):
    """A task that looks at one model."""

    model_name: str
    mlflow_conn_id: str
    ui_color = "#fdf0d5"
    operator_extra_links = LINKS

    def __init__(self, **kwargs: Any) -> None:
        """Without one here, ``partial`` takes the defaults of Airflow's own constructor: inlets that are ``None``."""
        super().__init__(**kwargs)

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def find_version(self, version: str, alias: str) -> ModelVersion | None:
        """The version by its number, or the one that an alias points at."""
        if version:
            return self.hook.version(self.model_name, version)
        return self.hook.by_alias(self.model_name, alias)


def policy_of(cls: type[P], value: Any) -> P:
    """A policy from a policy, its dict, the path of a YAML or JSON file, or nothing for the defaults.

    :raises PolicyError: for a file that is not there or is no mapping.
    """
    if isinstance(value, str) and value:
        import yaml

        try:
            value = read_yaml(Path(value).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise PolicyError(f"the policy can't be read: {error}") from error
        if not isinstance(value, Mapping):
            raise PolicyError(f"a policy file holds a mapping of {cls.__name__} keys")
    return cls.of(value or None)


def plain_policy(value: Any) -> Any:
    """What a constructor keeps of a policy: a dict that templates can be rendered in, or a path."""
    return value.to_dict() if isinstance(value, Policy) else value


def chosen(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """A rendered argument that is one of a few words.

    :raises UsageError: when it is not.
    """
    if value not in choices:
        raise UsageError(f"{name} is one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def bounded(report: Report) -> dict[str, JSON]:
    """A report small enough for XCom: what did not pass first, at most :data:`MOST_CHECKS` checks."""
    order = {Status.FAILED: 0, Status.ERROR: 1, Status.INSUFFICIENT: 2}
    checks = sorted(report.checks, key=lambda c: order.get(c.status, 3))
    value = report.to_dict()
    value["checks"] = [c.to_dict() for c in checks[:MOST_CHECKS]]
    details = dict(report.details)
    if len(checks) > MOST_CHECKS:
        details["omitted"] = len(checks) - MOST_CHECKS
    value["details"] = details
    return value


def unknown(kind: str, subject: str, name: str, message: str, inputs: Mapping[str, str], **details: JSON) -> Report:
    """A report that says one thing only: it could not be known, and why."""
    check = Check(name=name, status=Status.ERROR, message=message)
    return Report(kind=kind, subject=subject, checks=(check,), inputs=inputs, details=details)
