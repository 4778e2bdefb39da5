"""Retraining is a decision: reasons that speak for it, guards that stand against it, one recorded answer.

``decide`` is a pure function of the policy and of facts that were gathered beforehand. Every reason and every guard
says what it saw and what would have to change, whether or not it tipped the balance, so that "why did it not retrain"
has an answer as well. ``alert`` is for what training again would not cure: broken input, no new labels, candidates
that keep being rejected, checks that can't be evaluated.

**One training, however many deciders.** A decision to retrain is known by what would be trained: model, newest labelled
data, configuration, newest version. Two tasks that decide at once come to the same key; the ledger keeps one record of
a key, and who finds that it belongs to another run keeps still. Until a newer version is registered the training
counts as in flight, for at most ``in_flight_for``; after that the next decision is another attempt, with its own key.
"""

from __future__ import annotations

import dataclasses

from airflow_mlops.core.results import Decision, digest
from airflow_mlops.core.retraining_policy import RetrainingPolicy
from airflow_mlops.core.retraining_rules import (
    ALERT,
    GUARDS,
    KEEP,
    REASONS,
    RETRAIN,
    Outcome,
    RetrainingFacts,
    time_of,
)

__all__ = ["ALERT", "KEEP", "REASONS", "RETRAIN", "Outcome", "RetrainingFacts", "RetrainingPolicy", "decide", "time_of"]


def decide(facts: RetrainingFacts, policy: RetrainingPolicy) -> Decision:
    """Retrain, keep or alert.

    :returns: a decision of kind ``retraining``; its first reason is the one that tipped the balance, then come all
        others. ``evidence`` holds the facts, ``fired`` and ``held_back_by``.

    >>> facts = RetrainingFacts(model="churn", at="2026-03-01", champion="3", person="new price list")
    >>> decide(facts, RetrainingPolicy()).decision
    'retrain'
    """
    reasons = [REASONS[name](facts, policy) for name in policy.reasons]
    fired = [r for r in reasons if r.holds]
    guards = [guard(facts, policy) for guard in GUARDS.values()]
    asked = any(r.name == "person" for r in fired)
    held = [g for g in guards if g.holds and not _waived(g.name, {r.name for r in fired})]
    if fired and not held:
        decision, first = RETRAIN, fired[0].text
    elif fired:
        decision = ALERT if any(g.decision == ALERT for g in held) else KEEP
        first = next(g.text for g in held if g.decision == decision)
    elif blind := _blind(facts, policy):
        decision, first = ALERT, blind
    else:
        decision, first = KEEP, "no reason to retrain"
    if facts.backfill:
        decision, first = KEEP, f"replay: would have said {decision} ({first}); a replay of history triggers nothing"
    texts = [first, *(f.text for f in [*fired, *held]), *(r.text for r in reasons if not r.holds)]
    inputs = {"what": facts.base, "attempt": str(_attempt(facts))}
    if decision != RETRAIN:
        inputs |= {"policy": policy.digest, "facts": digest(facts.to_dict())}
    return Decision(
        kind="retraining",
        model=facts.model,
        decision=decision,
        reasons=tuple(dict.fromkeys(texts)),
        evidence={
            "facts": facts.to_dict(),
            "fired": [f.name for f in fired],
            "held_back_by": [g.name for g in held],
            "policy": policy.to_dict(),
            "base": facts.base,
            "newest": facts.newest,
            "backfill": facts.backfill,
        },
        inputs=inputs,
        decided_by=f"person: {facts.person}" if asked else "policy",
    )


def yields_to(decision: Decision, other: Decision) -> Decision:
    """The decision of one who finds that another run has already decided to train the same thing."""
    who = " ".join(str(other.dag_run.get(k, "")) for k in ("dag_id", "run_id")).strip() or "another run"
    return dataclasses.replace(
        decision,
        decision=KEEP,
        reasons=(f"the same training was already decided by {who}", *decision.reasons),
        evidence={**decision.evidence, "held_back_by": ["in_flight"]},
        inputs={**decision.inputs, "yields_to": digest(dict(other.dag_run))},
    )


def _waived(guard: str, fired: set[str]) -> bool:
    """A person overrides all but a lack of rows and a training in flight; new code learns even from old labels.

    Broken input is no reason against a training that something else than its drift speaks for.
    """
    if "person" in fired and guard not in ("nothing_to_learn", "in_flight"):
        return True
    if guard == "data_incident":
        return not fired <= {"drift", "estimated_performance"}
    return guard == "no_new_labels" and "configuration" in fired


def _blind(facts: RetrainingFacts, policy: RetrainingPolicy) -> str:
    """That nothing was found is no news where nothing could be looked at."""
    for name, seen, checks in (
        ("drift", facts.drift, policy.drift_checks),
        ("performance", facts.performance, policy.performance_checks),
    ):
        last = seen[:checks]
        if name in policy.reasons and len(last) == checks and all(o.outcome == "error" for o in last):
            return f"the last {checks} {name} checks could not be evaluated: whether the model is sound is not known"
    return ""


def _attempt(facts: RetrainingFacts) -> int:
    return 1 + sum(base == facts.base for _, base, _ in facts.retrainings)
