"""Profile: what is remembered of a dataset, so that nobody has to read it again to compare with it.

A few hundred numbers a column: counts, moments, extremes, a histogram, the frequent categories. Two profiles that
were counted in the same bins *add up* to the profile of both datasets together, so that profiles of days become
profiles of weeks and a partition is compared with the training data without touching the training data.

**What is exact.** Counts, nulls, non-finite values, extremes, text lengths, bin counts, category counts, and the
moments up to floating point. ``distinct`` is an estimate unless ``distinct_exact``. Merging profiles keeps all of
this exact, whatever their bins: where bins differ, the edges that both have are kept, and the categories that both
know; nothing is interpolated. Count a partition with ``reference=`` and no resolution is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

from airflow_mlops.core.columns import (
    KINDS,
    MAX_BINS,
    MAX_CATEGORIES,
    TYPES,
    ColumnProfile,
    bin_of,
    merge_columns,
    ordered,
)
from airflow_mlops.core.errors import SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.results import JSON, digest

__all__ = [
    "KINDS",
    "MAX_BINS",
    "MAX_CATEGORIES",
    "TYPES",
    "VERSION",
    "ColumnProfile",
    "Profile",
    "add_digests",
    "bin_of",
    "merge",
    "merge_columns",
    "ordered",
]

VERSION = 1
"""The form of the JSON. A profile of another version is refused, never guessed at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """What is remembered of a dataset.

    :param rows: number of rows.
    :param columns: name -> :class:`ColumnProfile`, in the dataset's order.
    :param dataset_digest: content digest of the rows that were counted; of a merged profile, the digest of both
        datasets together.
    :param name: what people call the dataset.
    :param version: the form of the JSON, :data:`VERSION`.

    >>> day = Profile(rows=2, columns={"x": ColumnProfile(name="x", type="int", kind="numeric", count=2, mean=1.5,
    ...     m2=0.5, edges=(1.0,), counts=(1, 1))})
    >>> two_days = day + day
    >>> two_days.rows, two_days.columns["x"].counts, two_days.columns["x"].mean
    (4, (2, 2), 1.5)
    >>> Profile.from_dict(two_days.to_dict()) == two_days
    True
    """

    rows: int
    columns: Mapping[str, ColumnProfile]
    dataset_digest: str = ""
    name: str = ""
    version: int = VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", dict(self.columns))
        if self.version != VERSION:
            raise UsageError(_other_version(self.version))
        for key, column in self.columns.items():
            if key != column.name or column.count != self.rows:
                raise UsageError(
                    f"profile of {self.rows} rows: column {key!r} is the profile of {column.name!r} over {column.count}"
                )

    @property
    def digest(self) -> str:
        """Fingerprint of everything that was counted; not of the name."""
        return digest({**self.to_dict(), "name": ""})

    @property
    def schema(self) -> dict[str, str]:
        """Column -> type."""
        return {name: c.type for name, c in self.columns.items()}

    def select(self, columns: Iterable[str]) -> Self:
        """The profile of some of the columns, in the order given.

        :raises SchemaMismatch: for a column that it does not have.
        """
        wanted = list(columns)
        missing = [c for c in wanted if c not in self.columns]
        if missing:
            raise SchemaMismatch(
                f"profile {self.name or self.dataset_digest} has no column {', '.join(map(repr, missing))}; "
                f"it has {', '.join(self.columns)}",
                missing=missing,
            )
        return dataclasses.replace(self, columns={c: self.columns[c] for c in wanted})

    def __add__(self, other: object) -> Profile:
        """:func:`merge`."""
        return merge(self, other) if isinstance(other, Profile) else NotImplemented

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {
            "version": self.version,
            "name": self.name,
            "rows": self.rows,
            "dataset_digest": self.dataset_digest,
            "columns": [c.to_dict() for c in self.columns.values()],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        :raises UsageError: for another version, or for something that is not a profile.
        """
        if not isinstance(value, Mapping) or "version" not in value or "columns" not in value:
            raise UsageError("not a profile: expected a dict with 'version', 'rows' and 'columns'")
        if value["version"] != VERSION:
            raise UsageError(_other_version(value["version"]))
        columns = [ColumnProfile.from_dict(c) for c in value["columns"]]
        fields = {k: v for k, v in value.items() if k != "columns"}
        for key in fields:
            if key not in (known := [f.name for f in dataclasses.fields(cls)]):
                raise UnknownName("Profile field", key, known)
        return cls(**{**fields, "columns": {c.name: c for c in columns}})


def merge(a: Profile, b: Profile) -> Profile:
    """The profile of both datasets together.

    Commutative; and associative in everything that is exact, the moments up to floating point. Bins and categories
    that only one of the two can tell apart are given up, see the module's text.

    :raises SchemaMismatch: when the columns or their types differ; int and float together are float.
    """
    if set(a.columns) != set(b.columns):
        missing, unexpected = sorted(set(a.columns) - set(b.columns)), sorted(set(b.columns) - set(a.columns))
        raise SchemaMismatch(
            f"profiles with different columns do not add up: only one has {', '.join(missing + unexpected)}",
            missing=missing,
            unexpected=unexpected,
        )
    names = list(a.columns) if list(a.columns) == list(b.columns) else sorted(a.columns)
    return Profile(
        rows=a.rows + b.rows,
        columns={n: merge_columns(a.columns[n], b.columns[n]) for n in names},
        dataset_digest=add_digests(a.dataset_digest, b.dataset_digest),
        name=a.name if a.name == b.name else "",
    )


def add_digests(a: str, b: str) -> str:
    """The content digest of two datasets together: digests are sums modulo 2**128; empty counts as no rows.

    >>> add_digests("f" * 32, "0" * 31 + "2")
    '00000000000000000000000000000001'
    """
    if not (a and b):
        return a or b
    return f"{(int(a, 16) + int(b, 16)) % 2**128:032x}"


def _other_version(version: object) -> str:
    return (
        f"profile version {version!r} is not readable by this release, which knows version {VERSION}; "
        "profile the dataset again, or use the release that wrote it"
    )
