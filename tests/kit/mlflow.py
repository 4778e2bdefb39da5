"""A real MLflow for tests: a server process on SQLite, or a file of its own per test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


class MlflowServer:
    """One ``mlflow server``: one worker, its own process group, artifacts through the server.

    :param folder: where its database, artifacts and log are.
    :param port: the port to listen on; 0: a free one.
    :param store: the database's URI; empty: SQLite in ``folder``.

    :ivar uri: its address, once :meth:`start` has returned.
    """

    def __init__(self, folder: Path, port: int = 0, store: str = "") -> None:
        self.folder = folder
        self.store = store
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, patience: float = 120) -> MlflowServer:
        """Start it and wait until it answers.

        :raises RuntimeError: with the end of its log, when it dies or does not answer in ``patience`` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        database = self.folder / "mlflow.db"
        if not self.store and not database.exists() and (template := _TEMPLATE.get("path")):
            shutil.copy(template, database)
        log = self.folder / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store or f"sqlite:///{database}"]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, env={**os.environ, **QUIET_MLFLOW}
            )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._answers():
                return self
            time.sleep(0.1)  # between two looks at a process that is starting; nothing else announces it
        self.stop()
        raise RuntimeError(f"mlflow server did not come up:\n{log.read_text()[-3000:]}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """As :meth:`stop`, with ``SIGKILL`` at once: no request that is under way is finished."""
        self.stop(signal.SIGKILL)

    def stop(self, *signals: int) -> None:
        """End the whole process group; harmless when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in signals or (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)


QUIET_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""No telemetry, and no job workers beside the server: they are half a dozen processes that nothing here uses."""

_TEMPLATE: dict[str, Path] = {}


def template_database(folder: Path) -> Path:
    """An empty, migrated MLflow database, made once a session: migrating takes seconds, copying does not."""
    path = _TEMPLATE.get("path")
    if path is None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        path = folder / "template.db"
        store = SqlAlchemyStore(f"sqlite:///{path}", str(folder / "artifacts"))
        store.engine.dispose()
        _TEMPLATE["path"] = path
    return path


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def running_server(folder: Path, store: str = "") -> Iterator[MlflowServer]:
    """A server that is stopped when the block ends, whatever happens in it."""
    server = MlflowServer(folder, store=store)
    try:
        yield server.start()
    finally:
        server.stop()
