"""A drafted suite loads, holds on the rows it was drafted from, and notices rows that are other ones."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drafting import draft_suite, suite_yaml
from airflow_mlops.core.errors import EmptyDataset, UsageError
from airflow_mlops.core.expectations import check_of, load
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import Severity
from airflow_mlops.engines import engine_for

VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.float64(): st.floats() | st.floats(0, 1) | st.integers(-9, 9).map(float),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["UA", "B6", "", "no"]),
    pa.decimal128(9, 2): st.decimals(-1000, 1000, places=2),
    pa.timestamp("us"): st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)),
    pa.timestamp("us", "UTC"): st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),
    pa.date32(): st.dates(),
    pa.list_(pa.int64()): st.lists(st.integers(0, 9), max_size=3),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 40))
    columns = {}
    for i, type_ in enumerate(draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))):
        values = VALUES[type_] if draw(st.booleans()) else VALUES[type_] | st.none()
        columns[f"c{i} \"'é"] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), type_)
    return pa.table(columns)


def judged(suite: Any, ref: DatasetRef) -> dict[tuple[str, str], str]:
    expectations = load(suite).expectations
    outcomes = engine_for(ref).judge(engine_for(ref).resolve(ref), expectations)
    return {
        (e.type, e.subject): check_of(e, o).line() for e, o in zip(expectations, outcomes, strict=True) if not o.success
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), slack=st.sampled_from([0.0, 0.01, 0.1, 1.0, 10.0]))
def test_a_draft_holds_on_the_rows_that_it_was_drafted_from(tmp_path: Path, table: pa.Table, slack: float) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    ref = DatasetRef(uri=str(path))
    suite = draft_suite(engine_for(ref).profile(ref), slack)
    written = tmp_path / "suite.yaml"
    written.write_text(suite_yaml(suite), encoding="utf-8")
    assert load(str(written)).digest == load(suite).digest, "the file says what the value says"
    assert judged(str(written), ref) == {}


@pytest.fixture
def flights(tmp_path: Path) -> DatasetRef:
    frame = pd.DataFrame(
        {
            "carrier": ["UA", "B6", "EV", "UA"] * 50,
            "tailnum": [f"N{i:05}" for i in range(200)],
            "distance": [50 + i * 10 for i in range(200)],
            "share": [i / 200 for i in range(200)],
            "gust": [None if i % 4 else i / 3 for i in range(200)],
            "hour": pd.date_range("2013-01-01", periods=200, freq="h"),
            "nothing": [None] * 200,
        }
    )
    path = tmp_path / "flights.parquet"
    frame.to_parquet(path)
    return DatasetRef(uri=str(path))


def changed(ref: DatasetRef, **columns: Any) -> DatasetRef:
    frame = pd.read_parquet(ref.uri).assign(**columns)
    frame.to_parquet(path := Path(ref.uri).with_name("changed.parquet"))
    return DatasetRef(uri=str(path))


def test_a_draft_says_what_was_seen_in_words_and_round_figures(flights: DatasetRef) -> None:
    suite = draft_suite(engine_for(flights).profile(flights))
    found = {(e["type"], e["kwargs"].get("column")): e for e in suite["expectations"]}  # type: ignore[index,union-attr,call-overload]
    assert suite["name"] == "flights"
    between = "expect_column_values_to_be_between"
    assert found[between, "distance"]["kwargs"] == {"column": "distance", "min_value": 0, "max_value": 2240}
    assert found[between, "distance"]["meta"] == {"seen": "50 to 2040, mean 1045"}
    assert found[between, "distance"]["severity"] == "warning"
    assert found[between, "hour"]["kwargs"] == {"column": "hour", "min_value": "2012-12-31"}
    assert found["expect_column_values_to_be_in_set", "carrier"]["kwargs"]["value_set"] == ["B6", "EV", "UA"]
    assert ("expect_column_values_to_be_in_set", "tailnum") not in found, "keys are no categories"
    assert found["expect_column_values_to_not_be_null", "carrier"]["severity"] == "critical"
    assert found["expect_column_values_to_not_be_null", "gust"]["kwargs"]["mostly"] == 0.164
    assert not [key for key in found if key[1] == "nothing"], "nothing is known of a column of nulls"
    assert {e.severity for e in load(suite).expectations} == {Severity.CRITICAL, Severity.WARNING}


@pytest.mark.parametrize(
    ("columns", "noticed"),
    [
        ({"carrier": "ZZ"}, "expect_column_values_to_be_in_set"),
        ({"carrier": None}, "expect_column_values_to_not_be_null"),
        ({"distance": -1}, "expect_column_values_to_be_between"),
        ({"distance": "far"}, "expect_column_values_to_be_of_type"),
        ({"gust": None}, "expect_column_values_to_not_be_null"),
        ({"hour": pd.Timestamp("2011-01-01")}, "expect_column_values_to_be_between"),
    ],
)
def test_other_rows_do_not_meet_it(flights: DatasetRef, columns: dict[str, Any], noticed: str) -> None:
    suite = draft_suite(engine_for(flights).profile(flights))
    assert noticed in {type_ for type_, _ in judged(suite, changed(flights, **columns))}


def test_a_missing_column_and_a_fraction_of_the_rows_do_not_meet_it(flights: DatasetRef) -> None:
    suite = draft_suite(engine_for(flights).profile(flights))
    few = DatasetRef(uri=flights.uri, filters=[("distance", "<", 500)], columns=["carrier", "distance"])
    found = {type_ for type_, _ in judged(suite, few)}
    assert {"expect_table_columns_to_match_set", "expect_table_row_count_to_be_between"} <= found


def test_nothing_is_drafted_from_nothing() -> None:
    with pytest.raises(EmptyDataset, match="nothing to draft from"):
        draft_suite(Profile(rows=0, columns={"a": ColumnProfile(name="a", type="int", kind="numeric", count=0)}))
    with pytest.raises(EmptyDataset):
        draft_suite(Profile(rows=3, columns={}))


@pytest.mark.parametrize("slack", [-0.1, math.nan, 11, "much"])
def test_a_slack_that_is_no_share_is_refused(slack: Any) -> None:
    ages = ColumnProfile(name="age", type="int", kind="numeric", count=9, minimum=18, maximum=67)
    with pytest.raises(UsageError, match="slack is a share"):
        draft_suite(Profile(rows=9, columns={"age": ages}), slack)


def test_the_file_can_be_edited_line_by_line(flights: DatasetRef) -> None:
    resolved = engine_for(flights).resolve(flights)
    text = suite_yaml(draft_suite(engine_for(flights).profile(resolved)))
    assert text.startswith(f"# A draft, made from 200 rows with digest {resolved.digest}")
    assert "  kwargs: {column: distance, min_value: 0, max_value: 2240}\n" in text
    assert yaml.safe_load(text)["expectations"][0]["kwargs"]["exact_match"] is False


@pytest.mark.parametrize(
    "text", ["\n ", "\r", " a\u2028b", "\x85", "a\n\n b ", "\u2029", "\x1c", "\ufeff", "# no", "'\n\"", "~", ""]
)
def test_any_text_comes_back_from_the_file_as_it_was(text: str) -> None:
    """What YAML's folded styles would change: breaks of every kind, at either end and within."""
    suite = {"name": text, "expectations": [{"kwargs": {"column": text, "value_set": [text, f"x{text}y"]}}]}
    assert yaml.safe_load(suite_yaml(suite)) == suite


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_from_the_file(text: str) -> None:
    assert yaml.safe_load(suite_yaml({"name": text, "expectations": [text]})) == {"name": text, "expectations": [text]}


def test_infinities_and_categories_that_were_not_all_named_are_allowed_for(tmp_path: Path) -> None:
    """Rows that chance seldom draws: the range is about finite values, and a cut list of categories is no set."""
    names = [f"{i:03}-{'long' * 25}" for i in range(40)]
    table = pa.table(
        {
            "x": pa.array([float("inf"), float("-inf"), float("nan"), *map(float, range(77))]),
            "name": pa.array(names * 2),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    ref = DatasetRef(uri=str(tmp_path / "rows.parquet"))
    profile = engine_for(ref).profile(ref)
    assert profile.columns["x"].nonfinite == 3 and not profile.columns["name"].complete
    suite = draft_suite(profile, 0.0)
    assert judged(suite, ref) == {}
    assert "expect_column_values_to_be_in_set" not in {e.type for e in load(suite).expectations}
