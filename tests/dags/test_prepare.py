"""A partition is a function of what was delivered for it: in any order, any number of times, never half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dev.demo_world import World
from flights import layout
from flights.features import FEATURES
from flights.prepare import prepare_month


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for k in ("features", "labelled") for p in root.glob(f"{k}/*/*")}


def test_the_order_of_the_months_and_repetition_change_nothing(world: World, tmp_path: Path) -> None:
    months = ["2013-01", "2013-02", "2013-03"]
    for month in months:
        world.deliver(month)
        prepare_month(tmp_path, month)
    once = files(tmp_path)
    for month in [*reversed(months), "2013-02"]:
        prepare_month(tmp_path, month)
    assert files(tmp_path) == once
    assert sorted(once) == [
        *(f"features/month={m}/flights.parquet" for m in months),
        *(f"labelled/month={m}/flights.parquet" for m in months[:2]),
    ]


def test_labels_come_when_the_months_arrive_in_another_order(world: World, tmp_path: Path) -> None:
    for month in ("2013-02", "2013-01"):
        world.deliver(month)
    assert prepare_month(tmp_path, "2013-02")["labelled"] == {}, "January's features are not there yet"
    assert list(prepare_month(tmp_path, "2013-01")["labelled"]) == ["2013-01"]


def test_a_flight_that_appears_twice_is_refused_and_nothing_is_written(world: World, tmp_path: Path) -> None:
    world.db.execute("INSERT INTO flights SELECT * FROM flights WHERE month = '2' LIMIT 1")
    world.deliver("2013-02")
    with pytest.raises(ValueError, match="a flight appears twice"):
        prepare_month(tmp_path, "2013-02")
    assert files(tmp_path) == {}


def test_an_interrupted_write_leaves_the_old_partition(
    prepared: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared("2013-01")
    before = files(root)

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_month(root, "2013-01")
    assert files(root) == before


def test_the_first_departures_of_a_month_see_the_last_weather_of_the_one_before(
    prepared: Callable[..., Path], world: World, tmp_path: Path
) -> None:
    world.db.execute("UPDATE flights SET time_hour = '2013-02-01T00:00:00Z' WHERE month = '2' AND day = '3'")
    root = prepared("2013-01", "2013-02")
    found = pd.read_parquet(root / "features" / "month=2013-02" / "flights.parquet")
    early = found[pd.to_datetime(found["date"]).dt.day == 3]
    assert early["temp"].notna().all()


def test_the_model_learns_and_takes_what_it_has_never_seen(prepared: Callable[..., Path]) -> None:
    from sklearn.metrics import roc_auc_score

    from flights.features import train

    root = prepared("2013-06", "2013-07")
    rows = pd.read_parquet(root / "labelled" / "month=2013-06" / "flights.parquet").dropna(subset=["late"])
    past = pd.to_datetime(rows["date"]).dt.day < 16
    model = train(rows.loc[past, list(FEATURES)], rows.loc[past, "late"], max_iter=50)
    later = rows.loc[~past, list(FEATURES)]
    assert roc_auc_score(rows.loc[~past, "late"], model.predict_proba(later)[:, 1]) > 0.5
    new = later.head(5).assign(carrier="ZZ", dest="XXX", temp=float("nan"))
    assert model.predict_proba(new)[:, 1].min() > 0
    assert len(set(model.predict_proba(new)[:, 1])) > 1


def test_nothing_of_this_repository_is_needed_to_load_the_model(prepared: Callable[..., Path]) -> None:
    import pickle
    import pickletools

    from flights.features import train

    rows = pd.read_parquet(prepared("2013-06") / "features" / "month=2013-06" / "flights.parquet")
    saved = pickle.dumps(train(rows[list(FEATURES)], rows["distance"] > 1000, max_iter=2))
    needed = {str(arg).split(".")[0] for _, arg, _ in pickletools.genops(saved) if isinstance(arg, str)}
    assert "flights" not in needed
    assert "airflow_mlops" not in needed


@pytest.mark.parametrize(
    ("delivered", "expected"), [("2013-05", "2013-04"), ("2013-01", "2012-12"), ("", "2013-06"), (None, "2013-06")]
)
def test_label_month(delivered: str | None, expected: str, prepared: Callable[..., Path]) -> None:
    root = prepared("2013-06", "2013-07")
    assert layout.label_month(str(root), delivered) == expected


def test_no_labels_at_all_is_a_month_without_flights(tmp_path: Path) -> None:
    assert layout.label_month(str(tmp_path)) == layout.NO_MONTH
