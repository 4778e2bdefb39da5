"""Performance in production: realised once labels are there, estimated before.

Three things keep an alarm from meaning something else. *Labels come late*: rows younger than the label lag are not
judged, and below the coverage floor nothing is, because the labels that come first are not like the rest. *Samples
scatter*: a figure fails only where its whole interval is past the bound, a drop only where it is both larger than
allowed and more than chance. *Estimates are not observations*: they are named so in every check, and where a realised
figure is there they are only recorded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.estimation import calibration_of, estimate
from airflow_mlops.core.figures import Figure, realised, realised_slices
from airflow_mlops.core.metrics import METRICS, Metric
from airflow_mlops.core.performance_policy import Bound, PerformancePolicy
from airflow_mlops.core.results import JSON, Check, Report, Severity, Status, finite

__all__ = [
    "Bound",
    "Figure",
    "Labels",
    "PerformancePolicy",
    "calibration_of",
    "check_performance",
    "estimate",
    "realised",
    "realised_slices",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """How many labels there are, and what is wrong with them: what a join of predictions with labels found.

    :param predictions: rows that were predicted.
    :param due: of those, rows older than the label lag: their label should be there.
    :param labelled: of those, rows that have one.
    :param without_id: predictions whose key is null or missing.
    :param repeated_ids: predictions whose key another prediction has too.
    :param repeated: labels that say the same as an earlier one of the same key; counted once.
    :param contradicting: keys whose labels differ.
    """

    predictions: int
    due: int
    labelled: int
    without_id: int = 0
    repeated_ids: int = 0
    repeated: int = 0
    contradicting: int = 0

    @property
    def coverage(self) -> float | None:
        """Labelled rows as a share of the due ones; ``None`` where none is due."""
        return self.labelled / self.due if self.due else None

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {**dataclasses.asdict(self), "coverage": self.coverage}


def check_performance(
    policy: PerformancePolicy,
    *,
    labels: Labels,
    observed: Mapping[str, Figure],
    estimated: Mapping[str, Figure] | None = None,
    reference: Mapping[str, float | None] | None = None,
    reference_errors: Mapping[str, float | None] | None = None,
    inputs: Mapping[str, str] | None = None,
    subject: str = "",
    metrics: Mapping[str, Metric] = METRICS,
    outputs: Iterable[Check] = (),
    slices: Mapping[str, Mapping[str, Figure]] | None = None,
) -> Report:
    """Judge one batch of predictions.

    :param labels: what the join found.
    :param observed: metric -> realised figure; empty where no row is labelled.
    :param estimated: metric -> estimated figure.
    :param reference: metric -> figure of the version on its holdout; what a drop is measured from.
    :param reference_errors: metric -> standard error of that figure.
    :param inputs: name -> digest of everything the verdict is a function of; the policy's is added.
    :param metrics: the table that says which direction is better.
    :param outputs: checks of the predictions themselves, as they are.
    :param slices: ``column=value`` -> metric -> realised figure; held against ``lower`` and ``upper`` as warnings.
    :returns: a report of kind ``performance``; ``details["basis"]`` says ``realised``, ``estimated`` or ``none``.
    """
    checks = _labels(labels, policy)
    usable = not any(c.blocks for c in checks)
    broken = any(c.status is Status.ERROR for c in checks)
    judged: Mapping[str, Figure] = observed if usable else {}
    basis = "realised" if usable else "none"
    if not usable and not broken and estimated and policy.estimates == "judge":
        judged, basis = estimated, "estimated"
        checks = [dataclasses.replace(c, severity=Severity.WARNING) if not c.passed else c for c in checks]
    figures: list[Check] = []
    if basis != "none":
        for name, bound in policy.bounds.items():
            figure = judged.get(name)
            if figure is None and basis == "estimated":
                message = f"{name} can not be estimated without labels"
                figures.append(Check(name="value", status=Status.SKIPPED, subject=name, message=message))
                continue
            figure = figure or Figure(value=None, why=f"{name} was not computed")
            before = (reference or {}).get(name)
            error = (reference_errors or {}).get(name)
            figures += _bounded(name, figure, bound, policy, before, error, metrics)
        if not policy.bounds:
            figures += [_reported(name, figure) for name, figure in judged.items()]
        if all(c.status is Status.SKIPPED for c in figures):  # labels or sound outputs alone say nothing of the model
            status = Status.ERROR if basis == "realised" else Status.INSUFFICIENT
            figures.append(Check(name="value", status=status, message=f"no figure: nothing {basis} could be judged"))
    checks += figures
    if basis == "realised":
        checks += [c for name, found in (slices or {}).items() for c in _slice(name, found, policy, metrics)]
    checks = [*checks, *outputs]
    details: dict[str, JSON] = {
        "basis": basis,
        "labels": labels.to_dict(),
        "realised": {k: f.to_dict() for k, f in observed.items()},
        "estimated": {k: f.to_dict() for k, f in (estimated or {}).items()} if policy.estimates != "ignore" else {},
        "reference": dict(reference or {}),
        "slices": {name: {k: f.to_dict() for k, f in found.items()} for name, found in (slices or {}).items()},
    }
    return Report(
        kind="performance",
        subject=subject,
        checks=tuple(checks),
        inputs={**(inputs or {}), "policy": policy.digest},
        details=details,
    )


def _slice(
    name: str, figures: Mapping[str, Figure], policy: PerformancePolicy, metrics: Mapping[str, Metric]
) -> list[Check]:
    """A slice's figures against the bounds of all: it is said, and does not decide."""
    checks = []
    for metric, bound in policy.bounds.items():
        if metric not in figures or (bound.lower is None and bound.upper is None):
            continue
        alone = dataclasses.replace(bound, max_drop=None, max_relative_drop=None)
        for check in _bounded(metric, figures[metric], alone, policy, None, None, metrics):
            status = Status.INSUFFICIENT if check.status is Status.ERROR else check.status
            checks.append(
                dataclasses.replace(
                    check, name="slice_value", subject=f"{name} {metric}", status=status, severity=Severity.WARNING
                )
            )
    return checks


def _labels(labels: Labels, policy: PerformancePolicy) -> list[Check]:
    """What has to hold before a realised figure means anything."""
    checks = []
    for name, count, message in (
        ("ids", labels.without_id, "predictions have no id and can't be joined with labels"),
        ("repeated_ids", labels.repeated_ids, "predictions share an id with another one"),
        ("contradicting_labels", labels.contradicting, "ids have labels that contradict one another"),
    ):
        if count:
            checks.append(
                Check(name=name, status=Status.ERROR, observed=count, expected="0", message=f"{count} {message}")
            )
    if labels.repeated:
        message = f"{labels.repeated} labels are there more than once and say the same; each id counts once"
        checks.append(
            Check(
                name="repeated_labels",
                status=Status.FAILED,
                severity=Severity.WARNING,
                observed=labels.repeated,
                expected="0",
                message=message,
            )
        )
    needed = max(policy.minimum_rows, math.ceil(policy.minimum_coverage * labels.due - 1e-9))
    enough = labels.labelled >= needed
    if not labels.due:
        message = f"no row of {labels.predictions} is older than the label lag"
    else:
        message = f"{labels.labelled} of {labels.due} due rows have a label; {needed} are needed"
    checks.append(
        Check(
            name="coverage",
            status=Status.PASSED if enough else Status.INSUFFICIENT,
            observed=labels.coverage,
            expected=f"coverage >= {policy.minimum_coverage:g} and at least {policy.minimum_rows} rows",
            message=message,
            details={"enough": needed},
        )
    )
    return checks


def _bounded(
    name: str,
    figure: Figure,
    bound: Bound,
    policy: PerformancePolicy,
    before: float | None,
    before_error: float | None,
    metrics: Mapping[str, Metric],
) -> list[Check]:
    prefix = "estimated_" if figure.estimated else ""
    if finite(figure.value) is None or figure.value is None:
        message = figure.why or f"{name} is not a finite number"
        return [Check(name=f"{prefix}value", status=Status.ERROR, subject=name, message=message)]
    if vague := [word for word in ("error", "low", "high") if _broken(getattr(figure, word))]:
        message = f"how sure {name} is can't be known: its {' and '.join(vague)} is not finite"
        return [Check(name=f"{prefix}value", status=Status.ERROR, subject=name, message=message)]
    checks = []
    low, high = _interval(figure, policy.confidence)
    details: dict[str, JSON] = {"low": low, "high": high, "estimated": figure.estimated}
    word = "estimated " if figure.estimated else ""
    if bound.lower is not None or bound.upper is not None:
        least = -math.inf if bound.lower is None else bound.lower
        most = math.inf if bound.upper is None else bound.upper
        past = high < least or low > most
        expected = " and ".join(
            [f">= {least:g}"] * (bound.lower is not None) + [f"<= {most:g}"] * (bound.upper is not None)
        )
        near = "" if past or least <= figure.value <= most else ": past it, within its noise"
        checks.append(
            Check(
                name=f"{prefix}value",
                status=Status.FAILED if past else Status.PASSED,
                subject=name,
                observed=figure.value,
                expected=f"{name} {expected}",
                message=f"{word}{name} {figure.value:.4g} [{low:.4g}, {high:.4g}], bound {expected}{near}",
                details=details,
            )
        )
    if bound.max_drop is not None or bound.max_relative_drop is not None:
        checks.append(_drop(name, figure, bound, policy, before, before_error, metrics, prefix))
    return checks


def _drop(
    name: str,
    figure: Figure,
    bound: Bound,
    policy: PerformancePolicy,
    before: float | None,
    before_error: float | None,
    metrics: Mapping[str, Metric],
    prefix: str,
) -> Check:
    if name not in metrics:
        raise UnknownName("metric", name, metrics)
    if before is None or finite(before) is None or figure.value is None:
        message = f"there is no holdout figure of {name} to measure a drop from"
        return Check(name=f"{prefix}drop", status=Status.ERROR, subject=name, message=message)
    if _broken(before_error):
        message = f"how sure the holdout figure of {name} is can't be known: its error is not finite"
        return Check(name=f"{prefix}drop", status=Status.ERROR, subject=name, message=message)
    drop = before - figure.value if metrics[name].higher_is_better else figure.value - before
    limits = [x for x in (bound.max_drop, _share_of(bound.max_relative_drop, before)) if x is not None]
    allowed = min(limits)
    error = math.hypot(_error(figure, policy.confidence), before_error or 0.0)
    surely = drop - _z(policy.confidence) * error
    failed = drop > allowed and surely > 0
    return Check(
        name=f"{prefix}drop",
        status=Status.FAILED if failed else Status.PASSED,
        subject=name,
        observed=drop,
        expected=f"{name} at most {allowed:.4g} worse than {before:.4g}",
        message=f"{'estimated ' if prefix else ''}{name} {figure.value:.4g}, {drop:+.4g} worse than {before:.4g} "
        f"on the holdout; {allowed:.4g} is allowed",
        details={"reference": before, "surely": surely, "error": error, "estimated": figure.estimated},
    )


def _reported(name: str, figure: Figure) -> Check:
    """A metric without a bound: a figure that is there passes, one that is not is an error."""
    known = finite(figure.value) is not None
    return Check(
        name="estimated_value" if figure.estimated else "value",
        status=Status.PASSED if known else Status.ERROR,
        subject=name,
        observed=figure.value,
        message="no bound" if known else figure.why,
    )


def _broken(figure: float | None) -> bool:
    """Whether a figure is there and no finite number; one that was never given is no error."""
    return figure is not None and finite(figure) is None


def _share_of(share: float | None, of: float) -> float | None:
    return None if share is None else share * abs(of)


def _z(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _interval(figure: Figure, confidence: float) -> tuple[float, float]:
    if figure.value is None:
        raise UsageError("a figure without a value has no interval")
    if figure.low is not None and figure.high is not None:
        return figure.low, figure.high
    reach = _z(confidence) * (figure.error or 0.0)
    return figure.value - reach, figure.value + reach


def _error(figure: Figure, confidence: float) -> float:
    if figure.error is not None:
        return figure.error
    low, high = _interval(figure, confidence)
    return (high - low) / (2 * _z(confidence))
