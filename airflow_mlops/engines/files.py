"""Parquet, CSV and JSON lines, read and counted by DuckDB."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, SchemaMismatch
from airflow_mlops.engines.duck import DuckEngine, Source, connection, explained, narrowed, quoted
from airflow_mlops.engines.headers import alike, unambiguous
from airflow_mlops.engines.locate import Files, locate

DELIMITERS = (",", ";", "\t", "|")
"""What may separate the fields of a CSV file; the most frequent one in the header does."""


class FileEngine(DuckEngine):
    """Files by URI: one, a glob, or a folder, Hive partitions included.

    Files are read in the order of their names. They must have the same columns, in any order; a number that is
    whole in one file and not in another is a float in all. Parquet is read where it lies, column by column; CSV and
    JSON lines are parsed once into DuckDB's temporary storage, with types found over all rows and not over a sample.
    A CSV file has a header row, and a row with another number of fields is an error, never skipped.
    """

    @contextlib.contextmanager
    def open(self, ref: DatasetRef) -> Iterator[Source]:
        """The files as a relation."""
        files = locate(ref)
        with connection(self.memory, self.threads) as con:
            if files.filesystem is not None:
                con.register_filesystem(files.filesystem)
            with explained(ref.label):
                _OPENERS[ref.file_format](con, ref, files)
            yield dataclasses.replace(narrowed(con, "raw", ref), version=files.version)


def _parquet(con: Any, ref: DatasetRef, files: Files) -> None:
    headers = _parquet_headers(con, ref, files)
    for path, names in headers:
        unambiguous(path, names)
    alike(ref.label, headers)
    relation = con.read_parquet(list(files.paths), union_by_name=True, hive_partitioning=bool(files.keys))
    _view(relation, [*headers[0][1], *(k for k in files.keys if k not in headers[0][1])])


def _parquet_headers(con: Any, ref: DatasetRef, files: Files) -> list[tuple[str, list[str]]]:
    headers = []
    for path in files.paths:
        try:
            if files.filesystem is None:
                headers.append((path, _parquet_names(path)))
            else:
                with files.filesystem.open(path, "rb") as handle:
                    headers.append((path, _parquet_names(handle)))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{ref.label}: {path} is not a whole Parquet file ({error}). "
                "Was it truncated, or is it still being written? Write it again, or take it out of the dataset"
            ) from error
    return headers


def _parquet_names(file: Any) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(file).names)


def _csv(con: Any, ref: DatasetRef, files: Files) -> None:
    headers = []
    delimiters = set()
    for path in files.paths:
        delimiter, names = _csv_header(ref, files, path)
        delimiters.add(delimiter)
        unambiguous(path, names)
        headers.append((path, names))
    alike(ref.label, headers)
    if len(delimiters) > 1:
        raise DataError(f"{ref.label}: files are delimited by {sorted(delimiters)}; they must agree")
    try:
        _table(
            con,
            "read_csv($files, header = true, skip = 0, delim = $delimiter, quote = '\"', escape = '\"', "
            "sample_size = -1, union_by_name = true, strict_mode = true, null_padding = false, "
            "ignore_errors = false, nullstr = '', hive_partitioning = $hive)",
            files,
            delimiter=delimiters.pop(),
        )
    except Exception as error:
        raise _broken(ref, files, error) from error


def _csv_header(ref: DatasetRef, files: Files, path: str) -> tuple[str, list[str]]:
    try:
        with _text(files, path) as handle:
            first = handle.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{ref.label}: {path} can't be read as text ({error}); write it as UTF-8 CSV") from error
    if not first.strip():
        raise SchemaMismatch(f"{ref.label}: {path} has no header row; the first row must name the columns")
    counts = {d: len(next(csv.reader([first], delimiter=d))) for d in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: counts[d])
    return delimiter, next(csv.reader([first], delimiter=delimiter))


def _text(files: Files, path: str) -> IO[str]:
    if files.filesystem is not None:
        compression = "gzip" if path.endswith(".gz") else None
        return files.filesystem.open(path, "rt", encoding="utf-8-sig", compression=compression, newline="")
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return Path(path).open(encoding="utf-8-sig", newline="")


def _jsonl(con: Any, ref: DatasetRef, files: Files) -> None:
    try:
        _table(
            con,
            "read_json($files, format = 'newline_delimited', records = true, sample_size = -1, "
            "union_by_name = true, ignore_errors = false, hive_partitioning = $hive)",
            files,
        )
    except Exception as error:
        raise _broken(ref, files, error) from error


def _table(con: Any, reader: str, files: Files, **parameters: Any) -> None:
    """Text is parsed once, into a table that spills to disk; what counts it then counts columns."""
    con.execute(
        f"CREATE TEMP TABLE raw AS SELECT * FROM {reader}",
        {"files": list(files.paths), "hive": bool(files.keys), **parameters},
    )


def _view(relation: Any, columns: list[str]) -> None:
    """A view with the columns of the files and the partition keys below the root, and no others."""
    relation.project(", ".join(quoted(c) for c in columns)).create_view("raw")


def _broken(ref: DatasetRef, files: Files, error: Exception) -> Exception:
    if isinstance(error, DataError):
        return error
    text = " ".join(line.strip() for line in str(error).splitlines()[:6] if line.strip())[:500]
    where = files.paths[0] if len(files.paths) == 1 else f"one of {len(files.paths)} files"
    return DataError(
        f"{ref.label}: {where} has a row that does not fit: {text}. Correct the row where the file is written; "
        "rows are never skipped"
    )


_OPENERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
