"""Rates by group: own counts and Fairlearn, and what the gate makes of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import fairlearn.metrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.comparison import evaluate
from airflow_mlops.core.evaluation import Contender, Evaluation
from airflow_mlops.core.fairness import fairness_of
from airflow_mlops.core.gates import Fairness, GatePolicy, judge
from airflow_mlops.core.outputs import Outputs, Truth


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 60), groups=st.integers(1, 4))
def test_own_counts_are_what_fairlearn_says(seed: int, n: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    y, selected = rng.integers(0, 2, n), rng.integers(0, 2, n)
    of = {"g": [f"g{i}" for i in rng.integers(0, groups, n)]}
    theirs, ours = fairness_of(y, selected, of), fairness_of(y, selected, of, library=False)
    assert theirs["with"] == f"fairlearn {fairlearn.__version__}" and ours["with"] == "own counts"
    for rate, spread in ours["by"]["g"].items():
        assert theirs["by"]["g"][rate]["groups"] == pytest.approx(spread["groups"])
        for what in ("difference", "ratio"):
            assert theirs["by"]["g"][rate][what] == pytest.approx(spread[what])


def test_differences_and_ratios_are_fairlearns_own() -> None:
    rng = np.random.default_rng(3)
    y, selected, group = rng.integers(0, 2, 500), rng.integers(0, 2, 500), rng.choice(["a", "b", "c"], 500)
    found = fairness_of(y, selected, {"g": group})["by"]["g"]
    of = {"sensitive_features": group}
    m = fairlearn.metrics
    assert found["selection_rate"]["difference"] == pytest.approx(m.demographic_parity_difference(y, selected, **of))
    assert found["selection_rate"]["ratio"] == pytest.approx(m.demographic_parity_ratio(y, selected, **of))
    assert found["equalized_odds"]["difference"] == pytest.approx(m.equalized_odds_difference(y, selected, **of))
    assert found["equalized_odds"]["ratio"] == pytest.approx(m.equalized_odds_ratio(y, selected, **of))


def test_a_group_without_positives_has_no_rate_of_them() -> None:
    """Fairlearn calls that rate 0, and a difference of it would be one of nothing."""
    found = fairness_of(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]), {"g": ["a", "a", "b", "b"]})["by"]["g"]
    assert found["true_positive_rate"] == {"groups": {"a": 0.5, "b": None}, "difference": None, "ratio": None}


def judged(evaluation: Evaluation, **rule: Any) -> str:
    return judge(evaluation, GatePolicy(checks=[Fairness(by="g", min_rows=5, **rule)])).decision


def test_the_gate_on_equalized_odds_and_on_a_library_that_says_otherwise() -> None:
    y = np.array([1, 0] * 40)
    selected = np.where(np.arange(80) < 40, y, 1)  # the second group is selected whatever it is
    truth = Truth(task="binary", y=y, classes=(0, 1), kept=np.ones(80, dtype=bool))
    one = Contender(version="1", model_digest="c")
    found = evaluate(
        model_name="m",
        truth=truth,
        metrics=["accuracy"],
        candidate=one,
        champion=Contender(state="missing"),
        outputs={"candidate": Outputs(values={"labels": selected})},
        slices={"g": ["a"] * 40 + ["b"] * 40},
        replicates=0,
        fairness=["g"],
        data={"digest": "d"},
    )
    assert found.fairness["by"]["g"]["equalized_odds"] == {"groups": {}, "difference": 1.0, "ratio": 0.0}
    assert judged(found, metric="true_positive_rate", max_difference=0.1) == "pass"
    assert judged(found, metric="false_positive_rate", max_difference=0.1) == "reject"
    assert judged(found, metric="equalized_odds", max_difference=0.1) == "reject"
    assert judged(found, metric="equalized_odds", max_difference=1.0) == "pass"
    for said in (0.9, None, "many"):
        by = {"g": {"true_positive_rate": {"groups": {"a": said, "b": 1.0}}}}
        other = dataclasses.replace(found, fairness={"with": "fairlearn 0", "by": by})
        assert judged(other, metric="true_positive_rate", max_difference=0.1) == "reject"


def test_without_labels_there_are_no_rates() -> None:
    truth = Truth(task="regression", y=np.arange(4.0), classes=(), kept=np.ones(4, dtype=bool))
    found = evaluate(
        model_name="m",
        truth=truth,
        metrics=["mae"],
        candidate=Contender(version="1"),
        champion=Contender(state="missing"),
        outputs={"candidate": Outputs(values={"labels": np.arange(4.0)})},
        slices={"g": list("aabb")},
        replicates=0,
        fairness=["g"],
    )
    assert found.fairness == {"note": "rates need two classes, and a candidate that gives labels", "by": {}}
