"""Real servers at the other end: one that takes HTTP requests, one that takes e-mail."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any


class Inbox:
    """What arrived. ``status`` is what the HTTP server answers."""

    def __init__(self) -> None:
        self.address = ("", 0)
        self.got: list[Any] = []
        self.status = 200


@contextlib.contextmanager
def web_server() -> Iterator[Inbox]:
    """An HTTP server that keeps ``(path, headers, JSON body)`` of every POST."""
    inbox = Inbox()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.got.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(inbox.status)
            if inbox.status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        yield from _serving(server, inbox)


@contextlib.contextmanager
def mail_server() -> Iterator[Inbox]:
    """An SMTP server that keeps ``(recipients, message)`` of every e-mail."""
    inbox = Inbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipients: list[str] = []
            self._say("220 sink")
            while line := self.rfile.readline().decode().strip():
                word = line[:4].upper()
                if word == "RCPT":
                    recipients.append(line.split("<")[1].split(">")[0])
                if word == "DATA":
                    self._say("354 go on")
                    inbox.got.append((tuple(recipients), self._message()))
                self._say("221 bye" if word == "QUIT" else "250 ok")
                if word == "QUIT":
                    return

        def _message(self) -> EmailMessage:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line[1:] if line.startswith(b"..") else line)
            return email.message_from_bytes(b"".join(lines), policy=email.policy.default)

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        yield from _serving(server, inbox)


def _serving(server: socketserver.TCPServer, inbox: Inbox) -> Iterator[Inbox]:
    inbox.address = server.server_address[:2]  # type: ignore[assignment]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join(timeout=5)
