"""What a lifecycle event says to a person: a report or decision in, a title and a text out. Pure.

The title fits a subject line, the text says why, on what figures, and where to look next.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.results import JSON, finite

MOST_REASONS = 10
MOST_COLUMNS = 3
MOST_TITLE = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent.

    :param event: one of :data:`EVENTS`.
    :param title: one line.
    :param text: some lines; plain text.
    :param model: the model that it is about; empty where none is.
    :param subject: version or partition.
    :param run: DAG run and task, as plain values.
    :param url: where Airflow shows the task; empty where it is not known.
    """

    event: str
    title: str
    text: str
    model: str = ""
    subject: str = ""
    run: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    url: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Plain values, for a webhook."""
        return {
            "event": self.event,
            "title": self.title,
            "text": f"{self.title}\n{self.text}",
            "model": self.model,
            "subject": self.subject,
            "dag_run": dict(self.run),
            "url": self.url,
        }


def _model(value: Mapping[str, Any]) -> str:
    return str(value.get("model") or value.get("model_name") or "")


def _version(value: Mapping[str, Any]) -> str:
    evidence = _part(value, "evidence")
    return str(_part(evidence, "candidate").get("version") or evidence.get("version") or "")


def _labelled(value: Mapping[str, Any]) -> str:
    version = _version(value)
    return f"{_model(value) or 'the model'}{f' version {version}' if version else ''}"


def _drift(value: Mapping[str, Any]) -> str:
    details = _part(value, "details")
    share = f": {details['columns_drifted']} of {details['columns']} columns" if "columns_drifted" in details else ""
    worst = dict.fromkeys(
        str(c["subject"]) for c in _worst(value) if c.get("subject") and c.get("name") != "new_column"
    )
    named = f" ({', '.join(list(worst)[:MOST_COLUMNS])})" if worst else ""
    return f"Drift in {value.get('subject') or 'the data'}{share}{named}"


def _worst(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What failed, what stands in the way first, then the largest effect over its floor; what has no size is first."""

    def order(check: Mapping[str, Any]) -> tuple[bool, float]:
        excess = finite(_part(check, "details").get("excess"))
        return check.get("severity") == "warning" and check.get("name") == "new_column", -(
            math.inf if excess is None else excess
        )

    return sorted((c for c in _checks(value) if c.get("status") == "failed"), key=order)


def _performance(value: Mapping[str, Any]) -> str:
    estimated = "Estimated performance" if _part(value, "details").get("basis") == "estimated" else "Performance"
    failed = [c for c in _checks(value) if c.get("status") == "failed" and c.get("subject")]
    figure = finite(failed[0].get("observed")) if failed else None
    seen = f": {failed[0]['subject']} {figure:.4g}" if failed and figure is not None else ""
    return f"{estimated} dropped in {value.get('subject') or 'the last batch'}{seen}"


EVENTS: Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], str]]] = {
    "gate_rejected": (
        lambda v: _is(v, "gate", "reject"),
        lambda v: f"Rejected: {_labelled(v)} did not pass the gate",
    ),
    "approval_needed": (
        lambda v: _is(v, "gate", "require_approval"),
        lambda v: f"Approval needed: {_labelled(v)}",
    ),
    "gate_passed": (lambda v: _is(v, "gate", "pass"), lambda v: f"Passed: {_labelled(v)}"),
    "promoted": (
        lambda v: _is(v, "promotion", "promoted", "already_promoted"),
        lambda v: f"Promoted: {_labelled(v)} is the champion",
    ),
    "rolled_back": (
        lambda v: _is(v, "rollback", "rolled_back"),
        lambda v: f"Rolled back: {_labelled(v)} is the champion again",
    ),
    "refused": (
        lambda v: _is(v, "promotion", "refused", "reject") or _is(v, "rollback", "refused", "reject"),
        lambda v: f"Refused: the champion of {_model(v) or 'the model'} was not changed",
    ),
    "retrain": (lambda v: _is(v, "retraining", "retrain"), lambda v: f"Retraining: {_model(v)}"),
    "retraining_alert": (
        lambda v: _is(v, "retraining", "alert"),
        lambda v: f"Attention: {_model(v)} needs a person",
    ),
    "drift": (lambda v: _failed(v, "drift"), _drift),
    "performance_drop": (lambda v: _failed(v, "performance"), _performance),
    "drift_warning": (lambda v: _warned(v, "drift"), lambda v: _warning(v, "no drift")),
    "performance_warning": (lambda v: _warned(v, "performance"), lambda v: _warning(v, "performance held")),
    "validation_failed": (
        lambda v: _failed(v, "validation") or bool(v.get("kind") == "validation" and _warnings(v)),
        lambda v: f"{'Warning for' if v.get('passed') else 'Data not valid:'} {v.get('subject') or 'the dataset'}",
    ),
    "not_judged": (
        lambda v: "checks" in v and v.get("status") in ("error", "insufficient_data"),
        lambda v: f"{str(v.get('kind')).capitalize()} could not be judged: {v.get('subject') or 'the last batch'}",
    ),
}
"""Event -> how it is recognised, and its title. The first that fits is it; else ``task_failed`` or ``finished``."""

NAMES = (*EVENTS, "deadline_missed", "task_failed", "finished")


def message_for(
    value: Mapping[str, Any] | None,
    *,
    run: Mapping[str, JSON] | None = None,
    error: str = "",
    url: str = "",
    deadline: str = "",
) -> Message:
    """The message of one event.

    :param value: a report, a decision, or a task's result that has one; ``None`` or anything else: only what Airflow
        knows is said.
    :param run: ``dag_id``, ``run_id``, ``task_id`` ...
    :param error: why the task failed, where it did.
    :param url: where Airflow shows it.
    :param deadline: the time that a DAG run had to be done by and was not.

    >>> message_for({"kind": "gate", "model": "churn", "decision": "reject", "reasons": ["roc_auc is 0.5"],
    ...              "evidence": {"candidate": {"version": "3"}}}).title
    'Rejected: churn version 3 did not pass the gate'
    """
    run = dict(run or {})
    found = _inner(value) if isinstance(value, Mapping) else {}
    event = next((name for name, (fits, _) in EVENTS.items() if fits(found)), "")
    where = " / ".join(str(run[k]) for k in ("dag_id", "task_id") if run.get(k))
    if event:
        title = EVENTS[event][1](found)
    else:
        event = "deadline_missed" if deadline else "task_failed" if error else "finished"
        word = {"deadline_missed": "Too late", "task_failed": "Failed", "finished": "Finished"}[event]
        title = f"{word}: {where or 'a task'}"
    lines = _why(found) or ([error] if error else [])
    lines += [f"It had to be done by {deadline}."] if deadline else []
    about = _about(found)
    lines += [about] if about else []
    if run.get("dag_id"):
        told = ", ".join(f"{k.removesuffix('_id')} {run[k]}" for k in ("dag_id", "run_id", "task_id") if run.get(k))
        lines.append(f"Airflow: {told}")
    record = str(_part(value, "record").get("link") or "") if isinstance(value, Mapping) else ""
    lines += [f"Record: {record}"] if record.startswith(("http://", "https://")) else []
    if url:
        lines.append(url)
    return Message(
        event=event,
        title=" ".join(title.split())[:MOST_TITLE],
        text="\n".join(lines),
        model=_model(found),
        subject=_version(found) or str(found.get("subject") or ""),
        run=run,
        url=url,
    )


def _inner(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report or decision in a task's result."""
    if "checks" in value or ("decision" in value and "reasons" in value):
        return value
    for key in ("report", "decision"):
        if isinstance(value.get(key), Mapping):
            return {**_inner(value[key]), **{k: value[k] for k in ("model_name",) if k in value}}
    return value


def _is(value: Mapping[str, Any], kind: str, *decisions: str) -> bool:
    return value.get("kind") == kind and value.get("decision") in decisions


def _failed(value: Mapping[str, Any], kind: str) -> bool:
    return value.get("kind") == kind and value.get("status") == "failed"


def _warned(value: Mapping[str, Any], kind: str) -> bool:
    """Whether all is well but for warnings: a new column is no drift, a label that came twice no drop."""
    return value.get("kind") == kind and value.get("status") == "passed" and bool(_warnings(value))


def _warning(value: Mapping[str, Any], well: str) -> str:
    names = dict.fromkeys(f"{c.get('name')} {c.get('subject') or ''}".strip() for c in _warnings(value))
    return (
        f"Warning for {value.get('subject') or 'the last batch'}: {well}, but {', '.join(list(names)[:MOST_COLUMNS])}"
    )


def _warnings(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [c for c in _checks(value) if c.get("status") == "failed" and c.get("severity") == "warning"]


def _checks(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    checks = value.get("checks")
    return [c for c in checks if isinstance(c, Mapping)] if isinstance(checks, list | tuple) else []


def _why(value: Mapping[str, Any]) -> list[str]:
    """At most ten reasons, then how many more there are."""
    reasons = value.get("reasons")
    lines = [str(r) for r in reasons] if isinstance(reasons, list | tuple) else []
    checks = _checks(value)
    if value.get("kind") == "drift":  # the columns that moved furthest first
        worst = _worst(value)
        checks = [*(c for c in checks if c.get("name") == "dataset"), *(c for c in worst if c.get("name") != "dataset")]
        checks += [c for c in _checks(value) if c.get("status") != "failed" and c.get("name") != "dataset"]
    for check in checks:
        if check.get("status") not in ("passed", "skipped"):
            about = f" {check['subject']}" if check.get("subject") else ""
            seen = check.get("message") or f"saw {check.get('observed')!r}, expected {check.get('expected')}"
            lines.append(f"{check.get('name')}{about}: {seen}")
    shown = [f"- {line[:400]}" for line in lines[:MOST_REASONS]]
    return shown + ([f"- and {len(lines) - MOST_REASONS} more"] if len(lines) > MOST_REASONS else [])


def _about(value: Mapping[str, Any]) -> str:
    """What it was judged against and on, for a decision."""
    evidence = _part(value, "evidence")
    champion, data = _part(evidence, "champion"), _part(evidence, "data")
    parts = []
    if champion.get("version"):
        parts.append(f"champion: version {champion['version']}")
    if evidence.get("rows"):
        parts.append(f"rows: {evidence['rows']}")
    if data.get("name"):
        parts.append(f"data: {data['name']}")
    return ", ".join(parts)


def _part(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}
