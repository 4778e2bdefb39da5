"""Statistics of one's own, as plain functions: what makes an entry of the tables of effects and tests out of one.

A plain function gets the rows per cell of one column as two arrays, the reference's and the batch's. It enters the same
table that the built-in statistics are looked up in, so a policy names it like any of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from airflow_mlops.core.drift_policy import DriftPolicy
from airflow_mlops.core.drift_statistics import CATEGORICAL, EFFECTS, NUMERIC, Cells, Effect
from airflow_mlops.core.drift_tests import TESTS, Test
from airflow_mlops.core.errors import PolicyError, UsageError
from airflow_mlops.core.fingerprint import describe_value
from airflow_mlops.core.results import digest

KINDS = (NUMERIC, CATEGORICAL)


def table_of_effects(own: Mapping[str, Effect | Callable[..., Any]] | None, policy: DriftPolicy) -> dict[str, Effect]:
    """The table of effects and one's own.

    :param own: name -> :class:`~airflow_mlops.core.drift_statistics.Effect`, or a plain function ``(reference counts,
        current counts)`` or ``(..., cells)`` that returns a figure.
    :param policy: its ``floors`` have the floor of a plain function.
    :raises PolicyError: for a plain function that the policy decides by, without a floor.
    :raises UsageError: for what is neither.

    >>> table = table_of_effects({"largest": lambda r, c: max(abs(r - c))}, DriftPolicy(floors={"largest": 5}))
    >>> float(table["largest"].function([1, 2], [1, 9], None)), table["largest"].floor
    (7.0, 5.0)
    """
    table = dict(EFFECTS)
    for name, given in (own or {}).items():
        if isinstance(given, Effect):
            table[name] = given
            continue
        if not callable(given):
            raise UsageError(f"the drift effect {name!r} is an Effect or a function, got {type(given).__name__}")
        if name in (policy.numeric_effect, policy.categorical_effect) and name not in policy.floors:
            raise PolicyError(
                f"the drift effect {name!r} is a plain function: its floor belongs into the policy's floors"
            )
        function = _each(name, given)
        table[name] = Effect(function=function, floor=policy.floors.get(name, 0.0), kinds=KINDS, about=_about(given))
    return table


def table_of_tests(own: Mapping[str, Test | Callable[..., Any]] | None) -> dict[str, Test]:
    """The table of tests and one's own.

    :param own: name -> :class:`~airflow_mlops.core.drift_tests.Test`, or a plain function ``(reference counts, current
        counts)`` that returns a two-sample p-value, or ``(statistic, p-value)``.
    :raises UsageError: for what is neither.
    """
    table = dict(TESTS)
    for name, given in (own or {}).items():
        if not isinstance(given, Test) and not callable(given):
            raise UsageError(f"the drift test {name!r} is a Test or a function, got {type(given).__name__}")
        table[name] = (
            given if isinstance(given, Test) else Test(function=_pair(name, given), kinds=KINDS, about=_about(given))
        )
    return table


def code_of(*tables: Mapping[str, Any] | None) -> str:
    """Fingerprint of the code behind one's own statistics: another function of the same name is another check.

    >>> code_of(None, {})
    ''
    """
    own = [{name: getattr(s, "function", s) for name, s in sorted((t or {}).items())} for t in tables]
    settings = [
        {name: (getattr(s, "floor", None), getattr(s, "power", None)) for name, s in sorted((t or {}).items())}
        for t in tables
    ]
    return digest(describe_value(own), describe_value(settings)) if any(own) else ""


def _about(function: Any) -> str:
    return (inspect.getdoc(function) or str(getattr(function, "__name__", "one's own"))).splitlines()[0]


def _each(name: str, function: Callable[..., Any]) -> Callable[[Any, Any, Cells], Any]:
    """One call a table, where the built-in effects take a thousand tables at once."""
    takes_cells = _arity(function) > 2

    def figure(reference: Any, current: Any, cells: Cells) -> Any:
        import numpy as np

        r, c = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
        if r.ndim > 1 or c.ndim > 1:
            return np.array([figure(a, b, cells) for a, b in zip(*np.broadcast_arrays(r, c), strict=True)])
        try:
            return float(function(r, c, cells) if takes_cells else function(r, c))
        except Exception as error:
            raise UsageError(f"the drift effect {name!r} failed: {type(error).__name__}: {str(error)[:300]}") from error

    return figure


def _pair(name: str, function: Callable[..., Any]) -> Callable[[Any, Any], tuple[float, float]]:
    def tested(reference: Any, current: Any) -> tuple[float, float]:
        import numpy as np

        try:
            found = function(np.asarray(reference, dtype=float), np.asarray(current, dtype=float))
            statistic, p_value = found if isinstance(found, tuple) else (found, found)
            return float(statistic), float(p_value)
        except Exception as error:
            raise UsageError(f"the drift test {name!r} failed: {type(error).__name__}: {str(error)[:300]}") from error

    return tested


def _arity(function: Callable[..., Any]) -> int:
    try:
        return len(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return 2
