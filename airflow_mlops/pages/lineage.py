"""Where a version comes from, step by step: rows, training, version, verdicts, champion. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from airflow_mlops.core.records import ModelVersion
from airflow_mlops.pages import words
from airflow_mlops.pages.cards import Entry

MOVES = ("promoted", "rolled_back", "already_promoted", "moved_outside")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One box of the chain.

    :param what: data, training, version, gate, approval, champion.
    :param links: ``(text, url, whether it leads out of these pages)``.
    :param known: whether there is a record of it.
    """

    what: str
    value: Any
    detail: Any = ""
    links: tuple[tuple[str, str, bool], ...] = ()
    known: bool = True


def lineage(
    version: ModelVersion,
    entries: Sequence[Entry],
    *,
    report: Callable[[Entry], str],
    dag_run: Callable[[Entry], str],
    outside: str = "",
    training_outside: str = "",
    card: str = "",
) -> list[Step]:
    """The chain of one version; a step without a record says so instead of leaving the chain short.

    :param entries: the model's records, newest first.
    :param report: address of a record's page. :param dag_run: of the task that wrote it; empty: not to be shown.
    :param outside: the version's page in MLflow. :param training_outside: its run's.
    :param card: address of its model card; empty: there is none.
    """

    def newest(*kinds: str, outcomes: Sequence[str] = ()) -> Entry | None:
        return next(
            (
                e
                for e in entries
                if e.kind in kinds and e.subject == version.version and (not outcomes or e.outcome in outcomes)
            ),
            None,
        )

    def about(entry: Entry | None, *more: tuple[str, str, bool]) -> tuple[tuple[str, str, bool], ...]:
        own = [("Report", report(entry), False), ("Task", dag_run(entry), True)] if entry else []
        return tuple(link for link in (*own, *more) if link[1])

    trained = next((e for e in entries if e.run_id == version.run_id), None)
    gate, approval = newest("gate"), newest("approval")
    move = newest("promotion", "rollback", outcomes=MOVES)
    until = version.tag("data_until")
    digest = version.tag("data_digest")
    steps = [
        Step(
            what="Data",
            value=words.short(digest),
            detail=Markup("until {}").format(words.name(until, 40)) if until else "",
            known=bool(digest),
        ),
        Step(
            what="Training run",
            value=words.short(version.run_id),
            detail=words.when(trained.at) if trained and trained.at else "",
            links=about(trained, ("MLflow", training_outside, True)),
            known=bool(version.run_id),
        ),
        Step(
            what="Version",
            value=words.name(f"v{version.version}", 20),
            detail=Markup("model {}").format(words.short(version.model_digest)) if version.model_digest else "",
            links=tuple(x for x in (("MLflow", outside, True), ("Model card", card, False)) if x[1]),
        ),
        _judged("Gate", gate, about(gate)),
    ]
    if approval is not None:
        steps.append(_judged("Approval", approval, about(approval)))
    held = [a for a in version.aliases if a in ("champion", "challenger", "previous_champion")]
    role = held[0].replace("_", " ") if held else "no alias"
    steps.append(
        Step(
            what="Role",
            value=words.name(role, 40),
            detail=words.when(move.at) if move else "",
            links=about(move),
            known=bool(held),
        )
    )
    return steps


def _judged(what: str, entry: Entry | None, links: tuple[tuple[str, str, bool], ...]) -> Step:
    if entry is None:
        return Step(what=what, value="no record", known=False)
    return Step(what=what, value=words.badge(entry.outcome, entry.kind), detail=words.when(entry.at), links=links)
