"""Promotions and rollbacks that are killed anywhere and get in each other's way, against MLflow's semantics."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.champion import promote, rollback
from airflow_mlops.core.outcomes import Outcome
from airflow_mlops.core.promotion import PromotionRequest, RollbackRequest
from airflow_mlops.core.results import Decision
from tests.core.registry_in_memory import MODEL, InMemory, Killed, Stage, candidate


def gate(version: str, champion: str | None = "1", decision: str = "pass", digest: str = "") -> Decision:
    return Decision(
        kind="gate",
        model=MODEL,
        decision=decision,
        reasons=("every check passed",),
        evidence={
            "candidate": {"version": version, "model_digest": digest or f"d{version}"},
            "champion": {"version": champion},
        },
        inputs={"evaluation": f"e{version}{champion}"},
    )


def request(version: str, champion: str | None = "1", **options: str) -> PromotionRequest:
    return PromotionRequest.of(MODEL, gate(version, champion, **options).to_dict())


def fresh(champion: str = "1", previous: str = "") -> InMemory:
    registry = InMemory(*(candidate(str(n)) for n in range(8)), champion=champion, previous=previous)
    judged = [("1", "0"), ("2", "1"), ("3", "1"), ("3", None), ("4", "1"), ("5", "1"), ("7", "3")]
    registry.judged(*(gate(v, c) for v, c in judged), gate("6", "1", decision="reject"))
    return registry


def operations(registry: InMemory, act: object) -> int:
    """How many operations an undisturbed act takes."""
    count = 0

    def pause(what: str) -> None:
        nonlocal count
        count += 1

    registry.pause = pause
    act()  # type: ignore[operator]
    registry.pause = lambda what: None
    return count


def killed_at(registry: InMemory, act: object, number: int) -> None:
    """Run an act and kill it before its ``number``-th operation."""
    left = number

    def pause(what: str) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1

    registry.pause = pause
    with pytest.raises(Killed):
        act()  # type: ignore[operator]
    registry.pause = lambda what: None


def killed_before(registry: InMemory, act: object, operation: str) -> None:
    """Run an act and kill it before the first operation of that name."""

    def pause(what: str) -> None:
        if what.startswith(operation):
            raise Killed

    registry.pause = pause
    with pytest.raises(Killed):
        act()  # type: ignore[operator]
    registry.pause = lambda what: None


def state(registry: InMemory) -> object:
    keys = sorted((r.kind, r.outcome, r.key) for r in registry.ledger)
    return dict(registry.aliases), keys, registry.once.keys(), registry.known["1"].tags.get("mlops.pinned")


@pytest.mark.parametrize("champion", ["1", ""])
def test_a_promotion_killed_before_any_operation_and_retried_ends_in_the_same_state(champion: str) -> None:
    ask = request("3", champion or None)
    whole = fresh(champion, previous="0")
    total = operations(whole, lambda: promote(whole, ask))
    assert whole.aliases == {"champion": "3", "previous_champion": champion or "0"}
    assert [r.key for r in whole.of_kind("promotion", "promoted")] == [ask.key]
    for number in range(total):
        registry = fresh(champion, previous="0")
        killed_at(registry, lambda registry=registry: promote(registry, ask), number)
        outcome = promote(registry, ask)
        assert not outcome.refused and outcome.moved and outcome.decision.decision == "promoted", number
        assert outcome.origin == champion and outcome.version == "3"
        assert state(registry) == state(whole), f"killed before operation {number}"


def test_a_promotion_killed_twice_in_any_two_places_ends_in_the_same_state() -> None:
    ask = request("3")
    whole = fresh()
    total = operations(whole, lambda: promote(whole, ask))
    for first in range(total):
        for second in range(0, total, 3):
            registry = fresh()
            killed_at(registry, lambda registry=registry: promote(registry, ask), first)
            try:
                killed_at(registry, lambda registry=registry: promote(registry, ask), second)
            except BaseException:  # the second try was shorter than that
                registry.pause = lambda what: None
            assert promote(registry, ask).moved
            assert state(registry) == state(whole), (first, second)


def test_a_rollback_killed_before_any_operation_and_retried_goes_back_once() -> None:
    ask = RollbackRequest(model=MODEL, request="dag/run/task", reason="AUC fell")

    def promoted() -> InMemory:
        registry = fresh("0")
        promote(registry, request("1", "0"))
        promote(registry, request("2", "1"))
        return registry

    whole = promoted()
    total = operations(whole, lambda: rollback(whole, ask))
    assert whole.aliases == {"champion": "1", "previous_champion": "0"}
    assert "AUC fell" in whole.known["2"].tags["mlops.pinned"]
    for number in range(total):
        registry = promoted()
        killed_at(registry, lambda registry=registry: rollback(registry, ask), number)
        outcome = rollback(registry, ask)
        assert outcome.moved and (outcome.version, outcome.origin) == ("1", "2")
        assert state(registry) == state(whole), f"killed before operation {number}"
        assert rollback(registry, ask).moved  # a cleared task is the same rollback
        assert state(registry) == state(whole)


def schedules(kills: bool) -> st.SearchStrategy[list[tuple[int, bool]]]:
    """Who goes on, and whether it is killed there. Some turns are long, so that one is held up while others get far."""
    killed = st.sampled_from([False] * 12 + [True]) if kills else st.just(False)
    turn = st.tuples(st.integers(0, 3), st.sampled_from([1, 1, 2, 5, 12, 40]), killed)
    return st.lists(turn, min_size=8, max_size=40).map(
        lambda turns: [(who, kill and last) for who, length, kill in turns for last in [False] * (length - 1) + [True]]
    )


def check_ledger(registry: InMemory, outcomes: dict[str, Outcome], first: str = "1") -> list[str]:
    """What holds whatever happened: the ledger tells, move by move, how the first champion became the last.

    :return: the champions in order.
    """
    moves = {r.key: r for r in registry.ledger if r.outcome in ("promoted", "rolled_back")}
    champions = [first]
    for record in moves.values():
        assert record.body["evidence"]["replaces"] == champions[-1], "a move is missing from the ledger"
        champions.append(str(record.body["evidence"]["version"]))
    assert registry.aliases["champion"] == champions[-1]
    assert registry.aliases.get("previous_champion") != registry.aliases["champion"]
    assert {o.decision.key for o in outcomes.values() if o.moved} <= set(moves)
    claims = {key: value for (_, key), value in registry.once.items() if not key.endswith(".end")}
    ends = {key.removesuffix(".end"): value for (_, key), value in registry.once.items() if key.endswith(".end")}
    assert claims.keys() == ends.keys(), "a claim was left open"
    assert {claims[c].split(" ")[0] for c in claims if ends[c].startswith("done")} == set(moves)
    return champions


MANY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


@MANY
@given(schedule=schedules(kills=True))
def test_of_promotions_at_once_one_wins_and_the_others_are_refused(schedule: list[tuple[int, bool]]) -> None:
    registry = fresh()
    asks = {v: request(v) for v in ("3", "4", "5")} | {"6": request("6", decision="reject")}
    stage = Stage(registry, {v: (lambda ask=ask: promote(registry, ask)) for v, ask in asks.items()})
    stage.play(iter(schedule))
    winner = registry.aliases["champion"]
    assert [v for v, o in stage.outcomes.items() if not o.refused] == [winner]
    assert registry.champions.count("1") == 1 and set(registry.champions) == {"1", winner}
    assert registry.aliases["previous_champion"] == "1"
    assert {r.key for r in registry.of_kind("promotion", "promoted")} == {asks[winner].key}
    for version, outcome in stage.outcomes.items():
        if version != winner:
            assert outcome.refusals[0].code == ("gate_rejected" if version == "6" else "champion_moved")
    check_ledger(registry, stage.outcomes)


@MANY
@given(schedule=schedules(kills=True))
def test_there_is_one_run_a_record_whoever_helps_and_is_killed(schedule: list[tuple[int, bool]]) -> None:
    registry = fresh()
    stage = Stage(registry, {v: (lambda v=v: promote(registry, request(v))) for v in ("3", "4", "5")})
    stage.play(iter(schedule))
    assert len(registry.of_kind("promotion", "promoted")) == 1
    assert len(registry.of_kind("promotion", "refused")) == 2


@MANY
@given(schedule=schedules(kills=True), pin=st.booleans())
def test_a_rollback_and_promotions_at_once(schedule: list[tuple[int, bool]], pin: bool) -> None:
    registry = fresh("1", previous="0")
    back = RollbackRequest(model=MODEL, request="guard", reason="errors", pin=pin)
    acts = {v: (lambda v=v: promote(registry, request(v))) for v in ("3", "4")}
    stage = Stage(registry, {**acts, "back": lambda: rollback(registry, back)})
    stage.play(iter(schedule))
    moved = {name for name, o in stage.outcomes.items() if o.moved}
    champions = check_ledger(registry, stage.outcomes)
    assert champions in (["1", "0"], *(["1", *rest] for v, w in ("34", "43") for rest in (v, (v, "1"), (v, "1", w))))
    expected = {{"0": "back", "1": "back"}.get(c, c) for c in champions[1:]}
    assert moved == expected, [(n, o.decision.decision, o.moved, o.decision.reasons) for n, o in stage.outcomes.items()]
    left = [a for a, b in itertools.pairwise(champions) if b in ("0", "1")]
    assert [v for v in registry.known if "mlops.pinned" in registry.known[v].tags] == (left if pin else [])


@MANY
@given(schedule=schedules(kills=False))
def test_a_promotion_that_is_held_up_does_not_undo_the_next_one(schedule: list[tuple[int, bool]]) -> None:
    registry = fresh()
    acts = {v: (lambda v=v: promote(registry, request(v))) for v in ("3", "4")}
    acts["next"] = lambda: _until_judged_against("3", registry)
    stage = Stage(registry, acts)
    stage.play(iter(schedule))
    if stage.outcomes["next"] is not None and stage.outcomes["next"].moved:
        assert registry.aliases == {"champion": "7", "previous_champion": "3"}
    check_ledger(registry, {k: v for k, v in stage.outcomes.items() if v is not None})


def _until_judged_against(version: str, registry: InMemory) -> Outcome | None:
    """A following promotion, whose gate judged against the champion as soon as it was there."""
    for _ in range(60):
        champion = registry.by_alias(MODEL, "champion")
        if champion is not None and champion.version == version:
            return promote(registry, request("7", version))
    return None


def held_up(stage: Stage, name: str, before: str) -> None:
    """Let one actor go on until it is about to do something."""
    while not stage.log or stage.log[-1] != f"{name} before: {before}":
        stage.turn(name)


def to_the_end(stage: Stage, *names: str) -> None:
    for name in names:
        while name in stage.waiting:
            stage.turn(name)


def test_who_wakes_up_after_the_next_promotion_puts_the_alias_back_where_it_was() -> None:
    registry = fresh()
    acts = {v: (lambda v=v: promote(registry, request(v))) for v in ("3", "4")}
    stage = Stage(registry, {**acts, "7": lambda: promote(registry, request("7", "3"))})
    held_up(stage, "3", "set champion 3")
    to_the_end(stage, "4", "7")
    assert stage.outcomes["4"].refused and stage.outcomes["7"].moved
    assert registry.aliases == {"champion": "7", "previous_champion": "3"}
    to_the_end(stage, "3")
    assert stage.outcomes["3"].decision.decision == "superseded"
    assert registry.aliases == {"champion": "7", "previous_champion": "3"}
    assert check_ledger(registry, stage.outcomes) == ["1", "3", "7"]


def test_who_wakes_up_after_its_move_was_finished_and_taken_back_does_not_move_the_alias_at_all() -> None:
    """The champion is what it was when it fell asleep; only its claim, read again, says that this is not before it."""
    registry = fresh()
    back = RollbackRequest(model=MODEL, request="r", reason="AUC fell", pin=False)
    acts = {n: (lambda: promote(registry, request("3"))) for n in ("3", "same")}
    stage = Stage(registry, {**acts, "back": lambda: rollback(registry, back)})
    held_up(stage, "3", f"write once mlops.succession.1.0 {request('3').key} 3")
    for _ in range(5):
        stage.turn("3")
    assert stage.log[-2:] == ["3 before: read champion", "3 before: version"], "it has seen an open claim of champion 1"
    to_the_end(stage, "same", "back")
    assert registry.champions == ["1", "3", "1"]
    to_the_end(stage, "3")
    assert registry.champions == ["1", "3", "1"]
    assert stage.outcomes["3"].decision.decision == "superseded"


@pytest.mark.parametrize("followed", [True, False])
def test_who_wakes_up_after_its_claim_was_given_up_takes_its_move_back(followed: bool) -> None:
    registry = fresh(previous="0")
    acts = {"3": lambda: promote(registry, request("3")), "4": lambda: promote(registry, request("4"))}
    if not followed:
        acts["4"] = lambda: rollback(registry, RollbackRequest(model=MODEL, request="r", reason="", to_version="9"))
    stage = Stage(registry, acts)
    held_up(stage, "3", "set champion 3")
    registry.pause = lambda what: None
    registry.tag_version(MODEL, "3", {"mlops.pinned": "leaks the label"})
    registry.pause = stage._pause
    if not followed:
        registry.once["1", "mlops.succession.1.0.end"] = "void pinned"
    to_the_end(stage, "4", "3")
    assert [r.code for r in stage.outcomes["3"].refusals] in (["champion_moved"], ["pinned"])
    expected = {"champion": "4", "previous_champion": "1"} if followed else {"champion": "1", "previous_champion": "0"}
    assert registry.aliases == expected
    assert check_ledger(registry, {}) == (["1", "4"] if followed else ["1"])


def test_a_claim_that_is_given_up_at_the_last_moment_leaves_no_record() -> None:
    registry = fresh(previous="0")
    stage = Stage(registry, {"3": lambda: promote(registry, request("3"))})
    held_up(stage, "3", "set previous_champion 1")
    registry.once["1", "mlops.succession.1.0.end"] = "void somebody looked just before the alias moved"
    to_the_end(stage, "3")
    assert stage.outcomes["3"].refused
    assert registry.aliases == {"champion": "1"}
    assert check_ledger(registry, {}) == ["1"]
    assert registry.drafts == {}, "what was begun for a move that was given up is taken away"


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_a_move_that_nobody_came_to_record_is_recorded_by_its_retry_also_when_the_alias_went_on(kind: str) -> None:
    """Killed between the end of its claim and the seal; then somebody moved the alias by hand: no next move helps."""
    registry = fresh(previous="0")
    back = RollbackRequest(model=MODEL, request="r", reason="AUC fell")
    act = (lambda: promote(registry, request("3"))) if kind == "promotion" else (lambda: rollback(registry, back))
    killed_before(registry, act, "seal")
    outcome = "promoted" if kind == "promotion" else "rolled_back"
    assert registry.of_kind(kind, outcome) == []
    registry.aliases["champion"] = "5"
    for _ in range(2):
        assert not act().refused
        assert len(registry.of_kind(kind, outcome)) == 1
    assert registry.aliases["champion"] == "5"


def test_an_alias_moved_by_hand_between_setting_and_reading_back_stays() -> None:
    registry = fresh()
    stage = Stage(registry, {"3": lambda: promote(registry, request("3"))})
    held_up(stage, "3", "set champion 3")
    stage.turn("3")
    registry.aliases["champion"] = "5"
    to_the_end(stage, "3")
    assert [r.code for r in stage.outcomes["3"].refusals] == ["champion_moved"]
    assert registry.aliases == {"champion": "5"}
    assert not registry.of_kind("promotion", "promoted")


def test_a_version_whose_claim_was_given_up_and_that_was_set_by_hand_is_nobodys_promotion() -> None:
    registry = fresh()
    killed_before(registry, lambda: promote(registry, request("3")), "set champion")
    assert registry.once and registry.aliases["champion"] == "1"
    registry.once["1", "mlops.succession.1.0.end"] = "void pinned"
    registry.aliases["champion"] = "3"
    assert promote(registry, request("4")).refused
    assert registry.aliases["champion"] == "3"
    assert not registry.of_kind("promotion", "promoted")


@settings(MANY, max_examples=200)
@given(schedule=schedules(kills=True))
def test_an_alias_moved_by_hand_meanwhile_is_not_overwritten_by_a_promotion_that_looks(
    schedule: list[tuple[int, bool]],
) -> None:
    registry = fresh()
    acts = {"3": lambda: promote(registry, request("3")), "hand": lambda: registry.set_alias(MODEL, "champion", "5")}
    stage = Stage(registry, acts)
    stage.play(iter(schedule))
    outcome = stage.outcomes["3"]
    if outcome.refused:
        assert registry.aliases["champion"] == "5"
        assert outcome.refusals[0].code == "champion_moved"
        assert not registry.of_kind("promotion", "promoted")
    elif outcome.decision.decision == "superseded":
        assert registry.aliases["champion"] == "5"
    assert outcome.refused != bool(registry.of_kind("promotion", "promoted"))
