"""What speaks for a training and what against, by how much: :class:`RetrainingPolicy`."""

from __future__ import annotations

import dataclasses
import datetime as dt

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.settings import Policy, duration, within

REASON_NAMES = (
    "person",
    "no_champion",
    "schedule",
    "new_data",
    "drift",
    "performance",
    "estimated_performance",
    "age",
    "configuration",
)
"""What can speak for a training, the gravest first; ``retraining_rules.REASONS`` says how each is judged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainingPolicy(Policy):
    """What speaks for a training, and what against.

    :param reasons: those of :data:`REASON_NAMES` that may start one.
    :param drift_needed: checks that must have found drift, the latest among them, ...
    :param drift_checks: ... of so many last checks of the champion.
    :param performance_needed: likewise, for checks whose figures fell short.
    :param performance_checks: likewise.
    :param min_new_partitions: partitions since the last training that are a reason; ``None``: none are.
    :param min_new_rows: likewise, rows.
    :param max_age: of the champion's newest data; ``None``: it does not age.
    :param cooldown: time from one decision to retrain to the next.
    :param budget: decisions to retrain within ``budget_period``; ``None``: no limit.
    :param budget_period: a sliding window.
    :param in_flight_for: how long a training without a new version counts as running.
    :param no_new_labels: ``alert`` when no label is newer than the last training, or ``ignore`` that.
    :param data_incident: ``alert`` instead of training on drift, or on an estimate, when all that drifted is broken
        input: columns that are gone, of another type, or with more nulls or values that are not finite; or ``ignore``.
    :param breaker: rejected candidates in a row that stop all but a person; ``None``: never.

    >>> RetrainingPolicy(cooldown={"days": 7}).cooldown.days
    7
    """

    reasons: tuple[str, ...] = REASON_NAMES
    drift_needed: int = 2
    drift_checks: int = 3
    performance_needed: int = 1
    performance_checks: int = 1
    min_new_partitions: int | None = None
    min_new_rows: int | None = None
    max_age: dt.timedelta | None = None
    cooldown: dt.timedelta = dt.timedelta(0)
    budget: int | None = None
    budget_period: dt.timedelta = dt.timedelta(days=30)
    in_flight_for: dt.timedelta = dt.timedelta(days=1)
    no_new_labels: str = "alert"
    data_incident: str = "alert"
    breaker: int | None = 3

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        reasons: object = self.reasons  # a file may name a single one
        set_(self, "reasons", (reasons,) if isinstance(reasons, str) else tuple(self.reasons))
        for name in self.reasons:
            if name not in REASON_NAMES:
                raise UnknownName("reason to retrain", name, REASON_NAMES)
        if not self.reasons:
            raise PolicyError("a retraining policy needs at least one reason")
        for name in ("max_age", "cooldown", "budget_period", "in_flight_for"):
            span = duration(getattr(self, name), name)
            if span is None and name != "max_age":
                raise PolicyError(f"{name} can not be empty")
            set_(self, name, span)
        for kind in ("drift", "performance"):
            needed, checks = getattr(self, f"{kind}_needed"), getattr(self, f"{kind}_checks")
            if not (_whole(needed) and _whole(checks) and 1 <= needed <= checks):
                raise PolicyError(f"{kind}_needed is from 1 to {kind}_checks, got {needed!r} of {checks!r}")
        for name in ("min_new_partitions", "min_new_rows", "budget", "breaker"):
            if (value := getattr(self, name)) is not None:
                within(value, name, 0 if name == "budget" else 1, 1e15)
        for name in ("no_new_labels", "data_incident"):
            if (choice := getattr(self, name)) not in ("alert", "ignore"):
                raise UnknownName(name, choice, ("alert", "ignore"))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
