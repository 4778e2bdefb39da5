"""An HTTP proxy in front of a real MLflow that breaks the n-th call: what networks, servers and machines do to a task.

Each client has a proxy, and so a count of calls, of its own. A kill hits the process at the other end of the
connection, which is looked up in ``/proc``: also the task process of a scheduler that nobody handed a process id of.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAULTS = ("kill before", "kill after", "500 before", "500 after", "cut before", "cut after", "late")
"""What can happen to a call, before or after MLflow has seen it: the caller's process is killed with ``SIGKILL``, HTTP
500 is answered, the connection is cut; ``late``: MLflow has done it, and the answer comes after the caller gave up."""


class FaultProxy:
    """One address in front of MLflow.

    :param target: MLflow's address.
    :param faults: number of the call, from 0, -> one of :data:`FAULTS`, or a function to be called before the call
        is passed on. Each happens once; the look whether anybody is there (``/health``) is no call.

    :ivar calls: method and path of each call so far; ``bodies``: what was sent with it.
    :ivar done: the faults that happened.
    """

    def __init__(self, target: str, faults: Mapping[int, str | Callable[[], Any]] | None = None) -> None:
        self.target = urllib.parse.urlsplit(target).netloc
        self.faults = dict(faults or {})
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        self.done: list[str] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: else each answer waits 40 ms for the other
            wbufsize = -1

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

            def answer(self) -> None:
                proxy.pass_on(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A caller that is gone is what happens here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close it; calls that are held are let go with their callers."""
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        """One request, with what is to happen to it."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault: str | Callable[[], Any] | None = None
        if handler.path != "/health":
            with self._lock:
                fault = self.faults.pop(len(self.calls), None)
                self.calls.append(f"{handler.command} {handler.path.partition('?')[0]}")
                self.bodies.append(body)
                if fault is not None:
                    self.done.append(fault if isinstance(fault, str) else str(fault))
        if callable(fault):
            fault()
            fault = None
        kind, _, when = (fault or "").partition(" ")
        status, headers, content = 500, [], b""
        if when != "before":
            try:
                status, headers, content = self._ask(handler, body)
            except OSError:
                kind = "cut"
        if kind == "kill":
            for pid in processes_of(handler.client_address[1]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if kind == "late":
            with contextlib.suppress(OSError):
                handler.connection.recv(1)  # returns when the caller closes its end
        if kind in ("kill", "cut", "late"):
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if kind == "500":
            status, headers, content = 500, [("Content-Type", "text/plain")], b"injected"
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        handler.wfile.flush()

    def written(self, alias: str) -> list[str]:
        """The versions that callers set an alias to, in order; empty text: took it away."""
        found = []
        for call, body in zip(self.calls, self.bodies, strict=True):
            if call.endswith("registered-models/alias") and not call.startswith("GET"):
                sent = json.loads(body)
                found += [str(sent.get("version", ""))] if sent["alias"] == alias else []
        return found

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        with contextlib.closing(connection):
            headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("connection", "host")}
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            hop = ("transfer-encoding", "content-length", "connection", "server", "date")
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in hop]
            return answer.status, kept, answer.read()


class Hold:
    """A fault that keeps a call back until :meth:`release`: a process that is suspended, a network that is stuck."""

    def __init__(self) -> None:
        self._held, self._released = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._held.set()
        self._released.wait(120)

    def __str__(self) -> str:
        return "hold"

    def wait(self) -> bool:
        """Until the call is there."""
        return self._held.wait(60)

    def release(self) -> None:
        """Let it go on."""
        self._released.set()


def processes_of(port: int) -> list[int]:
    """Who has the local TCP socket with this port: every process but this one."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            inodes.add(f"socket:[{fields[9]}]")
    others = [f for f in Path("/proc").iterdir() if f.name.isdigit() and int(f.name) != os.getpid()]
    return [int(folder.name) for folder in others if not inodes.isdisjoint(_links(folder / "fd"))]


def _links(folder: Path) -> set[str]:
    """What a process has open; what it closes meanwhile is left out, and so is a process that is gone."""
    found = set()
    with contextlib.suppress(OSError):
        for fd in list(folder.iterdir()):
            with contextlib.suppress(OSError):
                found.add(str(fd.readlink()))
    return found


@contextlib.contextmanager
def fault_proxy(target: str, faults: Mapping[int, str | Callable[[], Any]] | None = None) -> Iterator[FaultProxy]:
    """A proxy that is closed when the block ends."""
    proxy = FaultProxy(target, faults)
    try:
        yield proxy
    finally:
        proxy.stop()
