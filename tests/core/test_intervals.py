"""Intervals that theory knows, against the plain formula, scipy and the share of times that they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from airflow_mlops.core.intervals import clopper_pearson, delong, delong_variance, interval_of


def plain_delong(y: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """DeLong's structural components, pair by pair."""
    positive, negative = score[y == 1], score[y == 0]
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    parts = above.mean(axis=1), above.mean(axis=0)
    return above.mean(), sum(p.var(ddof=1) / len(p) for p in parts)


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60), st.booleans())
@settings(max_examples=100, deadline=None)
def test_delong_by_ranks_is_delong_by_pairs(seed: int, positives: int, negatives: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    score = rng.normal(size=len(y)) + y
    score = np.round(score) if coarse else score
    area, variance = delong_variance(y, score)
    assert (area, variance) == (
        pytest.approx(plain_delong(y, score)[0], abs=1e-12),
        pytest.approx(plain_delong(y, score)[1], abs=1e-12),
    )
    assert area == pytest.approx(roc_auc_score(y, score), abs=1e-12)


def test_delong_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = stats.norm.cdf(1 / math.sqrt(2))
    held = 0
    for _ in range(400):
        y = (rng.random(300) < 0.3).astype(int)
        low, high = delong(y, rng.normal(size=300) + y)
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize(
    ("y", "score"),
    [([1, 0, 0], [0.3, 0.2, 0.1]), ([1, 1], [0.3, 0.2]), ([1, 1, 0, 0], [4.0, 3.0, 2.0, 1.0])],
)
def test_where_there_is_nothing_to_estimate_from_there_is_no_interval(y: list[int], score: list[float]) -> None:
    assert delong(np.array(y), np.array(score)) is None
    assert interval_of("roc_auc", np.array(y), np.array(score)) == {}


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=100, deadline=None)
def test_shares_are_scipys(n: int, share: float, confidence: float) -> None:
    k = round(n * share)
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_each_share_is_of_its_own_rows() -> None:
    y, said = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0, 0])
    for metric, k, n in [("accuracy", 6, 8), ("precision", 2, 3), ("recall", 2, 3)]:
        found = interval_of(metric, y, said)
        assert (found["low"], found["high"]) == clopper_pearson(k, n)
    assert interval_of("precision", y, np.zeros(8)) == {}
    assert interval_of("log_loss", y, np.full(8, 0.5)) == {}
