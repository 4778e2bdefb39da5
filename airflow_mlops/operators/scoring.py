"""Scoring rows with a registered model: :class:`ScoreBatchOperator`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, EmptyDataset, MlopsError, ModelError, UnknownName, UsageError
from airflow_mlops.core.records import CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON
from airflow_mlops.core.scoring import not_finite, predict, require_scorable, scoring_key
from airflow_mlops.exceptions import ScoringFailed
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators._publication import Publication
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

MISSING = ("fail", "skip")


class ScoreBatchOperator(TellsLineage, BaseOperator):
    """Score rows with a version of a model into one Parquet file, in bounded memory.

    The file has the kept columns, ``prediction``, and for a classifier ``score`` (the probability of the positive
    class); of three to a hundred classes also ``probability_<class>`` of each, which an estimate of the performance
    needs. Its footer says which model, digest and rows made it. It appears whole or not at all: a killed try, a full
    disk or a failing model leave what was there before. The same model and rows a second time find the file and score
    nothing; another model or other rows replace it at once.

    Returns ``{"data", "model_name", "version", "model_digest", "rows", "not_finite", "created", "key", "input"}``:
    ``data`` is the reference to the predictions, ``input`` the one to the rows.

    :param model_name: the registered model. (templated)
    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. Columns that the model does not take are ignored. (templated)
    :param destination: a path or URI that ends in ``.parquet``, or a folder for ``predictions.parquet``. (templated)
    :param version: the version; empty: the one that ``alias`` points at. (templated)
    :param alias: the alias. (templated)
    :param columns_to_keep: columns of the rows that go into the file, such as keys. (templated)
    :param class_probabilities: whether the columns ``probability_<class>`` of several classes are written.
    :param batch_rows: how many rows are in memory at a time.
    :param on_missing_model: ``fail`` or ``skip`` while there is no such version.
    :param allow_not_finite: publish although predictions are missing or infinite; they are counted either way.
    :param destination_conn_id: the Airflow connection of the destination's object store. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises ScoringFailed: not retried: no model, a model that can't be loaded or can't score these rows, columns that
        are missing, predictions that are not finite.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises OSError: retried: a full disk.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "data",
        "destination",
        "version",
        "alias",
        "columns_to_keep",
        "destination_conn_id",
        "mlflow_conn_id",
    )
    ui_color = "#f7f0dc"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        model_name: str,
        data: Any,
        destination: str,
        version: str = "",
        alias: str = CHAMPION,
        columns_to_keep: Sequence[str] = (),
        class_probabilities: bool = True,
        batch_rows: int = 100_000,
        on_missing_model: str = "fail",
        allow_not_finite: bool = False,
        destination_conn_id: str = "",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.destination = destination
        self.version = version
        self.alias = alias
        self.columns_to_keep = columns_to_keep
        self.class_probabilities = class_probabilities
        self.batch_rows = batch_rows
        self.on_missing_model = on_missing_model
        self.allow_not_finite = allow_not_finite
        self.destination_conn_id = destination_conn_id
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Find the file that these inputs have already made, or make it."""
        report: dict[str, Any] = {"model_name": self.model_name, "version": None, "data": None}
        try:
            self._validate()
            version = self._version()
            if version is None:
                return self._without_model(context, report)
            report |= {"version": version.version, "model_digest": version.model_digest}
            return self._score(context, version, report)
        except DatasetNotFound:
            raise
        except MlopsError as error:
            published = publish(context, {**report, "error": {"type": type(error).__name__, "message": str(error)}})
            raise ScoringFailed(f"scoring with {self.model_name!r} failed: {error}", published) from error

    def _validate(self) -> None:
        if self.on_missing_model not in MISSING:
            raise UnknownName("on_missing_model", self.on_missing_model, MISSING)
        if not self.destination:
            raise UsageError("destination is empty: name the file or folder of the predictions")
        if self.batch_rows < 1:
            raise UsageError(f"batch_rows must be at least 1, got {self.batch_rows}")

    def _version(self) -> ModelVersion | None:
        found = (
            self.hook.version(self.model_name, self.version)
            if self.version
            else self.hook.by_alias(self.model_name, self.alias)
        )
        if found is not None and not found.ready:
            raise ModelError(f"model {found.label} is not ready: {found.status}")
        return found

    def _without_model(self, context: Context, report: dict[str, Any]) -> dict[str, JSON]:
        which = f"version {self.version}" if self.version else f"alias {self.alias!r}"
        published = publish(context, report)
        message = f"there is no {which} of model {self.model_name!r}"
        if self.on_missing_model == "skip":
            raise AirflowSkipException(message)
        raise ScoringFailed(f"{message}; promote one first", published)

    def _score(self, context: Context, version: ModelVersion, report: dict[str, Any]) -> dict[str, JSON]:
        from airflow_mlops.engines import engine_for, verify

        given = data_of(self.data)
        engine = engine_for(given)
        if given.resolved:
            verify(given)
            data = given
        else:
            data = engine.resolve(given)
        if not data.rows:
            raise EmptyDataset(f"{data.label} has no rows to score")
        report["input"] = data.to_dict()
        keep = tuple(self.columns_to_keep)
        key = scoring_key(
            version.name, version.version, version.model_digest, data.digest, keep, self.class_probabilities
        )
        target = Publication(self.destination, self.destination_conn_id)
        facts = target.metadata()
        created = facts.get("mlops.key") != key
        if created:
            facts = self._write(target, engine, version, data, key, keep, report)
        else:
            self.log.info("%s is there already, from the same model and rows; nothing is scored", target.uri)
        predictions = DatasetRef(
            uri=target.uri, conn_id=self.destination_conn_id, name=f"predictions of {version.label}"
        )
        result = {
            **report,
            "data": engine_for(predictions).resolve(predictions).to_dict(),
            "rows": data.rows,
            "not_finite": int(facts["mlops.not_finite"]),
            "created": created,
            "key": key,
        }
        self._record(context, version, result)
        return publish(context, result)

    def _write(
        self,
        target: Publication,
        engine: Any,
        version: ModelVersion,
        data: DatasetRef,
        key: str,
        keep: tuple[str, ...],
        report: dict[str, Any],
    ) -> dict[str, str]:
        model = self.hook.load_scoring_model(version)
        require_scorable(model, list(data.schema), keep, data.label)
        columns = dict.fromkeys([*model.features, *keep])
        bad = 0
        with target.writing() as writer:
            for batch in engine.batches(data.select(*columns), self.batch_rows):
                predictions = predict(model, batch, keep, probabilities=self.class_probabilities)
                bad += not_finite(predictions)
                writer.write(predictions)
            report |= {"rows": writer.rows, "not_finite": bad}
            if bad and not self.allow_not_finite:
                raise ModelError(
                    f"{version.label} has no finite prediction for {bad} of {writer.rows} rows; nothing was published"
                )
            if writer.rows != data.rows:
                raise ModelError(
                    f"{data.label} had {data.rows} rows when it was resolved and {writer.rows} when it was read"
                )
            facts = {
                "mlops.key": key,
                "mlops.model": version.name,
                "mlops.version": version.version,
                "mlops.model_digest": version.model_digest,
                "mlops.input_digest": data.digest,
                "mlops.not_finite": str(bad),
            }
            writer.describe(facts)
        self.log.info("%s scored %d rows into %s", version.label, writer.rows, target.uri)
        if bad:
            self.log.warning("%d of %d predictions are not finite", bad, writer.rows)
        return facts

    def _record(self, context: Context, version: ModelVersion, result: dict[str, Any]) -> None:
        record = Record(
            kind="scoring",
            model=version.name,
            key=result["key"],
            outcome="scored",
            subject=version.version,
            at=time_of(context),
            body=result,
            metrics={"rows": result["rows"], "not_finite": result["not_finite"]},
            backfill=is_backfill(context),
        )
        self.hook.record(record, dag_run=run_of(context))
