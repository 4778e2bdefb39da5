"""What may become the champion: every refusal, and that an unknown is one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.champion import promote, rollback
from airflow_mlops.core.errors import UnknownName
from airflow_mlops.core.moves import Claim, Move, moves_to
from airflow_mlops.core.promotion import (
    REFUSALS,
    Judgement,
    PromotionRequest,
    Refusal,
    RollbackRequest,
    Scene,
    judge,
    judge_rollback,
)
from airflow_mlops.core.results import Decision
from tests.core.registry_in_memory import MODEL, InMemory, candidate


def gate(**changes: Any) -> dict[str, Any]:
    decision = Decision(
        kind="gate",
        model=MODEL,
        decision="pass",
        reasons=("every check passed",),
        evidence={"candidate": {"version": "3", "model_digest": "d3"}, "champion": {"version": "1"}},
        inputs={"evaluation": "e", "policy": "p"},
    )
    return dataclasses.replace(decision, **changes).to_dict()


def gate_of_four() -> dict[str, Any]:
    evidence = {"candidate": {"version": "4", "model_digest": "d4"}, "champion": {"version": "1"}}
    return gate(evidence=evidence, inputs={"evaluation": "four"})


def approval(request: PromotionRequest, **changes: Any) -> dict[str, Any]:
    shown = {"version": request.version, "model_digest": request.model_digest, "gate": request.inputs["gate"]}
    decision = Decision(
        kind="approval", model=MODEL, decision="approved", reasons=("looks right",), evidence=shown, decided_by="ada"
    )
    return dataclasses.replace(decision, **changes).to_dict()


SCENE = Scene(champion=candidate("1", until="2013-04"), candidate=candidate("3"))


def look(request: PromotionRequest, scene: Scene = SCENE) -> Judgement:
    """A judgement where the ledger has the decisions that were given."""
    return judge(request, dataclasses.replace(scene, gate=request.gate, approvals=request.approvals))


def codes(request: PromotionRequest, scene: Scene = SCENE) -> list[str]:
    judgement = look(request, scene)
    assert (judgement.step == "refuse") == bool(judgement.refusals)
    return [r.code for r in judgement.refusals]


def test_a_passed_gate_against_the_champion_may_claim_the_succession() -> None:
    judgement = look(PromotionRequest.of(MODEL, gate()), SCENE)
    assert (judgement.step, judgement.number) == ("claim", 0)


@pytest.mark.parametrize("nothing", [None, {}, "", "None", [], 3, {"decision": "pass"}, {"kind": "gate"}])
def test_what_is_no_gate_decision_is_refused(nothing: object) -> None:
    assert codes(PromotionRequest.of(MODEL, nothing)) == ["no_gate"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"decision": "reject"}, "gate_rejected"),
        ({"decision": "passed"}, "gate_rejected"),
        ({"decision": ""}, "gate_rejected"),
        ({"decision": "require_approval"}, "not_approved"),
        ({"kind": "retraining"}, "no_gate"),
        ({"model": "other"}, "other_model"),
        ({"evidence": {}}, "no_gate"),
        ({"evidence": {"candidate": {"version": "3"}, "champion": {"version": "1"}}}, "digest_unknown"),
        ({"evidence": {"candidate": {"version": "3", "model_digest": "other"}}}, "digest_differs"),
        ({"evidence": {"candidate": {"version": "3", "model_digest": "d3"}}}, "champion_moved"),
        ({"evidence": {"candidate": {"version": "3", "model_digest": "d3"}, "champion": None}}, "champion_moved"),
    ],
)
def test_a_gate_that_does_not_say_all_is_refused(changes: dict[str, Any], code: str) -> None:
    assert code in codes(PromotionRequest.of(MODEL, gate(**changes)))


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        ({"candidate": None}, "version_deleted"),
        ({"candidate": dataclasses.replace(candidate("3"), status="PENDING_REGISTRATION")}, "not_ready"),
        ({"candidate": dataclasses.replace(candidate("3"), status="")}, "not_ready"),
        ({"candidate": candidate("3", pinned="AUC fell")}, "pinned"),
        ({"candidate": candidate("3", model_digest="other")}, "digest_differs"),
        ({"candidate": candidate("3", model_digest="")}, "digest_unknown"),
        ({"champion": None}, "champion_moved"),
        ({"champion": candidate("2")}, "champion_moved"),
        ({"champion": candidate("1", until="2013-06")}, "older_data"),
        ({"champion": candidate("1", until="")}, "older_data"),
        ({"candidate": candidate("3", until="")}, "older_data"),
        # Half of a month is older than the month, whatever the text sorts like; and what names no time is not newer.
        ({"champion": candidate("1", until="2013-09"), "candidate": candidate("3", until="2013-09-01")}, "older_data"),
        (
            {
                "champion": candidate("1", until="2013-09-30 12:00"),
                "candidate": candidate("3", until="2013-09-30T01:00"),
            },
            "older_data",
        ),
        ({"champion": candidate("1", until="10"), "candidate": candidate("3", until="9")}, "older_data"),
        ({"champion": candidate("1", until="2013-10"), "candidate": candidate("3", until="2013-9")}, "older_data"),
        ({"champion": candidate("1", until="2013-10"), "candidate": candidate("3", until="NaT")}, "older_data"),
    ],
)
def test_a_registry_that_is_not_as_it_should_be_is_a_refusal(scene: dict[str, Any], code: str) -> None:
    assert codes(PromotionRequest.of(MODEL, gate()), dataclasses.replace(SCENE, **scene)) == [code]


def test_allow_older_allows_older_data_and_nothing_else() -> None:
    older = dataclasses.replace(SCENE, champion=candidate("1", until="2014-01"))
    assert look(PromotionRequest.of(MODEL, gate(), allow_older=True), older).step == "claim"
    moved = dataclasses.replace(older, champion=candidate("2", until="2014-01"))
    assert codes(PromotionRequest.of(MODEL, gate(), allow_older=True), moved) == ["champion_moved"]


def test_without_a_champion_the_age_of_the_data_does_not_matter() -> None:
    first = gate(evidence={"candidate": {"version": "3", "model_digest": "d3"}, "champion": {"version": None}})
    scene = Scene(champion=None, candidate=candidate("3", until=""))
    assert look(PromotionRequest.of(MODEL, first), scene).step == "claim"


def test_all_that_is_wrong_with_a_version_is_said_at_once() -> None:
    bad = dataclasses.replace(candidate("3", pinned="why", model_digest="other"), status="FAILED")
    assert codes(PromotionRequest.of(MODEL, gate()), dataclasses.replace(SCENE, candidate=bad)) == [
        "not_ready",
        "pinned",
        "digest_differs",
    ]


def test_a_gate_decision_that_is_not_in_the_ledger_is_none() -> None:
    request = PromotionRequest.of(MODEL, gate())
    assert [r.code for r in judge(request, SCENE).refusals] == ["no_gate"]
    registry = InMemory(candidate("1"), candidate("3"), champion="1")
    assert promote(registry, request).refused and registry.aliases == {"champion": "1"}


@pytest.mark.parametrize(
    "made_up",
    [
        {"decision": "reject"},
        {"evidence": {"candidate": {"version": "4", "model_digest": "d3"}, "champion": {"version": "1"}}},
        {"evidence": {"candidate": {"version": "3", "model_digest": "d4"}, "champion": {"version": "1"}}},
        {"evidence": {"candidate": {"version": "3", "model_digest": "d3"}, "champion": {"version": "2"}}},
    ],
)
def test_a_gate_decision_that_differs_from_its_record_is_refused(made_up: dict[str, Any]) -> None:
    recorded = Decision.from_dict(gate(**made_up))
    judgement = judge(PromotionRequest.of(MODEL, gate()), dataclasses.replace(SCENE, gate=recorded))
    assert [r.code for r in judgement.refusals] == ["gate_differs"]


def test_an_approval_of_exactly_this_passes_and_of_anything_else_does_not() -> None:
    wanted = gate(decision="require_approval")
    request = PromotionRequest.of(MODEL, wanted)
    good = PromotionRequest.of(MODEL, wanted, approval=approval(request))
    assert look(good, SCENE).step == "claim"
    assert good.decided_by == "ada"
    assert codes(PromotionRequest.of(MODEL, wanted, approval=approval(request, decision="rejected"))) == [
        "not_approved"
    ]
    assert codes(PromotionRequest.of(MODEL, wanted, approval=wanted)) == ["not_approved"]
    assert codes(PromotionRequest.of(MODEL, wanted, approval=approval(request, model="other"))) == ["approval_differs"]
    shown = approval(request)["evidence"]
    for name in shown:
        changed = approval(request, evidence={**shown, name: "other"})
        assert codes(PromotionRequest.of(MODEL, wanted, approval=changed)) == ["approval_differs"]
        missing = approval(request, evidence={k: v for k, v in shown.items() if k != name})
        assert codes(PromotionRequest.of(MODEL, wanted, approval=missing)) == ["approval_differs"]


def test_two_approvals_are_of_two_people_and_the_policy_is_nobody() -> None:
    wanted = gate(decision="require_approval")
    request = PromotionRequest.of(MODEL, wanted)

    def asked(gate: dict[str, Any], *people: str) -> PromotionRequest:
        return PromotionRequest.of(MODEL, gate, approval=[approval(request, decided_by=p) for p in people])

    assert look(asked(wanted, "ada", "bob"), SCENE).step == "claim"
    assert codes(asked(wanted, "ada", "ada")) == ["not_approved"]
    assert codes(asked(wanted, "policy")) == codes(asked(wanted, "ada", "policy")) == ["not_approved"]


def test_an_approval_counts_as_it_is_in_the_ledger() -> None:
    wanted = gate(decision="require_approval")
    request = PromotionRequest.of(MODEL, wanted)
    asked = PromotionRequest.of(MODEL, wanted, approval=approval(request))
    (given,) = asked.approvals
    scene = dataclasses.replace(SCENE, gate=asked.gate)
    assert judge(asked, dataclasses.replace(scene, approvals=(given,))).step == "claim"
    for recorded in ((), (None,), (dataclasses.replace(given, decided_by="bob"),)):
        judgement = judge(asked, dataclasses.replace(scene, approvals=recorded))
        assert [r.code for r in judgement.refusals] == ["not_approved"]


def test_an_approval_does_not_help_a_rejected_version() -> None:
    request = PromotionRequest.of(MODEL, gate(decision="reject"))
    asked = PromotionRequest.of(MODEL, gate(decision="reject"), approval=approval(request))
    assert codes(asked) == ["gate_rejected"]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["3", "d3", "pass", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["kind", "model", "decision", "reasons", "evidence", "inputs", "decided_by", "dag_run"])


@given(field=fields, value=anything, drop=st.booleans())
def test_no_damage_to_a_rejection_makes_it_a_pass(field: str, value: object, drop: bool) -> None:
    rejected = gate(decision="reject")
    if field == "decision" and value == "pass":
        return
    damaged = {k: v for k, v in rejected.items() if k != field} if drop else {**rejected, field: value}
    assert look(PromotionRequest.of(MODEL, damaged), SCENE).step == "refuse"


@given(
    path=st.sampled_from([("candidate",), ("candidate", "version"), ("candidate", "model_digest"), ("champion",)]),
    value=anything,
)
def test_no_damage_to_the_evidence_promotes_another_version(path: tuple[str, ...], value: object) -> None:
    evidence: dict[str, Any] = {"candidate": {"version": "3", "model_digest": "d3"}, "champion": {"version": "1"}}
    inner = evidence
    for name in path[:-1]:
        inner = inner[name]
    if inner[path[-1]] == value or (path == ("candidate", "version") and str(value) == "3"):
        return
    inner[path[-1]] = value
    assert look(PromotionRequest.of(MODEL, {**gate(), "evidence": evidence}), SCENE).step == "refuse"


def test_a_claim_decides_what_a_retry_does() -> None:
    request = PromotionRequest.of(MODEL, gate())
    mine = Claim(number=0, key=request.key, to="3")
    moved = dataclasses.replace(SCENE, champion=candidate("3"))
    assert look(request, dataclasses.replace(SCENE, claims=(mine,))).step == "finish"
    assert look(request, dataclasses.replace(moved, claims=(mine,))).step == "finish"
    assert look(request, moved).step == "already", "somebody else made it the champion"
    ended = dataclasses.replace(mine, end="done r1")
    assert look(request, dataclasses.replace(moved, claims=(ended,), recorded=True)).step == "already"
    assert look(request, dataclasses.replace(SCENE, claims=(ended,), recorded=True)).step == "superseded"
    void = dataclasses.replace(mine, end="void somebody moved it")
    assert codes(request, dataclasses.replace(SCENE, claims=(void,))) == ["champion_moved"]
    deleted = look(request, dataclasses.replace(SCENE, candidate=None, claims=(mine,)))
    assert (deleted.step, deleted.refusals[0].code) == ("void", "version_deleted")
    other = look(request, dataclasses.replace(SCENE, claims=(Claim(number=0, key="k", to="4"),)))
    assert (other.step, other.other) == ("finish", True)
    closed = look(request, dataclasses.replace(SCENE, claims=(Claim(number=0, key="k", to="4", end="done r"),)))
    assert (closed.step, closed.number) == ("claim", 1)


def test_who_moved_the_champion_is_said() -> None:
    registry = InMemory(*(candidate(str(n)) for n in range(1, 5)), champion="1").judged(gate())
    run = {"dag_id": "flights_train", "run_id": "r7", "task_id": "promote"}
    other = gate_of_four()
    registry.judged(other)
    promote(registry, PromotionRequest.of(MODEL, other), dag_run=run)
    refused = promote(registry, PromotionRequest.of(MODEL, gate()))
    assert refused.refusals[0].code == "champion_moved"
    assert "flights_train/r7/promote" in refused.refusals[0].message
    registry.set_alias(MODEL, "champion", "2")
    by_hand = promote(registry, PromotionRequest.of(MODEL, gate()))
    assert "outside of this package" in by_hand.refusals[0].message
    assert registry.aliases["champion"] == "2"


def test_a_version_that_somebody_else_made_the_champion_is_adopted_without_a_move() -> None:
    registry = InMemory(candidate("1"), candidate("3"), champion="1").judged(gate())
    registry.set_alias(MODEL, "champion", "3")
    outcome = promote(registry, PromotionRequest.of(MODEL, gate()))
    assert (outcome.decision.decision, outcome.moved, outcome.refused) == ("already_promoted", False, False)
    assert not registry.ledger and not registry.once


def test_a_version_that_is_pinned_or_deleted_after_the_claim_is_given_up() -> None:
    for spoil in ("pin", "delete"):
        registry = InMemory(candidate("1"), candidate("3"), candidate("4"), champion="1").judged(gate())
        request = PromotionRequest.of(MODEL, gate())

        class Stop(BaseException):
            pass

        def stop(step: str) -> None:
            if step == "claim":
                raise Stop

        with pytest.raises(Stop):
            promote(registry, request, step=stop)
        if spoil == "pin":
            registry.tag_version(MODEL, "3", {"mlops.pinned": "leaks the label"})
        else:
            del registry.known["3"]
        refused = promote(registry, request)
        assert refused.refused and registry.aliases["champion"] == "1"
        other = gate_of_four()
        registry.judged(other)
        assert promote(registry, PromotionRequest.of(MODEL, other)).moved, "a claim that was given up blocks nobody"


def test_a_refusal_is_recorded_once_and_changes_nothing_else() -> None:
    registry = InMemory(candidate("1"), candidate("3"), champion="1", previous="1")
    request = PromotionRequest.of(MODEL, gate(decision="reject"))
    first, again = promote(registry, request), promote(registry, request)
    assert first.refused and again.refused
    assert [r.outcome for r in registry.ledger] == ["refused"]
    assert registry.aliases == {"champion": "1", "previous_champion": "1"}
    assert not registry.once and registry.known["3"] == candidate("3")


@pytest.mark.parametrize(
    ("champion", "target", "version", "code"),
    [
        (None, candidate("1"), "1", "no_champion"),
        (candidate("2"), None, "", "no_previous"),
        (candidate("2"), None, "9", "version_deleted"),
        (candidate("2"), candidate("2"), "2", "same_version"),
        (candidate("2"), candidate("1", pinned="worse"), "1", "pinned"),
        (candidate("2"), dataclasses.replace(candidate("1"), status="FAILED"), "1", "not_ready"),
    ],
)
def test_a_rollback_with_nowhere_to_go_is_refused(champion: Any, target: Any, version: str, code: str) -> None:
    request = RollbackRequest(model=MODEL, request="r", reason="why", to_version=version)
    assert [r.code for r in judge_rollback(request, champion, target, version)] == [code]


def test_a_refused_rollback_changes_nothing() -> None:
    registry = InMemory(candidate("1"), champion="1")
    outcome = rollback(registry, RollbackRequest(model=MODEL, request="r", reason="why"))
    assert [r.code for r in outcome.refusals] == ["no_previous"]
    assert registry.aliases == {"champion": "1"} and not registry.once and registry.known["1"] == candidate("1")


def test_a_rolled_back_version_is_not_promoted_again_until_it_is_unpinned() -> None:
    registry = InMemory(candidate("1"), candidate("3"), champion="1").judged(gate())
    request = PromotionRequest.of(MODEL, gate())
    promote(registry, request)
    rollback(registry, RollbackRequest(model=MODEL, request="r", reason="AUC fell", to_version="1"))
    assert registry.aliases == {"champion": "1"}
    fresh = PromotionRequest.of(MODEL, gate(inputs={"evaluation": "another"}))
    registry.judged(gate(inputs={"evaluation": "another"}))
    refused = promote(registry, fresh)
    assert [r.code for r in refused.refusals] == ["pinned"] and "AUC fell" in refused.refusals[0].message
    registry.tag_version(MODEL, "3", {"mlops.pinned": ""})
    assert promote(registry, fresh).moved
    assert registry.aliases == {"champion": "3", "previous_champion": "1"}


def test_an_unpinned_rollback_can_be_rolled_forward() -> None:
    registry = InMemory(candidate("1"), candidate("3"), champion="1").judged(gate())
    promote(registry, PromotionRequest.of(MODEL, gate()))
    rollback(registry, RollbackRequest(model=MODEL, request="back", reason="drill", pin=False))
    assert registry.aliases == {"champion": "1", "previous_champion": "3"}
    rollback(registry, RollbackRequest(model=MODEL, request="forth", reason="drill", pin=False))
    assert registry.aliases == {"champion": "3", "previous_champion": "1"}


def test_values_pass_through_text() -> None:
    move = Move(kind="promotion", key="k", model=MODEL, to="3", decision={"dag_run": {"dag_id": "d"}}, after=2)
    assert Move.from_text(move.to_text()) == move
    assert Move.from_text("not json") is None and Move.from_text('{"unknown": 1}') is None
    tagged = dataclasses.replace(candidate("3"), tags={move.tag: move.to_text(), "mlops.intent.x": "?"})
    assert moves_to(tagged) == [move]


def test_a_refusal_has_a_code_of_the_table() -> None:
    assert all(Refusal(code=code, message="").code == code for code in REFUSALS)
    with pytest.raises(UnknownName):
        Refusal(code="because", message="")
