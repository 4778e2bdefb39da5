"""Parts of the rows that are judged by themselves: by a column's values, by bins of it, or by an expression."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON, finite, plain

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceBy:
    """How rows are parted. Give ``column``, ``column`` with ``bins``, or ``name`` with ``where``.

    :param name: what policies call it; empty: the column.
    :param column: its values are the slices.
    :param bins: inner edges, growing: the slices are ``<= first``, ``first to second``, ..., ``> last``; the upper
        edge belongs to a slice.
    :param where: an expression as :attr:`.DatasetRef.filters` have it, all of which must hold: the slices are ``yes``
        and ``no``. A null never passes a comparison.

    >>> SliceBy.of({"name": "long", "where": [["distance", ">", 1000]]}).columns
    ('distance',)
    """

    name: str = ""
    column: str = ""
    bins: tuple[float, ...] = ()
    where: tuple[tuple[str, str, JSON], ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "name", str(self.name or self.column))
        bins: Any = self.bins
        edges = [finite(b) for b in bins] if isinstance(bins, Sequence) and not isinstance(bins, str) else [None]
        if None in edges or any(a >= b for a, b in itertools.pairwise(edges)):  # type: ignore[operator]
            raise UsageError(f"bins must be a list of growing numbers, got {self.bins!r}")
        set_(self, "bins", tuple(edges))
        set_(self, "where", DatasetRef(uri="rows", filters=self.where).filters)
        if bool(self.column) == bool(self.where) or (self.bins and not self.column):
            raise UsageError("a slice needs a column, a column with bins, or a name with where")
        if not self.name:
            raise UsageError("a slice by an expression needs a name")

    @classmethod
    def of(cls, value: SliceBy | Mapping[str, Any] | str) -> SliceBy:
        """From a column's name, or the fields as a mapping."""
        if isinstance(value, SliceBy):
            return value
        if isinstance(value, Mapping):
            names = [f.name for f in dataclasses.fields(cls)]
            for key in value:
                if key not in names:
                    raise UnknownName("argument of a slice", key, names)
            return cls(**dict(value))
        if not isinstance(value, str) or not value:
            raise UsageError(f"a slice is a column, or a mapping of column and bins, or name and where, got {value!r}")
        return cls(column=value)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (self.column,) if self.column else tuple(dict.fromkeys(c for c, _, _ in self.where))

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; what is empty is left out."""
        return {f.name: plain(v) for f in dataclasses.fields(self) if (v := getattr(self, f.name)) not in ("", ())}

    def values(self, rows: pd.DataFrame) -> Any:
        """Which slice each row is in, shape ``(n,)``.

        :raises UsageError: when a column does not compare with what it is compared with.
        """
        import pandas as pd

        if self.where:
            try:
                return _held(rows, self.where).map({True: "yes", False: "no"})
            except TypeError as e:
                raise UsageError(f"slice {self.name!r} can't be told: {e}") from None
        column = rows[self.column]
        if not self.bins:
            return column
        if not pd.api.types.is_numeric_dtype(column):
            raise UsageError(f"bins of {self.column!r} need numbers, it is {column.dtype}")
        edges = self.bins
        names = [f"<= {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges))]
        ends = [float("-inf"), *edges, float("inf")]
        parts = pd.cut(column, ends, labels=[*names, f"> {edges[-1]:g}"], include_lowest=True)
        return parts.astype(object).where(column.notna(), None)


def _held(rows: pd.DataFrame, where: Sequence[tuple[str, str, Any]]) -> pd.Series[bool]:
    import operator

    import pandas as pd

    compare = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt}
    held = pd.Series(True, index=rows.index)
    for name, op, value in where:
        column = rows[name]
        there = column.notna()
        if op == "is null":
            part = ~there
        elif op == "is not null":
            part = there
        elif op in ("in", "not in"):
            part = column.isin(value) == (op == "in")
            part &= there
        else:
            part = compare.get(op, operator.ge)(column, value).fillna(False).astype(bool) & there
        held &= part
    return held
