"""A ranking of attributions that turned, and one that chance turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import ndcg_score

from airflow_mlops.core.drift_attributions import (
    attributions_of,
    check_attributions,
    compare_attributions,
    ranking_agreement,
    shuffled,
)
from airflow_mlops.core.errors import ModelError, UsageError
from airflow_mlops.core.results import Status

gains = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=2, max_size=12)


@given(gains)
def test_agreement_is_scikit_learns_ndcg_where_nothing_ties(pairs: list[tuple[float, float]]) -> None:
    was, now = ({str(i): p[k] for i, p in enumerate(pairs)} for k in (0, 1))
    value = ranking_agreement(was, now)
    assert 0 <= value <= 1 and ranking_agreement(was, was) == 1
    if len(set(now.values())) == len(now) and sum(was.values()) > 0:
        expected = ndcg_score([list(was.values())], [list(now.values())])
        assert value == pytest.approx(expected, abs=1e-9)


def test_a_turn_at_the_top_weighs_more_than_one_at_the_bottom() -> None:
    was = {"a": 8.0, "b": 4.0, "c": 2.0, "d": 1.0}
    top, bottom = {**was, "a": 3.0}, {**was, "c": 0.5}
    assert ranking_agreement(was, top) < ranking_agreement(was, bottom) < 1
    assert check_attributions(was, dict(zip(was, [1.0, 2.0, 4.0, 8.0], strict=True))).status is Status.FAILED
    assert check_attributions(was, bottom).status is Status.PASSED


@pytest.mark.parametrize("now", [{}, {"a": 1.0}, {"a": 1.0, "b": float("nan")}])
def test_what_can_not_be_compared_is_refused(now: Any) -> None:
    with pytest.raises(UsageError):
        ranking_agreement({"a": 1.0, "b": 2.0}, now)


def sizes(rows: int, seed: int, scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, 4)) * scale


def test_columns_that_do_alike_change_places_by_chance_and_that_is_no_alarm() -> None:
    found = [
        compare_attributions(sizes(300, 2 * i), sizes(300, 2 * i + 1), list("abcd"), least=1.0) for i in range(100)
    ]
    assert sum(c.status is Status.FAILED for c in found) <= 11  # 5 % and three standard deviations
    turned = compare_attributions(sizes(300, 0, (8, 4, 2, 1)), sizes(300, 1, (1, 2, 4, 8)), list("abcd"))
    assert turned.status is Status.FAILED and turned.details["current"]["d"] > turned.details["current"]["a"]
    few = compare_attributions(sizes(300, 0), sizes(99, 1), list("abcd"))
    assert few.status is Status.INSUFFICIENT and few.details["enough"] == 100
    for bad in (sizes(300, 1)[:, :3], np.full((300, 4), np.nan)):
        with pytest.raises(UsageError):
            compare_attributions(sizes(300, 0), bad, list("abcd"))


def test_shuffling_ranks_the_columns_of_any_model() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"), index=range(100, 500))
    linear = LinearRegression().fit(X, X @ [3.0, 1.0, 0.0])
    by_column = shuffled(linear, X).mean(axis=0)
    assert by_column == pytest.approx(np.array([3.0, 1.0, 0.0]) * 2 / np.pi**0.5, abs=0.25)  # E|x - x'| is 2/sqrt(pi)
    said = LogisticRegression().fit(X, np.where(X["b"] > 0, "late", "ok"))
    assert shuffled(said, X).mean(axis=0).argmax() == 1

    class Labels:
        def predict(self, rows: pd.DataFrame) -> Any:
            return said.predict(rows)

    assert shuffled(Labels(), X).mean(axis=0).argmax() == 1
    assert (shuffled(linear, X) == shuffled(linear, X)).all()


def test_a_model_or_a_function_that_fails_is_the_models_error() -> None:
    X = pd.DataFrame({"a": [1.0]})
    with pytest.raises(ModelError, match="shuffling columns: AttributeError"):
        attributions_of(None, object(), X)
    with pytest.raises(ModelError, match="by shap: ValueError: odd"):
        attributions_of(shap, object(), X)


def shap(estimator: Any, rows: pd.DataFrame) -> Any:
    raise ValueError("odd")
