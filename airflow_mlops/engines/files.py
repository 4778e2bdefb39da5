"""Parquet, CSV and JSON lines, read and counted by DuckDB."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, SchemaMismatch
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines.duck import DuckEngine, Source, connection, explained, narrowed, quoted, type_of
from airflow_mlops.engines.headers import alike, same_kinds, unambiguous
from airflow_mlops.engines.locate import Files, locate
from airflow_mlops.engines.partitions import folders

if TYPE_CHECKING:
    from airflow_mlops.core.expectations import Expectation, Outcome

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
        files = locate(ref, versions=not ref.version)
        with connection(self.memory, self.threads) as con, _told(files):
            if files.filesystem is not None:
                con.register_filesystem(files.filesystem)
            else:  # whole columns of a row group at once: twice the memory, and no faster from a disk
                con.execute("SET disable_parquet_prefetching = true")
            with explained(ref.label):
                con.execute("SET VARIABLE files = $files", {"files": list(files.paths)})
                _OPENERS[ref.file_format](con, ref, files)
            yield dataclasses.replace(narrowed(con, "raw", ref), version=files.version)

    def profile(self, ref: DatasetRef, *, reference: Profile | None = None, columns: Sequence[str] = ()) -> Profile:
        """See :meth:`airflow_mlops.engines.Engine.profile`; plain Parquet needs no database to be counted."""
        if ref.file_format == "parquet":
            from airflow_mlops.engines import parquet, profiling

            files = locate(ref)
            with _told(files):
                rows = parquet.rows(ref, files, self.threads)
                if rows is not None:
                    return profiling.profile(rows, reference=reference, columns=columns, digest=ref.digest)
        return super().profile(ref, reference=reference, columns=columns)

    def judge(self, ref: DatasetRef, expectations: Sequence[Expectation]) -> list[Outcome]:
        """See :meth:`airflow_mlops.engines.Engine.judge`; much of it is counted as plain Parquet goes by."""
        from airflow_mlops.engines import arrow_judging

        found: dict[int, Outcome] = {}
        if ref.file_format == "parquet" and arrow_judging.judges(expectations):
            from airflow_mlops.engines import parquet

            files = locate(ref)
            with _told(files):
                rows = parquet.rows(ref, files, self.threads)
                found = arrow_judging.judge(rows, expectations) if rows is not None else {}
        left = [i for i in range(len(expectations)) if i not in found]
        if left or not found:
            found |= dict(zip(left, super().judge(ref, [expectations[i] for i in left]), strict=True))
        return [found[i] for i in range(len(expectations))]


@contextlib.contextmanager
def _told(files: Files) -> Iterator[None]:
    """What went wrong in the store itself is what is told, and not what DuckDB or a check made of it."""
    try:
        yield
    except Exception as error:
        problem = getattr(files.filesystem, "problem", None)
        if problem is not None and problem is not error:
            raise problem from error
        raise
    problem = getattr(files.filesystem, "problem", None)
    if problem is not None:
        raise problem


def _parquet(con: Any, ref: DatasetRef, files: Files) -> None:
    headers = _parquet_headers(con, ref, files)
    for path, kinds in headers:
        unambiguous(path, [name for name, _ in kinds])
    alike(ref.label, [(path, [name for name, _ in kinds]) for path, kinds in headers])
    same_kinds(ref.label, [(path, dict(kinds)) for path, kinds in headers])
    names = [name for name, _ in headers[0][1]]
    columns = [*names, *(k.name for k in files.keys if k.name not in names)]
    select = ", ".join(quoted(c) for c in columns)
    con.execute(
        f"CREATE TEMP VIEW raw AS SELECT {select} "
        f"FROM read_parquet(getvariable('files'), union_by_name = true, {_hive(files)})"
    )


def _hive(files: Files) -> str:
    """How DuckDB reads the folders' names: as the types they have in all folders, read or not."""
    if not files.keys:
        return "hive_partitioning = false"
    types = ", ".join(f"{quoted(k.name)}: {k.duck_type}" for k in files.keys)
    return f"hive_partitioning = true, hive_types = {{{types}}}"


def _local_headers(con: Any, files: Files) -> list[tuple[str, list[tuple[str, str]]]]:
    """Columns and kinds of every file, in one query; without Arrow, whose import takes as long as a check."""
    told = con.execute(
        "SELECT file_name, name, num_children, duckdb_type FROM parquet_schema(getvariable('files')) "
        "ORDER BY file_name, column_id"
    ).fetchall()
    headers: dict[str, list[tuple[str, str]]] = {path: [] for path in files.paths}
    inside: dict[str, int] = {}  # how many of the next ones belong to the column before
    for path, name, children, type_ in told:
        if path not in inside:  # the root
            inside[path] = 0
        elif inside[path]:
            inside[path] += int(children or 0) - 1
        else:
            headers[path].append((name, _kind_of(str(type_))))
            inside[path] = int(children or 0)
    return list(headers.items())


def _kind_of(duck_type: str) -> str:
    """What values of a type of DuckDB compare with; any two of one kind have a type in common."""
    named = {"int": "number", "float": "number", "decimal": "number", "string": "text"}.get(type_of(duck_type))
    if duck_type.startswith("TIMESTAMP"):
        return "time with a zone" if "ZONE" in duck_type else "time without a zone"
    return "" if duck_type == '"NULL"' else named or duck_type.lower()


def _parquet_headers(con: Any, ref: DatasetRef, files: Files) -> list[tuple[str, list[tuple[str, str]]]]:
    if files.filesystem is None:
        import duckdb

        try:
            return _local_headers(con, files)
        except duckdb.Error:
            pass  # which file it is, and why, is said below
    headers = []
    for path in files.paths:
        try:
            if files.filesystem is None:
                headers.append((path, _parquet_kinds(path)))
            else:
                with files.filesystem.open(path, "rb") as handle:
                    headers.append((path, _parquet_kinds(handle)))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{ref.label}: {path} is not a whole Parquet file ({error}). "
                "Was it truncated, or is it still being written? Write it again, or take it out of the dataset"
            ) from error
    return headers


def _parquet_kinds(file: Any) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    return [(field.name, _kind(field.type)) for field in pq.read_schema(file)]


def _kind(type_: Any) -> str:
    """What values of an Arrow type compare with; any two of one kind have a type in common."""
    import pyarrow.types as of

    if of.is_dictionary(type_):
        return _kind(type_.value_type)
    if of.is_integer(type_) or of.is_floating(type_) or of.is_decimal(type_):
        return "number"
    if of.is_string(type_) or of.is_large_string(type_) or of.is_string_view(type_):
        return "text"
    if of.is_timestamp(type_):
        return "time with a zone" if type_.tz else "time without a zone"
    return "" if of.is_null(type_) else str(type_)


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
    reader = (
        "read_csv(getvariable('files'), header = true, skip = 0, delim = $delimiter, quote = '\"', escape = '\"', "
        "sample_size = -1, union_by_name = true, strict_mode = true, null_padding = false, "
        "ignore_errors = false, nullstr = '', "
    )
    given = {"delimiter": delimiters.pop()}
    try:
        _table(con, reader, files, **given)
        _all_zoned(con, ref, reader, files, given)
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
    reader = (
        "read_json(getvariable('files'), format = 'newline_delimited', records = true, sample_size = -1, "
        "union_by_name = true, ignore_errors = false, "
    )
    try:
        _table(con, reader, files)
    except Exception as error:
        raise _broken(ref, files, error) from error
    described = con.execute("DESCRIBE raw").fetchall()
    for name in [row[0] for row in described if row[1] == "JSON"]:
        kinds = con.execute(
            f"SELECT DISTINCT json_type({quoted(name)}) AS k FROM raw WHERE {quoted(name)} IS NOT NULL ORDER BY k"
        ).fetchall()
        found = [k for (k,) in kinds if k != "NULL"]
        if len(found) > 1:
            raise DataError(
                f"{ref.label}: column {name!r} mixes types ({', '.join(map(str, found))}); write one of them"
            )
    if any(re.search(r"_\d+$", row[0]) for row in described):  # what DuckDB calls a name that is there in another case
        names = "SELECT DISTINCT unnest(json_keys(json)) AS k FROM read_ndjson_objects(getvariable('files')) ORDER BY k"
        unambiguous(ref.label, [k for (k,) in con.execute(names).fetchall()])


def _table(con: Any, reader: str, files: Files, **parameters: Any) -> None:
    """Text is parsed once, into a table that spills to disk; what counts it then counts columns."""
    above = [k for k, _ in folders(files.paths[0]) if k not in {key.name for key in files.keys}]
    kept = f"* EXCLUDE ({', '.join(map(quoted, dict.fromkeys(above)))})" if above and files.keys else "*"
    con.execute(f"CREATE TEMP TABLE raw AS SELECT {kept} FROM {reader}{_hive(files)})", parameters)


def _all_zoned(con: Any, ref: DatasetRef, reader: str, files: Files, parameters: Any) -> None:
    """Either every time of a column says its zone or none does: nobody can tell when the others were.

    :raises DataError: naming the column and a time without a zone.
    """
    described = con.execute("DESCRIBE raw").fetchall()
    reader = reader.replace("sample_size = -1", "all_varchar = true")
    for name in [row[0] for row in described if row[1] == "TIMESTAMP WITH TIME ZONE"]:
        text = f"CAST({quoted(name)} AS VARCHAR)"
        bare = f"SELECT min({text}), count(*) FROM {reader}{_hive(files)}) WHERE NOT regexp_matches({text}, $zone)"
        ((example, rows),) = con.execute(bare, {**parameters, "zone": _ZONE}).fetchall()
        if rows:
            raise DataError(
                f"{ref.label}: column {name!r} mixes times with and without a zone: {rows} have none, {example!r} for "
                "one. Write the zone of every time, or of none"
            )


_ZONE = r"(?i)(Z|UTC|[+-]\d\d(:?\d\d)?)\s*$"


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
