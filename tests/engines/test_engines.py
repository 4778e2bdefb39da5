"""One protocol, three places: files, frames and tables give the same rows, digests and profiles."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DataError, DatasetNotFound, SchemaMismatch, UsageError
from airflow_mlops.core.profile import add_digests
from airflow_mlops.engines import Engine, FileEngine, FrameEngine, engine_for, verify
from airflow_mlops.engines.sql import SqlEngine

FRAME = DatasetRef(uri="frame")


def sample(rows: int = 60) -> pd.DataFrame:
    """Every type that a column can have, with nulls where pandas can tell."""
    rng = np.random.default_rng(rows)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows, dtype="int64"),
            "delay": rng.normal(size=rows).round(3),
            "late": rng.integers(0, 2, rows).astype(bool),
            "carrier": rng.choice(["AA", "UA", "Ünïcode|~", ""], rows),
            "at": pd.date_range("2013-01-01", periods=rows, freq="h").astype("datetime64[us]"),
        }
    )
    frame.loc[::7, "delay"] = np.nan
    frame.loc[::9, "carrier"] = None
    return frame


def parquet(path: Path, frame: pd.DataFrame) -> DatasetRef:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    return DatasetRef(uri=str(path))


def resolve(ref: DatasetRef) -> DatasetRef:
    return engine_for(ref).resolve(ref)


def test_engines_speak_the_protocol() -> None:
    for engine in (FileEngine(), FrameEngine(sample()), SqlEngine()):
        assert isinstance(engine, Engine)


def test_the_digest_knows_no_order_and_no_split(tmp_path: Path) -> None:
    frame = sample()
    whole = resolve(parquet(tmp_path / "whole.parquet", frame))
    shuffled = frame.sample(frac=1, random_state=1)
    parquet(tmp_path / "parts" / "b.parquet", shuffled[:13])
    parquet(tmp_path / "parts" / "a.parquet", shuffled[13:])
    assert whole.digest == resolve(DatasetRef(uri=str(tmp_path / "parts"))).digest
    assert whole.digest == resolve(DatasetRef(uri=str(tmp_path / "parts" / "*.parquet"))).digest
    assert whole.digest == FrameEngine(shuffled).resolve(FRAME).digest
    assert whole.rows == 60
    assert whole.schema == {
        "id": "int",
        "delay": "float",
        "late": "bool",
        "carrier": "string",
        "at": "datetime",
    }
    assert len(whole.digest) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(delay=f["delay"].where(f["id"] != 3, 9.5)),
        lambda f: f.assign(carrier=f["carrier"].where(f["id"] != 1, None)),
        lambda f: f.drop(index=5),
        lambda f: pd.concat([f, f[:1]]),
        lambda f: f.rename(columns={"delay": "delays"}),
        lambda f: f[[*f.columns[1:], f.columns[0]]],
        lambda f: f.assign(id=f["id"].astype(float)),
        lambda f: f.assign(at=f["at"] + pd.Timedelta("1us")),
    ],
    ids=["value", "null", "fewer", "twice", "renamed", "order of columns", "retyped", "microsecond"],
)
def test_the_digest_sees_every_change(change) -> None:
    frame = sample()
    before, after = (FrameEngine(f).resolve(FRAME).digest for f in (frame, change(frame)))
    assert before != after


def test_values_do_not_run_into_one_another() -> None:
    a = FrameEngine(pd.DataFrame({"x": ["ab", "1:a|"], "y": ["c", "~"]})).resolve(FRAME)
    b = FrameEngine(pd.DataFrame({"x": ["a", "1:a"], "y": ["bc", "|~"]})).resolve(FRAME)
    assert a.digest != b.digest


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.none() | st.text(max_size=4)),
        min_size=2,
        max_size=20,
    ),
    st.integers(1, 19),
    st.randoms(use_true_random=False),
)
def test_digests_of_parts_add_up(rows, cut, random) -> None:
    random.shuffle(rows)
    cut = min(cut, len(rows) - 1)
    types = {"a": "int64", "b": "float64", "c": "str"}

    def digest(part) -> str:
        return FrameEngine(pd.DataFrame(part, columns=list("abc")).astype(types)).resolve(FRAME).digest

    assert digest(rows) == add_digests(digest(rows[:cut]), digest(rows[cut:]))
    assert digest(rows) == digest(rows[::-1])


def test_csv_and_json_lines_are_the_same_rows(tmp_path: Path) -> None:
    frame = sample()[["id", "delay", "late", "at"]]
    expected = resolve(parquet(tmp_path / "a.parquet", frame)).digest
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    for name in ("a.csv", "a.csv.gz", "a.tsv"):
        assert resolve(DatasetRef(uri=str(tmp_path / name))).digest == expected, name
    frame = frame.drop(columns="at")  # JSON has no dates
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    assert resolve(DatasetRef(uri=str(tmp_path / "a.jsonl"))).digest == FrameEngine(frame).resolve(FRAME).digest
    assert resolve(DatasetRef(uri=f"file://{tmp_path}/a.csv")).digest == expected


def test_hive_partitions_are_columns_and_hidden_files_are_none(tmp_path: Path) -> None:
    for month in (1, 2):
        parquet(tmp_path / "lake" / f"month={month}" / "part.parquet", pd.DataFrame({"x": [month] * 3}))
    parquet(tmp_path / "lake" / "month=2" / ".part-1.parquet", pd.DataFrame({"y": [1]}))
    parquet(tmp_path / "lake" / "_temporary" / "part.parquet", pd.DataFrame({"y": [1]}))
    whole = resolve(DatasetRef(uri=str(tmp_path / "lake")))
    assert whole.schema == {"x": "int", "month": "int"} and whole.rows == 6
    assert resolve(DatasetRef(uri=str(tmp_path / "lake" / "month=*" / "*.parquet"))).digest == whole.digest
    one = engine_for(whole).read(whole.where(("month", "=", 2)))
    assert one["month"].tolist() == [2, 2, 2]
    assert list(resolve(DatasetRef(uri=str(tmp_path / "lake" / "month=2"))).schema) == ["x"]


def test_object_storage_is_read_through_its_file_system(tmp_path: Path) -> None:
    import fsspec
    from airflow.sdk.io import attach

    attach("memory", fs=fsspec.filesystem("memory"))
    frame = sample()
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    system = fsspec.filesystem("memory")
    system.pipe("/lake/a.parquet", (tmp_path / "a.parquet").read_bytes())
    system.pipe("/tables/b.csv", b"x,y\n1,a\n2,b\n")
    expected = FrameEngine(frame).resolve(FRAME).digest
    for uri in ("memory://lake/a.parquet", "memory://lake/*.parquet", "memory://lake"):
        assert resolve(DatasetRef(uri=uri)).digest == expected, uri
    assert resolve(DatasetRef(uri="memory://tables/b.csv")).rows == 2
    with pytest.raises(DatasetNotFound, match="memory://nowhere"):
        resolve(DatasetRef(uri="memory://nowhere"))


FILTERS = [
    (("id", "=", 3), lambda f: f["id"] == 3),
    (("id", "!=", 3), lambda f: f["id"] != 3),
    (("id", "<", 2.5), lambda f: f["id"] < 2.5),
    (("delay", ">=", 0), lambda f: f["delay"] >= 0),
    (("delay", "is null"), lambda f: f["delay"].isna()),
    (("late", "=", True), lambda f: f["late"]),
    (("carrier", "in", ["AA", "no"]), lambda f: f["carrier"] == "AA"),
    (("carrier", "not in", ["AA"]), lambda f: f["carrier"].notna() & (f["carrier"] != "AA")),
    (("carrier", "is not null"), lambda f: f["carrier"].notna()),
    (("at", "<=", "2013-01-01T05:00:00"), lambda f: f["at"] <= "2013-01-01 05:00"),
    (("at", ">", "2013-01-02"), lambda f: f["at"] > "2013-01-02"),
    (("carrier", "=", "'; DROP TABLE frame; --"), lambda f: f["carrier"] == "nothing"),
]


@pytest.mark.parametrize(
    ("filter_", "mask"), FILTERS, ids=lambda v: " ".join(map(str, v)) if isinstance(v, tuple) else ""
)
def test_filters_say_what_pandas_says(filter_, mask) -> None:
    frame = sample()
    read = FrameEngine(frame).read(FRAME.where(filter_))
    assert read["id"].tolist() == frame[mask(frame)]["id"].tolist()


@pytest.mark.parametrize(
    ("filter_", "error", "words"),
    [
        (("idd", "=", 3), SchemaMismatch, "did you mean 'id'"),
        (("id", "=", "3"), UsageError, "it is int"),
        (("carrier", ">", 3), UsageError, "it is string"),
        (("at", ">", 3), UsageError, "it is datetime"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(filter_, error, words) -> None:
    with pytest.raises(error, match=words):
        FrameEngine(sample()).read(FRAME.where(filter_))


def test_nan_passes_no_comparison(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": pa.array([1.0, float("nan"), None])}), tmp_path / "n.parquet")
    ref = DatasetRef(uri=str(tmp_path / "n.parquet"))
    for operator in (">", ">=", "!="):
        assert resolve(ref.where(("x", operator, 0.5))).rows == 1
    assert resolve(ref.where(("x", "not in", [7]))).rows == 1


def test_reading_is_deterministic_and_batches_are_the_same_rows_and_types(tmp_path: Path) -> None:
    frame = sample(100)
    frame["maybe"] = pd.array([None, *range(99)], dtype="Int64")
    frame["yes"] = pd.array([True] * 99 + [None], dtype="boolean")
    ref = parquet(tmp_path / "a.parquet", frame)
    engine = engine_for(ref)
    read = engine.read(ref)
    assert read["id"].tolist() == frame["id"].tolist()
    assert read["maybe"].dtype == "float64" and read["yes"].dtype == object
    for rows in (1, 7, 100, 1000):
        batches = list(engine.batches(ref, rows))
        assert all(len(b) <= rows for b in batches)
        assert {tuple(b.dtypes) for b in batches} == {tuple(read.dtypes)}
        pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), read)
    assert list(engine.read(ref.select("carrier", "id")).columns) == ["carrier", "id"]
    assert len(next(engine.batches(ref, 10))) == 10  # and the rest is never asked for
    with pytest.raises(UsageError, match="rows=0"):
        list(engine.batches(ref, 0))


def test_zero_rows_have_a_schema(tmp_path: Path) -> None:
    ref = parquet(tmp_path / "empty.parquet", sample()[:0])
    resolved = resolve(ref)
    assert (resolved.rows, resolved.resolved) == (0, True)
    assert engine_for(ref).read(ref).shape == (0, 5)
    profile = engine_for(ref).profile(ref)
    assert profile.rows == 0 and all(c.valid == 0 for c in profile.columns.values())
    json.dumps(profile.to_dict(), allow_nan=False)
    (tmp_path / "h.csv").write_text("a,b\n")
    assert resolve(DatasetRef(uri=str(tmp_path / "h.csv"))).rows == 0


def _bad(tmp_path: Path, name: str) -> DatasetRef:
    good = sample()
    parquet(tmp_path / "good.parquet", good)
    content = (tmp_path / "good.parquet").read_bytes()
    files = {
        "truncated.parquet": content[: len(content) // 2],
        "nothing.parquet": b"",
        "broken.csv": b"a,b\n" + b"1,2\n" * 50 + b"1,2,3\n" + b"1,2\n" * 50,
        "short.csv": b"a,b\n" + b"1,2\n" * 50 + b"1\n",
        "twice.csv": b"a,b,a\n1,2,3\n",
        "case.csv": b"a,A\n1,2\n",
        "noname.csv": b"a,,b\n1,2,3\n",
        "none.csv": b"",
        "broken.jsonl": b'{"a": 1}\n{"a": \n',
        "binary.csv": bytes(range(128, 256)) * 9,
    }
    if name in files:
        (tmp_path / name).write_bytes(files[name])
    return DatasetRef(uri=str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("missing.parquet", DatasetNotFound, "does not exist"),
        ("no-*.parquet", DatasetNotFound, "matches no parquet file"),
        ("truncated.parquet", DataError, "not a whole Parquet file"),
        ("nothing.parquet", DataError, "not a whole Parquet file"),
        ("broken.csv", DataError, "does not fit"),
        ("short.csv", DataError, "does not fit"),
        ("twice.csv", SchemaMismatch, "can't be told apart.*'a'"),
        ("case.csv", SchemaMismatch, "can't be told apart"),
        ("noname.csv", SchemaMismatch, "without a name"),
        ("none.csv", SchemaMismatch, "no header row"),
        ("broken.jsonl", DataError, "does not fit"),
        ("binary.csv", DataError, "UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name, error, words) -> None:
    ref = _bad(tmp_path, name)
    for use in (lambda e: e.resolve(ref), lambda e: e.profile(ref), lambda e: e.read(ref)):
        with pytest.raises(error, match=words) as seen:
            use(engine_for(ref))
        assert name in str(seen.value)


def test_files_of_one_dataset_have_the_same_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "d" / "a.parquet", pd.DataFrame({"x": [1], "y": [1]}))
    parquet(tmp_path / "d" / "b.parquet", pd.DataFrame({"y": [1], "z": [1]}))
    with pytest.raises(SchemaMismatch, match=r"b\.parquet.*missing \['x'\], unexpected \['z'\]") as seen:
        resolve(DatasetRef(uri=str(tmp_path / "d")))
    assert (seen.value.missing, seen.value.unexpected) == (("x",), ("z",))
    parquet(tmp_path / "d" / "b.parquet", pd.DataFrame({"y": [1], "x": [1.5]}))
    read = engine_for(ref := DatasetRef(uri=str(tmp_path / "d"))).read(ref)
    assert read["x"].tolist() == [1.0, 1.5]


def test_a_changed_delimiter_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1;2\n")
    assert resolve(DatasetRef(uri=str(tmp_path / "a.csv"))).schema == {"a": "int", "b": "int"}
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="delimited by"):
        resolve(DatasetRef(uri=str(tmp_path / "*.csv")))
    (tmp_path / "c.csv").write_text("a,b\n1,2\n3;4\n")
    with pytest.raises(DataError, match="does not fit"):
        resolve(DatasetRef(uri=str(tmp_path / "c.csv")))


def test_frames_that_are_no_table_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="can't be told apart"):
        FrameEngine(pd.DataFrame([[1, 2]], columns=["a", "a"])).resolve(FRAME)
    with pytest.raises(DataError, match="'a' mixes types"):
        FrameEngine(pd.DataFrame({"a": [1, "x", dt.date(2020, 1, 1)]}, dtype=object)).resolve(FRAME)
    with pytest.raises(SchemaMismatch, match="no columns"):
        FrameEngine(pd.DataFrame()).resolve(FRAME)


def test_missing_columns_name_the_nearest(tmp_path: Path) -> None:
    ref = parquet(tmp_path / "a.parquet", sample())
    with pytest.raises(SchemaMismatch, match="did you mean 'carrier'") as seen:
        resolve(ref.select("id", "carier", "gone"))
    assert seen.value.missing == ("carier", "gone")


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    name = 'x"; drop table y; --'
    ref = parquet(
        tmp_path / "a.parquet", pd.DataFrame({name: [1, 2, 3], "select": ["a", "b", "c"], "ü $1": [1.5, 2, 3]})
    )
    resolved = resolve(ref.where((name, ">", 1)))
    assert resolved.rows == 2 and list(resolved.schema) == [name, "select", "ü $1"]
    profile = engine_for(ref).profile(ref)
    assert profile.columns[name].distinct == 3


def test_verify_says_what_changed(tmp_path: Path) -> None:
    ref = resolve(parquet(tmp_path / "a.parquet", sample()))
    verify(ref)
    parquet(tmp_path / "a.parquet", sample()[:-1])
    with pytest.raises(Conflict, match=r"60 rows.*59 rows"):
        verify(ref)
    with pytest.raises(UsageError, match="no digest"):
        verify(DatasetRef(uri=str(tmp_path / "a.parquet")))


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[tuple[SqlEngine, sqlite3.Connection]]:
    """A database behind Airflow's own DbApiHook."""
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    class SqliteHook(DbApiHook):
        conn_name_attr = "sqlite_conn_id"
        default_conn_name = "lake"
        dialect_name = "sqlite"
        placeholder = "?"

        def get_conn(self) -> sqlite3.Connection:
            return sqlite3.connect(tmp_path / "lake.db")

    with contextlib.closing(sqlite3.connect(tmp_path / "lake.db")) as connection:
        yield SqlEngine(SqliteHook()), connection


def test_tables_are_the_same_rows_as_files(lake: tuple[SqlEngine, sqlite3.Connection]) -> None:
    engine, connection = lake
    frame = sample()[["id", "delay", "carrier"]]
    frame.to_sql("flights", connection, index=False)
    ref = DatasetRef(table="flights", conn_id="lake")
    resolved = engine.resolve(ref)
    assert resolved.digest == FrameEngine(frame).resolve(FRAME).digest
    read = engine.read(ref)
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert sum(map(len, engine.batches(ref, 7))) == 60
    assert engine.profile(ref).columns == FrameEngine(frame).profile(FRAME).columns
    kept = ref.select("carrier").where(("delay", ">", 0), ("carrier", "in", ["AA", "UA"]), ("id", "!=", 5))
    expected = frame[(frame["delay"] > 0) & frame["carrier"].isin(["AA", "UA"]) & (frame["id"] != 5)]
    assert engine.resolve(kept).rows == len(expected)


def test_hostile_names_of_tables_are_only_names(lake: tuple[SqlEngine, sqlite3.Connection]) -> None:
    engine, connection = lake
    name = 'x"; drop table flights; --'
    sample().to_sql("flights", connection, index=False)
    pd.DataFrame({name: [1, 2], "50%": [1, 2]}).to_sql("my table", connection, index=False)
    ref = DatasetRef(table="my table", conn_id="lake", filters=[(name, ">", 1)])
    assert engine.resolve(ref).rows == 1 and list(engine.resolve(ref).schema) == [name, "50%"]
    for table in ("gone", "flights; drop table flights", "flights--"):
        with pytest.raises(DatasetNotFound, match="can't read table"):
            engine.resolve(DatasetRef(table=table, conn_id="lake"))
    assert engine.resolve(DatasetRef(table="main.flights", conn_id="lake")).rows == 60
    with pytest.raises(SchemaMismatch, match="did you mean 'carrier'"):
        engine.resolve(DatasetRef(table="flights", conn_id="lake", columns=("carier",)))


def test_an_empty_table_has_columns(lake: tuple[SqlEngine, sqlite3.Connection]) -> None:
    engine, connection = lake
    connection.execute("create table t (a integer, b text)")
    ref = DatasetRef(table="t", conn_id="lake")
    assert engine.resolve(ref).rows == 0 and list(engine.resolve(ref).schema) == ["a", "b"]


class Cursor:
    """Rows that a database would send, made when they are asked for; what Arrow holds by then is remembered."""

    def __init__(self, parts: list[list[tuple[object, ...]]], names: list[str]) -> None:
        self.parts, self.held = iter(parts), []
        self.description = [(n,) for n in names]

    def execute(self, sql: str, *values: object) -> None:
        """Nothing: the rows are there."""

    def fetchmany(self, rows: int) -> list[tuple[object, ...]]:
        import pyarrow as pa

        self.held.append(pa.total_allocated_bytes())
        return next(self.parts, [])

    def close(self) -> None:
        """Nothing."""


def streamed_from(parts: list[list[tuple[object, ...]]], names: list[str]) -> tuple[SqlEngine, Cursor]:
    cursor = Cursor(parts, names)

    class Hook:
        dialect_name, placeholder = "sqlite", "?"

        def get_conn(self) -> object:
            return Connection()

    class Connection:
        def cursor(self) -> Cursor:
            return cursor

        def close(self) -> None:
            """Nothing."""

    return SqlEngine(Hook()), cursor


def test_a_streamed_table_is_never_in_memory_as_a_whole() -> None:
    names = ["id", "text"]
    parts = [[(i, f"text number {i:09}") for i in range(s, s + 20_000)] for s in range(0, 400_000, 20_000)]
    engine, cursor = streamed_from(parts, names)
    profile = engine.profile(DatasetRef(table="many", conn_id="lake"))
    assert profile.rows == 400_000 and profile.columns["text"].kind == "text"
    assert profile.columns["text"].distinct == pytest.approx(400_000, rel=0.06)
    one = 20_000 * (8 + 8 + 25)
    assert len(cursor.held) == 21 and max(cursor.held) - cursor.held[0] < 3 * one


def test_types_of_a_streamed_table_are_those_of_all_batches_together() -> None:
    stamp = dt.datetime(2013, 1, 2, 3)
    parts = [[(None, 1, None, None)], [(None, 2, None, "a")], [(stamp, 2.5, 7, None)], [(None, 3, 8, "b")]]
    engine, _ = streamed_from(parts, ["at", "x", "n", "s"])
    ref = DatasetRef(table="t", conn_id="lake")
    assert engine.resolve(ref).schema == {"at": "datetime", "x": "float", "n": "int", "s": "string"}
    frame = pd.DataFrame({"at": [None, None, stamp, None], "x": [1, 2, 2.5, 3], "s": [None, "a", None, "b"]})
    frame["n"] = pd.array([None, None, 7, 8], dtype="Int64")
    frame["at"] = frame["at"].astype("datetime64[us]")
    engine, _ = streamed_from(parts, ["at", "x", "n", "s"])
    assert engine.resolve(ref).digest == FrameEngine(frame[["at", "x", "n", "s"]]).resolve(FRAME).digest
    engine, _ = streamed_from([[(1,)], [("x",)]], ["a"])
    with pytest.raises(DataError, match="mixes types between rows"):
        engine.resolve(ref)
