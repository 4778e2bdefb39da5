"""Tables and views through any Airflow SQL connection (``DbApiHook``).

The rows of a reference are selected by the database (columns and filters; values bound, identifiers quoted for its
dialect), fetched in batches through the hook's own cursor into DuckDB's temporary storage, which spills to disk, and
counted there by the same code as files. A table has no order: rows come sorted by all their columns.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, UsageError
from airflow_mlops.engines.duck import MEMORY, DuckEngine, Source, connection, narrowed, need
from airflow_mlops.engines.headers import unambiguous

FETCH = 20_000
"""Rows that are in Python at a time."""


class SqlEngine(DuckEngine):
    """Rows of a table, read through the connection that the reference names.

    :param hook: the hook to use; by default the one of ``ref.conn_id``.
    """

    def __init__(self, hook: Any = None, *, memory: str = MEMORY, threads: int = 0) -> None:
        super().__init__(memory=memory, threads=threads)
        self.hook = hook

    @contextlib.contextmanager
    def open(self, ref: DatasetRef) -> Iterator[Source]:
        """The rows of the table that pass the filters, as a relation."""
        hook = self.hook if self.hook is not None else _hook(ref)
        with connection(self.memory, self.threads) as con:
            _load(con, hook, ref)
            with_order = DatasetRef(uri="rows", columns=ref.columns, name=ref.label)
            yield narrowed(con, "(SELECT * FROM raw ORDER BY ALL)", with_order)


def _hook(ref: DatasetRef) -> Any:
    from airflow.sdk import BaseHook

    hook = BaseHook.get_hook(ref.conn_id)
    if not hasattr(hook, "get_cursor"):
        raise UsageError(
            f"connection {ref.conn_id!r} of {ref.label} is no SQL connection ({type(hook).__name__}); "
            "a table is read through one that Airflow has a DbApiHook for"
        )
    return hook


def _load(con: Any, hook: Any, ref: DatasetRef) -> None:
    """The rows into DuckDB's table ``raw``."""
    table = ".".join(_identifier(hook, part) for part in _parts(ref.table))
    mark = hook.placeholder
    try:
        with contextlib.closing(hook.get_conn()) as db, contextlib.closing(db.cursor()) as cursor:
            try:
                cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")
            except Exception as error:
                raise DatasetNotFound(
                    f"{ref.label}: connection {ref.conn_id!r} can't read table {ref.table!r}: {_said(error)}"
                ) from error
            have = [str(d[0]) for d in cursor.description]
            unambiguous(ref.label, have)
            wanted = list(ref.columns) or have
            need(ref.label, have, [*wanted, *(f[0] for f in ref.filters)])
            select = ", ".join(_identifier(hook, c) for c in wanted)
            values: list[Any] = []
            where = [_condition(hook, mark, f, values) for f in ref.filters]
            sql = f"SELECT {select} FROM {table}" + (f" WHERE {' AND '.join(where)}" if where else "")
            cursor.execute(sql, tuple(values)) if values else cursor.execute(sql)
            _fetch(con, cursor, wanted, ref)
    except (DataError, UsageError):
        raise
    except Exception as error:
        raise DataError(f"{ref.label}: connection {ref.conn_id!r} failed while reading: {_said(error)}") from error


def _fetch(con: Any, cursor: Any, columns: Sequence[str], ref: DatasetRef) -> None:
    """Batches of the cursor, appended; types are of all batches together."""
    import pyarrow as pa

    parts: list[pa.Table] = []
    while rows := cursor.fetchmany(FETCH):
        arrays = []
        for name, values in zip(columns, zip(*rows, strict=True), strict=True):
            try:
                arrays.append(pa.array([_value(v) for v in values]))
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise DataError(
                    f"{ref.label}: column {name!r} mixes types ({error}); cast it in a view and read that"
                ) from error
        parts.append(pa.table(arrays, names=list(columns)))
    if not parts:
        parts = [pa.table({c: pa.array([], pa.string()) for c in columns})]
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{ref.label}: a column mixes types between rows ({error}); cast it in a view") from error
    con.register("fetched", table)
    con.execute("CREATE TEMP TABLE raw AS SELECT * FROM fetched")
    con.unregister("fetched")


def _value(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _parts(table: str) -> list[str]:
    """``schema.name`` as its parts; a part in double quotes may hold dots.

    >>> _parts('public."x.y"'), _parts("flights")
    (['public', 'x.y'], ['flights'])
    """
    found = re.findall(r'"((?:[^"]|"")+)"|([^."]+)', table)
    parts = [(a.replace('""', '"') if a else b) for a, b in found]
    rebuilt = re.sub(r'"((?:[^"]|"")+)"|([^."]+)', "x", table)
    if not parts or rebuilt != ".".join("x" * len(parts)):
        raise UsageError(
            f"table {table!r} is no name: expected name or schema.name, each part quoted if it holds a dot"
        )
    return parts


def _identifier(hook: Any, name: str) -> str:
    """A name quoted for the hook's dialect: its escape characters, doubled inside."""
    if "\x00" in name:
        raise UsageError(f"a name can't contain a null character: {name!r}")
    dialect = str(getattr(hook, "dialect_name", "default"))
    left, right = ("`", "`") if dialect in ("mysql", "mariadb", "bigquery", "databricks") else ('"', '"')
    if dialect == "mssql":
        left, right = "[", "]"
    return f"{left}{name.replace(right, right * 2)}{right}".replace("%", "%%" if hook.placeholder == "%s" else "%")


def _condition(hook: Any, mark: str, filter_: tuple[str, str, Any], values: list[Any]) -> str:
    column, operator, value = filter_
    name = _identifier(hook, column)
    if operator in ("is null", "is not null"):
        return f"{name} {operator.upper()}"
    if operator in ("in", "not in"):
        values.extend(value)
        return f"{name} {operator.upper()} ({', '.join([mark] * len(value))})"
    values.append(value)
    return f"{name} {operator.replace('!=', '<>')} {mark}"


def _said(error: Exception) -> str:
    """The first line of what the driver said; a connection's password is never in it, but its URI might be."""
    first = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return re.sub(r"(?<=://)[^/@\s]*@", "", first)
