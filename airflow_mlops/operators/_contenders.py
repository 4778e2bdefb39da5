"""The models that an evaluation is about: loaded, described, asked, and what the candidate's run gets of it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError, ModelError
from airflow_mlops.core.evaluation import Contender, Evaluation
from airflow_mlops.core.outputs import Outputs, Truth, features_of, outputs_of
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.hooks.mlflow import MlflowHook

WARM_UP = 3
"""Predictions of one row that are made before the timed ones."""


@dataclasses.dataclass
class Loaded:
    """A version while it is being evaluated. What goes wrong with it is kept, not raised.

    :param version: ``None``: there is none.
    :param model: ``None``: it is not there or could not be loaded.
    :param error: what went wrong.
    :param details: signature, size, latency.
    :param features: the columns of its signature, in order.
    :param positive: the class whose probability was its score in training.
    """

    version: ModelVersion | None
    model: Any = None
    error: str = ""
    details: dict[str, JSON] = dataclasses.field(default_factory=dict)
    features: tuple[str, ...] = ()
    positive: Any = None

    @property
    def label(self) -> str:
        """``name/version``."""
        return self.version.label if self.version else "no version"

    @property
    def contender(self) -> Contender:
        """What the evaluation keeps of it."""
        if self.version is None:
            return Contender(state="missing")
        return Contender(
            version=self.version.version,
            model_digest=self.version.model_digest,
            run_id=self.version.run_id,
            data_until=self.version.tag("data_until"),
            state="error" if self.error else "scored",
            error=self.error,
            details=self.details,
        )

    def say(
        self, rows: pd.DataFrame, truth: Truth, *, target: str, features: Sequence[str] = (), latency_calls: int = 0
    ) -> Outputs | None:
        """What the model says of the rows; ``None`` where it can't, with the reason in ``error``."""
        if self.model is None:
            return None
        try:
            X = features_of(self.model, rows, target=target, features=features or self.features)
            outputs = outputs_of(self.model, X, truth)
            if latency_calls:
                self.details["latency_ms"] = _latency(self.model, X, latency_calls)
        except (ModelError, DataError) as error:
            self.error = str(error)
            return None
        return outputs


def load(hook: MlflowHook, version: ModelVersion | None) -> Loaded:
    """A version's model and what its files say of it.

    :raises MlflowUnavailable: when MLflow does not answer: that says nothing about the model.
    """
    if version is None:
        return Loaded(None)
    try:
        with hook.model_files(version) as folder:
            from airflow_mlops.hooks._models import load_files

            described = _described(folder)
            return Loaded(version, load_files(folder, version.label), **described)
    except ModelError as error:
        return Loaded(version, error=str(error) or type(error).__name__)


def _described(folder: Path) -> dict[str, Any]:
    """``details``, ``features`` and ``positive`` from an MLmodel file; what it does not say is left out."""
    import yaml

    try:
        content = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        signature = content.get("signature") or {}
        inputs = json.loads(signature.get("inputs") or "[]")
        outputs = json.loads(signature.get("outputs") or "null")
        ours = (content.get("metadata") or {}).get("mlops") or {}
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    columns = {str(c["name"]): str(c.get("type")) for c in inputs if isinstance(c, Mapping) and "name" in c}
    details: dict[str, Any] = {"size_bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())}
    if columns:
        details["signature"] = {"inputs": columns, "outputs": outputs}
    return {"details": details, "features": tuple(columns), "positive": ours.get("positive")}


def _latency(model: Any, rows: pd.DataFrame, calls: int) -> dict[str, JSON]:
    """Milliseconds of predictions of one row each, cycling through the rows."""
    took = []
    for call in range(-WARM_UP, calls):
        row = rows.iloc[[call % len(rows)]]
        start = time.perf_counter()
        model.predict(row)
        took.append((time.perf_counter() - start) * 1000)
    kept = sorted(took[WARM_UP:])
    return {
        "p50": kept[(len(kept) - 1) // 2],
        "p95": kept[min(len(kept) - 1, int(0.95 * len(kept)))],
        "calls": calls,
    }


def onto_run(hook: MlflowHook, version: ModelVersion, evaluation: Evaluation, said: Outputs, truth: Truth) -> None:
    """Figures, the profile of the predictions and the calibration, onto the run that trained the candidate."""
    if not version.run_id:
        return
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.core.estimation import calibration_of
    from airflow_mlops.core.metrics import unusable
    from airflow_mlops.engines import FrameEngine

    figures = {f"holdout_{f.metric}": f.candidate for f in evaluation.metrics if f.candidate is not None}
    hook.log_metrics(version.run_id, figures)
    profile = FrameEngine(_predictions(said, truth)).profile(DatasetRef(uri="predictions", name="predictions"))
    hook.log_json(version.run_id, "profile/predictions.json", profile.to_dict())
    p = said.values.get("probabilities")
    if truth.task == "binary" and p is not None and not unusable(p, "probabilities"):
        hook.log_json(version.run_id, "calibration.json", calibration_of(p.clip(0, 1), truth.y))


def _predictions(said: Outputs, truth: Truth) -> pd.DataFrame:
    """The columns that scoring a batch writes: ``prediction``, and ``score`` of a classifier."""
    import pandas as pd

    columns: dict[str, Any] = {}
    labels, p = said.values.get("labels"), said.values.get("probabilities")
    if labels is not None:
        columns["prediction"] = [truth.classes[i] for i in labels] if truth.classes else labels
    if p is not None:
        columns["score"] = p if p.ndim == 1 else p.max(axis=1)
    elif "scores" in said.values:
        columns["score"] = said.values["scores"]
    return pd.DataFrame(columns)
