"""An alarm means something: whole checks of identical distributions, seeded; the long version is a benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_mlops.core.drift import check_drift
from airflow_mlops.core.results import Status
from dev.bench._columns import pair
from dev.bench._shifts import changed
from dev.bench.calibration import ALPHA, alarm, doubt, false_alarms, ours
from tests.core.drift_samples import SAMPLERS, profile


@pytest.mark.parametrize(("columns", "rows", "checks"), [(10, 50, 300), (10, 1000, 200), (50, 200, 60)])
def test_of_identical_distributions_no_more_than_alpha_raise_an_alarm(columns: int, rows: int, checks: int) -> None:
    """Continuous, discrete, zero-inflated, few and many categories, nulls in all of them."""
    found = false_alarms("mixed", columns, rows, checks, np.random.default_rng([columns, rows]), compared=2)
    assert doubt(found, checks)[0] <= 1.2 * ALPHA, f"{found} of {checks}"


@pytest.mark.parametrize("name", ["normal", "heavy_tailed"])
def test_rows_give_what_counts_that_were_drawn_without_rows_give(name: str) -> None:
    """What the drawn counts stand for: a continuous distribution, whatever its tails."""
    rng = np.random.default_rng(7)
    checks, found = 100, 0
    for _ in range(checks):
        reference = profile({f"x{i}": SAMPLERS[name](rng, 1000) for i in range(5)})
        now = profile({f"x{i}": SAMPLERS[name](rng, 100) for i in range(5)}, like=reference)
        found += check_drift(reference, now).status is Status.FAILED
    assert doubt(found, checks)[0] <= 1.2 * ALPHA, f"{found} of {checks}"


def test_the_shortened_check_of_the_benchmark_is_the_check() -> None:
    rng = np.random.default_rng(3)
    said = []
    for i in range(150):
        pairs = [pair(kind, kind, rng, 1000, 200) for kind in ("continuous", "discrete", "categories")]
        if i % 2:
            nulls = pair("continuous", "nulls", rng, 1000, 200)[0], pair("continuous", "nulls", rng, 1000, 200, 0.14)[1]
            pairs.append((nulls[0], type(nulls[1]).from_dict({**nulls[1].to_dict(), "edges": list(nulls[0].edges)})))
        said.append((alarm(pairs), alarm(pairs, whole=True)))
    assert all(a == b for a, b in said) and 20 < sum(a for a, _ in said) < 100


@pytest.mark.parametrize(("what", "size"), [("mean", 0.25), ("scale", 0.25), ("nulls", 0.25), ("mix", 0.5)])
def test_a_real_change_of_one_column_in_ten_is_seen(what: str, size: float) -> None:
    assert sum(ours(*changed(what, size, 1000, i)) for i in range(20)) >= 18
