"""A year of weekly checks, replayed: how often would one have trained, when for nothing, and how long was one blind.

Five worlds: *stable*; *seasonal*, half a standard deviation up and down in the course of the year, which the model does
not mind; *sudden*, three columns move by 0.6 sd in week 26 and the model with them; *gradual*, they move by 1.2 sd over
the year; *outage*, for three weeks 60 % of a column are null and no labels come.

Four policies: this package's (drift in two of three checks, performance realised a week later, four weeks of cooldown,
an alert where labels are missing or all that drifted is broken input); the same with the *same week a year before* as
the drift check's reference, in place of what the model was trained on; *weekly*, whatever happens; *any p < 0.05*,
without correction or effect size.

*For nothing*: a training while what the model knows is what there is, or during the outage. *Blind*: weeks in which the
model was off by more than a quarter of a standard deviation. Seeded: the same figures every time.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO))

from airflow_mlops.core.drift import check_drift  # noqa: E402
from airflow_mlops.core.ledger import broken_inputs  # noqa: E402
from airflow_mlops.core.profile import Profile  # noqa: E402
from airflow_mlops.core.results import Report, Status  # noqa: E402
from airflow_mlops.core.retraining import RETRAIN, Outcome, RetrainingFacts, RetrainingPolicy, decide  # noqa: E402
from tests.core.drift_samples import profile  # noqa: E402

WEEKS, ROWS, COLUMNS = 52, 1000, 10
START = dt.date(2013, 1, 7)


@dataclass(frozen=True)
class World:
    """What is true in a week.

    :param shift: week -> how far three of the columns are from where the year began, in standard deviations.
    :param matters: whether the model suffers from it.
    :param outage: weeks without labels and with a column full of nulls.
    """

    shift: Callable[[int], float]
    matters: bool = True
    outage: range = field(default_factory=lambda: range(0))


WORLDS: Mapping[str, World] = {
    "stable": World(lambda week: 0.0),
    "seasonal": World(lambda week: 0.5 * math.sin(2 * math.pi * week / 52), matters=False),
    "sudden": World(lambda week: 0.6 if week >= 26 else 0.0),
    "gradual": World(lambda week: 1.2 * week / 52),
    "outage": World(lambda week: 0.0, outage=range(20, 23)),
}


@dataclass
class Seen:
    """What a policy can know in a week."""

    week: int
    report: Report
    drift: tuple[Outcome, ...]
    performance: tuple[Outcome, ...]
    trainings: tuple[tuple[str, str, str], ...]
    version: int
    labelled: int
    trained: int


def day(week: int) -> str:
    """The date of a week."""
    return (START + dt.timedelta(weeks=week)).isoformat()


POLICY = RetrainingPolicy(reasons=("drift", "performance"), cooldown=dt.timedelta(weeks=4))


def ours(seen: Seen) -> bool:
    """The package's decision."""
    facts = RetrainingFacts(
        model="m",
        at=day(seen.week),
        champion=str(seen.version),
        newest=str(seen.version),
        trained_until=day(seen.trained),
        labelled_until=day(seen.labelled),
        drift=seen.drift,
        performance=seen.performance,
        retrainings=seen.trainings,
    )
    return decide(facts, POLICY).decision == RETRAIN


def any_p(seen: Seen) -> bool:
    """One p-value below 0.05 is enough."""
    found = [c.details.get("p_value") for c in seen.report.checks]
    return any(isinstance(p, float) and p < 0.05 for p in found)


POLICIES: Mapping[str, Callable[[Seen], bool]] = {
    "ours": ours,
    "ours, a year before": ours,
    "weekly": lambda seen: True,
    "any p < 0.05": any_p,
}
SEASONAL = "ours, a year before"


def batch(
    world: World, week: int, rng: np.random.Generator, rows: int, like: Profile | None = None, *, before: bool = False
) -> Profile:
    """The rows of a week, counted; of the same week a year ``before``, when there was the season alone."""
    if before:
        world = WORLDS["seasonal"] if world is WORLDS["seasonal"] else WORLDS["stable"]
    columns = {f"x{i}": rng.normal(world.shift(week) if i < 3 else 0.0, 1.0, rows) for i in range(COLUMNS)}
    if week in world.outage:
        columns["x9"] = np.where(rng.random(rows) < 0.6, np.nan, columns["x9"])
    return profile(columns, like=like)


@dataclass
class Year:
    """What a policy did to a world's model."""

    trainings: int = 0
    for_nothing: int = 0
    blind: int = 0


def replay(world: World, policy: Callable[[Seen], bool], seed: int, *, seasonal: bool = False) -> Year:
    """A year of one world under one policy. A decision to retrain gives a new champion in the week after.

    :param seasonal: compare with the same week a year before.
    """
    rng, year = np.random.default_rng(seed), Year()
    trained, version, labelled = 0, 1, 0
    reference = batch(world, 0, rng, 5 * ROWS)
    drift: list[Outcome] = []
    performance: list[Outcome] = []
    trainings: list[tuple[str, str, str]] = []
    for week in range(1, WEEKS + 1):
        off = abs(world.shift(week) - world.shift(trained)) if world.matters else 0.0
        now = batch(world, week, rng, ROWS, reference)
        was = batch(world, week, rng, ROWS, reference, before=True) if seasonal else reference
        report = check_drift(was, now, seed=seed)
        broken = broken_inputs(report.to_dict())
        drift.insert(0, Outcome(at=day(week), subject=day(week), outcome=str(report.status), broken=broken))
        if week not in world.outage:
            labelled = week
            auc = 0.75 - 0.1 * off + rng.normal(0, 0.015)  # what 1,000 labelled rows scatter by
            fell = auc < 0.70 and (auc + 2 * 0.015) < 0.75
            outcome = Status.FAILED if fell else Status.PASSED
            performance.insert(0, Outcome(at=day(week), subject=day(week), outcome=str(outcome)))
        year.blind += off > 0.25
        seen = Seen(week, report, tuple(drift), tuple(performance), tuple(trainings), version, labelled, trained)
        if policy(seen):
            year.trainings += 1
            year.for_nothing += off < 0.1 or week in world.outage
            trainings.insert(0, (day(week), f"week {week}", str(version)))
            trained, version = labelled, version + 1  # only rows with labels teach
            reference = batch(world, labelled, rng, 5 * ROWS)
            drift, performance = [], []
    return year


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--years", type=int, default=3, help="of each world; the figures are means")
    asked = parser.parse_args()
    print(f"{'world':<10}{'policy':<20}{'trainings':>11}{'for nothing':>13}{'blind weeks':>13}   a year")
    for world_name, world in WORLDS.items():
        for policy_name, policy in POLICIES.items():
            seasonal = policy_name == SEASONAL
            years = [replay(world, policy, asked.seed + i, seasonal=seasonal) for i in range(asked.years)]
            means = [np.mean([getattr(y, f) for y in years]) for f in ("trainings", "for_nothing", "blind")]
            print(f"{world_name:<10}{policy_name:<20}{means[0]:>11.1f}{means[1]:>13.1f}{means[2]:>13.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
