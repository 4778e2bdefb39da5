"""Model cards: what the records do not say is said to be unknown, and nothing in a name becomes markup."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure
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
    limits = model_card(VERSION, promotion=PROMOTION)["limits"]
    for words in ("data it was trained on", "no figures", "not judged by group", "How old its data is"):
        assert any(words in limit for limit in limits), words


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
