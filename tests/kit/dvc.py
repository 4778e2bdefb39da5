"""Real DVC repositories for tests: a bare Git repository with DVC set up in it, and a connection that names it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.kit.mlflow import free_port

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ROOT / ".venv" / "dvc" / "bin"
"""Where ``make test`` installs DVC, apart from Airflow."""

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(*arguments: str, cwd: Path) -> str:
    """``git <arguments>``; what it printed."""
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(folder: Path, *, remote: str = "", options: Mapping[str, str] | None = None) -> Path:
    """A bare repository ``folder/origin.git`` with the branch main, whose data is kept in ``folder/store``.

    :param remote: another place for the data.
    :param options: of DVC's remote.
    """
    origin = folder / "origin.git"
    origin.mkdir(parents=True)
    git("init", "--quiet", "--bare", "--initial-branch=main", cwd=origin)
    author = folder / "author"
    git("clone", "--quiet", str(origin), str(author), cwd=folder)
    git("checkout", "--quiet", "-B", "main", cwd=author)
    (author / ".dvc").mkdir()
    settings = {"url": remote or str(folder / "store"), **(options or {})}
    lines = "".join(f"    {k} = {v}\n" for k, v in settings.items())
    (author / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n{lines}")
    (author / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (author / ".dvcignore").write_text("")
    publish(author, "DVC set up")
    return origin


def publish(author: Path, message: str) -> str:
    """Everything in the author's clone as a commit of main; its revision."""
    git("add", "--all", cwd=author)
    git("commit", "--quiet", "-m", message, cwd=author)
    git("push", "--quiet", "origin", "HEAD:main", cwd=author)
    return git("rev-parse", "HEAD", cwd=author)


def dvc(*arguments: str, cwd: Path) -> str:
    """``dvc <arguments>``, as a person at the author's clone."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(cwd.parent / "site")}
    done = subprocess.run([PROGRAMS / "dvc", *arguments], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def connect(patch: Any, origin: Path | str, cache: Path, conn_id: str = "dvc_default", **extra: Any) -> None:
    """The connection of a repository, and this test's own cache."""
    value = {"conn_type": "dvc", "host": str(origin), "login": "loop", "extra": extra}
    patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))
    patch.setenv("AIRFLOW__MLOPS__DVC_EXECUTABLE", str(PROGRAMS / "dvc"))
    patch.setenv("AIRFLOW__MLOPS__DVC_CACHE", str(cache))


def commits(origin: Path) -> int:
    """Commits of main."""
    return int(git("rev-list", "--count", "main", cwd=origin))


def stored(folder: Path) -> list[Path]:
    """The files that the remote ``folder/store`` has."""
    return sorted(p for p in (folder / "store").rglob("*") if p.is_file())


@contextlib.contextmanager
def object_store(log: Path) -> Iterator[str]:
    """An S3 of moto's server, in a process of its own; its address."""
    port = free_port()
    with log.open("ab") as out:
        command = [str(PROGRAMS / "moto_server"), "-p", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.1)  # between two looks at a process that is starting; nothing else announces it
        yield address
    finally:
        process.kill()
        process.wait()
