"""The most common expectations, judged while Parquet's columns go by: no database is loaded, and each column is read
once, on its own.

What is compiled here is what :mod:`airflow_mlops.engines.compiled` compiles, argument for argument, with the verdicts
of :mod:`airflow_mlops.engines.verdicts`; only who counts differs. What is not here is left to DuckDB: row conditions,
times, aggregates, rows compared across columns.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines.compiled import arguments, plan
from airflow_mlops.engines.conditions import MissingColumn, Uncompilable
from airflow_mlops.engines.duck import Column, Source
from airflow_mlops.engines.judging import EXAMPLES
from airflow_mlops.engines.plans import mostly_of
from airflow_mlops.engines.verdicts import mapped

if TYPE_CHECKING:
    from airflow_mlops.engines.arrow_counts import Condition, Count
    from airflow_mlops.engines.parquet import ParquetRows

BY = "arrow"
"""Who judged, in a report."""

_FEW = 4096
"""Texts that are looked at one by one; for more it is worth to load Arrow's functions."""

KEPT = 1 << 24
"""Whole numbers that are held, at most, to be asked for those that repeat: 128 MB."""


@dataclasses.dataclass(frozen=True)
class _Asked:
    """An expectation that is counted here.

    :param condition: which values do not hold; ``None``: it is about values that are missing, or that repeat.
    """

    expectation: Expectation
    column: Column
    mostly: float
    condition: Condition | None = None


def judges(expectations: Sequence[Expectation]) -> bool:
    """Whether any of these may be judged here; without loading what it takes."""
    return any(e.type in _CONDITIONS or e.type in _WHOLE for e in expectations)


def judge(rows: ParquetRows, expectations: Sequence[Expectation]) -> dict[int, Outcome]:
    """The outcomes of those that can be judged here, by their places.

    Rows in a store are not read twice: where something is left, all is.

    :raises DataError: when the rows can't be read.
    """
    header = _Header(con=None, relation="", parameters={}, columns=rows.columns, label=rows.label)
    found: dict[int, Outcome] = {}
    asked: dict[int, _Asked] = {}
    kept = 0
    for i, one in enumerate(expectations):
        try:
            made = _compiled(one, header, rows.count)
        except (MissingColumn, Uncompilable):
            continue
        if isinstance(made, Outcome):
            found[i] = dataclasses.replace(made, judged_by=BY)
        elif one.type != _UNIQUE or (kept := kept + rows.count) <= KEPT:
            asked[i] = made
    if rows.filesystem is not None and len(found) + len(asked) < len(expectations):
        return {}
    return found | (_counted(rows, asked) if asked else {})


def _compiled(one: Expectation, header: _Header, rows: int) -> Outcome | _Asked:
    """An outcome where no value has to be looked at; else what is counted.

    :raises Uncompilable: when it is left to others; likewise ``MissingColumn``.
    """
    kwargs = arguments(one)
    if not judges([one]) or "row_condition" in kwargs:
        raise Uncompilable(one.type)
    made = plan(one, header, "")
    if one.type in (*_COUNTS, *_SCHEMA):
        outcome = made.finish((rows,) if one.type in _COUNTS else ())
        assert outcome is not None
        return outcome
    column = header.column(kwargs["column"])
    assert column is not None
    if one.type == _UNIQUE and column.type != "int":
        raise Uncompilable(one.type)
    condition = _CONDITIONS[one.type](column, kwargs) if one.type in _CONDITIONS else None
    return _Asked(one, column, mostly_of(kwargs.get("mostly")), condition)


def _counted(rows: ParquetRows, asked: Mapping[int, _Asked]) -> dict[int, Outcome]:
    from airflow_mlops.engines import streams
    from airflow_mlops.engines.arrow_counts import Count

    about: dict[str, list[int]] = {}
    for i, one in asked.items():
        about.setdefault(one.column.name, []).append(i)

    def start() -> dict[str, Count]:
        made = {}
        for name, those in about.items():
            conditions = [c for i in those if (c := asked[i].condition) is not None]
            keep = any(asked[i].expectation.type == _UNIQUE for i in those)
            made[name] = Count(conditions, examples=EXAMPLES, keep=keep)
        return made

    def add(counts: dict[str, Count], placed: tuple[int, Any]) -> None:
        place, batch = placed
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            counts[name].add(place, array)

    columns = [asked[those[0]].column for those in about.values()]
    first, *others = streams.counted(rows.placed(columns, apart=True), start, add)
    for other in others:
        for name, count in first.items():
            count.merge(other[name])
    outcomes: dict[int, Outcome] = {}
    for name, those in about.items():
        places = iter(range(len(first[name].conditions)))
        for i in those:
            k = next(places) if asked[i].condition is not None else -1
            outcomes[i] = _outcome(asked[i], first[name], k)
    return outcomes


def _outcome(one: _Asked, count: Count, k: int) -> Outcome:
    """:param k: the place of its condition; -1: it has none."""
    there = count.rows - count.missing
    examples: list[Any] | None = None
    if one.expectation.type == _NOT_NULL:
        outcome = mapped(count.rows, None, count.missing, one.mostly)
    elif one.expectation.type == _UNIQUE:
        number, examples = count.repeated()
        outcome = mapped(count.rows, there, number, one.mostly)
    else:
        examples = [value for _, value in count.first[k]]
        outcome = mapped(count.rows, None if one.expectation.type == _NULL else there, count.wrong[k], one.mostly)
    result = dict(outcome.result)
    if outcome.success is False and examples is not None:
        result["partial_unexpected_list"] = examples
    return dataclasses.replace(outcome, result=result, judged_by=BY)


class _Header(Source):
    """Columns whose rows are counted by others; patterns are read as Arrow reads them (RE2)."""

    def reads_pattern(self, pattern: str) -> bool:
        """See :class:`~airflow_mlops.engines.duck.Source`."""
        import pyarrow as pa

        try:
            self.matches_nothing(pattern)
        except (pa.ArrowInvalid, UnicodeEncodeError):
            return False
        return True

    def matches_nothing(self, pattern: str) -> bool:
        """See :class:`~airflow_mlops.engines.duck.Source`."""
        from airflow_mlops.engines import arrays

        return bool(_matching(pattern)(arrays.of_texts([""]))[0])


def _matching(pattern: str) -> Callable[[Any], Any]:
    import pyarrow.compute as pc

    return lambda texts: _flags(pc.match_substring_regex(texts, pattern))


def _flags(found: Any) -> Any:
    from airflow_mlops.engines import arrays

    return arrays.raw(found)[0]


def _never(column: Column, kwargs: Mapping[str, Any]) -> Condition:
    from airflow_mlops.engines.arrow_counts import Never

    if column.type not in ("int", "float", "string"):
        raise Uncompilable("examples of another type")
    return Never()


def _within(column: Column, kwargs: Mapping[str, Any]) -> Condition:
    from airflow_mlops.engines.arrow_counts import Within

    if column.type not in ("int", "float"):
        raise Uncompilable("times")
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if column.type == "float":
        low, high = (None if bound is None else float(bound) for bound in (low, high))
    if not all(bound is None or isinstance(bound, int) or math.isfinite(bound) for bound in (low, high)):
        raise Uncompilable("an infinite bound")
    return Within(low, high, bool(kwargs.get("strict_min")), bool(kwargs.get("strict_max")))


def _among(column: Column, kwargs: Mapping[str, Any], *, wanted: bool) -> Condition:
    import numpy as np

    from airflow_mlops.engines.arrow_counts import Among, Texts

    values = kwargs["value_set"]
    if column.type == "string" and all(isinstance(v, str) and _encodes(v) for v in values):
        return Texts(functools.partial(_in, frozenset(values), wanted))
    whole = all(isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**62 for v in values)
    if column.type == "int" and whole and column.duck_type != "UBIGINT":
        return Among(np.array(values, np.int64), wanted)
    real = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if column.type == "float" and real:
        return Among(np.array([float(v) for v in values]), wanted)
    raise Uncompilable("a set of another kind")


def _encodes(text: str) -> bool:
    """Whether there is such a text: half of a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in(values: frozenset[str], wanted: bool, texts: Any) -> Any:
    import numpy as np

    from airflow_mlops.engines import arrays

    if len(texts) > _FEW:
        import pyarrow.compute as pc

        found = _flags(pc.is_in(texts, arrays.of_texts(sorted(values)).cast(texts.type)))
        return found if wanted else ~found
    return np.fromiter(((text in values) is wanted for text in texts.to_pylist()), bool, len(texts))


def _matches(column: Column, kwargs: Mapping[str, Any], *, wanted: bool) -> Condition:
    from airflow_mlops.engines.arrow_counts import Texts

    found = _matching(kwargs["regex"])
    return Texts(found if wanted else lambda texts: ~found(texts))


def _lengths(column: Column, kwargs: Mapping[str, Any]) -> Condition:
    from airflow_mlops.engines.arrow_counts import Texts, Within

    both = kwargs.get("value")
    low, high = (both, both) if both is not None else (kwargs.get("min_value"), kwargs.get("max_value"))
    within = Within(
        None if low is None else float(low),
        None if high is None else float(high),
        bool(kwargs.get("strict_min")),
        bool(kwargs.get("strict_max")),
    )

    def holds(texts: Any) -> Any:
        import pyarrow.compute as pc

        from airflow_mlops.engines import arrays

        return ~within.bad(arrays.raw(pc.utf8_length(texts))[0], None)

    return Texts(holds)


_NOT_NULL, _NULL = "expect_column_values_to_not_be_null", "expect_column_values_to_be_null"
_UNIQUE = "expect_column_values_to_be_unique"
_COUNTS = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")
_SCHEMA = (
    "expect_column_to_exist",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_of_type",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
)
_WHOLE = (_NOT_NULL, _UNIQUE, *_COUNTS, *_SCHEMA)
"""What no value is looked at for, or all are held."""

_CONDITIONS: Mapping[str, Callable[[Column, Mapping[str, Any]], Condition]] = {
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _lengths,
    "expect_column_values_to_be_between": _within,
    "expect_column_values_to_be_in_set": functools.partial(_among, wanted=True),
    "expect_column_values_to_match_regex": functools.partial(_matches, wanted=True),
    "expect_column_values_to_not_be_in_set": functools.partial(_among, wanted=False),
    "expect_column_values_to_not_match_regex": functools.partial(_matches, wanted=False),
    _NULL: _never,
}
"""Expectation -> which values do not hold."""
