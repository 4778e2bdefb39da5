"""DvcHook with real git and dvc: a path at a revision, verified, or refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DataError, DatasetNotFound, UsageError
from airflow_mlops.engines import engine_for
from airflow_mlops.exceptions import DvcUnavailable
from airflow_mlops.hooks._dvc_files import checked, content_md5
from airflow_mlops.hooks._tools import basic_login
from airflow_mlops.hooks.dvc import DvcHook
from tests.kit.dvc import PROGRAMS, connect, dvc, git, make_repository, publish, stored


@pytest.fixture(scope="module")
def authored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository as a person makes it with DVC: a file, a folder, a file in Git; and the revision."""
    folder = tmp_path_factory.mktemp("authored")
    make_repository(folder)
    author = folder / "author"
    (author / "data").mkdir()
    (author / "data" / "may.csv").write_text("flight,late\n1,true\n2,false\n")
    (author / "months").mkdir()
    for month, rows in (("b", 2), ("a", 1)):
        (author / "months" / f"{month}.csv").write_text("flight\n" + "7\n" * rows)
    (author / "readme.csv").write_text("in,Git\n1,2\n")
    dvc("add", "--quiet", "data/may.csv", "months", cwd=author)
    dvc("push", "--quiet", cwd=author)
    revision = publish(author, "May and the months")
    git("tag", "v1", cwd=author)
    git("push", "--quiet", "origin", "v1", cwd=author)
    return folder, revision


@pytest.fixture
def hook(authored: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DvcHook:
    connect(monkeypatch, authored[0] / "origin.git", tmp_path / "cache")
    return DvcHook()


def test_a_file_is_fetched_once_and_has_the_hash_of_its_revision(hook: DvcHook, authored: tuple[Path, str]) -> None:
    found = hook.fetch("data/may.csv", "v1")
    assert found.path.read_text() == "flight,late\n1,true\n2,false\n"
    assert found.revision == authored[1] and found.md5 == content_md5(found.path)
    assert not found.path.stat().st_mode & stat.S_IWUSR, "nobody changes what others have as well"
    before = found.path.stat().st_ino
    (remote,) = [p for p in stored(authored[0]) if p.name == found.md5[2:]]
    content = remote.read_bytes()
    remote.chmod(0o644)
    remote.write_bytes(b"flight,late\n1,true\n2,true\n")
    try:
        assert hook.fetch("data/may.csv", authored[1]).path.stat().st_ino == before, "from this host's own cache"
        found.path.chmod(0o644)
        found.path.write_text("flight,late\n9,true\n")
        with pytest.raises(Conflict, match="behind the version's back"):
            hook.fetch("data/may.csv", "v1")
        remote.write_bytes(content)
        assert hook.fetch("data/may.csv", "v1").path.read_bytes() == content, "a damaged copy heals itself"
    finally:
        remote.write_bytes(content)


def test_a_folder_and_a_file_of_it_are_datasets(hook: DvcHook, authored: tuple[Path, str]) -> None:
    months = engine_for(ref := DatasetRef(uri="dvc://months", version="v1", format="csv")).resolve(ref)
    assert (months.rows, months.version) == (3, authored[1])
    one = engine_for(ref := DatasetRef(uri="dvc://months/b.csv", version="v1")).resolve(ref)
    assert (one.rows, one.version) == (2, authored[1])
    assert hook.tracked("months", authored[1]).md5.endswith(".dir")


def test_what_is_not_there_is_said(hook: DvcHook, authored: tuple[Path, str]) -> None:
    with pytest.raises(DatasetNotFound, match="no revision 'v2'; its newest tags are v1"):
        hook.revision("v2")
    with pytest.raises(DatasetNotFound, match="no revision"):
        hook.revision("0" * 40)
    with pytest.raises(DatasetNotFound, match="DVC tracks no such file"):
        hook.fetch("data/june.csv", "v1")
    with pytest.raises(DatasetNotFound, match="DVC tracks no such file"):
        hook.fetch("readme.csv", "v1")
    assert issubclass(DatasetNotFound, DataError)


def test_a_branch_and_nothing_mean_the_newest(hook: DvcHook, authored: tuple[Path, str]) -> None:
    assert hook.revision() == hook.revision("main") == hook.revision("v1") == hook.revision(authored[1][:8])


@pytest.mark.parametrize("revision", ["--upload-pack=evil", "main:data", "HEAD~1", "a b", "v1^{tree}", "a..b"])
def test_a_revision_is_a_name_and_no_expression(hook: DvcHook, revision: str) -> None:
    with pytest.raises(UsageError, match="a tag, a branch or a commit"):
        hook.revision(revision)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "-o", ".git/config", ".dvc/config", "x.dvc", "a\nb"]
)
def test_a_path_stays_in_the_repository(path: str) -> None:
    with pytest.raises(UsageError, match="relative"):
        checked(path)


def test_the_button_of_the_connection_tells(
    hook: DvcHook, authored: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok, text = hook.test_connection()
    assert ok and "DVC is 3." in text
    connect(monkeypatch, authored[0] / "origin.git", tmp_path / "cache")
    monkeypatch.setenv("AIRFLOW__MLOPS__DVC_EXECUTABLE", str(PROGRAMS / "no-such-dvc"))
    ok, text = DvcHook().test_connection()
    assert not ok and "pipx install 'dvc[s3]'" in text
    connect(monkeypatch, tmp_path / "nowhere.git", tmp_path / "cache")
    ok, text = DvcHook().test_connection()
    assert not ok and "nowhere.git" in text


def test_a_token_reaches_its_host_only_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "http://127.0.0.1:9/team/data.git", tmp_path / "cache")
    value = {"conn_type": "dvc", "host": "http://127.0.0.1:9/team/data.git", "login": "me", "password": "glpat-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_DVC_DEFAULT", json.dumps(value))
    hook = DvcHook()
    environment = hook.tools.environment
    assert environment["GIT_CONFIG_KEY_0"] == "http.http://127.0.0.1:9/.extraHeader"
    token = environment["GIT_CONFIG_VALUE_0"].rsplit(" ", 1)[-1]
    assert "glpat-secret" not in repr(hook.tools) and token not in repr(hook.tools)
    with pytest.raises(DvcUnavailable) as error:
        hook.fetch("data/may.csv")
    assert "127.0.0.1" in str(error.value) and "glpat-secret" not in str(error.value) and token not in str(error.value)
    assert hook.tools.scrub(f"bad {token} and glpat-secret") == "bad *** and ***"
    assert basic_login("ssh://git@example.org/data.git", "me", "pw") == {}


def test_a_program_that_hangs_is_ended(hook: DvcHook, tmp_path: Path) -> None:
    import dataclasses

    tools = dataclasses.replace(hook.tools, timeout=0.2)
    with pytest.raises(DvcUnavailable, match=r"sleep 600 took longer than 0\.2 s"):
        tools.run("sleep", "600", cwd=tmp_path)


def test_a_repository_without_dvc_and_an_empty_one_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, files in (("plain", ["readme"]), ("empty", [])):
        bare = tmp_path / f"{name}.git"
        git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), cwd=tmp_path)
        for file in files:
            author = tmp_path / "author"
            git("clone", "--quiet", str(bare), str(author), cwd=tmp_path)
            git("checkout", "--quiet", "-B", "main", cwd=author)
            (author / file).write_text("x")
            publish(author, "x")
        connect(monkeypatch, bare, tmp_path / "cache")
        source = tmp_path / "rows.csv"
        source.write_text("a\n1\n")
        with pytest.raises(UsageError, match="has no DVC" if files else "is empty"):
            DvcHook().snapshot(source, "rows.csv", message="rows")


def test_another_type_of_connection_is_no_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps({"conn_type": "mlflow", "host": "http://127.0.0.1:9"}))
    with pytest.raises(UsageError, match="not of the type dvc"):
        engine_for(ref := DatasetRef(uri="dvc://data/may.csv", conn_id="lake")).resolve(ref)


def test_a_connection_without_a_repository_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ({"conn_type": "dvc"}, {"conn_type": "dvc", "host": "--upload-pack=evil"}):
        monkeypatch.setenv("AIRFLOW_CONN_DVC_DEFAULT", json.dumps(value))
        with pytest.raises(UsageError, match="names no Git repository"):
            hook: Any = DvcHook()
            hook.settings  # noqa: B018
