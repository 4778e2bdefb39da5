"""One suite, every engine: what is counted does not depend on who counts.

A place takes a frame and says how it is read there. The frame in the task is what all others are held against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, SchemaMismatch
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import Engine, FileEngine, FrameEngine, sql
from airflow_mlops.engines.spark import SparkEngine
from airflow_mlops.engines.sql import SqlEngine
from tests.engines.sql_tables import table
from tests.engines.test_engines import FILTERS, FRAME, parquet, sample
from tests.engines.test_expectations import Expectation, expect, frames, same, suites

Place = Callable[[pd.DataFrame, str], tuple[Engine, DatasetRef]]

JUDGES = {
    "frame": {"duckdb"},
    "file": {"arrow", "duckdb"},
    "postgresql": {"postgresql"},
    "streamed": {"duckdb"},
    "spark": {"spark"},
}
"""Place -> who a report says has judged."""


@pytest.fixture(params=JUDGES)
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(where: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts rows where this engine reads them."""
    if where == "frame":
        return lambda frame, name: (FrameEngine(frame), FRAME)
    if where == "file":
        return lambda frame, name: (FileEngine(), parquet(tmp_path / f"{name}.parquet", frame))
    if where == "spark":
        request.getfixturevalue("spark")
        return lambda frame, name: (
            SparkEngine(),
            dataclasses.replace(parquet(tmp_path / f"{name}.parquet", frame), engine="spark"),
        )
    server = request.getfixturevalue("postgres")
    if where == "streamed":
        monkeypatch.setattr(sql, "LEAVES", {})
    # What is missing in a frame is a null of the table, and to a judge it may as well be NaN.
    return lambda frame, name: (
        SqlEngine(),
        table(server, f"conformance {name}", frame, nulls=name != "judged" or len(frame) % 2 == 0),
    )


def resembles(one: Profile, other: Profile) -> None:
    """The same profile, but that a database counts the distinct values where a file's are estimated."""
    assert (one.rows, list(one.columns)) == (other.rows, list(other.columns))
    for name, ours in one.columns.items():
        theirs = other.columns[name]
        if not theirs.distinct_exact:
            theirs = dataclasses.replace(theirs, distinct=ours.distinct, distinct_exact=ours.distinct_exact)
        assert ours == theirs


def typed(frame: pd.DataFrame) -> bool:
    """Whether every column has a value: of a streamed table a column's type is that of its values."""
    return bool(frame.notna().any().all())


def test_the_same_rows_have_the_same_digest_schema_profile_and_frame(place: Place) -> None:
    frame, expected = sample(), FrameEngine(sample())
    engine, ref = place(frame, "flights")
    assert isinstance(engine, Engine)
    ours, theirs = engine.resolve(ref), expected.resolve(FRAME)
    assert (ours.digest, ours.rows, ours.schema) == (theirs.digest, 60, theirs.schema)
    resembles(engine.profile(ref), expected.profile(FRAME))
    read = engine.read(ref).sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(read, expected.read(FRAME))


def test_filters_keep_the_same_rows(place: Place, where: str) -> None:
    frame, expected = sample(), FrameEngine(sample())
    engine, ref = place(frame, "filtered")
    together = [("delay", ">", 0), ("at", "<=", "2013-01-02"), ("carrier", "in", ["AA", "UA"])]
    assert engine.resolve(ref.where(*together)).digest == expected.resolve(FRAME.where(*together)).digest
    for filter_, _ in FILTERS if where != "spark" else ():  # a second each there, of the same SQL as PostgreSQL's
        if where == "streamed" and filter_[1] == "is null":
            continue  # see typed()
        assert engine.resolve(ref.where(filter_)).digest == expected.resolve(FRAME.where(filter_)).digest, filter_


def test_a_references_bins_are_counted_in_and_add_up(place: Place) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=4000), "c": rng.choice(list("abc"), 4000)})
    frame.loc[::11, "x"] = np.nan
    reference = FrameEngine(frame[:2000]).profile(FRAME)
    later = frame[2000:].assign(c=lambda f: f["c"].replace("a", "new"))
    engine, ref = place(later, "later")
    ours = engine.profile(ref, reference=reference)
    resembles(ours, FrameEngine(later).profile(FRAME, reference=reference))
    assert ours.columns["c"].unseen == (later["c"] == "new").sum() > 0
    assert (reference + ours).columns["x"].counts == tuple(
        a + b for a, b in zip(reference.columns["x"].counts, ours.columns["x"].counts, strict=True)
    )


def test_failing_values_are_shown_wherever_rows_are(place: Place) -> None:
    frame = pd.DataFrame({"x": range(100), "word": [f"w{i}" for i in range(100)], "key": [i % 50 for i in range(100)]})
    engine, ref = place(frame, "shown")
    suite = [
        expect("column_values_to_be_between", column="x", max_value=50),
        expect("column_values_to_match_regex", column="word", regex="^w[0-8]"),
        expect("column_values_to_be_unique", column="key"),
        expect("column_distinct_values_to_be_in_set", column="key", value_set=list(range(40))),
    ]
    wrong = ({*range(51, 100)}, {"w9", *(f"w{i}" for i in range(90, 100))}, {*range(50)}, {*range(40, 50)})
    for outcome, failing in zip(engine.judge(ref, suite), wrong, strict=True):
        shown = outcome.result["partial_unexpected_list"]
        assert outcome.success is False and len(shown) == 5 and set(shown) <= failing


def test_verdicts_and_counts_are_the_same(place: Place, where: str) -> None:
    @settings(
        max_examples=1 if where == "spark" else 8,
        deadline=None,
        derandomize=where == "spark",
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(frames(), suites())
    def hold(frame: pd.DataFrame, suite: list[Expectation]) -> None:
        assume(where != "streamed" or typed(frame))
        engine, ref = place(frame, "judged")
        ours, theirs = engine.judge(ref, suite), FrameEngine(frame).judge(FRAME, suite)
        assert {o.judged_by for o in ours} == JUDGES[where]
        differ = [
            f"{expectation.type} {expectation.kwargs}\n{where} {a}\nframe {b}"
            for expectation, a, b in zip(suite, ours, theirs, strict=True)
            if a.error or not same(a, b)
        ]
        assert not differ, "\n".join([*differ, str(frame.to_dict("list"))])

    hold()


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(place: Place, where: str, rows: int) -> None:
    frame = sample()[1 : 1 + rows]  # the first delay is missing
    if where == "streamed" and not typed(frame):
        return
    engine, ref = place(frame, f"few {rows}")
    expected = FrameEngine(frame)
    ours, theirs = engine.resolve(ref), expected.resolve(FRAME)
    assert (ours.digest, ours.rows, ours.schema) == (theirs.digest, rows, theirs.schema)
    suite = [
        expect("table_row_count_to_be_between", min_value=2),
        expect("column_mean_to_be_between", column="delay", min_value=1e9),
        expect("column_stdev_to_be_between", column="id", max_value=1e9),  # of one value there is none
        expect("column_values_to_not_be_null", column="carrier"),
    ]
    for outcomes in (engine.judge(ref, suite), expected.judge(FRAME, suite)):
        assert [o.success for o in outcomes] == [False, False, False, True]


def test_what_is_not_there_is_named(place: Place, where: str) -> None:
    engine, ref = place(sample(), "named")
    with pytest.raises(SchemaMismatch, match="did you mean 'carrier'"):
        engine.resolve(ref.select("carier"))
    (outcome,) = engine.judge(ref, [expect("column_values_to_not_be_null", column="carier")])
    assert outcome.success is None and "did you mean 'carrier'" in outcome.error
    if where != "frame":
        gone: dict[str, Any] = {"table": "gone"} if ref.table else {"uri": f"{ref.uri}.gone.parquet"}
        with pytest.raises(DatasetNotFound, match="gone"):
            engine.resolve(dataclasses.replace(ref, **gone))


def test_names_and_values_are_only_that(place: Place) -> None:
    name = 'x"; drop table y; --'
    frame = pd.DataFrame({name: ["a", "'; --", "b"], "select": [1.5, 2.0, 3.0]})
    engine, ref = place(frame, "hostile")
    assert engine.resolve(ref.where((name, "=", "'; --"))).rows == 1
    suite = [
        expect("column_values_to_be_in_set", column=name, value_set=["a", "'; --"]),
        expect("column_values_to_match_regex", column=name, regex="^'; --$"),
        expect("column_values_to_be_between", column="select", max_value=2),
    ]
    assert [o.result["unexpected_count"] for o in engine.judge(ref, suite)] == [1, 2, 1]
