"""The models that an evaluation is about: described, asked in processes of their own, and what a run gets of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError, ModelError, UsageError
from airflow_mlops.core.evaluation import Contender, Evaluation
from airflow_mlops.core.metrics import Metric
from airflow_mlops.core.outputs import Outputs, Truth, classes_of, outputs_of
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON
from airflow_mlops.operators._asking import Answer, Question, answer_of
from airflow_mlops.operators._child import Limits
from airflow_mlops.operators._findings import places
from airflow_mlops.operators._spool import in_memory

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.hooks.mlflow import MlflowHook
    from airflow_mlops.operators._spool import Rows

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking:
    """What every model is asked, and the candidate besides.

    :param rows: the rows that have a label.
    :param target: the column with it.
    :param features: the columns that are given to the models; empty: those each was trained on.
    :param latency_calls: predictions of one row that are timed.
    :param limits: what a model may take.
    :param again: places of rows that the candidate is asked of once more, loaded again.
    :param shuffled: places of rows on which each of its columns is shuffled.
    :param repeats: how often.
    :param seed: of the shuffling.
    """

    rows: Rows
    target: str
    features: tuple[str, ...] = ()
    latency_calls: int = 0
    limits: Limits = dataclasses.field(default_factory=Limits)
    again: tuple[int, ...] = ()
    shuffled: tuple[int, ...] = ()
    repeats: int = 5
    seed: int = 0


@dataclasses.dataclass
class Asked:
    """A version that was asked. What went wrong with it is kept, not raised.

    :param version: ``None``: there is none.
    :param error: what went wrong.
    :param details: signature, size, latency, parity.
    :param features: the columns of its signature, in order.
    :param positive: the class whose probability was its score in training.
    :param answer: what it said of the rows; ``None``: nothing.
    :param again: what it said, loaded again, of a few of them.
    """

    version: ModelVersion | None
    error: str = ""
    details: dict[str, JSON] = dataclasses.field(default_factory=dict)
    features: tuple[str, ...] = ()
    positive: Any = None
    answer: Answer | None = None
    again: Answer | None = None

    @property
    def label(self) -> str:
        """``name/version``."""
        return self.version.label if self.version else "no version"

    @property
    def classes(self) -> list[Any]:
        """The classes it knows."""
        return classes_of(self.answer.model) if self.answer else []

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

    def say(self, rows: Rows, truth: Truth) -> Outputs | None:
        """What the model said of the rows, as metrics take it; ``None`` where it can't: ``error`` says why."""
        if self.answer is None:
            return None
        try:
            return outputs_of(self.answer.model, rows, truth)  # it only counts them: the model has spoken
        except ModelError as error:
            self.error = str(error)
            return None

    def compare(self, said: Outputs, asking: Asking, truth: Truth) -> None:
        """Into ``details``: whether it said the same again."""
        from airflow_mlops.core.examination import parity

        if self.again is None:
            return
        few, some = _part(asking.again, asking.rows, truth)
        try:
            self.details["parity"] = parity(said, outputs_of(self.again.model, few, some), asking.again)
        except ModelError as error:
            self.details["parity"] = {"error": str(error)}

    def importances(
        self, metric: Metric, said: Outputs, asking: Asking, truth: Truth, queries: Any = None
    ) -> dict[str, JSON]:
        """What each column does for it; empty where nothing was shuffled.

        :param queries: which query each row belongs to; ``None``: not known.
        """
        from airflow_mlops.core.examination import importances

        if self.answer is None or not self.answer.columns:
            return {}
        if self.answer.unfinished:
            return {"metric": metric.name, "features": [], "error": self.answer.unfinished}
        few, some = _part(asking.shuffled, asking.rows, truth)
        at = list(asking.shuffled)
        whole = Outputs(values={k: v[at] for k, v in said.values.items()}, missing=said.missing)
        try:
            without = {c: [outputs_of(m, few, some) for m in each] for c, each in self.answer.without.items()}
        except ModelError as error:
            return {"metric": metric.name, "features": [], "error": str(error)}
        numbers = None if queries is None else queries.iloc[at].factorize()[0]
        return importances(metric, some.y, whole, without, repeats=asking.repeats, queries=numbers)


def _part(places: Sequence[int], rows: Rows, truth: Truth) -> tuple[pd.DataFrame, Truth]:
    return rows.take(places), dataclasses.replace(truth, y=truth.y[list(places)])


def ask(hook: MlflowHook, version: ModelVersion | None, asking: Asking, *, closely: bool = False) -> Asked:
    """A version's model asked in a process of its own, and what its files say of it.

    :param closely: once more after a reload, and with its columns shuffled: the candidate.
    :raises MlflowUnavailable: when MLflow does not answer: that says nothing about the model.
    """
    if version is None:
        return Asked(None)
    one = Asked(version)
    try:
        with hook.model_files(version) as files:
            for name, value in _described(files).items():
                setattr(one, name, value)
            question = Question(
                files=files,
                label=version.label,
                rows=asking.rows,
                target=asking.target,
                features=asking.features or one.features,
                latency_calls=asking.latency_calls,
                shuffled=asking.shuffled if closely else (),
                repeats=asking.repeats,
                seed=asking.seed,
            )
            one.answer = _answer(question, asking.limits)
            if one.answer.latency:
                one.details["latency_ms"] = one.answer.latency
            if closely and asking.again:
                few = in_memory(asking.rows.take(asking.again))
                try:
                    once_more = dataclasses.replace(question, rows=few, latency_calls=0, shuffled=())
                    one.again = _answer(once_more, asking.limits)
                except (ModelError, DataError) as error:
                    one.details["parity"] = {"error": str(error)}
    except (ModelError, DataError) as error:
        one.error = str(error) or type(error).__name__
    return one


def _answer(question: Question, limits: Limits) -> Answer:
    with tempfile.TemporaryDirectory(prefix="mlops-answer-") as folder:
        return answer_of(question, Path(folder), limits)


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


def onto_run(
    hook: MlflowHook,
    version: ModelVersion,
    evaluation: Evaluation,
    said: Outputs,
    truth: Truth,
    rows: Rows,
    inputs: Sequence[str],
) -> None:
    """Figures, the profile of the predictions and the calibration, onto the run that trained the candidate.

    :param rows: a row for each of ``truth``.
    :param inputs: the columns of it that the candidate was asked with.
    """
    if not version.run_id:
        return
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.core.estimation import calibration_of
    from airflow_mlops.core.evaluation_metrics import metrics_of_evaluation
    from airflow_mlops.core.metrics import unusable
    from airflow_mlops.engines import FrameEngine

    figures = metrics_of_evaluation(evaluation)
    own = {f.metric + end for f in evaluation.metrics for end in ("", "_lower", "_upper")}
    hook.log_metrics(version.run_id, {f"holdout_{name}": v for name, v in figures.items() if name in own})
    profile = FrameEngine(_predictions(said, truth)).profile(DatasetRef(uri="predictions", name="predictions"))
    hook.log_json(version.run_id, "profile/predictions.json", profile.to_dict())
    p = said.values.get("probabilities")
    if truth.task == "binary" and p is not None and not unusable(p, "probabilities"):
        hook.log_json(version.run_id, "calibration.json", calibration_of(p.clip(0, 1), truth.y))
    if truth.task == "multiclass" and p is not None and not unusable(p, "probabilities"):
        _log_class_calibration(hook, version, p, truth)
    numbers = said.values.get("labels")
    if truth.task == "regression" and numbers is not None:
        _log_loss_calibration(hook, version, rows, inputs, numbers, truth)


def _log_class_calibration(hook: MlflowHook, version: ModelVersion, probabilities: Any, truth: Truth) -> None:
    """What the probabilities of several classes are worth, onto the version's run; a class without rows: nothing."""
    from airflow_mlops.core.estimation_classes import class_calibration_of
    from airflow_mlops.core.results import plain
    from airflow_mlops.core.scoring import probability_column

    try:
        kept = class_calibration_of(probabilities, truth.y)
    except (DataError, UsageError) as error:
        log.warning("no estimate of performance will be possible for %s: %s", version.label, error)
        return
    columns = {"labels": plain(list(truth.classes)), "inputs": [probability_column(c) for c in truth.classes]}
    hook.log_json(version.run_id, "calibration.json", {**kept, **columns})


def _log_loss_calibration(
    hook: MlflowHook, version: ModelVersion, rows: Rows, inputs: Sequence[str], said: Any, truth: Truth
) -> None:
    """What the loss of a regressor depends on, onto its run; too few rows, or a prediction that is none: nothing."""
    from airflow_mlops.core.estimation_loss import MOST_ROWS, loss_calibration_of

    at = places(len(rows), MOST_ROWS, 0)
    try:
        kept = loss_calibration_of(rows.take(at)[list(inputs)], said[list(at)], truth.y[list(at)])
    except (DataError, UsageError) as error:
        log.warning("no estimate of performance will be possible for %s: %s", version.label, error)
        return
    hook.log_json(version.run_id, "calibration.json", kept)


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
