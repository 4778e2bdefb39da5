"""Rows of a database where each of them can be looked at: in DuckDB's temporary storage, which spills to disk."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from airflow_mlops.engines.duck import MEMORY, Source, connection, explained, quoted
from airflow_mlops.engines.sql_source import FETCH, SqlSource


@contextlib.contextmanager
def in_duckdb(source: Source, *, memory: str = MEMORY, threads: int = 0) -> Iterator[Source]:
    """The rows of a source as a relation of DuckDB.

    What DuckDB counts already is handed on as it is. From a database the rows come through a cursor on the server, in
    the snapshot that the source is open on, sorted, and at most :data:`~airflow_mlops.engines.sql_source.FETCH` of
    them are held at a time. Exact numbers have nine decimals.

    :param memory: what DuckDB may hold before it spills.
    :raises SourceUnavailable: when the database is lost on the way.
    """
    if not isinstance(source, SqlSource):
        yield source
        return
    import pyarrow as pa

    exact = [c.type == "decimal" for c in source.columns]  # as text on the way: a driver has them without a scale
    asked = [f"CAST({c.sql} AS VARCHAR) AS {c.sql}" if e else c.sql for c, e in zip(source.columns, exact, strict=True)]
    kept = [
        f"CAST({c.sql} AS {c.duck_type}) AS {c.sql}" if e else c.sql for c, e in zip(source.columns, exact, strict=True)
    ]
    reader = source.reader(", ".join(asked), FETCH)
    with connection(memory, threads) as con:
        for number, batch in enumerate(reader):
            con.register("fetched", pa.Table.from_batches([batch], schema=reader.schema))
            into = "CREATE TEMP TABLE raw AS" if number == 0 else "INSERT INTO raw"
            with explained(source.label):
                con.execute(f"{into} SELECT {', '.join(kept)} FROM fetched")
            con.unregister("fetched")
        described = {row[0]: row[1] for row in con.execute("DESCRIBE raw").fetchall()}
        columns = tuple(dataclasses.replace(c, duck_type=described[c.name]) for c in source.columns)
        listed = ", ".join(quoted(c.name) for c in columns)
        yield Source(con, f"(SELECT {listed} FROM raw)", {}, columns, source.label, source.version)
