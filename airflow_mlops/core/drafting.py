"""A first suite, drafted from a profile, for a person to read and edit.

What was seen becomes what is expected, with some slack: columns, types, nulls, ranges, categories, lengths of texts.
The draft holds on the rows that it was drafted from. It knows nothing of what the rows mean, so what is only likely
(a range, a set of categories, a number of rows) is a warning, and what would break whoever reads the rows is critical.
The idea is the schema inference of TensorFlow Data Validation.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.errors import EmptyDataset, UsageError
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import JSON, Severity

MOST_CATEGORIES = 50
"""Categories up to which a column's values are expected to be among those seen."""

SPARE_NULLS = 0.01
"""Share of nulls that is allowed on top, where there are some."""

_HEAD = """\
# A draft, made from {rows} rows{source}: what was seen is expected again, with {slack:g} slack.
# Read it, delete what is chance, tighten what has to hold. critical: the task fails; warning: it notifies and goes on.
"""


def draft_suite(profile: Profile, slack: float = 0.1) -> dict[str, JSON]:
    """A suite that the profiled rows meet, in Great Expectations' form.

    :param profile: of all columns that matter.
    :param slack: how far values may leave what was seen, as a share of its range, 0 to 10.
    :return: ``{"name", "expectations", "meta"}``, for :func:`~airflow_mlops.core.expectations.load`. Each expectation
        has in its ``meta`` what was seen.
    :raises EmptyDataset: for a profile of no rows or no columns: nothing was seen.
    :raises UsageError: for a slack that is no such share.

    >>> ages = ColumnProfile(name="age", type="int", kind="numeric", count=9, minimum=18, maximum=67)
    >>> [e["type"] for e in draft_suite(Profile(rows=9, columns={"age": ages}))["expectations"]]  # doctest: +ELLIPSIS
    ['expect_table_columns_to_match_set', ..., 'expect_column_values_to_be_between']
    """
    if not isinstance(slack, int | float) or not 0 <= slack <= 10:
        raise UsageError(f"slack is a share from 0 to 10, got {slack!r}")
    if not profile.rows or not profile.columns:
        raise EmptyDataset(f"{profile.name or 'the dataset'} has no rows or no columns: there is nothing to draft from")
    expectations: list[JSON] = [
        *_table(profile),
        *(e for c in profile.columns.values() for e in _column(c, float(slack))),
    ]
    return {
        "name": _name(profile.name),
        "expectations": expectations,
        "meta": {"drafted_from": profile.dataset_digest, "rows": profile.rows, "slack": slack},
    }


def suite_yaml(suite: Mapping[str, Any]) -> str:
    """A suite as YAML that a person can edit: one line an argument list, what was seen beside it."""
    import yaml

    meta = suite.get("meta") or {}
    source = f" with digest {meta['drafted_from']}" if meta.get("drafted_from") else ""
    head = _HEAD.format(rows=meta.get("rows", "?"), source=source, slack=meta.get("slack", 0))

    class Dumper(yaml.SafeDumper):
        """Texts with a line break of any kind are quoted so that they are escaped: folded, some come back changed."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        one_line = len(value.splitlines()) <= 1 and value == value.strip()
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if one_line else '"')

    Dumper.add_representer(str, text)
    return head + yaml.dump(
        dict(suite), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000
    )


def _expect(name: str, severity: Severity, seen: str, **kwargs: JSON) -> dict[str, JSON]:
    return {"type": f"expect_{name}", "kwargs": kwargs, "severity": str(severity), "meta": {"seen": seen}}


def _table(profile: Profile) -> Iterator[dict[str, JSON]]:
    names: list[JSON] = list(profile.columns)
    yield _expect(
        "table_columns_to_match_set",
        Severity.CRITICAL,
        f"{len(names)} columns; further ones are allowed",
        column_set=names,
        exact_match=False,
    )
    seen = f"{profile.rows} rows"
    yield _expect("table_row_count_to_be_between", Severity.CRITICAL, seen, min_value=1)
    half, double = _rounded(profile.rows / 2, -1), _rounded(profile.rows * 2, +1)
    if half > 1:
        yield _expect(
            "table_row_count_to_be_between", Severity.WARNING, seen, min_value=int(half), max_value=int(double)
        )


def _column(column: ColumnProfile, slack: float) -> Iterator[dict[str, JSON]]:
    yield from _type(column)
    yield from _nulls(column, slack)
    if not column.valid:
        return
    if column.kind == "numeric":
        yield from _range(column, slack)
    elif column.kind == "datetime":
        yield from _dates(column, slack)
    elif column.kind == "categorical":
        yield from _categories(column)
    elif column.lengths is not None:
        low, high, total = column.lengths
        yield _expect(
            "column_value_lengths_to_be_between",
            Severity.WARNING,
            f"{low} to {high} characters, {total / column.valid:.3g} on average",
            column=column.name,
            min_value=math.floor(low * max(0.0, 1 - slack)),
            max_value=math.ceil(high * (1 + slack)),
        )


def _type(column: ColumnProfile) -> Iterator[dict[str, JSON]]:
    if column.type == "other" or not column.valid:
        return  # a type that has no name on every engine, or that nothing was seen of
    yield _expect("column_values_to_be_of_type", Severity.CRITICAL, column.type, column=column.name, type_=column.type)


def _nulls(column: ColumnProfile, slack: float) -> Iterator[dict[str, JSON]]:
    missing = column.nulls + column.nonfinite  # NaN counts as missing, and the profile does not tell it from infinity
    if not missing:
        yield _expect("column_values_to_not_be_null", Severity.CRITICAL, "no nulls", column=column.name)
        return
    share = missing / column.count
    mostly = _down(1 - share * (1 + slack) - SPARE_NULLS)
    if mostly > 0:
        seen = f"{share:.3g} of the rows without a value"
        yield _expect("column_values_to_not_be_null", Severity.WARNING, seen, column=column.name, mostly=mostly)


def _range(column: ColumnProfile, slack: float) -> Iterator[dict[str, JSON]]:
    low, high = column.minimum, column.maximum
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return
    least, most = _widened(float(low), float(high), slack)
    whole = column.type == "int"
    kwargs: dict[str, JSON] = {
        "column": column.name,
        "min_value": _whole(least, -1) if whole else least,
        "max_value": _whole(most, +1) if whole else most,
    }
    if column.nonfinite:  # infinities are among the values, and outside of every range
        kwargs["mostly"] = _down(column.valid / (column.valid + column.nonfinite))
    mean = f", mean {column.mean:.4g}" if column.mean is not None else ""
    seen = f"{low:.6g} to {high:.6g}{mean}"
    yield _expect("column_values_to_be_between", Severity.WARNING, seen, **kwargs)


def _widened(low: float, high: float, slack: float) -> tuple[float, float]:
    """Bounds with slack, in round figures; what was never negative (or positive) stays so."""
    width = (high - low) or abs(high) or 1.0
    if not math.isfinite(width):
        return low, high
    step = 10.0 ** (math.floor(math.log10(width)) - 2)
    least, most = low - slack * width, high + slack * width
    if step > 0 and math.isfinite(least) and math.isfinite(most):
        least, most = _to_step(least, step, math.floor), _to_step(most, step, math.ceil)
    least = max(least, 0.0) if low >= 0 else least
    most = min(most, 0.0) if high <= 0 else most
    if not (math.isfinite(least) and math.isfinite(most)):
        return low, high
    return min(least, low), max(most, high)


def _to_step(value: float, step: float, towards: Any) -> float:
    ratio = value / step
    return float(f"{towards(ratio) * step:.12g}") if math.isfinite(ratio) and abs(ratio) < 2**53 else value


def _whole(value: float, direction: int) -> int:
    """The next whole number outwards; beyond 2**53 a float stands for its neighbours too."""
    number = math.floor(value) if direction < 0 else math.ceil(value)
    return number + direction * (int(math.ulp(value)) if abs(value) >= 2**53 else 0)


def _dates(column: ColumnProfile, slack: float) -> Iterator[dict[str, JSON]]:
    """Only a least one: tomorrow's rows are later than all that were seen."""
    try:
        low, high = dt.datetime.fromisoformat(str(column.minimum)), dt.datetime.fromisoformat(str(column.maximum))
        least = (low - (high - low) * slack).date()
    except (OverflowError, ValueError):
        return
    seen = f"{column.minimum} to {column.maximum}"
    yield _expect(
        "column_values_to_be_between", Severity.WARNING, seen, column=column.name, min_value=least.isoformat()
    )


def _categories(column: ColumnProfile) -> Iterator[dict[str, JSON]]:
    named = [category for category, rows in column.top if rows]
    if column.type != "string" or not column.complete or not 0 < len(named) <= MOST_CATEGORIES:
        return
    if len(named) == column.valid > 1:
        return  # every value is there once: names or keys, not categories
    values: list[JSON] = [*sorted(named)]
    most = ", ".join(f"{category} {rows}" for category, rows in column.top[:3])
    seen = f"{len(named)} categories, most frequent {most}"
    yield _expect("column_values_to_be_in_set", Severity.WARNING, seen[:200], column=column.name, value_set=values)


def _rounded(value: float, direction: int) -> float:
    """Two significant digits, outwards."""
    step = 10.0 ** max(0, math.floor(math.log10(value)) - 1)
    return (math.floor(value / step) if direction < 0 else math.ceil(value / step)) * step


def _down(share: float) -> float:
    """A share in thousandths, never more than it is."""
    return max(0.0, math.floor(share * 1000 - 1e-9) / 1000)


def _name(label: str) -> str:
    base = label.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in base) or "draft"
