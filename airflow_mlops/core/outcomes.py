"""How promotions and rollbacks end, as values: :class:`Outcome`, and the decision that each end is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.core.moves import moved_by
from airflow_mlops.core.promotion import PromotionRequest, Refusal, RollbackRequest
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision, digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a promotion or a rollback ended.

    :param decision: what happened or why nothing did.
    :param refusals: empty when the alias is where it was asked to be.
    :param version: the version that was asked for.
    :param model_digest: of its files.
    :param origin: the version that it replaced; empty for none.
    :param moved: this move is in the ledger: whoever made it, others are to be told of it once.
    """

    decision: Decision
    refusals: tuple[Refusal, ...] = ()
    version: str = ""
    model_digest: str = ""
    origin: str = ""
    moved: bool = False

    @property
    def refused(self) -> bool:
        """Whether the alias is not where it was asked to be."""
        return bool(self.refusals)


def promoted(request: PromotionRequest, record: Record | None, champion: ModelVersion | None, dag_run: Any) -> Outcome:
    """The version is the champion: by this promotion, where ``record`` is its record, else by somebody else's move."""
    assert champion is not None  # what "already" means
    if record is not None:
        decision = Decision.from_dict(record.body)
        origin = str(decision.evidence.get("replaces") or "")
    else:
        origin = ""
        decision = Decision(
            kind="promotion",
            model=request.model,
            decision="already_promoted",
            reasons=(f"version {champion.version} is the champion already, by {moved_by(champion)}",),
            evidence={"version": champion.version, "model_digest": champion.model_digest},
            inputs=request.inputs,
            decided_by=request.decided_by,
            dag_run=dag_run or {},
        )
    return Outcome(
        decision=decision,
        version=champion.version,
        model_digest=champion.model_digest,
        origin=origin,
        moved=record is not None,
    )


def superseded(request: PromotionRequest, champion: ModelVersion | None, dag_run: Any) -> Outcome:
    """This promotion is done, and another champion has followed."""
    now = f"version {champion.version} is, by {moved_by(champion)}" if champion else "nothing is"
    decision = Decision(
        kind="promotion",
        model=request.model,
        decision="superseded",
        reasons=(f"version {request.version} was made the champion by this promotion once; now {now}",),
        evidence={
            "version": champion.version if champion else None,
            "promoted": request.version,
            "model_digest": champion.model_digest if champion else None,
        },
        inputs=request.inputs,
        decided_by=request.decided_by,
        dag_run=dag_run or {},
    )
    return Outcome(
        decision=decision,
        version=request.version,
        model_digest=request.model_digest,
        origin=request.judged_champion,
        moved=True,
    )


def rolled_back(record: Record) -> Outcome:
    """What the record of a rollback says."""
    decision = Decision.from_dict(record.body)
    return Outcome(
        decision=decision,
        version=str(decision.evidence.get("version") or ""),
        model_digest=str(decision.evidence.get("model_digest") or ""),
        origin=str(decision.evidence.get("replaces") or ""),
        moved=True,
    )


def refused(
    kind: str,
    request: PromotionRequest | RollbackRequest,
    refusals: Sequence[Refusal],
    champion: ModelVersion | None,
    dag_run: Mapping[str, JSON] | None,
) -> Outcome:
    """The alias is not moved."""
    seen = champion.version if champion else ""
    decision = Decision(
        kind=kind,
        model=request.model,
        decision="refused",
        reasons=tuple(f"{r.code}: {r.message}" for r in refusals),
        evidence={"codes": [r.code for r in refusals], "champion": seen or None, "request": dict(request.inputs)},
        # Another key than the promotion's own: what was refused today may be promoted tomorrow.
        inputs={**request.inputs, "refused": digest(sorted(r.code for r in refusals), seen)},
        dag_run=dag_run or {},
    )
    return Outcome(decision=decision, refusals=tuple(refusals))
