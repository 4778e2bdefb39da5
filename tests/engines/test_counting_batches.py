"""Profiles from batches: whichever way the rows come, in whatever order and split, it is the same profile."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn

from airflow_mlops.core.columns import MAX_BINS
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import FileEngine, binning, hashing, parquet, profiling, sampling, streams, sums, tallies
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.locate import locate
from airflow_mlops.engines.scratch import Scratch

QUICK = settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
finite = st.floats(allow_nan=False, allow_infinity=False)


def everything(rows: int, seed: int = 0) -> pa.Table:
    """A column of every type that is counted without a database, and nulls in each."""
    rng = np.random.default_rng(seed)
    holes = rng.random(rows) < 0.1

    def holed(values: object, type_: pa.DataType) -> pa.Array:
        return pa.array(values, type_, mask=holes)

    x = rng.normal(20, 3, rows)
    x[::50] = [math.nan, math.inf, -math.inf, -0.0][seed % 4]
    us = rng.integers(-(10**15), 2 * 10**15, rows)
    words = np.array([f"word {i}" for i in range(1500)])
    return pa.table(
        {
            "x": holed(x, pa.float64()),
            "single": holed(x.astype("float32"), pa.float32()),
            "whole": holed(rng.integers(-(2**60), 2**60, rows), pa.int64()),
            "small": holed(rng.integers(0, 60, rows), pa.int8()),
            "few": holed(rng.integers(0, 7, rows).astype("uint16"), pa.uint16()),
            "yes": holed(rng.random(rows) < 0.3, pa.bool_()),
            "mostly zero": holed(np.where(rng.random(rows) < 0.9, 0.0, x), pa.float64()),
            "at": holed(us, pa.timestamp("us")),
            "zoned": holed(us // 1000, pa.timestamp("ms", tz="UTC")),
            "nano": holed(us * 1000 + 500, pa.timestamp("ns")),
            "day": holed(rng.integers(-20_000, 20_000, rows).astype("int32"), pa.date32()),
            "word": holed(words[rng.integers(0, 5, rows)], pa.string()),
            "words": holed(words[rng.integers(0, 1500, rows)], pa.string()),
            "coded": holed(words[rng.integers(0, 30, rows)], pa.string()).dictionary_encode(),
        }
    )


def written(folder: Path, table: pa.Table, cuts: list[int], group: int = 700) -> DatasetRef:
    folder.mkdir(parents=True)
    for i, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(table)], strict=True)):
        pq.write_table(table[start:end], folder / f"{i}.parquet", row_group_size=group)
    return DatasetRef(uri=str(folder))


def through_the_database(ref: DatasetRef, reference: Profile | None = None) -> Profile:
    """The profile as it is counted of rows that DuckDB reads."""
    engine = FileEngine(threads=2)
    with engine.open(ref) as source:
        return profiling.profile(source, reference=reference)


@pytest.mark.parametrize("sample", [500, 200_000], ids=["of a sample", "of all rows"])
def test_order_split_and_way_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(profiling, "SAMPLE", sample)
    monkeypatch.setattr(streams, "HELD", 0 if sample == 500 else streams.HELD)
    monkeypatch.setattr(streams, "BATCH", 300)
    monkeypatch.setattr(parquet, "BATCH", 300)
    table = everything(4000)
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(4000)))
    one = written(tmp_path / "one", table, [], group=10_000)
    many = written(tmp_path / "many", shuffled, [1, 900, 2500])
    whole = FileEngine(threads=1).profile(one)
    assert FileEngine(threads=3).profile(many).columns == whole.columns
    assert through_the_database(many).columns == whole.columns
    kinds = {name: (c.kind, len(c.counts)) for name, c in whole.columns.items()}
    assert kinds["x"] == ("numeric", MAX_BINS) and kinds["words"] == ("text", 0) and kinds["few"] == ("numeric", 8)
    for reference in (whole, FileEngine().profile(written(tmp_path / "other", everything(3000, seed=1), []))):
        direct = FileEngine(threads=2).profile(many, reference=reference)
        assert direct.columns == FileEngine(threads=1).profile(one, reference=reference).columns
        assert direct.columns == through_the_database(one, reference).columns
        assert direct.columns["x"].edges == reference.columns["x"].edges


def test_parts_counted_in_a_references_bins_add_up_exactly(tmp_path: Path) -> None:
    table = everything(3000)
    reference = FileEngine().profile(written(tmp_path / "was", everything(2000, seed=3), []))
    whole = FileEngine().profile(written(tmp_path / "whole", table, []), reference=reference)
    parts = [
        FileEngine().profile(written(tmp_path / name, part, []), reference=reference)
        for name, part in (("a", table[:1100]), ("b", table[1100:]))
    ]
    for name, column in (parts[0] + parts[1]).columns.items():
        other = whole.columns[name]
        for field in (
            "count",
            "nulls",
            "nonfinite",
            "minimum",
            "maximum",
            "edges",
            "counts",
            "top",
            "other",
            "lengths",
        ):
            assert getattr(column, field) == getattr(other, field), (name, field)
        if other.m2 is not None and column.m2 is not None:
            assert column.m2 == pytest.approx(other.m2, rel=1e-9)


def test_a_discrete_column_that_the_sample_saw_too_little_of_is_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "SAMPLE", 100)
    values = np.zeros(20_000)
    values[::400] = np.arange(50) + 0.5
    few = np.zeros(20_000)
    few[:3] = [1, 2, 3]
    ref = written(tmp_path / "a", pa.table({"x": values, "few": few, "id": np.arange(20_000.0)}), [])
    profile = FileEngine().profile(ref)
    assert not profile.columns["x"].distinct_exact and profile.columns["x"].valid == 20_000
    few_ = profile.columns["few"]
    assert (few_.edges, few_.counts, few_.distinct_exact) == ((0, 1, 2, 3), (19_997, 1, 1, 1, 0), True)
    assert set(profile.columns["id"].counts) != {0} and len(profile.columns["id"].counts) == MAX_BINS


@pytest.mark.parametrize("sample", [500, 200_000], ids=["many rows", "few rows"])
def test_statistics_of_a_file_are_looked_at_and_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    monkeypatch.setattr(profiling, "SAMPLE", sample)
    table = everything(3000, seed=1)  # with infinities, which a file's statistics call extremes
    ref = written(tmp_path / "a", table, [])
    rows = parquet.rows(ref, locate(ref), 2)
    assert rows is not None
    honest = profiling.profile(rows)
    lies = {"x": (-1.0, 1.0), "whole": (0.0, 0.0), "small": (-1e300, 1e300), "few": (1.0, 5.0)}
    rows.extremes = lambda columns: {c.name: lies[c.name] for c in columns if c.name in lies}  # type: ignore[method-assign]
    assert profiling.profile(rows) == honest
    bare = tmp_path / "bare.parquet"
    pq.write_table(table, bare, write_statistics=False)
    assert FileEngine().profile(DatasetRef(uri=str(bare))).columns == honest.columns


def test_moments_are_exact_to_the_last_digits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1e6, 1e-3, 5000)
    pq.write_table(pa.table({"x": values}), tmp_path / "a.parquet")
    column = FileEngine().profile(DatasetRef(uri=str(tmp_path / "a.parquet"))).columns["x"]
    mean = math.fsum(values) / len(values)
    assert column.mean == pytest.approx(mean, rel=1e-15)
    assert column.m2 == pytest.approx(math.fsum((v - mean) ** 2 for v in values.tolist()), rel=1e-9)


def test_a_file_that_breaks_off_in_its_pages_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=5000)}), path)
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(range(56))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet could not be read"):
        FileEngine().profile(DatasetRef(uri=str(path)))


def test_times_without_an_end_are_not_finite(tmp_path: Path) -> None:
    endless = [2**63 - 1, -(2**63) + 1, 0, None]
    pq.write_table(pa.table({"t": pa.array(endless, pa.int64()).cast(pa.timestamp("us"))}), tmp_path / "a.parquet")
    ref = DatasetRef(uri=str(tmp_path / "a.parquet"))
    column = FileEngine().profile(ref).columns["t"]
    assert (column.nulls, column.nonfinite, column.minimum) == (1, 2, dt.datetime(1970, 1, 1).isoformat())
    assert through_the_database(ref).columns["t"] == column


@QUICK
@example(np.array([-0.0, 0.0, 5e-324, -5e-324]), [0.0])
@example(np.array([1e308, -1e308, 1.0]), [-1e308, 0.0, 1e308])
@given(drawn(float, st.integers(0, 60), elements=finite), st.lists(finite, max_size=60, unique=True))
def test_bins_by_arithmetic_are_bins_by_search(values: np.ndarray, edges: list[float]) -> None:
    edges = sorted({e + 0.0 for e in edges})
    with np.errstate(over="ignore"):
        values = np.concatenate([values, edges, np.nextafter(edges, math.inf), np.nextafter(edges, -math.inf)])
    values = values[np.isfinite(values)]
    expected = np.searchsorted(edges, values)
    bins = binning.Bins(edges)
    assert bins.of(values).tolist() == expected.tolist()
    assert bins.count(values).tolist() == np.bincount(expected, minlength=len(edges) + 1).tolist()
    # of many values few lie beside an edge
    many = np.concatenate([values, np.repeat(values[:3], 20 * len(values)), np.linspace(-1e6, 1e6, 500)])
    found = np.bincount(np.searchsorted(edges, many), minlength=len(edges) + 1)
    assert bins.count(many).tolist() == found.tolist()


HALF = 2.0**51


@QUICK
@given(drawn(float, st.integers(0, 40), elements=st.floats(-HALF, HALF + 0.5)))
@example(np.array([HALF, HALF + 0.5, -HALF, -HALF + 0.5, 0.5, 1.5, -0.5, -1.5, 2.5, 5e-324, -0.0]))
@example(np.full(70_000, HALF + 0.5))
@example(np.full(70_000, -HALF))
def test_sums_of_rounded_floats_lose_nothing(values: np.ndarray) -> None:
    whole = sum(round(v) for v in values.tolist())  # ties to even, as everywhere
    assert sums.sum_of_rounded(values.copy(), Scratch()) == whole
    assert sums.sum_of_half(values.copy(), Scratch()) == whole


@QUICK
@given(
    drawn(float, st.integers(1, 40), elements=st.floats(-1e150, 1e150)),
    st.sampled_from([0.0, 1e6, -1e9, 3e15]),
    st.sampled_from([1.0, 1e-9, 1e9]),
)
@example(np.array([5.274, 15.863, 5.274]), 0.0, 1.0)  # the least is half a unit below -2**51
@example(np.array([55.169, 152.238]), 0.0, 1.0)  # the greatest is half a unit above 2**51
@example(np.array([1000009.471, 1000013.04, 1000011.0]), 0.0, 1.0)  # the center is far from the middle
@example(np.array([2999999971439661.5, 3000000066521260.0, 3e15]), 0.0, 1.0)  # and from the least as well
def test_moments_are_the_sums_of_what_is_rounded(values: np.ndarray, shift: float, unit: float) -> None:
    values = values * unit + shift
    low, high = float(values.min()), float(values.max())
    tally = tallies.Numbers(Column("x", "DOUBLE"), [0.0], extremes=(low, high))
    tally.add(pa.array(values), Scratch())
    center, width = profiling.scale(low, high)
    if width:
        scaled = [(v - center) / width for v in values.tolist()]
        assert tally.first == sum(round(s * 2.0**52) for s in scaled)
        assert tally.second == sum(round(s * s * 2.0**52) for s in scaled)


@QUICK
@given(
    drawn(float, st.integers(1, 80), elements=finite),
    st.sampled_from(["once", "ties", "zeros", "spread", "even"]),
    st.integers(0, 5),
)
def test_ranks_are_those_of_all_values_sorted(values: np.ndarray, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    more = {
        "once": rng.normal(size=30_000),
        "ties": rng.integers(0, 300, 30_000).astype(float),
        "zeros": np.where(rng.random(30_000) < 0.9, 0.0, rng.normal(size=30_000)),
        "spread": np.exp(rng.normal(0, 60, 30_000)) * rng.choice([-1, 1], 30_000),
        "even": np.arange(30_000.0),
    }[kind]
    values = rng.permutation(np.concatenate([values, more]))
    ranks = [max(len(values) - math.floor(len(values) - i / 50 * len(values)), 1) - 1 for i in range(1, 50)]
    found = sampling._ranked(values, ranks)
    assert found is not None
    assert found.tolist() == np.sort(values)[ranks].tolist()


def test_few_different_values_are_all_seen() -> None:
    values = np.repeat(np.arange(MAX_BINS - 1.0), 2000)
    assert sampling._look(values).values == tuple(np.arange(MAX_BINS - 1.0).tolist())
    assert sampling._look(np.append(values, [100.5, 101.5])).values is None


def test_rows_that_few_columns_do_not_tell_apart_are_sampled_by_all(tmp_path: Path) -> None:
    """Nine in ten have zeros in the columns that a hash is made of first: together they would be in, or out."""
    rng, rows = np.random.default_rng(0), 40_000
    some = rng.random(rows) < 0.1
    table = {f"z{i}": np.where(some, rng.normal(size=rows), 0.0) for i in range(sampling.FEW_KEYS)}
    table |= {"more": np.full(rows, "same"), "whole": rng.permutation(rows) + np.where(some, rows, 0)}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    ref = DatasetRef(uri=str(tmp_path / "rows.parquet"))
    read = parquet.rows(ref, locate(ref), 1)
    assert read is not None
    _, hashes = sampling._parts(read, read.columns, sampling.keys(read.columns), np.uint64(2**64 // 10))
    assert not sampling._spread(hashes, rows // 10)
    seen = sampling.looks(read, read.columns[-1:], rows // 10)["whole"]
    shares = np.searchsorted(np.sort(table["whole"]), seen.quantiles) / rows
    assert np.abs(shares - np.arange(1, MAX_BINS) / MAX_BINS).max() < 0.03
    held = streams.held(read, [*sampling.keys(read.columns), *read.columns[-1:]])  # one column is not
    assert isinstance(held, streams.Held)
    assert sampling.looks(held, read.columns[-1:], rows // 10)["whole"] == seen


def test_hashes_that_are_left_out_would_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 2**64, n, np.uint64) for n in (300_000, 100_000, 1, 0, 500_000)]
    slow = hashing.Distinct()
    for part in parts:
        slow.add(part)
    monkeypatch.setattr(hashing, "_LATE", 200_000)
    quick = hashing.Distinct()
    for part in parts:
        quick.add(part)
    assert quick._most < hashing._NONE and slow._most == hashing._NONE
    assert (quick.least == slow.least).all()


@QUICK
@given(st.lists(st.text(max_size=5), max_size=20), st.integers(0, 5))
def test_texts_hash_by_their_content_alone(texts: list[str], skip: int) -> None:
    array = pa.array([*(["x"] * skip), *texts], pa.string())[skip:]
    found = hashing.of_texts(array).tolist()
    assert found == hashing.of_texts(array.cast(pa.large_string())).tolist()
    assert found == [hashing.of_texts(pa.array([t])).item() for t in texts]
    assert len(set(found)) == len(set(texts))


@pytest.mark.parametrize("step", [1.0, 0.25, 1e-9, 3600.0, 1e12])
@pytest.mark.parametrize("rows", [3, 1000, 12_000, 200_000])
def test_different_values_are_estimated_within_five_per_cent(step: float, rows: int) -> None:
    whole, parts = hashing.Distinct(), [hashing.Distinct(), hashing.Distinct()]
    values = np.arange(rows) * step
    whole.add(hashing.of_numbers(values))
    for part, some in zip(parts, (values[: rows // 2], values[rows // 3 :]), strict=True):
        part.add(hashing.of_numbers(some))
    parts[0].merge(parts[1])
    assert parts[0].count() == whole.count() == pytest.approx(rows, rel=0.05)


def test_profiles_are_small_and_smaller_packed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(i, 1 + i, 20_000) for i in range(20)}
    columns |= {f"c{i}": np.array([f"category {k}" for k in range(20)])[rng.integers(0, 20, 20_000)] for i in range(5)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    told = json.dumps(FileEngine().profile(DatasetRef(uri=str(tmp_path / "a.parquet"))).to_dict()).encode()
    assert len(told) <= 2048 * 25 and len(gzip.compress(told)) <= 512 * 25


_LIGHT = """
import json, sys
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import check_drift
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import FileEngine
ref = DatasetRef(uri=sys.argv[1])
reference = Profile.from_dict(json.loads(json.dumps(FileEngine().profile(ref).to_dict())))
other = DatasetRef(uri=sys.argv[2])
report = check_drift(reference, FileEngine().profile(other, reference=reference))
assert report.status == "passed"
small = [c for c in report.checks if c.name == "distribution" and c.details["p_value"] <= 0.05]
assert small, [c.details for c in report.checks]  # a column that is looked at twice
print([m for m in ("duckdb", "pandas", "scipy", "pyarrow.compute") if m in sys.modules])
"""


def test_a_drift_check_of_a_file_loads_neither_a_database_nor_scipy(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    for path in paths:
        columns = {f"x{i}": rng.normal(size=20_000) for i in range(40)}
        pq.write_table(pa.table({**columns, "c": rng.choice(list("abc"), 20_000)}), path)
    done = subprocess.run([sys.executable, "-c", _LIGHT, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reference_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = written(tmp_path / "a", everything(3000), [1000])
    reference, seen = FileEngine().profile(ref), []
    feeds = parquet.ParquetRows.feeds
    monkeypatch.setattr(
        parquet.ParquetRows,
        "feeds",
        lambda self, columns, **more: seen.append(len(columns)) or feeds(self, columns, **more),
    )
    clean = [c for c in reference.columns if c not in ("x", "single", "mostly zero")]  # no NaN, no infinity
    FileEngine().profile(ref, reference=reference, columns=clean)
    assert seen == [len(clean)]
    assert dataclasses.asdict(reference)["rows"] == 3000


def test_many_rows_are_read_once_for_their_bins_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, rows = np.random.default_rng(0), 20_000
    table = {
        "x": rng.normal(20, 3, rows),
        "age": rng.integers(0, 9000, rows),
        "word": np.array(["a", "b"])[rng.integers(0, 2, rows)],
        "tail": np.exp(rng.normal(0, 5, rows)),
        "few": rng.integers(0, 7, rows),
    }
    ref = written(tmp_path / "a", pa.table(table), [5000])
    monkeypatch.setattr(profiling, "SAMPLE", 2000)
    seen: list[set[str]] = []
    feeds = parquet.ParquetRows.feeds
    monkeypatch.setattr(
        parquet.ParquetRows,
        "feeds",
        lambda self, columns, **more: seen.append({c.name for c in columns}) or feeds(self, columns, **more),
    )
    FileEngine().profile(ref, columns=["x", "age", "word"])
    assert seen == [{"x", "age", "word"}]
    seen.clear()
    found = FileEngine().profile(ref)
    assert seen == [set(table), {"tail", "few", "x", "age", "word"}]  # then a look at what narrow bins don't do for
    for name in ("x", "age"):
        column = found.columns[name]
        shares = np.array(column.counts) / rows
        assert len(shares) == MAX_BINS and shares.min() >= 0.01 and shares.max() <= 0.03
        counted = np.bincount(np.searchsorted(column.edges, table[name]), minlength=MAX_BINS)
        assert list(column.counts) == counted.tolist()
        assert max(len(f"{e:.12g}") for e in column.edges) <= 7, "short numbers"
    assert found.columns["few"].edges == tuple(map(float, range(7)))
    tail = np.array(found.columns["tail"].counts) / rows
    assert len(tail) == MAX_BINS and abs(tail - 0.02).max() < 0.02  # quantiles of a sample


@QUICK
@given(st.tuples(finite, finite).map(sorted))
@example([0.0, 5e-324])
@example([-1.7e308, 1.7e308])
@example([1e9, 1e9 + 1e-6])
@example([0.0, 1000.0])
def test_even_edges_are_in_order_and_many(ends: list[float]) -> None:
    low, high = ends
    edges = binning.even(low, high)
    assert list(edges) == sorted(set(edges)) and all(low <= e < high for e in edges)
    assert not edges or 0.74 * binning.NARROW < len(edges) <= binning.NARROW + 1
    if math.isfinite(high - low) and high - low > 1e-3 * max(abs(low), abs(high), 1e-280):
        assert edges


@QUICK
@given(st.lists(st.integers(0, 40), min_size=1, max_size=120), st.integers(2, 12))
def test_equal_shares_are_equal_to_a_half(counts: list[int], bins: int) -> None:
    chosen = binning.equal_shares(np.array(counts), bins)
    sums, share = np.cumsum(counts), sum(counts) / bins
    if chosen is None:
        near = [min(abs(s - i * share) for s in sums[:-1]) if len(sums) > 1 else 1 for i in range(1, bins)]
        places = (
            [int(np.argmin([abs(s - i * share) for s in sums[:-1]])) for i in range(1, bins)] if len(sums) > 1 else []
        )
        assert not share or len(sums) <= bins or max(near) > share / 4 or len(set(places)) < len(places)
    else:
        parts = np.add.reduceat(counts, [0, *(chosen + 1)])
        assert len(parts) == bins and sum(parts) == sum(counts)
        assert 0.5 * share <= min(parts) and max(parts) <= 1.5 * share


def test_long_texts_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{i:06}" + "long" * 200 for i in range(3000)]
    ref = written(tmp_path / "a", pa.table({"x": np.arange(3000.0), "t": texts}), [], group=500)
    rows = parquet.rows(ref, locate(ref), 2)
    assert rows is not None and isinstance(streams.held(rows, rows.columns), streams.Held)
    monkeypatch.setattr(streams, "HELD", 1 << 20)
    assert streams.held(rows, rows.columns) is rows
    assert profiling.profile(rows).columns["t"].lengths == (806, 806, 3000 * 806)


def test_batches_of_long_texts_that_a_database_reads_have_few_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BATCH_BYTES", 1 << 20)
    pq.write_table(pa.table({"s": [f"{i}" + "x" * 1000 for i in range(5000)]}), tmp_path / "a.parquet")
    ref = DatasetRef(uri=str(tmp_path / "a.parquet"), filters=(("s", "!=", "x"),))
    with FileEngine(threads=1).open(ref) as source:
        rows = streams.DuckRows.of(source)
        sizes = [(len(batch), batch.nbytes) for feed in rows.feeds(rows.columns) for batch in feed]
    assert sum(length for length, _ in sizes) == 5000
    assert max(size for _, size in sizes) < 3 << 20


def test_a_digest_of_filtered_rows_holds_none_of_them(tmp_path: Path) -> None:
    """100 MB of texts, none like another, in 70; with less than a few of them takes, it is not the file's fault."""
    pq.write_table(pa.table({"s": [f"{i}" + "x" * 5000 for i in range(20_000)]}), tmp_path / "a.parquet")
    ref = DatasetRef(uri=str(tmp_path / "a.parquet"), filters=(("s", "!=", "x"),))
    assert FileEngine(memory="70MB", threads=1).resolve(ref).rows == 20_000
    with pytest.raises(DataError, match="could not be counted in the memory and temporary folder there are") as raised:
        FileEngine(memory="20MB", threads=1).resolve(ref)
    assert "truncated" not in str(raised.value)
