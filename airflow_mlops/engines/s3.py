"""Objects of S3 and its relatives, through the Airflow AWS connection, each read as the version that was found.

A file system of fsspec over the client of Airflow's own ``S3Hook``: whatever that connection can (assumed roles,
profiles, an endpoint of one's own) works here, and no second S3 library has to agree with its botocore.

What is read is what was listed: an object is fetched by its version, or on the condition that its ETag still is the
one that was listed, so that a file that is replaced in the middle of a check is an error and never a mixture.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DataError, MlopsError, SourceUnavailable, UsageError
from airflow_mlops.core.results import digest

SCHEMES = ("s3", "s3a", "s3n")

BLOCK = 1 << 20
"""Bytes that are fetched at least."""

_COMBINATIONS = 10_000
_FORBIDDEN = ("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
_MISSING = ("404", "NoSuchKey", "NoSuchBucket", "NotFound", "NoSuchVersion")
_MOVED = ("412", "PreconditionFailed", *_MISSING)


@dataclasses.dataclass(frozen=True)
class Object:
    """An object as it was listed.

    :param path: ``bucket/key``.
    :param version: its version id; empty: its bucket keeps no versions.
    :param etag: fingerprint of its content, as the store computes it.
    """

    path: str
    size: int
    time: dt.datetime
    etag: str
    version: str = ""
    deleted: bool = False


def fingerprint(objects: Sequence[Object]) -> str:
    """Names and versions of some objects, as 16 hex digits."""
    return digest([[o.path, o.version] for o in sorted(objects, key=lambda o: o.path)])[:16]


def version_of(objects: Sequence[Object]) -> str:
    """The version of several objects together: the time of the newest and their fingerprint; empty without versions.

    >>> found = Object("lake/a", 1, dt.datetime(2013, 5, 1, tzinfo=dt.UTC), "e", "v1")
    >>> version_of([found])
    'v1'
    >>> version_of([found, dataclasses.replace(found, path="lake/b")])[:21]
    '2013-05-01T00:00:00Z#'
    """
    if not objects or not all(o.version for o in objects):
        return ""
    if len(objects) == 1:
        return objects[0].version
    newest = max(o.time for o in objects).astimezone(dt.UTC)
    return f"{newest.isoformat().replace('+00:00', 'Z')}#{fingerprint(objects)}"


def at_version(label: str, history: Mapping[str, Sequence[Object]], version: str) -> list[Object]:
    """The objects as they were when :func:`version_of` named them.

    :param history: of each path its versions, the newest first.
    :raises Conflict: when they are no longer to be had: versions were deleted since, or the history is another.
    """
    said, _, wanted = version.rpartition("#")
    try:
        moment = dt.datetime.fromisoformat(said)
    except ValueError:
        raise UsageError(
            f"{label}: version {version!r} is none of several objects; it is what resolving them recorded"
        ) from None
    options: list[list[Object | None]] = []
    for versions in history.values():
        # The store's clock ticks in seconds: what else was written in the same one may or may not have been seen.
        seen: list[Object | None] = [o for o in versions if o.time == moment]
        older = next((o for o in versions if o.time < moment), None)
        options.append([*seen, older])
    for choice in itertools.islice(itertools.product(*options), _COMBINATIONS):
        found = [o for o in choice if o is not None and not o.deleted]
        if fingerprint(found) == wanted:
            return found
    raise Conflict(
        f"{label}: the objects of version {version} can't be had again; versions that it had were deleted. "
        "Resolve the dataset again, and judge and train with what is there now"
    )


class S3Files(AbstractFileSystem):
    """Objects below one URI, as a file system that fsspec's users understand; read only.

    :param ref: the dataset; its connection says who asks, its version which objects.
    :param client: boto3's; by default the one of the connection.
    """

    protocol = SCHEMES
    cachable = False  # it is of one dataset, and remembers what was listed

    def __init__(self, ref: DatasetRef, client: Any = None) -> None:
        super().__init__()
        self.label = ref.label
        self.conn_id = ref.conn_id or "aws_default"
        self.version = ref.version
        self.client = client if client is not None else self._client()
        self.known: dict[str, Object] = {}
        self.problem: MlopsError | None = None
        self.fetched = 0

    def _client(self) -> Any:
        try:
            from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        except ImportError:
            raise UsageError(
                f"{self.label} is in S3, which is read through Airflow's Amazon provider; "
                "install apache-airflow-providers-amazon (the extra 'amazon' of this package)"
            ) from None
        return S3Hook(aws_conn_id=self.conn_id).get_conn()

    # Listing

    def one(self, path: str) -> Object | None:
        """The object of that name, or ``None``."""
        bucket, _, key = path.partition("/")
        if not key or key.endswith("/"):
            return None
        asked = {"VersionId": self.version} if self.version and "#" not in self.version else {}
        try:
            told = self.client.head_object(Bucket=bucket, Key=key, **asked)
        except Exception as error:
            if asked and self._code(error) in (*_MISSING, "400", "405"):
                raise Conflict(
                    f"{self.label}: there is no version {self.version!r} of s3://{path}; it was deleted, or is of "
                    "another object. Resolve the dataset again"
                ) from error
            # Without the right to read, a folder's name is forbidden too; what is below it may be listed all the same.
            folder = "." not in PurePosixPath(key).name and self._code(error) in _FORBIDDEN
            if self._code(error) in _MISSING or folder:
                return None
            raise self._problem(error, f"s3://{path}") from error
        return self._remember(Object(path, told["ContentLength"], told["LastModified"], told["ETag"], _id(told)))

    def below(self, prefix: str, keep: Callable[[str], bool], *, versions: bool) -> list[Object]:
        """The objects whose name begins so, as they are now, or as they were at the version.

        :param keep: which of them are of the dataset.
        :param versions: whether version ids are asked for; without the right to, there are none.
        """
        if self.version and "#" not in self.version:
            raise UsageError(
                f"{self.label}: version {self.version!r} is of one object, and this names several or none; "
                "a version of several is what resolving them recorded"
            )
        history: dict[str, list[Object]] = {}
        try:
            if versions or self.version:
                history = {p: v for p, v in self._history(prefix).items() if keep(p)}
        except Exception as error:
            if self.version or not self._only_listing(error):
                raise self._problem(error, f"s3://{prefix}") from error
            versions = False
        try:
            if self.version:
                found = at_version(self.label, history, self.version)
            elif versions:
                found = [v[0] for v in history.values() if v and not v[0].deleted]
            else:
                found = [o for o in self._listed(prefix) if keep(o.path)]
        except MlopsError:
            raise
        except Exception as error:
            raise self._problem(error, f"s3://{prefix}") from error
        return [self._remember(o) for o in found]

    def _listed(self, prefix: str) -> Iterator[Object]:
        bucket, _, key = prefix.partition("/")
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for o in page.get("Contents", ()):
                yield Object(f"{bucket}/{o['Key']}", o["Size"], o["LastModified"], o["ETag"])

    def _history(self, prefix: str) -> dict[str, list[Object]]:
        bucket, _, key = prefix.partition("/")
        found: dict[str, list[tuple[bool, Object]]] = {}
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
            for o in page.get("Versions", ()):
                made = Object(f"{bucket}/{o['Key']}", o["Size"], o["LastModified"], o["ETag"], _id(o))
                found.setdefault(made.path, []).append((bool(o.get("IsLatest")), made))
            for o in page.get("DeleteMarkers", ()):
                made = Object(f"{bucket}/{o['Key']}", 0, o["LastModified"], "", _id(o), deleted=True)
                found.setdefault(made.path, []).append((bool(o.get("IsLatest")), made))
        # Versions and markers come in two lists, each the newest first.
        return {
            path: [o for _, o in sorted(seen, key=lambda s: (s[0], s[1].time), reverse=True)]
            for path, seen in found.items()
        }

    def _only_listing(self, error: Exception) -> bool:
        """Whether it is the versions alone that may not, or can't, be listed."""
        return self._code(error) in (*_FORBIDDEN, "NotImplemented", "MethodNotAllowed", "501", "405")

    def _remember(self, found: Object) -> Object:
        self.known[found.path] = found
        return found

    # What DuckDB, Arrow and the sensors ask of a file system

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and time of an object that was listed."""
        found = self._found(path)
        return {"name": found.path, "size": found.size, "type": "file", "LastModified": found.time}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it was listed."""
        return _plain(path) in self.known

    def isfile(self, path: str) -> bool:
        """Whether it was listed."""
        return self.exists(path)

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """The path itself: globs were resolved where objects were listed."""
        return [path]

    def modified(self, path: str) -> dt.datetime:
        """When the object was written."""
        return self._found(path).time

    def size(self, path: str) -> int:
        """Bytes."""
        return self._found(path).size

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """The object for reading; ``rt`` with ``encoding``, ``newline`` and ``compression="gzip"``."""
        raw = Reader(self, self._found(path))
        if "t" not in mode:
            return raw
        import gzip

        unpacked: Any = gzip.GzipFile(fileobj=raw) if options.get("compression") == "gzip" else raw
        return io.TextIOWrapper(unpacked, encoding=options.get("encoding"), newline=options.get("newline"))

    def fetch(self, found: Object, start: int, end: int) -> bytes:
        """Bytes of an object as it was listed; what goes wrong is also kept as :attr:`problem`."""
        bucket, _, key = found.path.partition("/")
        which = {"VersionId": found.version} if found.version else {"IfMatch": found.etag}
        try:
            told = self.client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **which)
            content: bytes = told["Body"].read()
        except Exception as error:
            self.problem = self._problem(error, f"s3://{found.path}")
            raise self.problem from error
        self.fetched += len(content)
        return content

    def _found(self, path: str) -> Object:
        found = self.known.get(_plain(path))
        if found is None:
            raise FileNotFoundError(path)
        return found

    def _code(self, error: Exception) -> str:
        return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))

    def _problem(self, error: Exception, where: str) -> MlopsError:
        code, name = self._code(error), type(error).__name__
        about = f"{self.label}: {where} through connection {self.conn_id!r}"
        if code in _FORBIDDEN:
            return DataError(
                f"{about} is forbidden ({code}). Let that connection read it (s3:GetObject, s3:ListBucket), or name "
                "another one as conn_id"
            )
        if code in _MOVED:
            return DataError(
                f"{about} is gone, or was replaced while it was read ({code}). Try again when it is written"
            )
        status = int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        if status >= 500 or code in ("SlowDown", "RequestTimeout") or (not status and not name.startswith("NoCred")):
            return SourceUnavailable(f"{about} can't be reached now ({code or name}: {str(error)[:200]}). Try again")
        return DataError(f"{about} can't be read ({code or name}: {str(error)[:200]})")


class Reader(io.RawIOBase):
    """An object as a file: what is asked for is fetched, and at least :data:`BLOCK` bytes from there on."""

    def __init__(self, files: S3Files, found: Object) -> None:
        self.files = files
        self.found = found
        self.size = found.size
        self._at = 0
        self._begin = 0
        self._held = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        begin = self._at - self._begin
        if not (begin >= 0 and begin + wanted <= len(self._held)):
            self._held = self.files.fetch(self.found, self._at, min(self._at + max(wanted, BLOCK), self.size))
            self._begin, begin = self._at, 0
        self._at += wanted
        return self._held[begin : begin + wanted]

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _id(told: Mapping[str, Any]) -> str:
    version = str(told.get("VersionId") or "")
    return "" if version == "null" else version


def _plain(path: str) -> str:
    return path.partition("://")[2] if "://" in path else path
