"""Expectations shared out: what compiles is counted in few queries, the rest goes through the library."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_mlops.core.errors import DataError, UnknownName
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.compiled import plan
from airflow_mlops.engines.conditions import MissingColumn, Uncompilable
from airflow_mlops.engines.duck import Column, Source
from airflow_mlops.engines.plans import Plan
from airflow_mlops.engines.sql_source import SqlSource

EXAMPLES = 5
"""Failing values that are shown, at most."""

_PLANS = 150
"""Expectations of one query."""

_FAILING = EXAMPLES * _PLANS
"""Failing rows that are looked at for examples at a time."""

_FIRST = 10 * EXAMPLES
"""Failing rows that are looked at first: mostly one row fails several expectations, and few will do."""


def judge(source: Source, expectations: Sequence[Expectation]) -> list[Outcome]:
    """An outcome for every expectation, in order.

    One query counts all that compile (one more for each that asks for uniqueness, and one more for float columns that
    have NaN); another fetches at most :data:`EXAMPLES` failing values of those that fail.
    Great Expectations is imported only if something is left for it, and is given only the columns that it needs.

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
    unexpected = {i: int(outcomes[i].result["unexpected_count"]) for i in failed}
    for i, examples in _examples(source, failed, unexpected).items():
        result = {**outcomes[i].result, "partial_unexpected_list": examples}
        outcomes[i] = dataclasses.replace(outcomes[i], result=result)
    if left:
        for i, outcome in zip(left, _library(source, [expectations[i] for i in left]), strict=True):
            outcomes[i] = outcome
    ordered = (outcomes[i] for i in range(len(expectations)))
    return [dataclasses.replace(o, judged_by=o.judged_by or "duckdb") for o in ordered]


def _count(source: Source, plans: dict[int, Plan]) -> dict[int, Outcome]:
    """All aggregates in as few queries as there are; when one can't be counted, each on its own.

    The quick way is tried first; what it can't be used for is counted again.
    """
    found = {i: p.finish(()) for i, p in plans.items() if not p.aggregates and not p.tail}
    outcomes = {i: o for i, o in found.items() if o is not None}
    first = {i: _quick(p) if p.quick else p for i, p in plans.items() if p.aggregates}
    outcomes |= _together(source, first)
    outcomes |= _together(source, {i: plans[i] for i in first if i not in outcomes})
    return outcomes | {i: _alone(source, p) for i, p in plans.items() if p.tail}


def _quick(plan: Plan) -> Plan:
    """The plan by its quick way, which may come to no outcome."""
    return dataclasses.replace(plan, aggregates=plan.quick, finish=lambda v: None if v[0] else plan.finish(v[1:]))


def _together(source: Source, plans: dict[int, Plan]) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    for chunk in _chunks(plans):
        try:
            outcomes |= _one_query(source, chunk)
        except DataError:
            outcomes |= {i: _alone(source, p) for i, p in chunk.items() if p.aggregates != p.quick}
    return outcomes


def _chunks(plans: dict[int, Plan]) -> Iterator[dict[int, Plan]]:
    numbers = list(plans)
    for start in range(0, len(numbers), _PLANS):
        yield {i: plans[i] for i in numbers[start : start + _PLANS]}


def _one_query(source: Source, plans: dict[int, Plan]) -> dict[int, Outcome]:
    """The outcomes there are; an aggregate that several plans have is asked once."""
    bound = {k: v for p in plans.values() for k, v in p.parameters.items()}
    wanted = list(dict.fromkeys(a for p in plans.values() for a in p.aggregates))
    (row,) = source.fetch(", ".join(wanted), **bound)
    values = dict(zip(wanted, row, strict=True))
    outcomes = {i: p.finish([values[a] for a in p.aggregates]) for i, p in plans.items()}
    return {i: o for i, o in outcomes.items() if o is not None}


def _alone(source: Source, one: Plan) -> Outcome:
    try:
        if one.kept:
            source.run(one.kept.table, **one.parameters)
        if one.tail:
            (row,) = source.run(one.tail, **one.parameters)
        else:
            (row,) = source.fetch(", ".join(one.aggregates), **one.parameters)
    except DataError as error:
        return Outcome(success=None, error=str(error)[:400], judged_by="duckdb")
    outcome = one.finish(row)
    assert outcome is not None
    return outcome


def _examples(source: Source, plans: dict[int, Plan], unexpected: Mapping[int, int]) -> dict[int, list[Any]]:
    """The first failing values of every plan.

    One look over the rows serves all that are about single rows: the first few failing ones, of whatever plan. Who has
    too few among them is looked for again without the others: of :data:`_FAILING` rows somebody always has enough.

    :param unexpected: how many values of each fail.
    """
    found: dict[int, list[Any]] = {i: [] for i in plans}
    try:
        for chunk in _chunks({i: p for i, p in plans.items() if not p.tail and not p.once}):
            rows = _FAILING if isinstance(source, SqlSource) else _FIRST  # a database looks no shorter for fewer
            while chunk:
                told = _of_rows(source, chunk, rows)
                found |= told
                left = {i: p for i, p in chunk.items() if len(told[i]) < min(EXAMPLES, unexpected[i])}
                chunk = left if len(left) < len(chunk) or rows == _FIRST else {}
                rows = _FAILING
        found |= _of_groups(source, {i: p for i, p in plans.items() if p.tail or p.once})
    except DataError:
        pass  # the verdict stands without examples
    return found


def _of_rows(source: Source, plans: dict[int, Plan], rows: int) -> dict[int, list[Any]]:
    listed = ", ".join(f"({p.bad}) AS bad_{i}, {_shown(p.shown)} AS shown_{i}" for i, p in plans.items())
    where = " OR ".join(f"({p.bad})" for p in plans.values())
    parts = [
        f"(SELECT {i} AS i, shown_{i} AS v, place FROM few WHERE bad_{i} ORDER BY place LIMIT {EXAMPLES})"
        for i in plans
    ]
    first = f"SELECT {listed} FROM {source.relation} AS data WHERE {where} LIMIT {rows}"
    place = "0" if isinstance(source, SqlSource) else "row_number() OVER ()"  # DuckDB's common tables have no order
    few = f"SELECT *, {place} AS place FROM ({first}) AS first_ones"
    return _told(source, plans, f"WITH few AS ({few}) {' UNION ALL '.join(parts)}")


def _of_groups(source: Source, plans: dict[int, Plan]) -> dict[int, list[Any]]:
    """Of what repeats, and of what is told once: each looks over the rows in its own way."""
    parts = []
    if any(p.kept for p in plans.values()):
        source.keep_sides()  # the examples are among the first rows
    for i, p in plans.items():
        tail = p.kept.failing if p.kept else f"FROM {source.relation} AS data WHERE {p.bad}"
        once, order = ("DISTINCT ", " ORDER BY v") if p.once else ("", "")
        parts.append(f"(SELECT {once}{i} AS i, {_shown(p.shown)} AS v, 0 AS place {tail}{order} LIMIT {EXAMPLES})")
    return _told(source, plans, " UNION ALL ".join(parts)) if parts else {}


def _told(source: Source, plans: dict[int, Plan], sql: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {i: [] for i in plans}
    told = source.run(sql, **{k: v for p in plans.values() for k, v in p.parameters.items()})
    for i, value, _ in sorted(told, key=lambda row: int(row[2])):
        found[int(i)].append(json.loads(value))
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
