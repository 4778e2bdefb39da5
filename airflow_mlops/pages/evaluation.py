"""The page of an evaluation: figures, groups, slices and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from airflow_mlops.core.results import finite
from airflow_mlops.pages import charts, words
from airflow_mlops.pages.layout import PLAIN, Frame, render
from airflow_mlops.pages.parts import listed, part, place
from airflow_mlops.pages.pictures import charts_of

MOST_CHECKS = 500
"""Rows of a table; a report with more says how many there are."""

MOST_GROUPS = 12
"""Groups that a line of rates names."""


def evaluation_page(evaluation: Mapping[str, Any], *, frame: Frame = PLAIN) -> str:
    """Candidate, champion and baseline on the same rows.

    :param evaluation: an :class:`~airflow_mlops.core.evaluation.Evaluation` as a dict.
    """
    candidate, champion, data = (part(evaluation, k) for k in ("candidate", "champion", "data"))
    notes = [
        ("bad", f"the {who} could not be scored: {c.get('error') or 'unknown reason'}")
        for who, c in (("candidate", candidate), ("champion", champion))
        if c.get("state") == "error"
    ]
    notes += [("unsure", f"no slices by {k}: {v}") for k, v in part(evaluation, "slice_errors").items()]
    explained, fairness, frozen = (part(evaluation, k) for k in ("explanations", "fairness", "frozen"))
    notes += [("unsure", str(said["note"])) for said in (explained, fairness) if said.get("note")]
    if error := part(evaluation, "importances").get("error"):
        notes.append(("unsure", f"importances are not known: {error}"))
    if frozen.get("read") == "copy":
        notes.append(("unsure", "the rows are gone or are others now: read from the copy that was kept of them"))
    return render(
        "evaluation.html",
        frame,
        title=f"{evaluation.get('model_name')} version {candidate.get('version')}: evaluation",
        model=evaluation.get("model_name") or "model",
        version=candidate.get("version") or "?",
        state=candidate.get("state") or "error",
        lead="Figures and evidence; whether they are good enough is the gate's to say.",
        notes=notes,
        facts=[
            ("Champion", champion_words(champion)),
            ("Rows", words.number(evaluation.get("rows"))),
            ("Rows without a label", words.number(evaluation.get("dropped"))),
            ("Data", words.name(place(data))),
            ("Data digest", words.short(data.get("digest"))),
            ("Baseline", words.name(evaluation.get("baseline"))),
            *([("Rows kept", "yes" if frozen.get("kept") else f"no: {frozen.get('why')}")] if frozen else []),
            *([("Rates by", words.name(fairness.get("with")))] if fairness.get("by") else []),
        ],
        figures=evaluated(evaluation),
        charts=[c for name, c in charts_of(evaluation).items() if name != "intervals"],
        confusion=_confusion(part(evaluation, "confusion")),
        fairness=fairness_rows(fairness),
        slices=[
            {
                **{k: s.get(k) for k in ("by", "value", "rows")},
                **{k: f.get(k) for k in ("metric", "candidate", "champion")},
                "interval": interval_of(f),
            }
            for s in listed(evaluation, "slices")
            if isinstance(s, Mapping)
            for f in listed(s, "metrics")
            if isinstance(f, Mapping)
        ][:MOST_CHECKS],
    )


def _confusion(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table a model: a row a true class, with how many there are and for which class they were taken."""
    classes = [str(c) for c in listed(confusion, "classes")]
    tables = []
    for who in ("candidate", "champion"):
        cells = [[finite(v) or 0 for v in row] for row in listed(confusion, who) if isinstance(row, list)]
        if len(cells) == len(classes) > 1 and all(len(row) == len(classes) for row in cells):
            rows = [
                (name, sum(row), list(zip(classes, row, strict=True))) for name, row in zip(classes, cells, strict=True)
            ]
            tables.append({"who": who, "classes": classes, "rows": rows})
    return tables


def fairness_rows(fairness: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rates by group of an evaluation as the rows of a table."""
    rows = []
    for by, rates in part(fairness, "by").items():
        for rate, spread in rates.items() if isinstance(rates, Mapping) else ():
            groups = part(spread, "groups") if isinstance(spread, Mapping) else {}
            told = ", ".join(f"{g} {words.number(v)}" for g, v in list(groups.items())[:MOST_GROUPS])
            told += f" and {len(groups) - MOST_GROUPS} more" if len(groups) > MOST_GROUPS else ""
            ends = {k: spread.get(k) for k in ("difference", "ratio")} if isinstance(spread, Mapping) else {}
            rows.append({"by": by, "rate": rate, "groups": told, "difference": None, "ratio": None, **ends})
    return rows


def evaluated(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of an evaluation as the rows of a table, intervals worked out from their quantiles."""
    from airflow_mlops.core.errors import MlopsError
    from airflow_mlops.core.evaluation import Figure

    rows = []
    for value in listed(evaluation, "metrics"):
        try:
            figure = Figure(**value)
        except (TypeError, MlopsError):  # written by another release: its plain figures still say something
            rows.append(figure_row(value if isinstance(value, Mapping) else {}))
            continue
        interval = figure.interval()
        rows.append(
            figure_row(
                {
                    **value,
                    "improvement": figure.improvement(),
                    "interval": list(interval) if interval else None,
                    "improvement_bound": figure.bound(0.95),
                }
            )
        )
    return rows


def interval_of(figure: Mapping[str, Any]) -> list[float] | None:
    """The 95 % interval of a figure as a dict; ``None`` where none is known."""
    from airflow_mlops.core.errors import MlopsError
    from airflow_mlops.core.evaluation import Figure

    try:
        ends = Figure(**figure).interval()
    except (TypeError, MlopsError):  # written by another release
        return None
    return list(ends) if ends else None


def figure_row(value: Mapping[str, Any]) -> dict[str, Any]:
    """A figure as the row of a table."""
    interval = value.get("interval")
    ends = [finite(v) for v in interval] if isinstance(interval, list | tuple) and len(interval) == 2 else []
    candidate = finite(value.get("candidate"))
    chart: Markup | str = ""
    if candidate is not None and len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        metric = words.shown(value.get("metric"), 60)
        chart = charts.interval(metric, candidate, ends[0], ends[1], finite(value.get("champion")))
    row = {
        k: value.get(k)
        for k in ("metric", "direction", "candidate", "champion", "baseline", "improvement", "improvement_bound")
    }
    return {**row, "interval": ends if chart else None, "chart": chart}


def champion_words(champion: Mapping[str, Any]) -> str | Markup:
    """The champion in few words."""
    if champion.get("state") == "missing" or not champion.get("version"):
        return "none yet"
    return Markup("version {}").format(words.name(champion["version"]))
