"""A task's process has loaded what the task needs; this one also what every test before it needed."""

from __future__ import annotations

import sys

import pytest

from airflow_mlops.operators import _child


@pytest.fixture(autouse=True)
def only_what_a_task_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test loaded and nobody uses now does not keep models from being forked."""
    monkeypatch.setattr(_child, "THREADED", tuple(n for n in _child.THREADED if n not in sys.modules))
