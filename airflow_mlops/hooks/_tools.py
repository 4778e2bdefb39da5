"""Running ``git`` and ``dvc``: programs of their own, with an environment of their own, never longer than allowed."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_mlops.core.errors import UsageError
from airflow_mlops.exceptions import DvcUnavailable

LOOK = 0.1
"""Seconds between two looks at a lock that somebody else holds."""


class ToolFailed(Exception):
    """A program ended with an error; private to the hook, which knows what it means.

    :param text: the end of what it said, without secrets.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tools:
    """How the programs are called for one connection.

    :param conn_id: the connection, for messages.
    :param dvc: the executable of DVC.
    :param environment: variables on top of this process's own; credentials are here and nowhere else.
    :param secrets: what must not appear in a message.
    :param timeout: seconds that one call may take.
    """

    conn_id: str
    dvc: str = "dvc"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    secrets: Sequence[str] = dataclasses.field(default=(), repr=False)
    timeout: float = 3600.0

    def git(self, *arguments: str, cwd: Path) -> str:
        """``git <arguments>``; what it printed.

        :raises ToolFailed: with what it said.
        """
        return self.run("git", *arguments, cwd=cwd)

    def run(self, program: str, *arguments: str, cwd: Path) -> str:
        """A program, its whole process group ended when this ends early.

        :raises UsageError: when it is not installed.
        :raises DvcUnavailable: when it takes too long.
        :raises ToolFailed: when it fails.
        """
        try:
            process = subprocess.Popen(
                [program, *arguments],
                cwd=cwd,
                env={**os.environ, **QUIET, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            hint = "install it with its remotes (for example pipx install 'dvc[s3]'), or set [mlops] dvc_executable"
            raise UsageError(f"{program!r} can't be run ({error.strerror or error}): {hint}") from error
        try:
            out, err = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            text = f"{Path(program).name} {arguments[0]} took longer than {self.timeout:g} s"
            raise DvcUnavailable(self.conn_id, text) from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            said = " ".join((err.strip() or out.strip()).split())[-600:] or f"exit code {process.returncode}"
            raise ToolFailed(self.scrub(f"{Path(program).name} {arguments[0]}: {said}"))
        return out

    def scrub(self, text: str) -> str:
        """``text`` without the connection's secrets."""
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    @contextlib.contextmanager
    def locked(self, path: Path, patience: float) -> Iterator[None]:
        """Alone with a folder, on this host.

        :param path: the lock's file; a process that dies lets go of it.
        :param patience: seconds to wait for whoever has it.
        :raises DvcUnavailable: when they still have it then.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + patience
        with path.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= until:
                        text = f"another task has worked with the repository for more than {patience:g} s"
                        raise DvcUnavailable(self.conn_id, text) from None
                    time.sleep(LOOK)
            yield


QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C.UTF-8",
    "DVC_NO_ANALYTICS": "1",
}
"""No questions, no helper programs that a URL could name, no reports to anybody."""


def basic_login(url: str, login: str, password: str) -> dict[str, str]:
    """Environment with which git logs in at the repository's own host, and at no other.

    >>> basic_login("https://git.example.org/data.git", "me", "pw")["GIT_CONFIG_KEY_0"]
    'http.https://git.example.org/.extraHeader'
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not password:
        return {}
    token = base64.b64encode(f"{login}:{password}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
    }


def aws_environment(conn_id: str) -> dict[str, str]:
    """Credentials and endpoint of an AWS connection, as the variables that the S3 remote's client reads."""
    if not conn_id:
        return {}
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    hook: Any = AwsGenericHook(aws_conn_id=conn_id, client_type="s3")
    keys = hook.get_credentials()
    found = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
        "AWS_DEFAULT_REGION": hook.region_name,
        "AWS_ENDPOINT_URL_S3": hook.conn_config.get_service_endpoint_url("s3"),
    }
    return {k: str(v) for k, v in found.items() if v}
