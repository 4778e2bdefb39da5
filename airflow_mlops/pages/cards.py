"""What the Models page says of each model, worked out from its records. Pure: records and a time in, cards out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.records import TAG
from airflow_mlops.core.results import finite
from airflow_mlops.pages.words import moment

DECISIONS = ("gate", "approval", "promotion", "rollback", "retraining")
"""Kinds of records that somebody or something decided."""

CARD_KINDS = ("gate", "drift", "performance", "promotion", "rollback", "approval", "retraining", "evaluation")
"""Kinds that a card is made of; read in this order, what is looked for most first."""

SPARK = 30
"""Figures of a sparkline."""

REALISED, ESTIMATED = "realised_", "estimated_"
"""Prefixes of the metrics that a performance check logs."""

GRAVEST = ("failed", "error", "insufficient_data", "passed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One record as a line of a list: everything but the body.

    :param started: milliseconds since 1970 by MLflow's clock; settles the order of records of one time.
    :param reason: the first reason of a decision, or the first thing that failed; bounded.
    :param dag_id: with ``dag_run_id`` and ``task_id``: the task that wrote it.
    """

    kind: str
    model: str
    outcome: str
    run_id: str
    subject: str = ""
    at: str = ""
    started: int = 0
    backfill: bool = False
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reason: str = ""
    dag_id: str = ""
    dag_run_id: str = ""
    task_id: str = ""

    @property
    def order(self) -> tuple[float, int]:
        """Sorts by the time it is about, then by when it was written."""
        return (known if (known := moment(self.at)) is not None else float("-inf"), self.started)


def entry_of(run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float], started: int) -> Entry | None:
    """The entry of an MLflow run; ``None`` for a run that is no record."""
    kind = tags.get(TAG + "kind")
    if not kind:
        return None
    return Entry(
        kind=kind,
        model=tags.get(TAG + "model", ""),
        outcome=tags.get(TAG + "outcome", ""),
        run_id=run_id,
        subject=tags.get(TAG + "subject", ""),
        at=tags.get(TAG + "at", ""),
        started=started,
        backfill=tags.get(TAG + "backfill") == "true",
        metrics={k: n for k, v in metrics.items() if (n := finite(v)) is not None},
        reason=reason_of(tags.get(TAG + "body", "")),
        dag_id=tags.get(TAG + "dag_id", ""),
        dag_run_id=tags.get(TAG + "run_id", ""),
        task_id=tags.get(TAG + "task_id", ""),
    )


def reason_of(body: str, most: int = 240) -> str:
    """The first reason of a decision, or the first check that did not hold; empty where the body has neither.

    >>> reason_of('{"reasons": ["roc_auc is 0.5"]}')
    'roc_auc is 0.5'
    """
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        return ""
    if not isinstance(value, Mapping):
        return ""
    reasons = value.get("reasons")
    if isinstance(reasons, list) and reasons:
        return str(reasons[0])[:most]
    checks = value.get("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, Mapping) and check.get("status") not in ("passed", "skipped"):
            about = f"{check.get('subject')}: " if check.get("subject") else ""
            return f"{about}{check.get('message') or check.get('name')}"[:most]
    return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One model on the page.

    :param champion: its version; empty: none.
    :param since: when it became champion, where a record says so.
    :param drift: outcome of the newest checked partition: the gravest, where it was compared with several references.
    :param performance: likewise.
    :param decision: the newest decision of any kind.
    :param pending: the gate, or the asking after its pass, that waits for an approval while nobody has decided.
    :param metric: what the sparkline draws. :param values: oldest first.
    :param cut: kinds of which older records were not read: a missing verdict of these may exist further back.
    """

    name: str
    champion: str = ""
    challenger: str = ""
    since: str = ""
    gate: Entry | None = None
    drift: Entry | None = None
    performance: Entry | None = None
    decision: Entry | None = None
    pending: Entry | None = None
    metric: str = ""
    values: tuple[float, ...] = ()
    cut: tuple[str, ...] = ()

    @property
    def health(self) -> str:
        """``failed`` where drift or performance are, ``unknown`` where either could not be known, else ``passed``."""
        ends = {e.outcome for e in (self.drift, self.performance) if e is not None}
        if "failed" in ends:
            return "failed"
        return "passed" if ends and ends <= {"passed"} else "unknown"


def card_of(name: str, aliases: Mapping[str, Any], entries: Iterable[Entry], cut: Sequence[str] = ()) -> Card:
    """The card of one model.

    :param aliases: alias -> version.
    :param entries: its records, in any order. Those of a replay of history draw the curve and decide nothing.
    """
    newest = sorted(entries, key=lambda e: e.order, reverse=True)
    live = [e for e in newest if not e.backfill]
    champion = str(aliases.get("champion") or "")
    moves = [e for e in live if e.kind in ("promotion", "rollback") and e.subject == champion]
    moved = next((e for e in moves if e.outcome in ("promoted", "rolled_back", "already_promoted")), None)
    metric, values = trend(newest)
    return Card(
        name=name,
        champion=champion,
        challenger=str(aliases.get("challenger") or ""),
        since=moved.at if champion and moved else "",
        gate=_first(live, "gate"),
        drift=gravest(live, "drift"),
        performance=gravest(live, "performance"),
        decision=next((e for e in live if e.kind in DECISIONS), None),
        pending=pending_of(live),
        metric=metric,
        values=values,
        cut=tuple(cut),
    )


def pending_of(newest: Sequence[Entry]) -> Entry | None:
    """What waits for a person: the newest gate of the model, with nothing decided about its candidate since.

    A gate that passed waits where a task asked a person all the same, until that very task has its answer.
    """
    gate = _first(newest, "gate")
    if gate is None or gate.outcome not in ("require_approval", "pass"):
        return None
    later = newest[: newest.index(gate)]
    since = [*later, *(e for e in newest if e.order >= gate.order and e.subject == gate.subject)]
    if any(e.kind in ("promotion", "rollback") for e in since):
        return None
    answers = [e for e in since if e.kind == "approval" and e.outcome != "asked"]
    if gate.outcome == "require_approval":
        return None if answers else gate
    asked = [e for e in since if e.outcome == "asked" and e.kind == "approval" and e.subject == gate.subject]
    return next((e for e in asked if not any(_same_task(a, e) and a.started >= e.started for a in answers)), None)


def _same_task(one: Entry, other: Entry) -> bool:
    return (one.dag_id, one.dag_run_id, one.task_id) == (other.dag_id, other.dag_run_id, other.task_id)


def gravest(newest: Sequence[Entry], kind: str) -> Entry | None:
    """Of the newest partition that was checked, the gravest outcome: features and predictions can be checked apart.

    Of performance, the newest realised figure counts beside a newer estimate.
    """
    found = [e for e in newest if e.kind == kind]
    if not found:
        return None
    group = [e for e in found if e.subject == found[0].subject and e.at == found[0].at]
    group += [e for e in found if any(k.startswith(REALISED) for k in e.metrics)][:1]
    return min(group, key=lambda e: GRAVEST.index(e.outcome) if e.outcome in GRAVEST else 1)


def trend(newest: Sequence[Entry]) -> tuple[str, tuple[float, ...]]:
    """The main metric and its figures, oldest first: realised, else estimated, else of evaluations.

    Of the metrics that this package knows it is the one that is logged most, ties in the order of its table.
    """
    from airflow_mlops.core.metrics import METRICS

    for kind, prefix, word in (
        ("performance", REALISED, ""),
        ("performance", ESTIMATED, "estimated "),
        ("evaluation", "", ""),
    ):
        found = [e for e in newest if e.kind == kind]
        counts = Counter(k for e in found for k in e.metrics)
        name = max((k for k in METRICS if counts[prefix + k]), key=lambda k: counts[prefix + k], default="")
        if name:
            values = [e.metrics[prefix + name] for e in reversed(found) if prefix + name in e.metrics]
            return word + name, tuple(values[-SPARK:])
    return "", ()


VERDICTS: Mapping[str, tuple[str, Callable[[Card], bool]]] = {
    "attention": (
        "needs attention",
        lambda c: c.health == "failed" or c.pending is not None or _ended(c.gate, "reject"),
    ),
    "healthy": ("healthy", lambda c: c.health == "passed"),
    "drift": ("drift", lambda c: _ended(c.drift, "failed")),
    "performance": ("performance dropped", lambda c: _ended(c.performance, "failed")),
    "rejected": ("last candidate rejected", lambda c: _ended(c.gate, "reject")),
    "approval": ("waits for approval", lambda c: c.pending is not None),
    "unknown": ("health not known", lambda c: c.health == "unknown"),
    "no_champion": ("no champion", lambda c: not c.champion),
}
"""What can be filtered by: name -> label and test."""


def _age(card: Card) -> Any:
    return -(moment(card.since) or 0.0)


def _time(pick: Callable[[Card], Entry | None]) -> Callable[[Card], Any]:
    def key(card: Card) -> Any:
        entry = pick(card)
        return -entry.order[0] if entry is not None else float("inf")

    return key


def _rank(pick: Callable[[Card], Entry | None]) -> Callable[[Card], Any]:
    def key(card: Card) -> Any:
        entry = pick(card)
        if entry is None:
            return len(GRAVEST) + 1
        return GRAVEST.index(entry.outcome) if entry.outcome in GRAVEST else len(GRAVEST)

    return key


DEFAULT_SORT = "attention"

SORTS: Mapping[str, tuple[str, Callable[[Card], Any]]] = {
    "attention": ("attention", lambda c: (not VERDICTS["attention"][1](c), not (c.gate or c.drift or c.performance))),
    "name": ("Model", lambda c: c.name.casefold()),
    "champion": ("Champion", _age),
    "gate": ("Last gate", _time(lambda c: c.gate)),
    "drift": ("Drift", _rank(lambda c: c.drift)),
    "performance": ("Performance", _rank(lambda c: c.performance)),
    "decision": ("Last decision", _time(lambda c: c.decision)),
}
"""What can be sorted by; ascending is newest or gravest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What one view of the list shows.

    :param cards: of this page. :param found: how many match. :param of: how many there are.
    :param counts: verdict -> how many of those that match the search.
    """

    cards: tuple[Card, ...]
    found: int
    of: int
    page: int
    pages: int
    counts: Mapping[str, int]


def select(
    cards: Sequence[Card],
    *,
    search: str = "",
    verdict: str = "",
    sort: str = DEFAULT_SORT,
    page: int = 1,
    per: int = 50,
) -> Selection:
    """Search, filter, sort and cut. An unknown verdict or sort is the default; a page past the end is the last.

    :param search: words that a name has to contain, all of them, in any case.
    :param sort: one of :data:`SORTS`, with ``-`` before it for the other way round.
    """
    words = search.casefold().split()
    matching = [c for c in cards if all(w in c.name.casefold() for w in words)]
    counts = {name: sum(test(c) for c in matching) for name, (_, test) in VERDICTS.items()}
    chosen = [c for c in matching if VERDICTS[verdict][1](c)] if verdict in VERDICTS else matching
    key = SORTS.get(sort.removeprefix("-"), SORTS[DEFAULT_SORT])[1]
    chosen = sorted(chosen, key=lambda c: c.name.casefold())
    chosen = sorted(chosen, key=key, reverse=sort.startswith("-"))
    pages = max(1, -(-len(chosen) // per))
    page = min(max(1, page), pages)
    return Selection(
        cards=tuple(chosen[(page - 1) * per : page * per]),
        found=len(chosen),
        of=len(cards),
        page=page,
        pages=pages,
        counts=counts,
    )


def _first(newest: Sequence[Entry], kind: str) -> Entry | None:
    return next((e for e in newest if e.kind == kind), None)


def _ended(entry: Entry | None, outcome: str) -> bool:
    return entry is not None and entry.outcome == outcome
