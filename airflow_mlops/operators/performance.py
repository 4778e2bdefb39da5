"""Is the model still right: :class:`CheckPerformanceOperator`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, LabelError, MlopsError, SchemaMismatch, UsageError
from airflow_mlops.core.metrics import Metric, metrics_of
from airflow_mlops.core.output_quality import check_outputs
from airflow_mlops.core.performance import (
    Figure,
    PerformancePolicy,
    check_performance,
    realised,
    realised_slices,
)
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Check, Report, Status, digest
from airflow_mlops.core.retraining_rules import time_of as parsed
from airflow_mlops.core.settings import duration
from airflow_mlops.exceptions import LifecycleFailure, PerformanceDropped
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._estimates import calibration_in, estimated, holdout_figures, outputs_in
from airflow_mlops.operators._monitoring import (
    MonitoringOperator,
    bounded,
    chosen,
    plain_policy,
    policy_of,
    unknown,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.engines.joins import Joined


class CheckPerformanceOperator(MonitoringOperator):
    """Judge predictions by the labels that came since; until they are there, by an estimate that is called one.

    Predictions and labels are joined by key. Rows younger than the label lag are left out, and below the coverage floor
    nothing is judged: the verdict is then ``insufficient_data``, or that of the estimate. One record of kind
    ``performance`` in the model's ledger, whatever the verdict.

    Returns ``{"status", "basis", "realised", "estimated", "reference", "labels", "report", "model_name", "version",
    "subject", "record"}``; ``basis`` is ``realised``, ``estimated`` or ``none``.

    :param model_name: the registered model. (templated)
    :param predictions: what was predicted: columns of the key, ``prediction`` and for classifiers ``score``; the
        result of a ``ScoreBatchOperator``. (templated)
    :param labels: what turned out: columns of the key and ``target``; ``None`` or not there yet: no labels. (templated)
    :param key: columns that identify a row on both sides. (templated)
    :param target: the column of the labels; empty: the one that the version was trained on. (templated)
    :param metrics: names of the metric table, or metrics of one's own; those of the policy are added.
    :param policy: a :class:`~airflow_mlops.core.performance.PerformancePolicy`, its dict, or the path of a YAML file.
        (templated)
    :param label_lag: time until a label is there: a timedelta, seconds or ``{"days": 7}``; needs ``time_column``.
    :param time_column: of the predictions: the time that the lag counts from. (templated)
    :param as_of: ISO time that the lag counts back from; empty: the time the run is about. (templated)
    :param minimum_coverage: in place of the policy's.
    :param slices: columns of the predictions: each of their values has realised figures with intervals of its own,
        which are held against the bounds as warnings. (templated)
    :param estimate: whether to estimate from the calibration that was logged with the version; of a regressor the
        predictions need its inputs beside them (``columns_to_keep`` when scoring), of a classifier of several classes
        the columns ``probability_<class>``.
    :param positive_label: of two classes the one that ``score`` is of; ``None``: as the version was trained.
        (templated)
    :param version: the version that predicted; empty: the one that ``predictions`` names, else ``alias``. (templated)
    :param alias: (templated)
    :param subject: what the batch is called in the ledger; empty: the run's partition key, else the data's name.
        (templated)
    :param on_drop: ``record`` the verdict and go on, or ``fail`` the task after that, on an error too.
    :param on_missing_model: ``skip`` or ``fail`` when there is no such version yet.
    :param seed: of the intervals' resampling.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises PerformanceDropped: not retried, with ``on_drop="fail"``.
    :raises DatasetNotFound: retried: the predictions are not there yet.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "predictions",
        "labels",
        "key",
        "target",
        "slices",
        "policy",
        "time_column",
        "as_of",
        "positive_label",
        "version",
        "alias",
        "subject",
        "mlflow_conn_id",
    )

    def __init__(
        self,
        *,
        model_name: str,
        predictions: Any,
        labels: Any = None,
        key: Sequence[str] | str,
        target: str = "",
        metrics: Sequence[str | Metric] = ("roc_auc",),
        policy: Any = None,
        label_lag: Any = 0,
        time_column: str = "",
        as_of: str = "",
        minimum_coverage: float | None = None,
        slices: Sequence[str] | str = (),
        estimate: bool = True,
        positive_label: Any = None,
        version: str = "",
        alias: str = "champion",
        subject: str = "",
        on_drop: str = "record",
        on_missing_model: str = "skip",
        seed: int = 0,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.predictions = predictions.to_dict() if isinstance(predictions, DatasetRef) else predictions
        self.labels = labels.to_dict() if isinstance(labels, DatasetRef) else labels
        self.key = key
        self.target = target
        self.metrics = metrics
        self.policy = plain_policy(policy)
        self.label_lag = label_lag
        self.time_column = time_column
        self.as_of = as_of
        self.minimum_coverage = minimum_coverage
        self.slices = slices
        self.estimate = estimate
        self.positive_label = positive_label
        self.version = version
        self.alias = alias
        self.subject = subject
        self.on_drop = on_drop
        self.on_missing_model = on_missing_model
        self.seed = seed
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> dict[str, JSON]:
        """Join, judge, record, publish; then fail, if that was asked for."""
        from airflow_mlops.pages import report_page

        chosen("on_drop", self.on_drop, ("record", "fail"))
        chosen("on_missing_model", self.on_missing_model, ("skip", "fail"))
        policy = policy_of(PerformancePolicy, self.policy)
        if self.minimum_coverage is not None:
            policy = dataclasses.replace(policy, minimum_coverage=self.minimum_coverage)
        metrics = metrics_of([*self.metrics, *policy.bounds])
        ref = data_of(self.predictions)
        due = self._due(context)
        subject = self.subject or str(run_of(context).get("partition_key") or ref.label)
        named = self.version or (self.predictions.get("version") if isinstance(self.predictions, Mapping) else "")
        version = self.find_version(str(named or ""), self.alias)
        if version is None:
            message = (
                f"model {self.model_name!r} has no version {named or self.alias!r} whose predictions could be judged"
            )
            result = publish(context, {"status": "skipped", "basis": "none", "model_name": self.model_name})
            if self.on_missing_model == "skip":
                raise AirflowSkipException(message)
            raise LifecycleFailure(message, result)
        report = self._judge(version, ref, policy, metrics, due, subject, self.as_of or time_of(context))
        report = dataclasses.replace(report, details={**report.details, "version": version.version})
        page: dict[str, str | bytes] = {"report.html": report_page(report.to_dict())}
        record = self.hook.record(
            self._record(context, report, version, subject), artifacts=page, dag_run=run_of(context)
        )
        known = {k: report.details.get(k) for k in ("basis", "realised", "estimated", "reference", "labels")}
        published = publish(
            context,
            {
                "status": str(report.status),
                **known,
                "report": bounded(report),
                "model_name": self.model_name,
                "version": version.version,
                "subject": subject,
                "record": {"run_id": record.run_id, "key": record.key, "link": self.hook.link(record)},
            },
        )
        text = report.summary(where=f"the record {record.run_id} in MLflow")
        self.log.log(20 if report.passed else 30, "%s", text)
        if self.on_drop == "fail" and report.status in (Status.FAILED, Status.ERROR):
            raise PerformanceDropped(text, published)
        return published

    def _due(self, context: Context) -> dt.datetime | None:
        """Rows up to this time should have their label; ``None``: all rows."""
        lag = duration(self.label_lag, "label_lag")
        if not lag:
            return None
        now = self.as_of or time_of(context)
        if not now:
            raise UsageError("label_lag needs a time to count back from: give as_of")
        if not self.time_column:
            raise UsageError("label_lag needs time_column, the predictions' column that it counts from")
        return parsed(now) - lag

    def _judge(
        self,
        version: ModelVersion,
        ref: DatasetRef,
        policy: PerformancePolicy,
        metrics: Sequence[Metric],
        due: dt.datetime | None,
        subject: str,
        at: str,
    ) -> Report:
        from airflow_mlops.core.estimation_classes import METHOD
        from airflow_mlops.engines.joins import join_labels

        target = self.target or version.tag("target")
        if not target and self.labels is not None:
            raise UsageError(
                f"target names the column of the labels; {version.label} does not say what it was trained on"
            )
        slices = [self.slices] if isinstance(self.slices, str) else list(self.slices or ())
        inputs = {
            "version": version.label,
            "policy": policy.digest,
            "metrics": digest([m.name for m in metrics]),
            "slices": digest(slices),
        }
        calibration = calibration_in(self.hook, version)
        of_classes = (calibration or {}).get("method") == METHOD
        needed = list((calibration or {}).get("inputs") or ()) if self.estimate or of_classes else []
        measured = [policy.outputs.latency_column] if policy.outputs.latency_column else []
        try:
            joined = join_labels(
                ref,
                data_of(self.labels) if self.labels is not None else None,
                key=[self.key] if isinstance(self.key, str) else list(self.key),
                target=target,
                keep=("prediction", "score", "model_version", *slices, *needed, *measured),
                time_column=self.time_column,
                due=due,
            )
            inputs |= {**joined.digests, "due": due.isoformat() if due else "all", "seed": str(self.seed)}
            missing = [c for c in slices if c not in joined.predictions.columns]
            if missing:
                raise SchemaMismatch(f"the predictions have no column {', '.join(map(repr, missing))}", missing=missing)
            observed, parts = self._observed(joined, version, target, metrics, policy, slices)
        except DatasetNotFound:
            raise
        except LabelError as error:  # the first labels to come can all say the same: no figure, and no failure yet
            observed, parts = {m.name: Figure(value=None, why=str(error)) for m in metrics}, {}
        except DataError as error:
            return unknown("performance", subject, "data", str(error), inputs, basis="none")
        reference, errors = holdout_figures(self.hook, version, calibration)
        return check_performance(
            policy,
            labels=joined.labels,
            observed=observed,
            estimated=estimated(joined.predictions, version, calibration, metrics) if self.estimate else {},
            reference={m.name: reference[m.name] for m in metrics if m.name in reference},
            reference_errors=errors,
            inputs=inputs,
            subject=subject,
            metrics={m.name: m for m in metrics},
            outputs=self._outputs(joined, version, policy, at, needed if of_classes else ()),
            slices=parts,
        )

    @staticmethod
    def _outputs(
        joined: Joined, version: ModelVersion, policy: PerformancePolicy, at: str, probabilities: Sequence[str]
    ) -> list[Check]:
        until = version.tag("data_until")
        try:
            newest = parsed(until) if until else None
        except MlopsError:  # text that sorts by time need not be a time
            newest = None
        return check_outputs(
            joined.predictions,
            policy.outputs,
            probabilities=probabilities,
            trained_until=newest,
            at=parsed(at) if at else None,
        )

    def _observed(
        self,
        joined: Joined,
        version: ModelVersion,
        target: str,
        metrics: Sequence[Metric],
        policy: PerformancePolicy,
        slices: Sequence[str],
    ) -> tuple[dict[str, Figure], dict[str, dict[str, Figure]]]:
        """Realised figures of all rows, and of each slice; none where no row has a label."""
        from airflow_mlops.core.outputs import task_of, truth_of

        rows = joined.rows
        if not len(rows):
            return {}, {}
        if "prediction" not in rows.columns:
            raise DataError("the predictions have no column 'prediction'")
        task = task_of(metrics) or version.tag("problem")
        positive = self.positive_label if self.positive_label is not None else version.tag("positive") or None
        said = rows["prediction"]
        known = [] if task == "regression" else said.dropna().unique().tolist()
        column = target if target in rows.columns and target not in joined.predictions.columns else f"{target}_label"
        truth = truth_of(rows[column], task=task, known=known, positive_label=positive, name=target)
        rows = rows.loc[truth.kept]
        outputs = outputs_in(rows, truth)
        how: dict[str, Any] = {
            "replicates": policy.replicates,
            "confidence": policy.confidence,
            "seed": self.seed,
        }
        parts = realised_slices(
            metrics, truth.y, outputs, {c: rows[c] for c in slices}, minimum_rows=policy.minimum_rows, **how
        )
        return realised(metrics, truth.y, outputs, **how), parts

    def _record(self, context: Context, report: Report, version: ModelVersion, subject: str) -> Record:
        metrics: dict[str, float] = {}
        for kind in ("realised", "estimated"):
            figures = report.details.get(kind)
            for name, figure in figures.items() if isinstance(figures, Mapping) else ():
                if isinstance(figure, Mapping) and isinstance(value := figure.get("value"), int | float):
                    metrics[f"{kind}_{name}"] = float(value)
        labels = report.details.get("labels")
        if isinstance(labels, Mapping) and isinstance(coverage := labels.get("coverage"), int | float):
            metrics["label_coverage"] = float(coverage)
        record = Record.of_report(
            report,
            model=self.model_name,
            subject=subject,
            at=time_of(context),
            metrics=metrics,
            backfill=is_backfill(context),
        )
        return dataclasses.replace(record, key=digest(record.key, subject))
