"""Drift: has the data become other than what the model was trained on, and does it matter.

A column drifts when **two conditions hold together**: its p-value, corrected over everything that the check tests
(Benjamini-Hochberg), is at most ``alpha``, *and* its effect size passes a floor. The first alone flags nothings in
large batches, the second alone flags noise in small ones. The floor is the policy's and what chance adds to it in a
batch of this size, found by drawing again from the two histograms.

Everything is computed from two profiles: no row is read. The verdict is a function of both profiles' digests and the
policy's: a check made again next year, over the same partition, says the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.drift_bounds import QUADRATIC, ks_bound, quadratic_bounds, wasserstein_bound
from airflow_mlops.core.drift_cells import NotComparable, TooFew, categorical_cells, numeric_cells, unseen_rows
from airflow_mlops.core.drift_features import Finding, distinct_share, share, unseen_share
from airflow_mlops.core.drift_policy import SHARES, DriftPolicy
from airflow_mlops.core.drift_statistics import CATEGORICAL, EFFECTS, NUMERIC, Cells, Effect, risen_floor
from airflow_mlops.core.drift_tests import TESTS, Test, benjamini_hochberg, refined, share_test
from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.results import JSON, Check, Report, Severity, Status, digest

if TYPE_CHECKING:
    from airflow_mlops.core.columns import ColumnProfile
    from airflow_mlops.core.profile import Profile

__all__ = ["DriftPolicy", "check_drift", "drifted_columns", "figures"]


def check_drift(
    reference: Profile,
    current: Profile,
    policy: DriftPolicy | None = None,
    *,
    seed: int = 0,
    subject: str = "",
    columns: Iterable[str] = (),
    importances: Mapping[str, float | None] | None = None,
    effects: Mapping[str, Effect] = EFFECTS,
    tests: Mapping[str, Test] = TESTS,
) -> Report:
    """Compare two profiles column by column.

    :param reference: what is normal, as logged with the model; both must be counted in the same bins.
    :param current: the batch that is judged.
    :param seed: of the resampling behind the floors; part of what the verdict is a function of.
    :param subject: what people call the batch.
    :param columns: all columns of the batch, where its profile has only some of them.
    :param importances: column -> weight >= 0, for the rule ``importance``; one for every checked column.
    :param effects: the table that the policy's names are looked up in, with one's own statistics.
    :param tests: likewise for the tests.
    :returns: a report of kind ``drift`` with a check for every feature of every column and one for the dataset.
        ``PASSED`` says no drift, ``FAILED`` drift, ``INSUFFICIENT`` neither, ``ERROR`` that it could not be known.
    :raises PolicyError: for a test or an effect that is not defined for its kind of column, or unknown.
    """
    policy = policy or DriftPolicy()
    _known(policy, effects, tests)
    inputs = {
        "reference": reference.digest,
        "current": current.digest,
        "policy": digest(policy.digest, seed, dict(importances or {})),
    }
    watched = [c for c in reference.columns if policy.watches(c)]
    checks = _schema(reference, current, watched, policy, [*current.columns, *columns])
    broken = {c.subject for c in checks if c.status in (Status.FAILED, Status.ERROR)}
    pairs = [(reference.columns[c], current.columns[c]) for c in watched if c not in broken]
    findings: list[Finding] = []
    if not watched:
        checks.append(_check("columns", Status.ERROR, "", "the policy leaves no column of the reference to check"))
    elif (few := min(reference.rows, current.rows)) < policy.minimum_rows:
        which = "reference" if reference.rows < current.rows else "batch"
        message = f"the {which} has {few} rows; {policy.minimum_rows} would be enough"
        checks.append(
            _check("rows", Status.INSUFFICIENT, "", message, observed=few, details={"enough": policy.minimum_rows})
        )
    else:
        for pair in pairs:
            found, other = _features(*pair, policy, effects, tests)
            findings += found
            checks += other
        checks += _judge(findings, policy, effects, inputs)
    checks, details = _conclude(checks, watched, policy, importances)
    details |= {"rows": {"reference": reference.rows, "current": current.rows}, "alpha": policy.alpha}
    return Report(kind="drift", subject=subject or current.name, checks=tuple(checks), inputs=inputs, details=details)


def drifted_columns(report: Report) -> list[str]:
    """The columns that drifted, the largest effect over its floor first."""
    worst: dict[str, float] = {}
    for check in report.checks:
        if check.status is Status.FAILED and check.subject and check.name not in ("dataset", "new_column"):
            excess = check.details.get("excess")
            worst[check.subject] = max(worst.get(check.subject, 0.0), excess if isinstance(excess, float) else math.inf)
    return sorted(worst, key=lambda c: (-worst[c], c))


def figures(report: Report) -> dict[str, float]:
    """The figures of a report that are worth a curve over time: shares and the largest effects."""
    found: dict[str, float] = {}
    for key in ("share_drifted", "columns_drifted"):
        if isinstance(value := report.details.get(key), int | float):
            found[key] = float(value)
    for check in report.checks:
        sizes = check.details.get("effects")
        for name, size in sizes.items() if isinstance(sizes, Mapping) else ():
            if isinstance(size, int | float):
                found[f"max_{name}"] = max(found.get(f"max_{name}", 0.0), float(size))
    return found


def _known(policy: DriftPolicy, effects: Mapping[str, Effect], tests: Mapping[str, Test]) -> None:
    for kind, name, table, what in (
        (NUMERIC, policy.numeric_test, tests, "drift test"),
        (CATEGORICAL, policy.categorical_test, tests, "drift test"),
        (NUMERIC, policy.numeric_effect, effects, "drift effect"),
        (CATEGORICAL, policy.categorical_effect, effects, "drift effect"),
    ):
        if name not in table:
            raise UnknownName(what, name, table)
        if kind not in table[name].kinds:
            raise PolicyError(f"{what} {name!r} is not defined for {kind} columns")
    for name in policy.floors:
        if name not in effects and name not in SHARES:
            raise UnknownName("drift floor", name, [*effects, *SHARES])


def _schema(
    reference: Profile, current: Profile, watched: list[str], policy: DriftPolicy, there: list[str]
) -> list[Check]:
    checks = []
    for name in watched:
        if name not in current.columns:
            checks.append(_check("schema", Status.FAILED, name, "the column is gone", expected="present"))
            continue
        was, now = reference.columns[name], current.columns[name]
        if was.kind != now.kind and now.valid and was.valid:
            message = f"the column was {was.kind} ({was.type}) and is {now.kind} ({now.type})"
            checks.append(_check("schema", Status.FAILED, name, message, observed=now.type, expected=was.type))
    if policy.new_columns != "ignore":
        severity = Severity.CRITICAL if policy.new_columns == "fail" else Severity.WARNING
        new = [c for c in dict.fromkeys(there) if c not in reference.columns and policy.watches(c)]
        message = "the reference does not have this column"
        checks += [_check("new_column", Status.FAILED, c, message, severity=severity) for c in new]
    return checks


def _features(
    was: ColumnProfile,
    now: ColumnProfile,
    policy: DriftPolicy,
    effects: Mapping[str, Effect],
    tests: Mapping[str, Test],
) -> tuple[list[Finding], list[Check]]:
    findings = [share("null_share", was, was.nulls, was.count, now.nulls, now.count, policy)]
    if was.nonfinite or now.nonfinite:
        findings.append(share("nonfinite_share", was, was.nonfinite, was.count, now.nonfinite, now.count, policy))
    if not was.valid or not now.valid:
        message = "no values to compare: " + (
            "both have nulls only" if was.valid == now.valid else "one has nulls only"
        )
        return findings, [_check("distribution", Status.SKIPPED, was.name, message)]
    if was.kind == now.kind == "text" and min(was.valid, now.valid) >= policy.minimum_rows:
        findings.append(distinct_share(was, now, policy))
    if was.kind not in (NUMERIC, CATEGORICAL) or was.kind != now.kind:
        return findings, []
    if was.kind == CATEGORICAL and (unseen := unseen_rows(was, now)) is not None:
        findings.append(unseen_share(was, unseen, now.valid, policy))
    few = min(was.valid, now.valid)
    if few < policy.minimum_rows:
        rows = was.count if was.valid <= now.valid else now.count
        enough = math.ceil(policy.minimum_rows * rows / few)
        return findings, [_insufficient(was.name, f"{few} values; {enough} rows would be enough", few, enough)]
    try:
        cells = (numeric_cells if was.kind == NUMERIC else categorical_cells)(was, now)
    except TooFew as reason:
        if reason.enough is None:
            findings.append(distinct_share(was, now, policy))
            return findings, [_check("distribution", Status.SKIPPED, was.name, str(reason))]
        message = f"{reason}; {reason.enough} rows would be enough"
        return findings, [_insufficient(was.name, message, few, reason.enough)]
    except NotComparable as reason:
        return findings, [_check("distribution", Status.ERROR, was.name, str(reason))]
    findings.append(_distribution(was, cells, policy, effects, tests))
    return findings, []


def _distribution(
    was: ColumnProfile,
    cells: Cells,
    policy: DriftPolicy,
    effects: Mapping[str, Effect],
    tests: Mapping[str, Test],
) -> Finding:
    kind = was.kind
    name = policy.numeric_effect if kind == NUMERIC else policy.categorical_effect
    test = policy.numeric_test if kind == NUMERIC else policy.categorical_test
    r, c = cells.reference, cells.current
    k = len(r)
    sizes = {e: float(effect.function(r, c, cells)) for e, effect in effects.items() if kind in effect.kinds and k > 1}
    if k == 1:
        p_value, statistic = 1.0, 0.0
    elif k == 2:
        p_value, statistic, test = share_test(r[1], sum(r), c[1], sum(c)), sizes[name], "two_proportions"
    else:
        statistic, p_value = tests[test].function(r, c)
        if p_value <= policy.alpha:  # only there it can matter
            p_value = refined(tests[test], r, c, p_value, seed=int(digest(list(r), list(c)), 16))
    details: dict[str, JSON] = {"test": test, "statistic": statistic, "cells": k, "effects": dict(sizes)}
    if kind == NUMERIC and k > 1:
        details["errors"] = {"ks_distance": ks_bound(r, c), "wasserstein": wasserstein_bound(cells)}
        if test in QUADRATIC and p_value <= policy.alpha:
            details["statistic_on_rows"] = list(quadratic_bounds(r, c, tails=QUADRATIC[test]))
    floor = policy.floors.get(name, effects[name].floor)
    return Finding("distribution", was.name, p_value, sizes.get(name, 0.0), floor, name, details, cells, k > 1)


def _judge(
    findings: list[Finding], policy: DriftPolicy, effects: Mapping[str, Effect], inputs: Mapping[str, str]
) -> list[Check]:
    """Both conditions, once all p-values are there. Where nothing could differ, nothing is tested.

    A figure that is not finite is an error and has no part in the correction of the others.
    """
    broken = {id(f) for f in findings if not _usable(f)}
    tested = [f for f in findings if f.testable and id(f) not in broken]
    adjusted = dict(zip(map(id, tested), benjamini_hochberg([f.p_value for f in tested]), strict=True))
    checks = []
    for f in findings:
        corrected = adjusted.get(id(f), 1.0)
        floor = f.floor
        endless = math.isinf(f.effect)
        if corrected <= policy.alpha and f.effect >= floor and f.cells is not None and not endless:
            seed = int(digest(dict(inputs), f.column), 16)
            floor = risen_floor(f.cells, effects[f.measure], floor, seed=seed, replicates=policy.replicates)
        if id(f) in broken or not math.isfinite(floor):
            message = f"{f.measure} {f.effect:.3g}, p {f.p_value:.2g}, floor {floor:.3g}: not finite, nothing is known"
            checks.append(_check(f.name, Status.ERROR, f.column, message, details={**f.details, "measure": f.measure}))
            continue
        drift = corrected <= policy.alpha and f.effect >= floor
        details = {**f.details, "p_value": f.p_value, "corrected": corrected, "floor": floor, "measure": f.measure}
        details["excess"] = f.effect / floor if floor > 0 else f.effect
        if endless:
            details["note"] = "the reference is constant: any move is past every floor in its standard deviations"
        checks.append(
            _check(
                f.name,
                Status.FAILED if drift else Status.PASSED,
                f.column,
                f"{f.measure} {f.effect:.3g}{_error(f)} (floor {floor:.3g}), corrected p {corrected:.2g}",
                observed=f.effect,
                expected=f"{f.measure} < {floor:.3g} or corrected p > {policy.alpha:g}",
                details=details,
            )
        )
    return checks


def _error(finding: Finding) -> str:
    """What binning can hide of the effect, where it is not defined by the bins."""
    errors = finding.details.get("errors")
    error = errors.get(finding.measure) if isinstance(errors, Mapping) else None
    return f" (on the rows up to {error:.2g} from that)" if isinstance(error, float) and error > 0 else ""


def _usable(finding: Finding) -> bool:
    """Whether both figures can be judged; only against a constant reference an effect may be infinite."""
    constant = finding.cells is not None and bool(finding.cells.points) and finding.cells.scale == 0
    effect = math.isfinite(finding.effect) or (finding.effect == math.inf and constant)
    return effect and math.isfinite(finding.p_value)


def _conclude(
    checks: list[Check], watched: list[str], policy: DriftPolicy, importances: Mapping[str, float | None] | None
) -> tuple[list[Check], dict[str, JSON]]:
    """The verdict over the columns, by the policy's rule; under a share no column stands in the way by itself."""
    of = {s: {c.subject for c in checks if c.status is s and c.name != "new_column"} & set(watched) for s in Status}
    failed, errors = of[Status.FAILED], of[Status.ERROR]
    unknown = (errors | of[Status.INSUFFICIENT]) - failed
    weights, unweighted = policy.weights(watched, importances)
    status, share = policy.verdict({**dict.fromkeys(unweighted, 0.0), **weights}, failed, unknown, errors)
    if unweighted or (policy.rule == "importance" and sum(weights.values()) <= 0):
        message = "no checked column has an importance above 0"
        if unweighted:
            message = f"no importance >= 0 is known of {len(unweighted)} columns: {', '.join(unweighted[:10])}"
        checks = [*checks, _check("importances", Status.ERROR, "", message)]
        status = Status.ERROR
    blind = any(c.name == "rows" for c in checks)
    compared = any(c.name in VALUES and c.status in (Status.PASSED, Status.FAILED) for c in checks)
    if status is Status.PASSED and not compared and not blind:  # shares of nulls alone: that is not "no drift"
        status = Status.INSUFFICIENT
    known = status is Status.FAILED or (status is Status.PASSED and not errors and not blind)
    details: dict[str, JSON] = {
        "drift": status is Status.FAILED if known else None,
        "columns": len(watched),
        "columns_drifted": len(failed),
        "columns_unknown": len(watched) - len(failed) if blind else len(unknown),
        "share_drifted": share,
        "rule": policy.rule if policy.rule == "any" else f"{policy.rule} >= {policy.share:g}",
    }
    if policy.rule != "any":
        # A vanished or retyped column stays critical, and one that can't be compared: no share makes up for it.
        checks = [
            dataclasses.replace(c, severity=Severity.WARNING)
            if c.subject and c.name != "schema" and c.status is not Status.ERROR
            else c
            for c in checks
        ]
    if not compared:
        checks = [
            dataclasses.replace(c, severity=Severity.CRITICAL) if c.status is Status.INSUFFICIENT else c for c in checks
        ]
    if any(c.status in (Status.PASSED, Status.FAILED) and c.name not in ("new_column", "schema") for c in checks):
        message = f"{len(failed)} of {len(watched) - len(unknown)} columns drifted ({share:.0%})"
        message += f"; of {len(unknown)} it is not known" if unknown else ""
        if not compared and status is Status.INSUFFICIENT:
            message += "; no column has values that could be compared, only shares of nulls were"
        checks = [_check("dataset", status, "", message, observed=share, expected=str(details["rule"])), *checks]
    return checks, details


VALUES = ("distribution", "distinct_share")
"""Checks that looked at a column's values."""


def _insufficient(column: str, message: str, seen: int, enough: int) -> Check:
    return _check(
        "distribution",
        Status.INSUFFICIENT,
        column,
        message,
        observed=seen,
        details={"enough": enough},
        severity=Severity.WARNING,
    )


def _check(name: str, status: Status, subject: str, message: str, **more: Any) -> Check:
    return Check(name=name, status=status, subject=subject, message=message, **more)
