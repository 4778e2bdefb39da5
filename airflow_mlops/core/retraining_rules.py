"""What speaks for a training and what against: one function each, in two tables.

Each looks at the facts and the policy and says one sentence, whether or not it holds: what it saw, and what it needs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping

from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.moments import not_older
from airflow_mlops.core.results import JSON, digest
from airflow_mlops.core.retraining_policy import RetrainingPolicy

RETRAIN, KEEP, ALERT = "retrain", "keep", "alert"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one check of the champion ended.

    :param at: ISO time of the data it was about.
    :param subject: the partition.
    :param outcome: ``passed``, ``failed``, ``insufficient_data`` or ``error``.
    :param estimated: of a performance check: whether no label was seen.
    :param partition: tells partitions of one subject apart, such as a file that is written over every day.
    :param broken: of a drift check: the broken inputs, where nothing else drifted.
    """

    at: str
    subject: str
    outcome: str
    estimated: bool = False
    partition: str = ""
    broken: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "broken", tuple(self.broken))

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {**dataclasses.asdict(self), "broken": list(self.broken)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainingFacts:
    """Everything a decision rests on. Times are ISO text of data or events, never a clock that was read here.

    :param model: the registered model.
    :param at: the time it is decided for.
    :param trigger: ``schedule``, ``person``, ``asset`` or whatever started the run.
    :param person: why a person asked for it; empty: nobody did.
    :param champion: its version; empty: there is none.
    :param champion_until: the newest data that the champion saw.
    :param newest: the newest version there is, champion or not.
    :param trained_until: the newest data that any version saw.
    :param labelled_until: the newest data that has labels; empty: not known. Comparable with ``trained_until`` as text.
    :param data: digest of what would be trained on, where it is known.
    :param rows: that would be trained on, where they were counted.
    :param new_partitions: since the last training; ``None``: not known.
    :param new_rows: likewise.
    :param configuration: digest of code and parameters that would be trained with; empty: not known.
    :param champion_configuration: that of the champion, or of a newer candidate that was trained since.
    :param drift: newest first. :param performance: newest first.
    :param retrainings: earlier decisions to retrain, newest first, as ``(at, base digest, newest version then)``.
    :param rejected: candidates that were rejected since one passed.
    :param backfill: whether this is a replay of history.
    """

    model: str
    at: str
    trigger: str = "schedule"
    person: str = ""
    champion: str = ""
    champion_until: str = ""
    newest: str = ""
    trained_until: str = ""
    labelled_until: str = ""
    data: str = ""
    rows: int | None = None
    new_partitions: int | None = None
    new_rows: int | None = None
    configuration: str = ""
    champion_configuration: str = ""
    drift: tuple[Outcome, ...] = ()
    performance: tuple[Outcome, ...] = ()
    retrainings: tuple[tuple[str, str, str], ...] = ()
    rejected: int = 0
    backfill: bool = False

    def __post_init__(self) -> None:
        time_of(self.at)
        object.__setattr__(self, "retrainings", tuple((str(a), str(b), str(n)) for a, b, n in self.retrainings))

    @property
    def base(self) -> str:
        """Digest of what would be trained: who decides it a second time decides the same thing."""
        return digest(self.model, self.data or self.labelled_until, self.configuration, self.newest)

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; histories shortened to what a policy looks at."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["drift"] = [o.to_dict() for o in self.drift[:20]]
        fields["performance"] = [o.to_dict() for o in self.performance[:20]]
        fields["retrainings"] = [list(r) for r in self.retrainings[:20]]
        return fields


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one reason or guard saw.

    :param name: its name. :param holds: whether it speaks up. :param text: one sentence: what it saw and what it needs.
    :param decision: of a guard that holds: what it makes of the decision.
    """

    name: str
    holds: bool
    text: str
    decision: str = KEEP


def time_of(text: str) -> dt.datetime:
    """A time from ISO text: a date-time, a date, a month or a year, its beginning; UTC unless it says otherwise.

    :raises PolicyError: for anything else.

    >>> time_of("2013-04").isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    padded = text + "-01" * max(0, 2 - text.count("-")) if 4 <= len(text) <= 7 and text[:4].isdigit() else text
    try:
        time = dt.datetime.fromisoformat(padded)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{text!r} is no ISO time, date or month") from error
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


# --- reasons ----------------------------------------------------------------------------------------------------


def _person(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    text = f"a person asked for it: {facts.person}" if facts.person else "person: nobody asked for it"
    return Finding("person", bool(facts.person), text)


def _no_champion(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    text = f"the champion is version {facts.champion}" if facts.champion else "there is no champion yet"
    return Finding("no_champion", not facts.champion, text)


def _schedule(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    due = facts.trigger == "retraining_schedule"
    return Finding(
        "schedule", due, "a scheduled retraining is due" if due else "schedule: no scheduled retraining is due"
    )


def _new_data(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    parts, holds = [], False
    for what, seen, needed in (
        ("partitions", facts.new_partitions, policy.min_new_partitions),
        ("rows", facts.new_rows, policy.min_new_rows),
    ):
        if needed is not None:
            holds = holds or (seen is not None and seen >= needed)
            parts.append(f"{'an unknown number of' if seen is None else seen} new {what}, {needed} are a reason")
    return Finding("new_data", holds, "new data: " + ("; ".join(parts) or "not a reason in this policy"))


def _drift(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    return _of_checks("drift", "found drift", facts.drift, policy.drift_needed, policy.drift_checks)


def _performance(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    seen = tuple(o for o in facts.performance if not o.estimated)
    return _of_checks("performance", "fell short", seen, policy.performance_needed, policy.performance_checks)


def _estimated(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    known = [o for o in facts.performance if not o.estimated and o.outcome in ("passed", "failed")]
    realised = {(o.subject, o.partition) for o in known}
    seen = tuple(o for o in facts.performance if o.estimated and (o.subject, o.partition) not in realised)
    needed, checks = policy.performance_needed, policy.performance_checks
    return _of_checks("estimated_performance", "are estimated to fall short", seen, needed, checks)


def _of_checks(name: str, verb: str, seen: tuple[Outcome, ...], needed: int, checks: int) -> Finding:
    last = seen[:checks]
    about = name.replace("_", " ")
    if not last:
        return Finding(name, False, f"{about}: no check of this champion is known")
    failed = sum(o.outcome == "failed" for o in last)
    latest = last[0].outcome == "failed"
    tail = "" if latest else f", and the latest ({last[0].subject or last[0].at}) ended {last[0].outcome}"
    wanted = f"{needed} of {checks} and the latest are a reason"
    text = f"{about}: {failed} of the last {len(last)} checks {verb}{tail}; {wanted}"
    return Finding(name, latest and failed >= needed, text)


def _age(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    if policy.max_age is None:
        return Finding("age", False, "age: not a reason in this policy")
    if not facts.champion_until:
        return Finding("age", False, "age: it is not known how new the champion's data is")
    age = time_of(facts.at) - time_of(facts.champion_until)
    text = f"age: the champion's newest data is {_days(age)} old; from {_days(policy.max_age)} on it is a reason"
    return Finding("age", age >= policy.max_age, text)


def _configuration(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    known = bool(facts.configuration and facts.champion_configuration)
    changed = known and facts.configuration != facts.champion_configuration
    text = "changed since the last training" if changed else "unchanged" if known else "not known"
    return Finding("configuration", changed, f"code or configuration: {text}")


REASONS: Mapping[str, Callable[[RetrainingFacts, RetrainingPolicy], Finding]] = {
    "person": _person,
    "no_champion": _no_champion,
    "schedule": _schedule,
    "new_data": _new_data,
    "drift": _drift,
    "performance": _performance,
    "estimated_performance": _estimated,
    "age": _age,
    "configuration": _configuration,
}
"""What can speak for a training, the gravest first."""


# --- guards -----------------------------------------------------------------------------------------------------


def _in_flight(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    for at, _, newest in facts.retrainings[:1]:
        age = time_of(facts.at) - time_of(at)
        if newest == facts.newest and age < policy.in_flight_for:
            patience = _days(policy.in_flight_for)
            text = f"a training decided at {at} has not registered a version yet; given up after {patience}"
            return Finding("in_flight", True, text)
    return Finding("in_flight", False, "no training is in flight")


def _nothing(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    if facts.rows == 0:
        return Finding("nothing_to_learn", True, "there are no labelled rows to train on yet")
    return Finding("nothing_to_learn", False, "there are rows to train on")


def _order(facts: RetrainingFacts, _: RetrainingPolicy) -> Finding:
    for at, _base, _newest in facts.retrainings[:1]:
        if time_of(at) > time_of(facts.at):
            text = f"time went back: this is decided for {facts.at}, the latest training for {at}"
            return Finding("order", True, text)
    return Finding("order", False, "time goes forward")


def _labels(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    stale = not_older(facts.trained_until, facts.labelled_until) is True
    holds = stale and policy.no_new_labels == "alert"
    text = (
        f"no label is newer than the last training ({facts.trained_until}); training again would learn the same"
        if stale
        else "there are labels since the last training"
    )
    return Finding("no_new_labels", holds, text, ALERT)


def _incident(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    last = [o for o in facts.drift[: policy.drift_checks] if o.outcome == "failed"]
    changed = sum(not o.broken for o in last)
    incident = next((o for o in last if o.broken), None)
    if incident is None or facts.drift[0].outcome != "failed" or changed >= policy.drift_needed:
        return Finding("data_incident", False, "what drifted is no broken input")
    what = ", ".join(incident.broken[:5])
    what += f" and {len(incident.broken) - 5} more" if len(incident.broken) > 5 else ""
    text = (
        f"data incident in {incident.subject or incident.at}: {what}, and no sound column drifted "
        f"(sound ones did in {changed} checks, {policy.drift_needed} are a reason); a training would learn the fault: "
        "mend what delivers the data, or let a person ask for the training if it is to stay so"
    )
    return Finding("data_incident", policy.data_incident == "alert", text, ALERT)


def _breaker(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    holds = policy.breaker is not None and facts.rejected >= policy.breaker
    text = f"{facts.rejected} candidates in a row were rejected; only a person starts another training now"
    return Finding("breaker", holds, text, ALERT)


def _cooldown(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    for at, _, _newest in facts.retrainings[:1]:
        left = policy.cooldown - (time_of(facts.at) - time_of(at))
        if left > dt.timedelta(0):
            text = f"cooldown: the last training was decided at {at}; {_days(left)} to go"
            return Finding("cooldown", True, text)
    return Finding("cooldown", False, "cooldown is over")


def _budget(facts: RetrainingFacts, policy: RetrainingPolicy) -> Finding:
    if policy.budget is None:
        return Finding("budget", False, "budget: no limit")
    now = time_of(facts.at)
    spent = sum(dt.timedelta(0) <= now - time_of(at) < policy.budget_period for at, _, _ in facts.retrainings)
    text = f"budget: {spent} of {policy.budget} trainings within {_days(policy.budget_period)} are spent"
    return Finding("budget", spent >= policy.budget, text)


GUARDS: Mapping[str, Callable[[RetrainingFacts, RetrainingPolicy], Finding]] = {
    "nothing_to_learn": _nothing,
    "in_flight": _in_flight,
    "order": _order,
    "data_incident": _incident,
    "no_new_labels": _labels,
    "breaker": _breaker,
    "cooldown": _cooldown,
    "budget": _budget,
}
"""What can stand against a training, the gravest first."""


def _days(span: dt.timedelta) -> str:
    days = span / dt.timedelta(days=1)
    return f"{days:.3g} days" if abs(days) >= 2 else f"{days * 24:.3g} hours"
