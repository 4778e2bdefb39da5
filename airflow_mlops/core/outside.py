"""Moves of the champion that nobody of this package made: noticed, and entered into the ledger as such.

MLflow keeps no history of an alias. What the ledger says and what the alias says are compared; where they differ
although no move of ours is under way, somebody moved it by hand. When is not known, only between which two moments; by
whom is not known at all, and the record says so.

Which champion the ledger ends in is worked out from the chain of the moves themselves (each says which version it
replaced), not from the times written beside them: a replay of May that runs in July writes records of May, and clocks
of two workers differ. Seen as edges from version to version, the moves are one walk, and a walk ends where it came in
more often than it went out (Euler, 1736).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from airflow_mlops.core.errors import Conflict
from airflow_mlops.core.records import CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision
from airflow_mlops.core.succession import Registry, Succession

MOVED_OUTSIDE = "moved_outside"
"""The outcome of the record of such a move; its kind is ``promotion``."""

OUTSIDE = "outside"
"""Who decided it."""

KINDS = ("promotion", "rollback")
MOVED = ("promoted", "rolled_back", MOVED_OUTSIDE)
"""Kinds and outcomes of the records that say that the champion moved."""

LOOKS = 20


class Ledger(Registry, Protocol):
    """What noticing needs of MLflow: the registry, and the newest records."""

    def history(self, model: str, *, kinds: Sequence[str] = (), limit: int = 200) -> list[Record]: ...


def moves_of(records: Iterable[Record]) -> list[Record]:
    """The records that say that the champion moved, in the order given."""
    return [r for r in records if r.kind in KINDS and r.outcome in MOVED]


def version_after(record: Record) -> str:
    """The champion after a move; empty: there was none any more."""
    return str(_evidence(record).get("version") or "")


def last_champion(records: Iterable[Record]) -> tuple[str, Record | None]:
    """The champion that the ledger ends in, and the move that led there.

    :param records: any of the model's, newest first as a ledger gives them.
    :return: the version, empty for none, and its record, ``None`` where the ledger has no move.

    >>> def move(a, b, at): return Record(kind="promotion", model="m", key=a + b, outcome="promoted", at=at,
    ...                                   body={"evidence": {"replaces": a or None, "version": b}})
    >>> last_champion([move("1", "2", "2013-07"), move("2", "3", "2013-05"), move("", "1", "2013-04")])[0]
    '3'
    """
    moves = moves_of(records)
    if not moves:
        return "", None
    balance: Counter[str] = Counter()
    for move in moves:
        balance[version_after(move)] += 1
        balance[str(_evidence(move).get("replaces") or "")] -= 1
    ends = [version for version, came in balance.items() if came > 0]
    # Several ends: earlier moves from outside that nobody noticed; none: it ended where it began. The newest counts.
    candidates = [m for m in moves if version_after(m) in ends] or moves
    return version_after(candidates[0]), candidates[0]


def notice(
    registry: Ledger, model: str, *, at: str = "", dag_run: Mapping[str, JSON] | None = None, backfill: bool = False
) -> Decision | None:
    """Enter a move from outside into the ledger, if there was one; the same move once, however often it is noticed.

    A move of this package that its task did not complete is completed instead.

    :param registry: MLflow.
    :param at: ISO time at which it is noticed.
    :param dag_run: who noticed.
    :return: the decision as recorded; ``None`` where ledger and alias agree.
    :raises Conflict: when the champion moved at every look.
    """
    act = Succession(registry, model, lambda step: None)
    for _ in range(LOOKS):
        before = registry.by_alias(model, CHAMPION)
        act.complete(before)
        records = registry.history(model, kinds=KINDS, limit=1000)
        # Read again after the ledger: a promotion that was made in between is in one of them and not in the other.
        if _version(before) != registry.alias(model, CHAMPION):
            continue
        known, last = last_champion(records)
        if _version(before) == known:
            return None
        decision = moved_outside(model, before, known, last, noticed_at=at, dag_run=dag_run)
        stored = registry.record(
            Record.of_decision(decision, subject=_version(before), at=_not_before(at, last), backfill=backfill)
        )
        return Decision.from_dict(stored.body)
    raise Conflict(f"the champion of {model!r} moved {LOOKS} times while the ledger was compared with it; retry")


def moved_outside(
    model: str,
    champion: ModelVersion | None,
    known: str,
    last: Record | None,
    *,
    noticed_at: str = "",
    dag_run: Mapping[str, JSON] | None = None,
) -> Decision:
    """The entry of a move that nobody of this package made. Its key is where it led from and to, and after which move.

    :param champion: where the alias points; ``None``: it was taken away.
    :param known: where the ledger ends.
    :param last: the ledger's last move.
    """
    now = _version(champion)
    led = f"from {f'version {known}' if known else 'no champion'} to {f'version {now}' if now else 'no champion'}"
    return Decision(
        kind="promotion",
        model=model,
        decision=MOVED_OUTSIDE,
        reasons=(f"the alias was moved {led} by somebody outside of this package; no gate decision is known for it",),
        evidence={
            "version": now or None,
            "model_digest": (champion.model_digest if champion else "") or None,
            "replaces": known or None,
            "gate": None,
            "approval": None,
            "approvals": [],
            "data_until": (champion.tag("data_until") if champion else "") or None,
            "run_id": (champion.run_id if champion else "") or None,
            "not_before": last.at if last else None,
            "noticed_at": noticed_at or None,
        },
        inputs={"from": known, "to": now, "after": last.key if last else ""},
        decided_by=OUTSIDE,
        dag_run=dag_run or {},
    )


def _not_before(at: str, last: Record | None) -> str:
    """The time of the entry: when it was noticed, but never before the move that it followed."""
    return max(at, last.at) if at and last else at


def _version(version: ModelVersion | None) -> str:
    return version.version if version else ""


def _evidence(record: Record) -> Mapping[str, Any]:
    evidence = record.body.get("evidence")
    return evidence if isinstance(evidence, Mapping) else {}
