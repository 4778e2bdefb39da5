"""The decision to retrain: a table of cases, laws over all facts, and facts from a ledger."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.drift import check_drift
from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.ledger import broken_inputs, facts_of, outcomes
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import Decision
from airflow_mlops.core.retraining import (
    ALERT,
    KEEP,
    REASONS,
    RETRAIN,
    Outcome,
    RetrainingFacts,
    RetrainingPolicy,
    decide,
    yields_to,
)
from airflow_mlops.core.retraining_policy import REASON_NAMES
from tests.core.drift_samples import profile

CASES = yaml.safe_load((Path(__file__).parent / "retraining_cases.yaml").read_text())
QUIET = RetrainingFacts(
    model="delays",
    at="2013-05-01",
    champion="3",
    champion_until="2013-03-31",
    newest="3",
    trained_until="2013-03-31",
    labelled_until="2013-04-30",
    drift=(Outcome(at="2013-04-30", subject="2013-04", outcome="passed"),),
)


def facts_from(changes: dict[str, Any]) -> RetrainingFacts:
    changes = dict(changes)

    def made(ends: list[str], estimated: bool) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(at=f"2013-04-{28 - i:02}", subject=f"day {28 - i}", outcome=end, estimated=estimated)
            for i, end in enumerate(ends)
        )

    if "drift" in changes:
        changes["drift"] = made(changes["drift"], False)
    performance = made(changes.pop("performance", []), False) + made(changes.pop("estimated", []), True)
    return dataclasses.replace(QUIET, performance=performance, **changes)


def test_every_reason_that_a_policy_can_name_is_judged() -> None:
    assert tuple(REASONS) == REASON_NAMES


@pytest.mark.parametrize("case", CASES, ids=[c["case"] for c in CASES])
def test_case(case: dict[str, Any]) -> None:
    decision = decide(facts_from(case.get("facts", {})), RetrainingPolicy.from_dict(case.get("policy", {})))
    assert decision.decision == case["decision"], decision.reasons
    assert case["because"] in decision.reasons[0]


@pytest.mark.parametrize("field", ["model", "labelled_until", "configuration", "newest"])
def test_who_would_train_something_else_decides_something_else(field: str) -> None:
    other = dataclasses.replace(QUIET, **{field: "2013-04-29"})
    assert other.base != QUIET.base and dataclasses.replace(other, **{field: getattr(QUIET, field)}).base == QUIET.base


# --- laws ------------------------------------------------------------------------------------------------------------

ends = st.lists(st.sampled_from(["passed", "failed", "error", "insufficient_data"]), max_size=5)
facts = st.builds(
    lambda d, p, e, rest: facts_from({"drift": d, "performance": p, "estimated": e, **rest}),
    ends,
    ends,
    ends,
    st.fixed_dictionaries(
        {},
        optional={
            "person": st.sampled_from(["", "a person's reason"]),
            "champion": st.sampled_from(["", "3"]),
            "labelled_until": st.sampled_from(["", "2013-03-01", "2013-04-30"]),
            "new_partitions": st.none() | st.integers(0, 9),
            "configuration": st.sampled_from(["", "a", "b"]),
            "champion_configuration": st.sampled_from(["", "a"]),
            "rejected": st.integers(0, 5),
            "backfill": st.booleans(),
            "retrainings": st.lists(
                st.tuples(
                    st.sampled_from(["2013-03-01", "2013-04-25", "2013-04-30T20:00", "2013-05-02"]),
                    st.just("base"),
                    st.sampled_from(["2", "3"]),
                ),
                max_size=3,
            ).map(tuple),
        },
    ),
)
policies = st.builds(
    RetrainingPolicy,
    cooldown=st.sampled_from([0, 86400 * 7]),
    budget=st.none() | st.integers(0, 3),
    breaker=st.none() | st.integers(1, 4),
    max_age=st.none() | st.just({"days": 10}),
    min_new_partitions=st.none() | st.integers(1, 5),
)


@settings(max_examples=300)
@given(facts, policies)
def test_a_decision_is_plain_and_always_the_same(facts: RetrainingFacts, policy: RetrainingPolicy) -> None:
    first, second = decide(facts, policy), decide(facts, RetrainingPolicy.from_dict(policy.to_dict()))
    assert first == second and first.key == second.key
    assert Decision.from_dict(json.loads(json.dumps(first.to_dict(), allow_nan=False))) == first
    assert first.decision in (RETRAIN, KEEP, ALERT)


@settings(max_examples=300)
@given(facts, policies)
def test_a_replay_never_trains_and_says_what_would_have_been(facts: RetrainingFacts, policy: RetrainingPolicy) -> None:
    live = decide(dataclasses.replace(facts, backfill=False), policy)
    replay = decide(dataclasses.replace(facts, backfill=True), policy)
    assert replay.decision == KEEP
    assert replay.reasons[0].startswith(f"replay: would have said {live.decision} ({live.reasons[0]}")


@settings(max_examples=300)
@given(facts, policies)
def test_what_decides_is_said_and_nothing_fires_without_a_reason(
    facts: RetrainingFacts, policy: RetrainingPolicy
) -> None:
    decision = decide(facts, policy)
    if decision.decision == RETRAIN:
        assert decision.evidence["fired"] and not decision.evidence["held_back_by"]
    names = {"drift", "cooldown", "champion", "performance"}
    assert any(any(n in reason for n in names) for reason in decision.reasons)


@settings(max_examples=300)
@given(facts, policies)
def test_two_that_decide_the_same_training_have_one_key_and_one_of_them_trains(
    facts: RetrainingFacts, policy: RetrainingPolicy
) -> None:
    """However they came to it: another reason, another minute, another policy."""
    one = decide(facts, policy)
    other = decide(dataclasses.replace(facts, person="me too", trigger="asset"), RetrainingPolicy())
    if RETRAIN == one.decision == other.decision:
        assert one.key == other.key
    late = yields_to(one, dataclasses.replace(one, dag_run={"dag_id": "monitor", "run_id": "r1"}))
    assert late.decision == KEEP and late.key != one.key and "monitor r1" in late.reasons[0]


def test_another_attempt_at_the_same_training_has_a_key_of_its_own() -> None:
    policy = RetrainingPolicy()
    first = decide(facts_from({"performance": ["failed"]}), policy)
    base = str(first.evidence["base"])
    again = decide(facts_from({"performance": ["failed"], "retrainings": [("2013-04-20", base, "3")]}), policy)
    assert again.decision == RETRAIN and again.key != first.key


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"cooldwn": 1}, "did you mean 'cooldown'"),
        ({"reasons": ["drfit"]}, "did you mean 'drift'"),
        ({"reasons": []}, "at least one reason"),
        ({"drift_needed": 4}, "drift_needed"),
        ({"drift_needed": 0}, "drift_needed"),
        ({"cooldown": -1}, "negative"),
        ({"cooldown": "a week"}, "cooldown"),
        ({"cooldown": None}, "cooldown"),
        ({"max_age": {"weks": 1}}, "max_age"),
        ({"breaker": 0}, "breaker"),
        ({"no_new_labels": "perhaps"}, "alert"),
        ({"data_incident": "perhaps"}, "alert"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises((PolicyError, UnknownName), match=word):
        RetrainingPolicy.from_dict(settings)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(PolicyError, match="soon"):
        dataclasses.replace(QUIET, at="soon")


# --- what drifted is broken -----------------------------------------------------------------------------------------


def drifted(*broken: str, day: int = 28) -> Outcome:
    return Outcome(at=f"2013-04-{day:02}", subject=f"day {day}", outcome="failed", broken=broken)


NULLS = "null_share of wind"


@pytest.mark.parametrize(
    ("changes", "decision", "because"),
    [
        ({"drift": (drifted(NULLS), drifted(NULLS))}, ALERT, "data incident in day 28: null_share of wind"),
        ({"drift": (drifted(NULLS), drifted())}, ALERT, "data incident"),
        ({"drift": (drifted(NULLS), drifted(), drifted())}, RETRAIN, "3 of the last 3"),
        ({"drift": (drifted(), drifted(NULLS))}, ALERT, "data incident"),  # one changed world out of two is chance
        ({"drift": (drifted(), drifted(NULLS), drifted())}, RETRAIN, "3 of the last 3"),
        ({"drift": QUIET.drift + (drifted(NULLS),) * 2, "estimated": ["failed"]}, RETRAIN, "estimated to fall"),
        ({"drift": (drifted(NULLS), drifted(NULLS)), "person": "it stays so"}, RETRAIN, "it stays so"),
        ({"drift": (drifted(NULLS),), "estimated": ["failed"]}, ALERT, "data incident"),
        ({"drift": (drifted(NULLS), drifted(NULLS)), "performance": ["failed"]}, RETRAIN, "found drift"),
        ({"drift": (drifted(NULLS),)}, KEEP, "no reason"),
    ],
)
def test_broken_input_is_no_reason_to_train(changes: dict[str, Any], decision: str, because: str) -> None:
    changes = dict(changes)
    drift = changes.pop("drift")
    decided = decide(dataclasses.replace(facts_from(changes), drift=drift), RetrainingPolicy())
    assert decided.decision == decision and because in decided.reasons[0], decided.reasons
    if "incident" in because:
        assert decided.evidence["held_back_by"] == ["data_incident"]
        unminded = RetrainingPolicy(data_incident="ignore")
        assert decide(dataclasses.replace(facts_from(changes), drift=drift), unminded).decision == RETRAIN


def sample(rng: np.random.Generator, **changes: Any) -> dict[str, Any]:
    return {name: rng.normal(0, 1, 1000) for name in ("a", "b", "c")} | changes


@pytest.mark.parametrize(
    ("was", "now", "broken"),
    [
        ({}, {"nulls": "a"}, ("null_share of a",)),
        ({}, {"nulls": "a", "gone": "b"}, ("null_share of a", "schema of b")),
        ({}, {"nulls": "a", "moved": "a"}, ("null_share of a",)),  # the values that are left are not like the rest
        ({}, {"nulls": "a", "moved": "b"}, ()),
        ({}, {"moved": "b"}, ()),
        ({"nulls": "a"}, {}, ()),  # fewer nulls than before: no fault
        ({}, {}, ()),
    ],
)
def test_broken_is_what_a_delivery_breaks_and_nothing_else_drifted(
    was: dict[str, str], now: dict[str, str], broken: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(3)

    def made(how: dict[str, str], like: Profile | None = None) -> Profile:
        columns = sample(rng)
        for what, name in reversed(how.items()):
            if what == "gone":
                del columns[name]
            elif what == "moved":
                columns[name] = columns[name] + 1
            else:
                columns[name] = np.where(rng.random(1000) < 0.6, np.nan, columns[name])
        return profile(columns, like=like)

    reference = made(was)
    current = made(now, reference)
    report = check_drift(reference, current).to_dict()
    assert broken_inputs(json.loads(json.dumps(report))) == broken
    before = profile({"s": rng.normal(0, 1, 1000)})
    said = check_drift(before, profile({"s": rng.normal(2, 1, 1000)}, like=before))
    assert not said.passed
    checks: Any = said.to_dict()["checks"]
    follows = [*report["checks"], *({**c, "subject": f"predictions {c['subject']}"} for c in checks)]  # type: ignore[misc]
    assert broken_inputs({"checks": follows, "details": {"predictions": {}}}) == broken


def test_predictions_that_went_missing_are_broken_and_so_is_no_partition_with_a_sound_column_that_drifted() -> None:
    nulls = {"name": "null_share", "status": "failed", "details": {"reference": 0.0, "current": 0.5}}
    said = {"details": {"predictions": {}}, "checks": [{**nulls, "subject": "predictions score"}]}
    assert broken_inputs(said) == ("null_share of predictions score",)

    def check(*checks: dict[str, Any], reference: str) -> Record:
        body = {"details": {"version": "9"}, "inputs": {"reference": reference}, "checks": list(checks)}
        return record("drift", "2013-04-01", "failed", body=body, subject=f"april {reference}"[:5])

    one = check({**nulls, "subject": "wind"}, reference="a")
    other = check({"name": "distribution", "status": "failed", "subject": "hour"}, reference="b")
    assert [o.broken for o in outcomes([one], "drift")] == [("null_share of wind",)]
    assert [o.broken for o in outcomes([one, other], "drift")] == [()]


# --- facts from the ledger -----------------------------------------------------------------------------------------

VERSIONS = [
    ModelVersion(name="delays", version="10", aliases=("challenger",), tags={"mlops.data_until": "2013-03-31"}),
    ModelVersion(name="delays", version="9", aliases=("champion",), tags={"mlops.data_until": "2013-02-28"}),
]


def record(kind: str, at: str, outcome: str, **more: Any) -> Record:
    details = {"version": more.pop("version", "9"), **more.pop("details", {})}
    body = more.pop("body", {"details": details, "inputs": {"reference": more.pop("reference", "r")}})
    return Record(
        kind=kind, model="delays", key=f"{kind}{at}{outcome}{more}", outcome=outcome, at=at, body=body,
        subject=more.pop("subject", at), **more,
    )  # fmt: skip


def gathered(*history: Record, at: str = "2013-05-01", **more: Any) -> RetrainingFacts:
    return facts_of("delays", at=at, history=history, versions=VERSIONS, **more)


def test_versions_are_numbers_and_the_newest_training_is_not_the_champions() -> None:
    facts = gathered()
    assert (facts.champion, facts.newest) == ("9", "10")
    assert (facts.champion_until, facts.trained_until) == ("2013-02-28", "2013-03-31")


def test_checks_of_another_version_are_no_news_of_the_champion() -> None:
    facts = gathered(
        record("drift", "2013-04-01", "failed", version="8"), record("drift", "2013-03-01", "passed", version="9")
    )
    assert [o.outcome for o in facts.drift] == ["passed"]


def test_what_was_not_known_then_is_left_out() -> None:
    """A replay of March decides as March did, though April is in the ledger by now."""
    checks = [record("drift", f"2013-0{m}-01", "failed") for m in (2, 3, 4)]
    assert len(gathered(*checks, at="2013-03-15").drift) == 2


def test_a_partition_that_was_checked_twice_counts_once_by_its_newest_check() -> None:
    repaired = [record("drift", "2013-04-01T02:00", "passed", subject="april"),
                record("drift", "2013-04-01T01:00", "failed", subject="april")]  # fmt: skip
    assert [o.outcome for o in outcomes(repaired, "drift")] == ["passed"]
    several = [record("drift", "2013-04-01T02:00", "passed", subject="april", reference="a"),
               record("drift", "2013-04-01T01:00", "failed", subject="april", reference="b")]  # fmt: skip
    assert [o.outcome for o in outcomes(several, "drift")] == ["failed"]


def test_a_file_that_is_written_over_every_day_is_another_partition_every_day() -> None:
    """Its checks all have one name; drift on two days is drift in two checks."""

    def check(day: int, outcome: str, rows: str, reference: str = "r") -> Record:
        body = {"details": {"version": "9"}, "inputs": {"reference": reference, "current": rows}}
        return record("drift", f"2013-04-{day:02}", outcome, subject="latest.parquet", body=body)

    history = [check(1, "passed", "a"), check(2, "failed", "b"), check(3, "failed", "c")]
    facts = gathered(*history)
    assert [o.outcome for o in facts.drift] == ["failed", "failed", "passed"]
    assert decide(facts, RetrainingPolicy()).decision == RETRAIN
    again = gathered(*history[:2], check(3, "failed", "b", reference="s"))  # the same rows, looked at once more
    assert [o.outcome for o in again.drift] == ["failed", "passed"]
    repaired = gathered(*history[:2], check(2, "passed", "c"))  # other rows for the same day
    assert len(repaired.drift) == 2


def test_an_estimate_is_overridden_by_the_labels_of_its_own_rows_only() -> None:
    def check(day: int, outcome: str, basis: str, rows: str) -> Record:
        body = {"details": {"version": "9", "basis": basis}, "inputs": {"predictions": rows}}
        return record("performance", f"2013-04-{day:02}", outcome, subject="latest.parquet", body=body)

    old = [check(1, "failed", "estimated", "a"), check(8, "passed", "realised", "a")]
    assert decide(gathered(*old), RetrainingPolicy()).decision == KEEP
    facts = gathered(*old, check(9, "failed", "estimated", "b"))
    decision = decide(facts, RetrainingPolicy())
    assert decision.decision == RETRAIN and "estimated to fall short" in decision.reasons[0]


def test_estimated_and_realised_checks_are_told_apart() -> None:
    facts = gathered(
        record("performance", "2013-04-02", "passed", subject="a", details={"basis": "realised"}),
        record("performance", "2013-04-01", "failed", subject="a", details={"basis": "estimated"}),
    )
    assert [(o.outcome, o.estimated) for o in facts.performance] == [("passed", False), ("failed", True)]
    assert decide(facts, RetrainingPolicy()).decision == KEEP


def test_replayed_decisions_are_no_trainings_and_replayed_checks_are_checks() -> None:
    body = {"evidence": {"base": "b", "newest": "9"}}
    facts = gathered(
        record("retraining", "2013-04-03", RETRAIN, body=body),
        record("retraining", "2013-04-04", RETRAIN, body=body, backfill=True),
        record("drift", "2013-04-01", "failed", backfill=True),
    )
    assert facts.retrainings == (("2013-04-03", "b", "9"),)
    assert len(facts.drift) == 1


def test_rejected_candidates_are_counted_since_one_passed_and_each_once() -> None:
    gates = [
        record("gate", "2013-04-05", "reject", subject="12"),
        record("gate", "2013-04-04", "reject", subject="12"),
        record("gate", "2013-04-03", "reject", subject="11"),
        record("gate", "2013-04-02", "pass", subject="10"),
        record("gate", "2013-04-01", "reject", subject="9"),
    ]
    assert gathered(*gates).rejected == 2


def test_new_partitions_and_rows_are_those_since_the_last_training() -> None:
    rows = {"details": {"rows": {"current": 500}}}
    facts = gathered(
        record("drift", "2013-03-01", "passed", **rows),
        record("drift", "2013-04-10", "passed", **rows),
        record("drift", "2013-04-20", "failed", **rows),
    )
    assert (facts.new_partitions, facts.new_rows) == (2, 1000)
    assert gathered(new_partitions=7).new_partitions == 7


def test_a_model_without_versions_has_no_champion() -> None:
    facts = facts_of("delays", at="2013-05-01", history=[], versions=[])
    assert facts.champion == "" and facts.new_partitions is None
    assert decide(facts, RetrainingPolicy()).decision == RETRAIN
