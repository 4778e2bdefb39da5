"""What can not be known is never "no drift": columns that could not be judged, figures and weights that are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import DriftPolicy, check_drift, drifted_columns, figures
from airflow_mlops.core.drift_statistics import EFFECTS, Effect
from airflow_mlops.core.drift_tests import TESTS, Test
from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.ledger import broken_inputs
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import Report, Status
from airflow_mlops.engines import FrameEngine
from tests.core.drift_samples import profile


def normal(rows: int, mean: float = 0.0, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(mean, 1.0, rows)


def sparse(rows: int) -> Any:
    """Ten values among nulls: too few for its distribution, always."""
    return np.where(np.arange(rows) < 10, 1.0, np.nan)


def compare(*, fine: int = 0, drifted: int = 0, sparse_: int = 0, alien: int = 0, **more: Any) -> Report:
    """So many columns of each sort: as before, moved, with too few values, and counted in other bins."""
    was: dict[str, Any] = {}
    now: dict[str, Any] = {}
    for i in range(fine):
        was[f"fine{i}"], now[f"fine{i}"] = normal(2000, 0, i), normal(1000, 0, 50 + i)
    for i in range(drifted):
        was[f"drifted{i}"], now[f"drifted{i}"] = normal(2000, 0, i), normal(1000, 1.0, 50 + i)
    for i in range(sparse_):
        was[f"sparse{i}"], now[f"sparse{i}"] = sparse(2000), sparse(2000)[:1000]
        now[f"sparse{i}"] = np.where(np.arange(1000) < 5, 1.0, np.nan)
    reference = profile(was)
    current = profile(now, like=reference)
    columns, others = dict(reference.columns), dict(current.columns)
    for i in range(alien):
        name = f"alien{i}"
        columns[name] = profile({name: normal(2000, 0, i)}).columns[name]
        others[name] = profile({name: normal(1000, 9, 50 + i)}).columns[name]
    return check_drift(Profile(rows=2000, columns=columns), Profile(rows=1000, columns=others), **more)


def dataset(report: Report) -> Status:
    return next(c.status for c in report.checks if c.name == "dataset")


SHARE = DriftPolicy(rule="share", share=0.5)


def test_columns_that_can_not_be_compared_are_an_error_under_a_share_too() -> None:
    report = compare(fine=2, alien=2, policy=SHARE)
    assert report.status is Status.ERROR and dataset(report) is Status.ERROR and report.details["drift"] is None
    alone = compare(fine=9, alien=1, policy=SHARE)  # it can't reach the share, and still has to be looked at
    assert dataset(alone) is Status.PASSED and alone.status is Status.ERROR and alone.details["drift"] is None


def test_unknown_columns_that_could_reach_the_share_leave_the_dataset_unknown() -> None:
    report = compare(fine=2, sparse_=2, policy=SHARE)
    assert report.status is Status.INSUFFICIENT and report.details["drift"] is None
    report = compare(fine=3, drifted=1, sparse_=1, policy=DriftPolicy(rule="share", share=0.4))
    assert report.status is Status.INSUFFICIENT and report.details["share_drifted"] == 0.25
    few = compare(fine=4, sparse_=1, policy=SHARE)
    assert few.status is Status.PASSED and few.details["drift"] is False and few.details["columns_unknown"] == 1
    weights = {"fine0": 1.0, "fine1": 1.0, "sparse0": 3.0}
    weighted = compare(fine=2, sparse_=1, policy=DriftPolicy(rule="importance", share=0.5), importances=weights)
    assert weighted.status is Status.INSUFFICIENT


@pytest.mark.parametrize("unknown", ["sparse_", "alien"])
def test_proven_drift_stays_drift_and_is_a_share_of_what_was_judged(unknown: str) -> None:
    counts: Any = {"fine": 1, "drifted": 1, unknown: 2}
    report = compare(**counts, policy=SHARE)
    assert report.status is Status.FAILED and report.details["drift"] is True
    assert report.details["share_drifted"] == 0.5


def test_many_unknown_columns_are_not_no_drift_though_the_others_are_fine() -> None:
    report = compare(fine=1, sparse_=2)
    assert report.status is Status.INSUFFICIENT and report.details["drift"] is None
    one = compare(fine=2, sparse_=1)
    assert one.status is Status.PASSED and one.details["columns_unknown"] == 1
    assert "of 1 it is not known" in one.checks[0].message
    assert compare(fine=2, sparse_=1, policy=DriftPolicy(max_unknown_share=0.3)).status is Status.INSUFFICIENT
    assert compare(fine=1, drifted=1, sparse_=3).status is Status.FAILED
    with pytest.raises(PolicyError, match="max_unknown_share"):
        DriftPolicy(max_unknown_share=1.5)


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_an_effect_that_is_not_finite_is_an_error(figure: float) -> None:
    mine = Effect(function=lambda r, c, _: np.float64(figure), floor=0.1, kinds=("numeric",), about="broken")
    policy = DriftPolicy(numeric_effect="mine")
    report = compare(fine=1, drifted=1, policy=policy, effects={**EFFECTS, "mine": mine})
    assert report.status is Status.ERROR and report.details["drift"] is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_p_value_that_is_not_finite_is_an_error_and_spoils_no_other() -> None:
    def broken(r: Any, c: Any) -> tuple[float, float]:
        return 1.0, float("nan")

    tests = {**TESTS, "mine": Test(function=broken, kinds=("numeric",), about="broken")}
    was = {"x": normal(2000), "c": ["a"] * 1000 + ["b"] * 500 + ["d"] * 500}
    now = {"x": normal(1000, 0, 1), "c": ["a"] * 200 + ["b"] * 400 + ["d"] * 400}
    reference = profile(was)
    report = check_drift(reference, profile(now, like=reference), DriftPolicy(numeric_test="mine"), tests=tests)
    found = {c.subject: c for c in report.checks if c.name == "distribution"}
    assert found["x"].status is Status.ERROR
    assert found["c"].status is Status.FAILED and found["c"].details["corrected"] < 1e-6  # type: ignore[operator]
    alone = check_drift(
        profile({"x": normal(2000)}), profile({"x": normal(2000)}), DriftPolicy(numeric_test="mine"), tests=tests
    )
    assert alone.status is Status.ERROR


def test_a_constant_that_moved_is_past_any_floor_in_its_standard_deviations() -> None:
    reference = profile({"x": np.full(1000, 3.0)})
    policy = DriftPolicy(numeric_effect="wasserstein", floors={"wasserstein": 5})
    moved = check_drift(reference, profile({"x": np.full(500, 4.0)}, like=reference), policy)
    (check,) = [c for c in moved.checks if c.name == "distribution"]
    assert check.status is Status.FAILED and check.observed is None and "constant" in str(check.details["note"])
    assert drifted_columns(moved) == ["x"] and all(np.isfinite(v) for v in figures(moved).values())
    json.dumps(moved.to_dict(), allow_nan=False)
    assert check_drift(reference, profile({"x": np.full(500, 3.0)}, like=reference), policy).passed


@pytest.mark.parametrize("weight", ["absent", None, float("nan"), float("inf"), -0.1])
def test_a_column_whose_importance_is_not_known_is_an_error_and_does_not_weigh_nothing(weight: Any) -> None:
    weights: dict[str, Any] = {"fine0": 1.0, "fine1": 1.0, "drifted0": weight}
    if weight == "absent":
        del weights["drifted0"]
    policy = DriftPolicy(rule="importance", share=0.5)
    report = compare(fine=2, drifted=1, policy=policy, importances=weights)
    assert report.status is Status.ERROR and dataset(report) is Status.ERROR
    (check,) = [c for c in report.checks if c.name == "importances"]
    assert "drifted0" in check.message and report.details["drift"] is None
    assert compare(fine=2, drifted=1, policy=policy, importances={**weights, "drifted0": 0.0}).passed


def texts(values: list[str], like: Profile | None = None) -> Profile:
    """As an engine counts them: of too many different values only lengths and how many there are."""
    frame = pd.DataFrame({"x": values})
    return FrameEngine(frame).profile(DatasetRef(uri="x"), reference=like)


@pytest.mark.parametrize(("rows", "kind"), [(1000, "categorical"), (12_000, "text")])
def test_a_column_of_many_values_that_is_a_placeholder_by_now_has_drifted(rows: int, kind: str) -> None:
    """None of its values can be compared, and that most of them are gone is seen all the same."""
    reference = texts([f"user {i}" for i in range(rows)])
    assert reference.columns["x"].kind == kind
    for now, status in (
        ([f"user {i + rows}" for i in range(500)], Status.PASSED),
        ([f"user {i % 250}" for i in range(500)], Status.FAILED),
        (["unknown"] * 500, Status.FAILED),
        ([""] * 500, Status.FAILED),
    ):
        report = check_drift(reference, texts(now, reference))
        (check,) = [c for c in report.checks if c.name == "distinct_share"]
        assert check.status is report.status is status, (now[0], check.message)
    lax = check_drift(reference, texts(["unknown"] * 500, reference), DriftPolicy(floors={"distinct_share": 1.0}))
    assert lax.passed and broken_inputs(report.to_dict()) == ("distinct_share of x",)


def test_fewer_rows_show_fewer_values_and_that_is_no_drift() -> None:
    rng = np.random.default_rng(4)
    for people in (300, 5_000, 10**9):
        reference = texts([f"user {i}" for i in rng.integers(0, people, 20_000)])
        for rows in (40, 1_000):
            report = check_drift(reference, texts([f"user {i}" for i in rng.integers(0, people, rows)], reference))
            assert report.status is not Status.FAILED, (people, rows, report.summary())


def test_nulls_alone_are_not_no_drift() -> None:
    """Nothing but shares of nulls could be compared: it is not known whether anything changed."""
    reference = profile({"x": [np.nan] * 100})
    report = check_drift(reference, profile({"x": [np.nan] * 100}, like=reference))
    assert report.status is Status.INSUFFICIENT and report.details["drift"] is None
    assert "only shares of nulls" in report.checks[0].message
