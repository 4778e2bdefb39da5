"""Expectations shared out: what compiles is counted in few queries, the rest goes through the library."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_mlops.core.errors import DataError, UnknownName
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.compiled import plan
from airflow_mlops.engines.conditions import MissingColumn, Uncompilable
from airflow_mlops.engines.duck import Column, Source
from airflow_mlops.engines.plans import Plan

EXAMPLES = 5
"""Failing values that are shown, at most."""

_PLANS = 150
"""Expectations of one query."""


def judge(source: Source, expectations: Sequence[Expectation]) -> list[Outcome]:
    """An outcome for every expectation, in order.

    One query counts all that compile (one more for each that asks for uniqueness); a second one fetches at most
    :data:`EXAMPLES` failing values of those that fail. Great Expectations is imported only if something is left
    for it, and is given only the columns that it needs.

    :raises DataError: when the rows can't be read at all; what concerns one expectation is its outcome.
    """
    outcomes: dict[int, Outcome] = {}
    left: list[int] = []
    plans: dict[int, Plan] = {}
    for i, one in enumerate(expectations):
        try:
            plans[i] = plan(one, source, f"e{i}")
        except MissingColumn as missing:
            outcomes[i] = Outcome(success=None, error=_missing(missing.name, source))
        except Uncompilable:
            left.append(i)
    outcomes |= _count(source, plans)
    failed = {i: p for i, p in plans.items() if outcomes[i].success is False and p.bad and p.shown}
    for i, examples in _examples(source, failed).items():
        result = {**outcomes[i].result, "partial_unexpected_list": examples}
        outcomes[i] = dataclasses.replace(outcomes[i], result=result)
    if left:
        for i, outcome in zip(left, _library(source, [expectations[i] for i in left]), strict=True):
            outcomes[i] = outcome
    ordered = (outcomes[i] for i in range(len(expectations)))
    return [dataclasses.replace(o, judged_by=o.judged_by or "duckdb") for o in ordered]


def _count(source: Source, plans: dict[int, Plan]) -> dict[int, Outcome]:
    """All aggregates in as few queries as there are; when one can't be counted, each on its own."""
    outcomes = {i: p.finish(()) for i, p in plans.items() if not p.aggregates and not p.tail}
    together = [i for i, p in plans.items() if p.aggregates]
    for chunk in (together[s : s + _PLANS] for s in range(0, len(together), _PLANS)):
        try:
            outcomes |= _one_query(source, {i: plans[i] for i in chunk})
        except DataError:
            for i in chunk:
                outcomes[i] = _alone(source, plans[i])
    for i, p in plans.items():
        if p.tail:
            outcomes[i] = _alone(source, p)
    return outcomes


def _one_query(source: Source, plans: dict[int, Plan]) -> dict[int, Outcome]:
    bound = {k: v for p in plans.values() for k, v in p.parameters.items()}
    (row,) = source.fetch(", ".join(a for p in plans.values() for a in p.aggregates), **bound)
    values, outcomes = list(row), {}
    for i, p in plans.items():
        outcomes[i] = p.finish([values.pop(0) for _ in p.aggregates])
    return outcomes


def _alone(source: Source, one: Plan) -> Outcome:
    try:
        if one.tail:
            (row,) = source.run(one.tail, **one.parameters)
        else:
            (row,) = source.fetch(", ".join(one.aggregates), **one.parameters)
    except DataError as error:
        return Outcome(success=None, error=str(error)[:400], judged_by="duckdb")
    return one.finish(row)


def _examples(source: Source, plans: dict[int, Plan]) -> dict[int, list[Any]]:
    """The first failing values of every plan, in one query."""
    found: dict[int, list[Any]] = {i: [] for i in plans}
    if not plans:
        return found
    parts = []
    for i, p in plans.items():
        tail = f"FROM {source.relation} AS data WHERE {p.bad}"
        once, order = ("DISTINCT ", " ORDER BY v") if p.once else ("", "")
        parts.append(f"(SELECT {once}{i} AS i, {_shown(p.shown)} AS v {tail}{order} LIMIT {EXAMPLES})")
    bound = {k: v for p in plans.values() for k, v in p.parameters.items()}
    try:
        rows = source.run(" UNION ALL ".join(parts), **bound)
    except DataError:
        return found  # the verdict stands without examples
    for i, value in rows:
        found[i].append(json.loads(value))
    return found


def _shown(columns: Sequence[Column]) -> str:
    """The values of a failing row as JSON: one, or an object of several."""
    values = [_json(c) for c in columns]
    if len(columns) == 1:
        return f"coalesce(to_json({values[0]}), 'null')"
    return f"json_object({', '.join(f'{_literal(c.name)}, {v}' for c, v in zip(columns, values, strict=True))})"


def _json(column: Column) -> str:
    if column.type in ("int", "bool"):
        return column.sql
    if column.type == "float":
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    return f"left(CAST({column.sql} AS VARCHAR), 200)"


def _literal(text: str) -> str:
    """A column's name as a text: quotes are doubled, and DuckDB knows no other escape."""
    return "'" + text.replace("'", "''") + "'"


def _library(source: Source, expectations: Sequence[Expectation]) -> Iterator[Outcome]:
    from airflow_mlops.engines import library, reading

    names = [c.name for c in source.columns]
    about_rows = all(e.columns for e in expectations) and not any("row_condition" in e.kwargs for e in expectations)
    wanted = {c for e in expectations for c in e.columns} if about_rows else set(names)
    narrow = dataclasses.replace(source, columns=tuple(c for c in source.columns if c.name in wanted))
    yield from library.judge(reading.frame(narrow), expectations)


def _missing(name: str, source: Source) -> str:
    text = str(UnknownName("column", name, [c.name for c in source.columns]))
    return f"{text[:300]}"
