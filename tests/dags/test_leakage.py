"""Nothing that is known only after departure, and nothing of the future, reaches a feature.

Not argued but tried: everything that happened later is changed in the source, and the features must not notice.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dev.demo_world import World
from flights.features import FEATURES
from flights.layout import KEY
from flights.prepare import prepare_month

AFTERWARDS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
READINGS = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
MONTH = "2013-02"


def features(world: World, root: Path, month: str = MONTH) -> pd.DataFrame:
    world.deliver(month)
    prepare_month(root, month)
    return pd.read_parquet(root / "features" / f"month={month}" / "flights.parquet").set_index(list(KEY))


def departures(world: World) -> pd.Series:
    """The scheduled hour (UTC) of each departure, from the delivered schedule itself."""
    raw = pd.read_csv(world.landing / f"flights-{MONTH}.csv", parse_dates=["time_hour"])
    raw["date"] = pd.to_datetime(raw[["year", "month", "day"]]).dt.date
    return raw.set_index(list(KEY))["time_hour"].dt.tz_localize(None)


def test_every_feature_is_prepared(world: World, tmp_path: Path) -> None:
    found = features(world, tmp_path).reset_index().columns
    assert set(FEATURES) | set(KEY) == set(found)


def test_the_delivery_of_a_month_says_nothing_about_how_it_went(world: World) -> None:
    world.deliver(MONTH)
    delivered = pd.read_csv(world.landing / f"flights-{MONTH}.csv", nrows=1).columns
    assert not set(delivered) & set(AFTERWARDS)
    assert not (world.landing / f"outcomes-{MONTH}.csv").exists()


@pytest.mark.parametrize("column", AFTERWARDS)
def test_what_happened_to_the_flight_changes_no_feature(column: str, world: World, tmp_path: Path) -> None:
    before = features(world, tmp_path)
    world.db.execute(f"UPDATE flights SET {column} = CASE WHEN random() < 0.3 THEN NULL ELSE '999' END")
    pd.testing.assert_frame_equal(features(world, tmp_path), before)


@pytest.mark.parametrize("cut", ["2013-02-03 12:00", "2013-02-06 18:00", "2013-02-19 11:00", "2013-02-22 23:00"])
def test_weather_after_two_hours_before_departure_changes_no_feature(cut: str, world: World, tmp_path: Path) -> None:
    before = features(world, tmp_path)
    spoiled = ", ".join(f"{reading} = '77.7'" for reading in READINGS)
    # All that is observed later than two hours before `cut`: unknown to whoever decides about a departure at `cut`.
    world.db.execute(
        f"UPDATE weather SET {spoiled} WHERE CAST(time_hour AS TIMESTAMP) > TIMESTAMP '{cut}' - INTERVAL 2 HOURS"
    )
    after = features(world, tmp_path)
    leaves = departures(world).reindex(before.index)
    known = leaves <= pd.Timestamp(cut)
    assert 0 < known.sum() < len(known)
    pd.testing.assert_frame_equal(after[known], before[known])
    # The test bites: who leaves later does see the new readings.
    assert not after[~known]["temp"].equals(before[~known]["temp"])


def test_the_label_is_known_for_flights_that_arrived_and_for_no_other(world: World, tmp_path: Path) -> None:
    features(world, tmp_path)
    features(world, tmp_path, "2013-03")
    labelled = pd.read_parquet(tmp_path / "labelled" / f"month={MONTH}" / "flights.parquet")
    outcomes = pd.read_csv(world.landing / f"outcomes-{MONTH}.csv")
    assert len(labelled) == len(outcomes)
    assert labelled["late"].isna().sum() == outcomes["arr_delay"].isna().sum() > 0
    assert labelled["late"].sum() == (outcomes["arr_delay"] > 15).sum() > 0
