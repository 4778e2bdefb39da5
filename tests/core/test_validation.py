"""Suites as values, and the judgements that need no engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.errors import PolicyError, UnknownName, UsageError
from airflow_mlops.core.expectations import Expectation, Outcome, Suite, check_of, load
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import Check, Severity, Status
from airflow_mlops.core.validation import (
    Comparison,
    Environment,
    applicable,
    compare,
    compare_schema,
    environment_of,
    label_checks,
    not_empty,
    report,
)

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "severity": "warning"}


def test_a_suite_comes_from_a_file_a_dict_a_list_or_a_function(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps({"name": "s", "expectations": [NOT_NULL], "meta": {}}))
    (tmp_path / "rows.yaml").write_text(
        "name: s\nexpectations:\n- type: expect_column_values_to_not_be_null\n"
        "  kwargs: {column: id}\n  severity: warning\n"
    )
    suites = [
        load(tmp_path / "rows.json"),
        load(str(tmp_path / "rows.yaml")),
        load({"name": "s", "expectations": [NOT_NULL]}),
        load(lambda: {"name": "s", "expectations": [NOT_NULL]}),
        load(Suite(name="s", expectations=(Expectation.from_dict(NOT_NULL),))),
    ]
    assert all(s == suites[0] for s in suites)
    assert suites[0].expectations[0].severity is Severity.WARNING
    assert load([NOT_NULL]).digest == suites[0].digest
    assert Suite.of(suites[0].to_dict()) == suites[0]
    (tmp_path / "nameless.json").write_text(json.dumps([NOT_NULL]))
    assert load(tmp_path / "nameless.json").name == "nameless"


def test_the_form_before_version_1_is_understood() -> None:
    old = {"expectation_type": NOT_NULL["type"], "kwargs": {"column": "id"}, "id": "x", "notes": None}
    assert Expectation.from_dict(old) == Expectation(type=str(NOT_NULL["type"]), kwargs={"column": "id"})


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ([], "has no expectations"),
        ({"name": "s", "expectations": []}, "'s' has no expectations"),
        ({"name": "s"}, "must be a list"),
        ({"expectation": []}, "did you mean 'expectations'"),
        ([{"type": "expect_column_values_to_be_nul"}], "did you mean 'expect_column_values_to_be_null'"),
        ([{**NOT_NULL, "severty": "info"}], "did you mean 'severity'"),
        ([{**NOT_NULL, "severity": "fatal"}], "unknown severity 'fatal'"),
        ([{"kwargs": {}}], "needs a 'type'"),
        ([{**NOT_NULL, "kwargs": ["id"]}], "kwargs must be a mapping"),
        (["expect_column_to_exist"], "is a mapping"),
        ("no/such/file.json", "can't be read"),
        (3, "must be a list"),
    ],
    ids=str,
)
def test_a_suite_that_can_not_be_used_is_refused_before_a_row_is_read(suite, words) -> None:
    with pytest.raises(UsageError, match=words):
        load(suite)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text("expectations: [")
    with pytest.raises(UsageError, match=r"rows\.yaml' is no JSON or YAML"):
        load(tmp_path / "rows.yaml")
    (tmp_path / "rows.yaml").write_text("- type: expect_nothing\n")
    with pytest.raises(UnknownName, match=r"rows\.yaml': unknown expectation 'expect_nothing'"):
        load(tmp_path / "rows.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "- type: expect_column_max_to_be_between\n  kwargs: {column: x, max_value: 1, max_value: 100}\n",
        '[{"type": "expect_column_max_to_be_between", "kwargs": {"column": "x", "max_value": 1, "max_value": 100}}]',
    ],
)
def test_a_bound_that_is_said_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"rows\.yaml' is no JSON or YAML: the key 'max_value' is there twice"):
        load(tmp_path / "rows.yaml")


def test_an_outcome_without_a_verdict_is_an_error() -> None:
    expectation = Expectation.from_dict(NOT_NULL)
    check = check_of(expectation, Outcome(success=None, error="column 'id' is not there"))
    assert (check.status, check.message, check.severity) == (
        Status.ERROR,
        "column 'id' is not there",
        Severity.WARNING,
    )
    result = {"element_count": 4, "unexpected_count": 1, "unexpected_percent": 25.0, "partial_unexpected_list": [7]}
    failed = check_of(expectation, Outcome(success=False, result=result, judged_by="duckdb"))
    assert failed.status is Status.FAILED and "1 of 4 rows do not hold (25 %" in failed.message
    assert "for example 7" in failed.message and failed.details["judged_by"] == "duckdb"
    assert check_of(expectation, Outcome(success=True, result=result)).passed


def test_what_is_expected_of_the_label_does_not_apply_in_serving() -> None:
    suite = Suite.of(
        [
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "late"}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}},
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["id", "late"]}},
            {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": ["id", "late"]}},
            {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["late", "id"]}},
        ]
    )
    kept, skipped = applicable(suite.expectations, environment=Environment.SERVING, label="late")
    assert [c.status for c in skipped] == [Status.SKIPPED] * 2
    assert [e.kwargs for e in kept] == [{"column": "id"}, {"column_list": ["id"]}, {"column_set": ["id"]}]
    kept, skipped = applicable(suite.expectations, environment=Environment.TRAINING, label="late")
    assert len(kept) == 5 and not skipped
    assert environment_of("serving") is Environment.SERVING
    with pytest.raises(UnknownName, match="did you mean 'SERVING'"):
        environment_of("SERVIN")


def categories(**counts: int) -> ColumnProfile:
    total = sum(counts.values())
    return ColumnProfile(
        name="late",
        type="string",
        kind="categorical",
        count=total + 1,
        nulls=1,
        distinct=len(counts),
        top=tuple(counts.items()),
    )


@pytest.mark.parametrize(
    ("column", "failed"),
    [
        (categories(yes=2, no=3), set()),
        (categories(yes=2), {"label_varies"}),
        (categories(), {"label_known", "label_varies"}),
        (None, {"label_present"}),
    ],
)
def test_a_label_has_to_be_there_and_to_vary(column, failed) -> None:
    rows = column.count if column else 3
    profile = Profile(rows=rows, columns={"late": column} if column else {})
    checks = label_checks(profile, label="late", environment=Environment.TRAINING)
    assert {c.name for c in checks if not c.passed} == failed
    assert label_checks(profile, label="late", environment=Environment.SERVING) == []


def test_schemas_are_held_against_one_another() -> None:
    expected = {"id": "int", "carrier": "string", "late": "bool"}
    have = {"id": "float", "carrier_name": "string", "late": "string"}
    checks = {(c.name, c.subject): c for c in compare_schema(have, expected)}
    assert checks["column_missing", "carrier"].blocks
    assert "renamed to 'carrier_name'" in checks["column_missing", "carrier"].message
    assert checks["column_extra", "carrier_name"].severity is Severity.INFO
    assert checks["column_type", "id"].passed  # an int column with nulls is a float in many places
    assert checks["column_type", "late"].status is Status.FAILED
    serving = compare_schema(
        {"id": "int", "carrier": "string"}, expected, label="late", environment=Environment.SERVING
    )
    assert all(c.passed for c in serving)


def numbers(name: str, low: float, high: float, *, rows: int = 100, nulls: int = 0) -> ColumnProfile:
    return ColumnProfile(name=name, type="float", kind="numeric", count=rows, nulls=nulls, minimum=low, maximum=high)


def statuses(checks: list[Check]) -> dict[tuple[str, str], str]:
    return {(c.name, c.subject): str(c.status) for c in checks}


def test_rows_are_held_against_a_reference_profile() -> None:
    carrier = ColumnProfile(name="c", type="string", kind="categorical", count=100, top=(("AA", 60), ("UA", 40)))
    reference = Profile(rows=100, columns={"x": numbers("x", 0, 10), "c": carrier})
    assert all(c.passed for c in compare(reference, reference))
    moved = ColumnProfile(
        name="c",
        type="string",
        kind="categorical",
        count=300,
        nulls=90,
        top=(("AA", 190), ("UA", 0)),
        other=20,
        unseen=20,
    )
    worse = Profile(rows=300, columns={"x": numbers("x", -6, 10, rows=300), "c": moved})
    seen = statuses(compare(worse, reference))
    assert seen["row_count", "rows"] == "failed"
    assert seen["null_share", "c"] == "failed" and seen["null_share", "x"] == "passed"
    assert seen["unseen_categories", "c"] == "failed"
    assert seen["range", "x"] == "failed"
    lenient = Comparison(
        min_rows_ratio=None, max_rows_ratio=None, max_null_share_increase=0.3, max_unseen_share=0.1, range_slack=0.6
    )
    assert all(c.passed for c in compare(worse, reference, policy=lenient))
    nothing = Profile(rows=0, columns={})
    assert statuses(compare(reference, nothing))["row_count", "rows"] == "insufficient_data"


@pytest.mark.parametrize(
    ("rows", "held"), [(49, False), (50, True), (100, True), (200, True), (201, False), (0, False)]
)
def test_the_row_band_holds_at_its_edges(rows: int, held: bool) -> None:
    reference = Profile(rows=100, columns={})
    (check,) = compare(Profile(rows=rows, columns={}), reference)
    assert check.passed is held


@pytest.mark.parametrize(
    "value",
    [
        {"range_slack": -1},
        {"range_slack": float("nan")},
        {"max_unseen_share": "much"},
        {"min_rows_ratio": 3},
        {"severity": "fatal"},
        {"slack": 1},
    ],
    ids=str,
)
def test_a_comparison_that_says_nothing_is_refused(value) -> None:
    with pytest.raises((PolicyError, UnknownName)):
        Comparison.from_dict(value)
    assert Comparison.from_dict(Comparison().to_dict()) == Comparison()


def test_zero_rows_do_not_pass_by_default() -> None:
    assert not not_empty(0).passed and not_empty(0).blocks
    assert not_empty(0, allowed=True).passed and not_empty(1).passed


def test_the_report_says_who_judged_what() -> None:
    expectation = Expectation.from_dict({**NOT_NULL, "severity": "critical"})
    by = [Outcome(success=True, judged_by=who) for who in ("duckdb", "duckdb", "great_expectations")]
    made = report([check_of(expectation, o) for o in by], subject="rows", inputs={"data": "d"})
    assert made.passed and made.details["judged_by"] == {"duckdb": 2, "great_expectations": 1}
    assert made.kind == "validation"
