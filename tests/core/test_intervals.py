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


def test_the_published_figures_of_a_study() -> None:
    """Hanley, McNeil: Radiology 143 (1982): 109 images rated 1 to 5, 51 of them abnormal. Statistical packages give
    this set an area of 0.8932 and by DeLong a standard error of 0.0307."""
    y = np.repeat([0, 1], [58, 51])
    ratings = np.repeat([*range(1, 6), *range(1, 6)], [33, 6, 6, 11, 2, 3, 2, 2, 11, 33]).astype(float)
    area, variance = delong_variance(y, ratings)
    assert (round(area, 4), round(math.sqrt(variance), 4)) == (0.8932, 0.0307)
    plain = [area + z * math.sqrt(variance) for z in (-1.959964, 1.959964)]
    assert [round(v, 5) for v in plain] == [0.83295, 0.95339]
    low, high = delong(y, ratings)
    odds = [math.log(v / (1 - v)) for v in (low, area, high)]
    assert odds[1] - odds[0] == pytest.approx(odds[2] - odds[1])
    assert odds[2] - odds[1] == pytest.approx(1.959964 * math.sqrt(variance) / (area * (1 - area)), rel=1e-6)


@pytest.mark.parametrize(
    ("positives", "negatives", "apart", "least"),
    [(90, 210, 1.0, 0.93), (15, 100, 3.0, 0.89), (10, 90, 2.33, 0.89), (50, 50, 2.33, 0.93)],
)
def test_the_interval_of_an_area_holds_as_often_as_it_says(
    positives: int, negatives: int, apart: float, least: float
) -> None:
    """Also where rows are few and the area is near 1, where the interval around the area itself holds 3 times in 4."""
    rng = np.random.default_rng(0)
    true = stats.norm.cdf(apart / math.sqrt(2))
    y = np.repeat([1, 0], [positives, negatives])
    held = 0
    for _ in range(400):
        found = interval_of("roc_auc", y, rng.normal(size=len(y)) + apart * y)
        held += found["low"] <= true <= found["high"]
    assert least <= held / 400 <= 0.99


def test_classes_that_do_not_overlap_have_an_exact_interval_and_not_one_of_no_width() -> None:
    y, score = np.array([1, 1, 0, 0, 0]), np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert delong(y, score) is None
    assert interval_of("roc_auc", y, score) == {
        "method": "disjoint_pairs",
        "confidence": 0.95,
        "low": pytest.approx(0.025 ** (1 / 2)),  # two pairs share no row, and both are right
        "high": 1.0,
    }
    turned = interval_of("roc_auc", y, -score)
    assert (turned["low"], turned["high"]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 2)))


@pytest.mark.parametrize(
    ("y", "score"),
    [([1, 0, 0], [0.2, 0.3, 0.1]), ([1, 1], [0.3, 0.2]), ([1, 1, 0, 0], [1.0, 1.0, 1.0, 1.0])],
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
    y, said = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 1, 0, 0, 0])
    for metric, k, n in [("accuracy", 5, 8), ("precision", 2, 3), ("recall", 2, 4)]:
        found = interval_of(metric, y, said)
        assert (found["low"], found["high"]) == clopper_pearson(k, n)
    assert interval_of("precision", y, np.zeros(8)) == {}
    assert interval_of("log_loss", y, np.full(8, 0.5)) == {}
