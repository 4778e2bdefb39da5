"""Approvals as values: whatever comes back from a form, only a person's clear yes is one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.approval import Answer, Question, by_answer, by_policy, differing, question, standing
from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.promotion import PromotionRequest, Scene, judge
from airflow_mlops.core.results import Decision
from tests.core.registry_in_memory import MODEL, candidate

GATE = Decision(
    kind="gate",
    model=MODEL,
    decision="require_approval",
    reasons=("there is no champion",),
    evidence={"candidate": {"version": "3", "model_digest": "d3"}, "champion": {"version": None}},
    inputs={"evaluation": "three"},
)
REQUEST = PromotionRequest.of(MODEL, GATE)
ASKED = question(REQUEST)
YES = Answer(option="Approve", by="ada", at="2013-05-02T12:00:00+00:00")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Approve", "Reject", "ada"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {},
    optional={
        "chosen_options": anything,
        "params_input": anything,
        "responded_at": anything,
        "responded_by_user": anything | st.fixed_dictionaries({"id": anything, "name": anything}),
        "timedout": anything,
        "error": anything,
    },
)


@given(events)
def test_only_a_persons_clear_yes_is_an_approval(event: dict[str, Any]) -> None:
    answer = Answer.of(event)
    yes = answer.option == "Approve"
    clear = event.get("chosen_options") in (["Approve"], ("Approve",)) and "error" not in event
    user = event.get("responded_by_user")
    assert yes == (clear and not event.get("timedout") and isinstance(user, dict) and bool(user.get("id")))


@given(st.sampled_from([f.name for f in dataclasses.fields(Question)]), st.text(max_size=20))
def test_whatever_of_a_question_changes_is_seen(name: str, other: str) -> None:
    changed = dataclasses.replace(ASKED, **{name: other})
    assert bool(differing(ASKED.identity, changed)) == (changed != ASKED)


def test_the_same_decision_is_asked_about_in_the_same_words() -> None:
    assert question(PromotionRequest.of(MODEL, Decision.from_dict(GATE.to_dict()))) == ASKED


def test_standing_names_what_is_in_the_way() -> None:
    assert standing(REQUEST, GATE, candidate("3")) == ()
    assert [r.code for r in standing(REQUEST, None, None)] == ["no_gate", "version_deleted"]
    rejected = dataclasses.replace(GATE, decision="reject")
    asked = PromotionRequest.of(MODEL, rejected)
    assert [r.code for r in standing(asked, rejected, candidate("3"))] == ["gate_rejected"]
    other = PromotionRequest.of("other", GATE)
    assert [r.code for r in standing(other, GATE, candidate("3"))] == ["no_gate"]


def test_an_approval_made_here_is_what_a_promotion_takes() -> None:
    decision = by_answer(ASKED, YES, task="t")
    request = PromotionRequest.of(MODEL, GATE, approval=decision.to_dict())
    scene = Scene(champion=None, candidate=candidate("3"), gate=GATE, approvals=(decision,))
    assert judge(request, scene).step == "claim"
    assert judge(request, dataclasses.replace(scene, approvals=(None,))).refusals[0].code == "not_approved"


def test_the_policy_does_not_stand_in_for_a_person() -> None:
    decision = by_policy(ASKED)
    request = PromotionRequest.of(MODEL, GATE, approval=decision)
    scene = Scene(champion=None, candidate=candidate("3"), gate=GATE, approvals=(decision,))
    assert judge(request, scene).refusals[0].code == "not_approved"


@pytest.mark.parametrize("by", ["policy", "timeout"])
def test_a_user_can_not_be_called_nobody(by: str) -> None:
    with pytest.raises(PolicyError):
        by_answer(ASKED, dataclasses.replace(YES, by=by), task="t")


def test_an_approval_without_a_person_is_none() -> None:
    with pytest.raises(PolicyError):
        by_answer(ASKED, Answer(option="Approve"), task="t")


def test_two_tasks_and_two_answers_are_records_of_their_own() -> None:
    later = dataclasses.replace(YES, at="2013-05-02T13:00:00+00:00")
    keys = {by_answer(ASKED, a, task=t).key for a in (YES, later) for t in ("first", "second")}
    assert len(keys) == 4
    again = by_answer(ASKED, YES, task="first", dag_run={"try_number": 2})
    assert again.key == by_answer(ASKED, YES, task="first").key
