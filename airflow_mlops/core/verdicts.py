"""How each check of a policy is judged; one function a check, in one table at the end.

Each takes the evaluation, the policy and the check, and answers with :class:`~.results.Check` values: whatever is not
known is an error and never a pass. The semantics are those of :mod:`airflow_mlops.core.gates`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_mlops.core.evaluation import Evaluation, Slice
from airflow_mlops.core.evidence_verdicts import EVIDENCE_JUDGES
from airflow_mlops.core.judging import (
    REQUIRE_APPROVAL,
    ROUNDING,
    at_least,
    bounds,
    known,
    made,
    then_of,
    within,
    without_champion,
)
from airflow_mlops.core.policies import (
    AllOf,
    AnyOf,
    BeatsBaseline,
    BeatsChampion,
    Function,
    GatePolicy,
    Slices,
    Value,
)
from airflow_mlops.core.results import Check, Severity, Status, finite

__all__ = ["JUDGES", "REQUIRE_APPROVAL", "made", "then_of"]


def _value(evaluation: Evaluation, policy: GatePolicy, rule: Value) -> Iterable[Check]:
    value, why = known(evaluation.figure(rule.metric), rule.metric, "candidate", rule.better)
    expected = bounds(rule.metric, rule.lower, rule.upper)
    if value is None:
        return [made("value", Status.ERROR, why, subject=rule.metric, expected=expected)]
    held = within(value, rule.lower, rule.upper)
    message = f"{rule.metric} is {value:.6g}, {'as' if held else 'not'} {expected}"
    return [
        made(
            "value",
            Status.PASSED if held else Status.FAILED,
            message,
            subject=rule.metric,
            observed=value,
            expected=expected,
        )
    ]


def _beats_champion(evaluation: Evaluation, policy: GatePolicy, rule: BeatsChampion) -> Iterable[Check]:
    name, metric = rule.name, rule.metric
    if ended := without_champion(evaluation, policy, name, metric):
        # A candidate without the figure is no better for the lack of a champion.
        _, why = known(evaluation.figure(metric), metric, "candidate", rule.better)
        return [made(name, Status.ERROR, why, subject=metric)] if why else [ended]
    figure = evaluation.figure(metric)
    candidate, why = known(figure, metric, "candidate", rule.better)
    champion, why_not = known(figure, metric, "champion", rule.better)
    expected = _expectation(rule)
    if figure is None or candidate is None or champion is None:
        return [made(name, Status.ERROR, why or why_not, subject=metric, expected=expected)]
    improvement = figure.improvement()
    if improvement is None:
        return [made(name, Status.ERROR, "the difference is not finite", subject=metric, expected=expected)]
    failed, unknown = [], []
    if rule.min_absolute is not None and not at_least(improvement, rule.min_absolute):
        failed.append(f"improvement {improvement:.6g} is below {rule.min_absolute:g}")
    if rule.min_relative:
        needed = finite(rule.min_relative * abs(champion))
        if champion == 0 or needed is None:
            unknown.append(f"{rule.min_relative:g} of a champion at {champion:g} is no bound")
        elif not at_least(improvement, needed):
            share = f"{rule.min_relative:g} of {abs(champion):.6g}"
            failed.append(f"improvement {improvement:.6g} is below {needed:.6g} ({share})")
    elif rule.min_relative is not None and not at_least(improvement, 0.0):
        failed.append(f"improvement {improvement:.6g} is below 0")
    bound = None
    if rule.confidence is not None:
        margin = rule.margin or 0.0
        bound = figure.bound(rule.confidence)
        if bound is None:
            unknown.append(f"{figure.replicates} resamples give no {rule.confidence:g} confidence bound")
        elif not at_least(bound, -margin):
            failed.append(
                f"with {rule.confidence:g} confidence the improvement is only above {bound:.6g}, not {-margin:g}"
            )
    status = Status.FAILED if failed else Status.ERROR if unknown else Status.PASSED
    seen = f"{metric} {candidate:.6g} against {champion:.6g}"
    return [
        made(
            name,
            status,
            f"{seen}: {'; '.join(failed + unknown) or f'improvement {improvement:.6g}'}",
            subject=metric,
            observed=improvement,
            expected=expected,
            candidate=candidate,
            champion=champion,
            bound=bound,
        )
    ]


def _expectation(rule: BeatsChampion) -> str:
    parts = []
    if rule.min_absolute is not None:
        parts.append(f"improvement >= {rule.min_absolute:g}")
    if rule.min_relative is not None:
        parts.append(f"improvement >= {rule.min_relative:g} * |champion|")
    if rule.confidence is not None:
        parts.append(f"{rule.confidence:g} lower bound of the improvement >= {-(rule.margin or 0.0):g}")
    return " and ".join(parts)


def _beats_baseline(evaluation: Evaluation, policy: GatePolicy, rule: BeatsBaseline) -> Iterable[Check]:
    name, metric, wanted = rule.name, rule.metric, rule.baseline
    figure = evaluation.figure(metric)
    who = f"the {wanted} baseline" if wanted else "the baseline"
    subject = f"{metric} {wanted}".strip()
    expected = f"improvement over {who} {f'>= {rule.by:g}' if rule.by else '> 0'}"
    if figure is not None and wanted and wanted != evaluation.baseline:
        figure = figure.against(wanted)
    why = known(figure, metric, "candidate")[1] or known(figure, metric, "baseline")[1]
    improvement = None if why or figure is None else figure.improvement("baseline")
    if improvement is None or figure is None:
        why = why or "the difference is not finite"
        return [made(name, Status.ERROR, why, subject=subject, expected=expected)]
    held = improvement > 0 and at_least(improvement, rule.by)
    message = f"{metric} {figure.candidate:.6g} against {who}'s {figure.baseline:.6g}: improvement {improvement:.6g}"
    status = Status.PASSED if held else Status.FAILED
    return [made(name, status, message, subject=subject, observed=improvement, expected=expected)]


def _slices(evaluation: Evaluation, policy: GatePolicy, rule: Slices) -> Iterable[Check]:
    subject = f"{rule.metric} by {rule.by}"
    found = [s for s in evaluation.slices if s.by == rule.by]
    why = evaluation.slice_errors.get(rule.by, "" if found else f"there are no slices by {rule.by}")
    if why:
        return [made(rule.name, Status.ERROR, why, subject=subject)]
    if len({s.value for s in found}) < len(found):
        return [made(rule.name, Status.ERROR, "a slice is there twice", subject=subject)]
    compares = rule.min_absolute is not None
    if compares and (ended := without_champion(evaluation, policy, rule.name, subject)):
        if ended.status is not Status.SKIPPED or (rule.lower is None and rule.upper is None):
            return [ended]
        compares = False
    checks = [
        made(rule.name, Status.ERROR, "the slice is missing", subject=f"{subject}={value}")
        for value in rule.values
        if value not in {s.value for s in found}
    ]
    enough = [s for s in found if s.rows >= rule.min_rows]
    checks += [_insufficient(rule, subject, s) for s in found if s.rows < rule.min_rows]
    doubts = _holm({s.value: _doubt(s, rule, compares) for s in enough}) if rule.confidence is not None else {}
    checks += [_one_slice(s, rule, subject, compares, doubts.get(s.value)) for s in enough]
    return checks


def _insufficient(rule: Slices, subject: str, s: Slice) -> Check:
    message = f"{s.rows} rows, at least {rule.min_rows} are needed"
    subject = f"{subject}={s.value}"
    if rule.on_insufficient == "skip":
        return made(rule.name, Status.SKIPPED, f"{subject} is left out: {message}", subject=subject, observed=s.rows)
    return made(
        rule.name,
        Status.INSUFFICIENT,
        message if rule.on_insufficient == "reject" else f"{subject} has {message}: a person decides",
        subject=subject,
        observed=s.rows,
        then=then_of(rule.on_insufficient),
    )


def _one_slice(s: Slice, rule: Slices, subject: str, compares: bool, doubt: float | None) -> Check:
    subject = f"{subject}={s.value}"
    figure = next((f for f in s.metrics if f.metric == rule.metric), None)
    value, why = known(figure, rule.metric, "candidate")
    improvement = None
    if compares and not why:
        why = known(figure, rule.metric, "champion")[1]
        improvement = figure.improvement() if figure is not None else None
        why = why or ("the difference is not finite" if improvement is None else "")
    wanted = [bounds(rule.metric, rule.lower, rule.upper)] if rule.lower is not None or rule.upper is not None else []
    if compares:
        wanted.append(f"improvement >= {rule.min_absolute:g}")
    expected = " and ".join(wanted)
    if value is None or why:
        return made(rule.name, Status.ERROR, why, subject=subject, expected=expected)
    failed = []
    if not within(value, rule.lower, rule.upper):
        failed.append(f"{rule.metric} is {value:.6g}")
    if improvement is not None and not at_least(improvement, rule.min_absolute or 0.0):
        failed.append(f"improvement is {improvement:.6g}")
    if doubt is not None and rule.confidence is not None and doubt > 1 - rule.confidence + ROUNDING:
        failed.append(f"p {doubt:.3g} after Holm's correction, at most {1 - rule.confidence:.3g} is allowed")
    return made(
        rule.name,
        Status.FAILED if failed else Status.PASSED,
        f"{'; '.join(failed) or f'{rule.metric} is {value:.6g}'} on {s.rows} rows",
        subject=subject,
        observed=value,
        expected=expected,
        improvement=improvement,
        p=doubt,
        rows=s.rows,
    )


def _doubt(s: Slice, rule: Slices, compares: bool) -> float:
    figure = next((f for f in s.metrics if f.metric == rule.metric), None)
    if figure is None:
        return 1.0
    doubts = [figure.doubt_value(rule.lower, rule.upper)]
    if compares:
        doubts.append(figure.doubt(-(rule.min_absolute or 0.0)))
    return max(doubts)


def _holm(doubts: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values.

    >>> _holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, (name, p) in enumerate(sorted(doubts.items(), key=lambda item: (item[1], item[0]))):
        highest = max(highest, min(1.0, (len(doubts) - place) * p))
        adjusted[name] = highest
    return adjusted


def _function(evaluation: Evaluation, policy: GatePolicy, rule: Function) -> Iterable[Check]:
    try:
        answer = rule.load()(evaluation)
    except Exception as e:  # whatever it raises, it did not say yes
        return [made(rule.name, Status.ERROR, f"{type(e).__name__}: {e}"[:300], subject=rule.label)]
    if isinstance(answer, Check):
        details = {k: v for k, v in answer.details.items() if k != "then"}
        # Skipping itself would be a way through the gate, and so would a lesser severity.
        status = Status.ERROR if answer.status is Status.SKIPPED else answer.status
        return [dataclasses.replace(answer, status=status, severity=Severity.CRITICAL, details=details)]
    held = answer is True or (type(answer).__name__ == "bool" and bool(answer))  # numpy's own bool
    message = "it holds" if held else f"it answered {answer!r}"[:300]
    return [made(rule.name, Status.PASSED if held else Status.FAILED, message, subject=rule.label)]


def _all_of(evaluation: Evaluation, policy: GatePolicy, rule: AllOf) -> Iterable[Check]:
    return [c for inner in rule.checks for c in JUDGES[type(inner)](evaluation, policy, inner)]


def _any_of(evaluation: Evaluation, policy: GatePolicy, rule: AnyOf) -> Iterable[Check]:
    """One check: passed by the first alternative that passes whole, else as grave as the least grave alternative."""
    ends = []
    for inner in rule.checks:
        checks = list(JUDGES[type(inner)](evaluation, policy, inner))
        blocking = [c for c in checks if c.blocks]
        held = [c for c in checks if c.passed]
        if held and not blocking:
            message = f"{rule.title}: {held[0].line()}"
            return [made(rule.name, Status.PASSED, message, subject=rule.title)]
        ends.append(blocking)
    tried = [blocking for blocking in ends if blocking]
    if not tried:
        return [made(rule.name, Status.SKIPPED, f"{rule.title} does not apply", subject=rule.title)]
    waits = [b for b in tried if all(c.details.get("then") == REQUIRE_APPROVAL for c in b)]
    if waits:
        message = f"{rule.title}: {'; '.join(c.message for c in waits[0])}"
        return [made(rule.name, Status.INSUFFICIENT, message, subject=rule.title, then=REQUIRE_APPROVAL)]
    failed = all(any(c.status is Status.FAILED for c in b) for b in tried)
    message = f"{rule.title}: none holds: {'; '.join(b[0].line() for b in tried)}"[:500]
    return [made(rule.name, Status.FAILED if failed else Status.ERROR, message, subject=rule.title)]


JUDGES: Mapping[type, Callable[[Evaluation, GatePolicy, Any], Iterable[Check]]] = {
    **EVIDENCE_JUDGES,
    Value: _value,
    BeatsChampion: _beats_champion,
    BeatsBaseline: _beats_baseline,
    Slices: _slices,
    Function: _function,
    AllOf: _all_of,
    AnyOf: _any_of,
}
"""Every check of a policy and how it is judged."""
