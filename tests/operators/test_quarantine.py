"""Rows that do not hold are set aside with reasons, the others go on where the author says so, and none is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.expectations import Expectation
from airflow_mlops.engines import FileEngine, FrameEngine, streams
from airflow_mlops.engines.quarantine import REASONS, divide, reason_of, remaining
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.quarantine import QuarantineDataOperator


def expect(what: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{what}", "kwargs": kwargs, "severity": severity}


SUITE = [
    expect("column_values_to_not_be_null", column="carrier"),
    expect("column_values_to_be_between", column="delay", max_value=100),
    expect("column_values_to_be_in_set", "warning", column="carrier", value_set=["AA"]),
]
ROWS = pd.DataFrame(
    {"id": range(20), "carrier": ["AA"] * 18 + [None, "UA"], "delay": [5] * 17 + [500, 600, 7]}, dtype="object"
).astype({"id": "int64", "carrier": "str", "delay": "int64"})


@pytest.fixture
def data(tmp_path: Path) -> str:
    ROWS.to_parquet(tmp_path / "rows.parquet", index=False)
    return str(tmp_path / "rows.parquet")


def operator(
    tmp_path: Path, data: str, suite: Any = SUITE, good: str = "good.parquet", bad: str = "bad.parquet", **kwargs: Any
) -> Any:
    place = f"{tmp_path}/{good}" if good else ""
    return QuarantineDataOperator(
        task_id="q", data=data, suite=suite, quarantine=f"{tmp_path}/{bad}", good=place, **kwargs
    )


def test_good_rows_go_on_and_the_others_say_why(run_task, tmp_path: Path, data: str) -> None:
    for _ in range(2):  # a second try writes the same
        result = run_task(operator(tmp_path, data))
    bad, good = pq.read_table(tmp_path / "bad.parquet"), pq.read_table(tmp_path / "good.parquet")
    assert (bad.column("id").to_pylist(), good.num_rows) == ([17, 18], 18)
    delay = "expect_column_values_to_be_between(delay; max_value=100)"
    null = "expect_column_values_to_not_be_null(carrier)"
    assert [sorted(r) for r in bad.column(REASONS).to_pylist()] == [[delay], [delay, null]]
    assert good.column_names == list(ROWS.columns)
    assert result["counts"] == {"rows": 20, "good": 18, "quarantined": 2, "reasons": {delay: 2, null: 1}}
    assert DatasetRef.of(result["data"]).rows == 18 and result["data"]["uri"].endswith("good.parquet")
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".parquet", ".part")) == [
        "bad.parquet",
        "good.parquet",
        "rows.parquet",
    ]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"good": ""}, "2 rows do not hold, and no file `good`"),
        ({"max_share": 0.05}, "2 of 20 rows do not hold, more than 0.05"),
        ({"suite": [*SUITE, expect("table_row_count_to_be_between", min_value=19)]}, "row_count"),
        ({"suite": [expect("column_values_to_be_null", column="id")], "max_share": 1}, "there are no rows"),
    ],
)
def test_nothing_goes_on_where_it_may_not_and_the_quarantine_is_there(run_task, tmp_path, data, kwargs, words) -> None:
    with pytest.raises(DataValidationFailed, match=words) as seen:
        run_task(operator(tmp_path, data, **kwargs))
    assert not (tmp_path / "good.parquet").exists()
    assert pq.read_table(tmp_path / "bad.parquet").num_rows >= 2
    published = run_task.last.xcoms["return_value"]
    assert published["data"] is None and seen.value.report == published


def test_without_a_bad_row_the_rows_go_on_as_they_came(run_task, tmp_path: Path, data: str) -> None:
    result = run_task(operator(tmp_path, data, [expect("column_values_to_be_unique", column="id")], good=""))
    assert result["data"]["uri"] == data and result["counts"]["quarantined"] == 0
    assert pq.read_table(tmp_path / "bad.parquet").column_names == [*ROWS.columns, REASONS]


@pytest.mark.parametrize(
    ("suite", "kwargs", "words"),
    [
        ([expect("column_values_to_be_increasing", column="id")], {}, "not known which rows"),
        ([expect("column_values_to_not_be_null", column="carier")], {}, "did you mean 'carrier'"),
        (SUITE, {"max_share": 2}, "max_share"),
        (SUITE, {"severities": ["critcal"]}, "did you mean 'critical'"),
        (SUITE, {"good": "bad.parquet"}, "same file"),
        (SUITE, {"good": "x/../bad.parquet"}, "same file"),
        (SUITE, {"good": "rows.parquet"}, "one of the files"),
        (SUITE, {"good": "", "bad": "./rows.parquet"}, "one of the files"),
    ],
)
def test_what_can_not_be_divided_is_refused_and_nothing_is_written(run_task, tmp_path, data, suite, kwargs, words):
    with pytest.raises(UsageError, match=words):
        run_task(operator(tmp_path, data, suite, **kwargs))
    assert [p.name for p in tmp_path.iterdir() if p.suffix in (".parquet", ".part")] == ["rows.parquet"]


def test_a_try_that_dies_half_way_leaves_nothing_half_written(run_task, tmp_path: Path, data: str, monkeypatch) -> None:
    from airflow_mlops.operators import _publication

    write = _publication.Writer.write_table

    def full(self: Any, table: pa.Table) -> None:
        if table.num_rows:
            raise OSError(28, "No space left on device")
        write(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(_publication.Writer, "write_table", full)
        with pytest.raises(OSError, match="nothing was published"):
            run_task(operator(tmp_path, data))
    assert [p.name for p in tmp_path.iterdir() if p.suffix in (".parquet", ".part")] == ["rows.parquet"]
    assert run_task(operator(tmp_path, data))["passed"]


def test_batches_of_long_texts_have_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BATCH_BYTES", 1 << 20)
    pq.write_table(pa.table({"s": [f"{i % 10}" + "x" * 1000 for i in range(5000)]}), tmp_path / "rows.parquet")
    tables: list[pa.Table] = []
    ref = DatasetRef(uri=str(tmp_path / "rows.parquet"))
    asked = [Expectation.from_dict(expect("column_values_to_match_regex", column="s", regex="^[0-4]"))]
    with FileEngine(threads=1).open(ref) as source:
        divided = divide(source, asked, good=tables.append, bad=tables.append)
    assert (divided.good, divided.bad, sum(t.num_rows for t in tables)) == (2500, 2500, 5000)
    assert max(table.nbytes for table in tables) < 2 << 20


values = st.none() | st.sampled_from([0.0, 1.0, 2.0, float("inf")])
texts = st.none() | st.sampled_from(["a", "b", ""])
about = st.sampled_from(
    [
        expect("column_values_to_not_be_null", column="x"),
        expect("column_values_to_be_null", column="s", mostly=0.5),
        expect("column_values_to_be_between", column="x", max_value=1),
        expect("column_values_to_be_in_set", column="s", value_set=["a"]),
        expect("column_values_to_be_unique", column="x"),
        expect("compound_columns_to_be_unique", column_list=["x", "s"]),
        expect("column_values_to_match_regex", column="s", regex="^a"),
        expect("column_mean_to_be_between", column="x", max_value=0),
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(values, texts), max_size=30), st.lists(about, max_size=5), st.integers(1, 7))
def test_counts_balance_exactly(rows: list[Any], suite: list[Any], batch: int) -> None:
    frame = pd.DataFrame(rows, columns=["x", "s"]).astype({"x": "float64", "s": "str"})
    asked = [Expectation.from_dict(e) for e in {str(e): e for e in suite}.values()]
    engine, ref = FrameEngine(frame), DatasetRef(uri="frame")
    good: list[pa.Table] = []
    bad: list[pa.Table] = []
    with engine.open(ref) as source:
        divided = divide(source, asked, good=good.append, bad=bad.append, rows=batch)
        ((left,),) = remaining(source, asked).fetch("count(*)")
    held, failed = pa.concat_tables(good), pa.concat_tables(bad)
    assert (divided.good, divided.bad) == (held.num_rows, failed.num_rows) == (left, len(frame) - left)
    both = [*map(repr, held.to_pylist()), *map(repr, failed.drop_columns([REASONS]).to_pylist())]
    with engine.open(ref) as source:
        whole = source.con.sql(f"SELECT x, s FROM {source.relation}").to_arrow_table().to_pylist()
    assert Counter(both) == Counter(map(repr, whole))
    assert all(failed.column(REASONS).to_pylist())
    for one, outcome in zip(asked, engine.judge(ref, asked), strict=True):
        if one.type != "expect_column_mean_to_be_between":
            assert divided.reasons.get(reason_of(one), 0) == outcome.result["unexpected_count"]
