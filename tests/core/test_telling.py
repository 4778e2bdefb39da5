"""Who may tell of a move: the cases. Schedules of them are in test_succession_stateful.py."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_mlops.core.telling import Teller, may_tell, slot
from tests.core.registry_in_memory import MODEL, InMemory, candidate

ME = Teller(dag_id="train", run_id="r1", task_id="promote", try_number=1, id="a")
OTHER = dataclasses.replace(ME, run_id="r2", id="b")


def asked(
    registry: InMemory, me: Teller, *, told: bool = False, ended: tuple[Teller, ...] = (), version: str = "3"
) -> Teller | None:
    return may_tell(registry, MODEL, version, "k", me, told=lambda: told, ended=lambda other: other in ended)


def written(*tellers: str) -> InMemory:
    registry = InMemory(candidate("3"))
    for number, text in enumerate(tellers):
        registry.write_once(MODEL, "3", slot("k", number), text)
    return registry


def test_who_is_first_tells_and_nobody_else_while_it_can() -> None:
    registry = written()
    assert asked(registry, ME) == ME
    assert asked(registry, OTHER) == ME
    assert asked(registry, ME) == ME, "the same try asks again"


def test_a_task_that_ended_without_an_event_hands_over_once() -> None:
    registry = written(ME.to_text())
    assert asked(registry, OTHER, ended=(ME,)) == OTHER
    third = dataclasses.replace(ME, run_id="r3", id="c")
    assert asked(registry, third, ended=(ME,)) == OTHER
    assert asked(registry, dataclasses.replace(ME, try_number=2, id="d")) == OTHER, "cleared afterwards"


def test_a_task_that_ended_with_its_event_hands_nothing_over() -> None:
    assert asked(written(ME.to_text()), OTHER, ended=(ME,), told=True) is None


@pytest.mark.parametrize("try_number", [1, 2])
def test_an_earlier_try_of_the_same_task_is_over_also_when_its_run_was_deleted_and_made_anew(try_number: int) -> None:
    registry = written(ME.to_text())
    again = dataclasses.replace(ME, try_number=try_number, id="new")
    assert asked(registry, again) == again
    assert asked(written(ME.to_text()), again, told=True) is None


def test_another_map_index_is_another_task() -> None:
    registry = written(dataclasses.replace(ME, map_index=0).to_text())
    assert asked(registry, dataclasses.replace(ME, map_index=1)) == dataclasses.replace(ME, map_index=0)


def test_what_names_no_task_holds_nothing_up() -> None:
    registry = written("nonsense", '{"dag_id": "d"}')
    assert asked(registry, ME) == ME and len(registry.once) == 3
    assert asked(written("nonsense"), ME, told=True) is None


def test_it_is_told_is_asked_after_the_end_is_seen() -> None:
    """The other one ends with its event between the two questions: the order of the questions decides."""
    events: list[str] = []

    def ended(other: Teller) -> bool:
        events.append("k")
        return True

    assert may_tell(written(ME.to_text()), MODEL, "3", "k", OTHER, told=lambda: bool(events), ended=ended) is None
