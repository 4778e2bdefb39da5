"""Checks that need no rows: column names that can be told apart, the same columns in every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from airflow_mlops.core.errors import SchemaMismatch


def unambiguous(label: str, names: Sequence[str]) -> None:
    """Column names are there, and differ in more than case.

    :raises SchemaMismatch: naming the columns that can't be told apart.
    """
    if not names:
        raise SchemaMismatch(f"{label} has no columns")
    if any(not n for n in names):
        raise SchemaMismatch(f"{label} has a column without a name, among {list(names)[:20]}; name every column")
    counts = Counter(n.lower() for n in names)
    twice = sorted({n for n in names if counts[n.lower()] > 1})
    if twice:
        raise SchemaMismatch(
            f"{label} has columns that can't be told apart (names are compared without case): "
            f"{', '.join(map(repr, twice))}; rename them where the data is written",
            unexpected=twice,
        )


def alike(label: str, headers: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Every file has the same columns, in any order.

    :param headers: file and its column names; the first is what the others are held against.
    :raises SchemaMismatch: naming the file and the difference.
    """
    first, expected = headers[0]
    for path, names in headers[1:]:
        missing, unexpected = sorted(set(expected) - set(names)), sorted(set(names) - set(expected))
        if missing or unexpected:
            raise SchemaMismatch(
                f"{label}: {path} does not have the columns of {first}: "
                f"missing {missing or 'none'}, unexpected {unexpected or 'none'}",
                missing=missing,
                unexpected=unexpected,
            )


def same_kinds(label: str, headers: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """A column is of one kind in every file: a text in one and a number in another is neither.

    :param headers: file and the kind of each of its columns; an empty kind goes with any.
    :raises SchemaMismatch: naming the column, the files and the kinds.
    """
    seen: dict[str, tuple[str, str]] = {}
    for path, kinds in headers:
        for name, kind in kinds.items():
            if kind and seen.setdefault(name, (path, kind))[1] != kind:
                first, other = seen[name]
                raise SchemaMismatch(
                    f"{label}: column {name!r} mixes types: it is {other} in {first} and {kind} in {path}; "
                    "write it as one of them",
                    unexpected=[name],
                )
