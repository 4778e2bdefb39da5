"""The table of metrics, and what the bootstrap makes of it."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from airflow_mlops.core.bootstrap import FAST, LEVELS, quantiles, rare, replicate, resamples, statistic
from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.metrics import METRICS, TASKS, Metric, metric, metrics_of


def rows(task: str, needs: str, n: int, seed: int, *, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Truth and output of a middling model; coarse: with many ties."""
    rng = np.random.default_rng(seed)
    if task == "regression":
        y = rng.integers(1, 9, n).astype(float)
        return y, y + (rng.integers(-2, 3, n) if coarse else rng.normal(size=n))
    if task == "binary":
        y = rng.integers(0, 2, n)
        p = np.clip(0.3 + 0.3 * y + rng.normal(size=n) / 4, 0.01, 0.99)
        p = np.round(p, 1) if coarse else p
        return y, (p > 0.5).astype(int) if needs == "labels" else p
    y = rng.integers(0, 3, n)
    p = rng.dirichlet(np.ones(3), n) + np.eye(3)[y] * 0.4
    p = np.round(p, 1) + 0.01 if coarse else p
    p /= p.sum(axis=1, keepdims=True)
    return y, p.argmax(axis=1) if needs == "labels" else p


CASES = [(name, task) for name, m in METRICS.items() for task in m.tasks]


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("coarse", [False, True])
def test_a_replicate_is_the_figure_of_the_repeated_rows(name: str, task: str, coarse: bool) -> None:
    one = METRICS[name]
    for seed, n in enumerate((2, 3, 5, 9, 30, 200)):
        y, output = rows(task, one.needs, n, seed, coarse=coarse)
        compute = statistic(one, y, output)
        for counts in resamples(n, 20, seed):
            with np.errstate(all="ignore"):
                fast = compute(counts)
            for figure, count in zip(fast, counts, strict=True):
                again = np.repeat(np.arange(n), count)
                plain, why = one.figure(y[again], output[again])
                if plain is None:
                    assert math.isnan(figure), (why, figure)
                else:
                    assert figure == pytest.approx(plain, abs=1e-9, rel=1e-9)


def test_every_metric_of_the_table_is_fast() -> None:
    assert set(FAST) == set(METRICS)


SKLEARN = {
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "brier": sk.brier_score_loss,
    "log_loss": sk.log_loss,
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "mcc": sk.matthews_corrcoef,
    "kappa": sk.cohen_kappa_score,
    "ndcg": lambda y, score: sk.ndcg_score([y], [score]),
    "brier_multiclass": lambda y, p: sk.brier_score_loss(y, p, scale_by_half=False),
    "f1_weighted": lambda y, said: sk.f1_score(y, said, average="weighted"),
    "f1": sk.f1_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "mae": sk.mean_absolute_error,
    "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
    "median_ae": sk.median_absolute_error,
    "mape": sk.mean_absolute_percentage_error,
    "r2": sk.r2_score,
}


@pytest.mark.parametrize("name", SKLEARN)
def test_figures_are_scikit_learns(name: str) -> None:
    one = METRICS[name]
    y, output = rows(one.tasks[0], one.needs, 500, 7)
    assert one.figure(y, output) == (pytest.approx(float(SKLEARN[name](y, output)), abs=1e-15), "")


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_model_is_no_worse_than_any(name: str) -> None:
    """The direction in the table is the metric's."""
    one = METRICS[name]
    task = one.tasks[0]
    y, output = rows(task, one.needs, 300, 3)
    perfect: np.ndarray = y.astype(float)
    if task == "multiclass" and one.needs == "probabilities":
        perfect = np.eye(3)[y]
    best, middling = one.figure(y, perfect)[0], one.figure(y, output)[0]
    assert best is not None and middling is not None
    assert best >= middling if one.higher_is_better else best <= middling
    assert one.possible(best)


@pytest.mark.parametrize(
    ("name", "y", "output", "said"),
    [
        ("roc_auc", [1, 1], [0.1, 0.2], "one class"),
        ("average_precision", [0, 0], [0.1, 0.2], "one class"),
        ("balanced_accuracy", [0, 0], [0, 1], "one class"),
        ("kappa", [1, 1], [1, 1], "one class"),
        ("ndcg", [0, 0], [0.1, 0.2], "nothing to rank first"),
        ("precision", [0, 1], [0, 0], "ill-defined"),
        ("recall", [0, 0], [0, 1], "ill-defined"),
        ("f1", [0, 0], [0, 0], "ill-defined"),
        ("r2", [2.0, 2.0], [1.0, 2.0], "constant"),
        ("mape", [0.0, 2.0], [1.0, 2.0], "zero"),
        ("mae", [0.0, 2.0], [math.nan, 2.0], "1 of 2 predictions are NaN"),
        ("mae", [0.0, 2.0], [math.inf, 2.0], "1 of 2 predictions are NaN or infinite"),
        ("log_loss", [0, 1], [0.5, 1.5], "not within 0 and 1"),
        ("mae", [], [], "no rows"),
        ("mae", [1.0], [1.0, 2.0], "2 predictions for 1 rows"),
        ("accuracy", [0, 1], ["a", "b"], "not numbers"),
    ],
)
def test_undefined_is_none_with_a_reason(name: str, y: list, output: list, said: str) -> None:
    value, why = METRICS[name].figure(np.array(y), np.array(output))
    assert value is None
    assert said in why


def test_a_users_function_is_a_metric() -> None:
    def cost(y, output):
        return float(np.abs(y - output).sum())

    one = metric(cost, higher_is_better=False, low=0.0)
    assert (one.name, one.direction, one.tasks) == ("cost", "lower", TASKS)
    assert one.figure(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == (2.0, "")
    y = np.arange(5.0)
    both = [statistic(one, y, np.zeros(5)), statistic(one, y, np.ones(5))]
    assert np.isfinite(replicate(both, 5, replicates=3, seed=1)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", True, -0.5, 10**400])
def test_a_users_function_that_gives_no_figure(value) -> None:
    one = metric(lambda y, output: value, name="own", higher_is_better=True, low=0.0)
    figure, why = one.figure(np.array([1.0]), np.array([1.0]))
    assert figure is None
    assert why


def test_a_users_function_that_raises() -> None:
    def own(y, output):
        raise KeyError("no such thing")

    assert metric(own, higher_is_better=True).figure(np.array([1.0]), np.array([1.0])) == (
        None,
        "'no such thing'",
    )


def test_misuse() -> None:
    with pytest.raises(UnknownName, match="did you mean 'roc_auc'"):
        metrics_of(["roc_acu"])
    with pytest.raises(UsageError, match="for regression, not for binary"):
        metrics_of(["mae"], task="binary")
    with pytest.raises(UsageError, match="at least one"):
        metrics_of([])
    with pytest.raises(UsageError, match="wrap the function"):
        metrics_of([sk.f1_score])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="already in the table"):
        metric(lambda y, p: 0.0, name="mae", higher_is_better=True)
    with pytest.raises(UnknownName, match="need of a metric"):
        metric(lambda y, p: 0.0, name="own", higher_is_better=True, needs="score")
    with pytest.raises(UsageError, match="higher_is_better"):
        Metric(name="own", function=len, higher_is_better="yes")  # type: ignore[arg-type]


@given(n=st.integers(1, 60), replicates=st.integers(1, 9), seed=st.integers(0, 99), cells=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_resamples_draw_every_row_n_times_in_all(n: int, replicates: int, seed: int, cells: int) -> None:
    counts = np.concatenate(list(resamples(n, replicates, seed)))
    assert counts.shape == (replicates, n)
    assert (counts.sum(axis=1) == n).all()
    strata = np.arange(n) % 3
    within = np.concatenate(list(resamples(n, replicates, seed, strata)))
    for s in range(min(3, n)):
        assert (within[:, strata == s].sum(axis=1) == (strata == s).sum()).all()


def test_rare_classes() -> None:
    assert rare(np.array([0] * 1000 + [1] * 50))
    assert not rare(np.array([0] * 1000 + [1] * 300))


def test_quantiles_count_an_undefined_replicate_as_the_worst() -> None:
    figures = np.array([math.nan] * 3 + [float(i) for i in range(97)])
    up = dict(zip(LEVELS, quantiles(figures, higher_is_better=True), strict=True))
    down = dict(zip(LEVELS, quantiles(figures, higher_is_better=False), strict=True))
    assert up[0.02] is None and up[0.05] == 1.0 and up[0.999] == 96.0
    assert down[0.999] is None and down[0.05] == 4.0


def test_the_interval_agrees_with_scipy() -> None:
    from scipy import stats

    y, output = rows("binary", "scores", 300, 5)
    [ours] = replicate([statistic(METRICS["roc_auc"], y, output)], 300, replicates=2000, seed=1)
    theirs = stats.bootstrap(
        (y, output),
        lambda a, b: sk.roc_auc_score(a, b),
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    low, high = np.quantile(ours, [0.025, 0.975])
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.006)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.006)
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.08)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 datasets whose true difference in mean absolute error is known; 90% intervals."""
    covered = 0
    spread = math.sqrt(2 / math.pi)
    truth = 1.2 * spread - 1.0 * spread
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=150) * 3
        a, b = y + rng.normal(size=150) * 1.2, y + rng.normal(size=150)
        both = [statistic(METRICS["mae"], y, a), statistic(METRICS["mae"], y, b)]
        one, other = replicate(both, 150, replicates=400, seed=seed)
        low, high = np.quantile(one - other, [0.05, 0.95])
        covered += low <= truth <= high
    assert 0.84 <= covered / 200 <= 0.96


def test_a_large_set_is_resampled_in_bounded_memory() -> None:
    y, output = rows("binary", "scores", 300_000, 1)
    tracemalloc.start()
    both = [statistic(METRICS["roc_auc"], y, output), statistic(METRICS["roc_auc"], y, output[::-1])]
    replicate(both, len(y), replicates=20, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
