"""Parquet as batches of Arrow, without a database in between: the shortest way from a file to a count."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError
from airflow_mlops.engines.duck import MOST_THREADS, Column, need
from airflow_mlops.engines.headers import unambiguous
from airflow_mlops.engines.locate import Files
from airflow_mlops.engines.streams import BATCH, BATCH_BYTES, batch_rows, shared

_BUFFER = 1 << 23
"""Bytes that are read ahead of all columns together."""

ALONE = 1 << 18
"""Rows of a batch of one column of numbers."""

_EIGHT = ("int", "float", "datetime", "date", "bool")
"""Types whose values take eight bytes at most."""

_DICTIONARY, _CODE = 1 << 20, 3
"""Bytes of a dictionary of few texts: where writers stop adding to it; and those of a row's place in it."""

_AHEAD = 1 << 28
"""Bytes of a row group up to which it is fetched from a store at once."""

_PREFIXED = BATCH_BYTES >> 12
"""Bytes that a text takes for sure where only what differs from the one before is stored."""


@dataclasses.dataclass(frozen=True)
class _File:
    path: str
    metadata: Any
    places: dict[str, int]  # of each column, among those of this file


_Part = tuple[_File, int, int, list[str]]
"""A file, one of its row groups, the place of its first row among all rows, and columns of it."""


@dataclasses.dataclass
class ParquetRows:
    """The rows of Parquet files of one schema, unfiltered.

    :param label: the dataset, for messages.
    :param columns: in order.
    :param files: with their footers.
    :param filesystem: fsspec's; ``None``: local files.
    :param threads: 0: as many as this process may use, at most four.
    """

    label: str
    columns: tuple[Column, ...]
    files: tuple[_File, ...]
    filesystem: Any
    threads: int

    def __post_init__(self) -> None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = self.threads or min(usable, MOST_THREADS)
        self._open: list[dict[str, Any]] = [{} for _ in range(self.threads)]
        self._types = {c.name: c.type for c in self.columns}
        self._bytes: dict[tuple[str, str], int] = {}  # of a text

    @property
    def count(self) -> int:
        """See :class:`~airflow_mlops.engines.streams.Rows`."""
        return sum(f.metadata.num_rows for f in self.files)

    def extremes(self, columns: Sequence[Column]) -> dict[str, tuple[float, float]]:
        """See :class:`~airflow_mlops.engines.streams.Rows`: of the files' statistics, where every file has them."""
        found: dict[str, tuple[float, float]] = {}
        for column in columns:
            low, high = math.inf, -math.inf
            for file in self.files:
                place = file.places[column.name]
                for group in range(file.metadata.num_row_groups):
                    told = file.metadata.row_group(group).column(place).statistics
                    if told is not None and told.has_min_max:
                        low, high = min(low, float(told.min)), max(high, float(told.max))
                    elif told is None or told.num_values:
                        low = math.nan
                        break
            if math.isfinite(low) and math.isfinite(high):
                found[column.name] = (low, high)
        return found

    def feeds(self, columns: Sequence[Column], *, apart: bool = False) -> list[Iterator[Any]]:
        """See :class:`~airflow_mlops.engines.streams.Rows`; row groups, or their batches, go to whoever is free."""
        return [(batch for _, batch in feed) for feed in self.placed(columns, apart=apart)]

    def placed(self, columns: Sequence[Column], *, apart: bool = False) -> list[Iterator[tuple[int, Any]]]:
        """The same, each batch behind the place of its first row among all rows.

        A column at a time is read in half the time, of a disk: what is decoded is still in the processor's cache when
        it is counted. Of a store that would be as many requests.
        """
        names, groups, first = [c.name for c in columns], [], 0
        for file in self.files:
            for group in range(file.metadata.num_row_groups):
                groups.append((file, group, first))
                first += file.metadata.row_group(group).num_rows
        alone = apart and self.filesystem is None and self.count > BATCH
        parts = [[name] for name in names] if alone else [names]
        todo = collections.deque((*group, part) for group in groups for part in parts)
        if self.count <= BATCH:
            return [self._feed(todo, self._open[0], arrow_threads=True)]
        if len(todo) < self.threads:
            return shared(self._feed(todo, self._open[0], arrow_threads=True), self.threads)
        return [self._feed(todo, opened, arrow_threads=False) for opened in self._open]

    def _feed(
        self, todo: collections.deque[_Part], opened: dict[str, Any], *, arrow_threads: bool
    ) -> Iterator[tuple[int, Any]]:
        dictionaries: dict[str, Any] = {}
        while True:
            try:
                file, group, place, names = todo.popleft()
            except IndexError:
                return
            with self._told(file.path):
                batches = self._reader(file, opened).iter_batches(
                    self._batch(file, names), row_groups=[group], columns=names, use_threads=arrow_threads
                )
            while True:
                with self._told(file.path):
                    batch = next(batches, None)
                if batch is None:
                    break
                self._readable(file, batch, dictionaries)
                yield place, batch.select(names)
                place += len(batch)

    def _readable(self, file: _File, batch: Any, dictionaries: dict[str, Any]) -> None:
        """Texts are UTF-8: others would match no pattern, and so pass where none may match.

        :param dictionaries: the last one that was looked at, of each column.
        :raises DataError: naming the file and the column.
        """
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            texts = array.dictionary if pa.types.is_dictionary(array.type) else array
            if texts.type not in (pa.string(), pa.large_string()):
                continue
            if texts is not array:  # the same one mostly comes with each batch
                before, dictionaries[name] = dictionaries.get(name), texts
                if before is not None and before.equals(texts):
                    continue
            try:
                texts.validate(full=True)
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"{self.label}: {file.path}: column {name!r} has a text that is not UTF-8 ({error}). Write it as "
                    "UTF-8, or as binary"
                ) from error

    def _batch(self, file: _File, names: Sequence[str]) -> int:
        """Rows of a batch of these columns: of numbers alone more, because threads wait for each other at each; of long
        texts fewer.
        """
        if len(names) == 1 and self._types[names[0]] in _EIGHT:
            return ALONE
        texts = 0
        for name in names:
            if self._types[name] == "string":
                if (file.path, name) not in self._bytes:  # asked at each row group
                    self._bytes[file.path, name] = _text_bytes(file, name)
                texts += self._bytes[file.path, name]
        return max(min(batch_rows(len(names)), BATCH_BYTES // max(texts, 1)), 1)

    def _reader(self, file: _File, opened: dict[str, Any]) -> Any:
        if file.path not in opened:
            opened.clear()  # one file at a time
            texts = [c.name for c in self.columns if c.type == "string" and _few(file, c.name)]
            buffer = min(max(_BUFFER // max(len(self.columns), 1), 1 << 14), 1 << 20)
            options: dict[str, Any] = {"metadata": file.metadata, "read_dictionary": texts}
            if self.filesystem is None:
                opened[file.path] = pq.ParquetFile(file.path, buffer_size=buffer, pre_buffer=False, **options)
            else:
                handle, ahead = self.filesystem.open(file.path, "rb"), self._widest(file) <= _AHEAD
                options |= {"pre_buffer": ahead, "buffer_size": 0 if ahead else 4 * buffer}
                opened[file.path] = pq.ParquetFile(handle, **options)
        return opened[file.path]

    def _widest(self, file: _File) -> int:
        """Bytes of the largest row group, of these columns."""
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        return max(
            (sum(g.column(file.places[c.name]).total_compressed_size for c in self.columns) for g in groups), default=0
        )

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{self.label}: {path} could not be read ({str(error)[:300]}). Is the file damaged, truncated, or "
                "still being written? Write it again, or take it out of the dataset"
            ) from error


def _chunks(file: _File, name: str) -> Iterator[Any]:
    """What the footer says of a column, a row group at a time."""
    return (file.metadata.row_group(i).column(file.places[name]) for i in range(file.metadata.num_row_groups))


def _few(file: _File, name: str) -> bool:
    """Whether the texts of a column are few: besides codes there is only a dictionary. Arrow would remember all of
    many, also those that a writer stored behind a full dictionary.
    """
    return all(c.has_dictionary_page for c in _chunks(file, name)) and _small(file, name)


def _small(file: _File, name: str) -> bool:
    return all(c.total_uncompressed_size <= _DICTIONARY + _CODE * c.num_values for c in _chunks(file, name))


def _text_bytes(file: _File, name: str) -> int:
    """Bytes that a text of a column takes, about, in the row group that has the longest; of few texts, their code."""
    if _few(file, name):
        return _CODE
    each = (
        max(c.total_uncompressed_size // max(c.num_values, 1), _PREFIXED if "DELTA_BYTE_ARRAY" in c.encodings else 0)
        for c in _chunks(file, name)
    )
    return max(each, default=0)


def rows(ref: DatasetRef, files: Files, threads: int) -> ParquetRows | None:
    """The rows of a reference, or ``None`` where it takes a database to read them: filters, partition folders, types
    that are not the same in all files, or that have no count of their own here.

    Nothing is judged here: what is ``None`` is read, or refused, in the other way.
    """
    if ref.filters or files.keys:
        return None
    found: list[_File] = []
    first: dict[str, str] = {}
    for path in files.paths:
        try:
            with contextlib.ExitStack() as stack:
                opened = path if files.filesystem is None else stack.enter_context(files.filesystem.open(path, "rb"))
                metadata = pq.read_metadata(opened)
        except (OSError, ValueError):
            return None
        schema = metadata.schema.to_arrow_schema()
        types = {f.name: _duck_type(f.type) for f in schema}
        if len(types) < len(schema) or (first and types != first) or metadata.num_columns != len(schema):
            return None
        if not all(types.values()):
            return None
        first = first or types
        found.append(_File(path, metadata, {name: i for i, name in enumerate(schema.names)}))
        if not all(_plain(found[-1], field) for field in schema):
            return None
        unambiguous(path, list(types))
    wanted = list(ref.columns) or list(first)
    need(ref.label, first, wanted)
    if len(set(wanted)) != len(wanted):
        return None
    return ParquetRows(ref.label, tuple(Column(n, first[n]) for n in wanted), tuple(found), files.filesystem, threads)


def _plain(file: _File, field: pa.Field) -> bool:
    """Whether texts are no more than texts, and no dictionary of many that Arrow would remember all of."""
    if pa.types.is_dictionary(field.type) and not _small(file, field.name):
        return False
    place = file.places[field.name]
    return _duck_type(field.type) != "VARCHAR" or file.metadata.schema.column(place).logical_type.type != "JSON"


def _duck_type(type_: pa.DataType) -> str:
    """What DuckDB calls a column of Parquet; empty: it is left to DuckDB."""
    if pa.types.is_timestamp(type_):
        if type_.tz:
            return "TIMESTAMP WITH TIME ZONE" if type_.unit in ("ms", "us") else ""
        return "TIMESTAMP_NS" if type_.unit == "ns" else "TIMESTAMP"
    if pa.types.is_dictionary(type_):
        return _duck_type(type_.value_type) if pa.types.is_string(type_.value_type) else ""
    return _TYPES.get(str(type_), "")


_TYPES = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "date32[day]": "DATE",
}
