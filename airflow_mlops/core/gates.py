"""The gate: an evaluation and a policy in, one decision out. It fails closed.

A candidate passes when every check passes. With ``improvement`` the difference to the champion, counted so that
positive is better whatever the metric's direction:

- ``value``: ``lower <= figure <= upper``.
- ``beats_champion``: ``improvement >= min_absolute`` and ``improvement >= min_relative * abs(champion)``; with a
  confidence, the lower bound of the paired bootstrap is ``>= -margin``. A negative bound is a non-inferiority margin.
- ``slices``: the same in each slice; with a confidence, for all slices together after Holm's correction.
- ``calibration``: the calibration error, or with a confidence the upper end of what resampling makes of it, is small.
- ``fairness``: a rate (selection, true positives, false positives) differs little between groups.
- ``prediction_parity``, ``no_leakage``, ``signature_compatible``, ``latency``, ``size``: of the model and its rows.
- ``enough_rows``: as many rows judged it as were meant to, and most of them had a label.
- ``any_of``: an exception with a name: one alternative that passes whole is enough; ``all_of`` makes one of several.

What is not known is never a pass: a metric or slice that is missing, a figure that is not finite or impossible, a
champion of zero where ``min_relative`` needs one, a champion that exists and can't be loaded or scored, too few
resamples for the confidence.

Holm: A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.errors import UnknownName
from airflow_mlops.core.evaluation import Contender, Evaluation, Figure
from airflow_mlops.core.metrics import METRICS
from airflow_mlops.core.policies import (
    AllOf,
    AnyOf,
    BeatsBaseline,
    BeatsChampion,
    Calibration,
    EnoughRows,
    Fairness,
    Function,
    GatePolicy,
    Latency,
    NoLeakage,
    PredictionParity,
    SignatureCompatible,
    Size,
    Slices,
    Value,
)
from airflow_mlops.core.results import Check, Decision, Report, Status, finite
from airflow_mlops.core.verdicts import JUDGES, REQUIRE_APPROVAL, made, then_of

__all__ = [
    "AllOf",
    "AnyOf",
    "BeatsBaseline",
    "BeatsChampion",
    "Calibration",
    "EnoughRows",
    "Fairness",
    "Function",
    "GatePolicy",
    "Latency",
    "NoLeakage",
    "PredictionParity",
    "SignatureCompatible",
    "Size",
    "Slices",
    "Value",
    "judge",
    "verdict_markdown",
]

PASS, REJECT = "pass", "reject"


def judge(
    evaluation: Evaluation, policy: GatePolicy, *, recorded: bool = True, dag_run: Mapping[str, Any] | None = None
) -> Decision:
    """The verdict of a policy on an evaluation. Pure: the same two give the same decision.

    :param evaluation: figures and evidence.
    :param policy: what has to hold.
    :param recorded: whether the ledger has the evaluation; where it has not, the evidence says so.
    :param dag_run: who asks; recorded, and no input of the verdict.
    :returns: a decision of kind ``gate``: ``pass``, ``reject`` or ``require_approval``. Its evidence has ``candidate``
        and ``champion`` (version, digest, state), ``report`` with every check, the digests, and what was assumed.
    :raises UnknownName: when the policy names a metric that neither the table nor the evaluation knows.
    """
    _known_metrics(evaluation, policy)
    checks = [c for rule in policy.checks for c in JUDGES[type(rule)](evaluation, policy, rule)]
    checks += _contenders(evaluation, policy)
    inputs = {"evaluation": evaluation.digest, "policy": policy.digest, "data": evaluation.data_digest}
    report = Report(
        kind="gate",
        subject=f"{evaluation.model_name}/{evaluation.candidate.version}",
        checks=tuple(checks),
        inputs=inputs,
    )
    decision, reasons = _verdict(evaluation, policy, report)
    candidate, champion = evaluation.candidate, evaluation.champion
    return Decision(
        kind="gate",
        model=evaluation.model_name,
        decision=decision,
        reasons=reasons,
        evidence={
            "candidate": _identity(candidate),
            "champion": {**_identity(champion), "version": champion.version or None},
            "data_until": candidate.data_until,
            "data": {k: evaluation.data.get(k) for k in ("uri", "table", "name", "digest", "rows")},
            "rows": evaluation.rows,
            "evaluation": evaluation.record.get("key"),
            "on_missing_champion": policy.on_missing_champion if champion.state == "missing" else None,
            "policy": policy.to_dict(),
            "figures": [_row(f) for f in evaluation.metrics],
            "report": report.to_dict(),
            **({} if recorded else {"unrecorded": True}),
        },
        inputs=inputs,
        dag_run=dag_run or {},
    )


def _identity(contender: Contender) -> dict[str, Any]:
    names = ("version", "model_digest", "run_id", "data_until", "state", "error")
    return {name: getattr(contender, name) for name in names}


def _row(figure: Figure) -> dict[str, Any]:
    interval = figure.interval()
    return {
        "metric": figure.metric,
        "direction": figure.direction,
        "candidate": figure.candidate,
        "champion": figure.champion,
        "baseline": figure.baseline,
        "improvement": figure.improvement(),
        "interval": list(interval) if interval else None,
        "improvement_bound": figure.bound(0.95),
    }


def _known_metrics(evaluation: Evaluation, policy: GatePolicy) -> None:
    evaluated = {f.metric for f in evaluation.metrics}
    for rule in policy.every():
        name = getattr(rule, "metric", None)
        if name is not None and name not in evaluated and name not in METRICS and not isinstance(rule, Fairness):
            raise UnknownName("metric", name, {*METRICS, *evaluated})


def _verdict(evaluation: Evaluation, policy: GatePolicy, report: Report) -> tuple[str, tuple[str, ...]]:
    def waits(check: Check) -> bool:
        return check.details.get("then") == REQUIRE_APPROVAL

    blocking = [c for c in report.checks if c.blocks and not waits(c)]
    waiting = [c for c in report.checks if c.blocks and waits(c)]
    passed = sum(c.passed for c in report.checks)
    if blocking:
        gravest = [Status.FAILED, Status.ERROR, Status.INSUFFICIENT]
        blocking.sort(key=lambda c: (gravest.index(c.status), c.name, c.subject, c.message))
        return REJECT, tuple(c.line() for c in blocking)
    if not passed and not waiting:
        return REJECT, (
            "nothing could be judged: no check applied"
            + (
                " without a champion; add a value check, or on_missing_champion: require_approval"
                if evaluation.champion.state == "missing"
                else ""
            ),
        )
    if waiting:
        return REQUIRE_APPROVAL, tuple(sorted(c.message for c in waiting))
    skipped = sorted(c.message for c in report.checks if c.status is Status.SKIPPED)
    return PASS, (f"all {passed} checks that apply passed", *skipped)


def _contenders(evaluation: Evaluation, policy: GatePolicy) -> list[Check]:
    """What must hold whatever the policy asks: that the models could be scored, or that somebody decides."""
    checks = []
    candidate, champion = evaluation.candidate, evaluation.champion
    if not candidate.scored or not candidate.version:
        why = candidate.error or ("no version" if not candidate.version else "it was not scored")
        checks.append(made("candidate", Status.ERROR, f"the candidate could not be judged: {why}"))
    if not evaluation.rows:
        checks.append(made("rows", Status.ERROR, "the evaluation has no rows"))
    if champion.state == "error":
        message = (
            f"champion {champion.version or '?'} exists and could not be scored: {champion.error or 'unknown reason'}"
        )
        checks.append(made("champion", Status.ERROR, message, then=then_of(policy.on_broken_champion)))
    elif champion.state == "missing":
        if policy.on_missing_champion == "reject":
            checks.append(made("champion", Status.ERROR, "there is no champion, and the policy rejects without one"))
        elif policy.on_missing_champion == "require_approval":
            message = "there is no champion to compare with: a person decides"
            checks.append(made("champion", Status.ERROR, message, then=REQUIRE_APPROVAL))
    return checks


UNRECORDED = "The evaluation has no record in MLflow: the author of the DAG takes it as it is."

TITLES = {PASS: "passes", REJECT: "is rejected", REQUIRE_APPROVAL: "waits for an approval"}

MARKS = {
    Status.PASSED: "passed",
    Status.FAILED: "**failed**",
    Status.ERROR: "**unknown**",
    Status.INSUFFICIENT: "**too few rows**",
    Status.SKIPPED: "does not apply",
}


def verdict_markdown(decision: Decision, *, most: int = 20) -> str:
    """The verdict as a page that is read in a minute: what was decided, why, and every figure that it rests on.

    :param decision: of :func:`judge`.
    :param most: checks that are shown; those that did not pass come first.
    :returns: Markdown, for the task log, MLflow and an approval form.
    """
    evidence: Mapping[str, Any] = decision.evidence
    candidate, champion = evidence["candidate"], evidence["champion"]
    report = Report.from_dict(evidence["report"])
    against = {
        "missing": f"no champion yet ({evidence['on_missing_champion']})",
        "error": f"champion version {champion['version']}, which could not be scored",
    }.get(champion["state"], f"champion version {champion['version']}")
    data = evidence["data"]
    lines = [
        f"# {decision.model} version {candidate['version'] or '?'} {TITLES[decision.decision]}",
        "",
        f"Against {_cell(against)}, on {evidence['rows']} rows of {_cell(_place(data))} "
        f"(digest `{_cell(str(data['digest'])[:12])}`).",
        f"Model digest `{_cell(candidate['model_digest'][:12] or 'unknown')}`, "
        f"trained on data until {_cell(candidate['data_until'] or '?')}.",
        *([f"**{UNRECORDED}**"] if evidence.get("unrecorded") else []),
        "",
        *(f"- {_cell(reason)}" for reason in decision.reasons[:10]),
        *([f"- ... and {len(decision.reasons) - 10} more"] if len(decision.reasons) > 10 else []),
        "",
        "| metric | better | candidate (95%) | champion | baseline | improvement |",
        "|---|---|---|---|---|---|",
        *(_figure_line(f) for f in evidence["figures"]),
        "",
        "| check | about | | seen |",
        "|---|---|---|---|",
    ]
    checks = sorted(report.checks, key=lambda c: (c.passed, c.status is Status.SKIPPED, c.name, c.subject))
    lines += [f"| {c.name} | {_cell(c.subject)} | {_mark(c)} | {_cell(c.message)} |" for c in checks[:most]]
    if len(checks) > most:
        lines.append(f"| ... | {len(checks) - most} more | | |")
    lines += [
        "",
        f"Policy `{decision.inputs.get('policy', '')}`, evaluation `{decision.inputs.get('evaluation', '')}`.",
    ]
    return "\n".join(lines) + "\n"


def _mark(check: Check) -> str:
    waits = check.blocks and check.details.get("then") == REQUIRE_APPROVAL
    return "**waits for a person**" if waits else MARKS[check.status]


def _place(data: Mapping[str, Any]) -> str:
    return str(data.get("name") or data.get("table") or str(data.get("uri") or "unknown").rsplit("/", 1)[-1])


def _figure_line(figure: Mapping[str, Any]) -> str:
    own = _figure(figure["candidate"])
    if figure["interval"]:
        own += f" ({_figure(figure['interval'][0])} to {_figure(figure['interval'][1])})"
    better = _figure(figure["improvement"], "+")
    if figure["improvement_bound"] is not None:
        better += f" (95% sure of {_figure(figure['improvement_bound'], '+')})"
    others = f"{_figure(figure['champion'])} | {_figure(figure['baseline'])}"
    return f"| {_cell(figure['metric'])} | {figure['direction']} | {own} | {others} | {better} |"


def _figure(value: Any, sign: str = "") -> str:
    number = finite(value)
    return "-" if number is None else f"{number:{sign}.4g}"


def _cell(value: Any) -> str:
    """Text that can break neither out of a table cell nor into markup."""
    text = " ".join(str(value).split())[:300]
    for character in "\\|`<>[]*_":
        text = text.replace(character, "\\" + character)
    return text
