"""Counting with DuckDB: a :class:`Source` is an open relation, :class:`DuckEngine` what all of ours share.

No value is ever pasted into SQL: values are bound as parameters, identifiers are quoted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.profile import Profile

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.core.expectations import Expectation, Outcome

MEMORY = "1GB"
"""What one engine may hold; beyond it DuckDB spills to a temporary folder."""

MOST_THREADS = 4
"""A worker runs more than one task; a scan gains little beyond four threads."""


def quoted(name: str) -> str:
    """An identifier, quoted for SQL.

    >>> print(quoted('x"; drop table y; --'))
    "x""; drop table y; --"
    """
    if "\x00" in name:
        raise UsageError(f"a column name can't contain a null character: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def type_of(duck_type: str) -> str:
    """DuckDB's type as one of :data:`~airflow_mlops.core.columns.TYPES`.

    >>> [type_of(t) for t in ("BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP WITH TIME ZONE", "DECIMAL(9,2)", "INTEGER[]")]
    ['int', 'float', 'string', 'datetime', 'decimal', 'other']
    """
    upper = duck_type.upper()
    if upper.endswith("]"):
        return "other"
    if upper in ("FLOAT", "DOUBLE"):
        return "float"
    if upper == "BOOLEAN":
        return "bool"
    if upper == "DATE":
        return "date"
    if re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", upper):
        return "int"
    for start, name in (
        ("TIMESTAMP", "datetime"),
        ("DECIMAL", "decimal"),
        ("VARCHAR", "string"),
        ("ENUM", "string"),
        ("UUID", "string"),
    ):
        if upper.startswith(start):
            return name
    return "other"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of an open source.

    :param name: as the dataset calls it.
    :param duck_type: DuckDB's type.
    """

    name: str
    duck_type: str

    @property
    def type(self) -> str:
        """One of :data:`~airflow_mlops.core.columns.TYPES`."""
        return type_of(self.duck_type)

    @property
    def sql(self) -> str:
        """The quoted identifier."""
        return quoted(self.name)

    @property
    def number(self) -> str:
        """The value as a double, dates as epoch seconds UTC."""
        if self.type in ("datetime", "date"):
            return f"(epoch_us({self.sql}::TIMESTAMPTZ) / 1e6)" if self.zoned else f"(epoch_us({self.instant}) / 1e6)"
        return f"CAST({self.sql} AS DOUBLE)"

    @property
    def zoned(self) -> bool:
        """Whether the timestamps carry a zone."""
        return "TIME ZONE" in self.duck_type.upper() or self.duck_type.upper() == "TIMESTAMPTZ"

    @property
    def instant(self) -> str:
        """A date or a timestamp without a zone, in microseconds."""
        return f"CAST({self.sql} AS TIMESTAMP)"


_UNSAFE = "statistics_propagation"


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows that are open for counting.

    :param con: DuckDB's connection.
    :param relation: SQL of the rows, to stand behind FROM.
    :param parameters: what ``relation`` has bound.
    :param columns: the columns, in order.
    :param label: the dataset, for messages.
    :param version: of the rows, where their place has versions.
    :param ordered: the same rows in an order of their own, where ``relation`` has none; to read them.
    """

    con: Any
    relation: str
    parameters: Mapping[str, Any]
    columns: tuple[Column, ...]
    label: str
    version: str = ""
    ordered: str = ""

    def execute(self, select: str, tail: str = "", **parameters: Any) -> Any:
        """``SELECT <select> FROM <rows> <tail>``, as DuckDB's result."""
        with explained(self.label):
            return self.con.execute(
                f"SELECT {select} FROM {self.relation} AS data {tail}", {**self.parameters, **parameters}
            )

    def fetch(self, select: str, tail: str = "", **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of such a query, as tuples."""
        with explained(self.label):
            return self.execute(select, tail, **parameters).fetchall()

    def run(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a whole query that has :attr:`relation` in it."""
        with explained(self.label):
            return self.con.execute(sql, {**self.parameters, **parameters}).fetchall()

    def keep_sides(self) -> None:
        """From now on a join goes through its left side in its order, however many rows the right one has."""
        self.con.execute(f"SET disabled_optimizers = '{_UNSAFE},build_side_probe_side'")

    def reader(self, select: str, rows: int) -> Any:
        """The rows of such a query as an Arrow reader, ``rows`` at a time, in their order."""
        with explained(self.label):
            relation = self.con.sql(
                f"SELECT {select} FROM {self.ordered or self.relation} AS data", params=dict(self.parameters) or None
            )
            return relation.to_arrow_reader(rows)

    def reads_pattern(self, pattern: str) -> bool:
        """Whether the regular expressions here (RE2) know everything in the pattern."""
        import duckdb

        try:
            self.matches_nothing(pattern)
        except duckdb.Error:
            return False
        return True

    def matches_nothing(self, pattern: str) -> bool:
        """Whether the empty text has a match of the pattern."""
        ((found,),) = self.con.execute("SELECT regexp_matches('', $pattern)", {"pattern": pattern}).fetchall()
        return bool(found)

    def column(self, name: str) -> Column | None:
        """The column of that name, exactly."""
        return next((c for c in self.columns if c.name == name), None)


@contextlib.contextmanager
def explained(label: str) -> Iterator[None]:
    """DuckDB's errors as :class:`DataError` that name the dataset."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = " ".join(lines[:4])[:500]
        if isinstance(error, duckdb.OutOfMemoryException):
            raise DataError(
                f"{label} could not be counted in the memory and temporary folder there are: {text}. Name fewer "
                "columns, or give it more memory or fewer threads"
            ) from error
        raise DataError(
            f"{label} could not be read: {text}. Is a file truncated, still being written, or of another format?"
        ) from error


@contextlib.contextmanager
def connection(memory: str = MEMORY, threads: int = 0) -> Iterator[Any]:
    """A DuckDB of one's own, with bounded memory, UTC, and a temporary folder that is gone afterwards.

    :param memory: for example ``"1GB"``.
    :param threads: 0: as many as this process may use, at most :data:`MOST_THREADS`.
    """
    import duckdb

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="airflow-mlops-") as folder:
        con = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": threads or min(usable, MOST_THREADS),
                "temp_directory": folder,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            con.execute("SET TimeZone = 'UTC'")
            con.execute("SET enable_progress_bar = false")
            con.execute("SET preserve_insertion_order = true")
            # A file's statistics leave NaN out: DuckDB would take them as proof that a column has none.
            con.execute(f"SET disabled_optimizers = '{_UNSAFE}'")
            yield con
        finally:
            con.close()


def narrowed(con: Any, raw: str, ref: DatasetRef) -> Source:
    """The columns and the filters of ``ref`` on the relation ``raw``.

    :raises SchemaMismatch: for a column that is not there; the message names the nearest.
    """
    with explained(ref.label):
        described = con.execute(f"DESCRIBE SELECT * FROM {raw}").fetchall()
    have = {row[0]: Column(row[0], row[1]) for row in described}
    wanted = list(ref.columns) or list(have)
    need(ref.label, have, [*wanted, *(f[0] for f in ref.filters)])
    if len(set(wanted)) != len(wanted):
        raise UsageError(f"{ref.label}: columns are named twice in {wanted}")
    parameters: dict[str, Any] = {}
    conditions = [condition(have[f[0]], f[1], f[2], parameters) for f in ref.filters]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    select = ", ".join(quoted(c) for c in wanted)
    return Source(con, f"(SELECT {select} FROM {raw}{where})", parameters, tuple(have[c] for c in wanted), ref.label)


def need(label: str, have: Mapping[str, Any] | Sequence[str], wanted: Sequence[str]) -> None:
    """Every wanted column is there.

    :raises SchemaMismatch: naming the missing ones, the nearest name, and what there is.
    """
    missing = [c for c in dict.fromkeys(wanted) if c not in have]
    if missing:
        first = str(UnknownName("column", missing[0], have)).partition("Known:")[0].rstrip(": ")
        also = f" (and {', '.join(map(repr, missing[1:]))})" if len(missing) > 1 else ""
        raise SchemaMismatch(f"{label}: {first}{also}. It has: {', '.join(list(have)[:50])}", missing=missing)


def condition(column: Column, operator: str, value: Any, parameters: dict[str, Any]) -> str:
    """One filter as SQL, its values added to ``parameters``. A null, and a NaN, pass no comparison."""
    if operator in ("is null", "is not null"):
        return f"{column.sql} {operator.upper()}"
    values = list(value) if operator in ("in", "not in") else [value]
    slots = []
    for one in values:
        key = f"filter_{len(parameters)}"
        cast, parameters[key] = _bound(column, one)
        slots.append(f"CAST(${key} AS {cast})")
    left = f"CAST({column.sql} AS VARCHAR)" if column.type == "string" else column.sql
    right = f"({', '.join(slots)})" if operator in ("in", "not in") else slots[0]
    real = f" AND NOT isnan({column.sql})" if column.type == "float" else ""
    return f"({left} {operator.upper()} {right}{real})"


def _bound(column: Column, value: Any) -> tuple[str, Any]:
    """The SQL type a filter value is compared as, and the value."""
    kind = column.type
    if kind == "bool" and isinstance(value, bool):
        return "BOOLEAN", value
    if kind in ("int", "float", "decimal") and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int):
            return ("HUGEINT", value) if kind != "float" else ("DOUBLE", value)
        return "DOUBLE", value
    if kind == "string" and isinstance(value, str):
        return "VARCHAR", value
    if kind in ("date", "datetime") and isinstance(value, str):
        zone = re.search(r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$", value)
        return ("TIMESTAMPTZ" if zone or column.zoned else "TIMESTAMP"), value
    raise UsageError(
        f"filter on column {column.name!r}: it is {kind}, which does not compare with {value!r} "
        f"({type(value).__name__}); give the value as {kind}"
    )


class DuckEngine:
    """What files and frames have in common; a leaf says how its source is opened.

    :param memory: what DuckDB may hold before it spills.
    :param threads: 0: as many as the process may use, at most four.
    """

    def __init__(self, *, memory: str = MEMORY, threads: int = 0) -> None:
        self.memory = memory
        self.threads = threads

    def open(self, ref: DatasetRef) -> contextlib.AbstractContextManager[Source]:
        """The rows of ``ref``, open for counting."""
        raise TypeError(f"{type(self).__name__} does not say how it opens a source")

    def resolve(self, ref: DatasetRef) -> DatasetRef:
        """See :meth:`airflow_mlops.engines.Engine.resolve`."""
        from airflow_mlops.engines import digests

        with self.open(ref) as source:
            found, rows = digests.content(source)
            schema = {c.name: c.type for c in source.columns}
            return ref.resolve(digest=found, rows=rows, schema=schema, version=source.version)

    def profile(self, ref: DatasetRef, *, reference: Profile | None = None, columns: Sequence[str] = ()) -> Profile:
        """See :meth:`airflow_mlops.engines.Engine.profile`."""
        from airflow_mlops.engines import profiling

        with self.open(ref) as source:
            return profiling.profile(source, reference=reference, columns=columns, digest=ref.digest)

    def judge(self, ref: DatasetRef, expectations: Sequence[Expectation]) -> list[Outcome]:
        """See :meth:`airflow_mlops.engines.Engine.judge`."""
        from airflow_mlops.engines import judging

        with self.open(ref) as source:
            return judging.judge(source, expectations)

    def read(self, ref: DatasetRef) -> pd.DataFrame:
        """See :meth:`airflow_mlops.engines.Engine.read`."""
        from airflow_mlops.engines import reading

        with self.open(ref) as source:
            return reading.frame(source)

    def batches(self, ref: DatasetRef, rows: int) -> Iterator[pd.DataFrame]:
        """See :meth:`airflow_mlops.engines.Engine.batches`."""
        from airflow_mlops.engines import reading

        if rows < 1:
            raise UsageError(f"a batch has at least one row, got rows={rows}")
        with self.open(ref) as source:
            yield from reading.frames(source, rows)
