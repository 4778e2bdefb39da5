"""Writing a training: the run, its inputs, the model and the registered version.

The order makes a crash at any point harmless. Everything of a run is written before the run is ``FINISHED``, and only
a finished run is ever found; a version is created from a finished run in one request, with its tags.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.portable import requirements_of, self_contained
from airflow_mlops.core.records import CHALLENGER, ModelVersion, Record
from airflow_mlops.core.results import JSON
from airflow_mlops.hooks._datasets import dataset_input
from airflow_mlops.hooks._models import PROFILES, Models, model_digest
from airflow_mlops.hooks._records import BODY_TAG_LIMIT, Records, record_tags
from airflow_mlops.hooks._registry import Registry, prefixed

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.core.profile import Profile

EXAMPLE_ROWS = 5
PARAM_LIMIT = 6000
READY_WITHIN = 60
"""Seconds that a registry may take to copy a model before a new version counts as failed."""


class Training(Models, Records, Registry):
    """What :class:`~airflow_mlops.operators.training.TrainModelOperator` writes."""

    def log_training(
        self,
        record: Record,
        *,
        estimator: Any,
        X: pd.DataFrame,
        data: DatasetRef,
        params: Mapping[str, str],
        profile: Profile | None = None,
        requirements: Sequence[str] | None = None,
        described: Mapping[str, JSON] | None = None,
        tags: Mapping[str, str] | None = None,
        dag_run: Mapping[str, JSON] | None = None,
    ) -> Record:
        """Write a whole training as one finished run.

        :param record: of kind ``training``; its body gets a key ``model`` with the model's uri, digest and size.
        :param X: what it was fitted on; gives the signature and a small example.
        :param data: the resolved reference; becomes the run's dataset input.
        :param params: logged as parameters, cut at MLflow's limit.
        :param profile: what is remembered of the data.
        :param requirements: pip requirements; ``None``: derived from the packages the model's classes come from.
        :param described: what readers of its predictions must know; kept in the model's metadata under ``mlops``.
        :param tags: further tags of the run, as they are.
        :param dag_run: who trained.
        """
        self.bury(record.model, record.kind, record.key)
        with self.translating():
            run = self.client.create_run(
                self.experiment_id(record.model),
                tags={**record_tags(dataclasses.replace(record, body={}), dag_run or {}), **(tags or {})},
                run_name=f"training {record.key[:8]}",
            )
        run_id = run.info.run_id
        artifacts = _profile(profile) if profile else {}
        with self.failing(run_id):
            self._log_inputs(run_id, params, data)
            model = self.log_model(run_id, record.model, estimator, X=X, requirements=requirements, described=described)
            record = dataclasses.replace(record, body={**record.body, "model": model}, run_id=run_id)
            self.write(run_id, record, artifacts)
            self._finish(record)
        return record

    def _log_inputs(self, run_id: str, params: Mapping[str, str], data: DatasetRef) -> None:
        with self.translating():
            from mlflow.entities import Param

            given = [Param(k, v[:PARAM_LIMIT]) for k, v in params.items()]
            for i in range(0, len(given), 100):
                self.client.log_batch(run_id, params=given[i : i + 100])
            self.client.log_inputs(run_id, [dataset_input(data, "training")])

    def _finish(self, record: Record) -> None:
        with self.translating():
            body = json.dumps(record.body, sort_keys=True, ensure_ascii=False, allow_nan=False)
            if len(body) <= BODY_TAG_LIMIT:
                self.client.set_tag(record.run_id, prefixed("body"), body)
            else:  # the empty one that the run began with would be taken for the whole
                self.client.delete_tag(record.run_id, prefixed("body"))
            self.client.set_terminated(record.run_id, "FINISHED")

    def log_model(
        self,
        run_id: str,
        name: str,
        estimator: Any,
        *,
        X: pd.DataFrame,
        requirements: Sequence[str] | None = None,
        described: Mapping[str, JSON] | None = None,
    ) -> dict[str, JSON]:
        """Log a fitted estimator as a model of a run: an ordinary MLflow model with scikit-learn and pyfunc flavours.

        The project's own classes and functions travel inside it. Requirements are given, never guessed by reloading
        the model in a subprocess.

        :return: ``{"uri", "model_id", "digest", "bytes", "requirements"}``.
        :raises ModelError: when it can't be pickled or not be loaded again.
        """
        with (
            self.translating(),
            tempfile.TemporaryDirectory(prefix="mlops-model-") as folder,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # integer columns without missing values, and the like
            logging.getLogger("mlflow.sklearn").setLevel(logging.ERROR)  # it warns of pickle at every save
            import mlflow.sklearn
            from mlflow.entities import LoggedModelOutput
            from mlflow.models import Model, infer_signature

            example = X.head(EXAMPLE_ROWS)
            signature = infer_signature(X, estimator.predict(example))
            with self_contained(estimator) as modules:
                needed = list(requirements) if requirements is not None else requirements_of(modules)
                run = self.client.get_run(run_id)
                logged = self.client.create_logged_model(
                    run.info.experiment_id, name=_model_name(name), source_run_id=run_id, model_type="sklearn"
                )
                path = Path(folder) / "model"
                mlflow.sklearn.save_model(
                    estimator,
                    path,
                    mlflow_model=Model(
                        artifact_path=logged.artifact_location,
                        model_uuid=logged.model_id,
                        run_id=run_id,
                        model_id=logged.model_id,
                    ),
                    serialization_format="cloudpickle",
                    signature=signature,
                    input_example=example,
                    pip_requirements=list(needed),
                    metadata={"mlops": dict(described)} if described else None,
                )
            digest = model_digest(path)
            size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
            self.client.log_model_artifacts(logged.model_id, str(path))
            self.client.set_logged_model_tags(logged.model_id, {prefixed("model_digest"): digest})
            self.client.finalize_logged_model(logged.model_id, "READY")
            self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return {
            # A database store resolves models:/<id> through MLflow's global tracking URI, which is not ours.
            "uri": f"models:/{logged.model_id}" if self.settings.http else logged.artifact_location,
            "model_id": logged.model_id,
            "digest": digest,
            "bytes": size,
            "requirements": list(needed),
        }

    def register(self, record: Record, tags: Mapping[str, str]) -> ModelVersion:
        """A version of the registered model from a finished training run; the same training is registered once.

        :param record: as :meth:`log_training` returned it.
        :param tags: further tags of the version, as they are.
        :return: the version; of two that were created at once, the older, and the other is tagged as its duplicate.
        """
        found = self.find_version(record.model, record.key)
        if found is not None:
            return found
        model: Any = record.body["model"]
        self.ensure_model(record.model)
        with self.translating():
            created = self.client.create_model_version(
                record.model,
                source=model["uri"],
                run_id=record.run_id,
                tags={
                    prefixed("training_key"): record.key,
                    prefixed("model_digest"): model["digest"],
                    **tags,
                },
                await_creation_for=READY_WITHIN,
                model_id=model["model_id"],
            )
        version = self.find_version(record.model, record.key)
        if version is not None and version.version != str(created.version):
            self.tag_version(record.model, created.version, {"duplicate_of": version.version})
            return version
        return version or ModelVersion(name=record.model, version=str(created.version), run_id=record.run_id)

    def challenge(self, version: ModelVersion) -> bool:
        """Make a version the challenger, unless it is already or a newer one is.

        A training that is repeated finds an old version; the challenger of today stays.

        :return: whether the alias moved.
        """
        current = self.by_alias(version.name, CHALLENGER)
        if current is not None and int(current.version) >= int(version.version):
            return False
        self.set_alias(version.name, CHALLENGER, version.version)
        return True


def _model_name(name: str) -> str:
    """``name`` without the characters that MLflow refuses in the name of a logged model."""
    return "".join("_" if c in "/:.%\"'" else c for c in name)


def _profile(profile: Profile) -> dict[str, str]:
    """The profile as it is read again, and as a picture for people."""
    from airflow_mlops.pages import profile_page

    plain, path = profile.to_dict(), PROFILES["training"]
    picture = f"{path.removesuffix('.json')}.html"
    return {path: json.dumps(plain, allow_nan=False), picture: profile_page(plain)}
