"""How the checks are judged that look at more than figures: the model itself, its rows, its groups."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_mlops.core.evaluation import Contender, Evaluation, Slice
from airflow_mlops.core.judging import at_least, known, made, then_of, without_champion
from airflow_mlops.core.policies import (
    Calibration,
    EnoughRows,
    Fairness,
    GatePolicy,
    Latency,
    NoLeakage,
    PredictionParity,
    SignatureCompatible,
    Size,
)
from airflow_mlops.core.results import Check, Status, finite

FEWEST_CALLS = 20
"""Of fewer the slowest twentieth is no call at all."""


def _signature(evaluation: Evaluation, policy: GatePolicy, rule: SignatureCompatible) -> Iterable[Check]:
    if ended := without_champion(evaluation, policy, rule.name, "champion"):
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
    held = at_least(-number, -most)
    message = f"{number:.6g} {unit}, at most {most:g} is allowed"
    status = Status.PASSED if held else Status.FAILED
    return made(name, status, message, subject=key, observed=number, expected=f"{key} <= {most:g}")


def _latency(evaluation: Evaluation, policy: GatePolicy, rule: Latency) -> Iterable[Check]:
    measured = evaluation.candidate.details.get("latency_ms")
    seen = measured if isinstance(measured, Mapping) else {}
    limits = {"p95": rule.p95_ms, "p50": rule.p50_ms}
    calls = finite(seen.get("calls"))
    if rule.p95_ms is not None and seen and (calls is None or calls < FEWEST_CALLS):
        many = "an unknown number of" if calls is None else f"{calls:g}"
        why = f"{many} calls have no 95th percentile, {FEWEST_CALLS} are needed: raise latency_calls"
        return [made(rule.name, Status.INSUFFICIENT, why, subject="p95")]
    return [_limit(rule.name, k, seen.get(k), most, "ms") for k, most in limits.items() if most is not None]


def _size(evaluation: Evaluation, policy: GatePolicy, rule: Size) -> Iterable[Check]:
    return [_limit(rule.name, "size", evaluation.candidate.details.get("size_bytes"), rule.max_bytes, "bytes")]


def _calibration(evaluation: Evaluation, policy: GatePolicy, rule: Calibration) -> Iterable[Check]:
    figure = evaluation.figure(rule.metric)
    value, why = known(figure, rule.metric, "candidate")
    expected = f"{rule.metric} <= {rule.upper:g}"
    if figure is None or value is None:
        return [made(rule.name, Status.ERROR, why, subject=rule.metric, expected=expected)]
    end = None
    status, message = Status.PASSED, f"{rule.metric} is {value:.6g}"
    if not at_least(-value, -rule.upper):
        status, message = Status.FAILED, f"{message}, not {expected}"
    elif rule.confidence is not None:
        expected = f"{rule.confidence:g} upper bound of {expected}"
        end = figure.upper_bound(rule.confidence)
        if end is None:
            status, message = (
                Status.ERROR,
                f"{figure.replicates} resamples give no {rule.confidence:g} confidence bound",
            )
        elif not at_least(-end, -rule.upper):
            status = Status.FAILED
            message += f", and with {rule.confidence:g} confidence only below {end:.6g}, not {rule.upper:g}"
    return [made(rule.name, status, message, subject=rule.metric, observed=value, expected=expected, bound=end)]


def _parity(evaluation: Evaluation, policy: GatePolicy, rule: PredictionParity) -> Iterable[Check]:
    expected = f"difference <= {rule.max_difference:g}"
    seen = evaluation.candidate.details.get("parity")
    parity = seen if isinstance(seen, Mapping) else {}
    rows, differing, most = (finite(parity.get(k)) for k in ("rows", "differing", "max_difference"))
    if parity.get("error") or not rows or differing is None or most is None:
        why = str(parity.get("error") or "the model was not loaded a second time")
        return [made(rule.name, Status.ERROR, why, expected=expected)]
    held = differing == 0 and most >= 0 and at_least(-most, -rule.max_difference)
    labels = f"{differing:g} of {rows:g} labels differ" if differing else f"the same labels on {rows:g} rows"
    status = Status.PASSED if held else Status.FAILED
    message = f"loaded again: {labels}, scores differ by up to {most:.3g}"
    return [made(rule.name, status, message, observed=most, expected=expected)]


def _no_leakage(evaluation: Evaluation, policy: GatePolicy, rule: NoLeakage) -> Iterable[Check]:
    checks = []
    if rule.max_single_feature is not None:
        checks += _single_features(rule, evaluation.leakage.get("features"), rule.max_single_feature)
    if rule.max_duplicates is not None:
        checks.append(_duplicates(rule, evaluation.leakage.get("duplicates"), rule.max_duplicates))
    if rule.time_order:
        checks.append(_time_order(rule, evaluation))
    if rule.max_repeated is not None:
        checks.append(_repeated(rule, evaluation.leakage.get("repeated"), rule.max_repeated))
    return checks


def _repeated(rule: NoLeakage, seen: Any, most: float) -> Check:
    share = finite(seen.get("share")) if isinstance(seen, Mapping) else None
    expected = f"share of rows that repeat another <= {most:g}"
    if share is None or not 0 <= share <= 1:
        return made(rule.name, Status.ERROR, "repeated rows were not counted", subject="repeated", expected=expected)
    status = Status.PASSED if at_least(-share, -most) else Status.FAILED
    message = f"{share:.3g} of the rows repeat another of them, at most {most:g} is allowed"
    return made(rule.name, status, message, subject="repeated", observed=share, expected=expected)


def _enough_rows(evaluation: Evaluation, policy: GatePolicy, rule: EnoughRows) -> Iterable[Check]:
    rows, without = evaluation.rows, evaluation.dropped
    status = Status.PASSED if rows >= rule.min_rows else Status.INSUFFICIENT
    expected = f"rows >= {rule.min_rows}"
    message = f"{rows} rows judged it, at least {rule.min_rows} are needed"
    checks = [made(rule.name, status, message, subject="rows", observed=rows, expected=expected)]
    if rule.max_unlabelled is not None:
        share = without / (rows + without) if rows + without else 1.0
        status = Status.PASSED if at_least(-share, -rule.max_unlabelled) else Status.FAILED
        message = f"{without} of {rows + without} rows have no label, at most {rule.max_unlabelled:g} may"
        expected = f"share without a label <= {rule.max_unlabelled:g}"
        checks.append(made(rule.name, status, message, subject="unlabelled", observed=share, expected=expected))
    return checks


def _single_features(rule: NoLeakage, seen: Any, most: float) -> list[Check]:
    scores = seen.get("scores") if isinstance(seen, Mapping) else None
    expected = f"each column alone <= {most:g}"
    if not isinstance(scores, Mapping) or not scores:
        why = str(seen.get("error") or "") if isinstance(seen, Mapping) else ""
        return [
            made(rule.name, Status.ERROR, why or "no column was tried alone", subject="features", expected=expected)
        ]
    unknown = sorted(c for c, v in scores.items() if finite(v) is None)
    told = {str(c): number for c, v in scores.items() if (number := finite(v)) is not None}
    high = sorted((c for c, v in told.items() if not at_least(-v, -most)), key=lambda c: (-told[c], c))
    checks = [
        made(
            rule.name,
            Status.FAILED,
            f"{c} alone tells the label at {told[c]:.6g}, at most {most:g} is allowed",
            subject=c,
            observed=told[c],
            expected=expected,
        )
        for c in high
    ]
    if unknown:
        message = f"not known of {', '.join(unknown[:5])}"
        checks.append(made(rule.name, Status.ERROR, message, subject="features", expected=expected))
    if not checks:
        top = max(told, key=lambda c: (told[c], c))
        message = f"the best of {len(told)} columns alone is {top} at {told[top]:.6g}"
        checks.append(
            made(rule.name, Status.PASSED, message, subject="features", observed=told[top], expected=expected)
        )
    return checks


def _duplicates(rule: NoLeakage, seen: Any, most: float) -> Check:
    share = finite(seen.get("share")) if isinstance(seen, Mapping) else None
    expected = f"share of rows known from training <= {most:g}"
    if share is None or not 0 <= share <= 1:
        why = "no training rows were compared; give the evaluation its training_data"
        return made(rule.name, Status.ERROR, why, subject="duplicates", expected=expected)
    held = at_least(-share, -most)
    message = f"{share:.3g} of the rows are among the training rows"
    status = Status.PASSED if held else Status.FAILED
    return made(rule.name, status, message, subject="duplicates", observed=share, expected=expected)


_MOMENT = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?)?)?")


def _time_order(rule: NoLeakage, evaluation: Evaluation) -> Check:
    seen = evaluation.leakage.get("time")
    begins = str((seen.get("begins") if isinstance(seen, Mapping) else "") or "").replace("T", " ")
    until = evaluation.candidate.data_until.replace("T", " ")
    expected = "the rows begin after the data the candidate saw"
    if not _MOMENT.match(begins) or not _MOMENT.fullmatch(until):
        lacks = "the evaluation has no time_column" if not begins else f"data_until of the candidate is {until!r}"
        return made(rule.name, Status.ERROR, f"not known: {lacks}", subject="time", expected=expected)
    # "2013-04" is all of April: rows of that month are not after it, so only as much is compared as both say.
    held = begins[: len(until)] > until[: len(begins)]
    message = f"the rows begin {begins}, the candidate saw data until {until}"
    status = Status.PASSED if held else Status.FAILED
    return made(rule.name, status, message, subject="time", observed=begins, expected=expected)


OF_ALL: Mapping[str, tuple[str, str]] = {
    "selection_rate": ("selected", "rows"),
    "true_positive_rate": ("true_positives", "positives"),
    "false_positive_rate": ("false_positives", "negatives"),
}
"""Each rate as a share: how many, of how many."""


def _share(s: Slice, metric: str) -> tuple[float | None, float]:
    """The rate of a group and how many rows it is a share of."""
    numbers = {k: finite(s.counts.get(k)) for k in ("positives", "selected", "true_positives")}
    positives, selected, hits = (numbers[k] for k in ("positives", "selected", "true_positives"))
    if positives is None or selected is None or hits is None:
        return None, 0
    whole = {"rows": float(s.rows), "positives": positives, "negatives": s.rows - positives}
    part = {"selected": selected, "true_positives": hits, "false_positives": selected - hits}
    of, total = OF_ALL[metric]
    if not 0 <= part[of] <= whole[total]:
        return None, 0
    return (part[of] / whole[total] if whole[total] else None), whole[total]


ODDS = ("true_positive_rate", "false_positive_rate")
"""The rates that equalized odds are about: Hardt, Price, Srebro (2016)."""


def _fairness(evaluation: Evaluation, policy: GatePolicy, rule: Fairness) -> Iterable[Check]:
    if rule.metric == "equalized_odds":
        return [c for rate in ODDS for c in _fairness(evaluation, policy, dataclasses.replace(rule, metric=rate))]
    subject = f"{rule.metric} by {rule.by}"
    found = [s for s in evaluation.slices if s.by == rule.by]
    why = evaluation.slice_errors.get(rule.by, "" if found else f"there are no slices by {rule.by}")
    if why or len({s.value for s in found}) < len(found):
        return [made(rule.name, Status.ERROR, why or "a group is there twice", subject=subject)]
    if any(not s.counts for s in found):
        why = "groups have no counts: rates need two classes, and a candidate that gives labels"
        return [made(rule.name, Status.ERROR, why, subject=subject)]
    rates: dict[str, float] = {}
    checks = []
    for s in found:
        rate, total = _share(s, rule.metric)
        about = f"{subject}={s.value}"
        if total >= rule.min_rows and rate is not None:
            rates[s.value] = rate
        elif rule.on_insufficient == "skip":
            message = f"{about} is left out: {total:g} rows, at least {rule.min_rows} are needed"
            checks.append(made(rule.name, Status.SKIPPED, message, subject=about, observed=total))
        else:
            message = f"{about} has {total:g} rows to be a share of, at least {rule.min_rows} are needed"
            then = then_of(rule.on_insufficient)
            checks.append(made(rule.name, Status.INSUFFICIENT, message, subject=about, observed=total, then=then))
    if len(rates) < 2:
        if not any(c.blocks for c in checks):
            message = f"{len(rates)} groups are large enough: there is nothing to compare"
            checks.append(made(rule.name, Status.INSUFFICIENT, message, subject=subject))
        return checks
    return [*checks, _otherwise(evaluation, rule, subject, rates) or _alike(rule, subject, rates)]


def _otherwise(evaluation: Evaluation, rule: Fairness, subject: str, rates: Mapping[str, float]) -> Check | None:
    """An error where the library says another rate of a group than the counts do."""
    told: Any = evaluation.fairness.get("by")
    for key in (rule.by, rule.metric, "groups"):
        told = told.get(key) if isinstance(told, Mapping) else None
    for group, rate in rates.items():
        said = finite(told.get(group)) if isinstance(told, Mapping) else None
        if isinstance(told, Mapping) and (said is None or abs(said - rate) > 1e-9):
            message = f"{group} is {rate:.6g} by its counts and {said} by {evaluation.fairness.get('with')}"
            return made(rule.name, Status.ERROR, message, subject=subject)
    return None


def _alike(rule: Fairness, subject: str, rates: Mapping[str, float]) -> Check:
    low, high = (pick(rates, key=lambda g: (rates[g], g)) for pick in (min, max))
    difference = rates[high] - rates[low]
    ratio = rates[low] / rates[high] if rates[high] else None
    bounds, failed, unknown = [], [], []
    if rule.max_difference is not None:
        bounds.append(f"difference <= {rule.max_difference:g}")
        if not at_least(-difference, -rule.max_difference):
            failed.append(f"they differ by {difference:.6g}")
    if rule.min_ratio is not None:
        bounds.append(f"ratio >= {rule.min_ratio:g}")
        if ratio is None:
            unknown.append("all rates are 0: they have no ratio")
        elif not at_least(ratio, rule.min_ratio):
            failed.append(f"the ratio is {ratio:.6g}")
    seen = f"{rates[low]:.4g} of {low} to {rates[high]:.4g} of {high}"
    status = Status.FAILED if failed else Status.ERROR if unknown else Status.PASSED
    return made(
        rule.name,
        status,
        "; ".join([seen, *failed, *unknown]),
        subject=subject,
        observed=difference,
        expected=" and ".join(bounds),
        ratio=ratio,
        rates=dict(rates),
    )


EVIDENCE_JUDGES: Mapping[type, Callable[[Evaluation, GatePolicy, Any], Iterable[Check]]] = {
    Calibration: _calibration,
    EnoughRows: _enough_rows,
    Fairness: _fairness,
    Latency: _latency,
    NoLeakage: _no_leakage,
    PredictionParity: _parity,
    SignatureCompatible: _signature,
    Size: _size,
}
"""The checks of this module and how each is judged."""
