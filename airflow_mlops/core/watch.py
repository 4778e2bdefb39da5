"""The watch after a promotion: for how long a new champion has to hold, and what sends it back.

A gate judges on rows of the past. For its first partitions a champion is therefore watched: each guard looks at one
figure of each partition's records. A guard that is crossed sends the champion back; a figure that nobody knows is
neither crossed nor held, and makes the watch longer. The watch ends well only when every guard has held, by a known
figure, on as many partitions as the policy asks for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.outside import last_champion
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision, digest, finite
from airflow_mlops.core.settings import Policy
from airflow_mlops.core.versions import moment

ROLL_BACK, EXTEND, SETTLED, NOT_WATCHED = "roll_back", "extend", "settled", "not_watched"
"""What a watch decides."""

KINDS = ("performance", "drift", "shadow", "validation", "scoring")
"""Kinds of records that a guard can look at."""

HELD, CROSSED, UNKNOWN = "held", "crossed", "unknown"


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard(Policy):
    """One figure that must stay inside its bounds, partition by partition.

    :param kind: of the records it looks at, one of :data:`KINDS`.
    :param metric: a metric of the record, such as ``realised_roc_auc`` or a shadow's ``champion_latency_p95``; empty:
        the record's own outcome, ``failed`` being crossed.
    :param lower: the figure is crossed below it.
    :param upper: the figure is crossed above it.
    :param partitions: crossed on so many partitions, it sends the champion back.
    """

    kind: str = "performance"
    metric: str = ""
    lower: float | None = None
    upper: float | None = None
    partitions: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("kind of record to watch", self.kind, KINDS)
        bounds = (self.lower, self.upper)
        if any(b is not None and finite(b) is None for b in bounds):
            raise PolicyError(f"a guard's bound is a finite number, got {bounds}")
        if bool(self.metric) != any(b is not None for b in bounds):
            raise PolicyError(
                "a guard has a metric with a lower or an upper bound, or neither: then the outcome counts"
            )
        if not _positive(self.partitions):
            raise PolicyError(f"a guard is crossed on one partition or more, got {self.partitions!r}")

    @property
    def name(self) -> str:
        """How it is called in reasons."""
        lower = f" >= {self.lower:g}" if self.lower is not None else ""
        upper = f" <= {self.upper:g}" if self.upper is not None else ""
        return f"{self.kind} {self.metric}{lower}{upper}".strip() if self.metric else f"{self.kind} not failed"

    def look(self, record: Record) -> str:
        """``held``, ``crossed`` or ``unknown``."""
        if not self.metric:
            return {"passed": HELD, "failed": CROSSED}.get(record.outcome, UNKNOWN)
        figure = finite(record.metrics.get(self.metric))
        if figure is None:
            return UNKNOWN
        inside = (self.lower is None or figure >= self.lower) and (self.upper is None or figure <= self.upper)
        return HELD if inside else CROSSED


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchPolicy(Policy):
    """For how long a new champion is watched, and by what.

    :param partitions: so many have to hold before the watch ends.
    :param guards: what has to hold; each a :class:`Guard` or its dict.

    >>> WatchPolicy.from_dict({"guards": [{"kind": "shadow", "metric": "latency_p95", "upper": 50}]}).guards[0].name
    'shadow latency_p95 <= 50'
    """

    partitions: int = 3
    guards: tuple[Guard, ...] = (Guard(),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "guards", tuple(Guard.of(g) for g in self.guards))
        if not self.guards:
            raise PolicyError("a watch without guards watches nothing")
        if not _positive(self.partitions):
            raise PolicyError(f"a champion is watched for one partition or more, got {self.partitions!r}")

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {"partitions": self.partitions, "guards": [g.to_dict() for g in self.guards]}


def decide_watch(
    model: str,
    champion: ModelVersion | None,
    records: Sequence[Record],
    policy: WatchPolicy,
    *,
    dag_run: Mapping[str, JSON] | None = None,
) -> Decision:
    """Whether the champion holds.

    Only checks of the champion itself count, made on partitions from its promotion on; records of a replay never do. Of
    one partition the gravest check counts, a realised figure instead of an estimated one.

    :param champion: the version that the alias names.
    :param records: the model's, newest first: the moves of the champion, and the kinds that the guards look at.
    :return: a decision of kind ``watch``: ``roll_back``, ``extend``, ``settled``, or ``not_watched`` where there is no
        champion, or it came there by a rollback: that one has been through this before.
    """
    known, move = last_champion(records)
    inputs = {
        "champion": champion.version if champion else "",
        "move": move.key if move else "",
        "policy": policy.digest,
    }

    def decided(decision: str, reasons: Iterable[str], **evidence: Any) -> Decision:
        version = champion.version if champion else None
        return Decision(
            kind="watch",
            model=model,
            decision=decision,
            reasons=tuple(reasons),
            evidence={"version": version, "since": move.at if move else None, "policy": policy.to_dict(), **evidence},
            inputs={**inputs, "seen": digest(evidence)},
            dag_run=dag_run or {},
        )

    if champion is None:
        return decided(NOT_WATCHED, ["there is no champion to watch"])
    if move is None or known != champion.version:
        return decided(EXTEND, [f"the ledger does not say how version {champion.version} became the champion"])
    if move.kind == "rollback":
        return decided(NOT_WATCHED, [f"version {champion.version} came back by a rollback: {_reason(move)}"])
    seen = _seen(champion.version, move.at, records, policy)
    crossed = {g.name: [p for p, looks in seen.items() if looks[g.name] == CROSSED] for g in policy.guards}
    over = [g for g in policy.guards if len(crossed[g.name]) >= g.partitions]
    held = [p for p, looks in seen.items() if all(look == HELD for look in looks.values())]
    if over:
        reasons = [f"{g.name} does not hold on {', '.join(crossed[g.name][:5])}" for g in over]
        return decided(ROLL_BACK, reasons, partitions=seen)
    if len(held) >= policy.partitions:
        return decided(SETTLED, [f"every guard held on {len(held)} partitions"], partitions=seen)
    reasons = [f"{len(held)} of {policy.partitions} partitions are known to hold"]
    for guard in policy.guards:
        unknown = [p for p, looks in seen.items() if looks[guard.name] == UNKNOWN]
        reasons += [f"{guard.name}: not known on {', '.join(unknown[:5])}"] if unknown else []
        reasons += [f"{guard.name}: crossed on {', '.join(crossed[guard.name])}"] if crossed[guard.name] else []
    return decided(EXTEND, reasons, partitions=seen)


def _seen(version: str, since: str, records: Sequence[Record], policy: WatchPolicy) -> dict[str, dict[str, str]]:
    """Partition -> guard -> how it looked, oldest partition first. A partition is the time its records are about."""
    begin = moment(since) if since else None
    watched = {g.kind for g in policy.guards}
    newest: dict[str, dict[tuple[str, str, str], Record]] = {}
    for record in records:  # newest first: what was checked again counts as it was checked last
        if record.kind not in watched or record.backfill or not record.at or _version(record) != version:
            continue
        if begin is None or moment(record.at) >= begin:
            compared = str(_part(record.body, "inputs").get("reference", ""))
            basis = str(_part(record.body, "details").get("basis", ""))
            newest.setdefault(record.at, {}).setdefault((record.kind, compared, basis), record)
    return {
        at: {g.name: _looked(g, [r for r in newest[at].values() if r.kind == g.kind]) for g in policy.guards}
        for at in sorted(newest, key=moment)
    }


def _looked(guard: Guard, records: Sequence[Record]) -> str:
    """One guard on one partition: the gravest of its checks, a realised figure instead of an estimated one."""
    realised = [r for r in records if not _estimated(r) and guard.look(r) != UNKNOWN]
    looks = {guard.look(r) for r in records if not (realised and _estimated(r))}
    if guard.metric:  # a record without the figure says nothing about it
        looks -= {UNKNOWN}
    return CROSSED if CROSSED in looks else HELD if looks == {HELD} else UNKNOWN


def _estimated(record: Record) -> bool:
    return _part(record.body, "details").get("basis") == "estimated"


def _version(record: Record) -> str:
    """Whose figures they are: a check of nobody in particular says nothing about the champion."""
    return str(_part(record.body, "details").get("version") or record.body.get("version") or "")


def _reason(move: Record) -> str:
    reasons = move.body.get("reasons")
    return str(reasons[0]) if isinstance(reasons, list) and reasons else "no reason is recorded"


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}
