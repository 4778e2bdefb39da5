"""What is judged while Parquet goes by says what DuckDB says: verdicts, counts, and the first failing values."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines import FileEngine, arrow_judging, parquet
from airflow_mlops.engines.arrow_counts import Count, Within
from airflow_mlops.engines.duck import DuckEngine
from airflow_mlops.engines.locate import Files
from tests.engines.test_expectations import expect, frames, suites


@pytest.fixture(params=[(2, True), (2, False), (100, True)], ids=["apart", "without dictionaries", "at once"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Rows of a batch, beyond which columns are read apart; and whether texts are in dictionaries."""
    rows, dictionary = request.param
    for name in ("BATCH", "ALONE"):
        monkeypatch.setattr(parquet, name, rows)
    monkeypatch.setattr(parquet, "batch_rows", lambda columns: rows)
    return bool(dictionary)


def file(path: Path, table: pa.Table, *, dictionary: bool = True, group: int = 3) -> DatasetRef:
    pq.write_table(table, path, row_group_size=group, use_dictionary=dictionary)
    return DatasetRef(uri=str(path))


def both(ref: DatasetRef, suite: Sequence[Expectation]) -> tuple[dict[int, Outcome], list[Outcome]]:
    """Outcomes by Arrow, by their places, and all of them by DuckDB."""
    engine = FileEngine(threads=2)
    rows = parquet.rows(ref, parquet_files(ref), 2)
    assert rows is not None
    return arrow_judging.judge(rows, suite), DuckEngine.judge(engine, ref, suite)


def parquet_files(ref: DatasetRef) -> Any:
    from airflow_mlops.engines.locate import locate

    return locate(ref)


def agree(ref: DatasetRef, suite: Sequence[Expectation]) -> dict[int, Outcome]:
    """All that Arrow judges, DuckDB judges alike."""
    found, others = both(ref, suite)
    for i, outcome in found.items():
        assert outcome.judged_by == "arrow"
        told, theirs = dict(outcome.result), dict(others[i].result)
        if suite[i].type.endswith("_be_unique"):  # of what repeats DuckDB shows any
            assert len(told.pop("partial_unexpected_list", ())) == len(theirs.pop("partial_unexpected_list", ()))
        assert (outcome.success, told) == (others[i].success, theirs), (suite[i], outcome, others[i])
    return found


def test_verdicts_counts_and_examples_are_those_of_duckdb(tmp_path: Path, layout: bool) -> None:
    names = itertools.count()
    seen: set[str] = set()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(frames(), suites())
    def hold(frame: pd.DataFrame, suite: list[Expectation]) -> None:
        arrays = {n: pa.array(c.to_numpy() if n != "s" else c, from_pandas=n == "s") for n, c in frame.items()}
        table = pa.table({**arrays, "s": arrays["s"].cast(pa.string())})  # NaN is NaN, and no null
        found = agree(file(tmp_path / f"{next(names)}.parquet", table, dictionary=layout), suite)
        plain = {i for i, e in enumerate(suite) if "row_condition" not in e.kwargs}
        assert set(found) <= plain
        seen.update(suite[i].type for i in found)

    hold()
    assert seen == {*arrow_judging._CONDITIONS, *arrow_judging._WHOLE}


def wide() -> pa.Table:
    """Columns of many types, with nulls, NaN and infinity in unlucky places."""
    some = [None, 3, 1, None, 2, 3, 250 - 123, None, 0]
    real = [float("nan"), None, 0.1, float("inf"), -0.0, None, float("nan"), 0.1, -2.5]
    text = [None, "ü", "", "a", None, "a" * 300, "b", "a", "x1"]
    return pa.table(
        {
            "i8": pa.array(some, pa.int8()),
            "u64": pa.array([None if v is None else v + 2**63 for v in some], pa.uint64()),
            "i64": pa.array([None if v is None else v + 2**53 for v in some], pa.int64()),
            "rising": pa.array(range(9), pa.int32()),
            "f32": pa.array(real, pa.float32()),
            "f64": pa.array(real, pa.float64()),
            "u53": pa.array([2**53 + 1, 5, None] * 3, pa.uint64()),
            "f0": pa.array([0.5, None, float("nan")] * 3, pa.float64()),
            "nan": pa.array([float("nan")] * 8 + [None], pa.float64()),
            "none": pa.array([None] * 9, pa.float64()),
            "s": pa.array(text, pa.string()),
            "S2": pa.array(text, pa.large_string()),
            "coded": pa.array(text, pa.string()).dictionary_encode(),
            "no text": pa.array([None] * 9, pa.string()),
            "t": pa.array([None, *range(8)], pa.timestamp("us")),
            "b": pa.array([True, None, False] * 3),
        }
    )


def test_types_nulls_and_ends_are_taken_as_duckdb_takes_them(tmp_path: Path, layout: bool) -> None:
    table, suite = wide(), []
    for name in table.column_names:
        suite += [expect("column_values_to_not_be_null", column=name, mostly=m) for m in (1, 7 / 9)]
        suite += [expect("column_values_to_be_null", column=name), expect("column_values_to_be_unique", column=name)]
        if table[name].type in (pa.string(), pa.large_string()) or name == "coded":
            suite += [
                expect("column_values_to_be_in_set", column=name, value_set=["a", "", "ü"]),
                expect("column_values_to_not_be_in_set", column=name, value_set=["a", "zz"]),
                expect("column_values_to_match_regex", column=name, regex="^a*$"),
                expect("column_values_to_not_match_regex", column=name, regex=r"\d|ü"),
                expect("column_value_lengths_to_be_between", column=name, min_value=1, max_value=1, strict_min=True),
                expect("column_value_lengths_to_be_between", column=name, max_value=1.5),
                expect("column_value_lengths_to_equal", column=name, value=1),
            ]
        elif name not in ("t", "b"):
            suite += [
                expect("column_values_to_be_between", column=name, min_value=low, max_value=high, strict_max=strict)
                for low, high in ((0, 3), (0.1, 3), (None, 2**53), (2**53 + 1, None), (-(2**70), 2**70), (0.0, 2.0))
                for strict in (True, False)
            ]
            for values in ([0, 1, 3], [0.1, 2], [2**63 + 1], [2**53 + 1, 2**53], [2**53, *range(20)]):
                suite += [
                    expect("column_values_to_be_in_set", column=name, value_set=values),
                    expect("column_values_to_not_be_in_set", column=name, value_set=values),
                ]
    found = agree(file(tmp_path / "a.parquet", table, dictionary=layout), suite)
    left = {suite[i].type.removeprefix("expect_column_values_to_") for i in range(len(suite)) if i not in found}
    assert left == {"be_null", "be_unique", "be_in_set", "not_be_in_set"}  # of some types only
    assert len(found) > 0.8 * len(suite)


def test_no_rows_and_no_values_hold_vacuously(tmp_path: Path, layout: bool) -> None:
    suite = [
        expect("column_values_to_be_between", column="f64", min_value=0),
        expect("column_values_to_be_in_set", column="s", value_set=["a"]),
        expect("column_values_to_match_regex", column="s", regex="a"),
        expect("column_values_to_be_unique", column="i64"),
        expect("column_values_to_not_be_null", column="s"),
        expect("table_row_count_to_equal", value=0),
    ]
    found = agree(file(tmp_path / "a.parquet", wide()[:0], dictionary=layout), suite)
    assert [found[i].success for i in range(6)] == [True] * 6


def test_the_examples_are_the_first_failing_rows_however_many_threads_count(tmp_path: Path, layout: bool) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        table = pa.table({"x": rng.integers(0, 1000, 60), "s": [f"{k % 7}" for k in rng.integers(0, 99, 60)]})
        file(tmp_path / f"{i}.parquet", table, dictionary=layout)
    rows = pd.concat(pd.read_parquet(path) for path in sorted(tmp_path.iterdir()))
    suite = [
        expect("column_values_to_be_between", column="x", max_value=300),
        expect("column_values_to_be_in_set", column="s", value_set=["0", "1", "2"]),
        expect("column_values_to_be_unique", column="x"),
    ]
    wrong = (rows["x"][rows["x"] > 300], rows["s"][rows["s"] > "2"], rows["x"][rows["x"].duplicated(keep=False)])
    found, _ = both(DatasetRef(uri=str(tmp_path)), suite)
    for i, failing in enumerate(wrong):
        assert found[i].result["unexpected_count"] == len(failing)
        assert found[i].result["partial_unexpected_list"] == failing[:5].tolist()


def test_what_repeats_within_and_across_batches_is_found(tmp_path: Path, layout: bool) -> None:
    for name, values, twice in (
        ("rising", list(range(9)), 0),
        ("once more at the end", [*range(8), 0], 2),
        ("at the seam", [0, 1, 2, 2, 3, 4, 5, 6, 7], 2),
        ("falling", [*range(9, 0, -1)], 0),
        ("only nulls repeat", [1, None, 2, None, 3, None, 4, 5, 6], 0),
        ("all alike", [7] * 9, 9),
        ("large", [2**63 - 1, -(2**63), 2**63 - 2, -(2**63), 0, 1, 2, 3, 4], 2),
    ):
        ref = file(tmp_path / f"{name}.parquet", pa.table({"k": pa.array(values, pa.int64())}), dictionary=layout)
        found = agree(ref, [expect("column_values_to_be_unique", column="k")])
        assert found[0].result["unexpected_count"] == twice, name


def test_more_whole_numbers_than_are_held_are_left_to_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_judging, "KEPT", 17)
    ref = file(tmp_path / "a.parquet", wide())
    suite = [expect("column_values_to_be_unique", column=c) for c in ("rising", "i64")]
    assert [o.judged_by for o in FileEngine().judge(ref, suite)] == ["arrow", "duckdb"]


def test_what_is_left_is_judged_by_others_in_its_place(tmp_path: Path) -> None:
    ref = file(tmp_path / "a.parquet", wide())
    suite = [
        expect("column_mean_to_be_between", column="i8", min_value=0),
        expect("column_values_to_not_be_null", column="rising"),
        expect("column_values_to_match_regex", column="s", regex="(?=a)"),  # RE2 has no lookahead
        expect("column_values_to_not_be_null", column="riseng"),
        expect("column_values_to_be_between", column="rising", max_value=7),
    ]
    outcomes = FileEngine().judge(ref, suite)
    assert [o.judged_by for o in outcomes] == ["duckdb", "arrow", "great_expectations", "duckdb", "arrow"]
    assert [o.success for o in outcomes] == [True, True, False, None, False]
    assert "rising" in outcomes[3].error and outcomes[4].result["partial_unexpected_list"] == [8]


def test_every_column_is_read_once_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    placed = parquet.ParquetRows.placed

    def watched(self: parquet.ParquetRows, columns: Sequence[Any], **more: Any) -> Any:
        seen.append([c.name for c in columns])
        return placed(self, columns, **more)

    monkeypatch.setattr(parquet.ParquetRows, "placed", watched)
    suite = [expect("column_values_to_not_be_null", column=c) for c in ("f64", "s")]
    suite += [expect("column_values_to_be_between", column="f64", max_value=m) for m in (0, 1, 2)]
    suite += [expect("column_values_to_match_regex", column="s", regex="a"), expect("column_to_exist", column="t")]
    outcomes = FileEngine().judge(file(tmp_path / "a.parquet", wide()), suite)
    assert {o.judged_by for o in outcomes} == {"arrow"}
    assert seen == [["f64", "s"]]
    seen.clear()
    FileEngine().judge(file(tmp_path / "a.parquet", wide()), suite[-1:])
    assert seen == []


def test_the_first_ones_are_held_in_whatever_order_batches_come() -> None:
    condition = Within(None, 0, False, False)
    for order in ((0, 10, 20), (20, 0, 10), (10, 20, 0)):
        count = Count([condition], examples=3, keep=False)
        for place in order:
            count.add(place, pa.array([place + 1, place + 2]))
        assert count.first == [[(0, 1), (1, 2), (10, 11)]] and count.wrong == [6]


def test_many_different_texts_are_looked_for_in_a_set(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(20_000)]
    ref = file(tmp_path / "a.parquet", pa.table({"s": texts}), dictionary=False, group=10_000)
    few = ["text 7", "text 19999", "ü"]
    suite = [
        expect(f"column_values_to_{n}be_in_set", column="s", value_set=v)
        for n in ("", "not_")
        for v in (few, texts[5:])
    ]
    found = agree(ref, suite)
    assert [found[i].result["unexpected_count"] for i in range(4)] == [19_998, 5, 2, 19_995]


def test_rows_in_a_store_are_not_read_by_two(tmp_path: Path) -> None:
    ref = file(tmp_path / "a.parquet", wide())
    rows = parquet.rows(ref, parquet_files(ref), 2)
    assert rows is not None
    here = expect("column_values_to_not_be_null", column="i8")
    there = expect("column_mean_to_be_between", column="i8", min_value=0)
    assert list(arrow_judging.judge(rows, [here, there])) == [0]
    rows.filesystem = fsspec.filesystem("file")
    assert arrow_judging.judge(rows, [here, there]) == {}
    assert list(arrow_judging.judge(rows, [here])) == [0]


def test_a_damaged_file_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    ref = file(path, pa.table({"x": np.random.default_rng(0).normal(size=5000)}), group=5000)
    whole = bytearray(path.read_bytes())
    whole[4:40] = bytes(36)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.parquet could not be read"):
        FileEngine().judge(ref, [expect("column_values_to_not_be_null", column="x")])


_LIGHT = """
import sys
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.expectations import load
from airflow_mlops.engines import FileEngine
suite = [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "s", "value_set": ["a"]}},
         {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "s", "regex": "^a$"}},
         {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "i8"}},
         {"type": "expect_column_values_to_be_between", "kwargs": {"column": "f64", "max_value": 0.0}}]
print([o.success for o in FileEngine().judge(DatasetRef(uri=sys.argv[1]), load(suite).expectations)])
print([m for m in ("duckdb", "pandas", "great_expectations", "scipy", "airflow") if m in sys.modules])
"""


def test_neither_a_database_nor_pandas_is_loaded(tmp_path: Path) -> None:
    ref = file(tmp_path / "a.parquet", wide())
    done = subprocess.run([sys.executable, "-c", _LIGHT, ref.uri], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[False, False, False, False]", "[]"]


def batches(ref: DatasetRef, column: str) -> list[pa.Array]:
    """A column of a file as it is counted."""
    rows = parquet.rows(ref, parquet_files(ref), 1)
    assert rows is not None
    (column_,) = [c for c in rows.columns if c.name == column]
    return [batch.column(column) for feed in rows.placed([column_], apart=True) for _, batch in feed]


def test_batches_of_long_texts_have_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """65,536 texts of 20 kB are more than a gigabyte, and every thread has some."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1 << 16)
    table = pa.table({"s": [f"{i}" + "x" * 1000 for i in range(500)]})
    ref = file(tmp_path / "a.parquet", table, dictionary=False, group=500)
    found = batches(ref, "s")
    assert sum(map(len, found)) == 500
    assert max(array.nbytes for array in found) < 2 << 16

    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")
    monkeypatch.setattr(parquet, "_PREFIXED", 1000)  # it tells nothing of what they take when they are read
    assert max(array.nbytes for array in batches(ref, "s")) < 2 << 16


def test_few_long_texts_stay_in_their_dictionary(tmp_path: Path) -> None:
    """As many as a writer's dictionary holds may still be long, and do not pack well."""
    letters = np.random.default_rng(0).integers(97, 123, (4, 20_000), dtype=np.uint8)
    texts = [bytes(row).decode() for row in letters]
    ref = file(tmp_path / "a.parquet", pa.table({"s": texts * 250}), group=1000)
    assert sum(array.indices.nbytes for array in batches(ref, "s")) == 4000
    found = agree(ref, [expect("column_values_to_match_regex", column="s", regex="^" + texts[0][:9])])
    assert found[0].result["unexpected_count"] == 750


@pytest.mark.parametrize("categorical", [False, True])
def test_texts_behind_a_full_dictionary_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, categorical: bool
) -> None:
    """Arrow would add each to a dictionary that grows with the file, however well the first ones are packed."""
    monkeypatch.setattr(parquet, "_DICTIONARY", 2000)
    texts = pa.array([f"customer-{i:012d}" for i in range(3000)])
    table = pa.table({"s": texts.dictionary_encode() if categorical else texts})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=2000)
    ref = DatasetRef(uri=str(tmp_path / "a.parquet"))
    if categorical:  # pandas' categories come as a dictionary, whatever is asked for
        assert parquet.rows(ref, parquet_files(ref), 1) is None
    else:
        assert {array.type for array in batches(ref, "s")} == {pa.string()}
    suite = [expect("column_values_to_match_regex", column="s", regex="9$")]
    assert FileEngine().judge(ref, suite)[0].result["unexpected_count"] == 2700


@pytest.mark.parametrize("dictionary", [True, False])
def test_texts_that_are_no_utf8_are_an_error_that_names_the_column(tmp_path: Path, dictionary: bool) -> None:
    """They match nothing, and so a pattern that must not match would hold."""
    bytes_ = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 2, 4, 5], np.int32)), pa.py_buffer(b"ab\xff\xfec")]
    )
    ref = file(tmp_path / "a.parquet", pa.table({"comment": bytes_}), dictionary=dictionary)
    for suite in (
        [expect("column_values_to_not_match_regex", column="comment", regex="^x")],
        [expect("column_values_to_match_regex", column="comment", regex="^x")],  # an example would have to be shown
        [expect("column_values_to_not_be_null", column="comment")],
    ):
        with pytest.raises(DataError, match=r"a\.parquet: column 'comment' has a text that is not UTF-8"):
            FileEngine().judge(ref, suite)
    with pytest.raises(DataError, match="'comment'"):
        FileEngine().profile(ref)


def test_a_text_that_can_not_be_encoded_concerns_its_expectation_alone(tmp_path: Path) -> None:
    ref = file(tmp_path / "a.parquet", pa.table({"s": [f"t{i}" for i in range(5000)]}), group=5000)
    outcomes = FileEngine().judge(
        ref,
        [
            expect("column_values_to_be_in_set", column="s", value_set=["\ud800", "t1"]),
            expect("column_values_to_not_match_regex", column="s", regex="\ud800"),
            expect("column_values_to_not_be_null", column="s"),
        ],
    )
    assert [o.success for o in outcomes] == [None, None, True]
    assert all("surrogate" in o.error for o in outcomes[:2])


def test_json_is_no_plain_text_in_either_way(tmp_path: Path) -> None:
    table = pa.table({"j": pa.array(['{"a": 1}', None], pa.json_())})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)  # as others write it
    ref = DatasetRef(uri=str(tmp_path / "a.parquet"))
    engine = FileEngine()
    assert engine.resolve(ref).schema == {"j": "other"}
    assert engine.profile(ref).columns["j"].type == "other"
    (outcome,) = engine.judge(ref, [expect("column_values_to_be_of_type", column="j", type_="string")])
    assert outcome.success is False


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("low, high", [(float(2**53), 2**70), (1.0, 2**53 + 1), (float(2**53), None), (1, 2.0**53)])
def test_each_bound_compares_as_it_is_written(
    tmp_path: Path, layout: bool, low: float, high: float | None, strict: bool
) -> None:
    """A float has no 2**53 + 1, a whole number has; the other bound does not decide which of them is compared."""
    values = [2**53 - 1, 2**53, 2**53 + 1, 5, 2**53 + 1, 2**53 + 1, 2**53 + 2]
    ref = file(tmp_path / "a.parquet", pa.table({"n": pa.array(values, pa.int64())}), dictionary=layout, group=1)
    bounds = {"min_value": low} if high is None else {"min_value": low, "max_value": high}
    suite = [expect("column_values_to_be_between", column="n", **bounds, strict_min=strict, strict_max=strict)]
    assert set(agree(ref, suite)) == {0}


def test_a_large_row_group_is_not_fetched_from_a_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    class Handle(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            lengths.append(size)
            return super().read(size)

    class Store:
        def open(self, path: str, mode: str = "rb") -> Handle:
            return Handle(path)

    table = pa.table({f"c{i}": np.random.default_rng(i).random(50_000) for i in range(4)})
    file(tmp_path / "a.parquet", table, dictionary=False, group=50_000)
    monkeypatch.setattr(parquet, "_AHEAD", 1_000_000)
    monkeypatch.setattr(parquet, "_BUFFER", 4 << 14)
    files = Files((str(tmp_path / "a.parquet"),), filesystem=Store())
    rows = parquet.rows(DatasetRef(uri="s3://b/a.parquet"), files, 1)
    assert rows is not None
    assert sum(len(batch) for feed in rows.placed(rows.columns) for _, batch in feed) == 50_000
    assert max(lengths) <= 1 << 17 and len(lengths) < 100
