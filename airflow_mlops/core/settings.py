"""Policy: what a verdict is reached by, as a frozen value with its defaults in one place."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, Self

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.results import JSON, digest, plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """Base of the monitoring policies: plain values both ways, unknown keys refused with the list of the known ones.

    Durations are written as seconds, or as ``{"days": 7}`` and the like.
    """

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; durations in seconds."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; what is left out has its default.

        :raises UnknownName: for a key that this policy does not have.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName(f"{cls.__name__} key", key, names)
        return cls(**value)

    @classmethod
    def of(cls, value: Self | Mapping[str, Any] | None) -> Self:
        """A policy from a policy, its dict, or ``None`` for the defaults.

        :raises PolicyError: for anything else.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        raise PolicyError(f"a policy is a {cls.__name__} or its dict, got {type(value).__name__}")

    @property
    def digest(self) -> str:
        """Fingerprint of every setting, defaults too."""
        return digest(type(self).__name__, self.to_dict())


def duration(value: dt.timedelta | Mapping[str, float] | float | None, name: str) -> dt.timedelta | None:
    """A duration from what a file can say: seconds, or ``{"days": 7}``; ``None`` stays ``None``.

    :raises PolicyError: for a negative one or anything else.

    >>> duration({"days": 1, "hours": 12}, "cooldown") == duration(129600, "cooldown")
    True
    """
    if value is None:
        return None
    try:
        if isinstance(value, Mapping):
            span = dt.timedelta(**value)
        elif isinstance(value, dt.timedelta):
            span = value
        elif isinstance(value, bool | str):
            raise TypeError(value)
        else:
            span = dt.timedelta(seconds=value)
    except (TypeError, OverflowError) as error:
        raise PolicyError(f"{name} is a timedelta, seconds or {{'days': 7}}, got {value!r}") from error
    if span < dt.timedelta(0):
        raise PolicyError(f"{name} can not be negative, got {value!r}")
    return span


def within(value: Any, name: str, low: float, high: float) -> float:
    """A finite number inside its range.

    :raises PolicyError: when it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise PolicyError(f"{name} is a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def _plain(value: Any) -> JSON:
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return plain(value)
