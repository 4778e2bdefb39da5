"""The model card as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.model_card import NOBODY_ASKED, headings_of, said_of
from airflow_mlops.pages import words
from airflow_mlops.pages.evaluation import evaluated, fairness_rows
from airflow_mlops.pages.layout import PLAIN, Frame, render
from airflow_mlops.pages.parts import listed, part, place


def model_card_page(card: Mapping[str, Any], *, frame: Frame = PLAIN) -> str:
    """What a person who is handed the model has to know about it.

    :param card: of :func:`airflow_mlops.core.model_card.model_card`.
    :param frame: what surrounds a served page.
    :return: a self-contained HTML document.
    """
    data, training, lineage = part(card, "data"), part(card, "training"), part(card, "lineage")
    who = part(lineage, "dag_run")
    run = " / ".join(str(who[k]) for k in ("dag_id", "run_id") if who.get(k))
    features = training.get("features")
    return render(
        "model_card.html",
        frame,
        title=f"{card.get('model') or 'model'} version {card.get('version') or '?'}: model card",
        model=card.get("model") or "model",
        version=card.get("version") or "?",
        lead=f"Made the champion by {lineage.get('decided_by') or 'policy'}{f' in {run}' if run else ''}.",
        about=[(heading.capitalize(), text) for heading, text in headings_of(card)],
        limits=[str(limit) for limit in listed(card, "limits")],
        figures=evaluated(card),
        purpose=said_of(card, "purpose"),
        slices=[s for s in listed(card, "slices") if isinstance(s, Mapping)],
        fairness=fairness_rows(part(card, "fairness")),
        nobody_asked=NOBODY_ASKED,
        approvals=[a for a in listed(card, "approvals") if isinstance(a, Mapping)],
        facts=[
            ("Trained on", words.name(place(part(data, "trained_on")))),
            ("Rows", words.number(part(data, "trained_on").get("rows"))),
            ("Data until", words.name(data.get("trained_until"))),
            ("Judged on", words.name(place(part(data, "judged_on")))),
            ("Rows judged", words.number(data.get("rows_judged"))),
            ("Target", words.name(training.get("target"))),
            ("Features", words.name(", ".join(map(str, features)) if isinstance(features, list) else features, 400)),
            ("Trained by", words.name(training.get("function") or training.get("estimator"))),
            ("Code", words.short(training.get("code_version"))),
            ("Replaces", words.name(lineage.get("replaces") and f"version {lineage['replaces']}")),
            ("Files", words.short(card.get("model_digest"))),
        ],
        inputs=[(k, str(v)) for k, v in sorted(lineage.items()) if isinstance(v, str) and v],
        card=dict(card),
    )
