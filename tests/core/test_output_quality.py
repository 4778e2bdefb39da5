"""Predictions that need no label to be wrong."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.output_quality import OutputPolicy, check_outputs
from airflow_mlops.core.results import Check, Status

MAY = dt.datetime(2013, 5, 1, tzinfo=dt.UTC)


def checked(policy: Any = None, **columns: Any) -> dict[str, Check]:
    return {c.name: c for c in check_outputs(pd.DataFrame(columns), policy)}


def statuses(found: dict[str, Check]) -> dict[str, str]:
    return {name: str(c.status) for name, c in found.items()}


def test_sound_predictions_pass() -> None:
    scores = np.linspace(0, 1, 50)
    assert set(statuses(checked(prediction=scores > 0.5, score=scores)).values()) == {"passed"}


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_one_that_is_missing_fails_unless_so_many_are_allowed(value: Any) -> None:
    numbers = pd.Series([value, *np.linspace(0, 5, 99)], dtype=float)
    assert checked(prediction=numbers)["missing_outputs"].status is Status.FAILED
    assert checked({"max_missing": 0.01}, prediction=numbers)["missing_outputs"].status is Status.PASSED
    assert checked(prediction=["a", None])["missing_outputs"].status is Status.FAILED


def test_the_same_for_everybody_fails_where_there_are_rows_enough() -> None:
    assert checked(prediction=[1.5] * 30)["constant_output"].status is Status.FAILED
    assert "constant_output" not in checked(prediction=[1.5] * 29)
    assert "constant_output" not in checked({"constant": "ignore"}, prediction=[1.5] * 30)
    warned = checked({"constant": "warn"}, prediction=[1.5] * 30)["constant_output"]
    assert warned.status is Status.FAILED and not warned.blocks
    same_label = checked(prediction=[False] * 30, score=np.linspace(0, 0.4, 30))
    assert same_label["constant_output"].status is Status.PASSED  # of a rare class that is how it should be


def test_what_can_not_be_fails() -> None:
    assert checked(prediction=[0, 1], score=[0.5, 1.01])["output_range"].status is Status.FAILED
    assert "output_range" not in checked(prediction=[-1e9, 1e9])
    assert checked({"lower": 0}, prediction=[-0.1, 5.0])["output_range"].observed == 1
    assert checked({"lower": 0, "upper": 5}, prediction=[0.0, 5.0])["output_range"].status is Status.PASSED


def test_numbers_of_another_type_are_judged_and_texts_are_not_within_bounds() -> None:
    """A database gives exact decimals, a file texts: a score that can't be looked at is not a sound one."""
    exact = [Decimal("0.5"), Decimal("1.01"), None]
    assert checked(prediction=[1, 1, 0], score=exact)["output_range"].observed == 1
    assert checked({"lower": 1}, prediction=pd.Series([Decimal(0), 5], dtype=object))["output_range"].observed == 1
    unknown = checked(prediction=["a", "b"], score=["0.5", "7"])["output_range"]
    assert unknown.status is Status.ERROR and unknown.subject == "score" and "no numbers" in unknown.message
    assert checked({"upper": 9}, prediction=["1", "99"])["output_range"].status is Status.ERROR
    assert "output_range" not in checked(prediction=["late", "ok"])
    assert checked({"max_missing": 1}, prediction=[None] * 40)["constant_output"].status is Status.FAILED


def test_a_model_that_is_too_old_is_said_and_an_age_that_is_not_known_too() -> None:
    frame, policy = pd.DataFrame({"prediction": [1.0]}), OutputPolicy(max_age=dt.timedelta(days=31))
    for until, status in ((31, "passed"), (31.1, "failed"), (None, "error")):
        trained = None if until is None else MAY - dt.timedelta(days=until)
        (age,) = [c for c in check_outputs(frame, policy, trained_until=trained, at=MAY) if c.name == "model_age"]
        assert str(age.status) == status and not age.blocks


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        ([0.1] * 95 + [9.0] * 5, "passed"),
        ([0.1] * 94 + [9.0] * 6, "failed"),
        ([0.1] * 94 + [np.nan] * 6, "error"),
        ([0.1] * 94 + [-0.1] * 6, "error"),  # a clock that went back
        (["fast"] * 100, "error"),
    ],
)
def test_predictions_that_are_slow_or_whose_time_is_not_known_do_not_pass(seconds: list[Any], status: str) -> None:
    policy = {"latency_column": "took", "max_latency": {"milliseconds": 500}}
    assert str(checked(policy, prediction=np.arange(100.0), took=seconds)["latency"].status) == status
    assert "latency" not in checked(None, prediction=np.arange(100.0), took=seconds)
    assert checked(policy, prediction=np.arange(100.0))["latency"].status is Status.ERROR


def test_a_model_that_saw_data_of_after_the_time_it_is_judged_for_has_no_age() -> None:
    found = check_outputs(pd.DataFrame(), {"max_age": 60}, trained_until=MAY + dt.timedelta(days=1), at=MAY)
    assert [str(c.status) for c in found] == ["error"]


def test_no_rows_are_no_verdict() -> None:
    assert checked(prediction=[]) == {} and checked(id=[1, 2]) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"lower": 2, "upper": 1},
        {"constant": "no"},
        {"max_missing": 2},
        {"max_age": -1},
        {"max_latency": 1},
        {"latency_column": "took"},
        {"latency_column": "took", "max_latency": 1, "latency_quantile": 0},
    ],
)
def test_a_policy_that_means_nothing_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        OutputPolicy.from_dict(settings)
