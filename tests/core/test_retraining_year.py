"""A year of checks and decisions: what happened is seen, and little else; the whole table is ``dev/``'s simulation."""

from __future__ import annotations

from dev.simulate_retraining import WORLDS, any_p, ours, replay


def test_a_sudden_change_is_answered_within_weeks_and_little_else_is() -> None:
    year = replay(WORLDS["sudden"], ours, seed=1)
    assert 1 <= year.trainings <= 3 and year.for_nothing <= 1 and year.blind <= 3


def test_a_stable_year_and_an_outage_start_next_to_nothing_where_a_bare_p_value_starts_plenty() -> None:
    for world, most in (("stable", 1), ("outage", 0)):
        assert replay(WORLDS[world], ours, seed=1).trainings <= most
    assert replay(WORLDS["stable"], any_p, seed=1).trainings > 15


def test_a_season_is_no_drift_from_the_same_week_a_year_before() -> None:
    assert replay(WORLDS["seasonal"], ours, seed=1, seasonal=True).trainings <= 1
