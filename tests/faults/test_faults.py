"""Promotions and rollbacks under faults: a real MLflow on a real PostgreSQL, real processes, each call broken in turn.

``FAULT_SCHEDULES=all`` plays every fault at every call (hundreds, see ``make faults``); otherwise each call meets one
of them. ``FAULT_SEED`` turns which.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_mlops.core.champion import promote
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.hooks.mlflow import MlflowHook
from tests.faults.world import Ended, begin, connection, play
from tests.kit.mlflow import MlflowServer, running_server
from tests.kit.postgres import running_postgres
from tests.kit.proxy import FAULTS, fault_proxy
from tests.operators.promotions import aliases, make_gate, make_version, runs_of

SEED = int(os.environ.get("FAULT_SEED", "0"))
ALL = os.environ.get("FAULT_SCHEDULES") == "all"
NUMBER = itertools.count()
TRIES = 6
"""How often Airflow tries a task here; every fault happens once."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with (
        running_postgres() as postgres,
        running_server(tmp_path_factory.mktemp("mlflow"), postgres.uri) as mlflow,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", connection(mlflow.uri, retries=2))
        yield mlflow


@pytest.fixture(scope="module")
def hook(server: MlflowServer) -> MlflowHook:
    made = MlflowHook()
    made.get_conn()
    return made


class World:
    """A model with a champion that the ledger knows, its events, and what has to hold in the end."""

    def __init__(self, hook: MlflowHook, server: MlflowServer) -> None:
        self.hook = hook
        self.server = server
        self.model = f"delay {next(NUMBER)}"
        self.events: list[Mapping[str, Any]] = []
        self.champions: list[str | None] = [None]

    def candidate(self, champion: str | None, decision: str = "pass") -> tuple[str, dict[str, Any]]:
        version = make_version(self.hook, self.model)
        gate = make_gate(self.hook, self.model, version, champion, decision)
        return version, {"model_name": self.model, "gate": gate}

    def tried(self, uri: str, kind: str, arguments: Mapping[str, Any], **options: Any) -> list[Ended]:
        """As Airflow tries a task: again after a kill or when MLflow did not answer, and with events on success."""
        found: list[Ended] = []
        for number in range(1, TRIES + 1):
            ended = play(uri, kind, arguments, self.events, try_number=number, **options)
            found.append(ended)
            self.events += ended.events
            if ended.how not in ("killed", "MlflowUnavailable"):
                return found
        raise AssertionError(f"not ended after {TRIES} tries: {found}")

    def first(self) -> str:
        """A champion, made without faults and without a process of its own."""
        version, arguments = self.candidate(None)
        self.undisturbed(arguments)
        self.champions.append(version)
        return version

    def undisturbed(self, arguments: Mapping[str, Any]) -> None:
        request = PromotionRequest.of(self.model, arguments["gate"])
        made = promote(self.hook, request)
        assert made.moved
        self.events.append({"decision": request.key, "version": made.version, "model_digest": made.model_digest})

    def check(self, *champions: str) -> None:
        """One champion, the last; a ledger that tells each move once; one event a move, with what others need."""
        expected = [*self.champions, *champions]
        found = aliases(self.hook, self.model)
        assert found["champion"] == expected[-1], (found, expected)
        moves = [
            *runs_of(self.hook, self.model, "promotion", "promoted"),
            *runs_of(self.hook, self.model, "rollback", "rolled_back"),
        ]
        finished = [m for m in moves if m.info.status == "FINISHED"]
        assert len(finished) == len(expected) - 1, "one record a move"
        records = self.hook.history(self.model, kinds=["promotion", "rollback"])
        kept = [r for r in records if r.outcome in ("promoted", "rolled_back")]
        bodies: list[Any] = [r.body["evidence"] for r in kept]
        told = {(b["replaces"], b["version"]) for b in bodies}
        assert set(itertools.pairwise(expected)) == told, told
        keys = sorted(r.key for r in kept)
        assert sorted(str(e.get("decision")) for e in self.events) == keys, "one event a move"
        for event in self.events:
            assert event["version"] in expected and event["model_digest"] == f"digest-of-{event['version']}"


def calls_of(kind: str, hook: MlflowHook, server: MlflowServer) -> int:
    """How many calls an undisturbed task makes."""
    world = World(hook, server)
    first = world.first()
    second, arguments = world.candidate(first)
    with fault_proxy(server.uri) as proxy:
        (ended,) = world.tried(proxy.uri, "promote", arguments)
        assert ended.how == "promoted"
        promotion = len(proxy.calls)
        world.check(second)
        if kind == "promote":
            return promotion
        (ended,) = world.tried(proxy.uri, "rollback", {"model_name": world.model, "reason": "AUC fell"})
        assert ended.how == "rolled_back"
        return len(proxy.calls) - promotion


def schedules(calls: int, step: int) -> list[tuple[int, str]]:
    """Every ``step``-th call with the next fault of the seven; all of them with all when asked for."""
    if ALL:
        return list(itertools.product(range(calls), FAULTS))
    return [(call, FAULTS[(i + SEED) % len(FAULTS)]) for i, call in enumerate(range(SEED % step, calls, step))]


def patience(fault: str) -> dict[str, int]:
    """A short one where the answer comes only after the caller gave up."""
    return {"timeout": 3} if fault == "late" else {}


def in_pairs(play_one: Callable[[tuple[int, str]], None], of: list[tuple[int, str]]) -> None:
    """Two schedules at a time; whatever failed is told together."""
    with ThreadPoolExecutor(2) as pool:
        running = [(schedule, pool.submit(play_one, schedule)) for schedule in of]
        failed = [f"{schedule}: {error}" for schedule, future in running if (error := future.exception())]
    assert not failed, "\n".join(failed)


def test_a_promotion_meets_a_fault_at_every_call(hook: MlflowHook, server: MlflowServer) -> None:
    def one(schedule: tuple[int, str]) -> None:
        call, fault = schedule
        world = World(hook, server)
        first = world.first()
        second, arguments = world.candidate(first)
        with fault_proxy(server.uri, {call: fault}) as proxy:
            tries = world.tried(proxy.uri, "promote", arguments, **patience(fault))
            assert proxy.done == [fault], "the fault did not happen"
            if fault.startswith("kill"):
                assert tries[0].how == "killed"
            world.check(second)
            assert tries[-1].how == "promoted"
            if ALL or call % 8 == 0:  # the same run again
                again = world.tried(proxy.uri, "promote", arguments, run_id="manual__cleared")
                assert [t.how for t in again] == ["promoted"]
                world.check(second)

    plan = schedules(calls_of("promote", hook, server), 1)
    assert len(plan) >= 30
    in_pairs(one, plan)


def test_a_rollback_meets_faults(hook: MlflowHook, server: MlflowServer) -> None:
    def one(schedule: tuple[int, str]) -> None:
        call, fault = schedule
        world = World(hook, server)
        first = world.first()
        second, arguments = world.candidate(first)
        world.undisturbed(arguments)
        with fault_proxy(server.uri, {call: fault}) as proxy:
            arguments = {"model_name": world.model, "reason": "AUC fell"}
            tries = world.tried(proxy.uri, "rollback", arguments, **patience(fault))
            assert proxy.done == [fault] and tries[-1].how == "rolled_back"
        world.check(second, first)
        left = hook.version(world.model, second)
        assert left is not None and "AUC fell" in left.tag("pinned")

    in_pairs(one, schedules(calls_of("rollback", hook, server), 3))


@pytest.mark.parametrize("fault", ["", "kill after", "500 after"])
def test_of_different_candidates_at_once_one_wins_whatever_breaks(
    hook: MlflowHook, server: MlflowServer, fault: str
) -> None:
    for call in (12, 18) if fault and not ALL else range(0, 40, 2) if fault else (0, 1):
        world = World(hook, server)
        first = world.first()
        asks = [world.candidate(first), world.candidate(first), world.candidate(first, "reject")]
        with fault_proxy(server.uri, {call: fault} if fault else {}) as proxy:
            uris = (proxy.uri, server.uri, server.uri)
            ends = [begin(uri, "promote", a, world.events) for uri, (_, a) in zip(uris, asks, strict=True)]
            ended = [end() for end in ends]
            for how in ended:
                world.events += how.events
            for i, how in enumerate(ended):
                if how.how in ("killed", "MlflowUnavailable"):
                    ended[i] = world.tried(server.uri, "promote", asks[i][1])[-1]
        hows = [e.how for e in ended]
        assert sorted(hows) == ["PromotionRefused", "PromotionRefused", "promoted"], ended
        assert "gate_rejected" in ended[2].message
        assert "champion_moved" in ended[1 - hows.index("promoted")].message
        world.check(asks[hows.index("promoted")][0])


@pytest.mark.parametrize("call", [14, 24])
def test_an_mlflow_that_is_killed_during_a_call_and_comes_back(
    hook: MlflowHook, server: MlflowServer, call: int
) -> None:
    world = World(hook, server)
    first = world.first()
    second, arguments = world.candidate(first)
    with fault_proxy(server.uri, {call: server.kill}) as proxy:
        ended = play(proxy.uri, "promote", arguments, world.events)
        assert ended.how == "MlflowUnavailable" and "2" in ended.message
        server.start()
        assert [t.how for t in world.tried(proxy.uri, "promote", arguments)] == ["promoted"]
    world.check(second)


def test_a_client_that_repeats_a_call_by_itself_does_nothing_twice(hook: MlflowHook, server: MlflowServer) -> None:
    """MLflow's own client repeats what was answered with 500, also what has had its effect."""
    world = World(hook, server)
    first = world.first()
    second, arguments = world.candidate(first)
    with fault_proxy(server.uri, dict.fromkeys(range(3, 60, 9), "500 after")) as proxy:
        world.tried(proxy.uri, "promote", arguments, retries=2)
        assert len(proxy.done) >= 3
    world.check(second)
