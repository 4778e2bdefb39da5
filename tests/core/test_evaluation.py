"""What models say, the figures of it, and the evidence for a difference."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from airflow_mlops.core.bootstrap import LEVELS, quantiles
from airflow_mlops.core.comparison import evaluate
from airflow_mlops.core.errors import EmptyDataset, LabelError, ModelError, SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.evaluation import MOST_SLICES, Contender, Evaluation, Figure
from airflow_mlops.core.gates import BeatsBaseline, GatePolicy, judge
from airflow_mlops.core.metrics import METRICS, metrics_of
from airflow_mlops.core.outputs import Outputs, Truth, baseline_of, features_of, outputs_of, task_of, truth_of

MISSING = Contender(state="missing")


def binary(n: int = 500, seed: int = 0, share: float = 0.3) -> tuple[Truth, np.ndarray, np.ndarray]:
    """Truth, a good model's scores and a worse one's."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    good = 1 / (1 + np.exp(-(rng.normal(size=n) + 2 * y - 1)))
    worse = 1 / (1 + np.exp(-(rng.normal(size=n) * 2 + y - 1)))
    return truth_of(y, task="classification"), good, worse


def says(p: np.ndarray) -> Outputs:
    return Outputs(values={"labels": (p > 0.5).astype(int), "scores": p, "probabilities": p})


def made(truth: Truth, good: np.ndarray, worse: np.ndarray | None = None, **options: Any) -> Evaluation:
    outputs = {"candidate": says(good)} | ({} if worse is None else {"champion": says(worse)})
    options = {"metrics": ["roc_auc", "log_loss"], "replicates": 300, "baseline": "prior", **options}
    return evaluate(
        model_name="flights",
        truth=truth,
        candidate=Contender(version="2"),
        champion=MISSING if worse is None else Contender(version="1"),
        outputs=outputs,
        **options,
    )


def test_an_evaluation_says_who_is_better_and_how_sure_that_is() -> None:
    truth, good, worse = binary()
    evaluation = made(truth, good, worse)
    for name in ("roc_auc", "log_loss"):
        figure = evaluation.figure(name)
        assert figure.candidate == METRICS[name].figure(truth.y, good)[0]
        assert figure.champion == METRICS[name].figure(truth.y, worse)[0]
        assert 0 < figure.bound(0.95) < figure.improvement() < figure.bound(0.95) * 5
        low, high = figure.interval()
        assert low < figure.candidate < high
        assert figure.doubt() <= 0.01
    assert evaluation.figure("roc_auc").baseline == 0.5
    assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))) == evaluation
    assert made(truth, good, worse) == evaluation
    assert made(truth, good, worse, seed=1).digest != evaluation.digest


def test_the_same_model_twice_differs_by_nothing_at_all() -> None:
    """Paired: what both have in common cancels, resample by resample."""
    truth, good, _ = binary()
    figure = made(truth, good, good).figure("roc_auc")
    assert set(figure.improvement_quantiles.values()) == {0.0}


def test_paired_resamples_are_surer_than_independent_ones() -> None:
    truth, good, _ = binary(2000)
    nearly = np.clip(good + np.random.default_rng(1).normal(size=2000) * 0.01, 0, 1)
    quantiles = made(truth, good, nearly).figure("roc_auc")
    width = quantiles.improvement_quantiles["0.95"] - quantiles.improvement_quantiles["0.05"]
    alone = quantiles.candidate_quantiles["0.95"] - quantiles.candidate_quantiles["0.05"]
    assert width < alone / 10


def test_a_model_without_probabilities_has_no_log_loss_and_the_rest_stands() -> None:
    truth, good, _ = binary()
    outputs = {"candidate": Outputs(values={"labels": (good > 0.5).astype(int)}, missing={"probabilities": "none"})}
    evaluation = evaluate(
        model_name="flights",
        truth=truth,
        metrics=["accuracy", "log_loss"],
        candidate=Contender(version="2"),
        champion=MISSING,
        outputs=outputs,
        replicates=50,
    )
    assert evaluation.figure("accuracy").candidate is not None
    assert evaluation.figure("log_loss").candidate is None
    assert evaluation.figure("log_loss").errors["candidate"] == "none"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_prediction_is_no_figure_and_says_how_many(bad: float) -> None:
    truth, good, worse = binary()
    good = good.copy()
    good[[3, 5]] = bad
    figure = made(truth, good, worse).figure("roc_auc")
    assert figure.candidate is None and figure.champion is not None
    assert figure.errors["candidate"] == "2 of 500 predictions are NaN or infinite"
    assert figure.replicates == 0 and figure.bound(0.9) is None and figure.doubt() == 1.0


def test_slices() -> None:
    truth, good, worse = binary(900)
    carrier = np.array((["AA", "UA", None] * 300), dtype=object)
    hour = np.array([5.0, 6.0, np.nan] * 300)
    evaluation = made(truth, good, worse, slices={"carrier": carrier, "hour": hour})
    assert [(s.by, s.value, s.rows) for s in evaluation.slices] == [
        *(("carrier", v, 300) for v in ("AA", "UA", "null")),
        *(("hour", v, 300) for v in ("5", "6", "null")),
    ]
    of_ua = np.flatnonzero(carrier == "UA")
    expected = METRICS["roc_auc"].figure(truth.y[of_ua], good[of_ua])[0]
    assert evaluation.slices[1].metrics[0].candidate == expected
    assert evaluation.slices[1].metrics[0].bound(0.9) is not None


def test_slices_that_are_none() -> None:
    truth, good, _ = binary(300)
    same = np.where(truth.y == 1, "late", "ok")
    evaluation = made(truth, good, slices={"id": np.arange(300), "outcome": same})
    assert f"at most {MOST_SLICES}" in evaluation.slice_errors["id"]
    assert [s.metrics[0].candidate for s in evaluation.slices] == [None, None]
    assert "one class" in evaluation.slices[0].metrics[0].errors["candidate"]


def test_a_rare_class_is_in_every_resample() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros(400, dtype=int)
    y[:3] = 1
    evaluation = made(truth_of(y, task="classification"), rng.random(400))
    assert None not in evaluation.figure("roc_auc").candidate_quantiles.values()


def test_regression_and_multiclass() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    truth = truth_of(y, task="regression")
    outputs = {
        "candidate": Outputs(values={"labels": y + rng.normal(size=300) * 0.1}),
        "champion": Outputs(values={"labels": y + rng.normal(size=300)}),
    }
    two = {"candidate": Contender(version="2"), "champion": Contender(version="1")}
    names = [m.name for m in METRICS.values() if "regression" in m.tasks]
    evaluation = evaluate(
        model_name="m", truth=truth, metrics=names, outputs=outputs, baseline="prior", replicates=100, **two
    )
    assert all(f.bound(0.9) > 0 for f in evaluation.metrics)
    assert evaluation.figure("r2").baseline == pytest.approx(0)
    assert evaluation.confusion == {}

    labels = rng.choice(["a", "b", "c"], 300)
    truth = truth_of(labels, task="classification")
    good = np.eye(3)[truth.y] * 0.5 + rng.dirichlet(np.ones(3), 300) * 0.5
    bad = rng.dirichlet(np.ones(3), 300)
    outputs = {
        who: Outputs(values={"labels": p.argmax(axis=1), "probabilities": p})
        for who, p in {"candidate": good, "champion": bad}.items()
    }
    names = [m.name for m in METRICS.values() if "multiclass" in m.tasks and m.name != "ece"]
    evaluation = evaluate(
        model_name="m", truth=truth, metrics=names, outputs=outputs, baseline="", replicates=100, **two
    )
    assert all(f.bound(0.9) > 0 for f in evaluation.metrics)
    assert evaluation.confusion == {
        "classes": ["a", "b", "c"],
        **{who: confusion_matrix(truth.y, out.values["labels"]).tolist() for who, out in outputs.items()},
    }


@pytest.mark.parametrize("classes", [20, 21])
def test_who_was_taken_for_whom(classes: int) -> None:
    """scikit-learn's counts, also of a class that no row has; of many classes it would be no page any more."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes - 1, 500)
    truth = Truth(task="multiclass", y=y, classes=tuple(range(classes)), kept=np.ones(500, dtype=bool))
    said = rng.integers(0, classes, 500)
    evaluation = evaluate(
        model_name="m",
        truth=truth,
        metrics=["accuracy"],
        candidate=Contender(version="2"),
        champion=Contender(version="1"),
        outputs={"candidate": Outputs(values={"labels": said}), "champion": Outputs()},
        replicates=0,
    )
    expected = confusion_matrix(y, said, labels=range(classes)).tolist()
    assert evaluation.confusion.get("candidate") == (expected if classes == 20 else None)
    assert "champion" not in evaluation.confusion
    assert evaluation.digest == dataclasses.replace(evaluation).digest


@given(st.lists(st.sampled_from([0, 1, None]), max_size=30))
@settings(max_examples=100, deadline=None)
def test_labels_are_kept_or_dropped_and_counted(labels: list[Any]) -> None:
    try:
        truth = truth_of(labels, task="classification")
    except EmptyDataset:
        assert not labels
    except LabelError:
        assert len({x for x in labels if x is not None}) < 2
    else:
        assert truth.y.tolist() == [x for x in labels if x is not None]
        assert truth.dropped == labels.count(None)


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        ([None, None], {}, "all 2 labels in 'late' are missing"),
        ([math.nan, math.nan], {"task": "regression"}, "missing"),
        ([math.inf, -math.inf], {"task": "regression"}, "infinite"),
        (["a", "b"], {"task": "regression"}, "not numbers"),
        ([1, 1, None], {}, "all 1"),
        ([0, 1], {"positive_label": "late"}, "none of the labels"),
        ([0, 1, 2], {"positive_label": 1}, "needs two classes"),
    ],
)
def test_labels_that_judge_nothing(labels: list[Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        truth_of(labels, name="late", **{"task": "classification", **options})


def test_which_class_is_the_positive_one() -> None:
    assert truth_of([0, 1, 0], task="").classes == (0, 1)
    assert truth_of(["ok", "late", "ok"], task="", positive_label="late").y.tolist() == [0, 1, 0]
    assert truth_of([True, False], task="", positive_label="False").y.tolist() == [0, 1]
    assert truth_of([0.5, 1.25], task="").task == "regression"
    assert truth_of([0, 1], task="", known=[2]).task == "multiclass"


def test_the_task_follows_from_the_metrics() -> None:
    assert task_of(metrics_of(["roc_auc"])) == "classification"
    assert task_of(metrics_of(["rmse"])) == "regression"
    with pytest.raises(UsageError, match="of one task"):
        task_of(metrics_of(["rmse", "roc_auc"]))
    with pytest.raises(UsageError, match="of one task"):
        task_of(metrics_of(["rmse"]), "classification")
    with pytest.raises(UsageError, match="must be"):
        task_of(metrics_of(["rmse"]), "ranking")


# ---------------------------------------------------------------- what models say


X = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0] * 20, "other": 1.0, "late": [0, 0, 1, 1] * 20})


@pytest.mark.parametrize("labels", [(0, 1), ("late", "ok"), (False, True)])
def test_a_classifier_whatever_its_labels_are(labels: tuple[Any, Any]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    target = X["late"].map(dict(enumerate(labels)))
    for positive in labels:
        truth = truth_of(target, task="", positive_label=positive)
        for model in (LogisticRegression(), LinearSVC()):
            out = outputs_of(model.fit(X[["x"]], target), X[["x"]], truth)
            assert METRICS["roc_auc"].figure(truth.y, out.values["scores"])[0] == 1.0
            assert METRICS["accuracy"].figure(truth.y, out.values["labels"])[0] == 1.0
        assert out.missing == {"probabilities": "the model gives no probabilities"}


class Generic:
    """MLflow's generic model: ``predict`` and nothing else."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, rows: pd.DataFrame) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_generic_models_output_is_told_apart() -> None:
    truth = truth_of([0, 1, 0, 1], task="")
    rows = X.iloc[:4]
    p = np.array([0.1, 0.9, 0.6, 0.7])
    for answer in (p, p[:, None], pd.DataFrame({"p": p}), np.stack([1 - p, p], axis=1)):
        out = outputs_of(Generic(answer), rows, truth)
        assert out.values["scores"].tolist() == p.tolist()
        assert out.values["labels"].tolist() == [0, 1, 1, 1]
    for answer in ([0, 1, 1, 1], np.array([0.0, 1.0, 1.0, 1.0]), pd.Series([0, 1, 1, 1])):
        out = outputs_of(Generic(answer), rows, truth)
        assert out.values["labels"].tolist() == [0, 1, 1, 1]
        assert "scores" not in out.values
    out = outputs_of(Generic(["a", "b", "c", "d"]), rows, truth)
    assert "4 of 4 predicted labels are none of" in out.missing["labels"]


@pytest.mark.parametrize("answer", [ValueError("Input X contains NaN."), [0, 1], np.zeros((4, 3, 2)), None])
def test_a_model_that_can_not_predict(answer: Any) -> None:
    truth = truth_of([0, 1, 0, 1], task="")
    with pytest.raises(ModelError):
        outputs_of(Generic(answer), X.iloc[:4], truth)


def test_the_columns_a_model_takes() -> None:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(X[["x"]], X["late"])
    assert list(features_of(fitted, X, target="late")) == ["x"]
    assert list(features_of(Generic(1), X, target="late")) == ["x", "other"]
    assert list(features_of(Generic(1), X, target="late", features=["other"])) == ["other"]
    with pytest.raises(SchemaMismatch, match="'x'"):
        features_of(fitted, X.drop(columns="x"), target="late")


def test_the_baseline_is_the_best_constant() -> None:
    truth, *_ = binary()
    share = truth.y.mean()
    ours = METRICS["log_loss"].figure(truth.y, baseline_of("prior", truth).values["probabilities"])[0]
    for p in np.linspace(0.01, 0.99, 50):
        assert ours <= METRICS["log_loss"].figure(truth.y, np.full(len(truth.y), p))[0] + 1e-12
    assert baseline_of("prior", truth).values["labels"].tolist() == [int(share > 0.5)] * len(truth.y)
    with pytest.raises(UnknownName, match="did you mean 'prior'"):
        made(truth, truth.y * 1.0, baseline="priro")


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "accuracy", "balanced_accuracy", "mcc"])
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_no_class_for_all_rows_beats_the_baseline(name: str, share: float) -> None:
    """Of few positives the greater class has no F1 at all; to call everything positive has one."""
    y = (np.arange(100) < 100 * share).astype(int)
    truth = Truth(task="binary", y=y, classes=(0, 1), kept=np.ones(100, dtype=bool))
    for k in (0, 1):
        says = {"candidate": Outputs(values={"labels": np.full(100, k)})}
        found = evaluate(
            model_name="late",
            truth=truth,
            metrics=[name],
            candidate=Contender(version="1"),
            champion=Contender(state="missing"),
            outputs=says,
            baseline="prior",
            slices={"half": np.arange(100) % 2},
            replicates=0,
        )
        for figure in (found.metrics[0], *(s.metrics[0] for s in found.slices)):
            assert figure.baseline is not None
            assert figure.candidate is None or figure.candidate <= figure.baseline + 1e-12
        assert judge(found, GatePolicy(checks=[BeatsBaseline(name)])).decision == "reject"


@pytest.mark.parametrize("name", ["mae", "mse", "rmse", "r2", "mape", "median_ae"])
def test_neither_mean_nor_median_beats_the_baseline(name: str) -> None:
    y = np.random.default_rng(0).exponential(size=500) + 0.1  # the mean is far above the median
    truth = Truth(task="regression", y=y, classes=(), kept=np.ones(500, dtype=bool))
    figures = [METRICS[name].figure(y, np.full(500, v))[0] for v in (y.mean(), np.median(y))]
    baseline = baseline_of("prior", truth).figure(METRICS[name], y)[0]
    assert baseline == (max if METRICS[name].higher_is_better else min)(figures)
    assert figures[0] != figures[1]


# ---------------------------------------------------------------- values


def test_a_bound_needs_enough_resamples() -> None:
    quantiles = {"0.001": -0.2, "0.01": -0.1, "0.05": 0.1, "0.1": 0.2}
    figure = Figure(metric="own", direction="higher", replicates=1000, improvement_quantiles=quantiles)
    assert (figure.bound(0.95), figure.bound(0.93), figure.bound(0.9), figure.bound(0.99)) == (0.1, 0.1, 0.2, -0.1)
    assert figure.bound(0.9999) is None
    assert (figure.doubt(), figure.doubt(0.15), figure.doubt(-0.15), figure.doubt(-1)) == (0.05, 0.01, 0.1, 1.0)
    few = Figure(metric="own", direction="higher", replicates=20, improvement_quantiles=quantiles)
    assert (few.bound(0.95), few.bound(0.99)) == (0.1, None)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_resamples_without_a_figure_are_a_doubt_about_both_bounds(better: str) -> None:
    """A third of them: they stand as the worst, which by the bound on the good side would be inside."""
    values = np.where(np.arange(3000) % 3 == 0, np.nan, 0.7 + np.arange(3000) / 1e6)
    known = quantiles(values, higher_is_better=better == "higher")
    figure = Figure(
        metric="own",
        direction=better,
        candidate=0.7,
        replicates=3000,
        candidate_quantiles=dict(zip(map(str, LEVELS), known, strict=True)),
    )
    assert figure.doubt_value(0.6, None) >= 0.3 and figure.doubt_value(None, 0.8) >= 0.3
    whole = quantiles(values[~np.isnan(values)], higher_is_better=better == "higher")
    sure = dataclasses.replace(figure, candidate_quantiles=dict(zip(map(str, LEVELS), whole, strict=True)))
    assert sure.doubt_value(0.6, 0.8) <= 0.001


@pytest.mark.parametrize(
    "value",
    [
        None,
        "evaluation",
        [],
        {},
        {"model_name": "m"},
        {"model_name": "", "candidate": {}, "champion": {}},
        {"model_name": "m", "candidate": {"state": "fine"}, "champion": {}},
        {"model_name": "m", "candidate": {}, "champion": {}, "metrics": {"roc_auc": 1}},
        {"model_name": "m", "candidate": {}, "champion": {}, "metrics": [{"metric": "m", "direction": "up"}]},
        {"model_name": "m", "candidate": {}, "champion": {}, "rows": -1},
        {"model_name": "m", "candidate": {}, "champion": {}, "surprise": 1},
        {"model_name": "m", "candidate": {"version": ["7"]}, "champion": {}},
    ],
)
def test_what_is_no_evaluation_is_refused(value: Any) -> None:
    with pytest.raises(UsageError):
        Evaluation.from_dict(value)


def test_nothing_warns_on_the_way() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        truth, good, worse = binary(60, share=0.1)
        made(truth, good, worse, metrics=["roc_auc", "precision", "f1", "mcc", "average_precision", "ece"])
