"""From a URI to files: one file, a glob, a folder; local, or what Airflow's ``ObjectStoragePath`` reaches."""

from __future__ import annotations

import dataclasses
import glob as globbing
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, UnknownName, UsageError

ENDINGS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".tsv"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz"),
}
"""What is taken from a folder, by format."""


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a dataset.

    :param paths: sorted by name, so that the same files are read in the same order.
    :param keys: names of the Hive partition columns (``month=2013-01/``) below the folder or in the glob.
    :param filesystem: fsspec's file system of an object store; ``None``: local files.
    :param version: of the files, where their place has versions: the commit of a DVC repository.
    """

    paths: tuple[str, ...]
    keys: tuple[str, ...] = ()
    filesystem: Any = None
    version: str = ""


def locate(ref: DatasetRef) -> Files:
    """The files of a reference, hidden ones (``.part``, ``_SUCCESS``) left out.

    :raises DatasetNotFound: when there is none; the message says what was looked for.
    """
    parts = urlsplit(ref.uri)
    if parts.scheme in ("", "file") or (len(parts.scheme) == 1 and ref.uri[1:2] == ":"):
        local = unquote(parts.path) if parts.scheme == "file" else ref.uri
        return _local(ref, local)
    if parts.scheme == "dvc":
        return _versioned(ref)
    return _remote(ref, parts.scheme)


def is_pattern(path: str) -> bool:
    """Whether a path is a glob."""
    return any(c in path for c in "*?[")


def visible(path: str, root: str) -> bool:
    """Whether no part of the path below the root is hidden, as Spark and Hive have it: led by a dot or underscore."""
    below = path[len(root) :] if path.startswith(root) else path
    return not any(p.startswith((".", "_")) and "=" not in p for p in PurePosixPath(below).parts)


def _local(ref: DatasetRef, path: str) -> Files:
    if "\0" in path:
        raise DatasetNotFound(f"{ref.label}: a path can't contain a null character")
    if Path(path).is_file():
        return Files((path,))
    if Path(path).is_dir():
        found = [str(p) for p in Path(path).rglob("*") if p.is_file() and p.name.lower().endswith(_endings(ref))]
        return _files(ref, path, found)
    if is_pattern(path):
        found = [p for p in globbing.glob(path, recursive=True) if Path(p).is_file()]  # noqa: PTH207 (absolute globs)
        return _files(ref, _fixed(path), found)
    raise DatasetNotFound(
        f"{ref.label} does not exist: no file or folder {path!r}. Was it written, and under this name?"
    )


def _versioned(ref: DatasetRef) -> Files:
    """What ``dvc://path/in/repository`` is at the reference's version, on this host."""
    from airflow.sdk import BaseHook

    hook: Any = BaseHook.get_hook(ref.conn_id or "dvc_default")
    if not hasattr(hook, "fetch"):
        raise UsageError(f"{ref.label}: connection {ref.conn_id!r} is not of the type dvc")
    found = hook.fetch(ref.uri.partition("://")[2], ref.version)
    return dataclasses.replace(_local(ref, str(found.path)), version=found.revision)


def _remote(ref: DatasetRef, scheme: str) -> Files:
    from airflow.sdk import ObjectStoragePath

    try:
        root = ObjectStoragePath(ref.uri, conn_id=ref.conn_id or None)
        system = root.fs
        path = root.path
        if system.isfile(path):
            found, base = [path], path
        elif is_pattern(path):
            found, base = [p for p in system.glob(path) if system.isfile(p)], _fixed(path)
        else:
            found, base = [p for p in system.find(path) if p.lower().endswith(_endings(ref))], path
    except (OSError, ValueError, ImportError) as error:
        raise DataError(
            f"{ref.label} can't be reached through connection {ref.conn_id or '(none)'!r}: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    files = _files(ref, base, found) if found != [base] else Files((base,))
    plain = tuple(p if "://" in p else f"{scheme}://{p.lstrip('/')}" for p in files.paths)
    return Files(plain, files.keys, system)


def _endings(ref: DatasetRef) -> tuple[str, ...]:
    try:
        return ENDINGS[ref.file_format]
    except KeyError:
        raise UnknownName("dataset format", ref.file_format, ENDINGS) from None


def _fixed(pattern: str) -> str:
    """The part of a glob before its first wildcard segment."""
    parts = PurePosixPath(pattern).parts
    upto = next(i for i, p in enumerate(parts) if is_pattern(p))
    return str(PurePosixPath(*parts[:upto])) if upto else ""


def _files(ref: DatasetRef, root: str, found: list[str]) -> Files:
    paths = tuple(sorted(p for p in found if visible(p, root)))
    if not paths:
        raise DatasetNotFound(
            f"{ref.label} matches no {ref.file_format} file. Looked in {root or 'the working folder'!r}; "
            "hidden files (led by '.' or '_') do not count. Has the data landed?"
        )
    keys = [
        tuple(p.partition("=")[0] for p in PurePosixPath(path[len(root) :]).parts[:-1] if "=" in p) for path in paths
    ]
    if len(set(keys)) > 1:
        raise DataError(f"{ref.label}: partition folders differ, {keys[0]} and {next(k for k in keys if k != keys[0])}")
    return Files(paths, keys[0])
