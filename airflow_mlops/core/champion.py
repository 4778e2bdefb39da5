"""Making a version the champion, and going back: :func:`promote` and :func:`rollback`.

Each is a loop of two halves: look and judge (:mod:`airflow_mlops.core.promotion`, plain values), then do the one step
that follows (:mod:`airflow_mlops.core.succession`). Whatever a kill leaves behind is something that the next look sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_mlops.core.errors import Conflict
from airflow_mlops.core.moves import Claim, Move, moved_by, moves_to, read_claims
from airflow_mlops.core.outcomes import Outcome, promoted, refused, rolled_back, superseded
from airflow_mlops.core.outside import Ledger, notice
from airflow_mlops.core.promotion import (
    PromotionRequest,
    Refusal,
    RollbackRequest,
    Scene,
    judge,
    judge_rollback,
)
from airflow_mlops.core.records import CHAMPION, PREVIOUS_CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision
from airflow_mlops.core.succession import Registry, Step, Succession

LOOKS = 50
"""How often a promotion looks again before it gives up; each look is one other move that got in between."""


def _no_step(name: str) -> None:
    """Nothing happens between the steps."""


def promote(
    registry: Ledger,
    request: PromotionRequest,
    *,
    dag_run: Mapping[str, JSON] | None = None,
    at: str = "",
    backfill: bool = False,
    step: Step = _no_step,
) -> Outcome:
    """Make the version that passed the gate the champion, or say why not.

    The same request again ends in the same state with the same record, whatever happened in between. A refusal
    changes nothing, except that it finishes a move that somebody else had won and not completed. A champion that was
    set by hand is entered into the ledger before it is replaced (:mod:`airflow_mlops.core.outside`).

    :param registry: MLflow, as :class:`~airflow_mlops.core.outside.Ledger`.
    :param request: the gate's decision and the options.
    :param dag_run: who asks; kept in the record.
    :param at: ISO time of the data it is about; what the ledger is sorted by.
    :param backfill: marks the record.
    :param step: called after each step.
    :raises Conflict: when :data:`LOOKS` other moves got in between.
    """
    act = Succession(registry, request.model, step)

    def refuse(refusals: Sequence[Refusal], champion: ModelVersion | None) -> Outcome:
        ended = refused("promotion", request, refusals, champion, dag_run)
        registry.record(Record.of_decision(ended.decision, subject=request.version, at=at, backfill=backfill))
        step("refusal")
        return ended

    gate = registry.find_record(request.model, "gate", request.gate.key) if request.gate else None
    judged = Decision.from_dict(gate.body) if gate else None
    approvals = tuple(_recorded(registry, request.model, approval) for approval in request.approvals)
    for _ in range(LOOKS):
        candidate = _find(registry, request.model, request.version)
        record = registry.find_record(request.model, "promotion", request.key)
        claims = act.claims(request.judged_champion)
        mine = next((c for c in claims if c.key == request.key), None)
        if record is None and mine is not None and mine.done:  # decided, by somebody who did not come to seal it
            act.finish(request.judged_champion, mine)
            record = registry.find_record(request.model, "promotion", request.key) or _lost(act, mine)
        # The champion is read last: MLflow gives no snapshot, and a record that is there was preceded by its move.
        champion = registry.by_alias(request.model, CHAMPION)
        scene = Scene(
            champion=champion,
            candidate=candidate,
            claims=claims,
            recorded=record is not None,
            gate=judged,
            approvals=approvals,
        )
        judgement = judge(request, scene)
        if judgement.step == "finish":
            act.finish(request.judged_champion, claims[judgement.number])
        elif judgement.step == "void":
            why = "; ".join(r.message for r in judgement.refusals)
            end = act.close(request.judged_champion, judgement.number, f"void {why}"[:500])
            if end.startswith("void"):
                return refuse(judgement.refusals, champion)
        elif judgement.step == "claim":
            notice(registry, request.model, at=at, dag_run=dag_run)
            move = _promotion_move(request, registry, champion, candidate, dag_run, at, backfill)
            act.intend(move)
            act.claim(move, judgement.number)
        else:
            act.complete(champion)
            if judgement.step == "refuse":
                return refuse(judgement.refusals, champion)
            if judgement.step == "superseded":
                return superseded(request, champion, dag_run)
            # Somebody who helped may have recorded it since the look.
            record = record or registry.find_record(request.model, "promotion", request.key)
            return promoted(request, record, champion, dag_run)
    raise Conflict(f"the champion of {request.model!r} moved {LOOKS} times while a promotion looked at it; retry")


def _promotion_move(
    request: PromotionRequest,
    registry: Registry,
    champion: ModelVersion | None,
    candidate: ModelVersion | None,
    dag_run: Mapping[str, JSON] | None,
    at: str,
    backfill: bool,
) -> Move:
    assert candidate is not None and request.gate is not None  # what "claim" means
    origin = champion.version if champion else ""
    previous = origin or _kept(registry.by_alias(request.model, PREVIOUS_CHAMPION), candidate.version)
    replaces = f"version {origin}" if origin else "no champion"
    approvals: list[JSON] = [a.key for a in request.approvals if a]
    decision = Decision(
        kind="promotion",
        model=request.model,
        decision="promoted",
        reasons=(f"version {candidate.version} passed gate {request.gate.key} and replaces {replaces}",),
        evidence={
            "version": candidate.version,
            "model_digest": candidate.model_digest,
            "replaces": origin or None,
            "gate": request.gate.key,
            "approval": approvals[0] if approvals else None,
            "approvals": approvals,
            "data_until": candidate.tag("data_until") or None,
            "replaced_data_until": (champion.tag("data_until") if champion else "") or None,
            "allow_older": request.allow_older,
            "run_id": candidate.run_id,
        },
        inputs=request.inputs,
        decided_by=request.decided_by,
        dag_run=dag_run or {},
    )
    return Move(
        kind="promotion",
        key=request.key,
        model=request.model,
        to=candidate.version,
        to_digest=candidate.model_digest,
        origin=origin,
        previous=previous,
        after=len(read_claims(registry.written(request.model, candidate.version), candidate.version)),
        decision=decision.to_dict(),
        at=at,
        backfill=backfill,
    )


def rollback(
    registry: Ledger,
    request: RollbackRequest,
    *,
    dag_run: Mapping[str, JSON] | None = None,
    at: str = "",
    decided_by: str = "",
    step: Step = _no_step,
) -> Outcome:
    """Make the previous or a named version the champion again, and pin the one that is left.

    Effectively once for the same request: the version to leave and the one to go to are chosen once and
    kept with the intent, so that a retry does not go back one further.

    :param registry: MLflow, as :class:`~airflow_mlops.core.outside.Ledger`.
    :param request: where to, why, and who asks.
    :param dag_run: who asks; kept in the record.
    :param at: ISO time of the data it is about; what the ledger is sorted by, and when the pin was set.
    :param decided_by: a person or a guard; empty: the task.
    :param step: called after each step.
    :raises Conflict: when :data:`LOOKS` other moves got in between.
    """
    act = Succession(registry, request.model, step)

    def refuse(refusals: Sequence[Refusal], champion: ModelVersion | None) -> Outcome:
        ended = refused("rollback", request, refusals, champion, dag_run)
        registry.record(Record.of_decision(ended.decision, at=at))
        step("refusal")
        return ended

    for _ in range(LOOKS):
        record = registry.find_record(request.model, "rollback", request.key)
        champion = registry.by_alias(request.model, CHAMPION)
        if record is not None:
            act.complete(champion)
            return rolled_back(record)
        move = _intended_rollback(registry, request)
        if move is None:
            act.complete(champion)
            to = request.to_version or act.alias(PREVIOUS_CHAMPION)
            target = _find(registry, request.model, to)
            refusals = judge_rollback(request, champion, target, to)
            if refusals or champion is None or target is None:
                return refuse(refusals, champion)
            notice(registry, request.model, at=at, dag_run=dag_run)
            move = _rollback_move(request, registry, champion, target, dag_run, at, decided_by)
            act.intend(move)
        claims = act.claims(move.origin)
        mine = next((c for c in claims if c.key == move.key), None)
        other = next((c for c in claims if not c.end and c.key != move.key), None)
        if mine is not None and mine.void:
            return refuse((_gone(move, champion, mine.end),), champion)
        if mine is not None and mine.done:
            act.finish(move.origin, mine)
            record = registry.find_record(request.model, "rollback", request.key)
            return rolled_back(record or Record.of_decision(Decision.from_dict(move.decision)))
        if mine is not None or other is not None:
            act.finish(move.origin, mine or other)  # type: ignore[arg-type]
        elif act.alias(CHAMPION) != move.origin:  # read after the claims: what is free then is of this champion
            champion = registry.by_alias(request.model, CHAMPION)
            act.complete(champion)
            return refuse((_gone(move, champion, ""),), champion)
        else:
            act.claim(move, len(claims))
    raise Conflict(f"the champion of {request.model!r} moved {LOOKS} times while a rollback looked at it; retry")


def _lost(act: Succession, claim: Claim) -> Record | None:
    """What the record said that somebody took out of MLflow after its move was done; it is not written again."""
    move = act.intended(claim)
    return Record.of_decision(Decision.from_dict(move.decision)) if move else None


def _gone(move: Move, champion: ModelVersion | None, end: str) -> Refusal:
    now = f"version {champion.version}, by {moved_by(champion)}" if champion else "missing"
    message = (
        f"version {move.origin} was to be left for {move.to}; the champion is now {now}{f' ({end})' if end else ''}"
    )
    return Refusal(code="champion_moved", message=message)


def _intended_rollback(registry: Registry, request: RollbackRequest) -> Move | None:
    for version in registry.versions(request.model, limit=1000):
        for move in moves_to(version):
            if move.key == request.key:
                return move
    return None


def _rollback_move(
    request: RollbackRequest,
    registry: Registry,
    champion: ModelVersion,
    target: ModelVersion,
    dag_run: Mapping[str, JSON] | None,
    at: str,
    decided_by: str,
) -> Move:
    decision = Decision(
        kind="rollback",
        model=request.model,
        decision="rolled_back",
        reasons=(request.reason or "no reason was given",),
        evidence={
            "version": target.version,
            "model_digest": target.model_digest,
            "replaces": champion.version,
            "pinned": champion.version if request.pin else None,
            "to_version": request.to_version or None,
        },
        inputs=request.inputs,
        decided_by=decided_by or "task",
        dag_run=dag_run or {},
    )
    when = f" at {at}" if at else ""
    return Move(
        kind="rollback",
        key=request.key,
        model=request.model,
        to=target.version,
        to_digest=target.model_digest,
        origin=champion.version,
        previous=_before(registry, target, champion.version) if request.pin else champion.version,
        after=len(read_claims(registry.written(request.model, target.version), target.version)),
        pin=f"{request.reason or 'rolled back'} (rollback {request.key}{when})" if request.pin else "",
        decision=decision.to_dict(),
        at=at,
    )


def _before(registry: Registry, target: ModelVersion, leaving: str) -> str:
    """What the target replaced when it became champion: the next to go back to, never a pinned version."""
    for move in reversed([m for m in moves_to(target) if m.done and m.origin not in ("", leaving)]):
        found = registry.version(target.name, move.origin)
        if found is not None and not found.tag("pinned"):
            return found.version
    return ""


def _find(registry: Registry, model: str, version: str) -> ModelVersion | None:
    """A version by its number; what is no number is no version."""
    return registry.version(model, version) if version.isdigit() else None


def _recorded(registry: Registry, model: str, approval: Decision | None) -> Decision | None:
    record = registry.find_record(model, "approval", approval.key) if approval else None
    return Decision.from_dict(record.body) if record else None


def _kept(version: ModelVersion | None, to: str) -> str:
    return version.version if version and version.version != to else ""
