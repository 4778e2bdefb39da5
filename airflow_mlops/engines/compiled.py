"""Great Expectations' common expectations as aggregates of one query, with its verdicts.

An entry of :data:`COMPILED` turns an expectation's arguments into a :class:`Plan`: aggregates to count, and what
the counts mean. As in the library: nulls (and NaN) are not among the values that an expectation about values counts,
``mostly`` is a share of those that are, no value at all holds vacuously, and an aggregate of nothing is a failure.

Where this differs from the library on pandas, on purpose: an aggregate that is not finite fails; dates compare with
ISO text, which the library on pandas 3 raises for; a type has the names of :mod:`airflow_mlops.core.columns` too,
and a column keeps its type where it has nulls; a pattern is RE2's on every engine, whose classes (``\\d``, ``\\w``,
``\\s``, ``\\b``) are those of ASCII, and whose ``$`` is the end and not the newline before it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.conditions import Scope, Uncompilable, present, row_condition, value_of
from airflow_mlops.engines.duck import Column, Source
from airflow_mlops.engines.plans import ANY, Plan, counted_of, mostly_of, need, take
from airflow_mlops.engines.sets import compound, distinct_set, unique
from airflow_mlops.engines.verdicts import between, columns_match_list, columns_match_set, mapped, type_names


def plan(expectation: Expectation, source: Source, prefix: str) -> Plan:
    """The plan of an expectation on open rows.

    :raises Uncompilable: when it is left to the library.
    :raises MissingColumn: when it names a column that is not there.
    """
    scope = Scope(source, prefix)
    if expectation.type != "expect_column_to_exist":
        for name in expectation.columns:
            scope.column(name)
    compile_ = COMPILED.get(expectation.type)
    if compile_ is None:
        raise Uncompilable(expectation.type)
    kwargs = arguments(expectation)
    condition = kwargs.pop("row_condition", None)
    kwargs.pop("condition_parser", None)
    if condition is not None:
        scope.where = row_condition(scope, condition)
    made = compile_(scope, dict(kwargs))
    return dataclasses.replace(made, expectation=expectation, parameters=scope.parameters)


def arguments(expectation: Expectation) -> dict[str, Any]:
    """What an expectation is given, without what says nothing about its verdict."""
    return {k: v for k, v in expectation.kwargs.items() if v is not None and k not in _NO_MATTER}


_NO_MATTER = ("batch_id", "result_format", "catch_exceptions", "meta")


def _rows(
    scope: Scope,
    counted: str,
    ok: str,
    mostly: float,
    shown: tuple[Column, ...],
    how_many: str = "",
    right: str = "",
) -> Plan:
    """An expectation about rows: of those that are ``counted``, ``ok`` holds.

    :param how_many: SQL of how many are counted, where there is a shorter one.
    :param right: SQL of for how many of them it holds, where that is shorter.
    """
    wrong = f"({counted}) AND ({ok}) IS NOT TRUE"
    aggregates = (scope.count(), how_many or scope.count(counted), right or scope.count(wrong))

    def finish(counts: Sequence[Any]) -> Outcome:
        rows, considered, number = _whole(counts)
        return mapped(rows, considered, considered - number if right else number, mostly)

    return Plan(ANY, aggregates, finish, bad=scope.given(wrong), shown=shown)


def _column_rows(scope: Scope, kwargs: dict[str, Any], ok: Callable[[Column], str], right: str = "") -> Plan:
    column = scope.column(kwargs["column"])
    mostly, holds = mostly_of(kwargs.get("mostly")), ok(column)
    return _rows(
        scope, present(column), holds, mostly, (column,), scope.count_present(column), "" if scope.where else right
    )


def _whole(counts: Sequence[Any]) -> list[int]:
    """Counts as they are fetched: of no rows they are null, and some databases add up to decimals."""
    return [int(c or 0) for c in counts]


def _without_nan(scope: Scope, column: Column, *wrong: str) -> tuple[str, ...]:
    """Aggregates that are the counts where a float column has no NaN: rows, values, and those that are ``wrong``.

    The first says whether they are: DuckDB has NaN as the greatest value of all, and asking for that one is cheaper
    than asking every value. Only without a row condition, and where DuckDB counts: another database reads whole rows,
    and reads them again for a second query.
    """
    if column.type != "float" or scope.where or not scope.in_duckdb:
        return ()
    counts = (f"countif({w})" for w in wrong)  # null of a null, which is no value
    return (f"isnan(max({column.sql}))", "count(*)", f"count({column.sql})", *counts)


def _nulls(wanted: bool) -> Callable[[Scope, dict[str, Any]], Plan]:
    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        name, mostly = take(kwargs, "column", "mostly")
        column = scope.column(name)
        bad = scope.given(present(column) if wanted else f"NOT ({present(column)})")
        share = mostly_of(mostly)

        def finish(counts: Sequence[Any]) -> Outcome:
            rows, there = _whole(counts)
            return mapped(rows, None, there if wanted else rows - there, share)

        return Plan(
            ANY,
            (scope.count(), scope.count_present(column)),
            finish,
            bad=bad,
            shown=(column,) if wanted else (),
            quick=_without_nan(scope, column),
        )

    return compile_


def _in_set(wanted: bool) -> Callable[[Scope, dict[str, Any]], Plan]:
    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        _, _, values = take(kwargs, "column", "mostly", "value_set")
        if not isinstance(values, list) or not values or None in values:
            raise Uncompilable("a set of another kind")

        column = scope.column(kwargs["column"])
        place = scope.place(column, values)
        inside = f"{place} IS NOT NULL" if place else scope.among(column, values)
        if not wanted:
            return _column_rows(scope, kwargs, lambda _: f"NOT ({inside})")
        return _column_rows(scope, kwargs, lambda _: inside, f"count({place})" if place else "")

    return compile_


def _bounds(scope: Scope, kwargs: Mapping[str, Any], value: str, bind: Callable[[Any], str]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if (low is None and high is None) or (low is not None and high is not None and _greater(low, high)):
        raise Uncompilable("no bounds, or bounds that contradict each other")
    parts = []
    if low is not None:
        parts.append(f"{value} {'>' if kwargs.get('strict_min') else '>='} {bind(low)}")
    if high is not None:
        parts.append(f"{value} {'<' if kwargs.get('strict_max') else '<='} {bind(high)}")
    return " AND ".join(parts)


def _greater(low: Any, high: Any) -> bool:
    try:
        return bool(low > high)
    except TypeError:
        raise Uncompilable("bounds of two types") from None


_BETWEEN = ("min_value", "max_value", "strict_min", "strict_max")


def _values_between(scope: Scope, kwargs: dict[str, Any]) -> Plan:
    take(kwargs, "column", "mostly", *_BETWEEN)

    column = scope.column(kwargs["column"])
    need(column, *_ORDERED)  # the library refuses bounds on text
    bind = functools.cache(lambda v: scope.bind(column, v))  # a query binds just what is in it

    def within(value: str) -> str:
        return _bounds(scope, kwargs, value, bind)

    made = _column_rows(scope, kwargs, lambda c: within(c.sql))
    return dataclasses.replace(made, quick=_without_nan(scope, column, f"NOT ({within(column.sql)})"))


def _lengths(scope: Scope, kwargs: dict[str, Any]) -> Plan:
    take(kwargs, "column", "mostly", *(("value",) if "value" in kwargs else _BETWEEN))
    if "value" in kwargs:
        kwargs = {**kwargs, "min_value": kwargs["value"], "max_value": kwargs["value"]}

    def bind(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Uncompilable(f"a length of {value!r}")
        return scope.bound(value, "DOUBLE")

    def ok(column: Column) -> str:
        need(column, "string")
        return _bounds(scope, kwargs, f"length({value_of(column)})", bind)

    return _column_rows(scope, kwargs, ok)


def _regex(wanted: bool) -> Callable[[Scope, dict[str, Any]], Plan]:
    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        _, _, pattern = take(kwargs, "column", "mostly", "regex")
        if not isinstance(pattern, str):
            raise Uncompilable("a pattern of another kind")
        if not scope.source.reads_pattern(pattern):
            raise Uncompilable(f"pattern {pattern!r}")

        column = scope.column(kwargs["column"])
        need(column, "string")
        slot = scope.bound(pattern, "VARCHAR")
        found = scope.matches(column, slot)
        if not wanted:
            return _column_rows(scope, kwargs, lambda _: f"NOT {found}")
        return _column_rows(scope, kwargs, lambda _: found, scope.count_matches(column, pattern, slot))

    return compile_


def _aggregate(sql: str, *kinds: str, empty: Any = None) -> Callable[[Scope, dict[str, Any]], Plan]:
    """An aggregate of a column between two bounds; ``{value}`` in ``sql`` stands for the column."""

    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        name, *_ = take(kwargs, "column", *_BETWEEN)
        column = scope.column(name)
        if kinds:
            need(column, *kinds)
        value = f"CAST({column.sql} AS DOUBLE)" if column.type == "decimal" else value_of(column)
        aggregate = f"{sql.format(value=value)} FILTER (WHERE {scope.given(present(column))})"
        return Plan(ANY, (aggregate,), lambda v: between(empty if v[0] is None else v[0], kwargs))

    return compile_


def _share(of: str) -> Callable[[Scope, dict[str, Any]], Plan]:
    """Distinct values among the present ones, or present ones among the rows; 0 of nothing."""

    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        name, *_ = take(kwargs, "column", *_BETWEEN)
        column = scope.column(name)
        there = scope.count_present(column)
        distinct = f"count(DISTINCT {column.sql}) FILTER (WHERE {scope.given(present(column))})"
        pair = (distinct, there) if of == "unique" else (there, scope.count())
        return Plan(ANY, pair, lambda v: between(int(v[0] or 0) / int(v[1]) if v[1] else 0, kwargs))

    return compile_


def _pair(operator: str) -> Callable[[Scope, dict[str, Any]], Plan]:
    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        a, b, mostly, ignore, equal = take(
            kwargs, "column_A", "column_B", "mostly", "ignore_row_if", *(["or_equal"] if operator == ">" else [""])
        )
        first, second = scope.column(a), scope.column(b)
        numbers = ("int", "float", "decimal")
        if first.type != second.type and not (first.type in numbers and second.type in numbers):
            raise Uncompilable("columns of two types")
        sign = ">=" if equal else operator
        ok = f"{present(first)} AND {present(second)} AND {value_of(first)} {sign} {value_of(second)}"
        counted = counted_of((first, second), ignore or "both_values_are_missing")
        return _rows(scope, counted, ok, mostly_of(mostly), (first, second))

    return compile_


def _row_count(scope: Scope, kwargs: dict[str, Any]) -> Plan:
    take(kwargs, *(("value",) if "value" in kwargs else _BETWEEN))
    if "value" in kwargs:
        kwargs = {"min_value": kwargs["value"], "max_value": kwargs["value"]}
    return Plan(ANY, (scope.count(),), lambda v: between(int(v[0] or 0), kwargs))


def _schema(judge: Callable[[list[Column], dict[str, Any]], Outcome], *names: str) -> Any:
    """An expectation about the columns themselves: nothing to count."""

    def compile_(scope: Scope, kwargs: dict[str, Any]) -> Plan:
        take(kwargs, *names)
        outcome = judge(list(scope.source.columns), kwargs)
        return Plan(ANY, (), lambda _: outcome)

    return compile_


def _exists(columns: list[Column], kwargs: dict[str, Any]) -> Outcome:
    names, index = [c.name for c in columns], kwargs.get("column_index")
    if index:
        return Outcome(success=index < len(names) and names[index] == kwargs.get("column"))
    return Outcome(success=kwargs.get("column") in names)


def _column_count(columns: list[Column], kwargs: dict[str, Any]) -> Outcome:
    if "value" in kwargs:
        return between(len(columns), {"min_value": kwargs["value"], "max_value": kwargs["value"]})
    return between(len(columns), kwargs)


def _type(columns: list[Column], kwargs: dict[str, Any]) -> Outcome:
    column = next(c for c in columns if c.name == kwargs["column"])
    wanted = kwargs["type_list"] if "type_list" in kwargs else [kwargs.get("type_")]
    if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
        raise Uncompilable("types")
    names = type_names(column.duck_type, column.type)
    return Outcome(success=any(w in names for w in wanted), result={"observed_value": names[0]})


_NUMBERS = ("int", "float", "decimal")
_ORDERED = (*_NUMBERS, "date", "datetime")

COMPILED: Mapping[str, Callable[[Scope, dict[str, Any]], Plan]] = {
    "expect_column_distinct_values_to_be_in_set": distinct_set(others=False, all_of=False),
    "expect_column_distinct_values_to_contain_set": distinct_set(others=True, all_of=True),
    "expect_column_distinct_values_to_equal_set": distinct_set(others=False, all_of=True),
    "expect_column_max_to_be_between": _aggregate("max({value})", *_ORDERED),
    "expect_column_mean_to_be_between": _aggregate("avg({value})", *_NUMBERS),
    "expect_column_median_to_be_between": _aggregate("median({value})", *_NUMBERS),
    "expect_column_min_to_be_between": _aggregate("min({value})", *_ORDERED),
    "expect_column_pair_values_a_to_be_greater_than_b": _pair(">"),
    "expect_column_pair_values_to_be_equal": _pair("="),
    "expect_column_proportion_of_non_null_values_to_be_between": _share("present"),
    "expect_column_proportion_of_unique_values_to_be_between": _share("unique"),
    "expect_column_stdev_to_be_between": _aggregate("stddev_samp({value})", *_NUMBERS),
    "expect_column_sum_to_be_between": _aggregate("sum({value})", *_NUMBERS, empty=0),
    "expect_column_to_exist": _schema(_exists, "column", "column_index"),
    "expect_column_unique_value_count_to_be_between": _aggregate("count(DISTINCT {value})"),
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _lengths,
    "expect_column_values_to_be_between": _values_between,
    "expect_column_values_to_be_in_set": _in_set(True),
    "expect_column_values_to_be_in_type_list": _schema(_type, "column", "type_list", "mostly"),
    "expect_column_values_to_be_null": _nulls(True),
    "expect_column_values_to_be_of_type": _schema(_type, "column", "type_", "mostly"),
    "expect_column_values_to_be_unique": unique,
    "expect_column_values_to_match_regex": _regex(True),
    "expect_column_values_to_not_be_in_set": _in_set(False),
    "expect_column_values_to_not_be_null": _nulls(False),
    "expect_column_values_to_not_match_regex": _regex(False),
    "expect_compound_columns_to_be_unique": compound,
    "expect_table_column_count_to_be_between": _schema(_column_count, "min_value", "max_value"),
    "expect_table_column_count_to_equal": _schema(_column_count, "value"),
    "expect_table_columns_to_match_ordered_list": _schema(columns_match_list, "column_list"),
    "expect_table_columns_to_match_set": _schema(columns_match_set, "column_set", "exact_match"),
    "expect_table_row_count_to_be_between": _row_count,
    "expect_table_row_count_to_equal": _row_count,
}
"""Expectation -> how it is compiled. What is not here runs through the library."""
