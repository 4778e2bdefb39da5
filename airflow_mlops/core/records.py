"""What the registry and the ledger hold, as values: :class:`ModelVersion` and :class:`Record`.

MLflow is the record. A *record* is an append-only MLflow run in the model's experiment: one per decision, check or
evaluation, found again by its key. A *model version* is a row of MLflow's registry with the tags this package keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from airflow_mlops.core.results import JSON, Decision, Report, digest, finite, plain

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS_CHAMPION = "previous_champion"

TAG = "mlops."
"""Prefix of every tag of this package, on runs and on versions."""

KINDS = (
    "training",
    "evaluation",
    "validation",
    "gate",
    "approval",
    "promotion",
    "rollback",
    "drift",
    "performance",
    "retraining",
    "scoring",
    "watch",
    "shadow",
    "drill",
    "evaluation_set",
)
"""The kinds of records, each the noun of one stage of the lifecycle."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a registered model.

    :param name: the registered model.
    :param version: its version as text; MLflow gives int or text depending on the store.
    :param run_id: the training run.
    :param source: the model's URI, loadable by MLflow.
    :param status: ``READY`` or what MLflow says instead.
    :param aliases: the aliases that point at it.
    :param tags: all tags; this package's begin with ``mlops.``.
    :param created_at: milliseconds since 1970, UTC, by MLflow's clock.

    The tags this package keeps: ``mlops.training_key`` (what a repeated training is recognised by),
    ``mlops.data_digest``, ``mlops.data_until`` (the newest data it saw, comparable as text),
    ``mlops.model_digest`` (SHA-256 over the model's files), ``mlops.gate`` (the verdict's record),
    ``mlops.pinned`` (why it must not be promoted again).
    """

    name: str
    version: str
    run_id: str = ""
    source: str = ""
    status: str = "READY"
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    created_at: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", str(self.version))
        object.__setattr__(self, "aliases", tuple(self.aliases))
        object.__setattr__(self, "tags", dict(self.tags))

    @property
    def label(self) -> str:
        """``name/version``."""
        return f"{self.name}/{self.version}"

    @property
    def ready(self) -> bool:
        """Whether MLflow says it can be used."""
        return self.status == "READY"

    def tag(self, name: str) -> str:
        """This package's tag, without its prefix; empty when absent."""
        return self.tags.get(TAG + name, "")

    @property
    def model_digest(self) -> str:
        """SHA-256 over the model's files, as logged; what an approver was shown and a promotion verifies."""
        return self.tag("model_digest")

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One entry of a model's ledger.

    :param kind: one of :data:`KINDS`.
    :param model: the registered model's name, or the dataset's where no model is concerned.
    :param key: what makes it the same record again: a digest of its inputs. Never a run id or a date.
    :param outcome: one word: ``passed``, ``failed``, ``insufficient_data``, ``error``, ``retrain``, ``promoted`` ...
    :param body: the decision, report or evaluation as a dict.
    :param metrics: finite figures that are logged as MLflow metrics, so that they chart over time.
    :param subject: the model version or the partition that it is about.
    :param at: ISO time, UTC, of the data it is about or of the event; what the ledger is sorted by.
    :param backfill: written by a replay of history; triggers nothing.
    :param run_id: MLflow's run, once stored.
    """

    kind: str
    model: str
    key: str
    outcome: str
    body: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    subject: str = ""
    at: str = ""
    backfill: bool = False
    run_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", plain(self.body))
        known = {str(k): number for k, v in self.metrics.items() if (number := finite(v)) is not None}
        object.__setattr__(self, "metrics", known)

    @classmethod
    def of_decision(cls, decision: Decision, *, subject: str = "", at: str = "", backfill: bool = False) -> Self:
        """The record of a decision."""
        return cls(
            kind=decision.kind,
            model=decision.model,
            key=decision.key,
            outcome=decision.decision,
            body=decision.to_dict(),
            subject=subject,
            at=at,
            backfill=backfill,
        )

    @classmethod
    def of_report(
        cls,
        report: Report,
        *,
        model: str,
        subject: str = "",
        at: str = "",
        metrics: Mapping[str, float] | None = None,
        backfill: bool = False,
    ) -> Self:
        """The record of a report; its key is kind, model and the digests of the inputs."""
        return cls(
            kind=report.kind,
            model=model,
            key=digest(report.kind, model, report.inputs),
            outcome=str(report.status),
            body=report.to_dict(),
            metrics=metrics or {},
            subject=subject or report.subject,
            at=at,
            backfill=backfill,
        )

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**value)
