"""Rows as they should not be: a clear error or a verdict; none hangs, none passes by default."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, SchemaMismatch
from airflow_mlops.core.expectations import Expectation
from airflow_mlops.engines import FileEngine, FrameEngine, duck, judging, locate
from airflow_mlops.engines.sql import SqlEngine
from tests.engines.test_engines import FRAME, parquet, sample


def expect(what: str, **kwargs: object) -> Expectation:
    return Expectation(type=f"expect_{what}", kwargs=kwargs)


def written(tmp_path: Path, name: str, text: str) -> DatasetRef:
    (tmp_path / name).write_text(text)
    return DatasetRef(uri=str(tmp_path / name))


MIXED = {
    "text and number.jsonl": ('{"a": 1}\n{"a": "x"}\n', "'a' mixes types"),
    "an array among objects.jsonl": ('{"a": 1}\n[1]\n', "does not fit"),
    "two cases.jsonl": ('{"a": 1, "A": 2}\n', "can't be told apart"),
    "zones.csv": ("t\n2020-01-01T00:00:00+01:00\n2020-01-01T00:00:00\n", "with and without a zone: 1 have none"),
}


@pytest.mark.parametrize("name", MIXED)
def test_columns_that_mix_types_are_named(tmp_path: Path, name: str) -> None:
    text, words = MIXED[name]
    ref = written(tmp_path, name, text)
    for use in (FileEngine().resolve, FileEngine().profile, lambda r: FileEngine().judge(r, [])):
        with pytest.raises(DataError, match=words):
            use(ref)


def test_a_text_among_numbers_of_a_csv_makes_it_text_and_no_bound_passes(tmp_path: Path) -> None:
    ref = written(tmp_path, "a.csv", "a\n1\n2\nx\n")
    assert FileEngine().resolve(ref).schema == {"a": "string"}
    bound, type_ = FileEngine().judge(
        ref,
        [
            expect("column_values_to_be_between", column="a", min_value=0),
            expect("column_values_to_be_of_type", column="a", type_="int64"),
        ],
    )
    assert bound.success is None and bound.error and type_.success is False


def test_files_that_disagree_about_a_type_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "d" / "a.parquet", pd.DataFrame({"x": [1], "y": [1]}))
    parquet(tmp_path / "d" / "b.parquet", pd.DataFrame({"x": ["1"], "y": [1.5]}))
    with pytest.raises(SchemaMismatch, match=r"'x' mixes types: it is number in .*a\.parquet and text in .*b\.parquet"):
        FileEngine().resolve(DatasetRef(uri=str(tmp_path / "d")))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, "x"], "mixes types"),
        (["x", b"y"], "text and bytes"),
        ([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1)], "with and without a zone"),
    ],
)
def test_columns_of_a_frame_that_mix_types_are_named(values: list[object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        FrameEngine(pd.DataFrame({"a": pd.Series(values, dtype=object)})).resolve(FRAME)


def test_times_of_several_zones_are_the_instants_they_are(tmp_path: Path) -> None:
    instants = "t\n2020-01-01T00:00:00+01:00\n2020-01-01T00:00:00Z\n"
    in_utc = "t\n2019-12-31T23:00:00Z\n2020-01-01T00:00:00Z\n"
    a, b = (FileEngine().resolve(written(tmp_path, f"{i}.csv", t)) for i, t in enumerate((instants, in_utc)))
    assert a.digest == b.digest and a.schema == {"t": "datetime"}


def test_decimals_and_nested_types_have_verdicts_and_profiles(tmp_path: Path) -> None:
    table = pa.table(
        {
            "money": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")], pa.decimal128(30, 2)),
            "list": pa.array([[1], None, []], pa.list_(pa.int64())),
            "struct": pa.array([{"x": 1}, {"x": None}, None], pa.struct([("x", pa.int64())])),
        }
    )
    pq.write_table(table, tmp_path / "n.parquet")
    ref = DatasetRef(uri=str(tmp_path / "n.parquet"))
    assert FileEngine().resolve(ref).schema == {"money": "decimal", "list": "other", "struct": "other"}
    profile = FileEngine().profile(ref)
    assert [c.nulls for c in profile.columns.values()] == [1, 1, 1] and profile.columns["money"].minimum == -2.25
    nulls, low, of_list = FileEngine().judge(
        ref,
        [
            expect("column_values_to_not_be_null", column="list"),
            expect("column_values_to_be_between", column="money", min_value=-2.25),
            expect("column_values_to_be_between", column="list", min_value=0),
        ],
    )
    assert (nulls.success, low.success) == (False, True)
    assert of_list.success is not True


def test_nan_that_a_files_statistics_leave_out_is_seen(tmp_path: Path) -> None:
    """Least and greatest value of a row group are told without NaN: no proof that there is none."""
    values = np.arange(1000.0)
    values[[5, 700]] = np.nan
    pq.write_table(pa.table({"x": values}), tmp_path / "n.parquet", row_group_size=250)
    ref, frame = DatasetRef(uri=str(tmp_path / "n.parquet")), FrameEngine(pd.DataFrame({"x": values}))
    suite = [
        expect("column_values_to_be_null", column="x"),
        expect("column_values_to_be_between", column="x", max_value=500),
        expect("column_values_to_be_unique", column="x"),
        expect("column_max_to_be_between", column="x", max_value=999),
        expect("column_sum_to_be_between", column="x", min_value=0),
        expect("column_unique_value_count_to_be_between", column="x", max_value=998),
        expect("column_proportion_of_non_null_values_to_be_between", column="x", max_value=0.998),
    ]
    for ours, theirs in zip(FileEngine().judge(ref, suite), frame.judge(FRAME, suite), strict=True):
        assert (ours.success, ours.result) == (theirs.success, theirs.result)
    ours, theirs = FileEngine().profile(ref).columns["x"], frame.profile(FRAME).columns["x"]
    assert (ours.nonfinite, ours.nulls, ours.maximum) == (2, 0, 999.0)
    assert (ours.counts, ours.maximum, ours.distinct) == (theirs.counts, theirs.maximum, theirs.distinct)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(tmp_path: Path, rows: int) -> None:
    ref = parquet(tmp_path / "few.parquet", sample()[:rows])
    assert FileEngine().profile(ref).rows == rows
    count, mean, deviation = FileEngine().judge(
        ref,
        [
            expect("table_row_count_to_be_between", min_value=2),
            expect("column_mean_to_be_between", column="delay", max_value=1e9),
            expect("column_stdev_to_be_between", column="id", max_value=1e9),
        ],
    )
    assert count.success is False and mean.success is False  # the only delay is missing
    assert deviation.success is False  # of one value there is none


def test_five_thousand_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"c{i}" for i in range(5000)]
    pq.write_table(pa.table({n: np.arange(2) + i for i, n in enumerate(names)}), tmp_path / "wide.parquet")
    ref = DatasetRef(uri=str(tmp_path / "wide.parquet"))
    resolved = FileEngine().resolve(ref)
    assert len(resolved.schema) == 5000
    asked: list[str] = []
    run = duck.Source.run
    monkeypatch.setattr(duck.Source, "run", lambda s, sql, **k: asked.append(sql) or run(s, sql, **k))
    holds = [expect("column_values_to_be_between", column=n, max_value=5000) for n in names[::100]]
    fails = [expect("column_values_to_be_between", column=n, max_value=-1) for n in names[5::100]]
    outcomes = FileEngine().judge(ref, [*holds, *fails, expect("column_values_to_not_be_null", column="c5000")])
    assert all(o.success for o in outcomes[:50]) and outcomes[-1].success is None
    assert all(o.result["partial_unexpected_list"] == [100 * i + 5, 100 * i + 6] for i, o in enumerate(outcomes[50:-1]))
    # A look names every column of the file: examples of 50 expectations are not looked for one by one.
    assert sum(sql.count(f'"{names[-1]}"') for sql in asked) <= 2


def test_a_text_of_very_many_values_spills_and_is_judged(tmp_path: Path) -> None:
    rows = 300_000
    pq.write_table(pa.table({"s": [f"a value that is its own {i:09}" for i in range(rows)]}), tmp_path / "t.parquet")
    ref = DatasetRef(uri=str(tmp_path / "t.parquet"))
    engine = FileEngine(memory="60MB", threads=1)
    (unique,) = engine.judge(ref, [expect("column_values_to_be_unique", column="s")])
    assert (unique.success, unique.result["element_count"]) == (True, rows)
    assert engine.profile(ref).columns["s"].kind == "text"


def test_folders_that_filters_rule_out_are_not_opened(tmp_path: Path) -> None:
    for month in ("2013-01-01", "2013-02-01"):
        parquet(tmp_path / "lake" / f"month={month}" / "a.parquet", sample())
    bad = tmp_path / "lake" / "month=2013-03-01"
    bad.mkdir()
    (bad / "a.parquet").write_bytes(b"whoever opens it fails")
    ref = DatasetRef(uri=str(tmp_path / "lake"))
    kept = ref.where(("month", "<", "2013-02-15"))
    assert len(locate.locate(kept).paths) == 2
    assert FileEngine().resolve(kept).rows == 120
    assert FileEngine().resolve(kept).schema["month"] == "date"
    assert FileEngine().resolve(ref.where(("month", "=", "2012-01-01"))).rows == 0
    with pytest.raises(DataError, match="not a whole Parquet"):
        FileEngine().resolve(ref)


def test_a_table_that_is_dropped_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    class Dropping(sqlite3.Cursor):
        """Between the look at the columns and the rows somebody drops the table."""

        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if "1 = 0" not in sql:
                self.fetchall()
                self.connection.execute("drop table flights")
            return super().execute(sql, *values)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: object) -> sqlite3.Cursor:
            return super().cursor(Dropping)

    class Hook(DbApiHook):
        conn_name_attr = "sqlite_conn_id"
        dialect_name = "sqlite"
        placeholder = "?"

        def get_conn(self) -> sqlite3.Connection:
            return sqlite3.connect(tmp_path / "lake.db", factory=Connection)

    with contextlib.closing(sqlite3.connect(tmp_path / "lake.db")) as made:
        made.execute("create table flights (id integer)")
    ref = DatasetRef(table="flights", conn_id="lake")
    with pytest.raises(DataError, match="failed while reading: no such table: flights"):
        SqlEngine(Hook()).judge(ref, [expect("table_row_count_to_be_between", min_value=0)])


def test_a_file_that_is_gone_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    ref = parquet(tmp_path / "a.parquet", sample())
    with FileEngine().open(ref) as source:
        Path(ref.uri).unlink()
        with pytest.raises(DataError, match="could not be read"):
            source.fetch("count(id)")
        (outcome,) = judging.judge(source, [expect("column_values_to_not_be_null", column="id")])
    assert outcome.success is None and "could not be read" in outcome.error
