"""Files in S3 through the Airflow AWS connection: moto's server, a process of its own, is the store."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DataError, DatasetNotFound, SourceUnavailable, UsageError
from airflow_mlops.core.expectations import Expectation
from airflow_mlops.engines import FileEngine, FrameEngine, judging, locate, s3, verify
from tests.engines.test_engines import FRAME, sample
from tests.kit.dvc import object_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket that keeps versions (``kept``) and one that does not (``plain``), behind the connection ``store``."""
    import boto3

    log = tmp_path_factory.mktemp("s3") / "moto.log"
    with object_store(log) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_STORE", _connection(address))
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        for bucket in ("kept", "plain"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
        yield client


def _connection(address: str, login: str = "a") -> str:
    extra = {
        "endpoint_url": address,
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"total_max_attempts": 1}},
    }
    return json.dumps({"conn_type": "aws", "login": login, "password": "hush", "extra": extra})


def _put(client: Any, path: str, frame: pd.DataFrame | bytes) -> None:
    bucket, _, key = path.partition("/")
    body = frame if isinstance(frame, bytes) else _parquet(frame)
    client.put_object(Bucket=bucket, Key=key, Body=body)


def _parquet(frame: pd.DataFrame, **options: Any) -> bytes:
    into = io.BytesIO()
    frame.to_parquet(into, index=False, **options)
    return into.getvalue()


def _ref(uri: str, **more: Any) -> DatasetRef:
    return DatasetRef(uri=f"s3://{uri}", conn_id="store", **more)


def test_objects_are_the_same_rows_as_files(store: Any, tmp_path: Path) -> None:
    frame, engine = sample(), FileEngine()
    _put(store, "plain/one.parquet", frame)
    _put(store, "plain/months/month=1/a.parquet", frame[:20])
    _put(store, "plain/months/month=2/b.parquet", frame[20:])
    _put(store, "plain/months/month=2/.hidden.parquet", frame)
    _put(store, "plain/months/_SUCCESS", b"")
    plain = sample()[["id", "delay", "late"]]
    _put(store, "plain/rows.csv", plain.to_csv(index=False).encode())
    _put(store, "plain/rows.jsonl", plain.to_json(orient="records", lines=True).encode())
    _put(store, "plain/rows.csv.gz", gzip.compress(plain.to_csv(index=False).encode()))
    expected = FrameEngine(frame).resolve(FRAME)
    one = engine.resolve(_ref("plain/one.parquet"))
    assert (one.digest, one.rows, one.version) == (expected.digest, 60, "")
    assert engine.profile(one).columns == FrameEngine(frame).profile(FRAME).columns
    for uri in ("plain/months", "plain/months/", "plain/months/month=*/*.parquet", "plain/months/**/*.parquet"):
        folder = engine.resolve(_ref(uri))
        assert (folder.rows, list(folder.schema)[-1]) == (60, "month"), uri
        assert engine.resolve(folder.select(*expected.schema)).digest == expected.digest
    assert engine.resolve(_ref("plain/months").where(("month", "=", 1))).rows == 20
    for name in ("rows.csv", "rows.csv.gz", "rows.jsonl"):
        found = engine.resolve(_ref(f"plain/{name}"))
        assert found.digest == FrameEngine(plain).resolve(FRAME).digest, name
    pd.testing.assert_frame_equal(engine.read(one), FrameEngine(frame).read(FRAME))


def test_the_version_of_an_object_is_recorded_and_read_back(store: Any) -> None:
    _put(store, "kept/a.parquet", sample())
    first = FileEngine().resolve(_ref("kept/a.parquet"))
    (listed,) = store.list_object_versions(Bucket="kept", Prefix="a.parquet")["Versions"]
    assert first.version == listed["VersionId"]
    _put(store, "kept/a.parquet", sample()[:7])
    second = FileEngine().resolve(_ref("kept/a.parquet"))
    assert (second.rows, second.version != first.version) == (7, True)
    verify(first)  # still these rows, whatever came later
    again = DatasetRef.from_dict(first.to_dict())
    assert len(FileEngine().read(again)) == 60 and FileEngine().resolve(again).version == first.version
    store.delete_object(Bucket="kept", Key="a.parquet")
    verify(first)
    with pytest.raises(DatasetNotFound):
        FileEngine().resolve(_ref("kept/a.parquet"))
    store.delete_object(Bucket="kept", Key="a.parquet", VersionId=first.version)
    with pytest.raises(Conflict, match="no version"):
        FileEngine().resolve(first)


@pytest.mark.parametrize("uri", ["kept/lake", "kept/lake/*/*.parquet"])
def test_the_versions_of_a_folder_are_recorded_and_read_back(store: Any, uri: str) -> None:
    for old in store.list_object_versions(Bucket="kept", Prefix="lake/").get("Versions", ()):
        store.delete_object(Bucket="kept", Key=old["Key"], VersionId=old["VersionId"])
    for month in (1, 2, 3):
        _put(store, f"kept/lake/month={month}/a.parquet", sample()[:month])
    first = FileEngine().resolve(_ref(uri))
    assert (first.rows, "#" in first.version) == (6, True)
    _put(store, "kept/lake/month=2/a.parquet", sample()[:30])  # replaced,
    store.delete_object(Bucket="kept", Key="lake/month=3/a.parquet")  # deleted,
    _put(store, "kept/lake/month=4/a.parquet", sample()[:9])  # added, all within a second or not
    _put(store, "kept/lake/notes.txt", b"no part of it")
    second = FileEngine().resolve(_ref(uri))
    assert second.rows == 1 + 30 + 9 and second.version != first.version
    verify(first)
    verify(second)
    assert FileEngine().resolve(first.where(("month", ">", 1))).rows == 5
    history = store.list_object_versions(Bucket="kept", Prefix="lake/month=2/")["Versions"]
    store.delete_object(Bucket="kept", Key=history[-1]["Key"], VersionId=history[-1]["VersionId"])
    with pytest.raises(Conflict, match="can't be had again"):
        FileEngine().resolve(first)
    verify(second)
    with pytest.raises((UsageError, Conflict), match=r"is of one object|no version 'abc'"):
        FileEngine().resolve(dataclasses.replace(second, version="abc"))


def test_only_the_columns_that_count_are_fetched_and_each_byte_once(store: Any) -> None:
    rng = np.random.default_rng(1)
    wide = pd.DataFrame({f"c{i}": rng.normal(size=60_000) for i in range(20)})
    content = _parquet(wide, row_group_size=60_000)
    _put(store, "plain/wide.parquet", content)
    ref = _ref("plain/wide.parquet")
    seen: list[s3.S3Files] = []
    with pytest.MonkeyPatch.context() as patch:
        init = s3.S3Files.__init__
        patch.setattr(s3.S3Files, "__init__", lambda self, *a, **k: (init(self, *a, **k), seen.append(self))[0])
        FileEngine().resolve(ref)
        whole = seen.pop().fetched
        FileEngine().resolve(ref.select("c3"))
        one = seen.pop().fetched
    assert whole <= 1.5 * len(content) + 4 * s3.BLOCK
    assert one <= len(content) / 20 + 4 * s3.BLOCK < len(content) / 2


def test_folders_that_filters_rule_out_are_not_fetched(store: Any) -> None:
    for month in range(1, 7):
        _put(store, f"plain/year/month={month}/a.parquet", sample())
    _put(store, "plain/year/month=7/a.parquet", b"not Parquet: whoever opens it fails")
    ref = _ref("plain/year")
    assert len(locate.locate(ref.where(("month", "in", [2, 3]))).paths) == 2
    assert FileEngine().resolve(ref.where(("month", "<", 7), ("month", "!=", 1))).rows == 5 * 60
    with pytest.raises(DataError, match=r"month=7/a\.parquet is not a whole Parquet file"):
        FileEngine().resolve(ref)


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(store: Any) -> None:
    _put(store, "plain/moving.parquet", sample())
    ref = _ref("plain/moving.parquet")
    with pytest.raises(DataError, match="replaced while it was read"), FileEngine().open(ref) as source:
        _put(store, "plain/moving.parquet", sample(61))
        source.fetch("count(*), sum(id)")
    suite = [Expectation(type="expect_column_values_to_not_be_null", kwargs={"column": "id"})]
    with pytest.raises(DataError, match="replaced while it was read"), FileEngine().open(ref) as source:
        _put(store, "plain/moving.parquet", sample(62))
        judging.judge(source, suite)  # which takes a check that fails to count for that check's error


def test_what_is_not_there_is_named(store: Any) -> None:
    for uri in ("plain/gone.parquet", "plain/gone/*.parquet", "plain/gone/"):
        with pytest.raises(DatasetNotFound, match="Has the data landed"):
            FileEngine().resolve(_ref(uri))
    with pytest.raises(DataError, match="no-such-bucket"):
        FileEngine().resolve(_ref("no-such-bucket/x"))


@contextlib.contextmanager
def _watchful(store: Any) -> Iterator[tuple[str, str]]:
    """The store asks for rights from now on; the keys of somebody who may list folders and nothing else."""
    import boto3

    address = store.meta.endpoint_url
    iam = boto3.client(
        "iam", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    iam.create_user(UserName="guest")
    made = iam.create_access_key(UserName="guest")["AccessKey"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}
    iam.put_user_policy(UserName="guest", PolicyName="list", PolicyDocument=json.dumps(policy))
    _post(f"{address}/moto-api/reset-auth", b"0")
    try:
        yield made["AccessKeyId"], made["SecretAccessKey"]
    finally:
        _post(f"{address}/moto-api/reset-auth", b"1000000")


def _post(address: str, body: bytes) -> None:
    asked = urllib.request.Request(address, data=body, method="POST", headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(asked, timeout=10).close()


def test_a_forbidden_object_is_an_error_that_says_which_right(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(store, "kept/secret/a.parquet", sample())
    with _watchful(store) as (login, password):
        connection = {**json.loads(_connection(store.meta.endpoint_url)), "login": login, "password": password}
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
        for uri in ("kept/secret/a.parquet", "kept/secret", "kept/secret/*.parquet"):
            with pytest.raises(DataError, match=r"forbidden.*s3:GetObject") as told:
                FileEngine().resolve(_ref(uri))
            assert password not in str(told.value)
        listed = locate.locate(_ref("kept/secret"), versions=True)  # the right to list versions is another one
        assert (len(listed.paths), listed.version) == (1, "")
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps({**connection, "login": "nobody"}))
        with pytest.raises(DataError, match="forbidden"):
            FileEngine().resolve(_ref("kept/secret"))


def test_a_store_that_does_not_answer_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", _connection("http://127.0.0.1:1"))
    with pytest.raises(SourceUnavailable, match="Try again"):
        FileEngine().resolve(_ref("plain/one.parquet"))
