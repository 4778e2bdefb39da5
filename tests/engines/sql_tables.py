"""Tables for the tests of the SQL engine: filled from frames, and read through a hook that counts what leaves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from airflow_mlops.core.datasets import DatasetRef

if TYPE_CHECKING:
    from tests.kit.postgres import PostgresServer

_TYPES = {"i": "bigint", "f": "double precision", "b": "boolean", "M": "timestamp", "O": "text"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table(server: PostgresServer, name: str, frame: pd.DataFrame, nulls: bool = True) -> DatasetRef:
    """A table with the rows of a frame; its NaN are nulls, unless ``nulls`` is false."""
    types = [_TYPES["O" if pd.api.types.is_string_dtype(t) else t.kind] for t in frame.dtypes]
    columns = zip(types, (frame[c].tolist() for c in frame.columns), strict=True)
    rows = list(zip(*([_cell(v, t, nulls) for v in values] for t, values in columns), strict=True))
    return filled(server, name, [f"{quoted(str(c))} {t}" for c, t in zip(frame.columns, types, strict=True)], rows)


def _cell(value: Any, type_: str, nulls: bool) -> Any:
    missing = value is pd.NaT or (isinstance(value, float) and math.isnan(value) and (nulls or type_ == "text"))
    return None if missing else value


def filled(server: PostgresServer, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> DatasetRef:
    """A table of these columns (name and type) and rows."""
    with server.connect() as connection:
        connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
        connection.execute(f"CREATE TABLE {quoted(name)} ({', '.join(columns)})")
        with connection.cursor().copy(f"COPY {quoted(name)} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    return DatasetRef(table=quoted(name) if "." in name else name, conn_id="lake", name="rows")


@dataclasses.dataclass
class Seen:
    """What went over the wire."""

    queries: list[str] = dataclasses.field(default_factory=list)
    fetched: int = 0
    most: int = 0

    @property
    def counting(self) -> list[str]:
        """Queries that count, without the transaction's own statements and the look at the columns."""
        own = ("SET ", "SAVEPOINT", "SELECT current_setting", "ROLLBACK", "CLOSE")
        return [q for q in self.queries if not q.startswith(own) and not q.endswith("LIMIT 0")]


class _Cursor:
    def __init__(self, cursor: Any, seen: Seen) -> None:
        self._cursor, self._seen = cursor, seen

    def execute(self, sql: str) -> None:
        self._seen.queries.append(sql)
        self._cursor.execute(sql)

    def fetchall(self) -> list[Any]:
        rows = self._cursor.fetchall()
        self._seen.fetched += len(rows)
        self._seen.most = max(self._seen.most, len(rows))
        return rows

    @property
    def description(self) -> Any:
        return self._cursor.description


class _Connection:
    def __init__(self, connection: Any, seen: Seen) -> None:
        self._connection, self._seen = connection, seen

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor(), self._seen)

    def close(self) -> None:
        self._connection.close()


def watched() -> tuple[Any, Seen]:
    """Airflow's own hook, with every statement and every fetched row counted."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    seen = Seen()

    class Watched(PostgresHook):
        def get_conn(self) -> Any:
            return _Connection(super().get_conn(), seen)

    return Watched("lake"), seen
