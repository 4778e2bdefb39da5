"""A thousand seeded schedules of promotions, rollbacks, kills and failing calls, against a model of the protocol.

A schedule is what a scheduler, a network and people do: tasks begin, go on by some operations, are killed between any
two of them, find MLflow failing before or after an operation's effect, are retried, are cleared after they ended;
clocks of workers differ. The model knows who may be champion and in which order; Airflow's part is the set of events.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from typing import Any

import greenlet
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from airflow_mlops.core.champion import promote, rollback
from airflow_mlops.core.outcomes import Outcome
from airflow_mlops.core.outside import MOVED, MOVED_OUTSIDE, last_champion, notice
from airflow_mlops.core.promotion import PromotionRequest, RollbackRequest
from airflow_mlops.core.results import Decision
from airflow_mlops.core.telling import Teller, may_tell
from airflow_mlops.exceptions import MlflowUnavailable
from tests.core.registry_in_memory import MODEL, InMemory, Killed, Stage, candidate

SCHEDULES = 1_000
STEPS = 14
SKEWS = ("2013-05-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00", "2031-12-31T23:59:59+00:00", "")


def gate(version: str, champion: str, decision: str = "pass") -> Decision:
    return Decision(
        kind="gate",
        model=MODEL,
        decision=decision,
        reasons=("every check was judged",),
        evidence={
            "candidate": {"version": version, "model_digest": f"d{version}"},
            "champion": {"version": champion or None},
        },
        inputs={"evaluation": f"{version} against {champion}"},
    )


class Promotions(RuleBasedStateMachine):
    """Several tasks on one model."""

    @initialize(champion=st.sampled_from(["1", "1", ""]))
    def begin(self, champion: str) -> None:
        self.first = champion
        self.registry = InMemory(*(candidate(str(n)) for n in range(7)), champion=champion)
        self.stage = Stage(self.registry, {})
        self.passed = {champion} if champion else set()
        self.acts: dict[str, Any] = {}
        self.events: list[str] = []
        self.telling: set[str] = set()
        self.overtaken = False

    def _task(self, act: Any) -> None:
        name = f"task {len(self.stage.actors)}"
        tries = itertools.count(1)

        def run() -> Outcome:
            outcome: Outcome = act()
            if outcome.moved:
                self._tells(name, next(tries), outcome)
            self.registry.pause("succeed")
            return outcome

        self.acts[name] = self.stage.actors[name] = run

    def _tells(self, name: str, number: int, outcome: Outcome) -> None:
        """As the operator does, at the end of a task: it waits while another one may tell and can."""
        me = Teller(dag_id="d", run_id=name, task_id="t", try_number=number)
        key = outcome.decision.key
        self.telling.discard(name)
        while True:
            teller = may_tell(
                self.registry,
                MODEL,
                outcome.version,
                key,
                me,
                told=lambda: key in self.events,
                ended=lambda other: other.run_id in self.stage.outcomes,
            )
            if teller == me:
                self.telling.add(name)
            if teller in (me, None):
                return

    @rule(version=st.integers(0, 6), passes=st.sampled_from([True, True, True, False]), at=st.sampled_from(SKEWS))
    def promotes(self, version: int, passes: bool, at: str) -> None:
        """A DAG run whose gate judged against the champion of this moment."""
        judged = gate(str(version), self.registry.aliases.get("champion", ""), "pass" if passes else "reject")
        self.registry.judged(judged)
        if passes:
            self.passed.add(str(version))
        self._task(lambda: promote(self.registry, PromotionRequest.of(MODEL, judged.to_dict()), at=at))

    @rule(pin=st.booleans(), at=st.sampled_from(SKEWS))
    def rolls_back(self, pin: bool, at: str) -> None:
        ask = RollbackRequest(model=MODEL, request=f"r{len(self.stage.actors)}", reason="AUC fell", pin=pin)
        self._task(lambda: rollback(self.registry, ask, at=at))

    @rule(version=st.integers(0, 6), pinned=st.booleans())
    def is_pinned(self, version: int, pinned: bool) -> None:
        """By a person, in MLflow: also while it is being promoted."""
        found = self.registry.known[str(version)]
        self.registry.known[str(version)] = dataclasses.replace(
            found, tags={**found.tags, "mlops.pinned": "leaks the label" if pinned else ""}
        )

    @rule(who=st.integers(0, 9), length=st.sampled_from([1, 2, 5, 9, 14, 30]))
    def goes_on(self, who: int, length: int) -> None:
        for _ in range(length):
            self._turn(who)

    @rule(who=st.integers(0, 9), length=st.integers(0, 25), gone=st.sampled_from([Killed, MlflowUnavailable]))
    def is_ended(self, who: int, length: int, gone: type[BaseException]) -> None:
        """Goes on and is killed before its next operation, or finds that MLflow does not answer.

        An operation whose answer is lost has had its effect, and the next one is never begun: the same place.
        """
        if not self.stage.waiting:
            return
        name = self.stage.waiting[who % len(self.stage.waiting)]
        for _ in range(length):
            self._go(name)
        running = self.stage.running.get(name)
        if running is None or running.dead:
            return
        self._before_a_late_kill(name)
        with contextlib.suppress(gone):
            running.throw(gone() if gone is Killed else MlflowUnavailable("mlflow_default", "HTTP 500"))
        del self.stage.running[name]  # Airflow retries it

    @rule(who=st.integers(0, 9))
    def is_cleared(self, who: int) -> None:
        """A task that has ended runs again."""
        ended = sorted(self.stage.outcomes)
        if ended:
            name = ended[who % len(ended)]
            del self.stage.outcomes[name]
            self.stage.running.pop(name, None)

    def _turn(self, who: int) -> None:
        if self.stage.waiting:
            self._go(self.stage.waiting[who % len(self.stage.waiting)])

    def _go(self, name: str) -> None:
        if name not in self.stage.waiting:
            return
        self.stage.turn(name)
        if name in self.stage.outcomes:
            self._succeeds(name, self.stage.outcomes[name])

    def _succeeds(self, name: str, outcome: Outcome) -> None:
        """As the API server does: an event together with the success, of a task that left its outlet in place."""
        if outcome.moved and name in self.telling:
            self.events.append(outcome.decision.key)

    def _before_a_late_kill(self, name: str) -> None:
        """The one window that the protocol leaves open: held up before its ``set_alias``, others went on, killed.

        What it leaves is a champion that was judged; looking finds and enters it.
        """
        before = [line for line in self.stage.log if line.startswith(f"{name} before: ")][-2:]
        moved = [line for line in before if "set champion" in line or "set previous_champion" in line]
        if moved and "set champion" in moved[0]:
            to = moved[0].rsplit(" ", 1)[1]
            done = any(v.startswith("done") for (seat, _), v in self.registry.once.items() if seat == to)
            self.overtaken |= done

    @invariant()
    def one_champion_that_passed_a_gate(self) -> None:
        if not hasattr(self, "registry"):
            return
        now = self.registry.aliases.get("champion", "")
        assert set(self.registry.champions) <= self.passed, "an ungated champion"
        assert now in self.registry.known or not (self.first or self.registry.champions), "no champion"
        assert len(self.events) == len(set(self.events))

    def teardown(self) -> None:
        """Everybody is retried until the end; then the ledger tells all."""
        if not hasattr(self, "registry"):
            return
        for _ in range(5_000):
            if not self.stage.waiting:
                break
            for name in self.stage.waiting:
                self._go(name)
        assert not self.stage.waiting, "a task that never ends"
        self.registry.pause = lambda what: None
        self.one_champion_that_passed_a_gate()
        registry = self.registry
        moves = {r.key: r for r in registry.ledger if r.outcome in MOVED}
        champions = [""] if moves else [self.first]  # who was there first is entered as set by hand
        for record in moves.values():
            assert record.body["evidence"]["replaces"] == (champions[-1] or None), "a move is missing from the ledger"
            if record.outcome == "promoted":
                (judged,) = [g for g in registry.gates if g.key == record.body["evidence"]["gate"]][:1]
                assert judged.outcome == "pass"
                assert judged.body["evidence"]["champion"]["version"] == (champions[-1] or None), "judged otherwise"
            champions.append(str(record.body["evidence"]["version"]))
        ends = {k.removesuffix(".end"): v for (_, k), v in registry.once.items() if k.endswith(".end")}
        claims = {k: v for (_, k), v in registry.once.items() if not k.endswith(".end") and ".told." not in k}
        assert claims.keys() == ends.keys(), "a claim was left open"
        assert {claims[c].split(" ")[0] for c in claims if ends[c].startswith("done")} == {
            r.key for r in moves.values() if r.outcome != MOVED_OUTSIDE
        }
        told = {o.decision.key for o in self.stage.outcomes.values() if o.moved}
        assert set(self.events) == told and told <= set(moves), "one event for each move that a task can tell of"
        if registry.aliases.get("champion", "") != champions[-1]:
            assert self.overtaken, "the ledger ends in another champion"
        if moves:
            noticed = notice(registry, MODEL)
            assert (noticed is not None) == (registry.aliases.get("champion", "") != champions[-1])
            assert last_champion(registry.history(MODEL, kinds=["promotion", "rollback"]))[0] == (
                registry.aliases.get("champion", "")
            )
        for running in self.stage.running.values():
            if not running.dead:
                running.throw(greenlet.GreenletExit)


def test_a_thousand_schedules_leave_one_gated_champion_a_complete_ledger_and_one_event_a_move() -> None:
    run_state_machine_as_test(
        Promotions,
        settings=settings(
            max_examples=SCHEDULES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )
