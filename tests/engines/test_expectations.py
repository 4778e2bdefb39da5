"""Compiled expectations say what Great Expectations says: the same verdict, the same counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.expectations import TYPES, Expectation, Outcome, check_of
from airflow_mlops.core.results import Status, plain
from airflow_mlops.engines import FileEngine, FrameEngine, library
from airflow_mlops.engines.compiled import COMPILED
from airflow_mlops.engines.quarantine import remaining

FRAME = DatasetRef(uri="frame")


def expect(what: str, **kwargs: Any) -> Expectation:
    return Expectation(type=f"expect_{what}", kwargs=kwargs)


def ours(frame: pd.DataFrame, *expectations: Expectation) -> list[Outcome]:
    return FrameEngine(frame).judge(FRAME, expectations)


def test_the_names_are_the_installed_librarys() -> None:
    with library.quiet():
        import great_expectations.expectations  # noqa: F401
        from great_expectations.expectations.registry import list_registered_expectation_implementations

        installed = list_registered_expectation_implementations()
    assert set(TYPES) == set(installed)
    assert set(COMPILED) <= set(TYPES)


NUMBERS = ("i", "f", "g")
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -1.5, 2.0]))
texts = st.sampled_from(["a", "b", "ab", "", "ü", "x1"])
shares = st.sampled_from([None, 0.0, 0.25, 0.5, 2 / 3, 0.75, 1.0, 1])


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 8))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    return pd.DataFrame(
        {
            "i": pd.Series(column(st.integers(-3, 3)), dtype="int64"),
            "f": pd.Series(column(numbers | st.none() | st.just(float("nan"))), dtype="float64"),
            "g": pd.Series(column(numbers), dtype="float64"),
            "s": pd.Series(column(texts | st.none()), dtype="str"),
            "b": pd.Series(column(st.booleans()), dtype="bool"),
        }
    )


@st.composite
def bounds(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    low, high = draw(st.none() | values), draw(st.none() | values)
    if low is None and high is None:
        low = draw(values)
    if low is not None and high is not None and low > high:
        low, high = high, low
    strict = st.sampled_from([None, True, False])
    given_ = {"min_value": low, "max_value": high, "strict_min": draw(strict), "strict_max": draw(strict)}
    return {k: v for k, v in given_.items() if v is not None}


CONDITIONS = [
    None,
    {"type": "comparison", "column": {"name": "i"}, "operator": ">", "parameter": 0},
    {"type": "comparison", "column": {"name": "f"}, "operator": "!=", "parameter": 0.5},
    {"type": "nullity", "column": {"name": "f"}, "is_null": False},
    {
        "type": "or",
        "conditions": [
            {"type": "comparison", "column": {"name": "i"}, "operator": "<=", "parameter": -1},
            {"type": "nullity", "column": {"name": "f"}, "is_null": True},
        ],
    },
]


@st.composite
def suites(draw: st.DrawFn) -> list[Expectation]:
    """One of every type that is compiled, with arguments drawn."""
    any_column = st.sampled_from(["i", "f", "g", "s", "b"])
    number_column = st.sampled_from(NUMBERS)
    made = []

    def add(what: str, *, rows: bool = False, condition: bool = True, **kwargs: Any) -> None:
        if rows and (share := draw(shares)) is not None:
            kwargs["mostly"] = share
        if condition and (chosen := draw(st.sampled_from(CONDITIONS))) is not None:
            kwargs["row_condition"] = chosen
        made.append(expect(what, **kwargs))

    add("column_values_to_be_null", rows=True, column=draw(any_column))
    add("column_values_to_not_be_null", rows=True, column=draw(any_column))
    for wanted in ("", "not_"):
        values = draw(st.lists(numbers, min_size=1, max_size=4))
        add(f"column_values_to_{wanted}be_in_set", rows=True, column=draw(number_column), value_set=values)
        values = draw(st.lists(texts, min_size=1, max_size=4))
        add(f"column_values_to_{wanted}be_in_set", rows=True, column="s", value_set=values)
        pattern = draw(st.sampled_from(["^a", "b$", "a|x", r"\d", "^$", "[^a]"]))
        add(f"column_values_to_{wanted}match_regex", rows=True, column="s", regex=pattern)
    add("column_values_to_be_between", rows=True, column=draw(number_column), **draw(bounds(numbers)))
    for what in ("be_in", "contain", "equal"):
        values = draw(st.lists(texts, min_size=1, max_size=6))
        add(f"column_distinct_values_to_{what}_set", column="s", value_set=values)
        values = draw(st.lists(numbers, min_size=1, max_size=6))
        add(f"column_distinct_values_to_{what}_set", column=draw(number_column), value_set=values)
    lengths = draw(bounds(st.integers(0, 3)))
    add("column_value_lengths_to_be_between", rows=True, column="s", **lengths)
    add("column_value_lengths_to_equal", rows=True, column="s", value=draw(st.integers(0, 2)))
    add("column_values_to_be_unique", rows=True, column=draw(any_column))
    pairs = draw(st.lists(any_column, min_size=2, max_size=3, unique=True))
    ignore = draw(st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"]))
    add("compound_columns_to_be_unique", rows=True, column_list=pairs, ignore_row_if=ignore)
    ignore = draw(st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"]))
    a, b = draw(number_column), draw(number_column)
    add(
        "column_pair_values_a_to_be_greater_than_b",
        rows=True,
        column_A=a,
        column_B=b,
        ignore_row_if=ignore,
        or_equal=draw(st.booleans()),
    )
    add("column_pair_values_to_be_equal", rows=True, column_A=a, column_B=b, ignore_row_if=ignore)
    for what in ("max", "mean", "median", "min", "stdev", "sum"):
        add(f"column_{what}_to_be_between", column=draw(number_column), **draw(bounds(numbers)))
    add("column_unique_value_count_to_be_between", column=draw(any_column), **draw(bounds(st.integers(0, 5))))
    for what in ("proportion_of_unique_values", "proportion_of_non_null_values"):
        share = draw(bounds(st.sampled_from([0.0, 0.25, 0.5, 1.0])))
        add(f"column_{what}_to_be_between", column=draw(any_column), **share)
    add("table_row_count_to_be_between", condition=False, **draw(bounds(st.integers(0, 9))))
    add("table_row_count_to_equal", condition=False, value=draw(st.integers(0, 9)))
    add("column_to_exist", condition=False, column=draw(st.sampled_from(["i", "zz"])))
    add("column_to_exist", condition=False, column="f", column_index=draw(st.integers(0, 6)))
    names = draw(st.lists(st.sampled_from(["i", "f", "g", "s", "b", "zz"]), unique=True))
    names = draw(st.sampled_from([names, ["i", "f", "g", "s", "b"]]))
    add("table_columns_to_match_ordered_list", condition=False, column_list=names)
    add("table_columns_to_match_set", condition=False, column_set=names, exact_match=draw(st.booleans()))
    add("table_column_count_to_equal", condition=False, value=draw(st.sampled_from([4, 5])))
    add("table_column_count_to_be_between", condition=False, min_value=draw(st.integers(3, 6)), max_value=6)
    type_ = draw(st.sampled_from(["int", "int64", "float", "float64", "bool", "zz"]))
    number = draw(st.sampled_from(["i", "f", "b"]))
    add("column_values_to_be_of_type", condition=False, column=number, type_=type_)
    add("column_values_to_be_in_type_list", condition=False, column=number, type_list=[type_, "bool"])
    return made


FIELDS = ("element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent")


def same(a: Outcome, b: Outcome) -> bool:
    """The verdict, the counts, and the observed value to the last digits but two."""
    if a.success is not b.success:
        return False
    for field in FIELDS:
        if not _close(a.result.get(field), b.result.get(field)):
            return False
    return _close(plain(a.result.get("observed_value")), b.result.get("observed_value"))


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool):
        return a == pytest.approx(b, rel=1e-9, abs=1e-12)
    return bool(a == b)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # shrinking runs the library hundreds of times
)
@given(frames(), suites())
def test_verdicts_and_counts_are_the_librarys(frame: pd.DataFrame, suite: list[Expectation]) -> None:
    compiled = ours(frame, *suite)
    theirs = library.judge(frame, suite)
    assert [e for e, o in zip(suite, compiled, strict=True) if o.judged_by != "duckdb"] == []
    differ = [
        f"{expectation.type} {expectation.kwargs}\nours   {a}\ntheirs {b}"
        for expectation, a, b in zip(suite, compiled, theirs, strict=True)
        if b.error or not same(a, b)
    ]
    assert not differ, "\n".join([*differ, str(frame.to_dict("list"))])


def test_every_compiled_type_is_in_the_parity_test() -> None:
    drawn: set[str] = set()

    @settings(max_examples=3, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(suites())
    def collect(suite: list[Expectation]) -> None:
        drawn.update(e.type for e in suite)

    collect()
    assert drawn == set(COMPILED)


ROWS = pd.DataFrame(
    {
        "x": [1.0, 2.0, None, 400.0, 5.0, 6.0, 7.0, 8.0],
        "s": ["a", "b", None, "b", "cc", "d", "e", "f"],
        "at": pd.to_datetime(["2013-01-01"] * 7 + ["2014-01-01"]).astype("datetime64[us]"),
    }
)


def test_examples_of_failing_values_are_at_most_five_and_the_first() -> None:
    (outcome,) = ours(ROWS, expect("column_values_to_be_between", column="x", max_value=0))
    assert outcome.result["partial_unexpected_list"] == [1.0, 2.0, 400.0, 5.0, 6.0]
    (outcome,) = ours(ROWS, expect("column_values_to_be_unique", column="s"))
    assert outcome.result["partial_unexpected_list"] == ["b", "b"]
    frame = pd.DataFrame({"x": [float("inf"), 2.0], 'it\'s "x"': [1, 2]})
    (outcome,) = ours(frame, expect("column_values_to_be_between", column="x", max_value=1))
    assert outcome.result["partial_unexpected_list"] == [None, 2.0]
    pair = expect("column_pair_values_to_be_equal", column_A="x", column_B='it\'s "x"')
    assert ours(frame, pair)[0].result["partial_unexpected_list"] == [{"x": None, 'it\'s "x"': 1}]


@pytest.mark.parametrize(
    "expectation",
    [
        expect("column_values_to_not_be_null", column="gone"),
        expect("column_mean_to_be_between", column="gone", min_value=0),
        expect("column_pair_values_to_be_equal", column_A="x", column_B="gone"),
        expect("compound_columns_to_be_unique", column_list=["x", "gone"]),
        expect("column_values_to_not_be_null", column="x", row_condition=CONDITIONS[1]),
        expect("column_quantile_values_to_be_between", column="gone"),
        expect("column_values_to_be_between", column="x", min_value=3, max_value=1),
        expect("column_values_to_be_between", column="x"),
        expect("column_values_to_be_between", column="s", min_value=3),
        expect("column_mean_to_be_between", column="s", min_value=3),
        expect("column_values_to_match_regex", column="s", regex="("),
        expect("column_values_to_not_be_null", column="x", mostly=2),
        expect("column_values_to_not_be_null", column="x", row_condition="no such thing ("),
    ],
    ids=lambda e: f"{e.type[7:]} {sorted(e.kwargs)}",
)
def test_what_can_not_be_evaluated_is_an_error_and_never_a_pass(expectation: Expectation) -> None:
    good = expect("column_values_to_be_between", column="x", min_value=0)
    broken, fine = ours(ROWS, expectation, good)
    assert broken.success is None and broken.error
    assert check_of(expectation, broken).status is Status.ERROR
    assert fine.success is True  # and the others are judged all the same


def test_the_library_judges_what_is_not_compiled() -> None:
    outcomes = ours(
        ROWS,
        expect("column_values_to_match_regex_list", column="s", regex_list=["^a$"], match_on="any"),
        expect("column_values_to_match_regex", column="s", regex="^(?!b)", mostly=0.5),
        expect("column_values_to_not_be_null", column="x"),
        expect(
            "column_values_to_be_in_set",
            column="s",
            value_set=["a"],
            row_condition='s == "a"',
            condition_parser="pandas",
        ),
    )
    assert [(o.success, o.judged_by) for o in outcomes] == [
        (False, "great_expectations"),
        (True, "great_expectations"),
        (False, "duckdb"),
        (True, "great_expectations"),
    ]
    assert outcomes[0].result["unexpected_count"] == 6
    json.dumps(plain(outcomes[0].result))


@pytest.mark.parametrize(
    "pattern", ["^$", "x*", "a?$", "b|", "^a", "(a)|^$", ".", r"\b", r"b\b|\bx*", "(?m)^", r"\A|a", r"\\b"]
)
def test_a_match_of_nothing_is_a_match(pattern: str) -> None:
    texts = ["", "a", "b", "ab", None]
    frame = pd.DataFrame({"s": pd.Series(texts, dtype="str")})
    there = [t for t in texts if t is not None]
    matched = sum(re.search(pattern, t) is not None for t in there)
    does, does_not = ours(
        frame,
        expect("column_values_to_match_regex", column="s", regex=pattern),
        expect("column_values_to_not_match_regex", column="s", regex=pattern),
    )
    assert (does.judged_by, does.result["unexpected_count"]) == ("duckdb", len(there) - matched)
    assert (does_not.result["unexpected_count"], does_not.result["missing_count"]) == (matched, 1)


def test_dates_compare_with_iso_text() -> None:
    between = expect("column_values_to_be_between", column="at", max_value="2013-12-31", min_value="2013-01-01")
    greatest = expect("column_max_to_be_between", column="at", max_value="2013-12-31T00:00:00")
    a, b = ours(ROWS, between, greatest)
    assert (a.success, a.result["unexpected_count"]) == (False, 1)
    assert (b.success, plain(b.result["observed_value"])) == (False, "2014-01-01T00:00:00")


def test_an_aggregate_that_is_not_finite_fails() -> None:
    frame = pd.DataFrame({"x": [1.0, np.inf]})
    (outcome,) = ours(frame, expect("column_mean_to_be_between", column="x", min_value=0))
    assert outcome.success is False and outcome.result == {"observed_value": None}


def test_the_library_is_quiet_and_leaves_the_log_as_it_was(capfd: pytest.CaptureFixture[str], caplog) -> None:
    import logging

    with caplog.at_level(logging.DEBUG):
        ours(ROWS, expect("column_values_to_be_increasing", column="x"))
        logging.getLogger("after").info("heard")
    assert [r.name for r in caplog.records] == ["after"]
    out, err = capfd.readouterr()
    assert "Calculating" not in out + err


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What DuckDB is asked."""
    from airflow_mlops.engines import duck

    asked: list[str] = []
    fetch, run = duck.Source.fetch, duck.Source.run
    monkeypatch.setattr(duck.Source, "fetch", lambda s, *a, **k: asked.append(a[0]) or fetch(s, *a, **k))
    monkeypatch.setattr(duck.Source, "run", lambda s, *a, **k: asked.append(a[0]) or run(s, *a, **k))
    return asked


def test_few_queries_whatever_the_number_of_expectations(queries: list[str]) -> None:
    outcomes = ours(ROWS, *(expect("column_values_to_be_between", column="x", max_value=v) for v in range(100)))
    assert len(queries) == 2  # one that counts, one for the examples of all that fail
    assert sum(o.success is False for o in outcomes) == 100
    queries.clear()
    names = [f"f{i}" for i in range(40)]
    frame = pd.DataFrame({n: [1.0, None, np.inf] for n in names})
    holds = [expect("column_values_to_be_between", column=n, min_value=0) for n in names]
    nulls = [expect("column_values_to_not_be_null", column=n, mostly=0.5) for n in names]
    assert all(o.success for o in ours(frame, *holds, *nulls))
    assert len(queries) == 1


def test_nan_costs_one_query_more(queries: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({f"f{i}": [1.0, float("nan"), 3.0, 4.0] for i in range(40)})
    pq.write_table(
        pa.table({n: pa.array(v.to_numpy(), from_pandas=False) for n, v in frame.items()}), tmp_path / "n.parquet"
    )
    suite = [expect("column_values_to_be_between", column=n, min_value=0, max_value=4) for n in frame]
    suite += [expect("column_values_to_not_be_null", column=n, mostly=0.7) for n in frame]
    ref = DatasetRef(uri=str(tmp_path / "n.parquet")).where(("f0", "is not null"))  # filtered rows DuckDB counts
    outcomes = FileEngine().judge(ref, suite)
    assert {(o.success, o.result["unexpected_count"]) for o in outcomes} == {(True, 0), (True, 1)}
    assert len(queries) == 2


def test_examples_of_what_fails_rarely_among_what_fails_always(queries: list[str]) -> None:
    frame = pd.DataFrame({"i": range(3000), "j": range(3000), "k": range(3000)})
    always = [expect("column_values_to_be_between", column=c, max_value=-1) for c in ("i", "j")]
    rare = expect("column_values_to_be_in_set", column="k", value_set=list(range(2998)))
    often = expect("column_values_to_be_between", column="k", max_value=1500)
    found = [o.result["partial_unexpected_list"] for o in ours(frame, *always, rare, often)]
    assert found == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [2998, 2999], [1501, 1502, 1503, 1504, 1505]]
    assert sum(q.startswith("WITH") for q in queries) == 3  # and not one look for each of many more


@pytest.mark.parametrize("names", [("key_0", "n"), ("key", "counts"), ("n", "twice"), ("KEY_N", "key__n")])
def test_what_repeats_is_found_whatever_the_columns_are_called(names: tuple[str, str]) -> None:
    one, other = names
    frame = pd.DataFrame({one: [1, 2, 2, 3, 3, 3, 4], other: [1.0, 1.0, None, 2.0, 2.0, None, 1.0]})
    above = {"type": "comparison", "column": {"name": one}, "operator": ">", "parameter": 2}
    asked = (
        expect("column_values_to_be_unique", column=one),
        expect("column_values_to_be_unique", column=one, row_condition=above),
        expect("column_values_to_be_unique", column=other),
        expect("compound_columns_to_be_unique", column_list=[one, other]),
    )
    found = ours(frame, *asked)
    assert [o.result["unexpected_count"] for o in found] == [5, 3, 5, 2]
    assert [o.result["partial_unexpected_list"] for o in found] == [
        [2, 2, 3, 3, 3],
        [3, 3, 3],
        [1.0, 1.0, 2.0, 2.0, 1.0],
        [{one: 3, other: 2.0}, {one: 3, other: 2.0}],
    ]
    with FrameEngine(frame).open(FRAME) as source:
        for expectation, left in zip(asked, (2, 4, 2, 5), strict=True):
            assert remaining(source, [expectation]).fetch("count(*)") == [(left,)]


def test_what_repeats_is_looked_for_once(queries: list[str]) -> None:
    frame = pd.DataFrame({"x": [1, 2, 2, 3]})
    assert ours(frame, expect("column_values_to_be_unique", column="x"))[0].success is False
    assert [("GROUP BY" in q, q.split()[0]) for q in queries] == [
        (True, "CREATE"),
        (False, "SELECT"),
        (False, "(SELECT"),
    ]
