"""How new data is, said as text: ``2013``, ``2013-04``, ``2013-04-16``, ``2013-04-16T10:30:00Z``.

A coarse value is the whole period it names, so that a month and a day in it can be compared: what was seen *until* it
ends with it. Text that names no time is not known to be older or newer than anything.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

_COARSE = re.compile(r"(\d{4})(?:-(\d{2}))?")


def end_of(text: str) -> dt.datetime | None:
    """The end of the period that ``text`` names, in UTC; ``None`` where it names none.

    :param text: a year, a month, a day or an ISO time; without a zone it is UTC.

    >>> end_of("2013-04").isoformat(), end_of("2013-04-30").isoformat()
    ('2013-05-01T00:00:00+00:00', '2013-05-01T00:00:00+00:00')
    >>> end_of("2013-9"), end_of("NaT"), end_of("10"), end_of("")
    (None, None, None, None)
    """
    text = text.strip()
    try:
        if coarse := _COARSE.fullmatch(text):
            year, month = int(coarse[1]), int(coarse[2] or 12)
            first = dt.datetime(year, month, 1, tzinfo=dt.UTC)
            return (first + dt.timedelta(days=31)).replace(day=1)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) + dt.timedelta(days=1)
        if not re.match(r"\d{4}-\d{2}-\d{2}[T ]\d{2}", text):
            return None
        moment = dt.datetime.fromisoformat(text)
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None


def not_older(one: str, other: str) -> bool | None:
    """Whether data until ``one`` is at least as new as data until ``other``; ``None`` where nobody can tell.

    >>> not_older("2013-09-16", "2013-09"), not_older("2013-10", "2013-09-30T12:00"), not_older("9", "10")
    (False, True, None)
    """
    a, b = end_of(one), end_of(other)
    return None if a is None or b is None else a >= b


def newest(texts: Iterable[str]) -> str:
    """The newest of those that name a time; empty when none does.

    >>> newest(["2013-09", "NaT", "2013-09-16", ""])
    '2013-09'
    """
    known = [(end, text) for text in texts if (end := end_of(text)) is not None]
    return max(known)[1] if known else ""
