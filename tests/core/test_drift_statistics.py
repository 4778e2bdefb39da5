"""Statistics against scipy on the raw rows, and against what they are defined to be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from airflow_mlops.core.drift import DriftPolicy, check_drift
from airflow_mlops.core.drift_bounds import ks_bound, quadratic_bounds, wasserstein_bound
from airflow_mlops.core.drift_cells import EXPECTED, TooFew, numeric_cells
from airflow_mlops.core.drift_statistics import EFFECTS, Cells, jensen_shannon, psi, risen_floor, wasserstein
from airflow_mlops.core.drift_tests import (
    TESTS,
    _pearson_iii_above,
    anderson_darling,
    benjamini_hochberg,
    chi_square,
    cramer_von_mises,
    g_test,
    kolmogorov_smirnov,
    refined,
    share_test,
    unseen_test,
    weighted_chi_square_tail,
)
from airflow_mlops.pages import report_page
from airflow_mlops.pages.words import number
from tests.core.drift_samples import SAMPLERS, column, profile

counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=30).filter(lambda c: sum(c) > 0)


def pairs() -> st.SearchStrategy[tuple[list[int], list[int]]]:
    return st.integers(2, 30).flatmap(
        lambda k: st.tuples(
            *[st.lists(st.integers(0, 10_000), min_size=k, max_size=k).filter(lambda c: sum(c) > 0)] * 2
        )
    )


@given(pairs())
def test_psi_and_jensen_shannon_are_their_definitions(pair: tuple[list[int], list[int]]) -> None:
    r, c = pair
    k = len(r)
    p, q = [(x + 0.5) / (sum(r) + k / 2) for x in r], [(x + 0.5) / (sum(c) + k / 2) for x in c]
    direct = math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert float(psi(r, c)) == pytest.approx(direct, abs=1e-12)
    p, q = [x / sum(r) for x in r], [x / sum(c) for x in c]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = math.fsum(a * math.log2(a / m) / 2 for s in (p, q) for a, m in zip(s, middle, strict=True) if a > 0)
    assert float(jensen_shannon(r, c)) ** 2 == pytest.approx(divergence, abs=1e-12)


@given(pairs(), st.sampled_from(sorted(EFFECTS)))
def test_an_effect_is_zero_for_equals_symmetric_and_free_of_the_number_of_rows(
    pair: tuple[list[int], list[int]], name: str
) -> None:
    r, c = pair
    cells = Cells(reference=tuple(r), current=tuple(c), points=tuple(float(i) for i in range(len(r))), scale=1.0)
    effect = EFFECTS[name].function
    value = float(effect(r, c, cells))
    assert math.isfinite(value) and value >= 0
    assert float(effect(r, r, cells)) == pytest.approx(0, abs=1e-7)
    assert float(effect(c, r, cells)) == pytest.approx(value, abs=1e-9)
    if name != "psi":  # the half row that keeps it finite weighs less in larger samples
        assert float(effect([x * 7 for x in r], c, cells)) == pytest.approx(value, abs=1e-9)


@given(pairs(), st.sampled_from(sorted(EFFECTS)))
def test_a_thousand_histograms_are_one_call(pair: tuple[list[int], list[int]], name: str) -> None:
    r, c = pair
    cells = Cells(reference=tuple(r), current=tuple(c), points=tuple(float(i) for i in range(len(r))), scale=2.0)
    both = EFFECTS[name].function(np.array([r, c]), np.array([c, c]), cells)
    assert both.shape == (2,)
    assert both[0] == pytest.approx(float(EFFECTS[name].function(r, c, cells)), abs=1e-12)


@pytest.mark.parametrize("name", ["normal", "heavy_tailed", "log_normal", "discrete", "zero_inflated"])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kolmogorov_smirnov_from_bins_is_within_its_bound_of_scipy_on_rows(name: str, shift: float) -> None:
    rng = np.random.default_rng(5)
    a, b = SAMPLERS[name](rng, 3000), SAMPLERS[name](rng, 1500) + shift
    was = column("x", a)
    now = column("x", b, like=was)
    exact = stats.ks_2samp(a, b, method="asymp")
    distance, p = kolmogorov_smirnov(was.counts, now.counts)
    assert distance <= exact.statistic + 1e-12 <= distance + ks_bound(was.counts, now.counts) + 2e-12
    assert p >= exact.pvalue - 1e-12  # errs to the safe side


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "heavy_tailed", "log_normal"]),
    st.integers(60, 3000),
    st.integers(60, 3000),
    st.sampled_from([0.0, 0.1, 1.0, 20.0]),
    st.sampled_from([0.2, 1.0, 3.0]),
)
@example(0, "normal", 60, 649, 20.0, 0.2)  # all of one sample beyond the other, which is too small for two cells
def test_statistics_are_scipys_on_the_raw_rows_within_the_stated_bounds(
    seed: int, name: str, m: int, n: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    a, b = SAMPLERS[name](rng, m), SAMPLERS[name](rng, n) * scale + shift
    was = column("x", a)
    try:
        cells = numeric_cells(was, column("x", b, like=was))
    except TooFew as few:  # no edge has enough rows on both sides
        below = np.array([(a <= e).sum() + (b <= e).sum() for e in was.edges])
        assert (np.minimum(below, m + n - below) * min(m, n) / (m + n) < EXPECTED).all()
        assert few.enough is not None and few.enough > min(m, n)
        return
    r, c = cells.reference, cells.current
    distance, _ = kolmogorov_smirnov(r, c)
    assert distance <= stats.ks_2samp(a, b).statistic + 1e-9 <= distance + ks_bound(r, c) + 2e-9
    error = wasserstein_bound(cells)
    assert error is not None
    exact = stats.wasserstein_distance(a, b) / a.std(ddof=1)
    assert abs(float(wasserstein(r, c, cells)) - exact) <= error * (1 + 1e-9)
    low, high = quadratic_bounds(r, c, tails=False)
    assert low <= stats.cramervonmises_2samp(a, b, method="asymptotic").statistic * (1 + 1e-9) <= high * (1 + 2e-9)
    assert low <= cramer_von_mises(r, c)[0] <= high
    low, high = quadratic_bounds(r, c, tails=True)
    assert low <= rows_anderson_darling(a, b) <= high


def rows_anderson_darling(a: Any, b: Any) -> float:
    """Scipy's statistic of the rows as it is before it is standardised, which depends on the sizes alone."""
    m, n = len(a), len(b)
    together = m + n
    of_a = np.argsort(np.concatenate([a, b])) < m
    gap = (np.cumsum(of_a) / m - np.cumsum(~of_a) / n)[:-1]
    j = np.arange(1, together)
    return float(m * n * (gap**2 / (j * (together - j))).sum())


def test_the_statistic_of_the_rows_is_scipys_anderson_darling() -> None:
    rng = np.random.default_rng(4)
    pairs = [(rng.normal(size=300), rng.normal(shift, 1, 200)) for shift in (0.0, 0.2, 0.5)]
    ours = [rows_anderson_darling(a, b) for a, b in pairs]
    theirs = [stats.anderson_ksamp([a, b], variant="continuous").statistic for a, b in pairs]
    slope = (ours[1] - ours[0]) / (theirs[1] - theirs[0])
    assert ours[2] == pytest.approx(1 + slope * theirs[2]) and ours[0] == pytest.approx(1 + slope * theirs[0])


@pytest.mark.parametrize("measure", ["ks_distance", "wasserstein", "jensen_shannon"])
def test_a_report_states_the_bound_beside_each_figure_that_bins_are_not_exact_for(measure: str) -> None:
    rng = np.random.default_rng(6)
    was = profile({"x": rng.normal(size=2000), "y": rng.choice(list("abc"), 2000)})
    now = profile({"x": rng.normal(0.3, 1, 900), "y": rng.choice(list("abc"), 900)}, like=was)
    report = check_drift(was, now, DriftPolicy(numeric_effect=measure))
    of = {c.subject: c for c in report.checks if c.name == "distribution"}
    cells = numeric_cells(was.columns["x"], now.columns["x"])
    stated: Any = of["x"].details["errors"]
    assert stated == {
        "ks_distance": ks_bound(cells.reference, cells.current),
        "wasserstein": wasserstein_bound(cells),
    }
    assert of["x"].details["statistic_on_rows"] == list(quadratic_bounds(cells.reference, cells.current, tails=True))
    assert "errors" not in of["y"].details
    assert ("on the rows up to" in of["x"].message) is (measure != "jensen_shannon")
    told = {**report.to_dict(), "details": {**report.details, "compared_with": "1 partition: 2012-05"}}
    page = report_page(told)
    assert "<dt>Compared with</dt><dd><bdi>1 partition: 2012-05</bdi></dd>" in page
    assert page.count("±") == 3 and " to ".join(map(number, of["x"].details["statistic_on_rows"])) in page  # type: ignore[arg-type]


def test_kolmogorov_smirnov_equals_scipys_where_every_value_has_its_bin() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.poisson(3, 500), rng.poisson(3.3, 400)
    was = column("x", a)
    now = column("x", b, like=was)
    exact = stats.ks_2samp(a, b, method="asymp")
    distance, p = kolmogorov_smirnov(was.counts, now.counts)
    assert distance == pytest.approx(exact.statistic, abs=1e-12)
    assert p == pytest.approx(exact.pvalue, rel=1e-9)


@given(pairs())
def test_contingency_tests_are_scipys(pair: tuple[list[int], list[int]]) -> None:
    table = np.array(pair)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return
    for ours, power in ((chi_square, 1), (g_test, 0)):
        exact = stats.chi2_contingency(table, correction=False, lambda_=power)
        statistic, p = ours(*table)
        assert statistic == pytest.approx(exact.statistic, rel=1e-9, abs=1e-8)
        assert p == pytest.approx(exact.pvalue, rel=1e-6, abs=1e-12)


def test_anderson_darling_on_fine_bins_agrees_with_scipy_on_rows() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=4000), rng.normal(0.06, 1, 4000)
    edges = np.quantile(a, np.arange(1, 400) / 400)
    r, c = (np.bincount(np.searchsorted(edges, x), minlength=400) for x in (a, b))
    exact = stats.anderson_ksamp([a, b], variant="midrank")
    _, p = anderson_darling(r, c)
    assert p == pytest.approx(exact.pvalue, rel=0.15)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.2, 0.1], [1 / (j * (j + 1)) for j in range(1, 50)]])
@pytest.mark.parametrize("p", [0.5, 0.1, 0.01, 0.0005])
def test_the_tail_of_weighted_chi_squares_is_that_of_a_simulation(weights: list[float], p: float) -> None:
    rng = np.random.default_rng(2)
    draws = (rng.chisquare(1, (400_000, len(weights))) * np.array(weights)).sum(axis=1)
    value = float(np.quantile(draws, 1 - p))
    assert weighted_chi_square_tail(value, weights) == pytest.approx(p, rel=0.2)


@given(st.floats(1e-6, 1e4), st.lists(st.floats(1e-9, 100), min_size=1, max_size=40))
def test_a_tail_is_a_probability_that_falls(value: float, weights: list[float]) -> None:
    here, further = weighted_chi_square_tail(value, weights), weighted_chi_square_tail(value * 1.5, weights)
    assert 0 <= further <= here + 1e-6 <= 1 + 1e-6


@pytest.mark.parametrize("name", sorted(TESTS))
def test_a_test_sees_the_same_as_the_same_and_a_great_difference_as_one(name: str) -> None:
    test = TESTS[name].function
    assert test([40, 60, 80, 20], [40, 60, 80, 20])[1] > 0.99
    assert test([4000, 60, 80, 20], [40, 600, 800, 2000])[1] < 1e-12
    assert 0 <= test([50_000_000, 50_000_000, 1], [49_000_000, 51_000_000, 1])[1] < 1e-9


@pytest.mark.parametrize(("hits", "rows"), [(0, 50), (3, 50), (50, 50), (400, 1000)])
def test_shares_are_tested_as_fisher_does(hits: int, rows: int) -> None:
    exact = stats.fisher_exact([[20, 980], [hits, rows - hits]])[1]
    assert share_test(20, 1000, hits, rows) == pytest.approx(exact, rel=0.05, abs=1e-30)


def test_a_small_reference_of_a_large_domain_expects_unseen_categories() -> None:
    assert unseen_test(48, 1, 50, 49, 50) > 0.2  # every row was one of its kind before, too
    assert unseen_test(0, 0, 1000, 3, 50) < 1e-3  # none was, among a thousand
    exact = stats.hypergeom.sf(1, 1100, 3, 100)  # two of the three lonely rows are among the hundred
    assert unseen_test(1, 0, 1000, 2, 100) == pytest.approx(exact) and exact > 0.02  # a normal tail says 0.0002


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(list(stats.false_discovery_control(p_values)), abs=1e-12)


def test_wasserstein_is_scipys_up_to_the_width_of_the_cells() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=5000), rng.normal(0.5, 1, 5000)
    edges = np.linspace(-5, 5, 200)
    points = np.concatenate([[-5], (edges[:-1] + edges[1:]) / 2, [5]])
    r, c = (np.bincount(np.searchsorted(edges, x), minlength=201) for x in (a, b))
    cells = Cells(reference=tuple(r), current=tuple(c), points=tuple(points), scale=float(a.std()))
    exact = stats.wasserstein_distance(a, b) / a.std()
    assert float(wasserstein(r, c, cells)) == pytest.approx(exact, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_chance_adds_to_a_floor_depends_on_the_seed_alone(seed: int) -> None:
    cells = Cells(reference=(100, 200, 300), current=(10, 20, 30))
    floors = [risen_floor(cells, EFFECTS["psi"], 0.1, seed=seed, replicates=100) for _ in range(2)]
    assert floors[0] == floors[1] > 0.1


@pytest.mark.parametrize("name", ["psi", "jensen_shannon", "hellinger", "total_variation", "wasserstein"])
def test_a_difference_as_large_as_the_floor_shows_the_risen_floor_on_average(name: str) -> None:
    """That is what the floor rises for: the effect of two samples of 100 and 1,000 rows, not of two distributions."""
    p = np.full(8, 1 / 8)
    q = p * np.linspace(0.75, 1.25, 8)
    points, effect = tuple(range(8)), EFFECTS[name]
    many = Cells(reference=tuple(p * 1e9), current=tuple(q * 1e9), points=points, scale=2.3)
    true = float(effect.function(many.reference, many.current, many))
    rng = np.random.default_rng(0)
    seen, floors = [], []
    for i in range(200):
        r, c = rng.multinomial(1000, p), rng.multinomial(100, q)
        cells = Cells(reference=tuple(r), current=tuple(c), points=points, scale=2.3)
        seen.append(float(effect.function(r, c, cells)))
        floors.append(risen_floor(cells, effect, true, seed=i, replicates=100))
    assert np.mean(seen) > 1.05 * true and np.mean(floors) == pytest.approx(np.mean(seen), rel=0.15)


@pytest.mark.parametrize("current", [(18, 19, 8, 3, 2), (36, 4, 5, 1, 4), (20, 12, 5, 3, 10)])
def test_the_p_values_of_small_samples_are_right_far_out(current: tuple[int, ...]) -> None:
    """Beside half a million random splits of the same rows; the distribution for large samples is too sure."""
    test, reference = TESTS["chi_square"], np.array([1000, 400, 200, 100, 100])
    pooled = reference + np.array(current)
    drawn = np.random.default_rng(0).multivariate_hypergeometric(pooled, 50, 500_000, method="marginals")
    seen, plain = test.function(reference, current)
    right = float((chi(pooled - drawn, drawn) >= seen * (1 - 1e-9)).mean())
    p = refined(test, reference, current, plain, seed=1)
    assert p >= plain and p == pytest.approx(max(right, plain), rel=0.3)


@pytest.mark.parametrize(
    ("reference", "current", "right"),
    [
        ([255, 82, 54, 51, 37, 468], [61, 25, 24, 1, 9, 74], 7.1e-5),
        ([252, 104, 66, 45, 30, 458], [84, 20, 5, 5, 3, 77], 1.4e-4),
    ],
)
def test_where_few_splits_reach_as_far_the_p_value_is_not_smaller_than_it_should_be(
    reference: list[int], current: list[int], right: float
) -> None:
    """Beside two million splits. These tables raised alarms among 200 columns of many categories."""
    test = TESTS["chi_square"]
    plain = test.function(reference, current)[1]
    found = [refined(test, reference, current, plain, seed=seed) for seed in range(8)]
    assert plain < 0.7 * right
    assert 0.85 * right < np.mean(found) < 1.5 * right


def chi(r: Any, c: Any) -> Any:
    """Pearson's statistic of many tables, written out."""
    m, n = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    pooled = (r + c) / (m + n)
    return ((r - pooled * m) ** 2 / (pooled * m) + (c - pooled * n) ** 2 / (pooled * n)).sum(axis=-1)


def test_a_refined_p_value_is_never_smaller_and_leaves_large_samples_alone() -> None:
    test = TESTS["chi_square"]
    assert refined(test, [5, 10, 20], [20, 10, 5], 0.5, seed=1) == 0.5
    assert refined(test, [500, 600, 700], [500, 700, 600], 0.001, seed=1) == 0.001
    far = test.function([10, 10, 10], [1, 2, 30])[1]
    assert refined(test, [10, 10, 10], [1, 2, 30], far, seed=1) >= far > 0


@pytest.mark.parametrize("draw", ["chisquare", "gamma"])
def test_the_tail_of_the_draws_is_scipys(draw: str) -> None:
    drawn = getattr(np.random.default_rng(0), draw)(3.0, size=4000)
    far = [float(np.sort(drawn)[-40]), 2 * float(drawn.max())]
    theirs = stats.pearson3.sf(far, stats.skew(drawn), loc=drawn.mean(), scale=drawn.std())
    assert _pearson_iii_above(far, drawn) == pytest.approx(theirs, rel=1e-9)
