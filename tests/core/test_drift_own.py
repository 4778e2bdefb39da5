"""Statistics of one's own in the tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from airflow_mlops.core.drift import check_drift
from airflow_mlops.core.drift_own import code_of, table_of_effects, table_of_tests
from airflow_mlops.core.drift_policy import DriftPolicy
from airflow_mlops.core.drift_statistics import EFFECTS, Cells, Effect
from airflow_mlops.core.drift_tests import TESTS
from airflow_mlops.core.errors import PolicyError, UsageError
from airflow_mlops.core.results import Report, Status
from tests.core.drift_samples import profile


def largest(reference: Any, current: Any) -> float:
    """The largest change of a cell's share."""
    return float(np.abs(reference / reference.sum() - current / current.sum()).max())


def never(reference: Any, current: Any) -> float:
    return 1.0


def compare(move: float, policy: DriftPolicy, **own: Any) -> Report:
    rng = np.random.default_rng(0)
    was = profile({"x": rng.normal(size=4000)})
    now = profile({"x": rng.normal(move, 1, 1000)}, like=was)
    effects, tests = table_of_effects(own.get("effects"), policy), table_of_tests(own.get("tests"))
    return check_drift(was, now, policy, effects=effects, tests=tests)


def test_a_plain_function_decides_like_any_other_entry() -> None:
    policy = DriftPolicy(numeric_effect="largest", floors={"largest": 0.01})
    own = {"effects": {"largest": largest}}
    assert compare(1.0, policy, **own).status is Status.FAILED
    assert compare(0.0, policy, **own).status is Status.PASSED
    (check,) = (c for c in compare(1.0, policy, **own).checks if c.name == "distribution")
    assert check.details["measure"] == "largest" and check.details["floor"] > 0.01  # risen by what chance adds
    alone = compare(1.0, DriftPolicy(numeric_test="never"), tests={"never": never})
    assert alone.status is Status.PASSED  # two conditions: an effect alone is no drift


def test_the_function_sees_the_cells_where_it_asks_for_them() -> None:
    def moved(reference: Any, current: Any, cells: Cells) -> float:
        points = np.asarray(cells.points)
        return float(abs((points * reference).sum() / reference.sum() - (points * current).sum() / current.sum()))

    policy = DriftPolicy(numeric_effect="moved", floors={"moved": 0.5})
    (check,) = (c for c in compare(1.0, policy, effects={"moved": moved}).checks if c.name == "distribution")
    assert check.observed == pytest.approx(1.0, abs=0.15) and check.status is Status.FAILED


def test_what_is_no_statistic_is_refused_by_name() -> None:
    with pytest.raises(PolicyError, match=r"'largest'.*floor"):
        table_of_effects({"largest": largest}, DriftPolicy(numeric_effect="largest"))
    with pytest.raises(UsageError, match="'five'"):
        table_of_effects({"five": 5}, DriftPolicy())  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="'five'"):
        table_of_tests({"five": 5})  # type: ignore[dict-item]
    policy = DriftPolicy(numeric_effect="broken", floors={"broken": 0.1})
    with pytest.raises(UsageError, match="'broken' failed: ZeroDivisionError"):
        compare(1.0, policy, effects={"broken": lambda r, c: 1 / 0})
    assert table_of_effects(None, DriftPolicy()) == EFFECTS and table_of_tests({}) == TESTS


def test_another_function_of_the_same_name_is_another_check() -> None:
    def made(scale: float) -> Any:
        return lambda r, c: scale * largest(r, c)

    def other(reference: Any, current: Any) -> float:
        return 2 * largest(reference, current)

    assert code_of({"mine": largest}) == code_of({"mine": largest}) != code_of({"mine": other})
    one, two = (Effect(function=largest, floor=f, kinds=("numeric",), about="") for f in (0.1, 0.2))
    assert code_of({"mine": one}) != code_of({"mine": two})
    assert code_of({"mine": made(1.0)}) != code_of({"mine": made(2.0)})
