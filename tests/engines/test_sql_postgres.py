"""What leaves the database, what names and values can't do to it, and what happens when it goes away."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, SchemaMismatch, SourceUnavailable, UsageError
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.engines import FrameEngine, sql, sql_profile
from airflow_mlops.engines.sql import SqlEngine
from airflow_mlops.engines.sql_patterns import postgres_pattern
from airflow_mlops.engines.sql_source import FETCH, SqlSource
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators.validation import ValidateDataOperator
from tests.engines.sql_tables import filled, quoted, table, watched
from tests.engines.test_engines import FRAME, sample
from tests.kit.postgres import PostgresServer

HOSTILE = 'x"; drop table flights; --'


def expect(what: str, **kwargs: Any) -> Expectation:
    return Expectation(type=f"expect_{what}", kwargs=kwargs)


def wide(rows: int = 24_000) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "delay": rng.normal(size=rows).round(3),
            "carrier": rng.choice(["AA", "UA", "DL"], rows),
            "note": [f"note {i}" for i in range(rows)],
        }
    )


@pytest.fixture(scope="module")
def big(postgres: PostgresServer) -> DatasetRef:
    return table(postgres, "big", wide())


def test_only_counts_leave_the_database(big: DatasetRef) -> None:
    hook, seen = watched()
    assert SqlEngine(hook).resolve(big).rows == 24_000
    assert len(seen.counting) == 1 and seen.fetched == 2  # the settings, and the sums

    hook, seen = watched()
    profile = SqlEngine(hook).profile(big)
    assert [c.kind for c in profile.columns.values()] == ["numeric", "numeric", "categorical", "text"]
    assert len(seen.counting) == 4  # whatever the number of columns
    assert seen.fetched <= 3 + 2 * 50 + 3

    hook, seen = watched()
    SqlEngine(hook).profile(big, reference=profile)
    assert len(seen.counting) <= 4 and seen.fetched <= 3 + 2 * 50 + 3


def test_a_suite_is_two_queries_and_five_failing_values_a_check(big: DatasetRef) -> None:
    hook, seen = watched()
    suite = [expect("column_values_to_be_between", column="delay", max_value=m / 10) for m in range(-20, 20)]
    suite += [expect("column_values_to_match_regex", column="note", regex=f"^note {i}") for i in range(9)]
    suite += [expect("column_values_to_be_in_set", column="carrier", value_set=["AA", "UA"])]
    outcomes = SqlEngine(hook).judge(big, suite)
    assert all(o.success is False and o.judged_by == "postgresql" for o in outcomes)
    assert len(seen.counting) == 2  # one that counts, one for the examples
    assert seen.fetched <= 2 + 5 * len(suite)
    assert all(len(o.result["partial_unexpected_list"]) == 5 for o in outcomes)
    assert outcomes[-1].result["partial_unexpected_list"] == ["DL"] * 5


def test_rows_come_through_a_cursor_on_the_server(big: DatasetRef) -> None:
    hook, seen = watched()
    batches = SqlEngine(hook).batches(big, 10)
    first = next(batches)
    batches.close()
    assert first["id"].tolist() == list(range(10)) and seen.most <= 10 and seen.fetched <= 30
    hook, seen = watched()
    sizes = [len(b) for b in SqlEngine(hook).batches(big, 23_000)]
    assert sizes == [23_000, 1_000] and seen.most <= FETCH


def test_what_is_not_compiled_is_judged_on_its_columns_alone(postgres: PostgresServer) -> None:
    ref = table(postgres, "small", sample())
    hook, seen = watched()
    by_library = expect("column_values_to_match_regex", column="carrier", regex="^(?!b)")
    compiled = expect("column_values_to_not_be_null", column="delay")
    one, other = SqlEngine(hook).judge(ref, [by_library, compiled])
    assert (one.success, one.judged_by, other.judged_by) == (True, "great_expectations", "postgresql")
    (fetching,) = [q for q in seen.queries if q.startswith("DECLARE")]
    assert "delay" not in fetching.partition(" FROM ")[0]


@pytest.mark.parametrize(
    "name", [HOSTILE, "two words", "Ünï ©🎉", "select", "50%", "a.b", "it's", "\\", "%s %(x)s", "$1"]
)
def test_any_name_is_only_a_name(postgres: PostgresServer, name: str) -> None:
    table(postgres, "flights", sample())
    frame = pd.DataFrame({name: [1.0, 2.0, None], "k": ["a", "b", "b"], "v": [1, 2, 3]})
    ref = table(postgres, name, frame)
    if name == HOSTILE:
        ref = DatasetRef(table=quoted(name), conn_id="lake")
    engine = SqlEngine()
    assert engine.resolve(ref).digest == FrameEngine(frame).resolve(FRAME).digest
    assert engine.resolve(ref.where((name, ">", 1))).rows == 1
    assert engine.profile(ref).columns[name].nulls == 1
    unique, between = engine.judge(
        ref,
        [
            expect("compound_columns_to_be_unique", column_list=[name, "k"]),
            expect("column_values_to_be_between", column=name, max_value=1),
        ],
    )
    assert unique.success and between.result["partial_unexpected_list"] == [2]
    assert engine.read(ref)[name].tolist()[:2] == [1.0, 2.0]
    assert engine.resolve(DatasetRef(table="flights", conn_id="lake")).rows == 60


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=9))
def test_any_value_is_only_a_value(postgres: PostgresServer, value: str) -> None:
    ref = DatasetRef(table="values", conn_id="lake")
    _values(postgres, value)
    assert SqlEngine().resolve(ref.where(("s", "=", value))).rows == 1
    (outcome,) = SqlEngine().judge(ref, [expect("column_values_to_be_in_set", column="s", value_set=[value])])
    assert outcome.result["unexpected_count"] == 1 and outcome.result["element_count"] == 2


def _values(postgres: PostgresServer, value: str) -> None:
    filled(postgres, "values", ["s text"], [[value], [value + "x"]])


@pytest.mark.parametrize("value", ["'; drop table flights; --", "\\'; select 1; --", "%s", "%(x)s", "$$", "E'\\x00'"])
def test_hostile_values_are_only_values(postgres: PostgresServer, value: str) -> None:
    test_any_value_is_only_a_value.hypothesis.inner_test(postgres, value)


def test_a_null_character_is_refused_and_never_passes(postgres: PostgresServer) -> None:
    ref = table(postgres, "small", sample())
    with pytest.raises(DataError, match="null character"):
        SqlEngine().resolve(ref.where(("carrier", "=", "a\x00")))
    (outcome,) = SqlEngine().judge(
        ref, [expect("column_values_to_not_be_in_set", column="carrier", value_set=["a\x00"])]
    )
    assert outcome.success is None and "null character" in outcome.error
    for name in ("x\x00", "x" * 64):
        with pytest.raises(UsageError):
            SqlEngine().resolve(DatasetRef(table=name, conn_id="lake"))


@pytest.mark.parametrize("name", ["gone", "nowhere.flights", "flights; drop table flights", "flights--"])
def test_a_table_that_is_not_there_is_named(postgres: PostgresServer, name: str) -> None:
    ref = DatasetRef(table=name, conn_id="lake")
    for use in (SqlEngine().resolve, SqlEngine().profile, SqlEngine().read, lambda r: SqlEngine().judge(r, [])):
        with pytest.raises(DatasetNotFound, match=f"{re.escape(name)}.*can't read table"):
            use(ref)


def test_columns_that_are_not_there_name_the_nearest(postgres: PostgresServer) -> None:
    ref = table(postgres, "small", sample())
    with pytest.raises(SchemaMismatch, match="did you mean 'carrier'"):
        SqlEngine().resolve(ref.select("carier"))
    (outcome,) = SqlEngine().judge(ref, [expect("column_values_to_not_be_null", column="carier")])
    assert outcome.success is None and "carrier" in outcome.error


def test_a_forbidden_table_is_an_error(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    table(postgres, "secret", sample())
    with postgres.connect() as connection:
        connection.execute("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    monkeypatch.setenv("AIRFLOW_CONN_GUEST", f"postgresql://guest:hush@127.0.0.1:{postgres.port}/lake")
    with pytest.raises(DataError, match=r"not allowed.*Grant SELECT") as seen:
        SqlEngine().resolve(DatasetRef(table="secret", conn_id="guest"))
    assert "hush" not in str(seen.value)


def test_nothing_is_written_and_a_check_sees_one_snapshot(postgres: PostgresServer) -> None:
    ref = table(postgres, "moving", sample())
    with SqlEngine().open(ref) as source:
        assert isinstance(source, SqlSource)
        before = source.digest()
        with postgres.connect() as connection:
            connection.execute("DELETE FROM moving")
            with pytest.raises(Exception, match="lock timeout"):
                connection.execute("SET lock_timeout = '50ms'; DROP TABLE moving")
        assert source.digest() == before
        with pytest.raises(DataError, match="read-only"):
            source.con.query("DELETE FROM moving RETURNING 1")
        assert source.digest() == before  # and a query that failed does not end the check
    assert SqlEngine().resolve(ref).rows == 0


class _Killing:
    """A cursor whose connection is ended by the server after some statements."""

    def __init__(self, connection: Any, kill: Callable[[int], None], after: int) -> None:
        self._cursor, self._kill, self._left = connection.cursor(), kill, after
        self._process = connection.info.backend_pid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._kill(self._process)
        self._cursor.execute(sql)


@pytest.mark.parametrize(
    ("what", "after"),
    [(what, after) for what in ("resolve", "profile", "read", "judge") for after in (1, 4, 5)]
    + [("profile", 8), ("read", 7), ("judge", 6)],
)
def test_a_lost_connection_is_told_apart_and_nothing_passes(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, what: str, after: int
) -> None:
    ref = table(postgres, "small", sample())

    def kill(process: int) -> None:
        with postgres.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [process])

    monkeypatch.setattr(sql.Postgres, "cursor", lambda self, connection: _Killing(connection, kill, after))
    suite = [
        expect("column_values_to_be_between", column="id", min_value=0, max_value=3),
        expect("column_values_to_be_unique", column="id"),
    ]
    uses: dict[str, Callable[[], Any]] = {
        "resolve": lambda: SqlEngine().resolve(ref),
        "profile": lambda: SqlEngine().profile(ref),
        "read": lambda: SqlEngine().read(ref),
        "judge": lambda: SqlEngine().judge(ref, suite),
    }
    with pytest.raises(SourceUnavailable, match=r"rows through connection 'lake'.*Try again"):
        uses[what]()


def test_a_database_that_is_not_there_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DOWN", "postgresql://lake:hush@127.0.0.1:1/lake")
    with pytest.raises(SourceUnavailable, match="no connection") as seen:
        SqlEngine().resolve(DatasetRef(table="flights", conn_id="down"))
    assert "hush" not in str(seen.value)


def test_one_check_that_fails_to_count_does_not_stop_the_others(postgres: PostgresServer) -> None:
    ref = filled(postgres, "halves", ["f double precision", "n integer"], [[1e308, 1], [1e308, 2]])
    too_much = expect("column_sum_to_be_between", column="f", min_value=0)
    fine = expect("column_values_to_be_between", column="n", max_value=2)
    broken, good = SqlEngine().judge(ref, [too_much, fine])
    assert broken.success is None and "out of range" in broken.error
    assert good.success is True and good.judged_by == "postgresql"


@pytest.mark.parametrize("why", ["another dialect", "an old server", "a relative that lacks a function"])
def test_a_server_that_can_not_count_is_streamed(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    ref = table(postgres, "small", sample())
    kept = ref.where(("delay", ">", 0), ("carrier", "is not null"))
    suite = [expect("column_values_to_not_be_null", column="delay")]
    ours = SqlEngine().resolve(kept)
    assert [o.judged_by for o in SqlEngine().judge(ref, suite)] == ["postgresql"]
    match why:
        case "another dialect":
            monkeypatch.setattr(sql, "LEAVES", {})
        case "an old server":
            monkeypatch.setattr("airflow_mlops.engines.sql_postgres.OLDEST", 99_00_00)
        case _:
            monkeypatch.setattr(sql.Postgres, "begin", lambda self, session: session.run("SELECT no_such_function()"))
    assert SqlEngine().resolve(kept).digest == ours.digest
    assert SqlEngine().resolve(ref).digest == FrameEngine(sample()).resolve(FRAME).digest
    streamed: list[Outcome] = SqlEngine().judge(ref, suite)
    assert [o.judged_by for o in streamed] == ["duckdb"]
    with pytest.raises(DatasetNotFound, match="can't read table"):
        SqlEngine().resolve(DatasetRef(table="gone", conn_id="lake"))


@pytest.mark.parametrize("cursor", ["dictcursor", "namedtuplecursor"])
def test_a_connections_kind_of_cursor_does_not_matter(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    connection = {**json.loads(postgres.airflow_connection), "extra": {"cursor": cursor}}
    monkeypatch.setenv("AIRFLOW_CONN_FANCY", json.dumps(connection))
    ref = dataclasses.replace(table(postgres, "small", sample()), conn_id="fancy")
    assert SqlEngine().resolve(ref).digest == FrameEngine(sample()).resolve(FRAME).digest
    assert len(SqlEngine().read(ref)) == 60


def test_a_wide_table_is_counted_in_parts(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_profile, "_CHUNK", 20)
    frame = pd.DataFrame({f"column {i}": np.arange(30) * (i + 1) / 7 for i in range(32)})
    ref = table(postgres, "wide", frame)
    hook, seen = watched()
    assert SqlEngine(hook).resolve(ref).digest == FrameEngine(frame).resolve(FRAME).digest
    profile = SqlEngine(hook).profile(ref)
    assert len(profile.columns) == 32 and profile.columns["column 31"].counts == (1,) * 30 + (0,)
    assert len(seen.counting) == 1 + 2 * 3


def test_a_task_that_lost_its_database_is_retried_and_one_with_bad_rows_is_not(
    run_task, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = table(postgres, "small", sample())
    suite = [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay"}}]
    with pytest.raises(DataValidationFailed, match="9 of 60 rows do not hold"):
        run_task(ValidateDataOperator(task_id="v", data=ref, suite=suite))
    report = run_task.last.xcoms["return_value"]["report"]
    assert report["details"]["judged_by"] == {"postgresql": 1}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "postgresql://lake@127.0.0.1:1/lake")
    with pytest.raises(SourceUnavailable) as seen:
        run_task(ValidateDataOperator(task_id="v", data=ref, suite=suite))
    assert not isinstance(seen.value, AirflowFailException)


PATTERNS = ["^a", "b$", "a|x", r"\d", "^$", "[^a]", "a.b", r"[\w.-]+@\w+\.\w{2,3}", r"^[]a]+$", r"\.", "a{2}", "{", "]"]
PATTERNS += [r"[\]\[]", r"^\s*$", r"(?:ab)+?c", r"\$|\^", r"^[^\n]*$", r"a\tb", "x{,2}", "ü", r"\W", r"[a\-z]", r"\\"]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.text(st.sampled_from("abcx1. -@\n\t$^[]{}\\ü_,"), max_size=5), max_size=40))
def test_patterns_match_what_they_match_in_a_frame(postgres: PostgresServer, texts: list[str]) -> None:
    texts = [*texts, "me.x-y@ab.abc", "ab\n", "aab", "ababc", "a\nb"]
    frame = pd.DataFrame({"s": pd.Series(texts, dtype="str")})
    ref = filled(postgres, "patterns", ["s text"], [[t] for t in texts])
    suite = [expect("column_values_to_match_regex", column="s", regex=p) for p in PATTERNS]
    ours, theirs = SqlEngine().judge(ref, suite), FrameEngine(frame).judge(FRAME, suite)
    assert {o.judged_by for o in ours} == {"postgresql"}
    for pattern, a, b in zip(PATTERNS, ours, theirs, strict=True):
        assert (pattern, a.result["unexpected_count"]) == (pattern, b.result["unexpected_count"])


@pytest.mark.parametrize(
    "pattern", [r"\b", "(?i)a", "(?=a)", "[[:alpha:]]", r"(a)\1", "a*+", "(", r"\Z", "a{300}", r"[\w-x]"]
)
def test_patterns_that_mean_something_else_there_are_left_to_others(pattern: str) -> None:
    assert postgres_pattern(pattern) is None
