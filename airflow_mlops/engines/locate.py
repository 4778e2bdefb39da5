"""From a URI to files: one file, a glob, a folder; local, in S3, or what Airflow's ``ObjectStoragePath`` reaches."""

from __future__ import annotations

import dataclasses
import glob as globbing
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, UnknownName, UsageError
from airflow_mlops.engines.partitions import Key, keys_of, pruned

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
    :param keys: the Hive partition columns (``month=2013-01/``) below the folder or in the glob.
    :param filesystem: fsspec's file system of an object store; ``None``: local files.
    :param version: of the files, where their place has versions: the commit of a DVC repository, the id of an
        object's version, or of several objects together.
    """

    paths: tuple[str, ...]
    keys: tuple[Key, ...] = ()
    filesystem: Any = None
    version: str = ""


def locate(ref: DatasetRef, *, versions: bool = False) -> Files:
    """The files of a reference; hidden ones (``.part``, ``_SUCCESS``) and folders that filters rule out are left out.

    :param versions: whether the versions of objects are asked for, where their store keeps any.
    :raises DatasetNotFound: when there is none; the message says what was looked for.
    """
    parts = urlsplit(ref.uri)
    if parts.scheme in ("", "file") or (len(parts.scheme) == 1 and ref.uri[1:2] == ":"):
        local = unquote(parts.path) if parts.scheme == "file" else ref.uri
        return _local(ref, local)
    if parts.scheme == "dvc":
        return _versioned(ref)
    if parts.scheme in ("s3", "s3a", "s3n"):
        return _objects(ref, parts.scheme, versions)
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


def _objects(ref: DatasetRef, scheme: str, versions: bool) -> Files:
    """S3 and its relatives, whose objects are read as the versions that are found here."""
    from airflow_mlops.engines import s3

    path = (
        ref.uri.partition("://")[2].partition("@")[2] if "@" in urlsplit(ref.uri).netloc else ref.uri[len(scheme) + 3 :]
    )
    system = s3.S3Files(ref)
    found = None if is_pattern(path) else system.one(path)
    if found is not None:
        objects, files = [found], Files((found.path,))
    else:
        base = _fixed(path) if is_pattern(path) else path.rstrip("/")
        fits = _matcher(path) if is_pattern(path) else lambda p: p.lower().endswith(_endings(ref))
        objects = system.below(f"{base}/", lambda p: fits(p) and visible(p, base), versions=versions)
        files = _files(ref, base, [o.path for o in objects])
    paths = tuple(f"{scheme}://{p}" for p in files.paths)
    return Files(paths, files.keys, system, version=ref.version or (s3.version_of(objects) if versions else ""))


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path matches a glob; ``*`` stays within a folder, ``**`` does not."""
    from fsspec.utils import glob_translate

    found = re.compile(glob_translate(pattern))
    return lambda path: found.match(path) is not None


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
    keys = keys_of(ref.label, root, paths)
    return Files(pruned(ref, keys, paths), keys)
