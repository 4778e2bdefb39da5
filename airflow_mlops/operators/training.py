"""Training a model into MLflow: :class:`TrainModelOperator`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DatasetNotFound, MlopsError
from airflow_mlops.core.moments import end_of
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, digest
from airflow_mlops.core.training import TrainingConfig, describe_model, fit, training_key, training_rows
from airflow_mlops.exceptions import TrainingFailed
from airflow_mlops.operators._code import code_version
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

TRAINED = "trained"


class TrainModelOperator(TellsLineage, BaseOperator):
    """Train a model on exactly these rows, once, into a registered version with the alias ``challenger``.

    The run in MLflow has the parameters, the figures of the fit, the dataset with its digest, the model with
    signature, example and pinned requirements, the code's version and the profile of the training data, which drift
    is judged against later. The same model, rows and configuration a second time return the version that is there;
    nothing is fitted. A task that was killed anywhere and is retried ends with one version.

    Returns ``{"model_name", "version", "run_id", "created", "training_key", "data", "data_until", "model_digest",
    "metrics"}``; ``data`` is the resolved reference.

    :param model_name: the registered model. (templated)
    :param train: a function ``(X, y, **train_params)`` that returns a fitted estimator, or an estimator.
    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's
        whole result. One that was resolved upstream must still have the same content. (templated)
    :param target: the column to learn; rows without it are left out and counted. (templated)
    :param features: the columns to learn from, in order; empty: all but the target. (templated)
    :param train_params: for the function, or set on the estimator. (templated)
    :param param_grid: parameter -> values: an estimator is searched over them with folds that never look ahead.
    :param scoring: scikit-learn's name of what the search maximises; empty: the estimator's own score.
    :param folds: of the search.
    :param time_column: rows are put in its order first; not a feature unless listed as one. (templated)
    :param problem: ``classification`` or ``regression``.
    :param positive_label: the class whose probability is the score; ``None``: the greater of two.
    :param requirements: pip requirements of the model; ``None``: the installed versions of the packages it uses.
    :param code_version: empty: the DAG bundle's version, else the git commit the function's file is at. (templated)
    :param data_until: the newest data that was seen, as text that sorts by time, such as an ISO date; a promotion
        compares it. Empty: the last value of ``time_column``. (templated)
    :param tags: of the run and the version, as they are. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises TrainingFailed: not retried: rows that can't be learned from, or a function that raised.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "data",
        "target",
        "features",
        "train_params",
        "time_column",
        "code_version",
        "data_until",
        "tags",
        "mlflow_conn_id",
    )
    ui_color = "#e3e9f7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        model_name: str,
        train: Any,
        data: Any,
        target: str,
        features: Sequence[str] = (),
        train_params: Mapping[str, Any] | None = None,
        param_grid: Mapping[str, Sequence[Any]] | None = None,
        scoring: str = "",
        folds: int = 4,
        time_column: str = "",
        problem: str = "classification",
        positive_label: Any = None,
        requirements: Sequence[str] | None = None,
        code_version: str = "",
        data_until: str = "",
        tags: Mapping[str, str] | None = None,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.train = train
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.target = target
        self.features = features
        self.train_params = train_params
        self.param_grid = param_grid
        self.scoring = scoring
        self.folds = folds
        self.time_column = time_column
        self.problem = problem
        self.positive_label = positive_label
        self.requirements = requirements
        self.code_version = code_version
        self.data_until = data_until
        self.tags = tags
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Find the version these inputs have already made, or make it."""
        key = ""
        try:
            config = self.configuration()
            data = _resolved(data_of(self.data))
            config.columns(list(data.schema))
            key = training_key(self.model_name, data.digest, config)
            version = self.hook.find_version(self.model_name, key)
            created = version is None
            if version is None:
                # A run that finished, in a try that was killed before it registered the version, is as good as new.
                record = self.hook.find_record(self.model_name, "training", key)
                record = record or self._train(context, config, data, key)
                version = self.hook.register(record, self._version_tags(record))
            else:
                record = self.hook.find_record_by_run(version.run_id) or Record(
                    kind="training", model=self.model_name, key=key, outcome=TRAINED
                )
                self.log.info("%s was trained on these inputs before; nothing is fitted", version.label)
        except DatasetNotFound:
            raise
        except MlopsError as error:
            raise self._failed(context, key, error) from error
        moved = self.hook.challenge(version)
        self.log.info("%s is %s challenger", version.label, "now the" if moved else "as before, or no longer the")
        return publish(
            context,
            {
                "model_name": self.model_name,
                "version": version.version,
                "run_id": version.run_id,
                "created": created,
                "training_key": key,
                "data": data.to_dict(),
                "data_until": version.tag("data_until"),
                "model_digest": version.model_digest,
                "metrics": record.metrics,
            },
        )

    def configuration(self) -> TrainingConfig:
        """Everything the training is a function of, except the rows; from rendered arguments."""
        return TrainingConfig(
            train=self.train,
            target=self.target,
            features=tuple(self.features) if not isinstance(self.features, str) else self.features,
            params=self.train_params or {},
            param_grid=self.param_grid,
            scoring=self.scoring,
            folds=self.folds,
            time_column=self.time_column,
            problem=self.problem,
            positive_label=self.positive_label,
        )

    def _train(self, context: Context, config: TrainingConfig, data: DatasetRef, key: str) -> Record:
        from airflow_mlops.engines import engine_for

        engine = engine_for(data)
        columns = config.columns(list(data.schema))
        frame = engine.read(data.select(*columns))
        rows = training_rows(frame, config, label=data.label)
        fitted = fit(rows, config)
        self.log.info(
            "fitted a %s on %d rows in %.1f s (%d rows without label left out)",
            type(fitted.estimator).__name__,
            len(rows.X),
            fitted.seconds,
            rows.unlabelled,
        )
        profiled = [c for c in columns if c != config.time_column or c in config.features]
        version = self.code_version or code_version(context, self.train)
        until = self.data_until or (_newest(frame, config.time_column) if config.time_column else "")
        described = describe_model(fitted.estimator, config)
        record = Record(
            kind="training",
            model=self.model_name,
            key=key,
            outcome=TRAINED,
            at=time_of(context) or until,
            backfill=is_backfill(context),
            metrics={
                "rows": len(rows.X),
                "features": rows.X.shape[1],
                "unlabelled_rows": rows.unlabelled,
                "fit_seconds": fitted.seconds,
                **fitted.metrics,
            },
            body={
                "training_key": key,
                "data": data.to_dict(),
                "data_until": until,
                "config": config.describe(),
                "code_version": version,
                "described": described,
                "best_params": {k: str(v) for k, v in fitted.best_params.items()},
            },
        )
        profile = engine.profile(data, columns=profiled)
        self.remember_profile(profile)
        return self.hook.log_training(
            record,
            estimator=fitted.estimator,
            X=rows.X,
            data=data,
            params=_params(config, fitted.estimator),
            profile=profile,
            requirements=self.requirements,
            described=described,
            tags={
                **(self.tags or {}),
                "mlflow.source.type": "JOB",
                "mlflow.source.name": f"{self.dag_id}.{self.task_id}",
                **({"mlflow.source.git.commit": version} if version else {}),
            },
            dag_run=run_of(context),
        )

    def _version_tags(self, record: Record) -> dict[str, str]:
        body: Any = record.body
        described = body.get("described", {})
        known = {
            "data_digest": body["data"]["digest"],
            "data_until": body["data_until"],
            "code_version": body["code_version"],
            "config_digest": digest(body["config"]),
            "target": self.target,
            "problem": self.problem,
            "positive": described.get("positive"),
        }
        return {
            **{f"mlops.{k}": str(v) for k, v in known.items() if v not in (None, "")},
            **{k: str(v) for k, v in (self.tags or {}).items()},
        }

    def _failed(self, context: Context, key: str, error: MlopsError) -> TrainingFailed:
        """The failure, after it is in XCom and, where the rows could be read, in the ledger."""
        report = {
            "model_name": self.model_name,
            "version": None,
            "created": False,
            "training_key": key,
            "error": {"type": type(error).__name__, "message": str(error)},
        }
        published = publish(context, report)
        if key:
            failed = Record(
                kind="training",
                model=self.model_name,
                key=f"{key}-failed",
                outcome="failed",
                at=time_of(context),
                body=published,
                backfill=is_backfill(context),
            )
            self.hook.record(failed, dag_run=run_of(context))
        return TrainingFailed(f"training of {self.model_name!r} failed: {error}", published)


def _resolved(ref: DatasetRef) -> DatasetRef:
    """The reference with digest and schema; one that had a digest must still have it."""
    from airflow_mlops.engines import engine_for

    now = engine_for(ref).resolve(
        ref if not ref.resolved else dataclasses.replace(ref, digest="", rows=None, schema={})
    )
    if ref.resolved and now.digest != ref.digest:
        raise Conflict(
            f"{ref.label} changed since it was resolved upstream: {ref.digest[:12]}..., now {now.digest[:12]}...; "
            "run the tasks before this one again"
        )
    return now


def _newest(frame: Any, column: str) -> str:
    """The newest time in the column as text; empty where it holds none: nobody knows how new the data is."""
    newest = frame[column].max()
    text = newest.isoformat() if hasattr(newest, "isoformat") else str(newest)
    return text if end_of(text) else ""


def _params(config: TrainingConfig, estimator: Any) -> dict[str, str]:
    """What MLflow shows as parameters: what was asked for, and the estimator's own scalars."""
    asked = {k: str(v) for k, v in config.params.items()}
    own: dict[str, Any] = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    scalars = {k: str(v) for k, v in own.items() if v is None or isinstance(v, bool | int | float | str)}
    name = getattr(config.train, "__qualname__", type(config.train).__name__)
    return {
        **dict(list(scalars.items())[:200]),
        **asked,
        "train": name,
        "estimator": type(estimator).__name__,
        "target": config.target,
        "problem": config.problem,
    }
