"""Validation: from a suite, a schema and a reference profile to one report.

The engine counts; everything here judges plain values. Three judges make one :class:`Report`:

- the suite's expectations (:func:`~airflow_mlops.core.expectations.check_of`),
- the environment: a label is required in ``TRAINING`` and not in ``SERVING`` (:func:`label_checks`), the idea of
  schema environments of TensorFlow Data Validation,
- a reference profile: schema, row count, null share, unseen categories, range (:func:`compare`).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Self

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.expectations import Expectation, Outcome, Suite, check_of, load
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import JSON, Check, Report, Severity, Status, finite

__all__ = [
    "Comparison",
    "Environment",
    "Expectation",
    "Outcome",
    "Suite",
    "applicable",
    "check_of",
    "compare",
    "compare_schema",
    "environment_of",
    "label_checks",
    "load",
    "not_empty",
    "report",
]


class Environment(StrEnum):
    """What the rows are for."""

    TRAINING = "TRAINING"
    """The label has to be there."""
    SERVING = "SERVING"
    """The label is not known yet; what is expected of it does not apply."""


def environment_of(value: str) -> Environment:
    """The environment of that name, in any case.

    :raises UnknownName: for another.
    """
    try:
        return Environment(str(value).upper())
    except ValueError:
        raise UnknownName("environment", value, [e.value for e in Environment]) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far rows may be from a reference profile. ``None`` switches a bound off.

    :param min_rows_ratio: least rows, as a share of the reference's.
    :param max_rows_ratio: most rows, as a share of the reference's.
    :param max_null_share_increase: by how much the share of nulls of a column may grow, 0 to 1, absolute.
    :param max_unseen_share: largest share of values in categories that the reference does not know, 0 to 1.
    :param range_slack: by how much of the reference's range a numeric column may leave it, on either side.
    :param severity: of the bounds above.
    :param schema_severity: of a missing or retyped column.
    :param extra_severity: of a column that the reference does not have.

    >>> Comparison.from_dict({"max_null_share": 0.1})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    airflow_mlops.core.errors.UnknownName: unknown comparison key 'max_null_share': did you mean ...
    """

    min_rows_ratio: float | None = 0.5
    max_rows_ratio: float | None = 2.0
    max_null_share_increase: float | None = 0.1
    max_unseen_share: float | None = 0.05
    range_slack: float | None = 0.5
    severity: Severity = Severity.WARNING
    schema_severity: Severity = Severity.CRITICAL
    extra_severity: Severity = Severity.INFO

    def __post_init__(self) -> None:
        for field in ("severity", "schema_severity", "extra_severity"):
            value = getattr(self, field)
            if value not in [s.value for s in Severity]:
                raise UnknownName("severity", value, [s.value for s in Severity])
            object.__setattr__(self, field, Severity(value))
        for name in _BOUNDS:
            bound = getattr(self, name)
            if bound is not None and (finite(bound) is None or bound < 0):
                raise PolicyError(f"comparison: {name} must be a number of at least 0 or None, got {bound!r}")
        low, high = self.min_rows_ratio, self.max_rows_ratio
        if low is not None and high is not None and low > high:
            raise PolicyError(f"comparison: min_rows_ratio {low} is greater than max_rows_ratio {high}")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """From plain values; unknown keys are refused."""
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName("comparison key", key, names)
        return cls(**dict(value))

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


_BOUNDS = ("min_rows_ratio", "max_rows_ratio", "max_null_share_increase", "max_unseen_share", "range_slack")


def applicable(
    expectations: Iterable[Expectation], *, environment: Environment = Environment.TRAINING, label: str = ""
) -> tuple[list[Expectation], list[Check]]:
    """The expectations that apply in an environment, and a skipped check for each that does not.

    In ``SERVING`` what is expected of the label does not apply, and a list or set of expected columns is expected
    without it.
    """
    kept: list[Expectation] = []
    skipped: list[Check] = []
    for one in expectations:
        if environment is Environment.TRAINING or not label:
            kept.append(one)
        elif label in one.columns:
            text = f"the label {label!r} is not required in {environment}"
            skipped.append(
                Check(
                    name=one.type,
                    subject=one.subject,
                    severity=one.severity,
                    status=Status.SKIPPED,
                    message=text,
                )
            )
        else:
            kept.append(_without(one, label))
    return kept, skipped


def _without(expectation: Expectation, label: str) -> Expectation:
    for key in ("column_set", "column_list"):
        named = expectation.kwargs.get(key)
        if expectation.type.startswith("expect_table_columns") and isinstance(named, list) and label in named:
            kwargs = {**expectation.kwargs, key: [c for c in named if c != label]}
            return dataclasses.replace(expectation, kwargs=kwargs)
    return expectation


def label_checks(profile: Profile, *, label: str, environment: Environment = Environment.TRAINING) -> list[Check]:
    """Whether rows can be learned from: the label is there, known in at least one row, and not constant.

    :param profile: of at least the label's column, where there is one.
    """
    if not label or environment is Environment.SERVING:
        return []
    column = profile.columns.get(label)
    if column is None:
        text = f"the label {label!r} is required in TRAINING and is not there"
        return [Check(name="label_present", subject=label, status=Status.FAILED, message=text)]
    known = column.valid
    values = column.distinct
    return [
        Check(name="label_present", subject=label, status=Status.PASSED, observed=column.type),
        Check(
            name="label_known",
            subject=label,
            status=Status.PASSED if known else Status.FAILED,
            observed=known,
            expected="at least one known label",
            message="" if known else f"all {column.count} labels are missing",
        ),
        Check(
            name="label_varies",
            subject=label,
            status=Status.PASSED if values > 1 else Status.FAILED,
            observed=values,
            expected="at least two different labels",
            message="" if values > 1 else f"there is nothing to learn: {values} different label",
        ),
    ]


def not_empty(rows: int, *, allowed: bool = False) -> Check:
    """Whether there is a row at all: of none, every expectation about values holds."""
    held = rows > 0 or allowed
    text = "" if held else "there are no rows; every expectation about values would hold vacuously"
    status = Status.PASSED if held else Status.FAILED
    return Check(name="not_empty", subject="rows", status=status, observed=rows, expected="rows > 0", message=text)


def compare_schema(
    have: Mapping[str, str],
    expected: Mapping[str, str],
    *,
    label: str = "",
    environment: Environment = Environment.TRAINING,
    policy: Comparison | None = None,
) -> list[Check]:
    """Missing, extra and retyped columns, with the likely new name of a missing one.

    :param have: column -> type of the rows.
    :param expected: column -> type of the reference.

    >>> for check in compare_schema({"carrer": "string"}, {"carrier": "string"}):
    ...     print(check.line())
    [failed] column_missing carrier: expected string; was it renamed to 'carrer'?
    [failed] column_extra carrer: string, not in the reference
    """
    policy = policy or Comparison()
    ignored = {label} if label and environment is Environment.SERVING else set()
    missing = [c for c in expected if c not in have and c not in ignored]
    extra = [c for c in have if c not in expected and c not in ignored]
    checks = []
    for name in missing:
        near = _renamed(name, expected[name], {c: have[c] for c in extra})
        hint = f"; was it renamed to {near!r}?" if near else ""
        checks.append(
            _check("column_missing", name, False, policy.schema_severity, f"expected {expected[name]}{hint}", None)
        )
    severity = policy.extra_severity
    checks += [
        _check("column_extra", name, False, severity, f"{have[name]}, not in the reference", have[name])
        for name in extra
    ]
    for name in (c for c in expected if c in have and c not in ignored):
        same = have[name] == expected[name] or {have[name], expected[name]} <= {"int", "float", "decimal"}
        text = f"{have[name]}, the reference has {expected[name]}"
        checks.append(
            _check("column_type", name, same, policy.schema_severity, text, have[name], expected=expected[name])
        )
    return checks


def compare(
    profile: Profile,
    reference: Profile,
    *,
    label: str = "",
    environment: Environment = Environment.TRAINING,
    policy: Comparison | None = None,
) -> list[Check]:
    """Rows against a reference profile: schema, row count, null share, unseen categories and range of every column.

    :param profile: counted with ``reference=reference``, so that unseen categories are known.
    :param reference: of the previous partition, or of the training data (then without a bound on rows).
    """
    policy = policy or Comparison()
    checks = compare_schema(profile.schema, reference.schema, label=label, environment=environment, policy=policy)
    if policy.min_rows_ratio is not None or policy.max_rows_ratio is not None:
        checks.append(_rows(profile.rows, reference.rows, policy))
    for name, column in profile.columns.items():
        model = reference.columns.get(name)
        if model is None or (name == label and environment is Environment.SERVING):
            continue
        checks += _column(column, model, policy)
    return checks


def _rows(rows: int, before: int, policy: Comparison) -> Check:
    low, high = policy.min_rows_ratio, policy.max_rows_ratio
    ratio = rows / before if before else None
    held = ratio is not None and (low is None or ratio >= low) and (high is None or ratio <= high)
    bounds = f"{low if low is not None else 0} to {high if high is not None else 'any'} times {before}"
    text = f"{rows} rows, expected {bounds}" if before else "the reference has no rows to compare with"
    check = _check("row_count", "rows", held, policy.severity, text, rows, expected=bounds)
    return check if before else dataclasses.replace(check, status=Status.INSUFFICIENT)


def _column(column: ColumnProfile, model: ColumnProfile, policy: Comparison) -> list[Check]:
    checks = []
    bound = policy.max_null_share_increase
    if bound is not None and column.count:
        grown = column.null_share - model.null_share
        text = f"{column.null_share:.4g} of the rows are null, {model.null_share:.4g} in the reference"
        checks.append(
            _check(
                "null_share",
                column.name,
                grown <= bound,
                policy.severity,
                text,
                column.null_share,
                expected=f"<= {model.null_share + bound:.4g}",
            )
        )
    if policy.max_unseen_share is not None and model.complete and column.kind == "categorical" and column.valid:
        share = column.unseen / column.valid
        text = f"{share:.4g} of the values are in categories that the reference does not know"
        checks.append(
            _check(
                "unseen_categories",
                column.name,
                share <= policy.max_unseen_share,
                policy.severity,
                text,
                share,
                expected=f"<= {policy.max_unseen_share}",
            )
        )
    if policy.range_slack is not None and column.kind == model.kind == "numeric":
        low, high = finite(model.minimum), finite(model.maximum)
        least, most = finite(column.minimum), finite(column.maximum)
        if None not in (low, high, least, most):
            slack = policy.range_slack * (high - low)  # type: ignore[operator]
            held = least >= low - slack and most <= high + slack  # type: ignore[operator]
            text = f"{least} to {most}, the reference {low} to {high}"
            bounds = f"{low - slack:.6g} to {high + slack:.6g}"  # type: ignore[operator]
            checks.append(_check("range", column.name, held, policy.severity, text, [least, most], expected=bounds))
    return checks


def _check(
    name: str, subject: str, held: bool, severity: Severity, text: str, observed: JSON, *, expected: str = ""
) -> Check:
    return Check(
        name=name,
        subject=subject,
        status=Status.PASSED if held else Status.FAILED,
        severity=severity,
        observed=observed,
        expected=expected,
        message="" if held else text,
    )


def _renamed(name: str, type_: str, candidates: Mapping[str, str]) -> str:
    """The extra column that a missing one was likely renamed to: a similar name of the same type."""
    same = {c.lower(): c for c, t in candidates.items() if t == type_}
    near = difflib.get_close_matches(name.lower(), list(same), n=1, cutoff=0.5)
    return same[near[0]] if near else ""


def report(
    checks: Iterable[Check], *, subject: str, inputs: Mapping[str, str], details: Mapping[str, JSON] | None = None
) -> Report:
    """All checks as the report of a validation; says which engine judged how many.

    :param subject: the dataset.
    :param inputs: digests of the data, the suite and the reference.
    """
    listed = tuple(checks)
    judges: dict[str, int] = {}
    for check in listed:
        if judge := str(check.details.get("judged_by") or ""):
            judges[judge] = judges.get(judge, 0) + 1
    return Report(
        kind="validation",
        subject=subject,
        checks=listed,
        inputs=inputs,
        details={**(details or {}), "judged_by": dict(sorted(judges.items()))},
    )
