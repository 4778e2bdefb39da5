"""What is played under faults, and what has to hold in the end, whatever broke: see :meth:`World.check`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_mlops.core.champion import promote
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.hooks.mlflow import MlflowHook
from tests.faults.schedules import CARD, Schedule
from tests.faults.world import AGAIN, Airflow, Ended, Running
from tests.kit.mlflow import MlflowServer
from tests.kit.proxy import FaultProxy, Hold, fault_proxy
from tests.operators.promotions import aliases, make_gate, make_version, runs_of

NUMBER = itertools.count()
TRIES = 8
"""How often Airflow tries a task here; every fault happens once."""


class Model:
    """A registered model and all that happened to it: schedule after schedule goes on where the one before ended.

    :ivar champions: its champions in order, from none.
    :ivar gated: the versions that passed a gate.
    :ivar airflow: what Airflow knows of its tasks.
    """

    def __init__(self) -> None:
        self.name = f"delay {next(NUMBER)}"
        self.champions: list[str] = [""]
        self.gated: set[str] = set()
        self.airflow = Airflow()


class World:
    """One schedule: a model, MLflow behind proxies that break calls, tasks, and what has to hold in the end.

    :ivar tries: how often tasks were begun.
    """

    def __init__(self, hook: MlflowHook, server: MlflowServer, schedule: Schedule, model: Model) -> None:
        self.hook = hook
        self.server = server
        self.schedule = schedule
        self.model = model
        self.proxies: list[FaultProxy] = []
        self.tries = 0
        self.before = len(model.champions)

    @property
    def happened(self) -> list[str]:
        """The faults, in the order of the proxies."""
        return [fault for proxy in self.proxies for fault in proxy.done]

    @property
    def faults(self) -> dict[int, str | Callable[[], Any]]:
        return dict(self.schedule.faults)

    @contextmanager
    def proxy(self, faults: Mapping[int, str | Callable[[], Any]] | None = None) -> Iterator[str]:
        """MLflow's address behind a proxy; every fault has to happen."""
        with fault_proxy(self.server.uri, faults) as proxy:
            self.proxies.append(proxy)
            yield proxy.uri
        assert not proxy.faults, f"did not happen: {proxy.faults}; calls: {proxy.calls}"

    def candidate(self, champion: str, decision: str = "pass") -> tuple[str, dict[str, Any]]:
        """A new version, and what a task is given to promote it."""
        version = make_version(self.hook, self.model.name)
        gate = make_gate(self.hook, self.model.name, version, champion or None, decision)
        if decision == "pass":
            self.model.gated.add(version)
        return version, {"model_name": self.model.name, "gate": gate}

    def champion(self) -> str:
        """The champion; the first one is made here, without faults and without a process of its own."""
        if len(self.model.champions) == 1:
            self.undisturbed(*self.candidate(""))
        return self.model.champions[-1]

    def undisturbed(self, version: str, arguments: Mapping[str, Any]) -> None:
        """A promotion without faults."""
        request = PromotionRequest.of(self.model.name, arguments["gate"])
        made = promote(self.hook, request)
        assert made.moved
        event = {"decision": request.key, "version": made.version, "model_digest": made.model_digest}
        self.model.airflow.events.append(event)
        self.model.champions.append(version)

    def begin(self, uri: str, kind: str, arguments: Mapping[str, Any], **options: Any) -> Running:
        self.tries += 1
        options["run_id"] = f"manual__{self.model.name}__{self.before}__{options.get('run_id', 1)}"
        return Running(self.model.airflow, uri, kind, arguments, **options)

    def until_ended(self, uri: str, kind: str, arguments: Mapping[str, Any], **options: Any) -> list[Ended]:
        """As Airflow tries a task: again after a kill or when MLflow did not answer."""
        found: list[Ended] = []
        for number in range(options.pop("try_number", 1), TRIES + 1):
            found.append(self.begin(uri, kind, arguments, try_number=number, **options).end())
            if found[-1].how not in AGAIN:
                return found
            options.pop("timeout", None)  # that fault has happened
        raise AssertionError(f"not ended after {TRIES} tries: {found}")

    def check(self, *champions: str) -> None:
        """One champion, the last; a ledger that tells each move once; one event a move; no claim left open."""
        model = self.model
        model.champions += champions
        expected = model.champions
        found = self.hook.alias(model.name, "champion")
        assert found == expected[-1], (found, expected)
        asked = [v for proxy in self.proxies for v in proxy.written("champion")]
        assert set(asked) <= model.gated, f"an ungated champion, or none: {asked}, gated: {model.gated}"
        moves = [
            *runs_of(self.hook, model.name, "promotion", "promoted"),
            *runs_of(self.hook, model.name, "rollback", "rolled_back"),
        ]
        assert len(moves) == len(expected) - 1, "one record a move"
        records = self.hook.history(model.name, kinds=["promotion", "rollback"], limit=100_000)
        kept = [r for r in records if r.outcome in ("promoted", "rolled_back")]
        bodies: list[Any] = [r.body["evidence"] for r in kept]
        assert sorted((b["replaces"] or "", b["version"]) for b in bodies) == sorted(itertools.pairwise(expected))
        keys = sorted(r.key for r in kept)
        assert sorted(str(e.get("decision")) for e in model.airflow.events) == keys, "one event a move"
        for event in model.airflow.events:
            assert event["version"] in expected and event["model_digest"] == f"digest-of-{event['version']}"
        assert not [r for r in records if r.outcome not in ("promoted", "rolled_back", "refused")], (
            "nobody from outside"
        )
        for version in {"" if len(expected) < 4 else expected[-3], *expected[-2:]}:
            claims = {k for k in self.hook.written(model.name, version) if ".told." not in k}
            ends = {name for name in claims if name.endswith(".end")}
            assert {f"{name}.end" for name in claims - ends} == ends, f"a claim is open: {claims}"


def patience(schedule: Schedule) -> dict[str, Any]:
    """A short one where the answer comes only after the caller gave up, and the clock of the task's machine."""
    late = any(fault == "late" for _, fault in schedule.faults)
    return {**({"timeout": 1} if late else {}), **({"skew": schedule.skew} if schedule.skew else {})}


def promotion(world: World) -> None:
    """One promotion; Airflow tries it until it ends."""
    version, arguments = world.candidate(world.champion())
    with world.proxy(world.faults) as uri:
        tries = world.until_ended(uri, "promote", arguments, **patience(world.schedule))
        assert tries[-1].how == "promoted"
        ((call, fault),) = world.schedule.faults
        if fault.startswith("kill"):
            assert tries[0].how == "killed"
        elif call < CARD:
            assert tries[0].how == "MlflowUnavailable", tries
    world.check(version)


def first(world: World) -> None:
    """The first champion: what is claimed has no champion to be kept beside."""
    world.model = Model()
    version, arguments = world.candidate("")
    with world.proxy(world.faults) as uri:
        assert world.until_ended(uri, "promote", arguments, **patience(world.schedule))[-1].how == "promoted"
    world.check(version)


def rollback(world: World) -> None:
    """One rollback."""
    champion = world.champion()
    left, arguments = world.candidate(champion)
    world.undisturbed(left, arguments)
    with world.proxy(world.faults) as uri:
        arguments = {"model_name": world.model.name, "reason": "AUC fell"}
        tries = world.until_ended(uri, "rollback", arguments, **patience(world.schedule))
        assert tries[-1].how == "rolled_back"
    world.check(champion)
    found = world.hook.version(world.model.name, left)
    assert found is not None and "AUC fell" in found.tag("pinned")


def rivals(world: World) -> None:
    """Three DAG runs at once: two candidates that passed, one that did not. The first has the faults and the clock."""
    champion = world.champion()
    asks = [world.candidate(champion), world.candidate(champion), world.candidate(champion, "reject")]
    with world.proxy(world.faults) as broken, world.proxy() as sound:
        uris = (broken, sound, sound)
        options: list[dict[str, Any]] = [{"run_id": n} for n in range(3)]
        options[0] |= patience(world.schedule)
        running = [world.begin(u, "promote", a, **o) for u, (_, a), o in zip(uris, asks, options, strict=True)]
        ended = [task.end() for task in running]
        for i, how in enumerate(ended):
            if how.how in AGAIN:
                ended[i] = world.until_ended(uris[i], "promote", asks[i][1], try_number=2, **options[i])[-1]
        world.proxies[0].faults.clear()  # who has lost makes fewer calls
    hows = [e.how for e in ended]
    assert sorted(hows) == ["PromotionRefused", "PromotionRefused", "promoted"], ended
    assert "gate_rejected" in ended[2].message
    assert "champion_moved" in ended[1 - hows.index("promoted")].message
    world.check(asks[hows.index("promoted")][0])


def overtaken(world: World) -> None:
    """A task is suspended at a call; two others promote, one upon the other; then it wakes."""
    champion = world.champion()
    mine, arguments = world.candidate(champion)
    others, ask = world.candidate(champion)
    hold = Hold()
    ((call, _),) = world.schedule.faults
    with world.proxy({call: hold}) as slow, world.proxy() as sound:
        task = world.begin(slow, "promote", arguments, run_id="slow")
        assert hold.wait()
        other = world.until_ended(sound, "promote", ask, run_id="other")[-1]
        winner = others if other.how == "promoted" else mine  # who claimed first, whoever carried it out
        assert (other.how == "PromotionRefused") == (winner == mine), other
        assert aliases(world.hook, world.model.name)["champion"] == winner
        last, ask = world.candidate(winner)
        assert world.until_ended(sound, "promote", ask, run_id="last")[-1].how == "promoted"
        hold.release()
        ended = task.end()
        assert ended.how in (("promoted", "superseded") if winner == mine else ("PromotionRefused",)), ended
    world.check(winner, last)


def twins(world: World) -> None:
    """Airflow gave up a task that only slept and tries it again: two processes of the same task."""
    version, arguments = world.candidate(world.champion())
    hold = Hold()
    ((call, _),) = world.schedule.faults
    with world.proxy({call: hold}) as slow, world.proxy() as sound:
        sleeper = world.begin(slow, "promote", arguments)
        assert hold.wait()
        assert world.until_ended(sound, "promote", arguments, try_number=2)[-1].how == "promoted"
        hold.release()
        assert sleeper.end().how == "promoted"  # and Airflow takes nothing from it any more
    world.check(version)


def runs(world: World) -> None:
    """The same gate decision in two DAG runs at once, one of them with faults; then the first is cleared."""
    version, arguments = world.candidate(world.champion())
    with world.proxy(world.faults) as broken, world.proxy() as sound:
        first = world.begin(broken, "promote", arguments, run_id=1, **patience(world.schedule))
        second = world.begin(sound, "promote", arguments, run_id=2)
        ended = second.end()
        assert ended.how == "promoted", ended
        if first.end().how in AGAIN:
            assert world.until_ended(broken, "promote", arguments, run_id=1, try_number=2)[-1].how == "promoted"
        world.proxies[0].faults.clear()
        assert world.until_ended(sound, "promote", arguments, run_id=1, try_number=7)[-1].how == "promoted"
    world.check(version)


def server(world: World) -> None:
    """MLflow itself is killed when a call reaches it, and comes back."""
    version, arguments = world.candidate(world.champion())
    ((call, _),) = world.schedule.faults

    class Kill:
        def __call__(self) -> None:
            world.server.kill()

        def __str__(self) -> str:
            return "server killed"

    with world.proxy({call: Kill()}) as uri:
        ended = world.begin(uri, "promote", arguments).end()
        world.server.start()
        if call < CARD:
            assert ended.how == "MlflowUnavailable", ended
            ended = world.until_ended(uri, "promote", arguments, try_number=2)[-1]
        assert ended.how == "promoted"
    world.check(version)


def storm(world: World) -> None:
    """Call upon call breaks, and MLflow's own client repeats them: also those that have had their effect."""
    version, arguments = world.candidate(world.champion())
    with world.proxy(world.faults) as uri:
        assert world.until_ended(uri, "promote", arguments, retries=1)[-1].how == "promoted"
        world.proxies[0].faults.clear()
    assert len(world.happened) >= 2
    world.check(version)


PLAYS: Mapping[str, Callable[[World], None]] = {
    play.__name__: play for play in (promotion, first, rollback, rivals, overtaken, twins, runs, server, storm)
}
