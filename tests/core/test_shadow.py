"""Shadows: a challenger is promoted on evidence that holds at every look, and never on what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.records import Record
from airflow_mlops.core.shadow import Paired, ShadowPolicy, decide_shadow, interval
from airflow_mlops.core.shadow_rows import compare, paired

POLICY = ShadowPolicy(partitions=3, longest=8, effect=0.02)


def record(day: int, mean: float | None = 0.02, **options: Any) -> Record:
    rows = options.pop("rows", 2000)
    pair = {"champion": options.pop("champion", "1"), "challenger": options.pop("challenger", "2")}
    difference = {"loss": options.pop("loss", "brier"), "rows": rows, "mean": mean, "m2": rows * 0.04}
    known = {"rows": 2000.0, "agreement": 0.9, "champion_latency_p95": 5.0, "challenger_latency_p95": 6.0}
    metrics = {k: v for k, v in (known | options.pop("metrics", {})).items() if v is not None}
    body: dict[str, Any] = {**pair, "difference": difference if mean is not None else None, "error": "it broke"}
    outcome = options.pop("outcome", "compared")
    key = f"{day}{mean}{outcome}{options}"
    at = f"2013-05-{day:02}"
    return Record(kind="shadow", model="m", key=key, outcome=outcome, at=at, body=body, metrics=metrics, **options)


def decide(*records: Record, policy: ShadowPolicy = POLICY) -> Any:
    return decide_shadow("m", "1", "2", records, policy)


GOOD = [record(d) for d in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("records", "policy", "decision", "why"),
    [
        (GOOD, {}, "promote", "better by 0.02"),
        ([], {}, "continue", "0 of 3 partitions"),
        (GOOD[:2], {}, "continue", "2 of 3 partitions"),
        ([record(d, rows=100) for d in (1, 2, 3)], {}, "continue", "300 of 1000 rows"),
        ([record(d, 0.0001) for d in (1, 2, 3)], {}, "continue", "surely known difference"),
        ([record(d, -0.02) for d in (1, 2, 3)], {}, "stop", "surely worse"),
        ([record(d, 0.0) for d in (1, 2, 3, 4)], {"margin": 0.03}, "promote", ""),
        ([record(d, None) for d in range(1, 6)], {}, "continue", "0 of 3 partitions"),
        ([record(d, None) for d in range(1, 9)], {}, "stop", "nothing was decided in 8"),
        ([*GOOD, record(5, None, outcome="error")], {}, "stop", "could not score 1 of 5"),
        ([*GOOD, record(5, None, outcome="error")], {"max_errors": 1}, "promote", ""),
        ([record(d, metrics={"challenger_latency_p95": 11.0}) for d in (1, 2, 3)], {}, "stop", "2.2 times"),
        ([record(d, metrics={"challenger_latency_p95": None}) for d in (1, 2, 3)], {}, "continue", "latency is not"),
        (GOOD, {"min_agreement": 0.95}, "stop", "agrees on 90.00%"),
        (
            [record(d, metrics={"agreement": None}) for d in (1, 2, 3)],
            {"min_agreement": 0.5},
            "continue",
            "agreement is",
        ),
        ([record(d, backfill=True) for d in (1, 2, 3)], {}, "continue", "0 of 3"),
        ([record(d, challenger="3") for d in (1, 2, 3)], {}, "continue", "0 of 3"),
        ([record(d, champion="0") for d in (1, 2, 3)], {}, "continue", "0 of 3"),
        ([*GOOD[:3], record(4, loss="zero_one")], {}, "continue", "1 of 3 partitions"),
        ([record(1), record(1), record(1)], {}, "continue", "1 of 3 partitions"),
    ],
)
def test_what_is_decided(records: list[Record], policy: dict[str, Any], decision: str, why: str) -> None:
    decided = decide(*records, policy=ShadowPolicy.from_dict({**POLICY.to_dict(), **policy}))
    assert decided.decision == decision, decided.reasons
    assert any(why in reason for reason in decided.reasons), decided.reasons


def test_looking_after_every_partition_does_not_find_what_is_not_there() -> None:
    """Two models that are equally good, looked at 30 times: wrongly decided in at most alpha of the shadows."""
    random = np.random.default_rng(7)
    wrong = naive = 0
    for _ in range(400):
        parts: list[Paired] = []
        ended = once = False
        for _ in range(30):
            rows = random.normal(0, 0.2, 200)
            parts.append(Paired(rows=200, mean=float(rows.mean()), m2=float(((rows - rows.mean()) ** 2).sum())))
            if len(parts) < 3:
                continue
            found = interval(parts, alpha=0.05, effect=0.02)
            assert found is not None
            low, mean, high = found
            ended |= low > 0 or high < 0
            once |= abs(mean) > 1.96 * 0.2 / np.sqrt(200 * len(parts))
        wrong, naive = wrong + ended, naive + once
    assert wrong <= 0.05 * 400
    assert naive > 0.15 * 400, "a test for one look, made thirty times, is wrong far more often"


def test_days_that_differ_make_it_less_sure_than_rows_that_do() -> None:
    rows = [Paired(rows=1000, mean=0.01, m2=40.0)] * 6
    days = [Paired(rows=1000, mean=0.01 + shift, m2=40.0) for shift in (0.05, -0.05) * 3]
    sure, unsure = (interval(p, alpha=0.05, effect=0.01) for p in (rows, days))
    assert sure is not None and unsure is not None
    assert unsure[2] - unsure[0] > 2 * (sure[2] - sure[0])


figures = st.floats(-1, 1, allow_nan=False)


@given(st.lists(st.tuples(st.integers(1, 5000), figures, st.floats(0, 5000)), min_size=2, max_size=10))
def test_an_interval_contains_its_mean_and_mirrors(parts: list[tuple[int, float, float]]) -> None:
    there = interval([Paired(rows=n, mean=m, m2=v) for n, m, v in parts], alpha=0.05, effect=0.01)
    back = interval([Paired(rows=n, mean=-m, m2=v) for n, m, v in parts], alpha=0.05, effect=0.01)
    assert there is not None and back is not None
    assert there[0] <= there[1] <= there[2]
    assert np.allclose(there, [-x for x in reversed(back)])


@pytest.mark.parametrize("value", [None, {}, {"rows": 0, "mean": 0.1, "m2": 1}, {"rows": 5, "mean": None, "m2": 1}])
def test_differences_that_can_not_be_are_none(value: Any) -> None:
    assert Paired.of(value) is None
    assert Paired.of({"rows": 5, "mean": float("nan"), "m2": 1}) is None
    assert Paired.of({"rows": True, "mean": 0.1, "m2": -1}) is None


@pytest.mark.parametrize("policy", [{"alpha": 0}, {"partitions": 1}, {"longest": 2}, {"margin": -1}, {"effect": 0}])
def test_a_policy_that_decides_nothing_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        ShadowPolicy.from_dict(policy)


def test_rows_side_by_side() -> None:
    champion = pd.DataFrame({"prediction": [0, 1, 1, 0], "score": [0.2, 0.8, 0.6, 0.4]})
    challenger = pd.DataFrame({"prediction": [0, 1, 0, 0], "score": [0.1, 0.9, 0.4, 0.4]})
    found = compare(champion, challenger)
    assert (found["rows"], found["agreement"]) == (4, 0.75)
    assert found["score_difference_absolute"] == pytest.approx(0.1)
    labels = pd.Series([0, 1, None, 1], dtype=object)
    brier = paired(champion, challenger, labels, regression=False, positive=1)
    assert (brier["loss"], brier["rows"]) == ("brier", 3)
    assert brier["mean"] == pytest.approx((0.04 - 0.01 + 0.04 - 0.01 + 0.0) / 3)
    assert paired(champion, challenger, labels, regression=False)["loss"] == "zero_one"
    assert paired(champion, challenger, pd.Series([None] * 4), regression=False)["mean"] is None
    squared = paired(champion, challenger, pd.Series([0.0, 1.0, 0.0, 0.0]), regression=True)
    assert (squared["loss"], squared["mean"]) == ("squared", pytest.approx(0.25))
