"""Moves from outside: every one is entered once, and a move of our own never is."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.champion import promote, rollback
from airflow_mlops.core.outside import last_champion, moves_of, notice, version_after
from airflow_mlops.core.promotion import RollbackRequest
from airflow_mlops.core.records import Record
from airflow_mlops.core.versions import champion_at
from tests.core.registry_in_memory import MODEL, InMemory, Stage
from tests.core.test_succession import fresh, gate, killed_at, operations, request


def entries(registry: InMemory) -> list[tuple[str | None, str | None]]:
    """(from, to) of the moves from outside."""
    found = [r.body["evidence"] for r in registry.ledger if r.outcome == "moved_outside"]
    return [(e["replaces"], e["version"]) for e in found]  # type: ignore[index, call-overload, misc]


def adopted(champion: str = "1") -> InMemory:
    registry = fresh(champion)
    notice(registry, MODEL)
    return registry


def test_a_champion_that_was_there_before_the_ledger_is_its_first_entry() -> None:
    registry = adopted("1")
    assert entries(registry) == [(None, "1")]
    assert notice(registry, MODEL) is None


def test_a_move_by_hand_is_entered_once_and_says_what_is_not_known() -> None:
    registry = adopted()
    promote(registry, request("3"), at="2013-05-01")
    registry.set_alias(MODEL, "champion", "5")
    decision = notice(registry, MODEL, at="2013-06-01")
    assert decision is not None and decision.decided_by == "outside"
    assert decision.evidence["not_before"] == "2013-05-01" and decision.evidence["gate"] is None
    for _ in range(3):
        assert notice(registry, MODEL, at="2013-07-01") is None
    registry.set_alias(MODEL, "champion", "3")
    registry.set_alias(MODEL, "champion", "5")
    assert notice(registry, MODEL) is None, "there and back again is no difference"
    registry.set_alias(MODEL, "champion", "3")
    assert notice(registry, MODEL) is not None
    registry.set_alias(MODEL, "champion", "5")
    assert notice(registry, MODEL) is not None, "the same move a second time is a second move"
    registry.delete_alias(MODEL, "champion")
    assert notice(registry, MODEL) is not None
    assert entries(registry) == [(None, "1"), ("3", "5"), ("5", "3"), ("3", "5"), ("5", None)]


def test_the_history_of_champions_knows_it() -> None:
    registry = adopted()
    promote(registry, request("3"), at="2013-05-01")
    registry.set_alias(MODEL, "champion", "5")
    notice(registry, MODEL, at="2013-06-01")
    ledger = [r for r in reversed(registry.ledger) if r.at]
    before, after = champion_at(ledger, "2013-05-15"), champion_at(ledger, "2013-06-15")
    assert before is not None and after is not None
    assert (before.version, after.version, after.gap) == ("3", "5", "")


def test_a_promotion_killed_anywhere_is_never_taken_for_a_move_from_outside() -> None:
    ask = request("3")
    total = operations(adopted(), lambda: None) + operations(reg := adopted(), lambda: promote(reg, ask))
    for number in range(total):
        registry = adopted()
        killed_at(registry, lambda registry=registry: promote(registry, ask), number)
        assert notice(registry, MODEL) is None, number
        assert promote(registry, ask).moved and notice(registry, MODEL) is None
        assert entries(registry) == [(None, "1")]
        assert [r.outcome for r in registry.ledger] == ["moved_outside", "promoted"]


def test_a_rollback_killed_anywhere_is_never_taken_for_a_move_from_outside() -> None:
    ask = RollbackRequest(model=MODEL, request="dag/run/task", reason="it fell")

    def promoted() -> InMemory:
        registry = adopted()
        promote(registry, request("3"))
        return registry

    total = operations(reg := promoted(), lambda: rollback(reg, ask))
    for number in range(total):
        registry = promoted()
        killed_at(registry, lambda registry=registry: rollback(registry, ask), number)
        assert notice(registry, MODEL) is None, number
        assert rollback(registry, ask).moved and notice(registry, MODEL) is None
        assert entries(registry) == [(None, "1")]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 5, 12])), max_size=30))
def test_looking_while_others_promote_enters_nothing(turns: list[tuple[int, int]]) -> None:
    registry = adopted().judged(gate("3"), gate("5"))
    actors = {
        "three": lambda: promote(registry, request("3")),
        "five": lambda: promote(registry, request("5")),
        "look": lambda: [notice(registry, MODEL) for _ in range(3)],
    }
    stage = Stage(registry, actors)
    stage.play((who, False) for who, length in turns for _ in range(length))
    assert entries(registry) == [(None, "1")]
    registry.pause = lambda what: None
    assert notice(registry, MODEL) is None


@given(st.lists(st.sampled_from("1234"), min_size=1, max_size=12), st.randoms())
def test_the_end_of_the_ledger_does_not_depend_on_its_order(walk: list[str], chance: random.Random) -> None:
    """Clocks differ and history is replayed: a walk that does not end where it began has one end in any order."""
    steps = [a for i, a in enumerate(walk) if i == 0 or walk[i - 1] != a]
    records = [
        Record(
            kind="promotion",
            model=MODEL,
            key=str(i),
            outcome="promoted",
            body={"evidence": {"replaces": steps[i - 1] if i else None, "version": version}},
        )
        for i, version in enumerate(steps)
    ]
    chance.shuffle(records)
    version, record = last_champion(records)
    assert version == steps[-1]
    assert record is not None and version_after(record) == version and record in moves_of(records)
