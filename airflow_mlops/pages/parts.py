"""Looking into plain values that others wrote: whatever is not there, or is something else, is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.pages import words


def part(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping inside a mapping; empty where there is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def listed(value: Any, name: str) -> Sequence[Any]:
    """A list inside a mapping; empty where there is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, list | tuple) else ()


def place(data: Mapping[str, Any]) -> str:
    """What people call a dataset; of a URI only its last part, for what is before it can be private."""
    return str(data.get("name") or data.get("table") or str(data.get("uri") or "").rsplit("/", 1)[-1] or words.NOTHING)
