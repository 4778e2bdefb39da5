"""From what was delivered to the two datasets that everything else reads."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flights.layout import KEY, previous_month

if TYPE_CHECKING:
    import duckdb

SQL = Path(__file__).parent / "sql"

SCHEDULE = {
    "year": "INTEGER",
    "month": "INTEGER",
    "day": "INTEGER",
    "carrier": "VARCHAR",
    "flight": "INTEGER",
    "origin": "VARCHAR",
    "dest": "VARCHAR",
    "distance": "DOUBLE",
    "hour": "INTEGER",
    "minute": "INTEGER",
    "time_hour": "TIMESTAMP",
}
WEATHER = {
    "origin": "VARCHAR",
    "time_hour": "TIMESTAMP",
    **dict.fromkeys(("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"), "DOUBLE"),
}
OUTCOMES = {
    "year": "INTEGER",
    "month": "INTEGER",
    "day": "INTEGER",
    "carrier": "VARCHAR",
    "flight": "INTEGER",
    "origin": "VARCHAR",
    "arr_delay": "DOUBLE",
}


def prepare_month(root: str | Path, month: str) -> dict[str, Any]:
    """Write the month's features, and the labels of whichever of this and the previous month have arrived.

    Each partition is a function of the files delivered for it, so running it again, later or in another order
    gives the same rows. A reader sees the old partition or the new one, never half of one.

    :param root: the flights' root folder.
    :param month: ``"2013-05"``.
    :returns: ``{"month", "rows", "labelled": {month: rows with a label}}``.
    :raises ValueError: when a key appears twice: a join would then multiply rows.
    """
    import duckdb

    root = Path(root)
    landing = root / "landing"
    with duckdb.connect() as db:
        _view(db, "schedule", [landing / f"flights-{month}.csv"], SCHEDULE)
        # The first departures of a month need the last observations of the month before.
        observed = [landing / f"weather-{m}.csv" for m in (previous_month(month), month)]
        _view(db, "weather", [path for path in observed if path.exists()], WEATHER)
        rows = _write(db, "features", _partition(root, "features", month))
        known: dict[str, int] = {}
        for labelled in (previous_month(month), month):
            outcomes = landing / f"outcomes-{labelled}.csv"
            features = _partition(root, "features", labelled)
            if outcomes.exists() and features.exists():
                _view(db, "outcomes", [outcomes], OUTCOMES)
                db.read_parquet(str(features), hive_partitioning=False).create_view("features", replace=True)
                _write(db, "labelled", _partition(root, "labelled", labelled))
                known[labelled] = int(db.execute("SELECT count(late) FROM result").fetchall()[0][0])
    return {"month": month, "rows": rows, "labelled": known}


def _partition(root: Path, kind: str, month: str) -> Path:
    return root / kind / f"month={month}" / "flights.parquet"


def _view(db: duckdb.DuckDBPyConnection, name: str, paths: list[Path], types: dict[str, str]) -> None:
    """A view over delivered CSV files: the columns that are declared, with the declared types, and no other."""
    files = db.read_csv([str(path) for path in paths], header=True, all_varchar=True)
    columns = ", ".join(f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in types.items())
    files.project(columns).create_view(name, replace=True)


def _write(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """The query's rows as one Parquet file, complete or not at all; returns their number."""
    db.execute(f"CREATE OR REPLACE TEMP TABLE result AS {(SQL / f'{query}.sql').read_text()}")
    rows, keys = db.execute(f"SELECT count(*), count(DISTINCT ({', '.join(KEY)})) FROM result").fetchall()[0]
    if rows != keys:
        raise ValueError(f"{query} of {path.parent.name}: {rows} rows but {keys} keys {KEY}; a flight appears twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        db.table("result").write_parquet(str(hidden))
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
    return int(rows)
