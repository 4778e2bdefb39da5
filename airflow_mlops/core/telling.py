"""Who tells others of a move of the champion: one event a move, although several tasks can tell of the same one.

A task's event is written by Airflow in the transaction in which the task succeeds, so no task can know of its own, and
two DAG runs with the same gate decision that end in the same second see no event of each other. The right to tell is
therefore written once, beside the version that was moved to, before the task ends::

    told.<key of the move>.0 = the try of the task that may tell

Whoever finds somebody else's right lets it be while that task can still succeed. Once it can't, and there is no event,
the next one, ``.1``, is written once, by whoever is first. So there is never more than one try that may tell, and an
event is not lost with a task that was killed: its next try, or another task with the same move, takes over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from airflow_mlops.core.records import TAG
from airflow_mlops.core.results import JSON

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
"""States of Airflow's tasks out of which no try succeeds any more."""


class WriteOnce(Protocol):
    """What telling needs of MLflow."""

    def write_once(self, model: str, origin: str, key: str, value: str) -> str:
        """Write beside version ``origin`` unless something is there; what is there afterwards."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teller:
    """One try of one task.

    :param id: Airflow's id of the try; empty where it is not known.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1
    id: str = ""

    @classmethod
    def of_run(cls, run: Mapping[str, JSON], *, id: str = "") -> Self:
        """From what a context says of its task.

        >>> Teller.of_run({"dag_id": "d", "run_id": "r", "task_id": "promote", "try_number": 2}).try_number
        2
        """
        index, number = run.get("map_index"), run.get("try_number")
        return cls(
            dag_id=str(run.get("dag_id", "")),
            run_id=str(run.get("run_id", "")),
            task_id=str(run.get("task_id", "")),
            map_index=index if isinstance(index, int) else -1,
            try_number=number if isinstance(number, int) else 1,
            id=id,
        )

    def to_text(self) -> str:
        """As the value that is written once."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The inverse of :meth:`to_text`; ``None`` for text that names no task."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None

    def same_task(self, other: Teller) -> bool:
        """Whether they are tries of one task: of those at most one can succeed."""
        names: list[tuple[Any, ...]] = [(t.dag_id, t.run_id, t.task_id, t.map_index) for t in (self, other)]
        return names[0] == names[1]


def slot(key: str, number: int) -> str:
    """The name of the value that says who may tell of a move."""
    return f"{TAG}succession.told.{key}.{number}"


def may_tell(
    registry: WriteOnce,
    model: str,
    version: str,
    key: str,
    me: Teller,
    *,
    told: Callable[[], bool],
    ended: Callable[[Teller], bool],
) -> Teller | None:
    """Who may tell of a move now.

    :param version: that was moved to.
    :param key: of the move's record.
    :param me: who asks.
    :param told: whether there is an event of it.
    :param ended: whether a task of somebody else's is in one of :data:`ENDED`, or gone.
    :return: ``me``; or a try that may and can; or ``None`` where it is told.
    """
    number = 0
    while True:
        holder = Teller.from_text(registry.write_once(model, version, slot(key, number), me.to_text()))
        if holder == me:
            return me
        if holder is not None and not me.same_task(holder) and not ended(holder):
            return holder
        if told():  # asked after the end: event and success are one transaction
            return None
        number += 1
