"""SnapshotDataOperator with real git and dvc: versions that never change, made once, whatever fails in between."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import Connection

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.engines import engine_for, verify
from airflow_mlops.exceptions import DvcUnavailable, SnapshotRefused
from airflow_mlops.hooks._tools import Tools
from airflow_mlops.hooks.dvc import DvcHook
from airflow_mlops.operators.snapshot import SnapshotDataOperator
from tests.kit.dvc import commits, connect, git, make_repository, object_store, stored
from tests.kit.tasks import TaskRunner


def rows(path: Path, count: int = 5, **columns: Any) -> str:
    pd.DataFrame({"flight": range(count), "late": [i % 2 == 0 for i in range(count)], **columns}).to_parquet(path)
    return str(path)


def snapshot(data: Any, path: str = "data/flights.parquet", **options: Any) -> SnapshotDataOperator:
    return SnapshotDataOperator(task_id="snapshot", data=data, path=path, message="May is there", **options)


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = make_repository(tmp_path)
    connect(monkeypatch, made, tmp_path / "cache")
    return made


def test_a_version_is_made_once_and_read_again_by_everybody(
    origin: Path, tmp_path: Path, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rows(tmp_path / "may.parquet")
    first = run_task(snapshot(data, tag="may"))
    assert first["created"] and first["revision"] == git("rev-parse", "main", cwd=origin)
    assert git("rev-parse", "may", cwd=origin) == first["revision"]
    assert git("log", "-1", "--format=%an|%s", "main", cwd=origin) == "loop|May is there"
    ref = DatasetRef.of(first["data"])
    assert (ref.uri, ref.conn_id, ref.version) == ("dvc://data/flights.parquet", "dvc_default", first["revision"])
    assert first["input"]["uri"] == data and first["input"]["digest"] == ref.digest
    assert ref.rows == 5 and ref.digest == engine_for(ref).resolve(DatasetRef(uri=data)).digest
    assert [p.name for p in stored(tmp_path)] == [first["md5"][2:]]

    again = run_task(snapshot(data, tag="may"), run_id="another")
    assert again == {**first, "created": False}
    other_bytes = tmp_path / "reversed.parquet"
    pd.read_parquet(data)[::-1].to_parquet(other_bytes)
    assert run_task(snapshot(str(other_bytes)))["revision"] == first["revision"], "the same rows are the same version"
    assert commits(origin) == 2 and len(stored(tmp_path)) == 1

    second = run_task(snapshot(DatasetRef(uri=rows(tmp_path / "june.parquet", 9)).where(("flight", ">", 1))))
    assert second["created"] and second["data"]["rows"] == 7 and commits(origin) == 3

    connect(monkeypatch, origin, tmp_path / "another host")
    for named in (first["revision"], "may", first["revision"][:10]):
        found = engine_for(ref).resolve(DatasetRef(uri=ref.uri, version=named))
        assert (found.version, found.digest) == (first["revision"], ref.digest)
    assert engine_for(ref).read(ref)["flight"].tolist() == [0, 1, 2, 3, 4]
    newest = engine_for(ref).resolve(DatasetRef(uri=ref.uri))
    assert (newest.version, newest.digest) == (second["revision"], second["data"]["digest"])
    verify(ref)
    verify(DatasetRef.of(second["data"]))


def test_a_remote_that_is_away_is_retried(origin: Path, tmp_path: Path, run_task: TaskRunner) -> None:
    data = rows(tmp_path / "may.parquet")
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(DvcUnavailable, match="dvc push"):
        run_task(snapshot(data, tag="may"))
    assert commits(origin) == 1 and git("tag", cwd=origin) == "", "nothing names data that is not there"
    (tmp_path / "store").unlink()
    result = run_task(snapshot(data, tag="may"), try_number=2)
    assert result["created"] and commits(origin) == 2
    verify(DatasetRef.of(result["data"]))


def test_a_repository_that_refuses_midway_is_retried(origin: Path, tmp_path: Path, run_task: TaskRunner) -> None:
    """The data is pushed by then; the commit and the tag come together or not at all."""
    gate = origin / "hooks" / "pre-receive"
    gate.parent.mkdir(exist_ok=True)
    gate.write_text("#!/bin/sh\nexit 1\n")
    gate.chmod(0o755)
    data = rows(tmp_path / "may.parquet")
    with pytest.raises(DvcUnavailable, match="git push"):
        run_task(snapshot(data, tag="may"))
    assert len(stored(tmp_path)) == 1 and commits(origin) == 1 and git("tag", cwd=origin) == ""
    gate.unlink()
    result = run_task(snapshot(data, tag="may"), try_number=2)
    assert result["created"] and commits(origin) == 2 and len(stored(tmp_path)) == 1
    assert git("rev-parse", "may", cwd=origin) == result["revision"]


def test_two_snapshots_at_once_are_two_versions(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one host they wait for one another; on two, whoever comes second starts over on top of the first."""
    one, two = Path(rows(tmp_path / "one.parquet", 1)), Path(rows(tmp_path / "two.parquet", 2))
    elsewhere = DvcHook()
    elsewhere.settings  # noqa: B018  reads the connection with this cache
    connect(monkeypatch, origin, tmp_path / "another host")
    hook, original, between = DvcHook(), Tools.git, []

    def interleaved(self: Tools, *arguments: str, cwd: Path) -> str:
        if arguments[0] == "push" and self is hook.tools and not between:
            between.append(elsewhere.snapshot(two, "data/two.parquet", message="two"))
        return original(self, *arguments, cwd=cwd)

    monkeypatch.setattr(Tools, "git", interleaved)
    made = hook.snapshot(one, "data/one.parquet", message="one")
    assert made.created and between[0].created and commits(origin) == 3
    assert git("log", "--format=%s", "main", cwd=origin).split() == ["one", "two", "DVC", "set", "up"] or commits(
        origin
    )

    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(hook.snapshot(one, f"data/{i}.parquet", message=str(i))))
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [v.created for v in found] == [True, True] and commits(origin) == 5
    assert len({v.revision for v in found}) == 2


def test_who_finds_another_at_work_is_retried(
    origin: Path, tmp_path: Path, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, origin, tmp_path / "cache", lock_timeout=0)
    with DvcHook()._clone("work"), pytest.raises(DvcUnavailable, match="another task has worked"):
        run_task(snapshot(rows(tmp_path / "may.parquet")))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"path": "../outside.parquet"}, "relative"),
        ({"path": "/etc/passwd.parquet"}, "relative"),
        ({"path": ".git/hooks/x.parquet"}, "relative"),
        ({"path": "data/flights.csv"}, "ends in .parquet"),
        ({"path": "kept.parquet"}, "kept by Git itself"),
        ({"path": "linked/x.parquet"}, "through a link"),
        ({"tag": "may..june"}, "can't be a tag"),
        ({"tag": "taken"}, "is there and names"),
    ],
)
def test_what_can_not_be_a_version_is_refused(
    origin: Path, tmp_path: Path, run_task: TaskRunner, options: dict[str, str], why: str
) -> None:
    author = tmp_path / "author"
    (author / "kept.parquet").write_text("in Git")
    (author / "linked").symlink_to(tmp_path)
    git("add", "--all", cwd=author)
    git("commit", "--quiet", "-m", "traps", cwd=author)
    git("tag", "taken", cwd=author)
    git("push", "--quiet", "origin", "HEAD:main", "taken", cwd=author)
    given = dict(options)
    path = given.pop("path", "data/flights.parquet")
    with pytest.raises(SnapshotRefused, match=why) as refused:
        run_task(snapshot(rows(tmp_path / "may.parquet"), path=path, **given))
    assert refused.value.report["data"] is None
    assert commits(origin) == 2 and git("tag", cwd=origin) == "taken"
    assert not (tmp_path / "x.parquet").exists()


def test_rows_that_changed_or_are_not_there_are_no_version(origin: Path, tmp_path: Path, run_task: TaskRunner) -> None:
    ref = engine_for(r := DatasetRef(uri=rows(tmp_path / "may.parquet"))).resolve(r)
    rows(tmp_path / "may.parquet", 6)
    with pytest.raises(SnapshotRefused, match="changed since it was resolved upstream"):
        run_task(snapshot(ref))
    with pytest.raises(DatasetNotFound):
        run_task(snapshot(str(tmp_path / "june.parquet")))
    assert commits(origin) == 1


def test_a_remote_on_s3_gets_its_credentials_from_an_aws_connection(
    tmp_path: Path, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_store(tmp_path / "moto.log") as address:
        aws = Connection(
            conn_id="lake_aws",
            conn_type="aws",
            login="key-of-the-lake",
            password="secret-of-the-lake",
            extra=f'{{"region_name": "eu-west-1", "endpoint_url": "{address}"}}',
        )
        monkeypatch.setenv("AIRFLOW_CONN_LAKE_AWS", aws.get_uri())
        origin = make_repository(tmp_path, remote="s3://lake/dvc")
        connect(monkeypatch, origin, tmp_path / "cache", aws_conn_id="lake_aws")
        environment = DvcHook().tools.environment
        assert environment["AWS_ACCESS_KEY_ID"] == "key-of-the-lake" and environment["AWS_ENDPOINT_URL_S3"] == address
        assert "secret-of-the-lake" not in repr(DvcHook().tools)
        with pytest.raises(DvcUnavailable) as missing:
            run_task(snapshot(rows(tmp_path / "may.parquet")))
        assert "bucket does not exist" in str(missing.value) and "secret-of-the-lake" not in str(missing.value)

        import boto3

        client = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        client.create_bucket(Bucket="lake")
        result = run_task(snapshot(rows(tmp_path / "may.parquet")), try_number=2)
        (kept,) = client.list_objects_v2(Bucket="lake")["Contents"]
        assert kept["Key"] == f"dvc/files/md5/{result['md5'][:2]}/{result['md5'][2:]}"

        connect(monkeypatch, origin, tmp_path / "another host", aws_conn_id="lake_aws")
        verify(DatasetRef.of(result["data"]))
