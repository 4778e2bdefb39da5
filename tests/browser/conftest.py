"""One Airflow and one browser for the tests of a file; after it nothing of them is left for others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.world import world
from tests.kit.browser import Person, chromium
from tests.kit.inbox import Inbox, mail_server, web_server

SHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
"""Pictures of the last run; kept, not tracked."""


@pytest.fixture(scope="module")
def web() -> Iterator[Inbox]:
    with web_server() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def post() -> Iterator[Inbox]:
    with mail_server() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, web: Inbox, post: Inbox) -> Iterator[Any]:
    """Airflow with real components, and with connections to a chat and a mail server."""
    import airflow.settings  # noqa: F401 - this process keeps the settings of the tests, not those of the stack

    chat = {"conn_type": "http", "host": web.address[0], "port": web.address[1]}
    smtp = {"conn_type": "smtp", "host": post.address[0], "port": post.address[1]}
    smtp["extra"] = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
    env = {"AIRFLOW_CONN_CHAT": json.dumps(chat), "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp)}
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
            patch.delenv(name)  # the tests' own Airflow is not this one
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("home")))
        with world(tmp_path_factory.mktemp("browser"), env) as running:
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def ann(browser: Any, stack: Any) -> Person:
    """A person who has logged in."""
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    person = Person(browser, stack.url, SHOTS)
    person.log_in(stack.user, stack.password)
    person.told.clear()  # before the login Airflow's own UI is refused
    return person
