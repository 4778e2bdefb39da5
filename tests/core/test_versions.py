"""Who was champion when, and which rows a version saw, from records alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.core.versions import account, champion_at, code_for, reigns, rows_seen, who, why

START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)


def move(version: str, at: str, replaces: str | None = None, **changes: Any) -> Record:
    evidence = {"version": version, "replaces": replaces}
    fields = {"kind": "promotion", "outcome": "promoted", "subject": version, "body": {"evidence": evidence}, **changes}
    return Record(model="late", key=f"{version}{at}", at=at, **fields)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12), st.integers(-1, 41))
def test_the_champion_is_that_of_the_last_move_before(moves: list[tuple[int, int]], asked: int) -> None:
    """Against a naive replay: moves in the order they were written, sorted by the day they are about."""
    records = [move(str(v), (START + dt.timedelta(days=d)).isoformat()) for d, v in moves]
    expected = None
    for day, version in sorted(moves, key=lambda m: m[0]):
        expected = str(version) if day <= asked else expected
    moment = START + dt.timedelta(days=asked)
    for at in (moment.isoformat(), moment.date().isoformat()):
        found = champion_at(reversed(records), at)
        assert (found.version if found else None) == expected
    chain = reigns(reversed(records))
    assert [r.until for r in chain] == [r.since for r in chain[1:]] + ([""] if chain else [])


def test_a_day_and_a_month_are_seen_to_their_end() -> None:
    records = [move("2", "2013-05-31T23:59:59+00:00", "1"), move("1", "2013-05-01T00:00:00+02:00")]
    assert champion_at(records, "2013-05-31").version == "2"  # type: ignore[union-attr]
    assert champion_at(records, "2013-05").version == "2"  # type: ignore[union-attr]
    assert champion_at(records, "2013-05-30").version == "1"  # type: ignore[union-attr]
    assert champion_at(records, "2013-05-31T12:00:00").version == "1"  # type: ignore[union-attr]
    assert champion_at(records, "2013-04-30T21:59:59+00:00") is None
    assert champion_at(records, "2013-04-30").version == "1", "22:00 UTC of that day"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no ISO date"):
        champion_at(records, "May")


def test_only_moves_move_the_champion() -> None:
    others = [
        move("9", "2013-06-01", outcome="refused"),
        move("9", "2013-06-01", outcome="already_promoted"),
        move("9", "2013-06-01", kind="gate", outcome="pass"),
        move("9", ""),
    ]
    assert [r.version for r in reigns([*others, move("1", "2013-05-01")])] == ["1"]


def test_a_gap_between_two_moves_is_told() -> None:
    chain = reigns([move("4", "2013-06-01", "3"), move("2", "2013-05-01", "1"), move("1", "2013-04-01")])
    assert [r.gap for r in chain[:2]] == ["", ""]
    assert chain[2].gap == "it replaced version 3, and the ledger has version 2 before it"
    assert account(chain[2])["note"] == chain[2].gap


def test_what_is_not_known_is_null() -> None:
    told = account(reigns([move("1", "2013-04-01")])[0])
    assert told["data"] is None and told["code_version"] is None and told["until"] is None
    assert told["training"] == {"key": None, "run_id": None}


def test_the_rows_of_a_version_are_told_with_their_version() -> None:
    ref = DatasetRef(
        uri="dvc://data/may.parquet",
        conn_id="lake",
        version="c0ffee",
        digest="a" * 32,
        rows=9,
        schema={"x": "int", "late": "bool"},
    )
    config = {"features": [], "target": "late", "time_column": ""}
    trained = Record(
        kind="training",
        model="late",
        key="k",
        outcome="trained",
        body={"data": ref.to_dict(), "config": config},
        metrics={"rows": 8, "unlabelled_rows": 1},
    )
    judged = Record(kind="evaluation", model="late", key="e", outcome="scored", body={"data": ref.to_dict(), "rows": 9})
    first, second = rows_seen(trained, [judged, judged])
    assert first.columns == ("x", "late") and first.used == 8 and "1 rows without a label" in first.why
    assert (second.role, second.used, second.why) == ("judged on", 9, "")
    told = first.to_dict()
    assert told["version"] == "c0ffee" and told["connection"] == "lake"
    for part in ("version='c0ffee'", "conn_id='lake'", "ref.select('x', 'late')"):
        assert part in str(told["code"])
    assert rows_seen(None) == []


def test_a_login_in_a_uri_is_not_printed() -> None:
    ref = DatasetRef(uri="s3://key:secret@lake/may.parquet", digest="a" * 32)
    assert "secret" not in code_for(ref) and "s3://lake/may.parquet" in code_for(ref)
    seen = rows_seen(Record(kind="training", model="m", key="k", outcome="trained", body={"data": ref.to_dict()}))
    assert "secret" not in str(seen[0].to_dict())


@pytest.mark.parametrize(
    ("body", "reason", "by"),
    [
        ({"reasons": ["a", "b"], "decided_by": "ada"}, "a", "ada"),
        ({"checks": [{"status": "passed"}, {"status": "failed", "subject": "x", "message": "off"}]}, "x: off", ""),
        ({"error": {"message": "gone"}, "dag_run": {"dag_id": "d", "task_id": "t"}}, "gone", "d.t"),
        ({"decided_by": "ada", "dag_run": {"dag_id": "d", "task_id": "t"}}, "", "ada in d.t"),
        ({}, "", ""),
    ],
)
def test_a_record_in_one_line(body: dict[str, Any], reason: str, by: str) -> None:
    record = Record(kind="gate", model="m", key="k", outcome="o", body=body)
    assert (why(record), who(record)) == (reason, by)
