"""A person's yes or no to one version: what is asked, what was shown, and what follows from an answer.

What can go wrong with an approval is not that nobody reads it but that somebody approves one thing and another is
promoted: a form outlives the task that wrote it, and a task that is cleared after the candidate changed still shows the
old one. So what is asked is pinned as a :class:`Question` (version, digest of its files, the gate's decision, and the
very text), and an answer counts only while all of it still holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.gates import PASS, REJECT, verdict_markdown
from airflow_mlops.core.promotion import NOBODY, PromotionRequest, Refusal, ledger_refusals, version_refusals
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON, Decision, digest

APPROVE, REJECTION = "Approve", "Reject"
"""The two options of the form; the second is taken when nobody answers."""

ASKS = "require_approval"
"""What a gate says that leaves it to a person."""

APPROVED, REJECTED = "approved", "rejected"

ASKED = "asked"
"""A person was asked and has not answered: no decision yet."""
"""The two decisions."""

ON_PASS = ("approve", "ask")
"""What a gate's pass means: approved without a person, or a person is asked all the same."""

TIMEOUT = "timeout"
"""Who decided when nobody answered."""

FIELD = "approval_reason"
"""The form's field for the person's words. Airflow fills a field with the DAG run's parameter of the same name, so that
``reason`` would put what whoever started the run wrote into the mouth of who approves."""

MOST = 500
"""Characters of a reason that are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a person is asked, pinned.

    :param model: the registered model.
    :param version: the candidate.
    :param model_digest: of its files, as judged.
    :param gate: the key of the gate's decision.
    :param subject: the form's headline.
    :param body: the form's text, Markdown: the verdict with all its figures.
    """

    model: str
    version: str
    model_digest: str
    gate: str
    subject: str
    body: str

    @property
    def identity(self) -> dict[str, JSON]:
        """What is pinned while the form waits: the text by its digest."""
        named: dict[str, JSON] = {n: getattr(self, n) for n in ("model", "version", "model_digest", "gate")}
        return {**named, "text": digest(self.subject, self.body)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    :param option: one of the form's options.
    :param by: the id of who answered; empty: nobody did, in time.
    :param name: of who answered.
    :param at: ISO time of the answer.
    :param reason: what was written beside it.
    """

    option: str
    by: str = ""
    name: str = ""
    at: str = ""
    reason: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Answer:
        """From what Airflow resumes a task with. Anything but one clear option is a rejection.

        >>> Answer.of({"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "ada"}}).by
        '7'
        >>> Answer.of({"chosen_options": ["Approve"], "timedout": True}).option
        'Reject'
        """
        chosen = event.get("chosen_options") or []
        option = chosen[0] if isinstance(chosen, list | tuple) and len(chosen) == 1 else REJECTION
        user = event.get("responded_by_user") or {}
        said = event.get("params_input") or {}
        at = event.get("responded_at") or ""
        by = str(user.get("id") or "") if isinstance(user, Mapping) else ""
        late = bool(event.get("timedout")) or "error" in event
        return cls(
            # Who approves is a person with a name; the default of a form that nobody answered approves nothing.
            option=option if option == APPROVE and by and not late else REJECTION,
            by="" if late else by,
            name=str(user.get("name") or "") if isinstance(user, Mapping) else "",
            at=at.isoformat() if hasattr(at, "isoformat") else str(at),
            reason=str(said.get(FIELD) or "").strip()[:MOST] if isinstance(said, Mapping) else "",
        )


def question(request: PromotionRequest) -> Question:
    """What is shown for a gate's decision: the same text for the same decision, whoever asks and when."""
    gate = request.gate
    assert gate is not None  # nobody is asked without
    lines = [
        f"Model digest `{_code(request.model_digest)}`, gate decision `{gate.key}`.",
        f"{APPROVE}: exactly these files may become the champion. {REJECTION}: they may not, "
        "which is also what happens when nobody answers in time.",
    ]
    reasons = "\n".join(f"- {_code(reason)}" for reason in gate.reasons[:10])
    page = verdict_markdown(gate) if "report" in gate.evidence else reasons
    return Question(
        model=request.model,
        version=request.version,
        model_digest=request.model_digest,
        gate=gate.key,
        subject=f"Approve {request.model} version {request.version}?",
        body="\n\n".join([*lines, page]),
    )


def what_to_do(on_pass: str, gate: Decision | None) -> str:
    """``"ask"``, ``"approve"`` or ``"refuse"``, from the gate's decision as it is recorded.

    :param on_pass: one of :data:`ON_PASS`.
    :raises UnknownName: for another one.

    >>> what_to_do("approve", None)
    'refuse'
    """
    if on_pass not in ON_PASS:
        raise UnknownName("on_pass", on_pass, ON_PASS)
    if gate is None or gate.decision not in (PASS, ASKS):
        return "refuse"
    return "approve" if gate.decision == PASS and on_pass == "approve" else "ask"


def standing(request: PromotionRequest, recorded: Decision | None, found: ModelVersion | None) -> tuple[Refusal, ...]:
    """What stands in the way of asking for an approval, or of taking an answer.

    :param request: the gate's decision that the task was given.
    :param recorded: the same from the ledger.
    :param found: the version in the registry.
    """
    gate = request.gate
    if gate is None or gate.kind != "gate" or not request.version or gate.model != request.model:
        return (Refusal(code="no_gate", message=f"no gate decision about a version of {request.model!r} was given"),)
    if gate.decision == REJECT:
        return (Refusal(code="gate_rejected", message=f"the gate rejected it, nobody can approve: {gate.reasons[0]}"),)
    return (
        *ledger_refusals(request, recorded),
        *version_refusals(request.model, request.version, found, request.model_digest),
    )


def differing(shown: Mapping[str, Any], now: Question) -> list[str]:
    """What of a pinned :attr:`Question.identity` is not so any more, in order."""
    return [name for name, value in now.identity.items() if shown.get(name) != value]


def by_policy(asked: Question, *, dag_run: Mapping[str, JSON] | None = None) -> Decision:
    """The approval that a gate's pass is, where the author of the DAG says so. A function of the gate alone."""
    named = _named(asked)
    return Decision(
        kind="approval",
        model=asked.model,
        decision=APPROVED,
        reasons=("the gate passed it, and the policy asks no person then",),
        evidence={**named, "by": None},
        inputs={**named, "by": NOBODY},
        decided_by=NOBODY,
        dag_run=dag_run or {},
    )


def asking(asked: Question, *, task: str, attempt: int = 1, dag_run: Mapping[str, JSON] | None = None) -> Decision:
    """That a person is asked about what the gate passed: until somebody answers, pages show what waits.

    It decides nothing, and promotes nothing: only ``approved`` does.

    :param task: a digest of DAG, run, task and map index.
    :param attempt: which try of it: one that is cleared after an answer asks again.
    """
    named = _named(asked)
    return Decision(
        kind="approval",
        model=asked.model,
        decision=ASKED,
        reasons=("the gate passed it, and the author of the DAG wants a person to look",),
        evidence=named,
        inputs={**named, "task": task, "asked": str(attempt)},
        decided_by=NOBODY,
        dag_run=dag_run or {},
    )


def by_answer(
    asked: Question,
    answer: Answer,
    *,
    task: str,
    assigned: Sequence[str] = (),
    dag_run: Mapping[str, JSON] | None = None,
) -> Decision:
    """The decision that an answer is.

    An answer is an act of somebody's will and no function of data, so its key names the task that asked and the time of
    the answer: two approvers are two records, a task that is retried after the answer is the same one, and one that is
    cleared and answered again is a new one.

    :param task: a digest of DAG, run, task and map index.
    :param assigned: the ids of those who could answer; empty: everybody with the right to.
    """
    if answer.option == APPROVE and not answer.by:
        raise PolicyError("an approval without a person is none")
    if answer.by in (NOBODY, TIMEOUT):
        raise PolicyError(f"a user called {answer.by!r} can't be told from nobody; approve as somebody else")
    approved = answer.option == APPROVE
    named = _named(asked)
    fallback = "approved without a word" if approved else "rejected without a word"
    return Decision(
        kind="approval",
        model=asked.model,
        decision=APPROVED if approved else REJECTED,
        reasons=(answer.reason or (fallback if answer.by else "nobody answered in time"),),
        evidence={
            **named,
            "by": {"id": answer.by, "name": answer.name} if answer.by else None,
            "answered_at": answer.at or None,
            "shown": asked.identity["text"],
            "assigned": list(assigned),
        },
        inputs={**named, "task": task, "answered_at": answer.at},
        decided_by=answer.by or TIMEOUT,
        dag_run=dag_run or {},
    )


def stamp(decision: Decision) -> dict[str, str]:
    """The tags that say it on the version: the newest answer, and one of its own for each."""
    when = str(decision.evidence.get("answered_at") or "")
    said = f"{decision.decision} by {decision.decided_by}{f' at {when}' if when else ''}: {decision.reasons[0]}"
    return {
        "approval": decision.key,
        "approval_outcome": decision.decision,
        f"mlops.approval.{decision.key}": said[:MOST],
    }


def _named(asked: Question) -> dict[str, str]:
    return {"version": asked.version, "model_digest": asked.model_digest, "gate": asked.gate}


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[:300]
