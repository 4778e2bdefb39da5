"""When the rows of a table or of files are what somebody waits for: one pure predicate, shared by sensor, trigger and
event trigger.

Three things can be waited for: *new rows* (at least so many since the last training), a *watermark* (the newest row
has reached a time), and *staleness* (the newest row is older than its age limit), which is an alarm. For the first two
what is not known is not there yet; for staleness a dataset whose newest row can't be told is stale: nobody can call it
fresh.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, Self

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.moments import end_of
from airflow_mlops.core.results import JSON, finite, plain

NEW_ROWS, WATERMARK, STALE = "new_rows", "watermark", "stale"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsWatch:
    """What is waited for: exactly one of ``min_rows``, ``watermark`` and ``max_age``.

    :param data: the :class:`~airflow_mlops.core.datasets.DatasetRef` of the rows, as a dict.
    :param time_column: the column that says when a row is from: a date or a timestamp, UTC where it has no zone.
    :param min_rows: new rows, from 1 up.
    :param since: with ``min_rows``: rows up to here are not new. A year, month, day or ISO time; a period is meant
        whole. Empty: every row is new, or those after the last training of ``model_name``.
    :param model_name: with ``min_rows``: the registered model whose newest version says since when rows are new.
    :param watermark: the time that the newest row has to reach; a year, month or day is its beginning.
    :param max_age: seconds that the newest row may be old; from 0 up.

    >>> RowsWatch(data={"uri": "a.parquet"}, time_column="at", min_rows=100).kind
    'new_rows'
    >>> RowsWatch(data={"uri": "a.parquet"}, time_column="at")
    Traceback (most recent call last):
    airflow_mlops.core.errors.UsageError: give one of min_rows, watermark and max_age, got none
    """

    data: Mapping[str, JSON]
    time_column: str = ""
    min_rows: int | None = None
    since: str = ""
    model_name: str = ""
    watermark: str = ""
    max_age: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", dict(self.data))
        given = [n for n in ("min_rows", "watermark", "max_age") if getattr(self, n) not in (None, "")]
        if len(given) != 1:
            raise UsageError(f"give one of min_rows, watermark and max_age, got {' and '.join(given) or 'none'}")
        rows, age = self.min_rows, finite(self.max_age)
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
            raise UsageError(f"min_rows is a whole number from 1 up, got {rows!r}")
        if self.max_age is not None and (age is None or age < 0):
            raise UsageError(f"max_age is a number of seconds from 0 up, got {self.max_age!r}")
        if (self.since or self.model_name) and rows is None:
            raise UsageError("since and model_name say which rows are new; they go with min_rows")
        if self.since and self.model_name:
            raise UsageError("rows are new since a time or since the model's last training: give since or model_name")
        if self.since and end_of(self.since) is None:
            raise UsageError(f"since is a year, month, day or ISO time, got {self.since!r}")
        if self.watermark:
            _beginning(self.watermark)
        if not self.time_column and (rows is None or self.since or self.model_name):
            raise UsageError("time_column is needed: without it nobody can tell how new a row is")

    @property
    def kind(self) -> str:
        """What ends the wait: ``new_rows``, ``watermark`` or ``stale``."""
        return NEW_ROWS if self.min_rows is not None else WATERMARK if self.watermark else STALE

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; what is empty is left out."""
        values = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {k: v for k, v in values.items() if v not in (None, "")}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsLook:
    """What one look at the rows counted.

    :param at: when, in seconds since 1970.
    :param rows: how many; of ``min_rows`` only the new ones.
    :param newest: ISO time of the newest row, in UTC; empty: no row has a time.
    :param since: since when rows counted as new; empty: all did.
    """

    at: float
    rows: int = 0
    newest: str = ""
    since: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))


def rows_missing(watch: RowsWatch, look: RowsLook, told: RowsLook | None = None) -> str:
    """What is still missing, in words; empty: the wait is over.

    :param told: what was seen when the wait was last over, for a watch that goes on: the same is not told again. Rows
        count from there, a watermark has to move on, staleness is told once until a newer row came.

    >>> watch = RowsWatch(data={"uri": "a.parquet"}, time_column="at", min_rows=100)
    >>> rows_missing(watch, RowsLook(at=0, rows=60))
    'new rows: 60 of 100 there'
    >>> told = RowsLook(at=0, rows=160)
    >>> rows_missing(watch, told), rows_missing(watch, RowsLook(at=9, rows=190), told)
    ('', 'new rows: 30 of 100 there')
    """
    newest = _time(look.newest)
    if watch.kind == NEW_ROWS:
        before = told.rows if told is not None and told.since == look.since and told.rows <= look.rows else 0
        new, wanted = look.rows - before, int(watch.min_rows or 0)
        return "" if new >= wanted else f"new rows{_since(look.since)}: {new} of {wanted} there"
    if watch.kind == WATERMARK:
        wanted_at = _beginning(watch.watermark)
        if newest is None or newest < wanted_at:
            return f"the watermark {watch.watermark}: the newest row is of {look.newest or 'no time that is known'}"
        if told is not None and (before_at := _time(told.newest)) is not None and newest <= before_at:
            return f"a newer row than that of {told.newest}"
        return ""
    if told is not None and told.newest == look.newest:
        return f"a newer row: that it is stale since {told.newest or 'ever'} was told"
    if newest is None or look.at - newest.timestamp() > float(watch.max_age or 0):
        return ""
    age = look.at - newest.timestamp()
    return f"staleness: the newest row is {age:.0f} s old, {watch.max_age:.0f} s are allowed"


def rows_sighting(watch: RowsWatch, look: RowsLook) -> dict[str, JSON]:
    """What is passed on when the wait is over; ``age`` is that of the newest row in seconds, null where not known."""
    newest = _time(look.newest)
    return {
        "kind": watch.kind,
        "data": plain(watch.data),
        "rows": look.rows,
        "newest": look.newest or None,
        "age": None if newest is None else look.at - newest.timestamp(),
        "since": look.since or None,
    }


def new_since(since: str) -> tuple[str, str] | None:
    """Operator and ISO time with which a row is new; ``None``: every row is.

    A period is over at its end, so that the first moment after it is new; after a moment only what is later is.

    >>> new_since("2013-03"), new_since("2013-03-31T10:00:00")
    (('>=', '2013-04-01T00:00:00+00:00'), ('>', '2013-03-31T10:00:00+00:00'))
    """
    end = end_of(since)
    if end is None:
        return None
    return (">" if "T" in since or " " in since.strip() else ">=", end.isoformat())


def _beginning(text: str) -> dt.datetime:
    if end_of(text) is None:
        raise UsageError(f"watermark is a year, month, day or ISO time, got {text!r}")
    text = text.strip()
    padded = text + "-01" * (2 - text.count("-")) if len(text) <= 7 else text
    time = dt.datetime.fromisoformat(padded)
    return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _time(text: str) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None


def _since(since: str) -> str:
    return f" since {since}" if since else ""


def _known(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in value:
        if key not in names:
            raise UnknownName(f"{cls.__name__} field", key, names)
    return dict(value)
