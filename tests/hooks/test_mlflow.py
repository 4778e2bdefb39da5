"""MlflowHook against a real MLflow: an HTTP server for what goes over the wire, SQLite for the rest."""

from __future__ import annotations

import pytest

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.hooks.mlflow import MlflowHook


@pytest.fixture(params=["server", "embedded"])
def hook(request: pytest.FixtureRequest) -> MlflowHook:
    """The hook on both kinds of store: their answers differ in types and in what they leave out."""
    request.getfixturevalue("mlflow_server" if request.param == "server" else "mlflow_local")
    return MlflowHook()


def record(key: str, *, model: str, kind: str = "gate", at: str = "2013-05-01", **changes: object) -> Record:
    return Record(kind=kind, model=model, key=key, outcome="pass", at=at, body={"reasons": [key]}, **changes)  # type: ignore[arg-type]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return f"m-{abs(hash(request.node.name)) % 10**8}"


def test_a_record_is_written_once_and_read_back_whole(hook: MlflowHook, model: str) -> None:
    first = hook.record(
        record("k1", model=model, metrics={"auc": 0.7, "nan": float("nan")}, subject="3"),
        artifacts={"plots/roc.svg": "<svg/>", "raw.bin": b"\x00\x01"},
        dag_run={"dag_id": "train", "run_id": "r1", "task_id": "gate"},
    )
    again = hook.record(record("k1", model=model, subject="3"))
    assert again == first
    assert first.run_id and first.metrics == {"auc": 0.7}
    assert hook.find_record(model, "gate", "k1") == first == hook.find_record_by_run(first.run_id)
    assert hook.find_record(model, "gate", "other") is None
    assert hook.find_record(model, "drift", "k1") is None
    assert hook.read_text(first.run_id, "plots/roc.svg") == "<svg/>"
    assert hook.read_json(first.run_id, "record.json") == {"reasons": ["k1"]}
    run = hook.get_conn().get_run(first.run_id)
    assert run.data.tags["mlops.dag_id"] == "train" and run.data.tags["mlops.backfill"] == "false"
    assert run.info.status == "FINISHED"


def test_history_is_newest_first_and_complete(hook: MlflowHook, model: str) -> None:
    long = Record(kind="drift", model=model, key="long", outcome="failed", at="2013-04-01", body={"t": "x" * 9000})
    hook.record(record("b", model=model, at="2013-03-01"))
    hook.record(long)
    hook.record(record("c", model=model, at="2013-05-01", backfill=True))
    hook.record(record("e", model=model, kind="retraining", at="2013-06-01"))
    found = hook.history(model)
    assert [r.key for r in found] == ["e", "c", "long", "b"]
    assert found[2].body == long.body
    assert found[1].backfill and not found[3].backfill
    assert [r.key for r in hook.history(model, kinds=("gate",))] == ["c", "b"]
    assert [r.key for r in hook.history(model, kinds=("gate", "drift"), limit=2)] == ["c", "long"]
    assert hook.history(model, limit=1)[0].key == "e"
    with pytest.raises(UnknownName, match="kind of record"):
        hook.history(model, kinds=("gates",))


def test_a_half_written_record_is_never_found(hook: MlflowHook, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(hook), "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            hook.record(record("k", model=model))
    assert hook.find_record(model, "gate", "k") is None
    assert hook.history(model) == []
    assert hook.record(record("k", model=model)).run_id == hook.history(model)[0].run_id


def test_nothing_there_is_none_and_not_an_error(hook: MlflowHook, model: str) -> None:
    assert hook.history(model) == []
    assert hook.version(model, "1") is None
    assert hook.by_alias(model, "champion") is None
    assert hook.versions(model) == []
    assert hook.find_version(model, "key") is None
    assert hook.read_json("0" * 32, "record.json") is None
    assert hook.find_record_by_run("0" * 32) is None
    hook.delete_alias(model, "champion")
    with pytest.raises(UsageError):
        hook.version(model, "champion")


def test_versions_and_aliases_are_text_and_complete(hook: MlflowHook, model: str) -> None:
    hook.ensure_model(model)
    hook.ensure_model(model)
    assert hook.by_alias(model, "champion") is None
    client = hook.get_conn()
    for key in ("k1", "k2", "k2"):
        client.create_model_version(model, "s3://nowhere/model", tags={"mlops.training_key": key})
    hook.set_alias(model, "champion", "1")
    hook.set_alias(model, "challenger", 2)
    hook.set_alias(model, "shadow", 2)
    champion = hook.by_alias(model, "champion")
    assert champion is not None and champion.version == "1" and champion.aliases == ("champion",)
    assert [(v.version, v.aliases) for v in hook.versions(model)] == [
        ("3", ()),
        ("2", ("challenger", "shadow")),
        ("1", ("champion",)),
    ]
    assert [v.version for v in hook.versions(model, limit=1)] == ["3"]
    found = hook.find_version(model, "k2")
    assert found is not None and found.version == "2" and found.aliases == ("challenger", "shadow")
    hook.tag_version(model, "2", {"pinned": "rolled back", "team.owner": "ann"})
    tagged = hook.version(model, "2")
    assert tagged is not None and tagged.tag("pinned") == "rolled back" and tagged.tags["team.owner"] == "ann"
    assert {"champion": "1", "challenger": "2", "shadow": "2"} in [m["aliases"] for m in hook.models()]
    hook.delete_alias(model, "champion")
    assert hook.by_alias(model, "champion") is None
    with pytest.raises(UsageError):
        hook.set_alias(model, "champion", "9")
    with pytest.raises(UsageError):
        hook.tag_version(model, "9", {"a": "b"})
