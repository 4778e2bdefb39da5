"""When a partition is complete: one pure predicate, shared by the sensor and its trigger.

A file that is there may still be written. Complete is either *said*, by a marker file that the producer writes last,
or *seen*: the same files of the same size and time in two looks, the newest at least so old.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON, finite, plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionWatch:
    """What is waited for.

    :param data: the :class:`~airflow_mlops.core.datasets.DatasetRef` of the files, as a dict.
    :param marker: a file that is written last: its name beside the data, or a path or URI of its own; empty: none.
    :param min_age: seconds that nothing may have been written for, where there is no marker.
    :param min_files: files that have to be there.

    >>> PartitionWatch(data={"uri": "lake/day=1"}, min_files=0)
    Traceback (most recent call last):
    airflow_mlops.core.errors.UsageError: a partition has at least one file, got min_files=0
    """

    data: Mapping[str, JSON]
    marker: str = ""
    min_age: float = 0.0
    min_files: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", dict(self.data))
        age = finite(self.min_age)
        if age is None or age < 0:
            raise UsageError(f"min_age is a number of seconds from 0 up, got {self.min_age!r}")
        if isinstance(self.min_files, bool) or not isinstance(self.min_files, int) or self.min_files < 1:
            raise UsageError(f"a partition has at least one file, got min_files={self.min_files!r}")
        if not isinstance(self.marker, str):
            raise UsageError(f"marker is a file's name or path, got {self.marker!r}")
        if self.data.get("table"):
            raise UsageError(f"a partition is files; {self.data['table']!r} is a table")

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a partition saw.

    :param at: when, in seconds since 1970.
    :param files: how many files.
    :param size: their bytes, together.
    :param newest: when the newest was written, in seconds since 1970; ``None``: the store does not tell.
    :param fingerprint: of names, sizes and times; equal: nothing was written in between.
    :param marker: whether the marker is there.
    :param since: when a look first saw this fingerprint.
    """

    at: float
    files: int = 0
    size: int = 0
    newest: float | None = None
    fingerprint: str = ""
    marker: bool = False
    since: float | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys are refused."""
        return cls(**_known(cls, value))


def after(previous: Look | None, look: Look) -> Look:
    """A look that knows since when nothing has changed.

    >>> first, second = Look(at=0, files=1, fingerprint="a"), Look(at=60, files=1, fingerprint="a")
    >>> after(after(None, first), second).since
    0
    """
    same = previous is not None and previous.fingerprint == look.fingerprint and previous.files == look.files
    since = previous.since if same and previous is not None and previous.since is not None else look.at
    return dataclasses.replace(look, since=since)


def waiting_for(watch: PartitionWatch, look: Look) -> str:
    """What is still missing, in words; empty: the partition is complete.

    :param look: as :func:`after` gives it.

    >>> day = PartitionWatch(data={"uri": "lake/day=1"}, min_age=30)
    >>> first = after(None, Look(at=100, files=1, newest=90, fingerprint="a"))
    >>> waiting_for(day, first)
    'a second look: 1 file, seen once'
    >>> waiting_for(day, after(first, Look(at=110, files=1, newest=90, fingerprint="a")))
    'quiet: the newest file is 20 s old, 30 s are asked for'
    >>> waiting_for(day, after(first, Look(at=160, files=1, newest=90, fingerprint="a")))
    ''
    """
    if look.files < watch.min_files:
        return f"files: {look.files} of at least {watch.min_files} there"
    if watch.marker:
        return "" if look.marker else f"the marker {watch.marker!r}"
    since = look.at if look.since is None else look.since
    if not look.at > since:
        return f"a second look: {look.files} file{'s' * (look.files != 1)}, seen once"
    age = look.at - (since if look.newest is None else look.newest)
    if age < watch.min_age:
        return f"quiet: the newest file is {age:.0f} s old, {watch.min_age:.0f} s are asked for"
    return ""


def sighting(watch: PartitionWatch, look: Look) -> dict[str, JSON]:
    """What is passed on once a partition is complete."""
    return {"data": plain(watch.data), "files": look.files, "size": look.size, "newest": look.newest}


def _known(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in value:
        if key not in names:
            raise UnknownName(f"{cls.__name__} field", key, names)
    return dict(value)
