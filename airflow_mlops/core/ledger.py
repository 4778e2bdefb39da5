"""What a model's ledger says about retraining: records in, facts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.moments import newest
from airflow_mlops.core.records import CHAMPION, ModelVersion, Record
from airflow_mlops.core.retraining import RETRAIN, Outcome, RetrainingFacts, time_of

KINDS = ("drift", "performance", "gate", "retraining", "scoring", "validation")
"""The kinds of records that facts are gathered from."""


def facts_of(
    model: str,
    *,
    at: str,
    history: Sequence[Record],
    versions: Sequence[ModelVersion],
    champion: ModelVersion | None = None,
    trigger: str = "schedule",
    person: str = "",
    labelled_until: str = "",
    data: str = "",
    rows: int | None = None,
    new_partitions: int | None = None,
    new_rows: int | None = None,
    configuration: str = "",
    backfill: bool = False,
) -> RetrainingFacts:
    """Facts for :func:`~airflow_mlops.core.retraining.decide`.

    Only what was known at ``at`` counts: records of a later time are left out, so that a replay of March decides as
    March did. Checks count for the version that they were made on. Decisions of a replay never count as trainings.

    :param history: records of the kinds :data:`KINDS`, in any order.
    :param versions: registered versions, in any order.
    :param champion: default: the one of ``versions`` that has the alias.
    :param labelled_until: newest data with labels, comparable as text with ``data_until``; empty: not known.
    """
    now = time_of(at)
    champion = champion or next((v for v in versions if CHAMPION in v.aliases), None)
    known = [r for r in newest_first(history) if not r.at or time_of(r.at) <= now]
    trained = newest(v.tag("data_until") for v in versions)
    own = [r for r in known if champion is not None and _version(r) in ("", champion.version)]
    retrainings = [
        r for r in newest_first(history) if r.kind == "retraining" and r.outcome == RETRAIN and not r.backfill
    ]
    parts = _partitions(known, trained)
    counted = [n for n in parts.values() if n is not None]
    return RetrainingFacts(
        model=model,
        at=at,
        trigger=trigger,
        person=person,
        champion=champion.version if champion else "",
        champion_until=champion.tag("data_until") if champion else "",
        newest=max((v.version for v in versions), key=_number, default=""),
        trained_until=trained,
        labelled_until=labelled_until,
        data=data,
        rows=rows,
        new_partitions=new_partitions if new_partitions is not None else (len(parts) if trained else None),
        new_rows=new_rows if new_rows is not None else (sum(counted) if trained and counted else None),
        configuration=configuration,
        champion_configuration=_configuration(champion, versions),
        drift=outcomes(own, "drift"),
        performance=outcomes(own, "performance"),
        retrainings=tuple(
            (r.at, str(_evidence(r).get("base", "")), str(_evidence(r).get("newest", ""))) for r in retrainings
        ),
        rejected=_rejected(newest_first(history)),
        backfill=backfill,
    )


def _configuration(champion: ModelVersion | None, versions: Sequence[ModelVersion]) -> str:
    """What the last training since the champion was trained with: a candidate that was rejected has been tried too."""
    if champion is None:
        return ""
    since = [v for v in versions if _number(v.version) > _number(champion.version) and v.tag("config_digest")]
    return max([champion, *since], key=lambda v: _number(v.version)).tag("config_digest")


def outcomes(records: Iterable[Record], kind: str) -> tuple[Outcome, ...]:
    """One outcome a partition, newest first; of a performance check one realised and one estimated.

    A partition can have several checks (features, predictions; delivered again): of each kind of comparison the newest
    counts, and the partition failed when any of those failed.
    """
    found = []
    for i, group in enumerate(partitions(r for r in records if r.kind == kind)):
        latest: dict[bool, dict[str, Record]] = {}
        for record in group:
            estimated = _part(record.body, "details").get("basis") == "estimated"
            compared = str(_part(record.body, "inputs").get("reference", ""))
            latest.setdefault(estimated, {}).setdefault(compared, record)
        for estimated, checks in latest.items():
            first = next(iter(checks.values()))
            ends = {r.outcome for r in checks.values()}
            worst = next((o for o in ("failed", "error", "insufficient_data", "passed") if o in ends), first.outcome)
            broken = [broken_inputs(r.body) for r in checks.values() if r.outcome == "failed"]
            outcome = Outcome(
                at=first.at,
                subject=first.subject or first.at,
                outcome=worst,
                estimated=estimated,
                partition=str(i),
                broken=tuple(dict.fromkeys(b for some in broken for b in some)) if all(broken) else (),
            )
            found.append((time_of(first.at).timestamp() if first.at else float("-inf"), outcome))
    return tuple(outcome for _, outcome in sorted(found, key=lambda x: -x[0]))


def partitions(records: Iterable[Record]) -> list[list[Record]]:
    """Records of checks, by the partition that they are about; the newest partition and the newest record first.

    What has one name is one partition, unless both its time and its rows are others: a file that is written over every
    day, or a table, has the same name in every check.
    """
    groups: dict[str, list[list[Record]]] = {}
    found: list[list[Record]] = []
    for record in newest_first(records):
        named = groups.setdefault(record.subject or record.at, [])
        group = next((g for g in named if any(_same_rows(record, r) for r in g)), None)
        if group is None:
            group = []
            named.append(group)
            found.append(group)
        group.append(record)
    return found


def _same_rows(one: Record, other: Record) -> bool:
    a, b = (_rows_digest(r) for r in (one, other))
    return one.at == other.at or not (a and b) or a == b


def _rows_digest(record: Record) -> str:
    inputs = _part(record.body, "inputs")
    return str(inputs.get("predictions") or inputs.get("current") or inputs.get("data") or "")


def broken_inputs(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What is broken where nothing else drifted: a fault of what delivers the data, not a world that changed.

    What drifts beside that in a broken column, in the predictions or in all rows together follows from it.

    :param report: of a drift check, as a dict.
    :returns: ``check of column``; empty where any sound column drifted, or nothing is broken.
    """
    failed = _failed(report)
    lost = {_subject(c): str(c["name"]) for c in failed if _is_lost(c)}
    if any(_subject(c) not in lost for c in failed):
        return ()
    return tuple(f"{name} of {column or 'the columns'}" for column, name in sorted(lost.items()))


def has_broken_inputs(report: Mapping[str, Any]) -> bool:
    """Whether a column is gone, has another type, more nulls or values that are not finite, or one value for many.

    :param report: of a drift check, as a dict.
    """
    return any(_is_lost(c) for c in _failed(report))


def _failed(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The failed checks of single columns; those of predictions only where no input failed."""
    checks = report.get("checks")
    features = (*LOST, "distribution", "unseen_share")
    found = [c for c in checks if isinstance(c, Mapping)] if isinstance(checks, list | tuple) else []
    failed = [c for c in found if c.get("status") == "failed" and c.get("name") in features]
    if "predictions" in _part(report, "details"):
        return [c for c in failed if not _subject(c).startswith("predictions ")] or failed
    return failed


def _subject(check: Mapping[str, Any]) -> str:
    return str(check.get("subject", ""))


LOST = ("schema", "null_share", "nonfinite_share", "distinct_share")
"""Checks of a drift report that a broken delivery fails."""


def _is_lost(check: Mapping[str, Any]) -> bool:
    if check.get("name") in ("schema", "distinct_share"):  # the latter fails where values are lost
        return True
    details = _part(check, "details")
    before, after = details.get("reference"), details.get("current")
    more = isinstance(before, int | float) and isinstance(after, int | float) and after > before
    return check.get("name") in LOST and more


def newest_first(records: Iterable[Record]) -> list[Record]:
    """By the time they are about; those without one last; the given order among equals."""
    dated = [(time_of(r.at).timestamp() if r.at else float("-inf"), i, r) for i, r in enumerate(records)]
    return [r for _, _, r in sorted(dated, key=lambda x: (-x[0], x[1]))]


def _partitions(records: Sequence[Record], since: str) -> dict[str, int | None]:
    """Time -> rows of the partitions that were seen since.

    One partition leaves several records: two files that were validated, features and predictions that were compared.
    All are about the same time. Kinds are not mixed, since one may be written by runs that are dated otherwise.
    """
    kinds: dict[str, dict[str, int | None]] = {}
    for record in reversed(newest_first(records)):
        if _newer(record, since):
            rows = _rows(record)
            seen = kinds.setdefault(record.kind, {})
            seen[record.at] = rows if rows is not None else seen.get(record.at)
    return max(kinds.values(), key=len, default={})


def _rejected(records: Iterable[Record]) -> int:
    candidates: set[str] = set()
    for record in records:
        if record.kind != "gate" or record.backfill:
            continue
        if record.outcome == "pass":
            break
        if record.outcome == "reject":
            candidates.add(record.subject or record.key)
    return len(candidates)


def _newer(record: Record, than: str) -> bool:
    if record.kind not in ("drift", "scoring", "validation") or not than or not record.at:
        return False
    return time_of(record.at) > time_of(than)


def _rows(record: Record) -> int | None:
    rows = _part(_part(record.body, "details"), "rows").get("current")
    return rows if isinstance(rows, int) else None


def _version(record: Record) -> str:
    return str(_part(record.body, "details").get("version", "") or "")


def _evidence(record: Record) -> Mapping[str, Any]:
    return _part(record.body, "evidence")


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (-1, version)
