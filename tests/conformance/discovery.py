"""Finds what the package offers by walking it, and makes example objects from the names of their arguments."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import airflow_mlops

KINDS = ("operators", "sensors", "triggers", "hooks", "notifications", "decorators")

EXAMPLES: dict[str, Any] = {
    "alias": "champion",
    "candidate": "3",
    "conn_id": "lake",
    "data": {"uri": "data/2013-05.parquet"},
    "dataset": {"uri": "data/2013-05.parquet"},
    "destination": "scores/2013-05.parquet",
    "evaluation": {"model_name": "late", "metrics": []},
    "gate": {"decision": "pass"},
    "key": ["flight", "day"],
    "kind": "drift",
    "labels": {"uri": "labels/2013-05.parquet"},
    "message": "late/3 was promoted",
    "metrics": ["roc_auc"],
    "model_name": "late",
    "op_args": [],
    "output": "scores/2013-05.parquet",
    "path": "data/2013-05.parquet",
    "policy": {},
    "predictions": {"uri": "scores/2013-05.parquet"},
    "python_callable": len,
    "quarantine": "quarantine/2013-05.parquet",
    "reason": "because",
    "suite": {"expectations": []},
    "target": "late",
    "to": "team@example.org",
    "train": len,
    "uri": "data/2013-05.parquet",
    "url": "https://chat.example.org/hook",
    "version": "3",
    "watch": {"model": "late"},
}
"""Argument name -> an example: the same noun means the same thing everywhere."""


@cache
def modules(package: str = "") -> tuple[str, ...]:
    """Every module of the package or of one of its folders, private ones left out."""
    root = importlib.import_module(f"airflow_mlops.{package}" if package else "airflow_mlops")
    found = pkgutil.walk_packages(root.__path__, root.__name__ + ".")
    return tuple(m.name for m in found if not any(p.startswith("_") for p in m.name.split(".")))


def classes(base: type, *packages: str) -> list[type]:
    """Public, concrete subclasses of ``base``, each found where it is defined."""
    found: list[type] = []
    for name in sorted({m for p in packages for m in modules(p)}):
        module = importlib.import_module(name)
        found += [
            value
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, base)
            and value.__module__ == name
            and not key.startswith("_")
            and not inspect.isabstract(value)
        ]
    return found


def own_arguments(cls: type, *bases: type) -> dict[str, inspect.Parameter]:
    """The constructor arguments that ``cls`` adds to ``bases``, in order."""
    known = {name for base in bases for name in inspect.signature(base.__init__).parameters}
    seen: dict[str, inspect.Parameter] = {}
    for kind in reversed(cls.__mro__):
        if kind.__module__.startswith("airflow_mlops") and "__init__" in vars(kind):
            # Airflow wraps an operator's constructor; the wrapped one has the signature.
            parameters = inspect.signature(inspect.unwrap(vars(kind)["__init__"])).parameters
            seen |= {n: p for n, p in parameters.items() if n != "self"}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {n: p for n, p in seen.items() if p.kind not in variadic and n not in known}


def example_arguments(cls: type, *bases: type) -> dict[str, Any]:
    """Values for the arguments that have no default.

    :raises AssertionError: for a name that :data:`EXAMPLES` does not know: add it there.
    """
    values = {}
    for name, parameter in own_arguments(cls, *bases).items():
        if parameter.default is inspect.Parameter.empty:
            assert name in EXAMPLES, f"{cls.__name__}({name}=...) has no example in tests/conformance/discovery.py"
            values[name] = EXAMPLES[name]
    return values


def values() -> Iterator[type]:
    """Every frozen dataclass of the core that turns into plain values and back."""
    for name in modules("core"):
        for value in vars(importlib.import_module(name)).values():
            if (
                inspect.isclass(value)
                and value.__module__ == name
                and dataclasses.is_dataclass(value)
                and dataclasses.fields(value)
                and hasattr(value, "to_dict")
                and hasattr(value, "from_dict")
            ):
                yield value


def top_level() -> list[str]:
    """Modules directly in the package."""
    found = pkgutil.iter_modules(airflow_mlops.__path__, "airflow_mlops.")
    return [m.name for m in found if not m.ispkg]
