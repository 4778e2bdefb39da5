"""Drift that no column shows alone, and a ranking that turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from airflow_mlops.core.drift_multivariate import check_attributions, domain_classifier, ranking_agreement
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import Status


def rows(n: int, seed: int, turn: float = 0.6) -> pd.DataFrame:
    """Two columns that go together; the carrier is a category, some are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    carrier = pd.Series(np.array(["AA", "UA", "DL"])[rng.integers(0, 3, n)]).mask(rng.random(n) < 0.1)
    y = turn * x + (1 - turn**2) ** 0.5 * rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": y, "carrier": carrier, "day": pd.Timestamp("2013-05-01")})


def test_a_correlation_that_turned_is_seen_though_every_column_is_as_it_was() -> None:
    check = domain_classifier(rows(1500, 0), rows(1500, 1, turn=-0.6))
    assert check.status is Status.FAILED and check.observed > 0.6  # type: ignore[operator]


def test_samples_of_the_same_are_rarely_told_apart() -> None:
    found = [domain_classifier(rows(400, 2 * i), rows(200, 2 * i + 1), floor=0.5) for i in range(15)]
    assert sum(c.status is Status.FAILED for c in found) <= 3
    assert domain_classifier(rows(400, 0), rows(200, 1)) == domain_classifier(rows(400, 0), rows(200, 1))


def test_few_rows_say_nothing_and_no_common_column_is_an_error() -> None:
    check = domain_classifier(rows(1000, 0), rows(99, 1, turn=-1.0))
    assert check.status is Status.INSUFFICIENT and check.details["enough"] == 100
    with pytest.raises(UsageError):
        domain_classifier(rows(200, 0)[["x"]], rows(200, 0)[["y"]])


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
