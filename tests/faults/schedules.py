"""Schedules of faults: which play, which call of its first task breaks, and how. Seeded; each has a line to say it.

``FAULT_SCHEDULES=all`` (``make faults``) plays all: faults at every call, and over fifty with faults at the calls that
write, which leave something behind. Otherwise some of the fifty are played. ``FAULT_SEED`` turns what is drawn.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import random
from collections.abc import Iterator

from tests.kit.proxy import FAULTS

SEED = int(os.environ.get("FAULT_SEED", "2013"))
ALL = os.environ.get("FAULT_SCHEDULES") == "all"

PROMOTION_CALLS = 59
"""Calls of MLflow that an undisturbed promotion makes, its model card's too; ``test_calls_are_counted`` holds it."""
PROMOTION_WRITES = (15, 16, 27, 33, 36, 38, 39, 40, 43, 49, 54, 55, 56, 58)
"""Those that write: intent, claim, champion, previous, the draft's two, the claim's end, the seal, done, who tells, and
the card's four."""
ROLLBACK_CALLS = 53
ROLLBACK_WRITES = (15, 19, 31, 33, 38, 41, 43, 44, 45, 48, 52)
"""Intent, claim, pin, champion, previous, the draft's two, end, seal, done, who tells."""
CARD = 50
"""From this call on a promotion is recorded: what is left is its card."""

KILLS = ("kill before", "kill after")
SKEWS = {"an hour behind": -3600, "a day ahead": 86_400, "ten years ahead": 315_360_000}
"""How wrong the clock of the first task's machine is, in seconds."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One play and what happens in it.

    :param play: the name of a function of :mod:`tests.faults.plays`.
    :param faults: (call, fault) of the play's first task; a number of the call from 0.
    :param skew: seconds that its clock is ahead of the others'.
    """

    play: str
    faults: tuple[tuple[int, str], ...] = ()
    skew: int = 0

    @property
    def line(self) -> str:
        """In words: the name of the test."""
        clock = next((f"clock {name}" for name, skew in SKEWS.items() if skew == self.skew), "")
        return ", ".join(filter(None, [self.play, *(f"call {call} {fault}" for call, fault in self.faults), clock]))


def schedules() -> list[Schedule]:
    """What is to be played, always in the same order."""
    return list(dict.fromkeys([*fifty(), *every()] if ALL else short()))


def short() -> Iterator[Schedule]:
    """Of the fifty a part that shows: every kill between two steps, and one or two of everything else."""
    most = {"card": 1, "promotion": 4, "rollback": 3, "rivals": 2, "overtaken": 2, "twins": 1, "runs": 1}
    played: collections.Counter[str] = collections.Counter()
    for schedule in fifty():
        kind = schedule.play
        if kind == "promotion" and schedule.faults[0][1] == "kill after":
            kind = "card" if schedule.faults[0][0] >= CARD else "step"
        played[kind] += 1
        turn = played[kind] <= most.get(kind, 1)
        if kind == "step" or (schedule.skew > 0 if kind == "rivals" and played[kind] > 1 else turn):
            yield schedule


def fifty() -> Iterator[Schedule]:
    """At least fifty: a kill after every write, every other fault, and each kind of meeting."""
    draw = random.Random(SEED)
    steps = [c for c in PROMOTION_WRITES if c < CARD]
    rest = [f for f in FAULTS if f not in KILLS]
    for call in PROMOTION_WRITES:
        yield Schedule("promotion", ((call, "kill after"),))
    for number, call in enumerate(steps):
        yield Schedule("promotion", ((call, rest[number % len(rest)]),))
    for number, call in enumerate(ROLLBACK_WRITES):
        yield Schedule("rollback", ((call, "kill after" if number % 2 == 0 else rest[number % len(rest)]),))
    for call in draw.sample(steps, 2):
        yield Schedule("first", ((call, "kill after"),))
    for fault in ("kill after", "500 after"):
        yield Schedule("rivals", ((draw.choice(steps), fault),))
    for skew in SKEWS.values():
        yield Schedule("rivals", ((draw.choice(steps), "kill after"),), skew)
    for call in (16, 27, 33):  # suspended before the claim, the alias, the alias before
        yield Schedule("overtaken", ((call, "hold"),))
    for call in draw.sample(steps, 3):
        yield Schedule("twins", ((call, "hold"),))
    yield Schedule("runs")
    yield Schedule("runs", ((steps[-1], "kill after"),))
    yield Schedule("server", ((draw.choice(steps), "server killed"),))
    yield Schedule("storm", tuple((c, draw.choice(rest[:3])) for c in range(3, PROMOTION_CALLS, 9)))


def every() -> Iterator[Schedule]:
    """Every fault at every call of a promotion and a rollback, and many meetings."""
    draw = random.Random(SEED)
    for call in range(PROMOTION_CALLS):
        yield Schedule("promotion", ((call, "kill after"),))
        yield Schedule("promotion", ((call, draw.choice([f for f in FAULTS if f not in KILLS])),))
        yield Schedule("server", ((call, "server killed"),))
    for call in range(ROLLBACK_CALLS):
        yield Schedule("rollback", ((call, "kill after"),))
        yield Schedule("rollback", ((call, draw.choice([f for f in FAULTS if f not in KILLS])),))
    for call in range(0, CARD, 3):
        yield Schedule("first", ((call, draw.choice(FAULTS)),))
        yield Schedule("rivals", ((call, draw.choice(FAULTS)),), draw.choice([0, 0, *SKEWS.values()]))
        yield Schedule("overtaken", ((call, "hold"),))
        yield Schedule("twins", ((call, "hold"),))
        yield Schedule("runs", ((call, draw.choice(FAULTS)),))
    for _ in range(10):
        calls = sorted(draw.sample(range(PROMOTION_CALLS), draw.randint(2, 6)))
        yield Schedule("storm", tuple((c, draw.choice([f for f in FAULTS if f != "late"])) for c in calls))
