"""What a judgement is made of: :class:`Check`, :class:`Report`, :class:`Decision`.

Frozen values, JSON both ways. Everything that passes between tasks, into MLflow and onto a page is one of
these, as the plain dict that ``to_dict`` gives. NaN and infinity do not exist in them: :func:`plain` turns
them into ``None``, and a check that met one has failed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self, TypeAlias

from airflow_mlops.core.errors import UnknownName, UsageError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""What can pass between tasks."""


class Status(StrEnum):
    """How one check ended. Only ``PASSED`` is a pass; an unknown is never one."""

    PASSED = "passed"
    FAILED = "failed"
    INSUFFICIENT = "insufficient_data"
    """Too few rows for the bound to mean anything: neither a pass nor a failure of the thing checked."""
    ERROR = "error"
    """It could not be evaluated: a metric is missing, a model can't be scored, a value is not finite."""
    SKIPPED = "skipped"
    """Declared not to apply here (for example no champion and the policy says value checks only)."""


class Severity(StrEnum):
    """What a failed check does: ``CRITICAL`` fails the task, ``WARNING`` notifies, ``INFO`` is recorded."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


_PLAIN = frozenset({int, str, bool, type(None)})
"""What is JSON as it is; a profile has tens of thousands of them."""


def plain(value: Any) -> JSON:
    """``value`` as JSON values: numpy scalars become Python's, dates become ISO text, NaN and infinity ``None``.

    :raises UsageError: for an object that has no plain form.

    >>> plain({"auc": float("nan"), "rows": (1, 2)})
    {'auc': None, 'rows': [1, 2]}
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is list or kind is tuple:
        return [v if type(v) in _PLAIN else plain(v) for v in value]
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | decimal.Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat() if value == value else None  # pandas' NaT is a datetime and equals nothing
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(v) for v in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(v) for v in value]
    if hasattr(value, "to_dict") and not hasattr(value, "columns"):  # ours; a DataFrame is rows, not a value
        return plain(value.to_dict())
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numpy, without importing it
        return plain(value.tolist())
    raise UsageError(f"{type(value).__name__} has no plain JSON form; pass numbers, text, lists or dicts")


def finite(value: Any) -> float | None:
    """``value`` as a finite float, or ``None``: the one test for 'is this figure known'.

    Booleans and text are not figures.

    >>> finite(0.5), finite(float("inf")), finite("0.5"), finite(None), finite(True)
    (0.5, None, None, None, None)
    """
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def digest(*parts: Any) -> str:
    """A short stable fingerprint of plain values: 16 hex digits of SHA-256 over canonical JSON.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps([plain(p) for p in parts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was checked.

    :param name: what kind of check: ``"value"``, ``"expect_column_values_to_not_be_null"``, ``"psi"``.
    :param subject: what it was about: a metric, a column, a slice.
    :param status: how it ended.
    :param severity: what a failure does.
    :param observed: the figure or value that was seen, ``None`` where it is unknown.
    :param expected: the bound in words: ``"0.6 <= roc_auc"``.
    :param message: one sentence for the person on call.
    :param details: further plain values (intervals, counts, examples).
    """

    name: str
    status: Status
    subject: str = ""
    severity: Severity = Severity.CRITICAL
    observed: JSON = None
    expected: str = ""
    message: str = ""
    details: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        object.__setattr__(self, "severity", Severity(self.severity))
        object.__setattr__(self, "observed", plain(self.observed))
        object.__setattr__(self, "details", plain(self.details))

    @property
    def passed(self) -> bool:
        """True only for ``PASSED``."""
        return self.status is Status.PASSED

    @property
    def blocks(self) -> bool:
        """Whether it stands in the way: critical, and neither passed nor declared not to apply."""
        return self.severity is Severity.CRITICAL and self.status not in (Status.PASSED, Status.SKIPPED)

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))

    def line(self) -> str:
        """The check in one line of text."""
        about = f" {self.subject}" if self.subject else ""
        seen = f": {self.message}" if self.message else f": saw {self.observed!r}, expected {self.expected}"
        return f"[{self.status}] {self.name}{about}{seen}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The checks of one task, and what they were made on.

    :param kind: the lifecycle noun: ``"validation"``, ``"gate"``, ``"drift"``, ``"performance"``, ``"evaluation"``.
    :param subject: what was judged: a dataset, a model version.
    :param checks: in the order they were made; the verdict does not depend on it.
    :param inputs: name -> digest of everything the verdict is a function of.
    :param details: further plain values, specific to the kind.

    >>> Report(kind="gate", subject="churn/3").passed   # nothing was checked: nothing is known
    False
    """

    kind: str
    subject: str = ""
    checks: tuple[Check, ...] = ()
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    details: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks", tuple(self.checks))
        object.__setattr__(self, "inputs", {str(k): str(v) for k, v in self.inputs.items()})
        object.__setattr__(self, "details", plain(self.details))

    @property
    def passed(self) -> bool:
        """True when at least one check passed and nothing critical stands in the way."""
        return any(c.passed for c in self.checks) and not any(c.blocks for c in self.checks)

    @property
    def status(self) -> Status:
        """The verdict over all: passed, else the gravest of failed, error, insufficient data."""
        if self.passed:
            return Status.PASSED
        present = {c.status for c in self.checks if c.blocks}
        for status in (Status.FAILED, Status.ERROR, Status.INSUFFICIENT):
            if status in present:
                return status
        return Status.ERROR if not self.checks else Status.SKIPPED

    def failures(self, severity: Severity | None = None) -> tuple[Check, ...]:
        """The checks that did not pass and were not skipped, of one severity or of all."""
        return tuple(
            c for c in self.checks if c.status not in (Status.PASSED, Status.SKIPPED) and severity in (None, c.severity)
        )

    def summary(self, *, most: int = 10, where: str = "") -> str:
        """Bounded text: the verdict, at most ``most`` failures, and where the rest is."""
        failures = self.failures()
        passed = sum(c.passed for c in self.checks)
        about = self.subject or "the input"
        head = f"{self.kind} of {about}: {self.status} ({passed} of {len(self.checks)} checks passed)"
        lines = [head, *(f"  {c.line()}" for c in failures[:most])]
        if len(failures) > most:
            lines.append(f"  ... and {len(failures) - most} more{f', see {where}' if where else ''}")
        return "\n".join(lines)

    @property
    def digest(self) -> str:
        """Fingerprint of the whole report; the order of the checks does not matter."""
        return digest(
            self.kind,
            self.subject,
            sorted((c.to_dict() for c in self.checks), key=lambda c: json.dumps(c, sort_keys=True)),
            self.inputs,
            self.details,
        )

    def to_dict(self) -> dict[str, JSON]:
        """Plain values, with the derived ``status`` beside them for readers that are not Python."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "status": str(self.status),
            "passed": self.passed,
            "checks": [c.to_dict() for c in self.checks],
            "inputs": dict(self.inputs),
            "details": plain(self.details),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; the verdict is derived again, never believed."""
        fields = {k: v for k, v in value.items() if k not in ("status", "passed")}
        fields["checks"] = tuple(Check.from_dict(c) for c in fields.get("checks", ()))
        return cls(**_known(cls, fields))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision of the lifecycle, as it is recorded.

    :param kind: ``"gate"``, ``"promotion"``, ``"rollback"``, ``"retraining"``, ``"approval"``.
    :param model: the registered model's name.
    :param decision: the outcome in one word: ``"pass"``, ``"reject"``, ``"promoted"``, ``"retrain"``, ``"keep"``.
    :param reasons: why, each a sentence, the gravest first; never empty.
    :param evidence: plain values the reasons rest on (versions, reports, figures).
    :param inputs: name -> digest of everything the decision is a function of.
    :param decided_by: ``"policy"``, a user's name, an operator.
    :param dag_run: ``{"dag_id", "run_id", "task_id", "try_number", "logical_date"}``; empty outside Airflow.
    """

    kind: str
    model: str
    decision: str
    reasons: tuple[str, ...]
    evidence: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decided_by: str = "policy"
    dag_run: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", tuple(map(str, self.reasons)))
        object.__setattr__(self, "evidence", plain(self.evidence))
        object.__setattr__(self, "inputs", {str(k): str(v) for k, v in self.inputs.items()})
        object.__setattr__(self, "dag_run", plain(self.dag_run))
        if not self.reasons:
            raise UsageError(f"a {self.kind} decision needs at least one reason")

    @property
    def key(self) -> str:
        """Model + kind + inputs: the same inputs a second time find this decision. Never the run or its date."""
        return digest(self.kind, self.model, self.inputs)

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))


def _known(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in value:
        if key not in names:
            raise UnknownName(f"{cls.__name__} field", key, names)
    return dict(value)


def failed_names(checks: Iterable[Check]) -> list[str]:
    """``name subject`` of each check, for a title or a metric."""
    return [f"{c.name} {c.subject}".strip() for c in checks]
