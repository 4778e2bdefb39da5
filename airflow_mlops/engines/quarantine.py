"""Rows divided into those that hold and those that don't, each of these with its reasons.

An expectation about rows (a value that must be there, in a range, in a set, of a form, unique ...) says of every row
whether it holds; one about the table or an aggregate says nothing about a row. Rows are read once, in batches, and
every row is on exactly one side. ``mostly`` says how many such rows a suite puts up with, not which are good: a row
that does not hold is quarantined all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.compiled import plan
from airflow_mlops.engines.conditions import MissingColumn, Uncompilable
from airflow_mlops.engines.duck import Source, explained, quoted
from airflow_mlops.engines.plans import Plan
from airflow_mlops.engines.streams import few_enough

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = "quarantine_reasons"
"""The column of a quarantined row that says why: a list of texts."""

BATCH = 50_000
"""Rows that are held at a time."""


@dataclasses.dataclass(frozen=True)
class Divided:
    """How many rows are on either side.

    :param good: rows for which everything holds.
    :param bad: rows for which something does not.
    :param reasons: reason -> rows; a row can have several.
    """

    good: int
    bad: int
    reasons: dict[str, int]


def about_rows(source: Source, expectations: Sequence[Expectation]) -> list[Plan]:
    """The plans of those expectations that say of a row whether it holds; the others are left out.

    :raises UsageError: for an expectation about rows that only Great Expectations can judge: nobody could tell which
        rows do not hold; or one that names a column that is not there.
    """
    plans = []
    for i, one in enumerate(expectations):
        try:
            made = plan(one, source, f"q{i}")
        except MissingColumn as missing:
            raise UsageError(str(UnknownName("column", missing.name, [c.name for c in source.columns]))) from None
        except Uncompilable as why:
            if of_rows(one):
                raise UsageError(
                    f"{one.type} on {one.subject}: it is not known which rows do not hold ({why}), so that they can't "
                    "be quarantined; give it another severity, or take it out of the suite of the quarantine"
                ) from None
            continue
        if made.bad and not made.once:
            plans.append(made)
    return plans


def of_rows(expectation: Expectation) -> bool:
    """Whether it is said of every row, by its name.

    >>> of_rows(Expectation(type="expect_column_values_to_be_null", kwargs={"column": "x"}))
    True
    >>> of_rows(Expectation(type="expect_column_mean_to_be_between", kwargs={"column": "x"}))
    False
    """
    starts = ("expect_column_values", "expect_column_value_", "expect_column_pair", "expect_compound")
    schema = ("_of_type", "_type_list")
    rows = (*starts, "expect_multicolumn", "expect_select_column", "unexpected_rows")
    return expectation.type.startswith(rows) and not expectation.type.endswith(schema)


def divide(
    source: Source,
    expectations: Sequence[Expectation],
    *,
    good: Callable[[pa.Table], None] | None,
    bad: Callable[[pa.Table], None],
    rows: int = BATCH,
) -> Divided:
    """Every row to one of the two, in the order of the source.

    :param good: takes the rows that hold, in batches; ``None``: nobody does.
    :param bad: takes the others, with :data:`REASONS`. Either is given at least one table, of no rows if need be.
    :raises UsageError: see :func:`about_rows`; or the rows have a column :data:`REASONS` already.
    """
    counted = {"good": 0, "bad": 0}
    reasons: dict[str, int] = {}
    for table in _batches(source, expectations, rows):
        failed = table.column(REASONS)
        held = _lengths(failed, 0)
        mine, others = table.filter(held), table.filter(_inverted(held))
        counted["good"] += mine.num_rows
        counted["bad"] += others.num_rows
        for value in _each(others.column(REASONS)):
            reasons[value["values"]] = reasons.get(value["values"], 0) + int(value["counts"])
        if good is not None:
            good(mine.drop_columns([REASONS]))
        bad(others)
    return Divided(counted["good"], counted["bad"], dict(sorted(reasons.items(), key=lambda r: (-r[1], r[0]))))


def remaining(source: Source, expectations: Sequence[Expectation]) -> Source:
    """The rows that hold, open for counting."""
    plans = about_rows(source, expectations)
    if not plans:
        return source
    bound = {k: v for p in plans for k, v in p.parameters.items()}
    condition = " AND ".join(f"({p.bad}) IS NOT TRUE" for p in plans)
    relation = f"(SELECT * FROM {source.ordered or source.relation} AS data WHERE {condition})"
    return dataclasses.replace(source, relation=relation, ordered="", parameters={**source.parameters, **bound})


def judge_remaining(
    source: Source, expectations: Sequence[Expectation], quarantine: Sequence[Expectation]
) -> list[Outcome]:
    """The verdicts on the rows that remain when those of ``quarantine`` are taken out."""
    from airflow_mlops.engines import judging

    return judging.judge(remaining(source, quarantine), expectations)


def reason_of(expectation: Expectation) -> str:
    """What a reason says: the expectation, the columns, the arguments.

    >>> reason_of(Expectation(type="expect_column_values_to_be_between", kwargs={"column": "x", "min_value": 0}))
    'expect_column_values_to_be_between(x; min_value=0)'
    """
    skipped = ("column", "column_A", "column_B", "column_list", "mostly")
    told = ", ".join(f"{k}={v!r}" for k, v in expectation.kwargs.items() if k not in skipped)
    return f"{expectation.type}({expectation.subject}{f'; {told}' if told else ''})"[:300]


def _batches(source: Source, expectations: Sequence[Expectation], rows: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    if source.column(REASONS) is not None:
        raise UsageError(f"{source.label} has a column {REASONS!r}, which the quarantine adds; rename it")
    plans = about_rows(source, expectations)
    bound = {k: v for p in plans for k, v in p.parameters.items()}
    bound |= {f"reason_{i}": reason_of(p.expectation) for i, p in enumerate(plans)}
    cases = ", ".join(f"CASE WHEN {p.bad} THEN CAST($reason_{i} AS VARCHAR) END" for i, p in enumerate(plans))
    listed = f"list_distinct(list_filter([{cases}], lambda r: r IS NOT NULL))" if plans else "CAST([] AS VARCHAR[])"
    names = ", ".join(quoted(c.name) for c in source.columns)
    sql = f"SELECT {names}, {listed} AS {REASONS} FROM {source.ordered or source.relation} AS data"
    rows = few_enough(source, source.columns, rows)
    with explained(source.label):
        reader = source.con.sql(sql, params={**source.parameters, **bound} or None).to_arrow_reader(rows)
        yield pa.Table.from_batches([], schema=reader.schema)
        for batch in reader:
            yield pa.Table.from_batches([batch], schema=reader.schema)


def _lengths(lists: pa.ChunkedArray, length: int) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.equal(pc.list_value_length(lists), length)


def _inverted(mask: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.invert(mask)


def _each(lists: pa.ChunkedArray) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    found: list[dict[str, Any]] = pc.value_counts(pc.list_flatten(lists)).to_pylist()
    return found
