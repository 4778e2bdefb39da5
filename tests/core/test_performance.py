"""Performance: late labels never look like a drop, noise is none, and estimates are called so."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression

from airflow_mlops.core.errors import LabelError, PolicyError, UnknownName, UsageError
from airflow_mlops.core.estimation import ESTIMATED, calibration_of, estimate, scores_of
from airflow_mlops.core.metrics import METRICS, metrics_of
from airflow_mlops.core.performance import Figure, Labels, PerformancePolicy, check_performance, realised
from airflow_mlops.core.results import Check, Report, Severity, Status

ALL = Labels(predictions=1000, due=1000, labelled=1000)
FLOOR = PerformancePolicy(bounds={"roc_auc": {"lower": 0.7}})
DROP = PerformancePolicy(bounds={"roc_auc": {"max_drop": 0.05}})


def judged(value: float | None, policy: PerformancePolicy = FLOOR, labels: Labels = ALL, **more: Any) -> Report:
    error = more.pop("error", 0.0)
    return check_performance(policy, labels=labels, observed={"roc_auc": Figure(value=value, error=error)}, **more)


# --- bounds ------------------------------------------------------------------------------------------------------


def test_a_figure_below_its_bound_fails_and_one_within_its_noise_does_not() -> None:
    assert judged(0.72).status is Status.PASSED
    assert judged(0.65).status is Status.FAILED
    assert judged(0.65, error=0.01).status is Status.FAILED
    assert judged(0.65, error=0.1).status is Status.PASSED


def test_a_drop_counts_when_it_is_larger_than_allowed_and_more_than_chance() -> None:
    before = {"roc_auc": 0.8}
    assert judged(0.76, DROP, reference=before).status is Status.PASSED
    assert judged(0.74, DROP, reference=before).status is Status.FAILED
    assert judged(0.74, DROP, reference=before, error=0.05).status is Status.PASSED
    assert judged(0.9, DROP, reference=before).status is Status.PASSED
    sure = judged(0.74, DROP, reference=before, error=0.01)
    assert sure.status is Status.FAILED
    unsure = judged(0.74, DROP, reference=before, error=0.01, reference_errors={"roc_auc": 0.05})
    assert unsure.status is Status.PASSED


@pytest.mark.parametrize("bound", [{"max_drop": 0.05}, {"max_relative_drop": 0.05}])
def test_of_two_bounds_on_a_drop_the_stricter_one_counts(bound: dict[str, float]) -> None:
    policy = PerformancePolicy(bounds={"roc_auc": {"max_drop": 0.5, "max_relative_drop": 0.5, **bound}})
    assert judged(0.74, policy, reference={"roc_auc": 0.8}).status is Status.FAILED
    assert judged(0.77, policy, reference={"roc_auc": 0.8}).status is Status.PASSED


def test_worse_knows_the_direction_of_the_metric() -> None:
    policy = PerformancePolicy(bounds={"log_loss": {"max_relative_drop": 0.1}})
    for value, status in ((0.54, Status.PASSED), (0.56, Status.FAILED), (0.1, Status.PASSED)):
        report = check_performance(
            policy, labels=ALL, observed={"log_loss": Figure(value=value)}, reference={"log_loss": 0.5}
        )
        assert report.status is status, value


@pytest.mark.parametrize("reference", [None, {}, {"roc_auc": None}])
def test_a_drop_from_nothing_is_an_error(reference: Any) -> None:
    assert judged(0.9, DROP, reference=reference).status is Status.ERROR


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_figure_that_is_none_is_an_error_and_never_a_pass(value: float | None) -> None:
    report = judged(value)
    assert report.status is Status.ERROR
    assert json.dumps(report.to_dict(), allow_nan=False)
    assert check_performance(FLOOR, labels=ALL, observed={}).status is Status.ERROR


@pytest.mark.parametrize("word", ["error", "low", "high"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_interval_that_is_none_is_an_error_and_never_a_pass(word: str, value: float) -> None:
    sure: Any = {"low": 0.1, "high": 0.2, "error": 0.01, word: value}
    for policy in (FLOOR, DROP):
        observed = {"roc_auc": Figure(value=0.15, **sure)}
        report = check_performance(policy, labels=ALL, observed=observed, reference={"roc_auc": 0.8})
        assert report.status is Status.ERROR
        assert json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_a_holdout_error_that_is_none_is_an_error_and_never_a_pass(error: float) -> None:
    report = judged(0.1, DROP, reference={"roc_auc": 0.8}, reference_errors={"roc_auc": error})
    assert report.status is Status.ERROR
    assert judged(0.1, DROP, reference={"roc_auc": 0.8}, reference_errors={"roc_auc": None}).status is Status.FAILED


def test_labels_without_a_figure_do_not_pass_on_their_coverage() -> None:
    report = check_performance(PerformancePolicy(), labels=ALL, observed={})
    assert report.status is Status.ERROR and "no figure" in report.summary()
    sound = Check(name="outputs", status=Status.PASSED)
    none = Labels(predictions=1000, due=1000, labelled=0)
    policy = PerformancePolicy(bounds={"ece": {"upper": 0.1}})
    guess = {"roc_auc": Figure(value=0.9, estimated=True)}
    unknown = check_performance(policy, labels=none, observed={}, estimated=guess, outputs=[sound])
    assert unknown.status is Status.INSUFFICIENT


def test_a_slice_is_held_against_the_levels_alone_and_does_not_decide() -> None:
    """There is no figure of a slice to measure a drop from."""
    policy = PerformancePolicy(bounds={"roc_auc": {"lower": 0.7, "max_drop": 0.05}})
    slices = {"carrier=AA": {"roc_auc": Figure(value=0.5)}, "carrier=UA": {"roc_auc": Figure(value=0.9)}}
    report = judged(0.8, policy, reference={"roc_auc": 0.8}, slices=slices)
    found = [(c.subject, c.status, c.severity) for c in report.checks if c.name.startswith("slice")]
    assert found == [
        ("carrier=AA roc_auc", Status.FAILED, Severity.WARNING),
        ("carrier=UA roc_auc", Status.PASSED, Severity.WARNING),
    ]
    assert report.passed


# --- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        Labels(predictions=1000, due=0, labelled=0),
        Labels(predictions=1000, due=1000, labelled=500),
        Labels(predictions=1000, due=1000, labelled=899),
        Labels(predictions=60, due=60, labelled=60),
    ],
)
def test_partial_labels_never_look_like_a_drop(labels: Labels) -> None:
    report = judged(0.1, labels=labels)
    assert report.status is Status.INSUFFICIENT
    assert report.details["basis"] == "none"
    assert report.details["realised"]["roc_auc"]["value"] == 0.1  # type: ignore[index,call-overload]


def test_rows_that_are_not_due_yet_do_not_lower_the_coverage() -> None:
    assert judged(0.9, labels=Labels(predictions=5000, due=1000, labelled=900)).passed


@pytest.mark.parametrize("field", ["without_id", "repeated_ids", "contradicting"])
def test_what_makes_the_join_wrong_is_an_error(field: str) -> None:
    labels = Labels(predictions=1000, due=1000, labelled=1000, **{field: 1})
    report = judged(0.9, labels=labels, estimated={"roc_auc": Figure(value=0.9, estimated=True)})
    assert report.status is Status.ERROR and report.details["basis"] == "none"


def test_labels_that_repeat_themselves_are_said_and_no_more() -> None:
    report = judged(0.9, labels=Labels(predictions=1000, due=1000, labelled=1000, repeated=5))
    assert report.passed and [c.name for c in report.failures(Severity.WARNING)] == ["repeated_labels"]


# --- estimates -------------------------------------------------------------------------------------------------------


def test_an_estimate_is_judged_while_there_are_no_labels_and_called_one() -> None:
    none = Labels(predictions=1000, due=1000, labelled=0)
    low, high = ({"roc_auc": Figure(value=v, estimated=True, error=0.01)} for v in (0.5, 0.9))
    failed = check_performance(FLOOR, labels=none, observed={}, estimated=low)
    assert failed.status is Status.FAILED and failed.details["basis"] == "estimated"
    assert "estimated_value" in [c.name for c in failed.checks] and "estimated roc_auc" in failed.summary()
    assert check_performance(FLOOR, labels=none, observed={}, estimated=high).passed


def test_a_realised_figure_overrides_the_estimate() -> None:
    low = {"roc_auc": Figure(value=0.1, estimated=True)}
    report = judged(0.9, estimated=low)
    assert report.passed and report.details["basis"] == "realised"
    assert report.details["estimated"]["roc_auc"]["value"] == 0.1  # type: ignore[index,call-overload]


def test_an_estimate_can_be_only_recorded_or_left_out() -> None:
    none = Labels(predictions=1000, due=1000, labelled=0)
    low = {"roc_auc": Figure(value=0.1, estimated=True)}
    for word, kept in (("record", {"roc_auc"}), ("ignore", set())):
        policy = PerformancePolicy(bounds={"roc_auc": {"lower": 0.7}}, estimates=word)
        report = check_performance(policy, labels=none, observed={}, estimated=low)
        assert report.status is Status.INSUFFICIENT and set(report.details["estimated"]) == kept  # type: ignore[arg-type]


def test_a_metric_that_can_not_be_estimated_is_skipped_and_not_passed() -> None:
    policy = PerformancePolicy(bounds={"ece": {"upper": 0.1}})
    none = Labels(predictions=1000, due=1000, labelled=0)
    report = check_performance(
        policy, labels=none, observed={}, estimated={"roc_auc": Figure(value=0.9, estimated=True)}
    )
    assert not report.passed


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"bonds": {}}, "did you mean 'bounds'"),
        ({"bounds": {"roc_auc": {}}}, "at least one"),
        ({"bounds": {"roc_auc": {"lowr": 0.5}}}, "did you mean 'lower'"),
        ({"bounds": {"roc_auc": {"lower": float("nan")}}}, "lower"),
        ({"bounds": {"roc_auc": {"lower": 0.9, "upper": 0.1}}}, "above"),
        ({"bounds": {"roc_auc": {"max_drop": -0.1}}}, "max_drop"),
        ({"minimum_coverage": 1.5}, "minimum_coverage"),
        ({"estimates": "perhaps"}, "judge"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises((PolicyError, UnknownName), match=word):
        PerformancePolicy.from_dict(settings)


@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
)
def test_any_batch_gets_a_plain_verdict_that_is_always_the_same(
    due: int, labelled: int, value: float | None, guess: float | None, before: float | None
) -> None:
    policy = PerformancePolicy(bounds={"roc_auc": {"lower": 0.5, "max_drop": 0.1}})
    made = [
        check_performance(
            policy,
            labels=Labels(predictions=1000, due=due, labelled=min(labelled, due)),
            observed={"roc_auc": Figure(value=value)},
            estimated={"roc_auc": Figure(value=guess, estimated=True)},
            reference={"roc_auc": before},
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert Report.from_dict(json.loads(json.dumps(made[0].to_dict(), allow_nan=False))) == made[0]
    if made[0].passed:
        seen = value if made[0].details["basis"] == "realised" else guess
        assert seen is not None and seen >= 0.5


# --- realised ---------------------------------------------------------------------------------------------------------


def batch(rows: int, seed: int = 0, shift: float = 0.0) -> tuple[Any, Any]:
    """Scores that are P(positive), and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-0.5 + shift, 1.2, rows)))
    return p, (rng.random(rows) < p).astype(int)


def test_realised_figures_are_scikit_learns_with_an_interval_around_them() -> None:
    p, y = batch(2000)
    outputs = {"scores": p, "probabilities": p, "labels": (p >= 0.5).astype(int)}
    figures = realised(metrics_of(["roc_auc", "brier", "f1"]), y, outputs, seed=1)
    assert figures["roc_auc"].value == pytest.approx(sk.roc_auc_score(y, p))
    assert figures["brier"].value == pytest.approx(sk.brier_score_loss(y, p))
    for figure in figures.values():
        assert figure.low is not None and figure.high is not None and figure.value is not None
        assert figure.low < figure.value < figure.high and figure.high - figure.low < 0.1
    assert figures == realised(metrics_of(["roc_auc", "brier", "f1"]), y, outputs, seed=1)


def test_what_was_not_recorded_makes_a_figure_without_a_value() -> None:
    figures = realised(metrics_of(["roc_auc"]), np.array([0, 1]), {"labels": np.array([0, 1])})
    assert figures["roc_auc"].value is None and "scores" in figures["roc_auc"].why


# --- estimated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ESTIMATED))
def test_an_estimate_agrees_with_what_the_labels_say_later(name: str) -> None:
    kept = calibration_of(*batch(20_000))
    p, y = batch(20_000, seed=1, shift=0.4)
    outputs = {"scores": p, "probabilities": p, "labels": (p >= 0.5).astype(int)}
    truth, _ = METRICS[name].figure(y, outputs[METRICS[name].needs])
    found = estimate(p, kept, [name])[name]
    assert found["estimate"] is True and found["rows"] == 20_000
    assert truth is not None and isinstance(found["value"], float) and isinstance(found["error"], float)
    assert abs(found["value"] - truth) < 4 * found["error"] + 0.01
    assert found["error"] < 0.02


def test_an_estimate_sees_a_model_that_became_less_certain() -> None:
    kept = calibration_of(*batch(5000))
    p, _ = batch(5000, seed=1)
    vague = 0.5 + (p - 0.5) * 0.2
    before, after = (estimate(s, kept, ["roc_auc"])["roc_auc"]["value"] for s in (p, vague))
    assert after < before - 0.05  # type: ignore[operator]


def test_scores_that_are_no_probabilities_are_calibrated_first() -> None:
    p, y = batch(20_000)
    pushed = p**3  # the ranking of p, and far from its frequencies
    kept = calibration_of(pushed, y)
    assert kept["calibrated"] is True
    q, truth = batch(20_000, seed=2)
    found = estimate(q**3, kept, ["accuracy", "brier"])
    assert found["accuracy"]["value"] == pytest.approx(np.mean((q**3 >= 0.5) == truth), abs=0.01)
    assert found["brier"]["value"] == pytest.approx(sk.brier_score_loss(truth, q**3), abs=0.01)


def boastful(rows: int, seed: int, boast: float) -> tuple[Any, Any, Any]:
    """Scores of a model whose log-odds are ``boast`` times what is true, labels, and the true probabilities."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, rows)
    true, said = (1 / (1 + np.exp(-by * odds)) for by in (1.0, boast))
    return said, (rng.random(rows) < true).astype(int), true


@pytest.mark.parametrize("boast", [0.7, 1.0, 1.4])
def test_a_model_that_is_too_sure_of_itself_or_not_sure_enough_is_not_believed(boast: float) -> None:
    """What the map scatters from score to score cancels in a figure; what a model boasts, 0.05 here, does not."""
    p, _, true = boastful(50_000, 99, boast)
    truth = np.where(p >= 0.5, true, 1 - true).mean()
    off = []
    for seed in range(8):
        kept = calibration_of(*boastful(1500, seed, boast)[:2])
        off.append(estimate(p, kept, ["accuracy"])["accuracy"]["value"] - truth)
    assert np.abs(off).mean() < 0.015


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 6]))
def test_the_map_is_the_isotonic_regression_whatever_the_order_of_the_rows(seed: int, decimals: int) -> None:
    p, y, _ = boastful(400, seed, 2.0)
    p = p.round(decimals)
    kept = calibration_of(p, y)
    order = np.random.default_rng(seed).permutation(400)
    again = calibration_of(p[order], y[order])
    assert again["map"] == kept["map"] and again["calibrated"] is kept["calibrated"]
    if kept["calibrated"]:
        exact = IsotonicRegression(out_of_bounds="clip").fit(p, y)
        at = np.linspace(0, 1, 301)
        assert np.interp(at, *kept["map"]) == pytest.approx(exact.predict(at), abs=1e-12)


def test_what_is_kept_is_small_plain_and_enough() -> None:
    p, y = batch(50_000)
    kept = calibration_of(p, y)
    text = json.dumps(kept, allow_nan=False)
    assert len(text) < 20_000
    assert estimate(p, json.loads(text), ["f1"]) == estimate(p, kept, ["f1"])


def test_an_estimate_from_the_bins_of_a_profile_is_near_that_from_the_rows() -> None:
    kept = calibration_of(*batch(20_000))
    p, _ = batch(20_000, seed=3)
    edges = np.quantile(p, np.arange(1, 50) / 50)
    counts = np.bincount(np.searchsorted(edges, p), minlength=50)
    scores, weights = scores_of(counts, edges)
    rows, bins = (
        estimate(p, kept, ["roc_auc", "brier"]),
        estimate(scores, kept, ["roc_auc", "brier"], weights=weights),
    )
    for name in rows:
        assert bins[name]["value"] == pytest.approx(rows[name]["value"], abs=0.005)
        assert bins[name]["rows"] == 20_000


@pytest.mark.parametrize(
    ("scores", "labels", "error"),
    [
        ([0.1, 0.2], [0, 0], LabelError),
        ([0.1, 0.2], [0, 2], LabelError),
        ([0.1, 0.2], ["a", "b"], LabelError),
        ([0.1, 1.2], [0, 1], UsageError),
        ([0.1, float("nan")], [0, 1], UsageError),
        ([], [], UsageError),
        ([0.1, 0.2], [0], UsageError),
    ],
)
def test_what_can_not_be_learned_from_is_refused(scores: Any, labels: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        calibration_of(scores, labels)


def test_a_calibration_of_another_release_or_a_metric_that_needs_labels_is_refused() -> None:
    kept = calibration_of(*batch(500))
    with pytest.raises(UsageError, match="version"):
        estimate([0.5], {**kept, "version": 9})
    with pytest.raises(UnknownName, match="roc_auc"):
        estimate([0.5], kept, ["roc_acu"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_any_scores_have_estimates_within_the_range_of_their_metric(scores: list[float]) -> None:
    for name, figure in estimate(scores, CALIBRATION, list(ESTIMATED)).items():
        value = figure["value"]
        assert value is None or (isinstance(value, float) and METRICS[name].possible(value))


CALIBRATION = calibration_of(*batch(500))
