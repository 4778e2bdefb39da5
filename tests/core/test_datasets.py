"""References to rows: what they accept, refuse and remember."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UnknownName, UsageError


def test_a_reference_survives_json_and_leaves_out_what_is_empty() -> None:
    ref = DatasetRef(
        table="public.flights", conn_id="warehouse", columns=("a", "b"), filters=[("a", "in", [1, 2])]
    ).resolve(digest="0" * 32, rows=3, schema={"a": "int"})
    value = json.loads(json.dumps(ref.to_dict()))
    assert DatasetRef.from_dict(value) == ref
    assert "uri" not in value


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "one of uri, table and query"),
        ({"uri": "a", "table": "b", "conn_id": "c"}, "one of uri, table and query"),
        ({"table": "b"}, "needs conn_id"),
        ({"uri": "a", "format": "parqet"}, "did you mean 'parquet'"),
        ({"uri": "a", "filters": [("x", "like", 1)]}, "unknown filter operator 'like'"),
        ({"uri": "a", "filters": ["x = 1"]}, "a filter is"),
        ({"uri": "a", "filters": [("x", "in", "abc")]}, "non-empty list"),
        ({"uri": "a", "filters": [("x", "in", [])]}, "non-empty list"),
        ({"uri": "a", "filters": [("x", "=", None)]}, "is null"),
    ],
)
def test_misuse_is_named_at_once(kwargs: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DatasetRef(**kwargs)


def test_of_takes_what_authors_and_xcoms_give() -> None:
    ref = DatasetRef(uri="a.parquet")
    assert DatasetRef.of(ref) is ref
    assert DatasetRef.of(ref.to_dict()) == DatasetRef.of("a.parquet") == ref
    with pytest.raises(UsageError, match="int"):
        DatasetRef.of(3)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="did you mean 'columns'"):
        DatasetRef.of({"uri": "a", "column": ["x"]})


def test_narrowing_forgets_what_was_counted() -> None:
    ref = DatasetRef(uri="a.parquet").resolve(digest="1" * 32, rows=9, schema={"a": "int", "b": "int"})
    for narrowed in (ref.select("a"), ref.where(("a", ">", 1))):
        assert not narrowed.resolved
        assert narrowed.rows is None
        assert narrowed.source_digest != ref.source_digest


def test_a_location_never_shows_credentials() -> None:
    ref = DatasetRef(uri="s3://key:secret@bucket/x.parquet")
    assert "secret" not in ref.location
    assert "secret" not in ref.label


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("a/b.CSV", "csv"), ("a.jsonl.gz", "jsonl"), ("a/*.parquet", "parquet"), ("folder/", "parquet")],
)
def test_the_format_follows_the_ending(uri: str, expected: str) -> None:
    assert DatasetRef(uri=uri).file_format == expected
