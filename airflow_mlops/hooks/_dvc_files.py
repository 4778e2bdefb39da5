"""Files as DVC sees them: paths of a repository, hashes, and the ``.dvc`` files that name them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_mlops.core.errors import UsageError

BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracked:
    """What a revision says about a path.

    :param md5: DVC's hash; of a folder it ends with ``.dir``.
    :param size: bytes, where known.
    :param meta: what the author of the version wrote beside it: ``digest`` and ``rows`` in versions made here.
    """

    md5: str
    size: int | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """A path at a revision, on this host.

    :param path: the file or folder; read-only, and shared by all who fetch it.
    :param revision: the commit, 40 hex digits.
    :param md5: the hash that the revision names and the content has.
    """

    path: Path
    revision: str
    md5: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a path.

    :param revision: the commit, 40 hex digits.
    :param md5: DVC's hash.
    :param created: whether it was new.
    """

    revision: str
    md5: str
    created: bool


def checked(path: str) -> str:
    """A path within a repository.

    :raises UsageError: for one that leads out of it, or into what Git and DVC keep there.

    >>> checked("data/flights.parquet")
    'data/flights.parquet'
    """
    parts = PurePosixPath(path).parts
    bad = not parts or path.startswith(("/", "-")) or "\\" in path or not path.isprintable()
    if bad or any(p in ("..", ".git", ".dvc") for p in parts) or path.endswith((".dvc", ".gitignore", "/")):
        raise UsageError(f"a path within a DVC repository is relative, like data/flights.parquet; got {path!r}")
    return str(PurePosixPath(path))


def content_md5(path: Path) -> str:
    """The hash that DVC gives a file or, ending with ``.dir``, a folder."""
    if path.is_dir():
        files = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).parts)
        listed = [{"md5": content_md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
        return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_pointer(text: str, path: str) -> Tracked | None:
    """The one output of a ``.dvc`` file, where it is the path itself."""
    import yaml

    try:
        value = yaml.safe_load(text)
        (out,) = value["outs"]
        if out["path"] != PurePosixPath(path).name or not out.get("md5"):
            return None
        size = out.get("size")
        return Tracked(md5=str(out["md5"]), size=int(size) if size is not None else None, meta=value.get("meta") or {})
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def write_meta(pointer: Path, meta: Mapping[str, Any]) -> None:
    import yaml

    value = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    if meta:
        value["meta"] = dict(meta)
    else:
        value.pop("meta", None)
    pointer.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def read_only(path: Path) -> None:
    for file in [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]:
        file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)


def put(new: Path, target: Path) -> None:
    """Put it there; what is there has another content, or was made by another task a moment ago."""
    if target.is_dir():
        shutil.rmtree(target)
    new.replace(target)
