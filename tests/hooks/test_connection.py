"""The connection: credentials reach requests to their server and nothing else; what does not answer says so quickly."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks._client import Settings, header_for, settings_of_connection
from airflow_mlops.hooks.mlflow import MlflowHook

PASSWORD = "s3cret/p@ss"
TOKEN = "tok-0123456789-abcdef"
BASIC = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()


class Gate(BaseHTTPRequestHandler):
    """Passes a request on to the server behind it when it carries the right header; else answers 401."""

    server: Guarded
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(length)
        got = self.headers.get("Authorization", "")
        self.server.seen.append((self.path, got))
        if self.server.status is not None:
            self._send(self.server.status, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}')
        elif got != self.server.wanted:
            self._send(401, f"not authenticated with {got}".encode())  # servers do say too much
        else:
            headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")}
            request = urllib.request.Request(
                self.server.behind + self.path, data=body or None, headers=headers, method=self.command
            )
            try:
                with urllib.request.urlopen(request) as answer:
                    self._send(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
            except urllib.error.HTTPError as error:
                self._send(error.code, error.read(), error.headers.get("Content-Type", ""))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Not into the test's output."""


class Guarded(ThreadingHTTPServer):
    """An HTTP server that demands credentials, before another."""

    daemon_threads = True

    def __init__(self, behind: str = "", wanted: str = "", status: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Gate)
        self.behind, self.wanted, self.status = behind, wanted, status
        self.seen: list[tuple[str, str]] = []
        self.uri = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def guarded(mlflow_server: Any) -> Iterator[Guarded]:
    server = Guarded(behind=mlflow_server.uri)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(**fields: Any) -> MlflowHook:
        monkeypatch.setenv("AIRFLOW_CONN_LOCKED", json.dumps({"conn_type": "mlflow", **fields}))
        return MlflowHook("locked")

    for name in ("MLFLOW_TRACKING_AUTH", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "x")  # restored after the test
        monkeypatch.delenv(name)
    return define


def secrets_in(text: str) -> list[str]:
    return [s for s in (PASSWORD, TOKEN, BASIC, "s3cret") if s in text]


def environment() -> str:
    return "\n".join(f"{k}={v}" for k, v in os.environ.items() if not k.startswith("AIRFLOW_CONN_"))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"login": "ann", "password": PASSWORD}, f"Basic {BASIC}"),
        ({"extra": {"token": TOKEN}}, f"Bearer {TOKEN}"),
        ({"login": "ann", "password": PASSWORD, "extra": {"token": TOKEN}}, f"Bearer {TOKEN}"),
    ],
    ids=["basic", "bearer", "token-first"],
)
def test_credentials_cover_tracking_registry_and_artifacts_and_leak_nowhere(
    guarded: Guarded,
    connection: Any,
    fields: dict[str, Any],
    wanted: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    guarded.wanted = wanted
    model = f"locked-{request.node.callspec.id}"
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    with caplog.at_level(logging.DEBUG):
        hook = connection(host=guarded.uri, **fields)
        assert hook.test_connection() == (True, f"MLflow answers at {guarded.uri}")
        record = hook.log_training(
            Record(kind="training", model=model, key="k", outcome="trained"),
            estimator=LogisticRegression().fit(X, [0, 0, 1, 1]),
            X=X,
            data=DatasetRef(uri="x.parquet").resolve(digest="d" * 32, rows=4, schema={"x": "float"}),
            params={},
        )
        version = hook.register(record, {})
        assert hook.load_model(version).predict(X).tolist() == [0, 0, 1, 1]
        assert hook.read_json(record.run_id, "record.json") == record.body
    assert {got for path, got in guarded.seen} == {wanted}
    assert any("mlflow-artifacts" in path for path, _ in guarded.seen), "the artifact proxy was used"
    out = capfd.readouterr()
    for text in (
        environment(),
        caplog.text,
        out.out,
        out.err,
        repr(hook.settings),
        hook.tracking_uri,
        hook.link(version),
        hook.link(record),
        json.dumps(record.to_dict()),
        json.dumps(version.to_dict()),
    ):
        assert secrets_in(text) == []
    assert "View run" not in out.out + out.err
    assert header_for("http://127.0.0.1:1/api") == "" == header_for(guarded.uri + "0/api")


def test_refused_credentials_name_the_connection_and_not_the_secret(guarded: Guarded, connection: Any) -> None:
    guarded.wanted = "Basic other"
    hook = connection(host=guarded.uri, login="ann", password=PASSWORD, extra={"max_retries": 0})
    with pytest.raises(MlflowUnavailable, match="locked") as caught:
        hook.history("m")
    assert secrets_in("".join(traceback.format_exception(caught.value))) == []
    answered, message = hook.test_connection()
    assert not answered and "locked" in message and secrets_in(message) == []


def test_a_password_in_the_uri_is_taken_out_of_it(guarded: Guarded, connection: Any) -> None:
    guarded.wanted = f"Basic {BASIC}"
    quoted = PASSWORD.replace("/", "%2F").replace("@", "%40")
    hook = connection(extra={"tracking_uri": guarded.uri.replace("//", f"//ann:{quoted}@")})
    assert hook.tracking_uri == guarded.uri
    assert hook.test_connection()[0]


def test_credentials_go_to_their_own_server_only(guarded: Guarded, connection: Any) -> None:
    guarded.wanted = f"Bearer {TOKEN}"
    assert connection(host=guarded.uri, extra={"token": TOKEN}).test_connection()[0]
    other = Guarded(behind=guarded.behind)
    try:
        import mlflow

        mlflow.MlflowClient(tracking_uri=other.uri).search_experiments(max_results=1)
    finally:
        other.shutdown()
        other.server_close()
    assert {got for _, got in other.seen} == {""}


def unanswered() -> tuple[socket.socket, str]:
    """A port that takes connections and never answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_nobody_there_is_unavailable_and_names_the_connection(connection: Any) -> None:
    listening, uri = unanswered()
    with listening, pytest.raises(MlflowUnavailable, match=r"connection 'locked': .*timed out"):
        connection(host=uri, password=PASSWORD, login="ann", extra={"timeout": 1}).get_conn()
    with pytest.raises(MlflowUnavailable, match=r"connection 'locked': .*[Rr]efused"):
        connection(host=uri).history("m")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_can_not_answer_now_is_unavailable(connection: Any, status: int) -> None:
    server = Guarded(status=status)
    try:
        with pytest.raises(MlflowUnavailable, match=f"HTTP {status}"):
            connection(host=server.uri).history("m")
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_stops_answering_later_is_unavailable(guarded: Guarded, connection: Any) -> None:
    hook = connection(host=guarded.uri, extra={"max_retries": 0})
    assert hook.test_connection()[0]
    guarded.status = 503
    for call in (
        lambda: hook.history("m"),
        lambda: hook.by_alias("m", "champion"),
        lambda: hook.models(),
        lambda: hook.read_json("0" * 32, "record.json"),
        lambda: hook.record(Record(kind="gate", model="m", key="k", outcome="pass")),
    ):
        with pytest.raises(MlflowUnavailable, match="locked"):
            call()
    assert len({path for path, _ in guarded.seen}) > 3


def test_only_the_default_connection_may_be_undefined(mlflow_local: Path) -> None:
    assert MlflowHook().tracking_uri == f"sqlite:///{mlflow_local / 'mlflow.db'}"
    with pytest.raises(AirflowNotFoundException):
        _ = MlflowHook("mlflow_prod").tracking_uri


def test_a_connection_is_read_from_its_parts(connection: Any) -> None:
    def read(**fields: Any) -> Settings:
        hook = connection(**fields)
        return settings_of_connection(hook.get_connection("locked"))

    assert read(host="mlflow", schema="https", port=5000).tracking_uri == "https://mlflow:5000"
    assert read(host="mlflow").tracking_uri == "http://mlflow"
    assert read(host="http://mlflow:5000/").tracking_uri == "http://mlflow:5000"
    database = read(extra={"tracking_uri": "postgresql://ann:s3cret@db/mlflow"})
    assert database.tracking_uri == "postgresql://db/mlflow" and database.authorization == ""
    assert (
        "s3cret" not in repr(database) and database.scrub("cannot reach //ann:s3cret@db") == "cannot reach //ann:***@db"
    )
    settings = read(host="h", extra={"timeout": "2.5", "max_retries": 0, "experiment_prefix": "team/"})
    assert (settings.timeout, settings.max_retries, settings.experiment_prefix) == (2, 0, "team/")
    for extra, message in (
        ({}, "names no MLflow"),
        ({"tracking_uri": "http://h", "timeout": "soon"}, "must be a number"),
    ):
        with pytest.raises(UsageError, match=message):
            read(extra=extra)


def test_two_processes_open_a_new_database_at_once_and_quietly(tmp_path: Path) -> None:
    script = (
        "import sys, logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "from airflow_mlops.hooks._client import Settings, connect\n"
        "sys.stdin.readline()\n"
        "client = connect(Settings(conn_id='c', tracking_uri=sys.argv[1], store_uri=sys.argv[1]))\n"
        "assert client.search_experiments()\n"
    )
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        out, err = process.communicate()
        said = [line for line in err.splitlines() if not line.startswith("INFO:airflow.")]
        assert (process.returncode, out, said) == (0, "", [])
