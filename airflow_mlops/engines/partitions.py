"""Hive's partition folders: what they say are columns, and filters on these leave whole folders unread."""

from __future__ import annotations

import dataclasses
import datetime as dt
import operator as op
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive and Spark write a null into a folder's name."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A partition column.

    :param name: its name.
    :param duck_type: DuckDB's type, found over all folders: ``BIGINT``, ``DATE`` or ``VARCHAR``.
    """

    name: str
    duck_type: str


def keys_of(label: str, root: str, paths: Sequence[str]) -> tuple[Key, ...]:
    """The partition columns of files below a folder.

    :raises DataError: when files disagree about them.

    >>> keys_of("lake", "lake", ["lake/year=2013/month=01/a.parquet", "lake/year=2013/month=x/a.parquet"])
    (Key(name='year', duck_type='BIGINT'), Key(name='month', duck_type='VARCHAR'))
    """
    said = [_said(root, p) for p in paths]
    names = [tuple(k for k, _ in s) for s in said]
    if len(set(names)) > 1:
        other = next(k for k in names if k != names[0])
        raise DataError(f"{label}: partition folders differ, {names[0]} and {other}")
    if len({n.lower() for n in names[0]}) < len(names[0]):
        raise DataError(f"{label}: a partition folder is named twice in {names[0]}")
    columns = zip(*(tuple(v for _, v in s) for s in said), strict=True)
    return tuple(Key(name, _type(set(values))) for name, values in zip(names[0], columns, strict=bool(names[0])))


def pruned(ref: DatasetRef, keys: Sequence[Key], paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths whose folders the filters do not rule out; one at least, for the columns that a dataset has.

    >>> ref = DatasetRef(uri="lake", filters=[("month", ">", 1)])
    >>> paths = tuple(f"lake/month={m}/a.parquet" for m in (1, 2, 3))
    >>> pruned(ref, keys_of("lake", "lake", paths), paths)
    ('lake/month=2/a.parquet', 'lake/month=3/a.parquet')
    """
    types = {k.name: k.duck_type for k in keys}
    filters = [f for f in ref.filters if f[0] in types]
    if not filters:
        return paths
    kept = []
    for path in paths:
        values = {k: _value(v, types[k]) for k, v in folders(path) if k in types}
        if all(_may_hold(values.get(c), operator, value, types[c]) for c, operator, value in filters):
            kept.append(path)
    return tuple(kept) or paths[:1]


def _said(root: str, path: str) -> list[tuple[str, str]]:
    return folders(path[len(root) :] if path.startswith(root) else path)


def folders(path: str) -> list[tuple[str, str]]:
    """Names and values of the partition folders of a path."""
    parts = (p.partition("=") for p in PurePosixPath(path).parts[:-1] if "=" in p)
    return [(name, unquote(value)) for name, _, value in parts]


def _type(values: set[str]) -> str:
    there = values - {NO_VALUE, ""}
    if there and all(re.fullmatch(r"[+-]?\d{1,18}", v) for v in there):
        return "BIGINT"
    return "DATE" if there and all(_date(v) for v in there) else "VARCHAR"


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        return None


def _value(text: str, duck_type: str) -> Any:
    if text == NO_VALUE:
        return None
    if duck_type == "BIGINT":
        return int(text)
    return _date(text) if duck_type == "DATE" else text


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}


def _may_hold(value: Any, operator: str, wanted: Any, duck_type: str) -> bool:
    """Whether rows of a folder can pass a filter; true wherever that is the engine's to say."""
    if operator in ("is null", "is not null"):
        return (value is None) == (operator == "is null")
    several = operator in ("in", "not in")
    given = list(wanted) if several else [wanted]
    if duck_type == "DATE":
        given = [_date(v) if isinstance(v, str) else None for v in given]
    comparable = {"BIGINT": int | float, "DATE": dt.date, "VARCHAR": str}[duck_type]
    if any(isinstance(v, bool) or not isinstance(v, comparable) for v in given):
        return True
    if value is None:
        return False
    if several:
        return (value in given) == (operator == "in")
    return _COMPARE[operator](value, given[0])
