"""What counts mean: Great Expectations' verdicts and result fields, from plain numbers."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.core.expectations import Outcome

BY = "duckdb"
"""Who judged, in a report."""


def mapped(rows: int, considered: int | None, unexpected: int, mostly: float) -> Outcome:
    """The verdict on rows.

    :param rows: all rows that meet the row condition.
    :param considered: of those, the rows that count (with a value); ``None``: all of them.
    :param unexpected: of those, the rows that do not hold.
    :param mostly: the share of the considered rows that has to hold.

    >>> mapped(10, 8, 2, 0.75).success, mapped(10, 8, 2, 0.75).result["unexpected_percent"]
    (True, 25.0)
    >>> mapped(10, 0, 0, 1.0).success    # vacuously
    True
    """
    base = rows if considered is None else considered
    success = base == 0 or (float(base) - float(unexpected)) / float(base) >= mostly
    share = unexpected / base * 100 if base else None
    result: dict[str, Any] = {"element_count": rows, "unexpected_count": unexpected, "unexpected_percent": share}
    if considered is not None:
        result |= {
            "missing_count": rows - considered,
            "missing_percent": (rows - considered) / rows * 100 if rows else None,
            "unexpected_percent_total": unexpected / rows * 100 if rows else None,
            "unexpected_percent_nonmissing": share,
        }
    return Outcome(success=success, result=result, judged_by=BY)


def between(value: Any, kwargs: Mapping[str, Any]) -> Outcome:
    """The verdict on one figure; an unknown or infinite one fails.

    >>> between(3, {"min_value": 3}).success, between(3, {"min_value": 3, "strict_min": True}).success
    (True, False)
    >>> between(float("nan"), {"max_value": 1}).success
    False
    """
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Outcome(success=False, result={"observed_value": None}, judged_by=BY)
    try:
        low, high = _like(low, value), _like(high, value)
        above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
        below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    except (TypeError, ValueError) as error:
        return Outcome(success=None, error=f"{value!r} does not compare with the bounds: {error}", judged_by=BY)
    return Outcome(success=bool(above and below), result={"observed_value": value}, judged_by=BY)


def _like(bound: Any, value: Any) -> Any:
    """A bound as text, as the time or date that the value is."""
    if isinstance(bound, str) and isinstance(value, dt.datetime):
        moment = dt.datetime.fromisoformat(bound)
        return moment.replace(tzinfo=dt.UTC) if value.tzinfo and not moment.tzinfo else moment
    if isinstance(bound, str) and isinstance(value, dt.date):
        return dt.date.fromisoformat(bound[:10])
    return bound


def columns_match_list(columns: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
    """The columns are these, in this order."""
    have, wanted = [c.name for c in columns], list(kwargs.get("column_list") or ())
    if have == wanted:
        return Outcome(success=True, result={"observed_value": have}, judged_by=BY)
    length = max(len(have), len(wanted))
    padded = [
        (i, (wanted[i] if i < len(wanted) else None), (have[i] if i < len(have) else None)) for i in range(length)
    ]
    mismatched = [{"Expected Column Position": i, "Expected": w, "Found": h} for i, w, h in padded if w != h]
    result = {"observed_value": have, "details": {"mismatched": mismatched}}
    return Outcome(success=False, result=result, judged_by=BY)


def columns_match_set(columns: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
    """The columns are these, in any order; without ``exact_match`` others may be there."""
    have, wanted = {c.name for c in columns}, set(kwargs.get("column_set") or ())
    result: dict[str, Any] = {"observed_value": sorted(have)}
    mismatched = {}
    if have - wanted:
        mismatched["unexpected"] = sorted(have - wanted)
    if wanted - have:
        mismatched["missing"] = sorted(wanted - have)
    if mismatched:
        result["details"] = {"mismatched": mismatched}
    exact = kwargs.get("exact_match", True)
    return Outcome(success=have == wanted if exact else wanted <= have, result=result, judged_by=BY)


_NAMES = {
    "TINYINT": ("int8",),
    "SMALLINT": ("int16",),
    "INTEGER": ("int32",),
    "BIGINT": ("int64", "int"),
    "UTINYINT": ("uint8",),
    "USMALLINT": ("uint16",),
    "UINTEGER": ("uint32",),
    "UBIGINT": ("uint64",),
    "FLOAT": ("float32",),
    "DOUBLE": ("float64", "float", "double"),
    "BOOLEAN": ("bool",),
    "VARCHAR": ("str", "string"),
    "TIMESTAMP": ("datetime64[us]", "datetime64"),
    "TIMESTAMP_NS": ("datetime64[ns]", "datetime64"),
    "TIMESTAMP WITH TIME ZONE": ("datetime64[us, UTC]", "datetime64"),
}


def type_names(duck_type: str, type_: str) -> tuple[str, ...]:
    """The names a column's type goes by, numpy's first.

    >>> type_names("BIGINT", "int")
    ('int64', 'int', 'BIGINT')
    """
    return tuple(dict.fromkeys((*_NAMES.get(duck_type, ()), type_, duck_type)))
