"""MLflow's own thresholds as a policy: the same verdict where all is known, and no pass where something is not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import mlflow
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mlflow.models import EvaluationResult, MetricThreshold
from mlflow.models.evaluation.validation import ModelValidationFailedException

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.evaluation import Contender
from airflow_mlops.core.gates import BeatsChampion, GatePolicy, Size, Value, judge
from tests.core.gate_evaluations import evaluation_of, made, verdict


def test_mlflows_own_thresholds() -> None:
    thresholds = {
        "roc_auc": MetricThreshold(threshold=0.6, min_absolute_change=0.01, greater_is_better=True),
        "root_mean_squared_error": MetricThreshold(min_relative_change=0.1, greater_is_better=False),
    }
    asked = (
        Value("roc_auc", lower=0.6, better="higher"),
        BeatsChampion("roc_auc", min_absolute=0.01, better="higher"),
        BeatsChampion("rmse", min_relative=0.1, better="lower"),
    )
    assert GatePolicy.of(thresholds).checks == GatePolicy(checks=[thresholds]).checks == asked
    assert GatePolicy(checks=[Size(max_bytes=1), thresholds]).checks == (Size(max_bytes=1), *asked)
    policy = GatePolicy.of({"roc_auc": thresholds["roc_auc"]})
    for figures, decision in [
        ({"candidate": 0.72, "champion": 0.7}, "pass"),
        ({"candidate": 0.705, "champion": 0.7}, "reject"),
        ({"candidate": math.nan, "champion": 0.7}, "reject"),  # MLflow itself lets this through
    ]:
        assert judge(evaluation_of(figures), policy).decision == decision
    with pytest.raises(PolicyError, match="higher is better: the MetricThreshold says lower"):
        GatePolicy.of({"roc_auc": MetricThreshold(threshold=0.6, greater_is_better=False)})


exact = st.integers(-80, 80).map(lambda i: i / 8)  # sums and differences of these have no rounding


@given(
    better=st.sampled_from(["higher", "lower"]),
    threshold=st.none() | exact,
    absolute=st.none() | st.integers(1, 40).map(lambda i: i / 8),
    relative=st.none() | st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]),
    candidate=exact,
    champion=exact.filter(bool),
)
@settings(max_examples=300, deadline=None)
def test_where_all_is_known_mlflow_says_the_same_of_its_thresholds(
    better: str, threshold: Any, absolute: Any, relative: Any, candidate: float, champion: float
) -> None:
    assume((threshold, absolute, relative) != (None, None, None))
    asked = MetricThreshold(threshold, absolute, relative, greater_is_better=better == "higher")
    theirs = "pass"
    try:
        results = (EvaluationResult({"own": v}, {}) for v in (candidate, champion))
        mlflow.validate_evaluation_results({"own": asked}, *results)
    except ModelValidationFailedException:
        theirs = "reject"
    assert verdict(made(candidate, champion, better=better), {"own": asked}) == theirs


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("field", ["threshold", "min_absolute_change", "min_relative_change"])
def test_where_something_is_not_known_mlflows_thresholds_pass_nothing(field: str, better: str) -> None:
    """Of several of these MLflow itself says that they pass, of others it raises what is no verdict."""
    far = {"threshold": -1e6 if better == "higher" else 1e6, "min_absolute_change": 1e-9, "min_relative_change": 1e-9}
    asked = {"own": MetricThreshold(**{field: far[field]}, greater_is_better=better == "higher")}
    good, bad = (2.0, 1.0) if better == "higher" else (1.0, 2.0)
    assert verdict(made(good, bad, better=better), asked) == "pass"
    assert verdict(made(good, bad, better="lower" if better == "higher" else "higher"), asked) == "reject"
    for unknown in (math.nan, math.inf, -math.inf, None, "2.0"):
        assert verdict(made(unknown, bad, better=better), asked) == "reject"
    if field == "threshold":
        return
    for unknown in (math.nan, math.inf, -math.inf, None, "2.0"):
        assert verdict(made(good, unknown, better=better), asked) == "reject"
    zero = made(1.0 if better == "higher" else -1.0, 0.0, better=better)
    assert verdict(zero, asked) == ("reject" if field == "min_relative_change" else "pass")
    for state in ("missing", "error"):
        nobody = dataclasses.replace(made(good, None, better=better), champion=Contender(version="6", state=state))
        assert verdict(nobody, asked) == "reject"


def test_thresholds_of_mlflow_that_are_no_bounds_are_mistakes() -> None:
    for name, threshold in [
        ("roc_auc", MetricThreshold(threshold=math.nan, greater_is_better=True)),
        ("roc_auc", MetricThreshold(threshold=-1, greater_is_better=True)),
        ("log_loss", MetricThreshold(min_absolute_change=math.inf, greater_is_better=False)),
        ("log_loss", MetricThreshold(threshold=0.5, greater_is_better=True)),
    ]:
        with pytest.raises(PolicyError):
            GatePolicy.of({name: threshold})
    with pytest.raises(UnknownName, match="on_missing"):
        GatePolicy.of(
            {"checks": [{"roc_auc": MetricThreshold(threshold=0.6, greater_is_better=True)}], "on_missing": 1}
        )
    with pytest.raises(UnknownName, match="roc_acu"):
        verdict(made(0.7, 0.6), {"roc_acu": MetricThreshold(threshold=0.6, greater_is_better=True)})
