"""Reports, verdicts, evaluations and profiles as pages; each takes the plain dict that is in XCom and in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_mlops.core.gates import UNRECORDED
from airflow_mlops.core.results import finite
from airflow_mlops.pages import charts, words
from airflow_mlops.pages.evaluation import MOST_CHECKS, champion_words, evaluation_page, figure_row
from airflow_mlops.pages.histograms import columns_of, plots_of
from airflow_mlops.pages.layout import PLAIN, Frame, render
from airflow_mlops.pages.parts import listed, part, place

NOT_FAILED = ("passed", "skipped")

HEADINGS = {
    "validation": "Validation of",
    "drift": "Drift of",
    "performance": "Performance of",
    "gate": "Gate of",
    "evaluation": "Evaluation of",
}


def report_page(
    report: Mapping[str, Any],
    *,
    reference: Mapping[str, Any] | None = None,
    current: Mapping[str, Any] | None = None,
    frame: Frame = PLAIN,
) -> str:
    """A validation, drift or performance report.

    :param report: a :class:`~airflow_mlops.core.results.Report` as a dict.
    :param reference: the profile (as a dict) that the batch was compared with; with ``current``, every column that
        both have is drawn. Without the two, columns are drawn whose bins are in ``details["histograms"]``:
        ``{column: {"labels": [...], "reference": [...], "current": [...]}}``.
    :param current: the profile of the batch.
    :param frame: what surrounds a served page.
    :return: a self-contained HTML document.
    """
    kind = str(report.get("kind") or "report")
    details = part(report, "details")
    checks = _checks(report, kind)
    failed = [c for c in checks if c["status"] not in NOT_FAILED]
    held = [c for c in checks if c["status"] in NOT_FAILED]
    passed = sum(c["status"] == "passed" for c in checks)
    unknown = sum(c["status"] in ("error", "insufficient_data") for c in checks)
    subject = words.shown(report.get("subject"), 120)
    plots = plots_of(report, reference, current)
    chart = _chart(kind, report)
    return render(
        "report.html",
        frame,
        title=f"{kind} of {subject}",
        heading=HEADINGS.get(kind, kind.capitalize() + " of"),
        kind=kind,
        subject=subject,
        status=report.get("status") or _status(checks),
        lead=f"{passed} of {len(checks)} checks passed"
        + (f", {len(failed) - unknown} failed" if len(failed) - unknown else "")
        + (f", {unknown} could not be judged" if unknown else "")
        + ".",
        facts=_facts(kind, details),
        notes=_notes(report, checks),
        failed=failed[:MOST_CHECKS],
        failed_caption=_caption(failed, "did not pass; an unknown is never a pass"),
        held=held[:MOST_CHECKS],
        held_caption=_caption(held, "passed or do not apply"),
        plots=plots,
        chart=chart,
        statistics=_statistics(report) if kind == "drift" else [],
        chart_title="Largest effects, as a multiple of their bound" if kind == "drift" else "Figures",
        inputs=sorted(part(report, "inputs").items()),
        details={k: v for k, v in details.items() if k != "histograms"},
    )


def verdict_page(decision: Mapping[str, Any], *, frame: Frame = PLAIN) -> str:
    """A decision: of a gate, a promotion, a rollback, about retraining.

    :param decision: a :class:`~airflow_mlops.core.results.Decision` as a dict.
    :param frame: what surrounds a served page.
    :return: a self-contained HTML document.
    """
    kind, evidence = str(decision.get("kind") or "decision"), part(decision, "evidence")
    candidate, champion = part(evidence, "candidate"), part(evidence, "champion")
    checks = _checks(part(evidence, "report"), "gate")
    outcome = str(decision.get("decision") or "")
    reasons = [str(r) for r in listed(decision, "reasons")]
    version = candidate.get("version") or evidence.get("version") or ""
    who = part(decision, "dag_run")
    run = " / ".join(str(who[k]) for k in ("dag_id", "run_id") if who.get(k))
    return render(
        "verdict.html",
        frame,
        title=f"{decision.get('model') or 'model'}: {kind} {words.verdict(outcome, kind).word}",
        model=decision.get("model") or "model",
        version=version,
        kind=kind,
        decision=outcome,
        tone=words.verdict(outcome, kind).tone,
        lead=f"Decided by {decision.get('decided_by') or 'policy'}{f' in {run}' if run else ''}.",
        reasons=reasons[:10],
        more_reasons=max(0, len(reasons) - 10),
        note=UNRECORDED if evidence.get("unrecorded") else "",
        facts=_evidence(evidence, candidate, champion),
        figures=[figure_row(f) for f in listed(evidence, "figures") if isinstance(f, Mapping)],
        failed=[c for c in checks if c["status"] not in NOT_FAILED][:MOST_CHECKS],
        held=[c for c in checks if c["status"] in NOT_FAILED][:MOST_CHECKS],
        inputs=sorted(part(decision, "inputs").items()),
        policy=evidence.get("policy"),
        evidence={k: v for k, v in evidence.items() if k not in ("report", "figures", "policy")},
    )


def profile_page(profile: Mapping[str, Any], *, frame: Frame = PLAIN) -> str:
    """A profile: a histogram or the frequent categories, nulls and extremes of every column.

    :param profile: a :class:`~airflow_mlops.core.profile.Profile` as a dict.
    """
    columns = columns_of(profile)
    return render(
        "profile.html",
        frame,
        title=f"Profile of {words.shown(profile.get('name') or 'a dataset', 120)}",
        subject=profile.get("name") or "a dataset",
        facts=[
            ("Rows", words.number(profile.get("rows"))),
            ("Columns", words.number(len(columns))),
            ("Data digest", words.short(profile.get("dataset_digest"))),
        ],
        columns=columns,
    )


def page_of(value: Any, *, frame: Frame = PLAIN) -> str | None:
    """The page of what a task of this package returned or recorded; ``None`` for anything else.

    >>> page_of({"rows": 3}) is None, page_of("text") is None
    (True, True)
    """
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("checks"), list) and "kind" in value:
        return report_page(value, frame=frame)
    if {"decision", "reasons", "kind"} <= set(value):
        return verdict_page(value, frame=frame)
    if {"candidate", "champion", "metrics", "model_name"} <= set(value):
        return evaluation_page(value, frame=frame)
    if {"version", "rows", "columns"} <= set(value) and isinstance(value["columns"], list):
        return profile_page(value, frame=frame)
    for key in ("report", "decision", "profile", "evaluation"):
        if isinstance(value.get(key), Mapping) and (page := page_of(value[key], frame=frame)):
            return page
    if "training_key" in value and "model_name" in value:
        return _training_page(value, frame)
    return None


def _training_page(value: Mapping[str, Any], frame: Frame) -> str:
    metrics = part(value, "metrics")
    return render(
        "result.html",
        frame,
        title=f"{value.get('model_name')} version {value.get('version')}: training",
        facts=[
            ("Version", words.name(value.get("version"))),
            ("New", "yes" if value.get("created") else "no: the same training was found"),
            ("Data", words.name(place(part(value, "data")))),
            ("Training key", words.short(value.get("training_key"))),
            *((words.name(k), words.number(v)) for k, v in sorted(metrics.items())),
        ],
        value=dict(value),
    )


def _checks(report: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The checks as rows: failures first, the gravest first, then by name."""
    order = {"failed": 0, "error": 1, "require_approval": 2, "insufficient_data": 2, "passed": 3, "skipped": 4}
    severity = {"critical": 0, "warning": 1, "info": 2}
    rows: list[dict[str, Any]] = []
    for check in listed(report, "checks"):
        if not isinstance(check, Mapping):
            continue
        result = part(part(check, "details"), "result")
        examples = [e for e in listed(result, "partial_unexpected_list") if e is not None]
        rows.append(
            {
                "name": check.get("name") or "check",
                "subject": check.get("subject") or "",
                "status": _shown(check),
                "severity": str(check.get("severity") or "critical"),
                "observed": check.get("observed"),
                "expected": check.get("expected") or "",
                "message": check.get("message") or "",
                "examples": list(dict.fromkeys(map(str, examples)))[:5],
                "kind": kind if kind in ("drift",) else "",
            }
        )
    rows.sort(
        key=lambda c: (order.get(c["status"], 1), severity.get(c["severity"], 0), str(c["name"]), str(c["subject"]))
    )
    return rows


def _shown(check: Mapping[str, Any]) -> str:
    """What a check is called: one that hands over to a person waits, and is not what could not be judged."""
    status = str(check.get("status") or "error")
    waits = part(check, "details").get("then") == "require_approval" and status not in NOT_FAILED
    return "require_approval" if waits else status


def _status(checks: Sequence[Mapping[str, Any]]) -> str:
    """Where a report does not say: never a pass by default."""
    return "error" if not checks else "failed" if any(c["status"] not in NOT_FAILED for c in checks) else "passed"


def _caption(checks: Sequence[Any], what: str) -> str:
    text = f"{len(checks)} {what}"
    return text + (f"; the first {MOST_CHECKS} are shown" if len(checks) > MOST_CHECKS else "")


def _notes(report: Mapping[str, Any], checks: Sequence[Any]) -> list[tuple[str, str]]:
    details, notes = part(report, "details"), []
    if not checks:
        notes.append(("bad", "Nothing was checked, so nothing is known. That is not a pass."))
    basis = details.get("basis")
    if basis == "estimated":
        notes.append(("unsure", "These are estimates made without labels, not observations."))
    if basis == "none":
        notes.append(("unsure", "There are no labels to judge by yet, and nothing could be estimated."))
    if details.get("backfill"):
        notes.append(("plain", "Written by a replay of history; it triggered nothing."))
    return notes


def _facts(kind: str, details: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = part(details, "rows")
    labels = part(details, "labels")
    found: list[tuple[str, Any]] = []
    if rows:
        found += [(f"Rows of the {k}", words.number(v)) for k, v in rows.items()]
    if kind == "drift":
        found += [
            (
                "Columns that drifted",
                f"{words.number(details.get('columns_drifted'))} of {words.number(details.get('columns'))}",
            ),
            ("Rule", words.name(details.get("rule"))),
        ]
        for label, key in (("Compared with", "compared_with"), ("Which is", "comparison")):
            if details.get(key):
                found.append((label, words.name(details[key])))
    if labels:
        found += [
            ("Predictions", words.number(labels.get("predictions"))),
            ("Labels", f"{words.number(labels.get('labelled'))} of {words.number(labels.get('due'))} due"),
            ("Coverage", words.share(labels.get("coverage"))),
        ]
    if details.get("basis"):
        found.append(("Basis", words.name(details["basis"])))
    for key in ("version", "environment", "suite"):
        if isinstance(details.get(key), str | int):
            found.append((key.capitalize(), words.name(str(details[key]))))
    return found


def _chart(kind: str, report: Mapping[str, Any]) -> Markup | str:
    if kind != "drift":
        return ""
    excess: dict[str, float] = {}
    for check in listed(report, "checks"):
        value = finite(part(check, "details").get("excess"))
        if value is not None and check.get("subject"):
            excess[str(check["subject"])] = max(excess.get(str(check["subject"]), 0.0), value)
    rows = sorted(excess.items(), key=lambda r: -r[1])[:20]
    if not rows or rows[0][1] <= 0:
        return ""
    return charts.bars(
        "Effect over its bound", rows, desc="Over 1 is past the bound. Drift also needs a small p-value."
    )


def _statistics(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The test and every effect of each column, with what the bins can hide of those that are not defined by them."""
    rows = []
    for check in listed(report, "checks"):
        if not isinstance(check, Mapping):
            continue
        details = part(check, "details")
        effects, errors = part(details, "effects"), part(details, "errors")
        if check.get("name") != "distribution" or not effects:
            continue
        rows.append(
            {
                "column": check.get("subject") or "",
                "test": details.get("test"),
                "statistic": details.get("statistic"),
                "rows": listed(details, "statistic_on_rows"),
                "p": details.get("p_value"),
                "effects": [(name, value, errors.get(name)) for name, value in effects.items()],
            }
        )
    return rows[:MOST_CHECKS]


def _evidence(
    evidence: Mapping[str, Any], candidate: Mapping[str, Any], champion: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    data = part(evidence, "data")
    found: list[tuple[str, Any]] = []
    if champion:
        found.append(("Judged against", champion_words(champion)))
    if evidence.get("rows"):
        found.append(("Rows", words.number(evidence["rows"])))
    if data:
        found += [("Data", words.name(place(data))), ("Data digest", words.short(data.get("digest")))]
    for label, value in (
        ("Model digest", candidate.get("model_digest") or evidence.get("model_digest")),
        ("Trained on data until", candidate.get("data_until") or evidence.get("data_until")),
    ):
        if value:
            found.append((label, words.short(value) if "digest" in label else words.name(value)))
    if until := evidence.get("at"):
        found.append(("At", words.when(until)))
    return found
