"""What the judges of checks share: what a known figure is, when a bound is met, what no champion means."""

from __future__ import annotations

from typing import Any

from airflow_mlops.core.evaluation import Evaluation, Figure
from airflow_mlops.core.metrics import METRICS
from airflow_mlops.core.policies import GatePolicy
from airflow_mlops.core.results import Check, Status

REQUIRE_APPROVAL = "require_approval"

ROUNDING = 1e-12
"""0.7 - 0.6 is 0.09999999999999998 in floating point: a bound is met within this."""


def then_of(policy: str) -> str | None:
    return REQUIRE_APPROVAL if policy == REQUIRE_APPROVAL else None


def made(
    name: str,
    status: Status,
    message: str,
    *,
    subject: str = "",
    observed: Any = None,
    expected: str = "",
    **details: Any,
) -> Check:
    return Check(
        name=name,
        status=status,
        subject=subject,
        observed=observed,
        expected=expected,
        message=message,
        details={k: v for k, v in details.items() if v is not None},
    )


def known(figure: Figure | None, name: str, who: str, better: str = "") -> tuple[float | None, str]:
    """A figure that can be believed, or why there is none."""
    if figure is None:
        return None, f"{name} was not evaluated"
    if better and better != figure.direction:
        return None, f"the policy says {better} {name} is better, the evaluation says {figure.direction}"
    table = METRICS.get(name)
    if table is not None and table.direction != figure.direction:
        return None, f"the evaluation says {figure.direction} {name} is better, which is wrong"
    value: float | None = getattr(figure, who)
    if value is None:
        return None, f"the {who} has no {name}: {figure.errors.get(who, 'it is unknown')}"
    if table is not None and not table.possible(value):
        return None, f"{name} of the {who} is {value:.6g}, which is outside {table.low:g} to {table.high:g}"
    return value, ""


def at_least(value: float, bound: float) -> bool:
    return value >= bound - ROUNDING * max(1.0, abs(bound))


def within(value: float, lower: float | None, upper: float | None) -> bool:
    return (lower is None or at_least(value, lower)) and (upper is None or at_least(-value, -upper))


def bounds(name: str, lower: float | None, upper: float | None) -> str:
    left = f"{lower:g} <= " if lower is not None else ""
    return f"{left}{name}{f' <= {upper:g}' if upper is not None else ''}"


def without_champion(evaluation: Evaluation, policy: GatePolicy, name: str, subject: str) -> Check | None:
    """The check's end where there is nobody to compare with; ``None`` where there is.

    The champion's own check says what the policy makes of it; here it is only that the comparison does not apply.
    """
    champion = evaluation.champion
    if champion.scored:
        return None
    if champion.state == "missing":
        if policy.on_missing_champion == "reject":
            return made(name, Status.ERROR, "there is no champion to compare with", subject=subject)
        return made(name, Status.SKIPPED, f"{name} {subject} does not apply: there is no champion yet", subject=subject)
    if policy.on_broken_champion == "require_approval":
        return made(name, Status.SKIPPED, f"{name} {subject} can't be judged: the champion is broken", subject=subject)
    why = champion.error or "unknown reason"
    return made(name, Status.ERROR, f"champion {champion.version} could not be scored: {why}", subject=subject)
