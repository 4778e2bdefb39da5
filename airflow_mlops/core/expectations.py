"""Expectations and suites as values: what is expected of rows, in Great Expectations' own vocabulary.

A suite is a file (JSON or YAML), a dict, a list, or a function that returns one; an expectation is Great Expectations'
``{"type", "kwargs", "severity", "meta"}``. Names are checked when a suite is loaded, before any row is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON, Check, Severity, Status, digest, plain
from airflow_mlops.core.strict_yaml import read_yaml

TYPES = (
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_max_to_be_between",
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_most_common_value_to_be_in_set",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_column_pair_values_to_be_equal",
    "expect_column_pair_values_to_be_in_set",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_to_exist",
    "expect_column_type_to_be",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_value_lengths_to_be_between",
    "expect_column_value_lengths_to_equal",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_dateutil_parseable",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_json_parseable",
    "expect_column_values_to_be_null",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_unique",
    "expect_column_values_to_match_json_schema",
    "expect_column_values_to_match_like_pattern",
    "expect_column_values_to_match_like_pattern_list",
    "expect_column_values_to_match_regex",
    "expect_column_values_to_match_regex_list",
    "expect_column_values_to_match_strftime_format",
    "expect_column_values_to_not_be_in_set",
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_not_be_outliers",
    "expect_column_values_to_not_match_like_pattern",
    "expect_column_values_to_not_match_like_pattern_list",
    "expect_column_values_to_not_match_regex",
    "expect_column_values_to_not_match_regex_list",
    "expect_compound_columns_to_be_unique",
    "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_query_results_to_match_comparison",
    "expect_select_column_values_to_be_unique_within_record",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
    "expect_table_row_count_to_equal_other_table",
    "unexpected_rows_expectation",
)
"""Great Expectations' core expectations (1.24); a test holds the list against the installed library."""

_KEYS = ("type", "kwargs", "severity", "meta")
_IGNORED = ("id", "notes", "description", "rendered_content", "windows")
_SUITE_KEYS = ("name", "expectations", "meta", "id", "notes", "suite_parameters")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectation:
    """One thing that is expected.

    :param type: one of :data:`TYPES`.
    :param kwargs: its arguments, as Great Expectations has them.
    :param severity: what it does when it does not hold: ``critical``, ``warning`` or ``info``.
    :param meta: the author's notes; carried along.

    >>> Expectation.from_dict({"type": "expect_column_values_to_not_be_nul"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    airflow_mlops.core.errors.UnknownName: unknown expectation 'expect_column_values_to_not_be_nul': did you mean ...
    """

    type: str
    kwargs: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    severity: Severity = Severity.CRITICAL
    meta: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise UnknownName("expectation", self.type, TYPES)
        if not isinstance(self.kwargs, Mapping):
            raise UsageError(f"{self.type}: kwargs must be a mapping, got {type(self.kwargs).__name__}")
        if self.severity not in [s.value for s in Severity]:
            raise UnknownName("severity", self.severity, [s.value for s in Severity])
        object.__setattr__(self, "severity", Severity(self.severity))
        object.__setattr__(self, "kwargs", plain(self.kwargs))
        object.__setattr__(self, "meta", plain(self.meta or {}))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values it is about; none for expectations of the table."""
        named = [self.kwargs.get(k) for k in ("column", "column_A", "column_B")]
        listed = self.kwargs.get("column_list") if "compound" in self.type or "multicolumn" in self.type else ()
        if self.type == "expect_select_column_values_to_be_unique_within_record":
            listed = self.kwargs.get("column_list")
        return tuple(str(c) for c in (*named, *(listed if isinstance(listed, list) else ())) if c is not None)

    @property
    def subject(self) -> str:
        """What it is about, for a line of a report."""
        return ", ".join(self.columns) or "table"

    def to_dict(self) -> dict[str, JSON]:
        """Great Expectations' form of it."""
        return {
            "type": self.type,
            "kwargs": plain(self.kwargs),
            "severity": str(self.severity),
            "meta": plain(self.meta),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """From Great Expectations' form; ``expectation_type``, its name before version 1, is understood.

        :raises UsageError: for something else, naming the key.
        """
        if not isinstance(value, Mapping):
            raise UsageError(f"an expectation is a mapping with 'type' and 'kwargs', got {value!r}")
        fields = {k: v for k, v in value.items() if k not in _IGNORED}
        if "expectation_type" in fields:
            fields["type"] = fields.pop("expectation_type")
        for key in fields:
            if key not in _KEYS:
                raise UnknownName("expectation key", key, _KEYS)
        if not isinstance(fields.get("type"), str):
            raise UsageError(f"an expectation needs a 'type', got {dict(value)!r}")
        return cls(**{k: v for k, v in fields.items() if v is not None})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """What is expected of a dataset.

    :param expectations: in the order they are reported; at least one.
    :param name: the suite's name.
    :param meta: the author's notes.

    >>> Suite.of([{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}]).expectations[0].subject
    'table'
    >>> Suite.of([])
    Traceback (most recent call last):
    airflow_mlops.core.errors.UsageError: suite '' has no expectations; a suite that expects nothing passes nothing
    """

    expectations: tuple[Expectation, ...]
    name: str = ""
    meta: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expectations", tuple(self.expectations))
        object.__setattr__(self, "meta", plain(self.meta or {}))
        if not self.expectations:
            raise UsageError(f"suite {self.name!r} has no expectations; a suite that expects nothing passes nothing")

    @property
    def digest(self) -> str:
        """Fingerprint of what is expected; names and notes do not count."""
        return digest([{**e.to_dict(), "meta": {}} for e in self.expectations])

    def to_dict(self) -> dict[str, JSON]:
        """Great Expectations' form of it."""
        return {
            "name": self.name,
            "expectations": [e.to_dict() for e in self.expectations],
            "meta": plain(self.meta),
        }

    @classmethod
    def of(cls, value: Any) -> Suite:
        """A suite from whatever an author gives; see :func:`load`.

        :raises UsageError: naming the expectation that can't be used.
        """
        if isinstance(value, Suite):
            return value
        if hasattr(value, "to_json_dict"):  # a suite or an expectation of Great Expectations itself
            value = value.to_json_dict()
        elif hasattr(value, "configuration"):
            value = [value]
        if isinstance(value, Mapping):
            for key in value:
                if key not in _SUITE_KEYS:
                    raise UnknownName("suite key", key, _SUITE_KEYS)
            listed, name, meta = value.get("expectations"), str(value.get("name") or ""), value.get("meta")
        else:
            listed, name, meta = value, "", None
        if isinstance(listed, str | Mapping) or not isinstance(listed, Iterable):
            raise UsageError(f"suite {name!r}: 'expectations' must be a list, got {type(listed).__name__}")
        return cls(expectations=tuple(map(_expectation, listed)), name=name, meta=meta or {})


def _expectation(value: Any) -> Expectation:
    if isinstance(value, Expectation):
        return value
    if hasattr(value, "configuration"):  # an expectation of Great Expectations itself
        value = value.configuration.to_json_dict()
    return Expectation.from_dict(value)


def load(suite: str | Path | Mapping[str, Any] | Iterable[Any] | Callable[[], Any] | Suite) -> Suite:
    """A suite from a path of a JSON or YAML file, a dict, a list, or a function that returns one of them.

    :raises UsageError: for a file that is not there or can't be parsed, an unknown expectation, or an empty suite.
    """
    if isinstance(suite, str | Path):
        return _from_file(Path(suite))
    if callable(suite) and not isinstance(suite, Suite):
        return load(suite())
    return Suite.of(suite)


def _from_file(path: Path) -> Suite:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # also no path at all (a null byte), or no text
        raise UsageError(f"suite {str(path)!r} can't be read: {getattr(error, 'strerror', '') or error}") from error
    import yaml

    try:
        content = read_yaml(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise UsageError(f"suite {str(path)!r} is no JSON or YAML: {' '.join(str(error).split())[:300]}") from error
    try:
        found = Suite.of(content)
    except UsageError as error:
        error.args = (f"suite {str(path)!r}: {error}",)
        raise
    return found if found.name else dataclasses.replace(found, name=path.stem)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an engine found out about one expectation.

    :param success: Great Expectations' verdict; ``None``: it could not be evaluated.
    :param result: Great Expectations' result fields (``element_count``, ``unexpected_count``, ``observed_value`` ...).
    :param error: why it could not be evaluated.
    :param judged_by: ``"arrow"``, ``"duckdb"``, ``"great_expectations"``, or the database that counted:
        ``"postgresql"``.
    """

    success: bool | None
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""
    judged_by: str = ""


def check_of(expectation: Expectation, outcome: Outcome) -> Check:
    """The outcome as a check. What could not be evaluated is an error, never a pass.

    >>> check_of(Expectation(type="expect_column_to_exist", kwargs={"column": "x"}), Outcome(success=None)).status
    <Status.ERROR: 'error'>
    """
    result = plain(outcome.result)
    assert isinstance(result, dict)
    if outcome.success is None:
        status, message = Status.ERROR, outcome.error or "it could not be evaluated"
    elif outcome.success:
        status, message = Status.PASSED, ""
    else:
        status, message = Status.FAILED, _what_failed(result)
    kwargs = {k: v for k, v in expectation.kwargs.items() if k not in ("column", "column_A", "column_B", "column_list")}
    observed = result.get("observed_value")
    if observed is None and "unexpected_count" in result:
        observed = result["unexpected_count"]
    return Check(
        name=expectation.type,
        subject=expectation.subject,
        status=status,
        severity=expectation.severity,
        observed=observed,
        expected=", ".join(f"{k}={v!r}" for k, v in kwargs.items())[:300],
        message=message[:500],
        details={"success": outcome.success, "result": result, "judged_by": outcome.judged_by},
    )


def _what_failed(result: Mapping[str, Any]) -> str:
    if "unexpected_count" in result and result.get("element_count") is not None:
        share = result.get("unexpected_percent")
        examples = result.get("partial_unexpected_list") or []
        text = f"{result['unexpected_count']} of {result['element_count']} rows do not hold"
        text += f" ({share:.4g} % of those that count)" if isinstance(share, int | float) else ""
        shown = [e for e in examples[:5] if e is not None]
        return text + (f", for example {', '.join(map(repr, shown))}" if shown else "")
    if "details" in result:
        return f"saw {result.get('observed_value')!r}: {result['details']}"
    return ""
