"""Rows as batches of Arrow, for counting: read as often as a count needs them, by as many threads as there are.

Whatever the rows are in, it is the same code that counts them (:mod:`airflow_mlops.engines.tallies`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from airflow_mlops.engines.duck import Column, Source, explained

BATCH = 65_536
"""Rows of a batch, of few columns; what one of its columns takes fits a processor's cache."""

BATCH_BYTES = 1 << 25
"""Bytes of a batch, about; of many columns it has fewer rows."""

HELD = 1 << 28
"""Bytes of a dataset, about, up to which it is read once and held, where a count needs it twice."""

_FIRST = 1000
"""Rows that tell how long texts are, of those that DuckDB reads."""

T = TypeVar("T")


class Rows(Protocol):
    """Rows that can be read again."""

    @property
    def label(self) -> str:
        """The dataset, for messages."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, in order."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    def extremes(self, columns: Sequence[Column]) -> dict[str, tuple[float, float]]:
        """What somebody says the least and the greatest finite number of a column are, where anybody does.

        It is not to be believed, but looked at again when the rows have been read.
        """

    def feeds(self, columns: Sequence[Column], *, apart: bool = False) -> list[Iterator[Any]]:
        """The rows once: record batches of these columns, each from one of the iterators; one iterator a thread.

        :param apart: that a batch may be of some of the columns alone: each value comes once, beside whatever others.
        """


def each(
    rows: Rows,
    columns: Sequence[Column],
    made: Callable[[], T],
    add: Callable[[T, Any], None],
    *,
    apart: bool = False,
) -> list[T]:
    """Count all batches, each thread into what ``made`` gives it.

    :param apart: see :meth:`Rows.feeds`.
    """

    return counted(rows.feeds(columns, apart=apart), made, add)


def counted(feeds: Sequence[Iterator[Any]], made: Callable[[], T], add: Callable[[T, Any], None]) -> list[T]:
    """Count what each feed gives, a thread each."""

    def work(feed: Iterator[Any]) -> T:
        found = made()
        for item in feed:
            add(found, item)
        return found

    if len(feeds) == 1:
        return [work(feeds[0])]
    with ThreadPoolExecutor(len(feeds)) as pool:
        return list(pool.map(work, feeds))


def batch_rows(columns: int) -> int:
    """Rows of a batch of so many columns."""
    return max(min(BATCH, BATCH_BYTES // (8 * max(columns, 1))), 1024)


@dataclasses.dataclass(frozen=True)
class Held:
    """Rows that were read and are held, some of the columns of others."""

    of: Rows
    batches: tuple[Any, ...]
    threads: int

    @property
    def label(self) -> str:
        """See :class:`Rows`."""
        return self.of.label

    @property
    def columns(self) -> tuple[Column, ...]:
        """See :class:`Rows`."""
        return self.of.columns

    @property
    def count(self) -> int:
        """See :class:`Rows`."""
        return self.of.count

    def extremes(self, columns: Sequence[Column]) -> dict[str, tuple[float, float]]:
        """See :class:`Rows`."""
        return self.of.extremes(columns)

    def has(self, columns: Sequence[Column]) -> bool:
        """Whether these are held."""
        return not self.batches or {c.name for c in columns} <= set(self.batches[0].schema.names)

    def feeds(self, columns: Sequence[Column], *, apart: bool = False) -> list[Iterator[Any]]:
        """See :class:`Rows`."""
        return [iter(self.batches[i :: self.threads]) for i in range(min(self.threads, len(self.batches)) or 1)]


def held(rows: Rows, columns: Sequence[Column]) -> Rows:
    """The rows of some columns, in memory if they are few."""
    wanted = list(dict.fromkeys(columns))
    texts = sum(c.type in ("string", "other") for c in wanted)
    if rows.count * 8 * (len(wanted) + texts) > HELD:
        return rows
    bytes_ = 0

    def add(found: list[Any], batch: Any) -> None:
        nonlocal bytes_
        bytes_ += batch.nbytes
        if bytes_ <= HELD:
            found.append(batch)
        else:  # long texts: they are read again
            found.clear()

    parts: list[list[Any]] = each(rows, wanted, list, add)
    if bytes_ > HELD:
        return rows
    return Held(rows, tuple(itertools.chain.from_iterable(parts)), len(parts))


@dataclasses.dataclass(frozen=True)
class DuckRows:
    """The rows of a source that DuckDB reads: whatever it is, filtered or not, and however it is typed.

    :param source: open.
    :param count: its rows.
    :param threads: that count what DuckDB reads.
    """

    source: Source
    count: int
    threads: int

    @classmethod
    def of(cls, source: Source) -> DuckRows:
        """The rows of an open source."""
        ((threads,),) = source.con.execute("SELECT current_setting('threads')").fetchall()
        return cls(source, int(source.fetch("count(*)")[0][0]), min(int(threads), 4))

    @property
    def label(self) -> str:
        """See :class:`Rows`."""
        return self.source.label

    @property
    def columns(self) -> tuple[Column, ...]:
        """See :class:`Rows`."""
        return self.source.columns

    def extremes(self, columns: Sequence[Column]) -> dict[str, tuple[float, float]]:
        """See :class:`Rows`; one query."""
        from airflow_mlops.engines.profiling import _finite

        if not columns or not self.count:
            return {}
        parts = [f"{end}(CAST({_finite(c)} AS DOUBLE))" for c in columns for end in ("min", "max")]
        (row,) = self.source.fetch(", ".join(parts))
        pairs = zip(columns, zip(row[::2], row[1::2], strict=True), strict=True)
        return {c.name: (float(low), float(high)) for c, (low, high) in pairs if low is not None}

    def feeds(self, columns: Sequence[Column], *, apart: bool = False) -> list[Iterator[Any]]:
        """See :class:`Rows`; one query, whose batches go to whoever is free."""
        select = ", ".join(map(_selected, columns))
        rows = few_enough(self.source, columns, batch_rows(len(columns)))
        reader = dataclasses.replace(self.source, ordered="").reader(select, rows)
        batches = _explained(reader, self.label)
        return [batches] if self.count <= rows else shared(batches, self.threads)


def few_enough(source: Source, columns: Sequence[Column], rows: int) -> int:
    """So many rows, or fewer where their texts are long, by the first rows."""
    texts = [f"coalesce(strlen(CAST({c.sql} AS VARCHAR)), 0)" for c in columns if c.type in ("string", "other")]
    if not texts:
        return rows
    first = f"SELECT {' + '.join(texts)} AS bytes FROM {source.relation} AS data LIMIT {_FIRST}"
    ((found,),) = source.run(f"SELECT avg(bytes) FROM ({first}) AS first_ones")
    return max(min(rows, BATCH_BYTES // max(math.ceil(found or 0), 1)), 1)


def shared(batches: Iterator[T], threads: int) -> list[Iterator[T]]:
    """The batches of one iterator for many threads, each to whoever is free."""
    lock = threading.Lock()

    def feed() -> Iterator[T]:
        while True:
            with lock:
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    return [feed() for _ in range(threads)]


def _explained(reader: Any, label: str) -> Iterator[Any]:
    while True:
        with explained(label):
            batch = next(reader, None)
        if batch is None:
            return
        yield batch


def _selected(column: Column) -> str:
    """A column as it is counted: wide integers and exact numbers as floats, what has no type of ours as text."""
    plain = column.type == "int" and "HUGE" not in column.duck_type.upper()
    if plain or column.type in ("float", "bool", "datetime", "date"):
        return column.sql
    value = column.number if column.type in ("int", "decimal") else f"CAST({column.sql} AS VARCHAR)"
    return f"{value} AS {column.sql}"
