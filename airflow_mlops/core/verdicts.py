"""How each check of a policy is judged; one function a check, in one table at the end.

Each takes the evaluation, the policy and the check, and answers with :class:`~.results.Check` values: whatever is not
known is an error and never a pass. The semantics are those of :mod:`airflow_mlops.core.gates`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.metrics import METRICS
from airflow_mlops.core.policies import (
    BeatsBaseline,
    BeatsChampion,
    Function,
    GatePolicy,
    Latency,
    SignatureCompatible,
    Size,
    Slices,
    Value,
)
from airflow_mlops.core.results import Check, Severity, Status, finite

REQUIRE_APPROVAL = "require_approval"

ROUNDING = 1e-12
"""0.7 - 0.6 is 0.09999999999999998 in floating point: a bound is met within this."""


def then_of(policy: str) -> str | None:
    return REQUIRE_APPROVAL if policy == REQUIRE_APPROVAL else None


def made(
    name: str,
    status: Status,
    message: str,
    *,
    subject: str = "",
    observed: Any = None,
    expected: str = "",
    **details: Any,
) -> Check:
    return Check(
        name=name,
        status=status,
        subject=subject,
        observed=observed,
        expected=expected,
        message=message,
        details={k: v for k, v in details.items() if v is not None},
    )


def _known(figure: Figure | None, name: str, who: str) -> tuple[float | None, str]:
    """A figure that can be believed, or why there is none."""
    if figure is None:
        return None, f"{name} was not evaluated"
    table = METRICS.get(name)
    if table is not None and table.direction != figure.direction:
        return None, f"the evaluation says {figure.direction} {name} is better, which is wrong"
    value: float | None = getattr(figure, who)
    if value is None:
        return None, f"the {who} has no {name}: {figure.errors.get(who, 'it is unknown')}"
    if table is not None and not table.possible(value):
        return None, f"{name} of the {who} is {value:.6g}, which is outside {table.low:g} to {table.high:g}"
    return value, ""


def _at_least(value: float, bound: float) -> bool:
    return value >= bound - ROUNDING * max(1.0, abs(bound))


def _within(value: float, lower: float | None, upper: float | None) -> bool:
    return (lower is None or _at_least(value, lower)) and (upper is None or _at_least(-value, -upper))


def _bounds(name: str, lower: float | None, upper: float | None) -> str:
    left = f"{lower:g} <= " if lower is not None else ""
    return f"{left}{name}{f' <= {upper:g}' if upper is not None else ''}"


def _value(evaluation: Evaluation, policy: GatePolicy, rule: Value) -> Iterable[Check]:
    value, why = _known(evaluation.figure(rule.metric), rule.metric, "candidate")
    expected = _bounds(rule.metric, rule.lower, rule.upper)
    if value is None:
        return [made("value", Status.ERROR, why, subject=rule.metric, expected=expected)]
    held = _within(value, rule.lower, rule.upper)
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


def _without_champion(evaluation: Evaluation, policy: GatePolicy, name: str, subject: str) -> Check | None:
    """The check's end where there is nobody to compare with; ``None`` where there is.

    The champion's own check says what the policy makes of it; here it is only that the comparison does not apply.
    """
    champion = evaluation.champion
    if champion.scored:
        return None
    if champion.state == "missing":
        if policy.on_missing_champion == "reject":
            return made(name, Status.ERROR, "there is no champion to compare with", subject=subject)
        return made(name, Status.SKIPPED, f"{name} {subject} does not apply: there is no champion yet", subject=subject)
    if policy.on_broken_champion == "require_approval":
        return made(name, Status.SKIPPED, f"{name} {subject} can't be judged: the champion is broken", subject=subject)
    why = champion.error or "unknown reason"
    return made(name, Status.ERROR, f"champion {champion.version} could not be scored: {why}", subject=subject)


def _beats_champion(evaluation: Evaluation, policy: GatePolicy, rule: BeatsChampion) -> Iterable[Check]:
    name, metric = rule.name, rule.metric
    if ended := _without_champion(evaluation, policy, name, metric):
        # A candidate without the figure is no better for the lack of a champion.
        _, why = _known(evaluation.figure(metric), metric, "candidate")
        return [made(name, Status.ERROR, why, subject=metric)] if why else [ended]
    figure = evaluation.figure(metric)
    candidate, why = _known(figure, metric, "candidate")
    champion, why_not = _known(figure, metric, "champion")
    expected = _expectation(rule)
    if figure is None or candidate is None or champion is None:
        return [made(name, Status.ERROR, why or why_not, subject=metric, expected=expected)]
    improvement = figure.improvement()
    if improvement is None:
        return [made(name, Status.ERROR, "the difference is not finite", subject=metric, expected=expected)]
    failed, unknown = [], []
    if rule.min_absolute is not None and not _at_least(improvement, rule.min_absolute):
        failed.append(f"improvement {improvement:.6g} is below {rule.min_absolute:g}")
    if rule.min_relative:
        needed = finite(rule.min_relative * abs(champion))
        if champion == 0 or needed is None:
            unknown.append(f"{rule.min_relative:g} of a champion at {champion:g} is no bound")
        elif not _at_least(improvement, needed):
            share = f"{rule.min_relative:g} of {abs(champion):.6g}"
            failed.append(f"improvement {improvement:.6g} is below {needed:.6g} ({share})")
    elif rule.min_relative is not None and not _at_least(improvement, 0.0):
        failed.append(f"improvement {improvement:.6g} is below 0")
    bound = None
    if rule.confidence is not None:
        margin = rule.margin or 0.0
        bound = figure.bound(rule.confidence)
        if bound is None:
            unknown.append(f"{figure.replicates} resamples give no {rule.confidence:g} confidence bound")
        elif not _at_least(bound, -margin):
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
    name, metric = rule.name, rule.metric
    figure = evaluation.figure(metric)
    expected = f"improvement over the baseline {f'>= {rule.by:g}' if rule.by else '> 0'}"
    why = _known(figure, metric, "candidate")[1] or _known(figure, metric, "baseline")[1]
    improvement = None if why or figure is None else figure.improvement("baseline")
    if improvement is None or figure is None:
        why = why or "the difference is not finite"
        return [made(name, Status.ERROR, why, subject=metric, expected=expected)]
    held = improvement > 0 and _at_least(improvement, rule.by)
    message = (
        f"{metric} {figure.candidate:.6g} against the baseline's {figure.baseline:.6g}: improvement {improvement:.6g}"
    )
    status = Status.PASSED if held else Status.FAILED
    return [made(name, status, message, subject=metric, observed=improvement, expected=expected)]


def _slices(evaluation: Evaluation, policy: GatePolicy, rule: Slices) -> Iterable[Check]:
    subject = f"{rule.metric} by {rule.by}"
    found = [s for s in evaluation.slices if s.by == rule.by]
    why = evaluation.slice_errors.get(rule.by, "" if found else f"there are no slices by {rule.by}")
    if why:
        return [made(rule.name, Status.ERROR, why, subject=subject)]
    if len({s.value for s in found}) < len(found):
        return [made(rule.name, Status.ERROR, "a slice is there twice", subject=subject)]
    compares = rule.min_absolute is not None
    if compares and (ended := _without_champion(evaluation, policy, rule.name, subject)):
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
    value, why = _known(figure, rule.metric, "candidate")
    improvement = None
    if compares and not why:
        why = _known(figure, rule.metric, "champion")[1]
        improvement = figure.improvement() if figure is not None else None
        why = why or ("the difference is not finite" if improvement is None else "")
    bounds = [_bounds(rule.metric, rule.lower, rule.upper)] if rule.lower is not None or rule.upper is not None else []
    if compares:
        bounds.append(f"improvement >= {rule.min_absolute:g}")
    expected = " and ".join(bounds)
    if value is None or why:
        return made(rule.name, Status.ERROR, why, subject=subject, expected=expected)
    failed = []
    if not _within(value, rule.lower, rule.upper):
        failed.append(f"{rule.metric} is {value:.6g}")
    if improvement is not None and not _at_least(improvement, rule.min_absolute or 0.0):
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


def _signature(evaluation: Evaluation, policy: GatePolicy, rule: SignatureCompatible) -> Iterable[Check]:
    if ended := _without_champion(evaluation, policy, rule.name, "champion"):
        return [ended]
    ours, theirs = (_signature_of(c) for c in (evaluation.candidate, evaluation.champion))
    if not ours["inputs"] or not theirs["inputs"]:
        return [made(rule.name, Status.ERROR, "a model has no signature")]
    needs, has = ours["inputs"], theirs["inputs"]
    further = sorted(set(needs) - set(has))
    retyped = sorted(f"{c} from {has[c]} to {needs[c]}" for c in set(needs) & set(has) if needs[c] != has[c])
    problems = [f"needs further columns {', '.join(further[:5])}"] if further else []
    problems += [f"retyped {', '.join(retyped[:5])}"] if retyped else []
    problems += ["gives another output"] if ours["outputs"] != theirs["outputs"] else []
    status = Status.FAILED if problems else Status.PASSED
    return [made(rule.name, status, "; ".join(problems) or "callers of the champion can call the candidate")]


def _signature_of(contender: Contender) -> dict[str, Any]:
    value = contender.details.get("signature")
    parts = value if isinstance(value, Mapping) else {}
    inputs = parts.get("inputs")
    return {"inputs": inputs if isinstance(inputs, Mapping) else {}, "outputs": parts.get("outputs")}


def _limit(name: str, key: str, value: Any, most: float, unit: str) -> Check:
    number = finite(value)
    if number is None or number < 0:
        return made(name, Status.ERROR, f"{key} was not measured", subject=key, expected=f"{key} <= {most:g}")
    held = _at_least(-number, -most)
    message = f"{number:.6g} {unit}, at most {most:g} is allowed"
    status = Status.PASSED if held else Status.FAILED
    return made(name, status, message, subject=key, observed=number, expected=f"{key} <= {most:g}")


def _latency(evaluation: Evaluation, policy: GatePolicy, rule: Latency) -> Iterable[Check]:
    measured = evaluation.candidate.details.get("latency_ms")
    seen = measured if isinstance(measured, Mapping) else {}
    limits = {"p95": rule.p95_ms, "p50": rule.p50_ms}
    return [_limit(rule.name, k, seen.get(k), most, "ms") for k, most in limits.items() if most is not None]


def _size(evaluation: Evaluation, policy: GatePolicy, rule: Size) -> Iterable[Check]:
    return [_limit(rule.name, "size", evaluation.candidate.details.get("size_bytes"), rule.max_bytes, "bytes")]


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


JUDGES: Mapping[type, Callable[[Evaluation, GatePolicy, Any], Iterable[Check]]] = {
    Value: _value,
    BeatsChampion: _beats_champion,
    BeatsBaseline: _beats_baseline,
    Slices: _slices,
    SignatureCompatible: _signature,
    Latency: _latency,
    Size: _size,
    Function: _function,
}
"""Every check of a policy and how it is judged."""
