"""Whether a version may become the champion: requests, refusals and the one judgement, :func:`judge`.

Everything here is a plain value. What is *done* about a judgement, and in which order, so that it happens
effectively once, is in :mod:`airflow_mlops.core.champion`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_mlops.core.errors import UnknownName
from airflow_mlops.core.moments import not_older
from airflow_mlops.core.moves import Claim, moved_by
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import Decision, digest

REFUSALS: Mapping[str, str] = {
    "no_gate": "there is no gate decision to promote by",
    "gate_differs": "the ledger has another gate decision under this key than the task was given",
    "gate_rejected": "the gate did not pass this version",
    "not_approved": "the gate asks for an approval and there is none",
    "approval_differs": "the approval is about another version, digest or gate decision",
    "other_model": "the gate decision is about another model",
    "version_deleted": "the version is not in the registry any more",
    "not_ready": "MLflow does not call the version READY",
    "digest_unknown": "the gate did not say, or the registry does not know, which files were judged",
    "digest_differs": "the model's files are not the ones that the gate judged",
    "pinned": "a rollback pinned the version",
    "champion_moved": "the champion is not the one that the gate judged against",
    "older_data": "the version was trained on older data than the champion, or nobody knows",
    "no_champion": "there is no champion to roll back from",
    "no_previous": "there is no version to roll back to",
    "same_version": "the version to roll back to is the champion",
}
"""Why an alias is not moved: code -> what it means."""

NOBODY = "policy"
"""Who decided where no person did."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """One reason not to move the alias.

    :param code: a key of :data:`REFUSALS`.
    :param message: the reason with its figures, for the person on call.

    >>> Refusal(code="pinend", message="")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    airflow_mlops.core.errors.UnknownName: unknown refusal 'pinend': did you mean 'pinned'? Known: ...
    """

    code: str
    message: str

    def __post_init__(self) -> None:
        if self.code not in REFUSALS:
            raise UnknownName("refusal", self.code, REFUSALS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromotionRequest:
    """What a promotion goes by: the gate's decision, read once and fail-closed.

    :param model: the registered model.
    :param gate: the gate's :class:`~airflow_mlops.core.results.Decision`, or ``None`` where there is none.
    :param approvals: the decisions of kind ``approval``, where the gate or the DAG asks for some; ``None`` for one that
        was asked for and is not there.
    :param allow_older: promote although the candidate saw older data than the champion, or nobody knows.
    """

    model: str
    gate: Decision | None
    approvals: tuple[Decision | None, ...] = ()
    allow_older: bool = False

    @classmethod
    def of(cls, model: str, gate: object, *, approval: object = None, allow_older: bool = False) -> PromotionRequest:
        """From what is in XCom. Anything that is not a decision counts as none: it is refused, not guessed at.

        :param approval: one, or a list where several people have to approve; ``None``: nobody was asked.
        """
        given = approval if isinstance(approval, list | tuple) else [] if approval is None else [approval]
        approvals = tuple(_decision(value) for value in given)
        return cls(model=model, gate=_decision(gate), approvals=approvals, allow_older=allow_older)

    def _of_gate(self, *path: str) -> str:
        value: Any = self.gate.evidence if self.gate else {}
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""

    @property
    def version(self) -> str:
        """The version that the gate judged; empty when it names none."""
        return self._of_gate("candidate", "version")

    @property
    def model_digest(self) -> str:
        """The digest of the files that the gate judged; empty when it names none."""
        return self._of_gate("candidate", "model_digest")

    @property
    def judged_champion(self) -> str:
        """The champion that the gate compared with; empty where there was none."""
        return self._of_gate("champion", "version")

    @property
    def inputs(self) -> dict[str, str]:
        """What the promotion is a function of; the key of its record."""
        return {
            "gate": self.gate.key if self.gate else "",
            "version": self.version,
            "model_digest": self.model_digest,
        }

    @property
    def key(self) -> str:
        """Model, version, digest and gate decision: the same again is the same promotion."""
        return digest("promotion", self.model, self.inputs)

    @property
    def decided_by(self) -> str:
        """The approvers where there were some, else the gate's policy."""
        approvers = dict.fromkeys(a.decided_by for a in self.approvals if a)
        return " and ".join(approvers) or (self.gate.decided_by if self.gate else "policy")


def _decision(value: object) -> Decision | None:
    if isinstance(value, Decision):
        return value
    if not isinstance(value, Mapping):
        return None
    names = {f.name for f in dataclasses.fields(Decision)}
    try:
        return Decision.from_dict({k: v for k, v in value.items() if k in names})
    except (TypeError, ValueError, AttributeError):
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What a judgement looks at: the registry at one moment.

    :param champion: the version that the alias names.
    :param candidate: the version to promote.
    :param claims: the successions of the champion that the gate judged against, in order.
    :param recorded: whether this promotion's record is in the ledger.
    :param gate: the gate's decision as the ledger has it: what passes between tasks can be made up, what is
        recorded can't.
    :param approvals: the approvals likewise, in the order of the request's.
    """

    champion: ModelVersion | None
    candidate: ModelVersion | None
    claims: tuple[Claim, ...] = ()
    recorded: bool = False
    gate: Decision | None = None
    approvals: tuple[Decision | None, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What follows from a :class:`Scene`.

    :param step: ``"refuse"``, ``"already"`` (the version is the champion; nothing to move), ``"superseded"`` (this
        promotion is done and recorded, and another champion has followed), ``"claim"`` (go on and claim succession
        ``number``), ``"finish"`` (claim ``number`` is decided: carry it out) or ``"void"`` (claim ``number`` can't be
        carried out any more: give it up).
    :param refusals: why not, for ``refuse`` and ``void``.
    :param number: which succession.
    :param other: the claim to finish belongs to somebody else; then look again.
    """

    step: str
    refusals: tuple[Refusal, ...] = ()
    number: int = -1
    other: bool = False


def judge(request: PromotionRequest, scene: Scene) -> Judgement:
    """The next step of a promotion, from nothing but values.

    An unknown is a refusal, never a pass. All reasons that can be known are given, not only the first.

    >>> judge(PromotionRequest.of("churn", None), Scene(champion=None, candidate=None)).refusals[0].code
    'no_gate'
    """
    refusals = [*gate_refusals(request)] or [
        *ledger_refusals(request, scene.gate),
        *_unrecorded_approvals(request, scene.approvals),
    ]
    if refusals:
        return Judgement(step="refuse", refusals=tuple(refusals))
    champion, candidate = scene.champion, scene.candidate
    is_champion = champion is not None and candidate is not None and champion.version == candidate.version
    mine = next((c for c in scene.claims if c.key == request.key), None)
    if scene.recorded or (mine is not None and mine.done):
        if is_champion:
            return Judgement(step="already")
        return Judgement(step="superseded")
    unfit = version_refusals(request.model, request.version, candidate, request.model_digest)
    if mine is not None:
        if mine.void:
            return _refuse("champion_moved", f"promotion {request.key} was given up: {mine.end}")
        if unfit and not is_champion:
            return Judgement(step="void", refusals=tuple(unfit), number=mine.number)
        return Judgement(step="finish", number=mine.number)
    if unfit:
        return Judgement(step="refuse", refusals=tuple(unfit))
    if is_champion:
        return Judgement(step="already")
    under_way = next((c for c in scene.claims if not c.end), None)
    if under_way is not None:
        return Judgement(step="finish", number=under_way.number, other=True)
    if (champion.version if champion else "") != request.judged_champion:
        who = f", by {moved_by(champion)}" if champion else ""
        judged = f"version {request.judged_champion}" if request.judged_champion else "no champion"
        message = f"the gate judged against {judged}; the champion is now {_named(champion)}{who}"
        return _refuse("champion_moved", message)
    older = None if request.allow_older else _older(champion, candidate)
    if older:
        return Judgement(step="refuse", refusals=(older,))
    return Judgement(step="claim", number=len(scene.claims))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollbackRequest:
    """What a rollback goes by.

    :param model: the registered model.
    :param request: what makes it the same rollback again. It is an act of somebody's will and no function of data,
        so this is the one key that names the asking task: its DAG, run, task and map index.
    :param reason: why, for the record and for the pin.
    :param to_version: where to; empty: ``previous_champion``.
    :param from_version: the champion that is meant; another one is left alone. Empty: whichever it is.
    :param pin: put ``mlops.pinned`` on the version that is left, so that no loop promotes it again.
    """

    model: str
    request: str
    reason: str
    to_version: str = ""
    from_version: str = ""
    pin: bool = True

    @property
    def inputs(self) -> dict[str, str]:
        """What its record is found by."""
        return {"request": self.request}

    @property
    def key(self) -> str:
        """The key of its record."""
        return digest("rollback", self.model, self.inputs)


def judge_rollback(
    request: RollbackRequest, champion: ModelVersion | None, target: ModelVersion | None, version: str
) -> tuple[Refusal, ...]:
    """Why a rollback from ``champion`` to ``target`` can not be; empty when it can.

    :param target: the version in the registry, ``None`` when it is not there.
    :param version: its number; empty when neither the request nor ``previous_champion`` gives one.
    """
    if champion is None:
        message = f"{request.model!r} has no champion, so there is nothing to roll back"
        return (Refusal(code="no_champion", message=message),)
    if request.from_version and champion.version != request.from_version:
        message = f"version {request.from_version} was to be left; the champion is now {_named(champion)}"
        return (Refusal(code="champion_moved", message=f"{message}, by {moved_by(champion)}"),)
    if not version:
        message = f"{request.model!r} has no previous champion; name a version with to_version"
        return (Refusal(code="no_previous", message=message),)
    if version == champion.version:
        return (Refusal(code="same_version", message=f"{champion.label} is the champion already"),)
    return tuple(version_refusals(request.model, version, target, None))


def _refuse(code: str, message: str) -> Judgement:
    return Judgement(step="refuse", refusals=(Refusal(code=code, message=message),))


def _named(version: ModelVersion | None) -> str:
    return f"version {version.version}" if version else "missing"


def gate_refusals(request: PromotionRequest) -> Iterable[Refusal]:
    """What stands against it in the gate's decision itself, before the registry is asked."""
    gate = request.gate
    if gate is None or gate.kind != "gate" or not request.version:
        yield Refusal(code="no_gate", message="no gate decision that names a candidate version was given")
        return
    if gate.model != request.model:
        yield Refusal(code="other_model", message=f"the gate judged {gate.model!r}, not {request.model!r}")
    if gate.decision in ("require_approval", "pass"):
        yield from _approval_refusals(request, asks=gate.decision == "require_approval")
    else:
        why = f": {gate.reasons[0]}" if gate.reasons else ""
        yield Refusal(code="gate_rejected", message=f"the gate says {gate.decision!r}{why}")
    if not request.model_digest:
        yield Refusal(code="digest_unknown", message="the gate decision names no digest of the candidate's files")


def ledger_refusals(request: PromotionRequest, recorded: Decision | None) -> Iterable[Refusal]:
    """What stands against it in the gate's record; ``recorded`` is ``None`` where there is none."""
    if recorded is None:
        message = f"MLflow has no record of gate decision {request.inputs['gate']}: it was not made by a gate"
        yield Refusal(code="no_gate", message=message)
        return
    stored, given = PromotionRequest(model=request.model, gate=recorded), request
    names = ("key", "version", "model_digest", "judged_champion")
    differing = [name for name in names if getattr(stored, name) != getattr(given, name)]
    if recorded.decision != (given.gate.decision if given.gate else ""):
        differing.append("decision")
    if differing:
        message = f"the gate decision that was given differs from its record in {', '.join(differing)}"
        yield Refusal(code="gate_differs", message=message)


def _approval_refusals(request: PromotionRequest, *, asks: bool) -> Iterable[Refusal]:
    """Every approval that was asked for has to be one, of exactly this, and each by somebody else."""
    if asks and not request.approvals:
        yield Refusal(code="not_approved", message="the gate requires an approval and none was given")
    wanted = {"version": request.version, "model_digest": request.model_digest, "gate": request.inputs["gate"]}
    people: set[str] = set()
    for approval in request.approvals:
        if approval is None or approval.kind != "approval" or approval.decision != "approved":
            said = f"it is {approval.decision!r}" if approval else "there is none"
            yield Refusal(code="not_approved", message=f"an approval is required and {said}")
            continue
        shown = {k: str(approval.evidence.get(k) or "") for k in wanted}
        differing = sorted(k for k in wanted if shown[k] != wanted[k])
        if differing or approval.model != request.model:
            message = f"what was approved differs in {', '.join(differing) or 'the model'} from what is to be promoted"
            yield Refusal(code="approval_differs", message=message)
        if approval.decided_by == NOBODY:
            if asks:
                message = "the gate requires a person's approval, and the policy gave this one"
                yield Refusal(code="not_approved", message=message)
        elif approval.decided_by in people:
            message = f"{approval.decided_by} has approved twice; {len(request.approvals)} people have to"
            yield Refusal(code="not_approved", message=message)
        people.add(approval.decided_by)


def _unrecorded_approvals(request: PromotionRequest, recorded: tuple[Decision | None, ...]) -> Iterable[Refusal]:
    for number, given in enumerate(request.approvals):
        stored = recorded[number] if number < len(recorded) else None
        if given is not None and (
            stored is None
            or any(getattr(stored, n) != getattr(given, n) for n in ("key", "decision", "decided_by", "evidence"))
        ):
            message = f"MLflow has no such record of approval {given.key}: it was not made by an approval task"
            yield Refusal(code="not_approved", message=message)


def version_refusals(model: str, version: str, found: ModelVersion | None, model_digest: str | None) -> list[Refusal]:
    """What stands against making ``found`` the champion, whoever the champion is now.

    :param model_digest: of the files that were judged; ``None`` where no judgement is involved (a rollback).
    """
    label = f"{model}/{version}"
    if found is None or (found.name, found.version) != (model, version):
        return [Refusal(code="version_deleted", message=f"{label} is not in the registry")]
    refusals = []
    if not found.ready:
        refusals.append(Refusal(code="not_ready", message=f"{label} is {found.status or 'in no known state'}"))
    if pinned := found.tag("pinned"):
        refusals.append(Refusal(code="pinned", message=f"{label} is pinned: {pinned}"))
    if model_digest is None:
        return refusals
    if not found.model_digest:
        message = f"{label} carries no digest of its files: nobody can say that they are the ones judged"
        refusals.append(Refusal(code="digest_unknown", message=message))
    elif found.model_digest != model_digest:
        message = f"{label} has files {found.model_digest[:16]}; judged were {model_digest[:16] or 'unknown ones'}"
        refusals.append(Refusal(code="digest_differs", message=message))
    return refusals


def _older(champion: ModelVersion | None, candidate: ModelVersion | None) -> Refusal | None:
    if champion is None or candidate is None:
        return None
    old, new = champion.tag("data_until"), candidate.tag("data_until")
    if not_older(new, old):
        return None
    known = f"candidate until {new or 'unknown'}, champion until {old or 'unknown'}"
    return Refusal(code="older_data", message=f"newest training data: {known}; allow_older=True promotes it anyway")
