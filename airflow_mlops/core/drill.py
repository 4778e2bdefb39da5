"""The rollback drill: what has to be true of a copy that was rolled back, as a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON, Check, Decision, Report, Status

SUFFIX = "__drill"
"""Put behind a model's name: the registered model that drills are made on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drill:
    """What was seen of one drill.

    :param left: the copy that was champion and was to be left.
    :param target: the copy that was to be champion.
    :param decision: what the rollback said; ``None``: it did not end.
    :param champion: the copies' champion afterwards.
    :param left_after: the version that was left, as it is afterwards.
    :param recorded: the rollback is in the copies' ledger.
    :param loaded: the model of the new champion loads, with the digest that is registered.
    :param error: what went wrong, where something did.
    :param rollback_seconds: from the request to the recorded move; ``None``: not known.
    :param load_seconds: until the model was loaded; ``None``: not known.
    """

    left: ModelVersion
    target: ModelVersion
    decision: Decision | None = None
    champion: ModelVersion | None = None
    left_after: ModelVersion | None = None
    recorded: bool = False
    loaded: bool = False
    error: str = ""
    rollback_seconds: float | None = None
    load_seconds: float | None = None


def report_of(
    model: str, drill: Drill | None, *, why: str = "", max_seconds: float, inputs: Mapping[str, str]
) -> Report:
    """The drill as checks; only when every one passed is it known that a rollback works.

    :param model: the model that it was about.
    :param drill: ``None`` where there was nothing to roll back to.
    :param why: the reason then.
    :param max_seconds: that rollback and loading may take together.
    :param inputs: what the drill is a function of.
    """
    details: dict[str, JSON] = {"max_seconds": max_seconds}
    if drill is None:
        checks = [_check("possible", False, why)]
        return Report(kind="drill", subject=model, checks=tuple(checks), inputs=inputs, details=details)
    times = (drill.rollback_seconds, drill.load_seconds)
    took = sum(t for t in times if t is not None) if None not in times else None
    moved = drill.champion is not None and drill.champion.version == drill.target.version
    pinned = drill.left_after is not None and bool(drill.left_after.tag("pinned"))
    said = drill.decision.decision if drill.decision else "nothing"
    seen = drill.error or "done"
    checks = [
        _check("ended", said == "rolled_back", f"the rollback said {said!r}; {seen}"),
        _check("alias", moved, f"the champion is {drill.champion.label if drill.champion else 'missing'}"),
        _check("pin", pinned, f"{drill.left.label} {'is' if pinned else 'is not'} kept from being promoted again"),
        _check("record", drill.recorded, "the ledger has it" if drill.recorded else "the ledger does not have it"),
        _check("model", drill.loaded, "it loads, with its digest" if drill.loaded else f"it does not load: {seen}"),
        _check(
            "time",
            took is not None and took <= max_seconds,
            f"{took:.2f} s of {max_seconds:g} s" if took is not None else "how long it took is not known",
        ),
    ]
    details |= {
        "version": drill.left.tag("copy_of"),
        "to": drill.target.tag("copy_of"),
        "rollback_seconds": drill.rollback_seconds,
        "load_seconds": drill.load_seconds,
    }
    return Report(kind="drill", subject=model, checks=tuple(checks), inputs=inputs, details=details)


def _check(name: str, passed: bool, message: str) -> Check:
    return Check(name=name, status=Status.PASSED if passed else Status.FAILED, message=message)
