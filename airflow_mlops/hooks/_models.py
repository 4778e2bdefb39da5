"""Artifacts and models: small files of runs, and loading what a version holds."""

from __future__ import annotations

import hashlib
import json
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlops.core.errors import Conflict, ModelError
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.scoring import ScoringModel
from airflow_mlops.hooks._base import HookBase, NotFound
from airflow_mlops.hooks._records import BATCH, metric_name

if TYPE_CHECKING:
    from airflow_mlops.core.profile import Profile

PROFILES = {"training": "profile/training.json", "predictions": "profile/predictions.json"}

VOLATILE = ("run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path", "model_size_bytes")
"""Keys of an ``MLmodel`` file that differ between two equal trainings; they are no part of the digest."""

NOT_OURS = ("registered_model_meta",)
"""Files that MLflow adds when a registered version is downloaded."""


class Models(HookBase):
    """Files of runs, and the models of versions."""

    def read_text(self, run_id: str, path: str) -> str | None:
        """A text artifact of a run, or ``None`` when run or file do not exist."""
        with self.absent_is_none(), tempfile.TemporaryDirectory() as folder:
            files = self._artifacts_of(run_id)
            if all(info.path != path for info in files.list_artifacts(posixpath.dirname(path) or None)):
                return None
            return Path(files.download_artifacts(path, folder)).read_text(encoding="utf-8")
        return None

    def read_json(self, run_id: str, path: str) -> Any:
        """A JSON artifact of a run, or ``None`` when run or file do not exist."""
        text = self.read_text(run_id, path)
        return None if text is None else json.loads(text)

    def download(self, run_id: str, path: str, folder: Path) -> Path:
        """A file artifact of a run, copied into a folder.

        :raises Conflict: when it is not there: something deleted it.
        """
        with self.absent_is_none():
            files = self._artifacts_of(run_id)
            if any(info.path == path for info in files.list_artifacts(posixpath.dirname(path) or None)):
                return Path(files.download_artifacts(path, str(folder)))
        raise Conflict(f"run {run_id} has no file {path!r} any more")

    def log_text(self, run_id: str, path: str, text: str) -> None:
        """Write a text artifact into a run; one that is there is replaced."""
        with self.translating(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / posixpath.basename(path)
            file.write_text(text, encoding="utf-8")
            self.client.log_artifact(run_id, str(file), posixpath.dirname(path) or None)

    def log_json(self, run_id: str, path: str, value: Any) -> None:
        """Write plain values as a JSON artifact; NaN and infinity are refused, make them plain first."""
        self.log_text(run_id, path, json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False))

    def log_metrics(self, run_id: str, figures: Mapping[str, float]) -> None:
        """Write finite figures as metrics of a run, up to 1,000 in a request."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self.translating():
            metrics = [Metric(metric_name(k), float(v), now, 0) for k, v in figures.items()]
            for start in range(0, len(metrics), BATCH):
                self.client.log_batch(run_id, metrics[start : start + BATCH])

    def _artifacts_of(self, run_id: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = self.client.get_run(run_id).info.artifact_uri
        return get_artifact_repository(
            uri, tracking_uri=self.settings.store_uri, registry_uri=self.settings.registry_uri or None
        )

    def load_profile(
        self, version: ModelVersion, which: Literal["training", "predictions"] = "training"
    ) -> Profile | None:
        """What is remembered of the data a version was trained on, or of its predictions on the holdout."""
        from airflow_mlops.core.profile import Profile

        value = self.read_json(version.run_id, PROFILES[which]) if version.run_id else None
        return None if value is None else Profile.from_dict(value)

    def load_model(self, version: ModelVersion) -> Any:
        """The fitted estimator of a version (scikit-learn flavour), else MLflow's generic model with ``predict``.

        :raises ModelError: when its files are gone, are not the ones that were registered, or can't be loaded here.
        :raises MlflowUnavailable: when MLflow does not answer.
        """
        with self.model_files(version) as folder:
            return load_files(folder, version.label)

    def load_scoring_model(self, version: ModelVersion) -> ScoringModel:
        """The model of a version with the columns it takes, by its signature, and what training wrote down about it.

        :raises ModelError: as :meth:`load_model`, and when nothing says which columns it takes.
        """
        import yaml

        with self.model_files(version) as folder:
            estimator = load_files(folder, version.label)
            mlmodel: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text())
        inputs = json.loads((mlmodel.get("signature") or {}).get("inputs") or "[]")
        features = [c["name"] for c in inputs if "name" in c] or list(getattr(estimator, "feature_names_in_", ()))
        if not features:
            raise ModelError(f"model {version.label} has no signature with named columns; log it with one")
        described = (mlmodel.get("metadata") or {}).get("mlops") or {}
        return ScoringModel(
            estimator=estimator, features=tuple(map(str, features)), label=version.label, described=described
        )

    @contextmanager
    def model_files(self, version: ModelVersion) -> Iterator[Path]:
        """The files of a version in a temporary folder, verified against the registered digest."""
        with tempfile.TemporaryDirectory(prefix="mlops-model-") as folder:
            try:
                with self.translating():
                    uri = self.client.get_model_version_download_uri(version.name, version.version)
                    from mlflow.artifacts import download_artifacts

                    local = download_artifacts(
                        artifact_uri=uri,
                        dst_path=folder,
                        tracking_uri=self.settings.store_uri,
                        registry_uri=self.settings.registry_uri or self.settings.store_uri,
                    )
            except (NotFound, FileNotFoundError, OSError) as error:
                raise ModelError(f"the files of model {version.label} are not there: {error}") from None
            seen = model_digest(Path(local)) if version.model_digest else ""
            if seen != version.model_digest:
                raise ModelError(
                    f"the files of model {version.label} are not the ones that were registered: "
                    f"digest {seen[:12]}..., registered {version.model_digest[:12]}..."
                )
            yield Path(local)

    def link(self, what: ModelVersion | Record | str) -> str:
        """The page of a version, a record or a run in MLflow's own UI; empty where MLflow is no server."""
        if not self.settings.http:
            return ""
        if isinstance(what, ModelVersion):
            return f"{self.tracking_uri}/#/models/{what.name}/versions/{what.version}"
        run_id = what.run_id if isinstance(what, Record) else what
        if not run_id:
            return ""
        with self.absent_is_none():
            experiment = self.client.get_run(run_id).info.experiment_id
            return f"{self.tracking_uri}/#/experiments/{experiment}/runs/{run_id}"
        return ""


def load_files(folder: Path, label: str) -> Any:
    """The model in a folder: scikit-learn's estimator, else MLflow's generic model.

    :raises ModelError: whatever goes wrong; unpickling raises anything.
    """
    import yaml

    try:
        flavors = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
        if "sklearn" in flavors:
            import mlflow.sklearn

            return mlflow.sklearn.load_model(str(folder))
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        raise ModelError(f"model {label} can't be loaded: {type(error).__name__}: {error}") from error


def model_digest(folder: Path) -> str:
    """SHA-256 over a model's files, 64 hex digits: names and contents, in the order of the names.

    ``MLmodel`` enters without the ids and times that MLflow writes into it, so two equal trainings have one digest.
    """
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in NOT_OURS or "__pycache__" in name:
            continue
        content = _meaning(path) if name == "MLmodel" else path.read_bytes()
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _meaning(mlmodel: Path) -> bytes:
    import yaml

    value: Mapping[str, Any] = yaml.safe_load(mlmodel.read_text()) or {}
    return json.dumps({k: v for k, v in value.items() if k not in VOLATILE}, sort_keys=True, default=str).encode()
