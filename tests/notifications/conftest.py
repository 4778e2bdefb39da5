"""Real servers at the other end: one that takes HTTP requests, one that takes e-mail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.inbox import Inbox, mail_server, web_server


@pytest.fixture
def web() -> Iterator[Inbox]:
    """An HTTP server that keeps ``(path, headers, JSON body)`` of every POST."""
    with web_server() as inbox:
        yield inbox


@pytest.fixture
def post() -> Iterator[Inbox]:
    """An SMTP server that keeps ``(recipients, message)`` of every e-mail."""
    with mail_server() as inbox:
        yield inbox
