"""Drift that no column shows alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.drift_multivariate import domain_classifier
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
    """Cross-validated: both halves are judged, and the mean of their ROC AUC is what is said."""
    folds = domain_classifier(rows(400, 0), rows(200, 1)).details["folds"]
    assert len(folds) == 2 and domain_classifier(rows(400, 0), rows(200, 1)).observed == sum(folds) / 2
    found = [domain_classifier(rows(400, 2 * i), rows(200, 2 * i + 1), floor=0.5) for i in range(15)]
    assert sum(c.status is Status.FAILED for c in found) <= 3
    assert domain_classifier(rows(400, 0), rows(200, 1)) == domain_classifier(rows(400, 0), rows(200, 1))


def test_few_rows_say_nothing_and_no_common_column_is_an_error() -> None:
    check = domain_classifier(rows(1000, 0), rows(99, 1, turn=-1.0))
    assert check.status is Status.INSUFFICIENT and check.details["enough"] == 100
    with pytest.raises(UsageError):
        domain_classifier(rows(200, 0)[["x"]], rows(200, 0)[["y"]])
