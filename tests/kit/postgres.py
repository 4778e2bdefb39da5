"""A real PostgreSQL for tests: a server of the session's own, with its texts sorted as people sort them.

The binaries are the machine's. Without any, as root, Debian's package is installed; a server does not run as root,
so that it is started as another user, in a folder of that user's.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit.mlflow import free_port

USER = "lake"


class PostgresServer:
    """One server: its own folder, port and process group; no durability.

    :ivar uri: its address, once :meth:`start` has returned.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.uri = f"postgresql://{USER}@127.0.0.1:{self.port}/lake"
        self.folder = Path(tempfile.mkdtemp(prefix="airflow-mlops-postgres-"))
        self._bin = _binaries()
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            name = next(u.pw_name for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            owner = pwd.getpwnam(name)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def airflow_connection(self) -> str:
        """The Airflow connection, as JSON for ``AIRFLOW_CONN_*``."""
        parts = {"conn_type": "postgres", "host": "127.0.0.1", "port": self.port, "login": USER, "schema": "lake"}
        return json.dumps(parts)

    def start(self, *, patience: float = 60) -> PostgresServer:
        """Start it and wait until it answers.

        :raises RuntimeError: with the end of its log, when it does not come up in ``patience`` seconds.
        """
        data, log = self.folder / "data", self.folder / "log"
        # A locale of people, not of bytes: what relies on the order of bytes has to say so.
        locale = ["--locale-provider=icu", "--icu-locale=de", "--locale=C.UTF-8", "-E", "UTF8"]
        made = [str(self._bin / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "--no-sync", *locale]
        done = subprocess.run(made, capture_output=True, text=True, cwd=self.folder, **self._as)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
            "timezone": "Asia/Tokyo",
        }
        command = [str(self._bin / "postgres"), "-D", str(data)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.folder, start_new_session=True, **self._as
            )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return self
            time.sleep(0.05)  # between two looks at a process that is starting; nothing else announces it
        told = log.read_text()[-3000:]
        self.stop()
        raise RuntimeError(f"postgres did not come up:\n{told}")

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            address = self.uri.removesuffix("/lake") + "/postgres"
            with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
                connection.execute("CREATE DATABASE lake")
                return True
        return False

    def connect(self) -> Any:
        """A connection of one's own, to fill tables with; every statement is committed."""
        import psycopg

        return psycopg.connect(self.uri, autocommit=True)

    def stop(self) -> None:
        """End it, its clients too, and take its folder away; harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGQUIT, signal.SIGKILL):  # at once: nothing of it is kept
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                    break
        shutil.rmtree(self.folder, ignore_errors=True)


def _binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``; installs Debian's package where there is none and it is allowed."""
    for attempt in ("look", "install"):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4].split(".")[0]))
        if found:
            return found[-1].parent
        if on_path := shutil.which("initdb"):
            return Path(on_path).resolve().parent
        if attempt == "look" and os.geteuid() == 0 and shutil.which("apt-get"):
            quiet: dict[str, Any] = {
                "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                "stdout": subprocess.DEVNULL,
            }
            subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)
            subprocess.run(["apt-get", "install", "-yq", "--no-install-recommends", "postgresql"], check=False, **quiet)
    raise RuntimeError("no PostgreSQL server is installed: apt-get install postgresql, or put initdb on the PATH")


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that is stopped when the block ends, whatever happens in it."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()
