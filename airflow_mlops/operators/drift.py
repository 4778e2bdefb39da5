"""Is the data still what the model was trained on: :class:`CheckDriftOperator`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import DriftPolicy, check_drift, drifted_columns, figures
from airflow_mlops.core.drift_own import code_of, table_of_effects, table_of_tests
from airflow_mlops.core.drift_reference import TRAINING, ReferenceChoice
from airflow_mlops.core.drift_statistics import Effect
from airflow_mlops.core.drift_tests import Test
from airflow_mlops.core.errors import MlopsError, UsageError
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Check, Report, Status, digest
from airflow_mlops.exceptions import DriftDetected, LifecycleFailure
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._monitoring import (
    MonitoringOperator,
    bounded,
    chosen,
    plain_policy,
    policy_of,
    unknown,
)
from airflow_mlops.operators._reference import Pair, artifacts_of, earlier, importances_of
from airflow_mlops.operators._rows import asked_of_rows, with_checks

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.core.profile import Profile

SKEW, DRIFT = "skew", "drift"
"""What a report compares: serving with training, or a period with an earlier one."""

MOST_COLUMNS = 50
"""Columns whose effect is logged as a metric of its own, the largest first."""


OF_ROWS = {"domain_classifier": "domain_auc", "attribution_ranking": "attribution_ndcg"}
"""Checks of rows, and what their figure is called in MLflow."""


class CheckDriftOperator(MonitoringOperator):
    """Compare a partition with the profile that was logged with the model; the training data is not read again.

    Every column's distribution, null share and unseen categories; with ``predictions`` what the model said as well,
    against its predictions on the holdout; with ``reference_rows`` a classifier that tries to tell the rows apart,
    which sees what no column shows alone, and how the columns rank by what they do for the model. One record of kind
    ``drift`` in the model's ledger, whatever the verdict: *drift*, *no drift*, *insufficient data* (with the row count
    that would be enough) or *error* (no profile, a broken one). With the record lies ``report.html``, a page that draws
    every column of the reference and of the batch.

    Returns ``{"status", "drift", "columns", "share_drifted", "report", "model_name", "version", "subject", "data",
    "record"}``: ``drift`` is null where it is not known, ``columns`` are the drifted ones, the worst first.

    :param model_name: the registered model. (templated)
    :param data: the partition: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's
        whole result. (templated)
    :param policy: a :class:`~airflow_mlops.core.drift.DriftPolicy`, its dict, or the path of a YAML file. (templated)
    :param predictions: what the model said about the partition; the result of a ``ScoreBatchOperator``. (templated)
    :param reference_rows: rows of what is normal, such as the training data: with them, a domain classifier is asked as
        well, on at most 10,000 rows of either side. (templated)
    :param attributions: with ``reference_rows``: whether the ranking of what the columns do for the model is compared
        too, on at most 2,000 rows of either side; by shuffling each column, or by a function of one's own,
        ``(estimator, rows) -> attributions`` of shape ``(rows, columns)``, as SHAP gives.
    :param effects: effects of one's own: name -> :class:`~airflow_mlops.core.drift_statistics.Effect` or a plain
        function of the rows per cell, ``(reference, current) -> figure``; ``policy`` names the one that decides and its
        floor.
    :param tests: likewise tests, ``(reference, current) -> p-value``.
    :param version: the version whose profile is the reference; empty: the one ``alias`` points at. (templated)
    :param alias: (templated)
    :param reference: what the partition is compared with: ``training``, the profile of the training data; ``last:4``,
        the four partitions that were checked before, added up; ``before:365d``, the partition a year earlier. Where
        this version has not seen those yet it is the training data. The report says which under ``compared_with``, and
        under ``comparison`` whether that is ``skew`` (serving against training) or ``drift`` (period against period).
        (templated)
    :param subject: what the batch is called in the ledger; empty: the run's partition key, else the data's name.
        (templated)
    :param on_drift: ``record`` the verdict and go on, or ``fail`` the task after that, on an error too.
    :param on_missing_model: ``skip`` or ``fail`` when there is no such version yet.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises DriftDetected: not retried, with ``on_drift="fail"``.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "data",
        "policy",
        "predictions",
        "reference_rows",
        "version",
        "alias",
        "reference",
        "subject",
        "mlflow_conn_id",
    )

    def __init__(
        self,
        *,
        model_name: str,
        data: Any,
        policy: Any = None,
        predictions: Any = None,
        reference_rows: Any = None,
        attributions: bool | Callable[..., Any] = False,
        effects: Mapping[str, Effect | Callable[..., Any]] | None = None,
        tests: Mapping[str, Test | Callable[..., Any]] | None = None,
        version: str = "",
        alias: str = "champion",
        reference: str = TRAINING,
        subject: str = "",
        on_drift: str = "record",
        on_missing_model: str = "skip",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.policy = plain_policy(policy)
        self.predictions = predictions.to_dict() if isinstance(predictions, DatasetRef) else predictions
        self.reference_rows = reference_rows.to_dict() if isinstance(reference_rows, DatasetRef) else reference_rows
        self.attributions = attributions
        self.effects = effects
        self.tests = tests
        self.version = version
        self.alias = alias
        self.reference = reference
        self.subject = subject
        self.on_drift = on_drift
        self.on_missing_model = on_missing_model
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> dict[str, JSON]:
        """Judge, record, publish; then fail, if that was asked for."""
        chosen("on_drift", self.on_drift, ("record", "fail"))
        chosen("on_missing_model", self.on_missing_model, ("skip", "fail"))
        policy = policy_of(DriftPolicy, self.policy)
        if self.attributions and self.reference_rows is None:
            raise UsageError("attributions are compared with those of the reference's rows: give reference_rows")
        version = self.find_version(self.version, self.alias)
        if version is None:
            return self._without_model(context)
        ref = data_of(self.data)
        subject = self.subject or str(run_of(context).get("partition_key") or ref.label)
        choice = ReferenceChoice.of(str(self.reference or ""))
        report, resolved, pair, said = self._judge(version, ref, policy, subject, choice, time_of(context))
        record = self.hook.record(
            self._record(context, report, version, subject),
            artifacts=artifacts_of(report, pair, said),
            dag_run=run_of(context),
        )
        known = report.status in (Status.PASSED, Status.FAILED)
        result: dict[str, JSON] = {
            "status": str(report.status),
            "drift": report.status is Status.FAILED if known else None,
            "columns": list(drifted_columns(report)[:10]),
            "share_drifted": report.details.get("share_drifted"),
            "report": bounded(report),
            "model_name": self.model_name,
            "version": version.version,
            "subject": subject,
            "data": resolved.to_dict(),
            "record": {"run_id": record.run_id, "key": record.key, "link": self.hook.link(record)},
        }
        self.remember_profile(pair[1])
        published = publish(context, result)
        text = report.summary(where=f"the record {record.run_id} in MLflow")
        self.log.log(20 if report.passed else 30, "%s", text)
        if self.on_drift == "fail" and report.status in (Status.FAILED, Status.ERROR):
            raise DriftDetected(text, published)
        return published

    def _without_model(self, context: Context) -> dict[str, JSON]:
        wanted = f"version {self.version}" if self.version else f"alias {self.alias!r}"
        message = f"model {self.model_name!r} has no {wanted}: there is nothing to compare with"
        result = publish(context, {"status": "skipped", "drift": None, "columns": [], "model_name": self.model_name})
        if self.on_missing_model == "skip":
            raise AirflowSkipException(message)
        raise LifecycleFailure(message, result)

    def _judge(
        self,
        version: ModelVersion,
        ref: DatasetRef,
        policy: DriftPolicy,
        subject: str,
        choice: ReferenceChoice,
        at: str,
    ) -> tuple[Report, DatasetRef, Pair, Pair]:
        from airflow_mlops.engines import engine_for

        # Families of tests share the chance of a false alarm.
        families = 1 + bool(self.predictions) + (self.reference_rows is not None) + bool(self.attributions)
        policy = dataclasses.replace(policy, alpha=policy.alpha / families)
        compared, comparison = "training profile", SKEW

        def before(normal: Profile) -> Profile | None:
            nonlocal compared, comparison
            wanted = [c for c in normal.columns if policy.watches(c)]
            other, why = earlier(self.hook, version, choice, at, wanted)
            compared, comparison = (why, DRIFT) if other is not None else (f"training profile ({why})", SKEW)
            return other

        report, resolved, pair = self._compare(
            version, "training", ref, policy, subject, before if choice.earlier else None
        )
        said_pair: Pair = None, None
        if self.predictions:
            own = dataclasses.replace(policy, include=(), exclude=(), rule="any", new_columns="ignore")
            said, _, said_pair = self._compare(version, "predictions", data_of(self.predictions), own, subject)
            report = _joined(report, said)
        if self.reference_rows is not None:
            rows = data_of(self.reference_rows)
            rows = engine_for(rows).resolve(rows)
            report = with_checks(
                report, *asked_of_rows(self.hook, version, pair[1], resolved, rows, policy, self.attributions)
            )
        details: dict[str, JSON] = {
            "version": version.version,
            "compared_with": compared,
            "comparison": comparison,
            "subject": subject,
        }
        return dataclasses.replace(report, details={**report.details, **details}), resolved, pair, said_pair

    def _compare(
        self,
        version: ModelVersion,
        which: Any,
        ref: DatasetRef,
        policy: DriftPolicy,
        subject: str,
        before: Callable[[Profile], Profile | None] | None = None,
    ) -> tuple[Report, DatasetRef, Pair]:
        from airflow_mlops.engines import engine_for

        engine = engine_for(ref)
        ref = engine.resolve(ref)
        inputs = {"reference": f"none of {version.label}", "data": ref.digest, "policy": policy.digest}
        try:
            reference = self.hook.load_profile(version, which)
        except (MlopsError, ValueError, TypeError, KeyError) as error:  # a broken file, or of another release
            message = f"the {which} profile of {version.label} can't be used: {error}"
            return unknown("drift", subject, "reference", message, inputs), ref, (None, None)
        if reference is None:
            message = f"{version.label} has no {which} profile: what is normal is not known"
            return unknown("drift", subject, "reference", message, inputs), ref, (None, None)
        reference = _without_absent_target(reference, version.tag("target"), ref)
        common = [c for c in reference.columns if c in ref.schema and policy.watches(c)]
        current = engine.profile(ref, reference=reference, columns=common) if common else None
        if current is None:
            message = f"{ref.label} has none of the columns that {version.label} was trained on"
            check = Check(name="schema", status=Status.FAILED, message=message)
            return Report(kind="drift", subject=subject, checks=(check,), inputs=inputs), ref, (reference, None)
        other = before(reference) if before is not None else None
        weights: dict[str, float | None] | None = None
        if policy.rule == "importance":  # what is to be predicted is no input: it weighs nothing
            weights = {version.tag("target"): 0.0, **importances_of(self.hook, version)}
        report = check_drift(
            other or reference,
            current,
            policy,
            subject=subject,
            columns=ref.schema,
            importances=weights,
            effects=table_of_effects(self.effects, policy),
            tests=table_of_tests(self.tests),
        )
        if code := code_of(self.effects, self.tests):
            report = dataclasses.replace(report, inputs={**report.inputs, "statistics": code})
        return report, ref, (other or reference, current)

    def _record(self, context: Context, report: Report, version: ModelVersion, subject: str) -> Record:
        metrics = figures(report)
        sizes = [(c.observed, c.subject) for c in report.checks if c.name == "distribution" and _number(c.observed)]
        for size, column in sorted(sizes, key=lambda x: (-float(x[0]), x[1]))[:MOST_COLUMNS]:  # type: ignore[arg-type]
            metrics[f"effect.{column}"] = float(size)  # type: ignore[arg-type]
        for check in report.checks:
            if check.name in OF_ROWS and _number(check.observed) and check.status in (Status.PASSED, Status.FAILED):
                metrics[OF_ROWS[check.name]] = float(check.observed)  # type: ignore[arg-type]
        record = Record.of_report(
            report,
            model=self.model_name,
            subject=subject,
            at=time_of(context),
            metrics=metrics,
            backfill=is_backfill(context),
        )
        # The same rows can be two partitions, and two versions can share a profile: each has an entry of its own.
        return dataclasses.replace(record, key=digest(record.key, subject, version.version))


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _without_absent_target(reference: Profile, target: str, ref: DatasetRef) -> Profile:
    """What is to be predicted is in the training data and not yet in the data to predict: no column is gone."""
    if not target or target not in reference.columns or target in ref.schema:
        return reference
    return reference.select([c for c in reference.columns if c != target])


def _joined(features: Report, predictions: Report) -> Report:
    """One report of both; what concerns the predictions is called so."""
    checks = [dataclasses.replace(c, subject=f"predictions {c.subject}".strip()) for c in predictions.checks]
    both = (features, predictions)
    drift: bool | None = any(r.details.get("drift", r.status is Status.FAILED) is True for r in both)
    if not drift and any(r.status not in (Status.PASSED, Status.FAILED) for r in both):
        drift = None  # what was asked for is not known: that is not "no drift"
    return Report(
        kind="drift",
        subject=features.subject,
        checks=(*features.checks, *checks),
        inputs={**features.inputs, **{f"predictions_{k}": v for k, v in predictions.inputs.items()}},
        details={**features.details, "drift": drift, "predictions": dict(predictions.details)},
    )
