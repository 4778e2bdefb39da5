"""What a batch is compared with: the training data, the partitions before it, or the same period earlier.

The first finds *skew*, training against serving: does the model still get what it was made for. The others find *drift*
of a period against another, which has a season in it or forgets one. All are profiles counted in the bins of the
training profile, so they add up, and no row is read again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, TypeVar

from airflow_mlops.core.errors import UsageError

if TYPE_CHECKING:
    from airflow_mlops.core.profile import Profile

TRAINING = "training"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceChoice:
    """Which earlier partitions are the reference; without any, the training profile is.

    :param last: so many partitions before this one, added up; 0: not these.
    :param days: the partition so many days before this one, give or take a tenth of that; 0: not that one.

    >>> ReferenceChoice.of("last:4"), ReferenceChoice.of("before:365d").days
    (ReferenceChoice(last=4, days=0), 365)
    """

    last: int = 0
    days: int = 0

    @classmethod
    def of(cls, text: str) -> ReferenceChoice:
        """From ``training``, ``last:4`` or ``before:365d``.

        :raises UsageError: for anything else.
        """
        if text in ("", TRAINING):
            return cls()
        found = re.fullmatch(r"last:([1-9]\d{0,3})|before:([1-9]\d{0,4})d", text)
        if not found:
            raise UsageError(f"reference is 'training', 'last:4' (partitions) or 'before:365d' (days), got {text!r}")
        last, days = found.groups()
        return cls(last=int(last or 0), days=int(days or 0))

    @property
    def earlier(self) -> bool:
        """Whether other partitions are asked for."""
        return bool(self.last or self.days)

    @property
    def _within(self) -> dt.timedelta:
        return dt.timedelta(days=max(self.days / 10, 0.5))

    def until(self, at: dt.datetime) -> dt.datetime:
        """The latest time that a partition can have to be the reference of one of ``at``.

        >>> ReferenceChoice(days=100).until(dt.datetime(2013, 4, 21)).isoformat()
        '2013-01-21T00:00:00'
        """
        return at - dt.timedelta(days=self.days) + self._within if self.days else at

    def among(self, known: Sequence[tuple[dt.datetime, T]], at: dt.datetime) -> list[T]:
        """Those that are the reference of a partition.

        :param known: ``(time, partition)`` of what was checked, in any order; nothing of ``at`` or later is taken.
        :param at: the time that the partition is about.
        """
        before = sorted(((t, i, p) for i, (t, p) in enumerate(known) if t < at), key=lambda x: (x[0], x[1]))
        if self.last:
            return [p for _, _, p in before[-self.last :]]
        wanted, within = at - dt.timedelta(days=self.days), self._within
        near = [(abs(t - wanted), i, p) for t, i, p in before if abs(t - wanted) <= within]
        return [min(near, key=lambda x: (x[0], x[1]))[2]] if near else []


def added(profiles: Sequence[Profile]) -> Profile:
    """One profile of several partitions; of their columns those that all have.

    :raises UsageError: when there are none.
    """
    if not profiles:
        raise UsageError("no profile to add up")
    common = [c for c in profiles[0].columns if all(c in p.columns for p in profiles)]
    return reduce(add, (p.select(common) for p in profiles))
