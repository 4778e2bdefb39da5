"""Drift: two conditions together, and every way in which it can not be known."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.drift import DriftPolicy, check_drift, drifted_columns, figures
from airflow_mlops.core.drift_cells import EXPECTED, TooFew, categorical_cells, numeric_cells
from airflow_mlops.core.drift_statistics import EFFECTS, Effect
from airflow_mlops.core.drift_tests import chi_square
from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.profile import ColumnProfile, Profile
from airflow_mlops.core.results import Report, Status
from tests.core.drift_samples import SAMPLERS, profile

Rng = np.random.Generator


def compare(was: Any, now: Any, policy: DriftPolicy | None = None, **more: Any) -> Report:
    """Both as dicts of columns."""
    reference = profile(was)
    return check_drift(reference, profile(now, like=reference), policy, **more)


def status_of(report: Report, name: str, column: str = "x") -> Status:
    return next(c.status for c in report.checks if c.name == name and c.subject == column)


def normal(rows: int, mean: float = 0.0, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(mean, 1.0, rows)


# --- two conditions --------------------------------------------------------------------------------------------


def test_a_shift_is_drift_and_says_which_column_and_how_much() -> None:
    report = compare({"x": normal(5000), "y": normal(5000)}, {"x": normal(1000, 0.5, 1), "y": normal(1000, 0, 2)})
    assert report.status is Status.FAILED
    assert drifted_columns(report) == ["x"]
    assert report.details["columns_drifted"] == 1 and report.details["drift"] is True
    (check,) = [c for c in report.checks if c.subject == "x" and c.name == "distribution"]
    assert 0.1 < check.details["effects"]["jensen_shannon"] < 0.3  # type: ignore[index,call-overload]
    assert "jensen_shannon" in check.message and "floor" in check.message


def test_a_significant_nothing_is_no_drift() -> None:
    """0.01 standard deviations over 200,000 rows: a p-value alone flags it in seven of ten months."""
    report = compare({"x": normal(2_000_000)}, {"x": normal(2_000_000, 0.01, 1)})
    (check,) = [c for c in report.checks if c.name == "distribution"]
    assert check.details["corrected"] < 0.05  # type: ignore[operator]
    assert report.status is Status.PASSED


def test_a_great_effect_that_is_noise_is_no_drift() -> None:
    """PSI over 0.1 between two samples of the same: at 60 rows that is what chance does."""
    report = compare({"x": normal(2000)}, {"x": normal(60, 0, 1)}, DriftPolicy(numeric_effect="psi"))
    (check,) = [c for c in report.checks if c.name == "distribution"]
    assert check.observed > 0.1  # type: ignore[operator]
    assert report.status is Status.PASSED


def test_the_floor_of_a_small_batch_is_risen_by_what_chance_adds() -> None:
    """A fixed PSI floor of 0.1 is one tenth of what 50 bins of 60 rows have by chance."""
    policy = DriftPolicy(numeric_effect="psi")
    floors = []
    for rows in (60, 100_000):
        report = compare({"x": normal(100_000)}, {"x": normal(rows, 1.5, 1)}, policy)
        (check,) = [c for c in report.checks if c.name == "distribution"]
        assert check.status is Status.FAILED
        floors.append(check.details["floor"])
    assert floors[0] > 0.2 and 0.1 < floors[1] < 0.102  # type: ignore[operator]


@pytest.mark.parametrize(("rows", "seen"), [(50, 0.15), (200, 0.85), (1000, 1.0)])
def test_half_a_standard_deviation_among_ten_columns_is_seen(rows: int, seen: float) -> None:
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reference = profile({f"c{i}": rng.normal(size=2000) for i in range(10)})
        batch = {f"c{i}": rng.normal(0.5 if i == 3 else 0, 1, rows) for i in range(10)}
        found += "c3" in drifted_columns(check_drift(reference, profile(batch, like=reference)))
    assert found / 20 >= seen


@pytest.mark.parametrize("rows", [50, 1000])
def test_nulls_that_come_are_drift_of_a_column_whose_values_are_as_before(rows: int) -> None:
    holes = normal(rows, 0, 1)
    holes[: int(rows * 0.3)] = np.nan
    report = compare({"x": normal(2000)}, {"x": holes})
    assert status_of(report, "null_share") is Status.FAILED
    assert status_of(report, "distribution") is not Status.FAILED


@pytest.mark.parametrize("rows", [50, 1000])
def test_a_category_that_was_never_seen_is_drift(rows: int) -> None:
    rng = np.random.default_rng(0)
    now = SAMPLERS["categories"](rng, rows).astype(object)
    now[: rows // 5] = "new"
    report = compare({"x": SAMPLERS["categories"](rng, 5000)}, {"x": now})
    assert status_of(report, "unseen_share") is Status.FAILED


def test_another_mix_of_categories_is_drift() -> None:
    rng = np.random.default_rng(0)
    was = {"x": rng.choice(list("abc"), 5000, p=[0.5, 0.3, 0.2])}
    assert compare(was, {"x": rng.choice(list("abc"), 1000, p=[0.3, 0.5, 0.2])}).status is Status.FAILED


# --- false alarms ------------------------------------------------------------------------------------------------


# --- what can not be known -----------------------------------------------------------------------------------------


def test_too_few_rows_are_neither_drift_nor_no_drift_and_say_how_many_would_do() -> None:
    report = compare({"x": normal(1000)}, {"x": normal(20, 3.0, 1)})
    assert report.status is Status.INSUFFICIENT
    (check,) = [c for c in report.checks if c.name == "rows"]
    assert check.details["enough"] == 30 and check.observed == 20
    assert report.details["drift"] is None and "dataset" not in [c.name for c in report.checks]


def test_a_column_of_nulls_only_is_drift_of_its_nulls_and_nothing_else() -> None:
    report = compare({"x": normal(1000), "y": normal(1000)}, {"x": [np.nan] * 500, "y": normal(500, 0, 1)})
    assert status_of(report, "null_share") is Status.FAILED
    assert status_of(report, "distribution") is Status.SKIPPED


def test_columns_that_were_always_null_pass() -> None:
    report = compare({"x": [np.nan] * 900, "y": normal(900)}, {"x": [np.nan] * 500, "y": normal(500, 0, 1)})
    assert report.status is Status.PASSED


def test_columns_with_too_few_values_are_not_said_to_be_sound() -> None:
    holes = np.full(1000, np.nan)
    holes[:10] = 1.0
    report = compare({"x": holes}, {"x": holes})
    assert report.status is Status.INSUFFICIENT
    (check,) = [c for c in report.checks if c.status is Status.INSUFFICIENT and c.subject]
    assert check.details["enough"] == 3000


def test_a_small_p_value_of_few_rows_is_worked_out_again() -> None:
    def rows(counts: dict[str, int]) -> Profile:
        n = sum(counts.values())
        column = ColumnProfile(name="x", type="string", kind="categorical", count=n, top=tuple(counts.items()))
        return Profile(rows=n, columns={"x": column})

    was, now = rows({"a": 1000, "b": 400, "c": 200, "d": 100}), rows({"a": 42, "b": 30, "c": 11, "d": 17})
    (check,) = [c for c in check_drift(was, now).checks if c.name == "distribution"]
    statistic, plain = chi_square([1000, 400, 200, 100], [42, 30, 11, 17])
    assert check.details["statistic"] == pytest.approx(statistic) and plain < 0.001
    assert plain < check.details["p_value"] < 10 * plain  # type: ignore[operator]


def test_what_can_not_differ_is_not_tested_and_costs_the_others_nothing() -> None:
    """A column without a null in either has one test, and a correction over one is none."""
    report = compare({"x": normal(3000)}, {"x": normal(800, 0.1, 1)})
    (check,) = [c for c in report.checks if c.name == "distribution"]
    assert check.details["corrected"] == check.details["p_value"] and check.details["p_value"] > 0  # type: ignore[operator]


def test_categories_that_were_to_be_expected_are_no_part_of_the_change() -> None:
    def rows(unseen: int, top: tuple[tuple[str, int], ...]) -> Profile:
        common: dict[str, Any] = {"name": "x", "type": "string", "kind": "categorical", "count": 100_000}
        return Profile(rows=100_000, columns={"x": ColumnProfile(**common, top=top, other=unseen, unseen=unseen)})

    once = tuple((f"once {i}", 1) for i in range(60))
    reference = rows(0, (("a", 99_940), *once))
    zeros = tuple((name, 0) for name, _ in once)
    for unseen, status in ((530, Status.PASSED), (600, Status.FAILED)):
        batch = rows(unseen, (("a", 100_000 - unseen), *zeros))
        report = check_drift(reference, batch)
        (check,) = [c for c in report.checks if c.name == "unseen_share"]
        assert check.observed == pytest.approx(unseen / 100_000 - 60 / 100_000)
        assert check.details["p_value"] < 1e-6 and check.status is status  # type: ignore[operator]


def test_what_a_reference_does_not_name_is_not_unseen() -> None:
    """Of more categories than a profile names, a strange name may have been among the others."""

    def rows(top: dict[str, int], other: int) -> Profile:
        n = sum(top.values()) + other
        column = ColumnProfile(
            name="x", type="string", kind="categorical", count=n, top=tuple(top.items()), other=other
        )
        return Profile(rows=n, columns={"x": column})

    report = check_drift(rows({"a": 500, "b": 300}, 200), rows({"a": 500, "b": 300, "new": 100}, 100))
    assert "unseen_share" not in [c.name for c in report.checks]
    known = check_drift(rows({"a": 600, "b": 400}, 0), rows({"a": 540, "b": 360, "new": 100}, 0))
    assert status_of(known, "unseen_share") is Status.FAILED


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(SAMPLERS)), st.integers(40, 2000), st.integers(40, 500))
def test_every_cell_can_be_expected_to_hold_a_handful_of_the_smaller_sample(
    seed: int, name: str, m: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    was = profile({"x": SAMPLERS[name](rng, m)})
    pair = was.columns["x"], profile({"x": SAMPLERS[name](rng, n)}, like=was).columns["x"]
    try:
        cells = (numeric_cells if pair[0].kind == "numeric" else categorical_cells)(*pair)
    except TooFew:
        return
    both = [r + c for r, c in zip(cells.reference, cells.current, strict=True)]
    assert sum(cells.reference) == m and sum(cells.current) == n
    constant = pair[0].minimum is not None and pair[0].minimum == pair[0].maximum  # Fisher's test then, as of any share
    assert len(both) == 1 or constant or min(both) * min(m, n) / (m + n) >= EXPECTED


def test_rows_that_all_left_a_constant_have_all_moved_however_far() -> None:
    def rows(values: Any) -> ColumnProfile:
        low, high, n = float(min(values)), float(max(values)), len(values)
        spread = float(np.var(values) * n)
        more: dict[str, Any] = {"minimum": low, "maximum": high, "mean": float(np.mean(values)), "m2": spread}
        return ColumnProfile(name="x", type="float", kind="numeric", count=n, **more)

    was = rows([5.0] * 100)
    assert numeric_cells(was, rows([6.0] * 99 + [1e6])).current == (0.0, 100.0)
    assert numeric_cells(was, rows([4.0] * 99 + [-1e6])).current == (0.0, 100.0)
    some = numeric_cells(was, rows([5.0] * 60 + [6.0] * 40)).current
    assert 0 < some[1] <= 40  # a lower bound


@pytest.mark.parametrize(("before", "after", "drift"), [(0, 50, True), (50, 0, True), (50, 55, False)])
def test_values_that_are_not_finite_are_a_share_that_drifts(before: int, after: int, drift: bool) -> None:
    """NaN and infinity have no bin: the finite rows are as they were."""
    reference = profile({"x": normal(1000 - before)})
    batch = profile({"x": normal(1000 - after, seed=1)}, like=reference)
    was, now = (
        Profile(rows=1000, columns={"x": dataclasses.replace(p.columns["x"], count=1000, nonfinite=n)})
        for p, n in ((reference, before), (batch, after))
    )
    report = check_drift(was, now)
    assert status_of(report, "distribution") is Status.PASSED
    assert status_of(report, "nonfinite_share") is (Status.FAILED if drift else Status.PASSED)
    assert report.details["drift"] is drift and drifted_columns(report) == (["x"] if drift else [])


@pytest.mark.parametrize("value", [3.0, 0.0, -2.0])
def test_a_constant_that_stays_is_no_drift_and_one_that_changes_is(value: float) -> None:
    was = {"x": np.full(1000, value), "y": normal(1000)}
    assert compare(was, {"x": np.full(500, value), "y": normal(500, 0, 1)}).status is Status.PASSED
    for other in (value - 1, value + 1):
        report = compare(was, {"x": np.full(500, other), "y": normal(500, 0, 1)})
        assert status_of(report, "distribution") is Status.FAILED, other
    half = np.where(np.arange(500) % 2 == 0, value, value - 1.0)
    assert status_of(compare(was, {"x": half, "y": normal(500, 0, 1)}), "distribution") is Status.FAILED


def test_a_column_that_is_gone_or_of_another_kind_fails_and_a_new_one_is_named() -> None:
    reference = profile({"x": normal(500), "y": normal(500), "z": normal(500)})
    current = profile({"x": normal(500, 0, 1), "y": ["a"] * 500, "w": normal(500)})
    report = check_drift(reference, current)
    schema = {c.subject: c.status for c in report.checks if c.name == "schema"}
    assert schema == {"y": Status.FAILED, "z": Status.FAILED}
    assert [c.subject for c in report.checks if c.name == "new_column"] == ["w"]
    assert report.status is Status.FAILED


def test_a_new_column_stands_in_the_way_only_where_the_policy_says_so() -> None:
    was, now = {"x": normal(500)}, {"x": normal(500, 0, 1), "w": normal(500)}
    assert compare(was, now).passed
    assert compare(was, now, DriftPolicy(new_columns="fail")).status is Status.FAILED
    assert len(compare(was, now, DriftPolicy(new_columns="ignore")).failures()) == 0


def test_profiles_counted_in_other_bins_are_an_error_not_no_drift() -> None:
    report = check_drift(profile({"x": normal(500)}), profile({"x": normal(500, 9, 1)}))
    assert status_of(report, "distribution") is Status.ERROR
    assert not report.passed


def test_a_policy_that_leaves_nothing_to_check_is_an_error() -> None:
    report = compare({"x": normal(500)}, {"x": normal(500)}, DriftPolicy(exclude=("*",)))
    assert report.status is Status.ERROR


def test_many_categories_alike_are_not_compared_by_luck_of_the_list() -> None:
    """The 100 most frequent of 10,000 equals are there by chance; in any other batch they seem to have shrunk."""
    rng = np.random.default_rng(4)
    report = compare({"x": SAMPLERS["many_alike"](rng, 100_000)}, {"x": SAMPLERS["many_alike"](rng, 100_000)})
    assert status_of(report, "distribution") is Status.SKIPPED


# --- rules of the dataset, tables, policy ----------------------------------------------------------------------------


def test_a_share_of_columns_or_of_importance_decides_where_the_policy_says_so() -> None:
    was = {f"c{i}": normal(2000, 0, i) for i in range(4)}
    now = {f"c{i}": normal(1000, 1.0 if i == 0 else 0.0, 10 + i) for i in range(4)}
    assert compare(was, now).status is Status.FAILED
    assert compare(was, now, DriftPolicy(rule="share", share=0.5)).status is Status.PASSED
    assert compare(was, now, DriftPolicy(rule="share", share=0.25)).status is Status.FAILED
    weighted = DriftPolicy(rule="importance", share=0.5)
    assert compare(was, now, weighted, importances={"c0": 3.0, "c1": 1.0, "c2": 0.0, "c3": 0.0}).status is Status.FAILED
    assert compare(was, now, weighted, importances={"c0": 1.0, "c1": 3.0, "c2": 0.0, "c3": 0.0}).status is Status.PASSED
    assert compare(was, now, weighted).status is Status.ERROR


def test_a_statistic_of_ones_own_is_one_more_entry() -> None:
    def largest(r: Any, c: Any, _: Any) -> Any:
        return np.abs(
            np.asarray(r) / np.sum(r, axis=-1, keepdims=True) - np.asarray(c) / np.sum(c, axis=-1, keepdims=True)
        ).max(axis=-1)

    effects = {**EFFECTS, "largest": Effect(function=largest, floor=0.01, kinds=("numeric",), about="largest cell")}
    policy = DriftPolicy(numeric_effect="largest")
    report = compare({"x": normal(5000)}, {"x": normal(1000, 1.0, 1)}, policy, effects=effects)
    assert [c.details["measure"] for c in report.checks if c.name == "distribution"] == ["largest"]
    assert report.status is Status.FAILED
    with pytest.raises(UnknownName, match="largest"):
        compare({"x": normal(500)}, {"x": normal(500)}, policy)


@pytest.mark.parametrize("effect", sorted(n for n, e in EFFECTS.items() if "numeric" in e.kinds))
def test_every_effect_tells_a_shift_from_none(effect: str) -> None:
    policy = DriftPolicy(numeric_effect=effect)
    assert compare({"x": normal(5000)}, {"x": normal(2000, 0.5, 1)}, policy).status is Status.FAILED
    assert compare({"x": normal(5000)}, {"x": normal(2000, 0, 1)}, policy).status is Status.PASSED


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"alpah": 0.1}, "did you mean 'alpha'"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"rule": "some"}, "any"),
        ({"floors": {"psi": -1}}, "psi"),
        ({"new_columns": "perhaps"}, "warn"),
        ({"minimum_rows": 1}, "minimum_rows"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises((PolicyError, UnknownName), match=word):
        DriftPolicy.from_dict(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"numeric_effect": "pis"},
        {"categorical_effect": "wasserstein"},
        {"categorical_test": "anderson_darling"},
        {"floors": {"pis": 1}},
    ],
)
def test_a_policy_that_names_what_is_not_there_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((PolicyError, UnknownName)):
        compare({"x": normal(100)}, {"x": normal(100)}, DriftPolicy(**settings))


# --- laws -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 400), st.sampled_from(sorted(SAMPLERS)), st.sampled_from(sorted(SAMPLERS))
)
def test_any_two_profiles_get_a_verdict_that_is_plain_and_always_the_same(
    seed: int, rows: int, one: str, other: str
) -> None:
    rng = np.random.default_rng(seed)
    reference = profile({"x": SAMPLERS[one](rng, 300), "y": SAMPLERS[other](rng, 300)})
    current = profile({"x": SAMPLERS[other](rng, rows), "y": SAMPLERS[other](rng, rows)}, like=None)
    before = (reference.to_dict(), current.to_dict())
    first, second = (check_drift(reference, current) for _ in range(2))
    assert first == second and first.digest == second.digest
    assert (reference.to_dict(), current.to_dict()) == before
    assert Report.from_dict(json.loads(json.dumps(first.to_dict(), allow_nan=False))) == first
    assert all(np.isfinite(v) for v in figures(first).values())


def test_the_verdict_is_a_function_of_profiles_and_policy_and_says_of_which() -> None:
    was, now = profile({"x": normal(500)}), profile({"x": normal(500)})
    digests = {
        json.dumps(check_drift(was, now, policy, seed=seed).inputs, sort_keys=True)
        for policy in (DriftPolicy(), DriftPolicy(alpha=0.01))
        for seed in (0, 1)
    }
    assert len(digests) == 4


def test_a_week_of_days_is_judged_as_the_week() -> None:
    rng = np.random.default_rng(0)
    reference = profile({"x": rng.normal(size=3000)})
    days = [rng.normal(0.2, 1, 300) for _ in range(7)]
    summed = profile({"x": days[0]}, like=reference)
    for day in days[1:]:
        summed = summed + profile({"x": day}, like=reference)
    whole = profile({"x": np.concatenate(days)}, like=reference)
    one, other = check_drift(reference, summed), check_drift(reference, whole)
    assert one.status is other.status is Status.FAILED
    assert one.checks[-1].observed == pytest.approx(other.checks[-1].observed)


def test_a_profile_of_dates_and_texts_is_judged_by_its_nulls() -> None:
    def made(nulls: int) -> Profile:
        columns = {
            name: ColumnProfile(name=name, type=type_, kind=kind, count=500, nulls=nulls)
            for name, type_, kind in (("when", "datetime", "datetime"), ("note", "string", "text"))
        }
        return Profile(rows=500, columns=columns)

    assert check_drift(made(0), made(0)).passed
    assert drifted_columns(check_drift(made(0), made(200))) == ["note", "when"]


def test_what_is_checked_can_be_chosen_by_pattern() -> None:
    policy = DriftPolicy(include=("c*",), exclude=("c2",))
    was = {f"c{i}": normal(500, 0, i) for i in range(3)} | {"d": normal(500)}
    report = compare(was, was, policy)
    assert {c.subject for c in report.checks if c.subject} == {"c0", "c1"}
    assert dataclasses.replace(policy, exclude=()).watches("c2")
