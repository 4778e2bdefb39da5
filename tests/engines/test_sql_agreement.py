"""What is PostgreSQL's own: every type, floats and texts as they are, profiles of much; see also test_conformance."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.engines import FileEngine, FrameEngine
from airflow_mlops.engines.sql import SqlEngine
from tests.engines.sql_tables import filled, table
from tests.engines.test_conformance import resembles
from tests.engines.test_engines import FRAME
from tests.kit.postgres import PostgresServer

HARNESS = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


EVERYTHING = {
    "small": ("smallint", pa.int16(), [1, -1, None, 32767]),
    "whole": ("integer", pa.int32(), [1, None, -(2**31), 0]),
    "big": ("bigint", pa.int64(), [2**63 - 1, -(2**63), None, 5]),
    "single": ("real", pa.float32(), [0.1, None, -0.0, 3e38]),
    "real": ("double precision", pa.float64(), [math.nan, math.inf, -math.inf, None]),
    "yes": ("boolean", pa.bool_(), [True, False, None, True]),
    "money": ("numeric(12,3)", pa.decimal128(12, 3), [decimal.Decimal(t) for t in ("1.500", "-0.010", "100", "0")]),
    "round": ("numeric(12,0)", pa.decimal128(12, 0), [decimal.Decimal(100), None, decimal.Decimal(0), None]),
    "text": ("text", pa.string(), ["", "a|b~1:", None, "Ünï\ncode 🎉\\"]),
    "code": ("varchar(9)", pa.string(), ["x", None, "'; --", '"']),
    "day": ("date", pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(1969, 12, 31)]),
    "at": (
        "timestamp",
        pa.timestamp("us"),
        [dt.datetime(1969, 12, 31, 23, 59, 59, 999999), None, dt.datetime(2013, 1, 1), dt.datetime(9999, 1, 1)],
    ),
    "zoned": (
        "timestamptz",
        pa.timestamp("us", tz="UTC"),
        [dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC), None, dt.datetime(1900, 1, 1, tzinfo=dt.UTC), None],
    ),
    "raw": ("bytea", pa.binary(), [b"", b"\x00\xff", None, b"abc"]),
}


def test_every_type_is_encoded_as_a_file_has_it(postgres: PostgresServer, tmp_path: Path) -> None:
    columns = {n: pa.array(v, t) for n, (_, t, v) in EVERYTHING.items()}
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    rows = list(zip(*(v for _, _, v in EVERYTHING.values()), strict=True))
    ref = filled(postgres, "everything", [f"{n} {t}" for n, (t, _, _) in EVERYTHING.items()], rows)
    file, engine = DatasetRef(uri=str(tmp_path / "all.parquet")), SqlEngine()
    for name in EVERYTHING:  # one by one, so that a difference has a name
        ours, theirs = engine.resolve(ref.select(name)), FileEngine().resolve(file.select(name))
        assert (name, ours.schema, ours.digest) == (name, theirs.schema, theirs.digest)
    resembles(engine.profile(ref), FileEngine().profile(file))
    theirs = FileEngine().read(file).sort_values(list(EVERYTHING)[:-1], ignore_index=True)
    pd.testing.assert_frame_equal(engine.read(ref), theirs)


@HARNESS
@example([0.1, 1e15, 1e16, 1e15 + 0.125, -1e15 - 0.5, 9999999999999998.0, 5e-324, 1.7976931348623157e308, 1e22, -0.0])
@given(st.lists(st.floats(allow_nan=False) | st.just(math.nan), min_size=1, max_size=60))
def test_floats_have_the_same_shortest_text(postgres: PostgresServer, tmp_path_factory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("floats") / "a.parquet"
    pq.write_table(pa.table({"x": pa.array(values, pa.float64(), from_pandas=False)}), path)
    ref = filled(postgres, "floats", ["x double precision"], [[v] for v in values])
    file = DatasetRef(uri=str(path))
    assert SqlEngine().resolve(ref).digest == FileEngine().resolve(file).digest
    resembles(SqlEngine().profile(ref), FileEngine().profile(file))


@HARNESS
@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6), max_size=30))
def test_texts_are_counted_and_sorted_by_their_bytes(postgres: PostgresServer, values: list[str]) -> None:
    frame = pd.DataFrame({"s": pd.Series(values, dtype="str")})
    ref = filled(postgres, "texts", ["s text"], [[v] for v in values])
    assert SqlEngine().resolve(ref).digest == FrameEngine(frame).resolve(FRAME).digest
    resembles(SqlEngine().profile(ref), FrameEngine(frame).profile(FRAME))
    assert SqlEngine().read(ref)["s"].tolist() == sorted(values, key=str.encode)


def test_a_text_of_many_values_is_remembered_by_its_lengths(postgres: PostgresServer) -> None:
    frame = pd.DataFrame({"s": [f"value {i:05}" for i in range(1500)], "k": [f"{i % 300:03}" for i in range(1500)]})
    ours = SqlEngine().profile(table(postgres, "many", frame))
    resembles(ours, FrameEngine(frame).profile(FRAME))
    assert ours.columns["s"].kind == "text" and ours.columns["s"].lengths == (11, 11, 16500)
    assert ours.columns["k"].kind == "categorical" and ours.columns["k"].other > 0


def test_no_rows_and_types_of_the_databases_own(postgres: PostgresServer) -> None:
    with postgres.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS own; DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('sad', 'ok')")
    columns = ["m mood", "j json", "a integer[]", "u uuid", "c char(4)", "n numeric", "d date"]
    ref, engine = filled(postgres, "own", columns, []), SqlEngine()
    schema = {"m": "string", "j": "other", "a": "other", "u": "string", "c": "string", "n": "decimal", "d": "date"}
    assert engine.resolve(ref).schema == schema and engine.resolve(ref).digest == "0" * 32
    assert engine.read(ref).shape == (0, 7) and engine.profile(ref).columns["n"].valid == 0
    identifier = "7f1c1b2e-0000-4000-8000-000000000000"
    with postgres.connect() as connection:
        row = ["sad", '{"b": 1}', [1, 2], identifier, "ab", decimal.Decimal("NaN"), "infinity"]
        connection.execute("INSERT INTO own VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
    profile = engine.profile(ref)
    assert profile.columns["m"].top == (("sad", 1),) and profile.columns["u"].top == ((identifier, 1),)
    assert profile.columns["c"].top == (("ab", 1),)
    assert (profile.columns["n"].nonfinite, profile.columns["d"].nonfinite) == (1, 1)
    assert profile.columns["j"].kind == profile.columns["a"].kind == "text"
    kept = engine.read(ref.select("m", "j", "a", "u"))
    assert kept.iloc[0].tolist() == ["sad", '{"b": 1}', "{1,2}", identifier]
