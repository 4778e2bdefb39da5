"""Scoring candidate and champion on the same rows: :class:`EvaluateModelOperator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, MlopsError, UnknownName, UsageError
from airflow_mlops.core.evaluation import Evaluation
from airflow_mlops.core.evaluation_metrics import metrics_of_evaluation
from airflow_mlops.core.metrics import METRICS, Metric, metrics_of
from airflow_mlops.core.outputs import task_of
from airflow_mlops.core.records import CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON, digest
from airflow_mlops.core.slicing import SliceBy
from airflow_mlops.exceptions import EvaluationFailed
from airflow_mlops.operators._child import Limits, stop
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._evaluating import EXPLAIN, Plan, rows_of, score
from airflow_mlops.operators._findings import SIMPLE
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


class EvaluateModelOperator(TellsLineage, BaseOperator):
    """Score a candidate, the champion and baselines on the same frozen rows; record figures, judge nothing.

    Each model runs in a process of its own with limits. A candidate or champion that can't be loaded, can't predict
    these rows, hangs, crashes or takes more memory than it may, is part of the result (state ``error``): the gate then
    fails closed. The same versions, rows and settings a second time return the record that
    is there, and nothing is loaded or scored. The candidate's run gets the figures as ``holdout_<metric>``, the
    profile of its predictions and, for two classes, what estimating its performance without labels needs.

    Returns the :class:`~airflow_mlops.core.evaluation.Evaluation` as a dict; ``record`` says where it is stored.

    :param model_name: the registered model. (templated)
    :param candidate: a version, an alias, or the XCom of the training. (templated)
    :param data: the holdout: a reference, its dict, a URI. A resolved one must still have the same rows. (templated)
    :param target: the column with the labels; rows without one are left out and counted. (templated)
    :param metrics: names of :data:`~airflow_mlops.core.metrics.METRICS`, or :func:`~airflow_mlops.core.metrics.metric`
        of a function.
    :param slices: columns, each of whose values is evaluated by itself too; or mappings: ``{"column", "bins"}``,
        ``{"name", "where": [[column, operator, value], ...]}``, see :class:`~airflow_mlops.core.slicing.SliceBy`.
        (templated)
    :param features: the columns that are given to the models; empty: those each was trained on. (templated)
    :param champion_alias: the alias of the version to stand up to. (templated)
    :param baseline: ``"prior"``, the best constant, ``"linear"``, a linear model of the same columns, both as a list,
        the first being the one that is shown; or ``None``.
    :param problem: ``classification`` or ``regression``; empty: by the metrics.
    :param positive_label: of two classes the one to find; ``None``: training's own, else the greater. (templated)
    :param replicates: bootstrap resamples behind intervals and comparisons.
    :param seed: of the resamples.
    :param latency_calls: time so many predictions of one row, for a policy with ``latency``; 0: none.
    :param parity_rows: so many rows are predicted once more by the candidate, loaded again, for a policy with
        ``prediction_parity``; 0: none.
    :param importance_rows: on so many rows each column is shuffled, to see what it does for the candidate; 0: none.
    :param importance_repeats: how often each column is.
    :param explain: ``permutation``: those importances only; ``shap``: the SHAP values of some rows as well, with the
        extra ``explain``. Where they can't be had, the report and the log say why.
    :param explain_rows: rows that are explained.
    :param explain_seconds: how long that may take.
    :param fairness: columns or slices that are groups whose rates are compared, by Fairlearn where the extra
        ``fairness`` is installed; each is evaluated as a slice too. (templated)
    :param training_data: the rows that the candidate was trained on, for a policy that limits duplicates: a
        reference, its dict, a URI, or the XCom of the training; ``None``: not compared. (templated)
    :param time_column: the column with the time of the rows, for a policy with ``time_order``. (templated)
    :param query_column: the column that tells the query of a row, for metrics of rankings, such as ``ndcg@10``,
        ``mrr``, ``map``, ``precision@5``, see :mod:`airflow_mlops.core.ranking`. (templated)
    :param batch_rows: rows that are held at once: a larger set is read once, lies in temporary files, and the models
        are given a part at a time. The figures are the same.
    :param keep_rows_mb: a set of rows that is evaluated the first time is kept with the model's records as Parquet, if
        it takes no more; when the rows are gone, or are others, later evaluations of a resolved reference read that
        copy. 0: only its digest is kept.
    :param memory_limit_mb: MiB that a model may take beyond what the task has; 0: no limit.
    :param time_limit_seconds: how long a model may take, on the clock; 0: no limit.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises EvaluationFailed: not retried: rows that can't judge a model, or arguments that are wrong.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "candidate",
        "data",
        "target",
        "slices",
        "features",
        "fairness",
        "champion_alias",
        "positive_label",
        "training_data",
        "time_column",
        "query_column",
        "mlflow_conn_id",
    )
    ui_color = "#e8e4f5"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        model_name: str,
        candidate: Any,
        data: Any,
        target: str,
        metrics: Sequence[str | Metric] = ("roc_auc",),
        slices: Sequence[str | Mapping[str, Any] | SliceBy] = (),
        features: Sequence[str] = (),
        champion_alias: str = CHAMPION,
        baseline: str | Sequence[str] | None = "prior",
        problem: str = "",
        positive_label: Any = None,
        replicates: int = 1000,
        seed: int = 0,
        latency_calls: int = 0,
        parity_rows: int = 100,
        importance_rows: int = 2000,
        importance_repeats: int = 5,
        explain: str = "permutation",
        explain_rows: int = 100,
        explain_seconds: float = 120.0,
        fairness: Sequence[str] = (),
        training_data: Any = None,
        time_column: str = "",
        query_column: str = "",
        batch_rows: int = 100_000,
        keep_rows_mb: int = 64,
        memory_limit_mb: int = 4096,
        time_limit_seconds: float = 600.0,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.candidate = candidate
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.target = target
        self.metrics = metrics
        self.slices = slices if isinstance(slices, str) else [_plain_slice(s) for s in slices]
        self.features = features
        self.champion_alias = champion_alias
        self.baseline = baseline
        self.problem = problem
        self.positive_label = positive_label
        self.replicates = replicates
        self.seed = seed
        self.latency_calls = latency_calls
        self.parity_rows = parity_rows
        self.importance_rows = importance_rows
        self.importance_repeats = importance_repeats
        self.explain = explain
        self.explain_rows = explain_rows
        self.explain_seconds = explain_seconds
        self.fairness = fairness
        self.training_data = training_data.to_dict() if isinstance(training_data, DatasetRef) else training_data
        self.time_column = time_column
        self.query_column = query_column
        self.batch_rows = batch_rows
        self.keep_rows_mb = keep_rows_mb
        self.memory_limit_mb = memory_limit_mb
        self.time_limit_seconds = time_limit_seconds
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Find the evaluation of these inputs, or make and record it."""
        try:
            evaluation = self._evaluation(context)
        except DatasetNotFound:
            raise
        except MlopsError as error:
            result = {
                "model_name": self.model_name,
                "error": {"type": type(error).__name__, "message": str(error)},
            }
            published = publish(context, result)
            raise EvaluationFailed(f"evaluation of {self.model_name!r} failed: {error}", published) from error
        for figure in evaluation.metrics:
            self.log.info(
                "%s (%s is better): candidate %s, champion %s, baseline %s %s",
                figure.metric,
                figure.direction,
                figure.candidate,
                figure.champion,
                figure.baseline,
                dict(figure.errors) or "",
            )
        return publish(context, evaluation.to_dict())

    def on_kill(self) -> None:
        """End the models' processes with the task."""
        stop()

    def _evaluation(self, context: Context) -> Evaluation:
        metrics = metrics_of(self.metrics)
        self._check()
        task_of(metrics, self.problem)
        version = self._candidate()
        champion = self.hook.by_alias(self.model_name, self.champion_alias)
        training = _verified(data_of(self.training_data)) if self.training_data else None
        with rows_of(self.hook, self.model_name, data_of(self.data)) as (data, source):
            return self._found_or_made(context, metrics, version, champion, data, source, training)

    def _found_or_made(
        self,
        context: Context,
        metrics: Sequence[Metric],
        version: ModelVersion,
        champion: ModelVersion | None,
        data: DatasetRef,
        source: DatasetRef,
        training: DatasetRef | None,
    ) -> Evaluation:
        config = self._config(metrics, training)
        key = digest(
            "evaluation",
            self.model_name,
            [version.version, version.model_digest],
            [champion.version, champion.model_digest] if champion else None,
            data.digest,
            config,
        )
        found = self.hook.find_record(self.model_name, "evaluation", key)
        if found is not None:
            self.log.info("%s was evaluated on these inputs before (run %s)", version.label, found.run_id)
            return Evaluation.from_dict({**found.body, "record": {"run_id": found.run_id, "key": key}})
        plan = self._plan(metrics, config, time_of(context))
        evaluation, artifacts = score(self.hook, plan, version, champion, data, source, training)
        for who in (evaluation.candidate, evaluation.champion):
            if who.state == "error":
                # Not under the inputs' key: what could not be loaded today may be there tomorrow.
                key = digest(key, who.version, who.error)
        record = self.hook.record(
            Record(
                kind="evaluation",
                model=self.model_name,
                key=key,
                outcome="scored" if evaluation.candidate.scored else "error",
                body=evaluation.to_dict(),
                metrics=metrics_of_evaluation(evaluation),
                subject=version.version,
                at=time_of(context),
                backfill=is_backfill(context),
            ),
            artifacts=artifacts,
            dag_run=run_of(context),
        )
        return Evaluation.from_dict({**record.body, "record": {"run_id": record.run_id, "key": key}})

    def _check(self) -> None:
        ranked = [m.name for m in metrics_of(self.metrics) if m.per_query]
        if ranked and not self.query_column:
            raise UsageError(f"{ranked[0]} is a mean over queries: say which column tells the query (query_column)")
        if self.explain not in EXPLAIN:
            raise UnknownName("explain", self.explain, EXPLAIN)
        for name, least in (("batch_rows", 1), ("explain_rows", 1), ("keep_rows_mb", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
        _names(self.fairness, "fairness")

    def _candidate(self) -> ModelVersion:
        wanted = self.candidate
        if isinstance(wanted, Mapping):
            model = wanted.get("model_name", self.model_name)
            if model != self.model_name:
                raise UsageError(f"the candidate is a version of {model!r}, not of {self.model_name!r}")
            wanted = wanted.get("version")
        if isinstance(wanted, bool) or not isinstance(wanted, str | int) or not str(wanted):
            raise UsageError(f"candidate must be a version, an alias or a training's result, got {self.candidate!r}")
        name = str(wanted)
        find = self.hook.version if name.isdigit() else self.hook.by_alias
        version = find(self.model_name, name)
        if version is None:
            raise UsageError(f"model {self.model_name!r} has no version {name!r}")
        return version

    def _config(self, metrics: Sequence[Metric], training: DatasetRef | None) -> str:
        from airflow_mlops.core.fingerprint import describe_trainer

        return digest(
            [
                m.name
                if METRICS.get(m.name) is m or m.per_query
                else [m.name, m.direction, m.needs, describe_trainer(m.function)]
                for m in metrics
            ],
            self.target,
            [s.to_dict() for s in self._parts()],
            _names(self.features, "features"),
            _baselines(self.baseline),
            self.problem,
            None if self.positive_label is None else str(self.positive_label),
            [self.replicates, self.seed, self.latency_calls],
            [self.parity_rows, self.importance_rows, self.importance_repeats],
            [training.digest if training else None, self.time_column],
            *([["explain", self.explain, self.explain_rows]] if self.explain != EXPLAIN[0] else []),
            *([["queries", self.query_column]] if self.query_column else []),
            *([["fairness", _names(self.fairness, "fairness")]] if self.fairness else []),
        )

    def _plan(self, metrics: Sequence[Metric], config: str, at: str) -> Plan:
        return Plan(
            model_name=self.model_name,
            target=self.target,
            metrics=metrics,
            slices=self._parts(),
            features=tuple(_names(self.features, "features")),
            problem=self.problem,
            positive_label=self.positive_label,
            baselines=_baselines(self.baseline),
            replicates=self.replicates,
            seed=self.seed,
            latency_calls=self.latency_calls,
            parity_rows=self.parity_rows,
            importance_rows=self.importance_rows,
            importance_repeats=self.importance_repeats,
            explain=self.explain,
            explain_rows=self.explain_rows,
            explain_seconds=self.explain_seconds,
            fairness=_names(self.fairness, "fairness"),
            time_column=self.time_column,
            query_column=self.query_column,
            limits=Limits(memory_mb=int(self.memory_limit_mb), seconds=float(self.time_limit_seconds)),
            batch_rows=self.batch_rows,
            keep_bytes=int(self.keep_rows_mb * 1024 * 1024),
            config=config,
            at=at,
        )

    def _parts(self) -> list[SliceBy]:
        """The slices, and those groups that are none of them: a group is a slice whose rates are compared as well."""
        found = _slices(self.slices)
        names = {s.name for s in found}
        return [*found, *(SliceBy.of(name) for name in _names(self.fairness, "fairness") if name not in names)]


def _verified(ref: DatasetRef) -> DatasetRef:
    from airflow_mlops.engines import engine_for, verify

    if not ref.resolved:
        return engine_for(ref).resolve(ref)
    verify(ref)
    return ref


def _plain_slice(value: Any) -> Any:
    return value.to_dict() if isinstance(value, SliceBy) else value


def _slices(value: Any) -> list[SliceBy]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError(f"slices must be a list of columns, bins or expressions, got {value!r}")
    found = [SliceBy.of(v) for v in value]
    names = [s.name for s in found]
    if len(set(names)) < len(names):
        raise UsageError(f"two slices have one name: {', '.join(sorted(names))}")
    return found


def _baselines(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else list(value or ())
    for name in names:
        if name not in SIMPLE:
            raise UnknownName("baseline", name, SIMPLE)
    return list(dict.fromkeys(map(str, names)))


def _names(value: Any, what: str) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError(f"{what} must be a list of columns, got {value!r}")
    return [str(v) for v in value]
