"""Row conditions of an expectation as SQL: Great Expectations' own conditions, in their plain form.

What this module does not understand (a condition as text for pandas, for example) it leaves to the library:
:class:`Uncompilable` is raised and caught where expectations are shared out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.engines.duck import Column, Source
from airflow_mlops.engines.sql_source import SqlSource

_OPERATORS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class Uncompilable(Exception):
    """Left to Great Expectations."""


class MissingColumn(Exception):
    """An expectation names a column that is not there.

    :param name: the column.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclasses.dataclass
class Scope:
    """What an expectation is compiled in: the columns, and the values bound so far.

    :param source: the open rows.
    :param prefix: of the names of bound values; different for every expectation of a query.
    """

    source: Source
    prefix: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    where: str = ""

    def column(self, name: Any) -> Column:
        """The column of that name.

        :raises MissingColumn: when there is none.
        """
        found = self.source.column(name) if isinstance(name, str) else None
        if found is None:
            raise MissingColumn(str(name))
        return found

    def bind(self, column: Column, value: Any) -> str:
        """A value, bound as what the column is compared as.

        :raises Uncompilable: when the two don't compare, which the library then says in its own words.
        """
        kind = column.type
        if kind in ("int", "float", "decimal") and _number(value):
            cast = "HUGEINT" if isinstance(value, int) and kind != "float" else "DOUBLE"
            if isinstance(value, int) and abs(value) >= 2**100:
                raise Uncompilable(f"{value} is too large")
        elif kind == "bool" and isinstance(value, bool):
            cast = "BOOLEAN"
        elif kind == "string" and isinstance(value, str):
            cast = "VARCHAR"
        elif kind in ("date", "datetime") and isinstance(value, str):
            _moment(value)
            cast = "TIMESTAMPTZ" if column.zoned else "TIMESTAMP"
        else:
            raise Uncompilable(f"{value!r} does not compare with {kind}")
        return self.bound(value, cast)

    def bound(self, value: Any, cast: str) -> str:
        """A value, bound as an SQL type."""
        key = f"{self.prefix}_{len(self.parameters)}"
        self.parameters[key] = value
        return f"CAST(${key} AS {cast})"

    def given(self, condition: str) -> str:
        """``condition`` within the row condition, for a FILTER or a WHERE."""
        parts = [p for p in (self.where, condition) if p]
        return " AND ".join(f"({p})" for p in parts) or "true"

    def count(self, condition: str = "") -> str:
        """How many rows meet ``condition`` within the row condition; null where there are no rows."""
        given = self.given(condition)
        if given == "true":
            return "count(*)"
        # DuckDB takes twice as long to filter, or to add up truths
        return f"countif({given})" if self.in_duckdb else f"sum(CAST(({given}) AS INT))"

    def count_present(self, column: Column) -> str:
        """How many rows have a value, within the row condition."""
        return f"count({column.sql})" if column.type != "float" and not self.where else self.count(present(column))

    @property
    def in_duckdb(self) -> bool:
        """Whether DuckDB counts, and no database."""
        return not isinstance(self.source, SqlSource)

    def place(self, column: Column, values: Sequence[Any]) -> str:
        """SQL of a text's place in a list, null for none; empty where places are not asked for.

        DuckDB compares every row with every value of ``IN``, but looks texts up once an entry of a Parquet dictionary.
        """
        if self.in_duckdb and column.type == "string" and all(isinstance(v, str) for v in values):
            return f"list_position({self.bound(list(values), 'VARCHAR[]')}, {value_of(column)})"
        return ""

    def among(self, column: Column, values: Sequence[Any]) -> str:
        """Whether a value is one of these."""
        if place := self.place(column, values):
            return f"{place} IS NOT NULL"
        return f"{value_of(column)} IN ({', '.join(self.bind(column, v) for v in values)})"

    def count_matches(self, column: Column, pattern: str, slot: str) -> str:
        """How many texts have a match, where DuckDB counts what is extracted; else empty.

        That is never an empty text if the empty text has no match, except at the edge of a word.
        """
        if not self.in_duckdb or "\\b" in pattern.lower() or self.source.matches_nothing(pattern):
            return ""
        return f"count(nullif(regexp_extract({value_of(column)}, {slot}), ''))"

    def matches(self, column: Column, slot: str) -> str:
        """Whether a text has a match of a bound pattern.

        What a pattern extracts DuckDB works out once an entry of a Parquet dictionary; whether it matches, for every
        row it is asked of. Nothing is extracted also where nothing is what matches.
        """
        value = value_of(column)
        found = f"regexp_matches({value}, {slot})"
        if not self.in_duckdb:
            return found
        return f"CASE WHEN regexp_extract({value}, {slot}) = '' THEN {found} ELSE {value} IS NOT NULL END"


def value_of(column: Column) -> str:
    """The column as values are compared with it: enums are text."""
    return f"CAST({column.sql} AS VARCHAR)" if column.type == "string" else column.sql


def present(column: Column) -> str:
    """Whether a value is there. NaN is none, as pandas and with it Great Expectations have it."""
    real = f" AND NOT isnan({column.sql})" if column.type == "float" else ""
    return f"{column.sql} IS NOT NULL{real}"


def row_condition(scope: Scope, condition: Any) -> str:
    """The SQL of a row condition in Great Expectations' plain form.

    :raises Uncompilable: for a form that is not understood here.
    """
    if not isinstance(condition, Mapping):
        raise Uncompilable("a row condition as text")
    match condition.get("type"):
        case "and" | "or" as word:
            parts = [row_condition(scope, c) for c in condition.get("conditions") or ()]
            if not parts:
                raise Uncompilable("an empty condition")
            return f" {word.upper()} ".join(f"({p})" for p in parts)
        case "nullity":
            column = scope.column(_name(condition))
            return f"NOT ({present(column)})" if condition.get("is_null") else present(column)
        case "comparison":
            return _comparison(scope, condition)
    raise Uncompilable(f"a condition of type {condition.get('type')!r}")


def _comparison(scope: Scope, condition: Mapping[str, Any]) -> str:
    column, operator, value = scope.column(_name(condition)), condition.get("operator"), condition.get("parameter")
    left = value_of(column)
    if operator in _OPERATORS:
        # pandas: a missing value is not equal to anything, so that != holds for it and nothing else does.
        held = f"({present(column)} AND {left} {_OPERATORS[operator]} {scope.bind(column, value)})"
        return f"({held} OR NOT ({present(column)}))" if operator == "!=" else held
    if operator in ("IN", "NOT_IN") and isinstance(value, Sequence) and not isinstance(value, str) and value:
        held = f"({present(column)} AND {scope.among(column, value)})"
        return held if operator == "IN" else f"NOT {held}"
    raise Uncompilable(f"operator {operator!r}")


def _name(condition: Mapping[str, Any]) -> Any:
    column = condition.get("column")
    return column.get("name") if isinstance(column, Mapping) else column


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise Uncompilable(f"{text!r} is no ISO time") from None
