"""Rows that stay in a database: a :class:`Session` is an open transaction, a :class:`SqlSource` a table in it.

All queries of one opening see one snapshot, in a transaction that can't write. What they fetch is counts, and rows
only where rows are what was asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, MlopsError, SourceUnavailable, UsageError
from airflow_mlops.engines.duck import Column, Source, condition, need, quoted
from airflow_mlops.engines.headers import unambiguous
from airflow_mlops.engines.sql_query import reading
from airflow_mlops.engines.sql_translate import translated

FETCH = 20_000
"""Rows that are in Python at a time."""


ASKED = "rows of the query"
"""The name of a query's rows in our SQL; the leaf writes the query in its place."""


class Leaf(Protocol):
    """What is to be known of a database so that it counts for itself.

    :cvar name: the dialect as Airflow's hooks call it; a report says that it judged.
    :cvar dialect: as SQLGlot calls it.
    :ivar asked: the query whose rows :data:`ASKED` are, as SQLGlot's tree; ``None``: a table is read.
    """

    name: str
    dialect: str
    asked: Any

    def cursor(self, connection: Any) -> Any:
        """A cursor whose rows are tuples."""

    def begin(self, session: Session) -> str:
        """One snapshot, read only, in UTC; a reason, where this server is to be read in a stream instead."""

    def recover(self, session: Session) -> None:
        """The transaction as it was before a query that failed."""

    def columns(self, session: Session, table: Sequence[str]) -> tuple[Column, ...]:
        """The columns of a table, in order, with the types DuckDB has for them."""

    def rule(self, node: Any) -> Any:
        """A node of a query, as the dialect has it."""

    def digest(self, source: SqlSource) -> tuple[str, int]:
        """The content digest of the rows, as :mod:`airflow_mlops.engines.digests` defines it, and how many they are."""

    def pattern(self, pattern: str) -> str | None:
        """A regular expression in the dialect, or ``None`` where it can't be said."""

    def stream(self, session: Session, sql: str, rows: int) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """Rows through a cursor on the server: the driver's description and the rows, batch by batch."""

    def arrow(self, code: Any) -> Any:
        """The Arrow type of a driver's type code."""

    def problem(self, error: Exception, about: str) -> MlopsError:
        """What an error of the driver means."""


@dataclasses.dataclass
class Session:
    """An open transaction.

    :param leaf: the database's leaf.
    :param cursor: the driver's cursor.
    :param label: the dataset and the connection, for messages.
    """

    leaf: Leaf
    cursor: Any
    label: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query in the dialect."""
        with self.explained():
            self.cursor.execute(sql)
            return [tuple(_plain(v) for v in row) for row in self.cursor.fetchall()]

    def run(self, sql: str) -> None:
        """A statement without rows."""
        with self.explained():
            self.cursor.execute(sql)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """The driver's errors as ours; the transaction goes on after one that a query caused."""
        try:
            yield
        except MlopsError:
            raise
        except Exception as error:
            problem = self.leaf.problem(error, self.label)
            if not isinstance(problem, SourceUnavailable):
                with contextlib.suppress(Exception):  # the first error is the one to be told
                    self.leaf.recover(self)
            raise problem from error


@dataclasses.dataclass(frozen=True)
class SqlSource(Source):
    """Rows in a database, open for counting; ``con`` is the :class:`Session`, ``relation`` DuckDB's SQL as always."""

    def dialect(self, sql: str, **parameters: Any) -> str:
        """A query as the database's."""
        session: Session = self.con
        return translated(sql, {**self.parameters, **parameters}, session.leaf.dialect, session.leaf.rule)

    def execute(self, select: str, tail: str = "", **parameters: Any) -> Any:
        """Not here: use :meth:`fetch`."""
        raise TypeError("a query of a database is fetched, not executed into DuckDB")

    def fetch(self, select: str, tail: str = "", **parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`airflow_mlops.engines.duck.Source.fetch`."""
        return self.run(f"SELECT {select} FROM {self.relation} AS data {tail}", **parameters)

    def run(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """See :meth:`airflow_mlops.engines.duck.Source.run`."""
        session: Session = self.con
        return session.query(self.dialect(sql, **parameters))

    def reads_pattern(self, pattern: str) -> bool:
        """See :meth:`airflow_mlops.engines.duck.Source.reads_pattern`."""
        session: Session = self.con
        return session.leaf.pattern(pattern) is not None

    def reader(self, select: str, rows: int) -> Any:
        """The rows, sorted by all their columns, through a cursor on the server; as an Arrow reader."""
        import pyarrow as pa

        session: Session = self.con
        order = ", ".join(f"{_sortable(c)} NULLS LAST" for c in self.columns)
        sql = self.dialect(f"SELECT {select} FROM {self.relation} AS data ORDER BY {order}")
        batches = session.leaf.stream(session, sql, max(1, min(rows, FETCH)))
        described, first = next(batches)
        schema = pa.schema([(d[0], session.leaf.arrow(d[1])) for d in described])

        def made() -> Iterator[Any]:
            yield _batch(first, schema, self.label)
            for _, more in batches:
                yield _batch(more, schema, self.label)

        return pa.RecordBatchReader.from_batches(schema, made())

    def sampled(self, rows: int) -> str:
        """Which of so many rows the quantiles that begin the bins are taken of; empty: of all."""
        return ""

    def digest(self) -> tuple[str, int]:
        """The content digest and the number of rows."""
        session: Session = self.con
        return session.leaf.digest(self)


def table_source(session: Session, ref: DatasetRef) -> SqlSource:
    """The columns and the filters of a reference on its table.

    :raises DatasetNotFound: when there is no such table.
    :raises SchemaMismatch: for a column that is not there.
    """
    if ref.query:
        session.leaf.asked = reading(ref, session.leaf.dialect)
    parts = [ASKED] if ref.query else parts_of(ref.table)
    return SqlSource(session, *chosen(ref, session.leaf.columns(session, parts), ".".join(map(quoted, parts))))


def chosen(
    ref: DatasetRef, columns: Sequence[Column], rows: str
) -> tuple[str, dict[str, Any], tuple[Column, ...], str]:
    """The columns and the filters of a reference: the relation, what it has bound, its columns and the label.

    :param columns: all there are.
    :param rows: SQL of the rows, to stand behind FROM.
    """
    have = {c.name: c for c in columns}
    unambiguous(ref.label, [c.name for c in columns])
    wanted = list(ref.columns) or list(have)
    need(ref.label, have, [*wanted, *(f[0] for f in ref.filters)])
    if len(set(wanted)) != len(wanted):
        raise UsageError(f"{ref.label}: columns are named twice in {wanted}")
    parameters: dict[str, Any] = {}
    conditions = [condition(have[f[0]], f[1], f[2], parameters) for f in ref.filters]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    select = ", ".join(_selected(have[c]) for c in wanted)
    return f"(SELECT {select} FROM {rows}{where})", parameters, tuple(have[c] for c in wanted), ref.label


def _selected(column: Column) -> str:
    """What has no type of ours (JSON, arrays, ranges) is text."""
    other = column.type == "other" and column.duck_type != "BLOB"
    return f"CAST({column.sql} AS VARCHAR) AS {column.sql}" if other else column.sql


def _sortable(column: Column) -> str:
    return f"CAST({column.sql} AS VARCHAR)" if column.type == "string" else column.sql


def _batch(rows: Sequence[Sequence[Any]], schema: Any, label: str) -> Any:
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = []
    for field, values in zip(schema, columns, strict=True):
        try:
            arrays.append(pa.array([bytes(v) if isinstance(v, memoryview) else v for v in values], type=field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{label}: column {field.name!r} has a value that is no {field.type}: {error}") from error
    return pa.record_batch(arrays, schema=schema)


def _plain(value: Any) -> Any:
    """A database's exact number as Python's: whole ones are integers."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value.is_finite() and value.as_tuple().exponent == 0 else float(value)
    return value


def parts_of(table: str) -> list[str]:
    """``schema.name`` as its parts; a part in double quotes may hold dots.

    :raises UsageError: for something that is no name.

    >>> parts_of('public."x.y"'), parts_of("flights")
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


def said(error: Exception) -> str:
    """The first line of what a driver said; a connection's password is never in it, but its URI might be."""
    first = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return re.sub(r"(?<=://)[^/@\s]*@", "", first)


def unreachable(error: Exception) -> bool:
    """Whether an error of a driver is about the connection, and says nothing about the rows."""
    state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
    if state:
        return state[:2] in ("08", "53", "57", "58", "40") or state in ("55P03", "25P03")
    names = {c.__name__ for c in type(error).__mro__}
    return "InterfaceError" in names or ("OperationalError" in names and "sqlite3" not in type(error).__module__)
