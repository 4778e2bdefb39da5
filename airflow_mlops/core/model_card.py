"""The model card: what a person who is handed a model has to know about it, put together from the ledger.

Sections as in Mitchell et al., Model Cards for Model Reporting. FAT* (2019): intended use, data, figures with their
uncertainty, figures by group, limits; and, because a card that nobody can check is advertising, the lineage: digests,
keys of decisions, who approved. Nothing is judged here, and what the ledger does not know is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.evaluation import Evaluation, Figure
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision, Report, Status, finite, plain

MOST = 100
"""Slices that are listed."""

UNKNOWN = "not known"

NOBODY_ASKED = "Nobody was asked: the policy decided."


def model_card(
    version: ModelVersion,
    *,
    promotion: Decision,
    gate: Decision | None = None,
    evaluation: Evaluation | None = None,
    training: Record | None = None,
    approvals: Sequence[Decision] = (),
    about: Mapping[str, str] | None = None,
) -> dict[str, JSON]:
    """The card of a version that became the champion, as plain values.

    :param version: as registered.
    :param promotion: the decision that made it the champion.
    :param gate: the decision that let it through.
    :param evaluation: its figures, with intervals and slices.
    :param training: its training's record.
    :param approvals: of the people who were asked.
    :param about: what no ledger knows, heading -> text: ``purpose``, ``limits``, ``owner`` and the like.
    :return: a function of the arguments: the same records give the same card.
    """
    learned: Mapping[str, Any] = training.body if training else {}
    config = _part(learned, "config")
    evidence = gate.evidence if gate else {}
    metrics = [_figure(f) for f in evaluation.metrics] if evaluation else []
    card: dict[str, Any] = {
        "model": version.name,
        "version": version.version,
        "model_digest": version.model_digest or None,
        "about": {str(k): str(v) for k, v in (about or {}).items()},
        "data": {
            "trained_on": _data(learned.get("data")),
            "trained_until": version.tag("data_until") or None,
            "judged_on": _data(evaluation.data if evaluation else evidence.get("data")),
            "rows_judged": evaluation.rows if evaluation else evidence.get("rows"),
        },
        "training": {
            "code_version": learned.get("code_version") or version.tag("code_version") or None,
            "function": _part(config, "train").get("name"),
            "estimator": _part(learned, "described").get("estimator"),
            "target": config.get("target"),
            "features": config.get("features"),
            "run_id": version.run_id or None,
            "key": learned.get("training_key") or version.tag("training_key") or None,
        },
        "metrics": metrics or evidence.get("figures") or [],
        "slices": _slices(evaluation),
        "fairness": dict(evaluation.fairness) if evaluation else {},
        "checks": _checks(gate),
        "approvals": [
            {
                "by": a.decided_by,
                "decision": a.decision,
                "at": a.evidence.get("answered_at"),
                "reason": a.reasons[0],
                "key": a.key,
            }
            for a in approvals
        ],
        "lineage": {
            "replaces": promotion.evidence.get("replaces"),
            "promotion": promotion.key,
            "decided_by": promotion.decided_by,
            "gate": gate.key if gate else promotion.evidence.get("gate"),
            "policy": gate.inputs.get("policy") if gate else None,
            "dag_run": promotion.dag_run,
        },
    }
    card["limits"] = _limits(card, gate, training)
    result = plain(card)
    assert isinstance(result, dict)
    return result


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown, for MLflow and for reading in a terminal.

    :param card: of :func:`model_card`.
    """
    data, training, lineage = _part(card, "data"), _part(card, "training"), _part(card, "lineage")
    lines = [f"# {_cell(card.get('model'))} version {_cell(card.get('version'))}", ""]
    if not said_of(card, "purpose"):
        lines += ["## Purpose", "", f"{UNKNOWN.capitalize()}: nobody has said it.", ""]
    for heading, text in headings_of(card):
        lines += [f"## {_cell(heading).capitalize()}", "", _cell(text, most=5000), ""]
    lines += ["## Limits", "", *(f"- {_cell(limit, most=1000)}" for limit in card.get("limits") or ()), ""]
    lines += ["## Figures", "", *_figure_lines(card), ""]
    if card.get("slices"):
        lines += [
            "## Slices",
            "",
            "| slice | rows | metric | model (95 %) | champion before |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {_cell(s['by'])} = {_cell(s['value'])} | {_number(s['rows'])} | {_cell(s['metric'])} "
            f"| {_own(s)} | {_number(s['champion'])} |"
            for s in card["slices"]
        ]
        lines.append("")
    if spreads := list(spreads_of(_part(card, "fairness"))):
        lines += ["## Fairness", "", "| groups by | rate | difference | ratio | each group |", "|---|---|---|---|---|"]
        lines += [
            f"| {_cell(by)} | {_cell(rate)} | {_number(spread.get('difference'))} | {_number(spread.get('ratio'))} "
            f"| {', '.join(f'{_cell(g)} {_number(v)}' for g, v in _part(spread, 'groups').items())} |"
            for by, rate, spread in spreads
        ]
        lines.append("")
    lines += [
        "## Data",
        "",
        f"- trained on {_place(data.get('trained_on'))}, until {_cell(data.get('trained_until') or UNKNOWN)}",
        f"- judged on {_place(data.get('judged_on'))}",
        "",
        "## Where it comes from",
        "",
        f"- files `{_cell(card.get('model_digest') or UNKNOWN)}`",
        *(f"- {name.replace('_', ' ')}: {_cell(_words(value))}" for name, value in training.items()),
        *(f"- {name.replace('_', ' ')}: {_cell(_words(value))}" for name, value in lineage.items()),
        "",
    ]
    lines += ["## Approvals", ""]
    lines += [
        f"- {_cell(a['decision'])} by {_cell(a['by'])} at {_cell(a['at'] or UNKNOWN)}: {_cell(a['reason'])}"
        for a in card.get("approvals") or ()
    ] or [f"- {NOBODY_ASKED}"]
    return "\n".join([*lines, ""])


def said_of(card: Mapping[str, Any], heading: str) -> str:
    """What the author of the DAG said under a heading, ``purpose`` say; empty where nothing."""
    about = _part(card, "about").items()
    return next((str(text).strip() for name, text in about if str(name).strip().lower() == heading), "")


def headings_of(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the author said, heading by heading; the limits stand with those that the records tell."""
    return [(str(k), str(v)) for k, v in _part(card, "about").items() if str(k).strip().lower() != "limits"]


def spreads_of(fairness: Mapping[str, Any]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """Grouping, rate and how it spreads over the groups, of :func:`~airflow_mlops.core.fairness.fairness_of`."""
    for by, rates in _part(fairness, "by").items():
        for rate, spread in rates.items() if isinstance(rates, Mapping) else ():
            yield str(by), str(rate), spread if isinstance(spread, Mapping) else {}


def _figure(figure: Figure) -> dict[str, Any]:
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


def _slices(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    found = []
    for part in evaluation.slices if evaluation else ():
        for figure in part.metrics:
            named = {"by": part.by, "value": part.value, "rows": part.rows, "metric": figure.metric}
            interval = {"interval": list(ends) if (ends := figure.interval()) else None}
            found.append({**named, "candidate": figure.candidate, **interval, "champion": figure.champion})
    return found[:MOST]


def _checks(gate: Decision | None) -> list[dict[str, Any]]:
    report = gate.evidence.get("report") if gate else None
    if not isinstance(report, Mapping):
        return []
    names = ("name", "subject", "status", "message")
    return [{n: str(getattr(c, n)) for n in names} for c in Report.from_dict(report).checks][:MOST]


def _limits(card: Mapping[str, Any], gate: Decision | None, training: Record | None) -> list[str]:
    """What is known not to be known, from the records themselves."""
    limits = [text] if (text := said_of(card, "limits")) else []
    if not said_of(card, "purpose"):
        limits.append("What it is for, and what not, nobody has said.")
    until = card["data"]["trained_until"]
    limits.append(
        f"It has seen data until {until}; what changed since is not in it."
        if until
        else "How old its data is: unknown."
    )
    if not card["data"]["trained_on"]:
        limits.append("The ledger does not have the data it was trained on.")
    if not card["metrics"]:
        limits.append("The ledger has no figures of it.")
    for figure in card["metrics"]:
        if finite(figure.get("candidate")) is None:
            limits.append(f"{figure.get('metric')} could not be worked out.")
        elif figure.get("interval") is None:
            limits.append(f"{figure.get('metric')} is given without an interval: how far chance goes is not known.")
        bound = finite(figure.get("improvement_bound"))
        if bound is not None and bound < 0:
            limits.append(
                f"In {figure.get('metric')} it is not surely better than the champion before: chance can explain "
                f"as much as {bound:.3g}."
            )
    unlabelled = training.metrics.get("unlabelled_rows", 0) if training else 0
    if unlabelled:
        limits.append(f"{unlabelled:.0f} rows of its training data had no label and were left out.")
    if not card["slices"]:
        limits.append("It was not judged by group: figures of parts of the data can be worse than of the whole.")
    if not _part(card["fairness"], "by"):
        limits.append("Whether groups are treated alike was not looked at.")
    if note := card["fairness"].get("note"):
        limits.append(str(note))
    for by, rate, spread in spreads_of(card["fairness"]):
        lacking = [str(g) for g, share in _part(spread, "groups").items() if finite(share) is None]
        if lacking:
            limits.append(
                f"{rate} by {by} is not known of {', '.join(lacking[:5])}: there are no rows to be a share of."
            )
    thin = (str(Status.INSUFFICIENT), str(Status.ERROR))
    limits += [f"{c['name']} {c['subject']}: {c['message']}".strip() for c in card["checks"] if c["status"] in thin]
    if gate is not None and _part(gate.evidence, "champion").get("state") == "missing":
        limits.append("It was judged without a champion to compare with.")
    return limits


def _figure_lines(card: Mapping[str, Any]) -> Iterable[str]:
    if not card.get("metrics"):
        return ["None are recorded."]
    head = ["| metric | better | model (95 %) | champion before | baseline |", "|---|---|---|---|---|"]
    return head + [_figure_line(f) for f in card["metrics"]]


def _figure_line(figure: Mapping[str, Any]) -> str:
    others = f"{_number(figure.get('champion'))} | {_number(figure.get('baseline'))}"
    return f"| {_cell(figure.get('metric'))} | {_cell(figure.get('direction'))} | {_own(figure)} | {others} |"


def _own(figure: Mapping[str, Any]) -> str:
    interval = figure.get("interval")
    ends = f" ({_number(interval[0])} to {_number(interval[1])})" if interval else ""
    return _number(figure.get("candidate")) + ends


def _data(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    return {k: value[k] for k in ("name", "uri", "table", "digest", "rows", "filters") if value.get(k)} or None


def _place(data: Any) -> str:
    if not isinstance(data, Mapping):
        return UNKNOWN
    where = data.get("name") or data.get("table") or str(data.get("uri") or UNKNOWN).rsplit("/", 1)[-1]
    return f"{_number(data.get('rows'))} rows of {_cell(where)} (digest `{_cell(data.get('digest') or UNKNOWN)}`)"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v is not None) or UNKNOWN
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or UNKNOWN
    return UNKNOWN if value is None else str(value)


def _number(value: Any) -> str:
    number = finite(value)
    return "-" if number is None else f"{number:,.0f}" if number == int(number) else f"{number:.4g}"


def _cell(value: Any, most: int = 300) -> str:
    """Text that can break neither out of a table cell nor into markup."""
    text = " ".join(str(value).split())[:most]
    for character in "\\|`<>[]*_":
        text = text.replace(character, "\\" + character)
    return text


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}
