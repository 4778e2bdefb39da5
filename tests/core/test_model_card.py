"""Model cards: what the records do not say is said to be unknown, and nothing in a name becomes markup."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.model_card import card_markdown, model_card
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import Decision
from airflow_mlops.pages.model_card import model_card_page

PROMOTION = Decision(kind="promotion", model="late", decision="promoted", reasons=("it passed",), decided_by="ada")
VERSION = ModelVersion(name="late", version="3")


def evaluation(**figure: Any) -> Evaluation:
    return Evaluation(
        model_name="late",
        candidate=Contender(version="3"),
        champion=Contender(version="2"),
        metrics=(Figure(metric="roc_auc", direction="higher", **figure),),
        rows=100,
    )


def test_of_nothing_a_card_says_that_nothing_is_known() -> None:
    card = model_card(VERSION, promotion=PROMOTION)
    limits = card["limits"]
    unknown = ("data it was trained on", "no figures", "not judged by group", "How old its data is")
    for words in (*unknown, "What it is for", "treated alike was not looked at"):
        assert any(words in limit for limit in limits), words
    for shown in (card_markdown(card), model_card_page(card)):
        assert "nobody has said it" in shown and "Nobody was asked: the policy decided." in shown


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"candidate": None}, "could not be worked out"),
        ({"candidate": 0.7}, "without an interval"),
        (
            {
                "candidate": 0.7,
                "champion": 0.69,
                "replicates": 100,
                "candidate_quantiles": {"0.025": 0.6, "0.975": 0.8},
                "improvement_quantiles": {"0.05": -0.02},
            },
            "not surely better than the champion",
        ),
    ],
)
def test_what_is_uncertain_about_a_figure_is_a_limit(figure: dict[str, Any], words: str) -> None:
    limits = model_card(VERSION, promotion=PROMOTION, evaluation=evaluation(**figure))["limits"]
    assert any(words in limit for limit in limits), limits


def test_slices_have_intervals_and_groups_their_rates() -> None:
    quantiles = {"candidate_quantiles": {"0.025": 0.61, "0.975": 0.79}, "replicates": 1000}
    part = Figure(metric="roc_auc", direction="higher", candidate=0.7, **quantiles)
    said = {
        "selection_rate": {"groups": {"AA": 0.25, "UA": 0.2}, "difference": 0.05, "ratio": 0.8},
        "true_positive_rate": {"groups": {"AA": 0.5, "UA": None}, "difference": None, "ratio": None},
    }
    judged = dataclasses.replace(
        evaluation(candidate=0.7),
        slices=(Slice(by="carrier", value="AA", rows=90, metrics=(part,)),),
        fairness={"with": "fairlearn", "note": "", "by": {"carrier": said}},
    )
    about = {"Purpose": "Which flights will be late.", "limits": "Not for cargo."}
    card = model_card(VERSION, promotion=PROMOTION, evaluation=judged, about=about)
    assert card["slices"][0]["interval"] == [0.61, 0.79]
    assert card["fairness"]["by"]["carrier"]["selection_rate"]["ratio"] == 0.8
    text, page = card_markdown(card), model_card_page(card)
    assert "| carrier = AA | 90 | roc\\_auc | 0.7 (0.61 to 0.79) | - |" in text
    assert "| carrier | selection\\_rate | 0.05 | 0.8 | AA 0.25, UA 0.2 |" in text
    for shown in ("Rates by group", "0.61 to 0.79", "AA 0.25, UA 0.2"):
        assert shown in page, shown
    assert card["limits"][0] == "Not for cargo." and text.count("## Limits") == page.count(">Limits<") == 1
    limits = "\n".join(card["limits"])
    assert "true_positive_rate by carrier is not known of UA" in limits
    assert "What it is for" not in limits and "treated alike" not in limits and "judged by group" not in limits
    assert "nobody has said it" not in text + page


def test_why_there_are_no_rates_is_a_limit() -> None:
    found = dataclasses.replace(evaluation(candidate=0.7), fairness={"note": "rates need two classes", "by": {}})
    assert "rates need two classes" in model_card(VERSION, promotion=PROMOTION, evaluation=found)["limits"]


def test_rows_without_a_label_are_a_limit() -> None:
    training = Record(kind="training", model="late", key="t", outcome="trained", metrics={"unlabelled_rows": 7})
    assert any("7 rows" in limit for limit in model_card(VERSION, promotion=PROMOTION, training=training)["limits"])


text = st.text(max_size=20)


@given(name=text, heading=text, said=text, reason=text.filter(bool))
def test_a_card_is_plain_and_its_pages_are_only_text(name: str, heading: str, said: str, reason: str) -> None:
    attack = "<script>alert(1)</script>"
    approval = Decision(kind="approval", model="late", decision="approved", reasons=(reason + attack,), decided_by=name)
    card = model_card(
        ModelVersion(name=name + attack, version="3", tags={"mlops.data_until": said + attack}),
        promotion=PROMOTION,
        approvals=[approval],
        about={heading + attack: said + attack},
    )
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert "<script" not in model_card_page(card)
    lines = card_markdown(card).splitlines()
    assert not any("<script" in line.replace("\\<", "") for line in lines)
