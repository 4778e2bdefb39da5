"""What the ledger answers about versions: who was champion when and why, and which rows a version saw.

Everything is worked out from records; nothing here asks MLflow. A time is the ledger's own: what a record is about (a
partition's date, a run's interval), which for a loop that keeps up is also when it happened.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Status

MOVES = ("promotion", "rollback")
"""Kinds of records that can move the champion."""

MOVED = ("promoted", "rolled_back", "moved_outside")
"""Outcomes of those that did."""

TRAINED_ON, JUDGED_ON = "trained on", "judged on"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reign:
    """A version as champion.

    :param version: its number; empty: the alias was taken away.
    :param since: ISO time from which on, as the ledger has it.
    :param until: when the next one followed; empty: it still is.
    :param record: the promotion or rollback that made it so.
    :param gap: what does not fit with the reign before: the alias was moved by somebody outside of the ledger, or
        records are about times in another order than they were made in. Empty: it fits.
    """

    version: str
    since: str
    until: str
    record: Record
    gap: str = ""


def reigns(records: Iterable[Record]) -> list[Reign]:
    """The champions of a model, oldest first.

    :param records: of the kinds :data:`MOVES`, newest first as a ledger gives them; others are left out.

    >>> first = Record(kind="promotion", model="m", key="a", outcome="promoted", subject="1", at="2013-05-01")
    >>> second = Record(kind="promotion", model="m", key="b", outcome="promoted", subject="2", at="2013-06-01")
    >>> [(r.version, r.until) for r in reigns([second, first])]
    [('1', '2013-06-01'), ('2', '')]
    """
    moves = [r for r in records if r.kind in MOVES and r.outcome in MOVED and r.at][::-1]
    moves.sort(key=lambda r: moment(r.at))  # stable: of one time, the one that was written last is last
    found: list[Reign] = []
    for i, record in enumerate(moves):
        version = version_of(record)
        until = moves[i + 1].at if i + 1 < len(moves) else ""
        replaced = str(_part(record.body, "evidence").get("replaces") or "")
        before = found[-1].version if found else ""
        gap = ""
        if replaced != before and "replaces" in _part(record.body, "evidence"):
            old, known = (f"version {v}" if v else "no champion" for v in (replaced, before))
            gap = f"it replaced {old}, and the ledger has {known} before it"
        found.append(Reign(version=version, since=record.at, until=until, record=record, gap=gap))
    return found


def champion_at(records: Iterable[Record], at: str) -> Reign | None:
    """The champion at a time, or ``None`` before the first one.

    :param at: ISO date-time; or a date or a month, of which the end counts: a promotion on that day is seen.
    :raises UsageError: for anything else.
    """
    end, inclusive = _end(at)
    reached = [r for r in reigns(records) if moment(r.since) < end or (inclusive and moment(r.since) == end)]
    return reached[-1] if reached else None


def promotion_of(records: Iterable[Record], version: str, before: str) -> Record | None:
    """The newest promotion of a version up to a time: a rollback goes back to what was once promoted."""
    limit = moment(before)
    found = [r for r in records if r.kind == "promotion" and r.outcome == "promoted" and version_of(r) == version]
    return next((r for r in found if moment(r.at) <= limit), None)


def account(
    reign: Reign,
    *,
    promotion: Record | None = None,
    gate: Record | None = None,
    training: Record | None = None,
) -> dict[str, JSON]:
    """Why a version was champion: who decided, on which evidence, trained from which data and code.

    :param promotion: the promotion that the version passed the gate for, where the reign began with a rollback.
    :param gate: the gate's decision.
    :param training: the training that made the version.
    :return: plain values; what the ledger does not know is null.
    """
    body, judged = reign.record.body, gate.body if gate else {}
    evidence = _part(body, "evidence")
    promoted = _part(promotion.body, "evidence") if promotion else evidence
    learned = training.body if training else {}
    return {
        "model": reign.record.model,
        "version": reign.version or None,
        "since": reign.since,
        "until": reign.until or None,
        "decision": reign.record.outcome,
        "decided_by": body.get("decided_by"),
        "reasons": body.get("reasons") or [],
        "dag_run": body.get("dag_run") or {},
        "replaced": evidence.get("replaces"),
        "note": reign.gap or None,
        "evidence": {
            "record": reign.record.run_id or reign.record.key,
            "gate": promoted.get("gate"),
            "gate_record": gate.run_id if gate else None,
            "gate_reasons": judged.get("reasons") or [],
            "figures": _part(judged, "evidence").get("figures") or [],
            "judged_on": _part(judged, "evidence").get("data"),
            "policy": _part(judged, "inputs").get("policy"),
            "approval": promoted.get("approval"),
        },
        "model_digest": evidence.get("model_digest"),
        "data": learned.get("data"),
        "data_until": learned.get("data_until") or promoted.get("data_until"),
        "code_version": learned.get("code_version") or None,
        "trained_by": _trainer(_part(_part(learned, "config"), "train")),
        "training": {"key": learned.get("training_key"), "run_id": training.run_id if training else None},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Rows that a version saw.

    :param role: :data:`TRAINED_ON` or :data:`JUDGED_ON`.
    :param ref: the resolved reference.
    :param columns: those that were used, in order; empty: all.
    :param used: rows that counted, where that is not all of them.
    :param why: why not all.
    :param at: the time of the record.
    :param record: MLflow's run.
    """

    role: str
    ref: DatasetRef
    columns: tuple[str, ...] = ()
    used: int | None = None
    why: str = ""
    at: str = ""
    record: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Plain values, with the code that gets the rows back."""
        ref = self.ref.to_dict()
        if "uri" in ref:
            ref["uri"] = self.ref.location
        return {
            "role": self.role,
            "location": self.ref.location,
            "connection": self.ref.conn_id or None,
            "version": self.ref.version or None,
            "filters": [list(f) for f in self.ref.filters],
            "rows": self.ref.rows,
            "rows_used": self.used,
            "why": self.why or None,
            "digest": self.ref.digest or None,
            "columns": list(self.columns),
            "at": self.at or None,
            "record": self.record or None,
            "ref": ref,
            "code": code_for(self.ref, self.columns),
        }


def rows_seen(training: Record | None, evaluations: Sequence[Record] = ()) -> list[Seen]:
    """The rows that a version was trained on and judged on, in this order; each dataset once.

    :param training: its training's record.
    :param evaluations: records of evaluations of this version.
    """
    found: list[Seen] = []
    if training is not None and (ref := _ref(training)) is not None:
        lost = training.metrics.get("unlabelled_rows", 0)
        used = training.metrics.get("rows")
        found.append(
            Seen(
                role=TRAINED_ON,
                ref=ref,
                columns=_columns(training, ref),
                used=int(used) if used is not None else None,
                why=f"{int(lost)} rows without a label were left out" if lost else "",
                at=training.at,
                record=training.run_id,
            )
        )
    judged: set[str] = set()
    for record in evaluations:
        if (ref := _ref(record)) is None or ref.digest in judged:
            continue
        judged.add(ref.digest)
        dropped, rows = record.body.get("dropped"), record.body.get("rows")
        found.append(
            Seen(
                role=JUDGED_ON,
                ref=ref,
                used=rows if isinstance(rows, int) else None,
                why=f"{dropped} rows without a label were left out" if dropped else "",
                at=record.at,
                record=record.run_id,
            )
        )
    return found


def code_for(ref: DatasetRef, columns: Sequence[str] = ()) -> str:
    """Python that reads exactly these rows again, or refuses: ``verify`` compares the content.

    >>> print(code_for(DatasetRef(uri="may.parquet", digest="0f" * 16, rows=3), ["hour", "late"]))
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.engines import engine_for, verify
    <BLANKLINE>
    ref = DatasetRef(
        uri='may.parquet',
        digest='0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f',
        rows=3,
    )
    verify(ref)  # raises Conflict where the rows are others by now
    rows = engine_for(ref).read(ref.select('hour', 'late'))
    """
    fields = {**ref.to_dict(), **({"uri": ref.location} if ref.uri else {})}
    given = [f"    {k}={v!r}," for k, v in fields.items() if k != "schema"]
    read = f"ref.select({', '.join(map(repr, columns))})" if columns else "ref"
    return "\n".join(
        [
            "from airflow_mlops.core.datasets import DatasetRef",
            "from airflow_mlops.engines import engine_for, verify",
            "",
            "ref = DatasetRef(",
            *given,
            ")",
            *(["verify(ref)  # raises Conflict where the rows are others by now"] if ref.digest else []),
            f"rows = engine_for(ref).read({read})",
        ]
    )


def why(record: Record, most: int = 200) -> str:
    """A record's reason in one line: a decision's first, or the first check that did not hold.

    >>> why(Record(kind="gate", model="m", key="k", outcome="reject", body={"reasons": ["roc_auc is 0.5"]}))
    'roc_auc is 0.5'
    """
    reasons, checks = record.body.get("reasons"), record.body.get("checks")
    if isinstance(reasons, list) and reasons:
        return str(reasons[0])[:most]
    fine = (Status.PASSED.value, Status.SKIPPED.value)
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, Mapping) and check.get("status") not in fine:
            about = f"{check.get('subject')}: " if check.get("subject") else ""
            return f"{about}{check.get('message') or check.get('name')}"[:most]
    error = record.body.get("error")
    return str(error.get("message") if isinstance(error, Mapping) else error or "")[:most]


def who(record: Record) -> str:
    """Who a record is by: the decider of a decision, and the task that wrote it."""
    decided = str(record.body.get("decided_by") or "")
    run = _part(record.body, "dag_run")
    task = ".".join(str(run[k]) for k in ("dag_id", "task_id") if run.get(k))
    if task and decided in ("", "policy", "task"):
        return task
    return f"{decided} in {task}" if task else decided


def version_of(record: Record) -> str:
    """The version that a promotion or a rollback made the champion."""
    return record.subject or str(_part(record.body, "evidence").get("version") or "")


def moment(text: str) -> dt.datetime:
    """A time from ISO text; UTC unless it says otherwise.

    :raises UsageError: for text that is no time.
    """
    try:
        time = dt.datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
    except ValueError:
        raise UsageError(f"{text!r} is no ISO date, date-time or month, such as 2013-06-30") from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _end(text: str) -> tuple[dt.datetime, bool]:
    begin = moment(text)
    if len(text) == 7:
        return (begin.replace(day=28) + dt.timedelta(days=4)).replace(day=1), False
    return (begin + dt.timedelta(days=1), False) if len(text) == 10 else (begin, True)


def _trainer(described: Mapping[str, Any]) -> str | None:
    """The function or the estimator that a training's configuration names."""
    if "partial" in described:
        return _trainer(_part(described, "partial"))
    found = described.get("function") or described.get("estimator")
    return str(found) if found else None


def _ref(record: Record) -> DatasetRef | None:
    data = record.body.get("data")
    return DatasetRef.from_dict(data) if isinstance(data, Mapping) and data else None


def _columns(training: Record, ref: DatasetRef) -> tuple[str, ...]:
    config = _part(training.body, "config")
    named = config.get("features")
    features = [str(c) for c in named] if isinstance(named, list) else []
    target, time = str(config.get("target") or ""), str(config.get("time_column") or "")
    features = features or [c for c in ref.schema if c not in (target, time)]
    return tuple(dict.fromkeys(c for c in (*features, target, time) if c))


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}
