"""Promotions and rollbacks under faults: a real MLflow on a real PostgreSQL, real processes, calls broken by plan.

``make faults`` plays every fault at every call.
"""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.hooks.mlflow import MlflowHook
from tests.faults.plays import PLAYS, Model, World
from tests.faults.schedules import (
    CARD,
    PROMOTION_CALLS,
    PROMOTION_WRITES,
    ROLLBACK_CALLS,
    ROLLBACK_WRITES,
    SEED,
    Schedule,
    fifty,
    schedules,
)
from tests.kit.mlflow import MlflowServer


def test_calls_are_counted(hook: MlflowHook, server: MlflowServer) -> None:
    """What a promotion costs, and that the schedules break the calls that they mean."""
    world = World(hook, server, Schedule("promotion"), Model())
    _, arguments = world.candidate(world.champion())
    for kind, asked, calls, writes in (
        ("promote", arguments, PROMOTION_CALLS, PROMOTION_WRITES),
        ("rollback", {"model_name": world.model.name, "reason": "AUC fell"}, ROLLBACK_CALLS, ROLLBACK_WRITES),
    ):
        with world.proxy() as uri:
            world.until_ended(uri, kind, asked)
        made = world.proxies[-1].calls
        wrote = tuple(i for i, c in enumerate(made) if not c.startswith("GET") and "search" not in c)
        assert (len(made), wrote) == (calls, writes), f"{kind}: {len(made)} calls, writes at {wrote}: {made}"
    assert PROMOTION_WRITES[-5] < CARD <= min(i for i, c in enumerate(world.proxies[0].calls) if "model_card" in c)


def test_there_are_at_least_fifty() -> None:
    assert len(set(fifty())) >= 50
    assert {s.play for s in fifty()} == {s.play for s in schedules()} == set(PLAYS)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    """The model that is played with; empty: none yet, or the last schedule broke it."""
    return []


@pytest.mark.parametrize("schedule", schedules(), ids=lambda s: s.line)
def test_schedule(
    hook: MlflowHook, server: MlflowServer, models: list[Model], schedule: Schedule, record_property: Any
) -> None:
    """One champion that passed its gate, a complete ledger, one event a move: see :meth:`World.check`."""
    world = World(hook, server, schedule, models.pop() if models else Model())
    model = world.model
    record_property("play", schedule.play)
    try:
        PLAYS[schedule.play](world)
        models.append(model)  # the next schedule goes on with it; a broken one is left
    except BaseException as error:
        calls = [f"{proxy.done}: {proxy.calls}" for proxy in world.proxies]
        error.add_note(f"FAULT_SEED={SEED}, schedule: {schedule}, model {world.model.name!r}\n" + "\n".join(calls))
        raise
    finally:
        record_property("tries", world.tries)
        record_property("moves", len(world.model.champions) - (world.before if world.model is model else 1))
        record_property("faults", ", ".join(world.happened))
