"""A plan: how one expectation is counted and judged; and what all that make plans share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.conditions import Uncompilable, present
from airflow_mlops.engines.duck import Column


@dataclasses.dataclass(frozen=True)
class Kept:
    """A table of what does not hold.

    :param table: SQL that makes it.
    :param failing: SQL of the rows that do not hold, from FROM on; it looks into that table.
    """

    table: str
    failing: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one expectation is counted and judged.

    :param expectation: what it judges.
    :param aggregates: SQL of the aggregates; all plans' share a query.
    :param finish: their values -> the outcome.
    :param parameters: what the SQL has bound.
    :param bad: of an expectation about rows: SQL of the rows that do not hold.
    :param shown: the columns of a failing row that are shown as an example.
    :param tail: the whole query of a plan that needs one of its own.
    :param kept: what is held for ``tail`` and the examples, where the rows' place can hold something.
    :param once: whether a failing value is shown once, however many rows have it.
    :param quick: cheaper aggregates with the values of ``aggregates``, behind one that says whether they can't be
        used; empty: there are none.
    """

    expectation: Expectation
    aggregates: tuple[str, ...]
    finish: Callable[[Sequence[Any]], Outcome | None]
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    bad: str = ""
    shown: tuple[Column, ...] = ()
    tail: str = ""
    once: bool = False
    quick: tuple[str, ...] = ()
    kept: Kept | None = None


ANY = Expectation(type="expect_column_to_exist")
"""Stands in a plan until it is given its expectation."""


def take(kwargs: dict[str, Any], *names: str) -> list[Any]:
    """The arguments of these names; any other argument is left to the library."""
    others = set(kwargs) - set(names)
    if others:
        raise Uncompilable(f"arguments {sorted(others)}")
    return [kwargs.get(n) for n in names]


def mostly_of(value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Uncompilable(f"mostly={value!r}")
    return float(value)


def need(column: Column, *kinds: str) -> None:
    if column.type not in kinds:
        raise Uncompilable(f"{column.type} column")


def counted_of(columns: Sequence[Column], ignore: Any) -> str:
    """The rows that count, by the name of those that do not."""
    here = [f"({present(c)})" for c in columns]
    match ignore:
        case "all_values_are_missing" | "both_values_are_missing":
            return f"({' OR '.join(here)})"
        case "any_value_is_missing" | "either_value_is_missing":
            return f"({' AND '.join(here)})"
        case "never" | "neither":
            return "true"
    raise Uncompilable(f"ignore_row_if={ignore!r}")
