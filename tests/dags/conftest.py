"""A small world of real flights: four days of each month."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.demo_world import World

DAYS = (3, 6, 19, 22)
"""Two days before the cut of a month and two after it."""


@pytest.fixture(scope="session")
def flights_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source, those days of it: the same files, smaller, so that each test loads its own world quickly."""
    folder = tmp_path_factory.mktemp("flights-source")
    db = World(folder / "landing").db
    for table in ("flights", "weather"):
        near = f"day IN ({', '.join(map(str, DAYS))})" if table == "flights" else "true"
        db.execute(f"COPY (SELECT * FROM {table} WHERE {near}) TO '{folder}/{table}.csv' (HEADER, NULL 'NA')")
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.write(folder / "flights.csv", "flights.csv")
    return folder


@pytest.fixture
def world(tmp_path: Path, flights_source: Path) -> World:
    """A world that delivers into ``tmp_path/landing``."""
    return World(tmp_path / "landing", data=flights_source)


@pytest.fixture
def prepared(world: World, tmp_path: Path) -> Callable[..., Path]:
    """Deliver and prepare months as ``flights_ingest`` does; returns the root."""
    from flights.prepare import prepare_month

    def run(*months: str) -> Path:
        for month in months:
            world.deliver(month)
            prepare_month(tmp_path, month)
        return tmp_path

    return run
