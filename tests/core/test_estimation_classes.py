"""Estimates for several classes agree with what the labels say later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from airflow_mlops.core.errors import LabelError, UnknownName, UsageError
from airflow_mlops.core.estimation_classes import METRICS as ESTIMATED
from airflow_mlops.core.estimation_classes import class_calibration_of, estimate_classes
from airflow_mlops.core.metrics import METRICS


def batch(rows: int, seed: int, sharpness: float = 1.0, boast: float = 1.0) -> tuple[Any, Any]:
    """Probabilities, and labels drawn from them; ``boast`` makes what is said surer than what is true."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.array([1.0, 0.8, 0.5]) / sharpness, rows)
    labels = (true.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    said = true**boast
    return said / said.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("boast", [1.0, 2.0])
def test_an_estimate_agrees_with_the_labels_of_another_batch(boast: float) -> None:
    kept = class_calibration_of(*batch(8000, 0, boast=boast))
    p, y = batch(8000, 1, sharpness=0.6, boast=boast)
    names = ("accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "recall_macro", "roc_auc_ovr")
    found = estimate_classes(p, kept, names)
    said = p.argmax(axis=1)
    for name, seen in (
        ("precision_macro", sk.precision_score(y, said, average="macro")),
        ("recall_macro", sk.recall_score(y, said, average="macro")),
        ("roc_auc_ovr", sk.roc_auc_score(y, p, multi_class="ovr")),
        ("accuracy", sk.accuracy_score(y, said)),
        ("balanced_accuracy", sk.balanced_accuracy_score(y, said)),
        ("f1_macro", sk.f1_score(y, said, average="macro")),
    ):
        assert found[name]["value"] == pytest.approx(seen, abs=0.03) and found[name]["estimate"] is True


def test_the_figures_of_labels_are_those_of_the_metric_table() -> None:
    """Same code for both: where the truth is 0 or 1 an expected figure is the realised one."""
    p, y = batch(500, 3)
    kept = class_calibration_of(p, y)
    said = p.argmax(axis=1)
    assert set(kept["reference"]) == set(ESTIMATED)  # type: ignore[arg-type]
    for name in ESTIMATED:
        metric = METRICS[name]
        seen, why = metric.figure(y, said if metric.needs == "labels" else p)
        assert kept["reference"][name] == pytest.approx(seen, abs=1e-9), why  # type: ignore[index,call-overload]
        assert 0.1 < kept["row_error"][name] < 3  # type: ignore[index,call-overload,operator]
    assert estimate_classes(p, kept)["accuracy"]["error"] == pytest.approx(
        (kept["reference"]["accuracy"] * (1 - kept["reference"]["accuracy"]) / 500) ** 0.5,  # type: ignore[index,call-overload,operator]
        rel=0.3,
    )


def test_what_the_model_said_counts_and_not_what_was_most_probable() -> None:
    p, y = batch(2000, 0)
    kept = class_calibration_of(p, y)
    first = estimate_classes(p, kept, "accuracy", predicted=np.zeros(2000, dtype=int))["accuracy"]["value"]
    assert first == pytest.approx((y == 0).mean(), abs=0.03)
    with pytest.raises(UsageError, match="predicted"):
        estimate_classes(p, kept, predicted=np.full(2000, -1))


def test_log_loss_is_that_of_the_labels_on_average() -> None:
    kept = class_calibration_of(*batch(8000, 0))
    p, y = batch(8000, 1)
    assert estimate_classes(p, kept, "log_loss")["log_loss"]["value"] == pytest.approx(sk.log_loss(y, p), abs=0.03)


def test_what_can_not_be_estimated_is_refused() -> None:
    p, y = batch(300, 0)
    kept = class_calibration_of(p, y)
    with pytest.raises(UnknownName):
        estimate_classes(p, kept, ["roc_auc"])
    with pytest.raises(UsageError):
        estimate_classes(p[:, :2] / p[:, :2].sum(axis=1, keepdims=True), kept)
    with pytest.raises(UsageError):
        estimate_classes(p * 2, kept)
    with pytest.raises(LabelError):
        class_calibration_of(p, np.where(y == 2, 1, y))
    with pytest.raises(UsageError):
        class_calibration_of(p, y[:-1])
