"""Expectations about values that repeat, and about the set of values there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airflow_mlops.core.expectations import Outcome
from airflow_mlops.engines.conditions import Scope, Uncompilable, present, value_of
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.plans import ANY, Kept, Plan, counted_of, mostly_of, need, take
from airflow_mlops.engines.verdicts import BY, mapped


def unique(scope: Scope, kwargs: dict[str, Any]) -> Plan:
    name, mostly = take(kwargs, "column", "mostly")
    column = scope.column(name)
    return _distinct_rows(scope, (column,), present(column), mostly_of(mostly))


def compound(scope: Scope, kwargs: dict[str, Any]) -> Plan:
    names, mostly, ignore = take(kwargs, "column_list", "mostly", "ignore_row_if")
    if not isinstance(names, list) or len(names) < 2:
        raise Uncompilable("columns")
    columns = tuple(scope.column(n) for n in names)
    counted = counted_of(columns, ignore or "all_values_are_missing")
    return _distinct_rows(scope, columns, counted, mostly_of(mostly))


def _distinct_rows(scope: Scope, columns: tuple[Column, ...], counted: str, mostly: float) -> Plan:
    """Rows that are the only ones of their values; nulls and NaN equal one another, as pandas has it."""
    mine = "key"
    while any(c.name.lower().startswith(mine) for c in scope.source.columns):  # no column may be taken for one of these
        mine += "_"
    keys = [f"CASE WHEN {present(c)} THEN {c.sql} END" for c in columns]
    names = [f"{mine}_{i}" for i in range(len(keys))]
    made = ", ".join(f"{k} AS {n}" for k, n in zip(keys, names, strict=True))
    listed = ", ".join(names)
    groups = f"SELECT {made}, {counted} AS counts, count(*) AS n FROM {scope.source.relation} AS data"
    inner = f"({groups} WHERE {scope.given('')} GROUP BY ALL)"
    repeated = f"FROM {inner} AS g WHERE counts AND n > 1"
    same = " AND ".join(f"{k} IS NOT DISTINCT FROM {mine}_twice.{n}" for k, n in zip(keys, names, strict=True))
    bad = scope.given(
        f"({counted}) AND EXISTS (SELECT 1 FROM (SELECT {listed} {repeated}) AS {mine}_twice WHERE {same})"
    )
    tail = f"SELECT sum(n), sum(n) FILTER (WHERE counts), sum(n) FILTER (WHERE counts AND n > 1) FROM {inner} AS groups"
    kept = None
    if scope.in_duckdb:  # what repeats is held for the examples, instead of being looked for again
        name, there = f"twice_{scope.prefix}", scope.given(counted)
        groups = f"SELECT {made}, count(*) AS {mine}_n FROM {scope.source.relation} AS data WHERE {there} GROUP BY ALL"
        kept = Kept(
            f"CREATE OR REPLACE TEMP TABLE {name} AS {groups} HAVING count(*) > 1",
            f"FROM {scope.source.relation} AS data SEMI JOIN {name} AS {mine}_twice ON {same} WHERE {there}",
        )
        rows = f"(SELECT sum({mine}_n) FROM {name})"
        tail = f"SELECT {scope.count()}, {scope.count(counted)}, {rows} FROM {scope.source.relation} AS data"

    def finish(values: Sequence[Any]) -> Outcome:
        rows, considered, twice = (int(v or 0) for v in values)
        return mapped(rows, considered, twice, mostly)

    return Plan(ANY, (), finish, bad=bad, shown=columns, tail=tail, kept=kept)


def distinct_set(*, others: bool, all_of: bool) -> Callable[[Scope, dict[str, Any]], Plan]:
    """The different values of a column against a set.

    :param others: whether values that are not in the set may be there.
    :param all_of: whether every value of the set has to be there.
    """

    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        name, values = take(kwargs, "column", "value_set")
        column = scope.column(name)
        need(column, "int", "float", "string", "bool")
        if not isinstance(values, list) or not values or None in values:
            raise Uncompilable("a set of another kind")
        inside = scope.among(column, values)
        there = scope.given(present(column))
        bad = scope.given(f"({present(column)}) AND NOT ({inside})")
        found = f"list(DISTINCT {value_of(column)}) FILTER (WHERE {there} AND {inside})"
        unexpected = f"count(DISTINCT {value_of(column)}) FILTER (WHERE {bad})"

        def finish(counts: Sequence[Any]) -> Outcome:
            missing = sorted(set(values) - set(counts[0] or ()))
            result: dict[str, Any] = {"observed_value": None}
            if not others:
                result |= {"unexpected_count": int(counts[1])}
            if all_of:
                result |= {"missing_count": len(missing), "partial_missing_list": missing[:20]}
            success = (others or not counts[1]) and not (all_of and missing)
            return Outcome(success=success, result=result, judged_by=BY)

        shown = () if others else (column,)
        return Plan(ANY, (found, unexpected), finish, bad=bad, shown=shown, once=True)

    return compile_
