"""The client of Airflow's API: what it may ask again, and what it must not begin twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dev import client
from dev.client import Client, ServerError


class Server(ThreadingHTTPServer):
    """Keeps the runs it is asked for, and answers with 500 as often as it is told: before it begins one, or after."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: list[dict[str, Any]] = []
        self.fails: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(200, {"dag_runs": self.server.runs})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            self.answer(201, {"access_token": "a"})
            return
        fails = self.server.fails.pop(0) if self.server.fails else ""
        if fails != "before":
            self.server.runs.append(body)
        self.answer(500, {"detail": "Database error"}) if fails else self.answer(200, body)

    def answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("fails", [[], ["before"], ["after"], ["before", "before", "after"]])
def test_one_run_begins_however_the_server_fails(server: Server, fails: list[str]) -> None:
    server.fails = list(fails)
    run = Client(f"http://127.0.0.1:{server.server_port}", "a", "b").trigger("flights", conf={"month": "2013-01"})
    assert server.runs == [run] and run["conf"] == {"month": "2013-01"} and not server.fails


def test_a_server_that_keeps_failing_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.Client.patiently, "__defaults__", (0.0,))
    server.fails = ["before"] * 9
    with pytest.raises(ServerError, match="Database error"):
        Client(f"http://127.0.0.1:{server.server_port}", "a", "b").trigger("flights")
    assert server.runs == []
