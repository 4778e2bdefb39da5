"""One look at the files of a partition: names, sizes and times; nothing is opened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.core.partitions import Look, PartitionWatch
from airflow_mlops.core.results import digest
from airflow_mlops.engines.locate import Files, is_pattern, locate


def look(watch: PartitionWatch, *, at: float) -> Look:
    """What is there now.

    :param at: the time of the look, in seconds since 1970.
    :raises DataError: when the store can't be reached.
    """
    ref = DatasetRef.from_dict(watch.data)
    try:
        files = locate(ref)
    except DatasetNotFound:
        return Look(at=at, marker=False)
    seen = [(path, *_of(files, path)) for path in files.paths]
    there = [s for s in seen if s[1] is not None]  # a file may be gone again between listing and asking
    times = [s[2] for s in there if s[2] is not None]
    return Look(
        at=at,
        files=len(there),
        size=sum(int(s[1] or 0) for s in there),
        newest=max(times) if len(times) == len(there) and times else None,
        fingerprint=digest([list(s) for s in there]),
        marker=bool(watch.marker) and _marked(ref, watch.marker),
    )


def _of(files: Files, path: str) -> tuple[int | None, float | None]:
    """Size and time of a file; ``(None, None)``: it is gone."""
    try:
        if files.filesystem is None:
            found = Path(path).stat()
            return found.st_size, found.st_mtime
        info = files.filesystem.info(path)
    except FileNotFoundError:
        return None, None
    return int(info.get("size") or 0), _time(info)


def _time(info: Mapping[str, Any]) -> float | None:
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, dt.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def _marked(ref: DatasetRef, marker: str) -> bool:
    path = marker if "/" in marker else f"{_folder(ref.uri)}{marker}"
    if "://" not in path or path.startswith("file://"):
        return Path(path.removeprefix("file://")).is_file()
    from airflow.sdk import ObjectStoragePath

    return bool(ObjectStoragePath(path, conn_id=ref.conn_id or None).is_file())


def _folder(uri: str) -> str:
    """Where a marker without a path is looked for: in a folder, or beside a file or the fixed part of a glob."""
    if uri.endswith("/") or ("://" not in uri and Path(uri).is_dir()):
        return uri.rstrip("/") + "/"
    scheme, _, rest = uri.rpartition("://")
    parts = PurePosixPath(rest).parts
    fixed = next(
        (i for i, p in enumerate(parts) if is_pattern(p)), len(parts) - 1 if PurePosixPath(rest).suffix else len(parts)
    )
    return f"{scheme}://{'/'.join(parts[:fixed])}/" if scheme else f"{PurePosixPath(*parts[:fixed])}/"
