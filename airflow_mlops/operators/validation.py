"""May these rows go on: :class:`ValidateDataOperator`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, UsageError
from airflow_mlops.core.expectations import Suite, check_of, load
from airflow_mlops.core.leakage import Leakage
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Check, Report, Severity, Status, digest
from airflow_mlops.core.validation import (
    Comparison,
    Environment,
    applicable,
    compare,
    environment_of,
    label_checks,
    not_empty,
    report,
)
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS, REPORT, DataDocsLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

MOST_CHECKS = 60
"""Checks in the XCom, those that did not pass first; the record in MLflow has all."""


class ValidateDataOperator(TellsLineage, BaseOperator):
    """Judge rows by a suite of Great Expectations, by the environment they are for, and by a reference profile.

    Common expectations are counted where the rows are, in few queries and without importing Great Expectations; the
    rest runs through the library. An expectation that can't be evaluated is an error, never a pass; zero rows fail
    unless ``allow_empty``.

    Severity decides what a check that does not pass does: ``critical`` fails the task (not retried), ``warning``
    calls ``on_warning`` and goes on, ``info`` is recorded. Everything is published before the task fails.

    Returns ``{"status", "passed", "data", "report", "counts"}``: ``data`` is the resolved reference to pass on,
    ``counts`` are checks by status, ``report`` has the checks that did not pass first.

    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. (templated)
    :param suite: path of a JSON or YAML file (relative to the DAG file), a dict, a list of expectations, or a function
        that returns one of these or Great Expectations' own suite. (templated)
    :param environment: ``TRAINING`` or ``SERVING``; the label is required in the first only. (templated)
    :param target: the column of the label. (templated)
    :param reference: what the rows are compared with: a profile, its dict, the result of a ``ProfileDataOperator``, or
        a reference to rows that are profiled now. (templated)
    :param comparison: how far the rows may be from the reference: a
        :class:`~airflow_mlops.core.validation.Comparison` or its dict. (templated)
    :param leakage: what may give the label away: a :class:`~airflow_mlops.core.leakage.Leakage` or its dict; ``{}``
        looks with the defaults. Looked for in ``TRAINING`` only. (templated)
    :param holdout: the rows that judge the model later; none of them may be among these, and with ``time`` in
        ``leakage`` all of them have to be later. (templated)
    :param allow_empty: whether zero rows may pass.
    :param on_warning: notifiers, or functions of the context, that are called when warnings did not pass; the report
        is in the context as ``mlops_report``. One that raises is logged and does not fail the task.
    :param model_name: the model that the record belongs to. (templated)
    :param mlflow_conn_id: the MLflow connection; ``None``: nothing is recorded. With the record go the whole report as
        a page, ``report.html``, which the link *Data Docs* opens, and the suite, ``suite.json``. (templated)
    :raises DataValidationFailed: not retried: a critical check did not pass, or the rows can't be read.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "data",
        "suite",
        "environment",
        "target",
        "reference",
        "comparison",
        "leakage",
        "holdout",
        "model_name",
        "mlflow_conn_id",
    )
    operator_extra_links = (*LINKS, DataDocsLink())

    def __init__(
        self,
        *,
        data: Any,
        suite: Any,
        environment: str = "TRAINING",
        target: str = "",
        reference: Any = None,
        comparison: Any = None,
        leakage: Any = None,
        holdout: Any = None,
        allow_empty: bool = False,
        on_warning: Callable[[Context], Any] | Sequence[Callable[[Context], Any]] = (),
        model_name: str = "",
        mlflow_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.suite = suite.to_dict() if isinstance(suite, Suite) else suite
        self.environment = environment
        self.target = target
        self.reference = reference.to_dict() if isinstance(reference, DatasetRef | Profile) else reference
        self.comparison = comparison.to_dict() if isinstance(comparison, Comparison) else comparison
        self.leakage = leakage.to_dict() if isinstance(leakage, Leakage) else leakage
        self.holdout = holdout.to_dict() if isinstance(holdout, DatasetRef) else holdout
        self.allow_empty = allow_empty
        self.on_warning = on_warning
        self.model_name = model_name
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """The registry that the record is written to."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id or "mlflow_default")

    def execute(self, context: Context) -> dict[str, JSON]:
        """Judge, publish, record, notify; then fail, if something critical did not pass."""
        if self.mlflow_conn_id and not self.model_name:
            raise UsageError("a record belongs to a model: mlflow_conn_id needs model_name")
        ref = data_of(self.data)
        suite = load(self._suite())
        found, resolved = self._judge(ref, suite)
        result = publish(context, _result(found, resolved))
        if self.mlflow_conn_id:
            record = Record.of_report(
                found,
                model=self.model_name,
                subject=str(run_of(context).get("partition_key") or ref.label),
                at=time_of(context),
                backfill=is_backfill(context),
            )
            stored = self.hook.record(record, artifacts=_pages(found, suite), dag_run=run_of(context))
            result = publish(context, {**result, "record": {"run_id": stored.run_id, "key": stored.key}})
        text = found.summary(where="the task's XCom and its record in MLflow")
        self.log.log(20 if found.passed else 40, "%s", text)
        if found.failures(Severity.WARNING):
            self._warn(context, found)
        if not found.passed:
            raise DataValidationFailed(text, result)
        return result

    def _suite(self) -> Any:
        """The suite as given; a relative path is looked up beside the DAG file as well."""
        if not isinstance(self.suite, str) or Path(self.suite).is_absolute() or Path(self.suite).exists():
            return self.suite
        dag = self.get_dag()
        folder = getattr(dag, "folder", "") if dag is not None else ""
        beside = Path(folder) / self.suite
        return str(beside) if beside.exists() else self.suite

    def _judge(self, ref: DatasetRef, suite: Suite) -> tuple[Report, DatasetRef]:
        from airflow_mlops.engines import engine_for

        environment, engine = environment_of(self.environment), engine_for(ref)
        policy = Comparison.from_dict(self.comparison or {})
        reference = self._reference()
        leakage = self._leakage(environment)
        asked = [leakage.to_dict()] if leakage is not None else []
        configuration = digest(suite.digest, environment, self.target, policy.to_dict(), self.allow_empty, *asked)
        details: dict[str, JSON] = {"environment": str(environment), "suite": suite.name}
        inputs = {"data": ref.source_digest, "configuration": configuration}
        if reference is not None:
            inputs["reference"] = reference.digest
        try:
            resolved = engine.resolve(ref)
            inputs["data"] = resolved.digest
            kept, checks = applicable(suite.expectations, environment=environment, label=self.target)
            outcomes = engine.judge(resolved, kept)
            checks = [not_empty(resolved.rows or 0, allowed=self.allow_empty), *map(check_of, kept, outcomes), *checks]
            labels = [c for c in (self.target,) if c in resolved.schema]
            if self.target:
                empty = Profile(rows=resolved.rows or 0, columns={})
                profile = engine.profile(resolved, columns=labels) if labels else empty
                checks += label_checks(profile, label=self.target, environment=environment)
            if reference is not None:
                profile = engine.profile(resolved, reference=reference)
                checks += compare(profile, reference, label=self.target, environment=environment, policy=policy)
            if leakage is not None:
                checks += self._leaks(engine, resolved, leakage, inputs)
        except DatasetNotFound:
            raise
        except DataError as error:
            checks = [Check(name="readable", subject=ref.label, status=Status.ERROR, message=str(error)[:1000])]
            resolved = ref
        return report(checks, subject=ref.label, inputs=inputs, details={**details, "rows": resolved.rows}), resolved

    def _leakage(self, environment: Environment) -> Leakage | None:
        """What to look for; ``None``: the author did not ask, or the rows are for no training."""
        if self.leakage is None and self.holdout is None:
            return None
        asked = Leakage.from_dict(self.leakage or {})
        return asked if environment is Environment.TRAINING else None

    def _leaks(self, engine: Any, ref: DatasetRef, asked: Leakage, inputs: dict[str, str]) -> list[Check]:
        from airflow_mlops.engines import engine_for, leakage

        label = self.target if self.target in ref.schema else ""
        holdout = None
        if self.holdout:
            other = data_of(self.holdout)
            holdout = (engine_for(other), engine_for(other).resolve(other))
            inputs["holdout"] = holdout[1].digest
        if self.target and not label and holdout is None:
            return []  # that the label is missing is a check of its own
        return leakage.check(engine, ref, asked, label=label, holdout=holdout)  # type: ignore[arg-type]

    def _reference(self) -> Profile | None:
        """The profile to compare with, from whatever was given."""
        value = self.reference
        if value is None or value == "":
            return None
        if isinstance(value, Profile):
            return value
        if isinstance(value, Mapping) and isinstance(value.get("profile"), Mapping):
            value = value["profile"]
        if isinstance(value, Mapping) and isinstance(value.get("columns"), Sequence) and "dataset_digest" in value:
            return Profile.from_dict(value)
        from airflow_mlops.engines import engine_for

        ref = data_of(value)
        return engine_for(ref).profile(ref)

    def _warn(self, context: Context, found: Report) -> None:
        notifiers = self.on_warning if isinstance(self.on_warning, Sequence) else (self.on_warning,)
        for notify in notifiers:
            try:
                notify(cast("Context", {**context, "mlops_report": found.to_dict()}))
            except Exception:
                self.log.exception("a notifier of on_warning failed; the validation stands")


def _pages(found: Report, suite: Suite) -> dict[str, str | bytes]:
    """What stays beside the record: the whole report as a page, and what was expected."""
    from airflow_mlops.pages import report_page

    expected = json.dumps(suite.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    return {REPORT: report_page(found.to_dict()), "suite.json": expected}


def _result(found: Report, resolved: DatasetRef) -> dict[str, JSON]:
    counts: dict[str, JSON] = {}
    for check in found.checks:
        counts[str(check.status)] = int(counts.get(str(check.status)) or 0) + 1  # type: ignore[arg-type]
    return {
        "status": str(found.status),
        "passed": found.passed,
        "data": resolved.to_dict(),
        "report": _bounded(found).to_dict(),
        "counts": counts,
    }


def _bounded(found: Report) -> Report:
    """The checks that did not pass first, and no more than fit an XCom; passed ones without their figures."""
    order = (*found.failures(), *(c for c in found.checks if c.status in (Status.PASSED, Status.SKIPPED)))
    failures = [dataclasses.replace(c, message=c.message[:300]) for c in found.failures()][: MOST_CHECKS - 1]
    rest = [dataclasses.replace(c, details={}) for c in order if c.status in (Status.PASSED, Status.SKIPPED)]
    rest.sort(key=lambda c: c.status is not Status.PASSED)
    kept = (*failures, *rest[: MOST_CHECKS - len(failures)])
    omitted = len(found.checks) - len(kept)
    return dataclasses.replace(found, checks=kept, details={**found.details, "checks_omitted": omitted})
