"""DvcHook: files of a DVC repository at a revision, and new versions of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.sdk import BaseHook

from airflow_mlops.core.errors import Conflict, DatasetNotFound, UsageError
from airflow_mlops.exceptions import DvcUnavailable
from airflow_mlops.hooks._dvc_files import (
    Fetched,
    Tracked,
    Version,
    checked,
    content_md5,
    put,
    read_only,
    read_pointer,
    write_meta,
)
from airflow_mlops.hooks._tools import ToolFailed, Tools, aws_environment, basic_login

ATTEMPTS = 5
"""How often a snapshot starts over because somebody else pushed in between."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A connection of type ``dvc``.

    :param url: of the Git repository.
    :param branch: that new versions go to; empty: the repository's default.
    :param remote: DVC's remote; empty: the repository's default.
    :param cache: the folder on this host.
    :param patience: seconds to wait for another task's snapshot.
    """

    url: str
    branch: str = ""
    remote: str = ""
    cache: Path = Path()
    patience: float = 300.0


class DvcHook(BaseHook):
    """Data that a Git repository keeps with DVC, through an Airflow connection.

    The connection's host is the repository's URL (``https://...``, ``ssh://...`` or a path); login and password (or a
    token as password) log in over HTTPS. Extras: ``branch``, ``remote``, ``aws_conn_id`` (credentials and endpoint of
    an S3 remote), ``timeout`` and ``lock_timeout`` in seconds. DVC itself is a program on the worker, found on the
    PATH or named by ``[mlops] dvc_executable``; its dependencies never meet Airflow's.

    :param dvc_conn_id: the connection.
    """

    conn_name_attr = "dvc_conn_id"
    default_conn_name = "dvc_default"
    conn_type = "dvc"
    hook_name = "DVC"

    def __init__(self, dvc_conn_id: str = "dvc_default") -> None:
        super().__init__()
        self.dvc_conn_id = dvc_conn_id

    @cached_property
    def _read(self) -> tuple[Settings, Tools]:
        from airflow.configuration import AIRFLOW_HOME
        from airflow.sdk import conf

        connection = self.get_connection(self.dvc_conn_id)
        extra = connection.extra_dejson or {}
        url = str(extra.get("repository") or connection.host or "")
        if not url or url.startswith("-"):
            raise UsageError(f"connection {self.dvc_conn_id!r} names no Git repository: fill in its host")
        login, password = connection.login or "airflow", connection.password or ""
        cache = conf.get("mlops", "dvc_cache", fallback="") or str(Path(AIRFLOW_HOME) / "mlops" / "dvc")
        folder = Path(cache).expanduser().absolute()
        own = {
            "GIT_AUTHOR_NAME": login,
            "GIT_AUTHOR_EMAIL": f"{login}@airflow.invalid" if "@" not in login else login,
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "config"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder / "config"),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
        }
        own |= {k.replace("AUTHOR", "COMMITTER"): v for k, v in own.items() if "AUTHOR" in k}
        aws = aws_environment(str(extra.get("aws_conn_id") or ""))
        git = basic_login(url, login, password)
        tools = Tools(
            conn_id=self.dvc_conn_id,
            dvc=conf.get("mlops", "dvc_executable", fallback="") or "dvc",
            environment={**own, **git, **aws},
            secrets=[
                password,
                git.get("GIT_CONFIG_VALUE_0", "").rpartition(" ")[2],
                *(v for k, v in aws.items() if k in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
            ],
            timeout=_seconds(extra.get("timeout"), 3600.0),
        )
        settings = Settings(
            url=url,
            branch=str(extra.get("branch") or ""),
            remote=str(extra.get("remote") or ""),
            cache=folder,
            patience=_seconds(extra.get("lock_timeout"), 300.0),
        )
        return settings, tools

    @property
    def settings(self) -> Settings:
        """The connection, without its secrets."""
        return self._read[0]

    @property
    def tools(self) -> Tools:
        """How git and dvc are called."""
        return self._read[1]

    def get_conn(self) -> Tools:
        """How git and dvc are called, for what this hook has no method for."""
        return self.tools

    def test_connection(self) -> tuple[bool, str]:
        """Ask the repository for its branches, and DVC for its version."""
        try:
            with self._translating():
                self.tools.git("ls-remote", "--heads", "--", self.settings.url, cwd=self._folder())
                version = self.tools.run(self.tools.dvc, "--version", cwd=self._folder()).strip()
        except (DvcUnavailable, UsageError) as error:
            return False, str(error)
        return True, f"the repository answers, DVC is {version}"

    def revision(self, revision: str = "") -> str:
        """The commit, 40 hex digits, that a tag, a branch or a commit names now; empty: the newest of the branch.

        :raises DatasetNotFound: when the repository has no such thing.
        """
        if revision.startswith("-") or any(c.isspace() or c in "~^:?*[\\" for c in revision) or ".." in revision:
            raise UsageError(f"a revision is a tag, a branch or a commit, got {revision!r}")
        with self._clone("read") as clone:
            if len(revision) == 40 and (found := self._commit(clone, revision)):
                return found  # a commit never changes: nobody has to be asked
            self._update(clone)
            wanted = revision or self._branch(clone)
            for name in (f"refs/tags/{wanted}", f"refs/remotes/origin/{wanted}", wanted):
                hexadecimal = 6 < len(wanted) <= 40 and all(c in "0123456789abcdef" for c in wanted)
                if (name != wanted or hexadecimal) and (found := self._commit(clone, name)):
                    return found
            tags = self.tools.git("tag", "--sort=-creatordate", cwd=clone).split()[:5]
        raise DatasetNotFound(
            f"the repository of connection {self.dvc_conn_id!r} has no revision {revision!r}; "
            f"its newest tags are {', '.join(tags) or 'none'}"
        )

    def tracked(self, path: str, revision: str) -> Tracked:
        """What a commit says about a path: its hash, without fetching it.

        :raises DatasetNotFound: when DVC does not track the path there.
        """
        path = checked(path)
        with self._clone("read") as clone:
            found = self._pointer(clone, path, revision)
            if found is not None:
                return found
            # Within a tracked folder, or the output of a pipeline: DVC knows.
            try:
                options = ("--json", "--show-hash", "--rev", revision, *self._remote())
                said = self._dvc("list", *options, ".", path, cwd=clone)
                entries = json.loads(said)
            except (ToolFailed, ValueError):
                entries = []
        name = PurePosixPath(path).name
        if len(entries) == 1 and entries[0].get("path") == name and entries[0].get("md5"):
            return Tracked(md5=str(entries[0]["md5"]), size=entries[0].get("size"))
        raise DatasetNotFound(
            f"dvc://{path} at {revision[:12]}: DVC tracks no such file, nor a folder that was added as one"
        )

    def fetch(self, path: str, revision: str = "") -> Fetched:
        """A path at a revision, from the cache of this host or from the remote, its hash verified either way.

        :param path: within the repository.
        :param revision: a tag, a branch or a commit; empty: the newest of the branch.
        :raises DatasetNotFound: when there is no such revision or path.
        :raises Conflict: when what the remote has is not what the revision names.
        :raises DvcUnavailable: when repository or remote don't answer; retryable.
        """
        path, commit = checked(path), self.revision(revision)
        known = self.tracked(path, commit)
        target = self.settings.cache / "files" / known.md5[:2] / known.md5 / PurePosixPath(path).name
        if target.exists() and content_md5(target) == known.md5:
            return Fetched(path=target, revision=commit, md5=known.md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix=".fetching-") as folder:
            new = Path(folder) / target.name
            with self._translating():  # without the lock: DVC reads commits of the clone, which never change
                clone = self._folder() / "read"
                self._dvc("get", ".", path, "--rev", commit, "-o", str(new), *self._remote(), cwd=clone)
            if (seen := content_md5(new)) != known.md5:
                raise Conflict(
                    f"dvc://{path} at {commit[:12]} should have the hash {known.md5}, the remote has {seen}: "
                    "somebody changed it behind the version's back"
                )
            read_only(new)
            with self.tools.locked(target.parent / ".lock", self.settings.patience):
                put(new, target)
        return Fetched(path=target, revision=commit, md5=known.md5)

    def snapshot(
        self, source: Path, path: str, *, message: str, tag: str = "", meta: Mapping[str, Any] | None = None
    ) -> Version:
        """A file as a new version of a path: added, pushed to the remote, committed and pushed to the branch.

        The data is pushed before the commit that names it, so a try that dies anywhere leaves at most data that nobody
        refers to, and the next try ends in the same version. The same content again is the version that is there.

        :param source: the file on this host.
        :param path: within the repository.
        :param message: of the commit.
        :param tag: for the version; one that is there already must name it.
        :param meta: kept beside the hash; a version with the same ``digest`` in it has the same content.
        :raises Conflict: when the tag names another version.
        :raises UsageError: when the repository has no DVC, or the path can't be a version's.
        :raises DvcUnavailable: when repository or remote don't answer, or others are at work there; retryable.
        """
        path, meta = checked(path), dict(meta or {})
        if not message.strip():
            raise UsageError("a version needs a message that says what is new")
        with self._translating(), self._clone("work") as clone:
            if tag:
                self._legal_tag(clone, tag)
            for _ in range(ATTEMPTS):
                self._update(clone)
                branch = self._branch(clone)
                newest = f"refs/remotes/origin/{branch}"
                self.tools.git("checkout", "--quiet", "--force", "-B", branch, newest, cwd=clone)
                self.tools.git("clean", "--quiet", "-ffd", cwd=clone)
                if not (clone / ".dvc" / "config").is_file():
                    text = "run 'dvc init' and 'dvc remote add -d' in it, and commit that"
                    raise UsageError(f"the repository of connection {self.dvc_conn_id!r} has no DVC: {text}")
                before = self._pointer(clone, path, "HEAD")
                same = before is not None and bool(meta.get("digest")) and before.meta.get("digest") == meta["digest"]
                new = before is None if same else self._add(clone, source, path, before, meta, message)
                version = self._version(clone, path, created=new)
                if self._publish(clone, branch, version, tag):
                    return version
        raise DvcUnavailable(self.dvc_conn_id, f"others pushed {ATTEMPTS} times while this version was made")

    def _add(
        self, clone: Path, source: Path, path: str, before: Tracked | None, meta: Mapping[str, Any], message: str
    ) -> bool:
        """Add, push the data, commit; whether there is anything new."""
        target = clone / path
        if self.tools.git("ls-files", "--", path, cwd=clone).strip():
            raise UsageError(f"{path} is kept by Git itself: 'git rm --cached' it first, or take another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(clone.resolve()):
            raise UsageError(f"{path} leads out of the repository through a link")
        if target.is_dir():
            raise UsageError(f"{path} is a folder in the repository; a version of it is a file")
        # A new file in its place: the old one may be a link to DVC's own copy.
        staged = target.with_name(f".{target.name}.new")
        shutil.copyfile(source, staged)
        staged.replace(target)
        try:
            self._dvc("add", path, cwd=clone)
        except ToolFailed as error:  # nothing but this host had a part in it
            raise UsageError(f"DVC can't add {path}: {error.text}") from None
        pointer = clone / f"{path}.dvc"
        after = read_pointer(pointer.read_text(encoding="utf-8"), path)
        self._dvc("push", *self._remote(), f"{path}.dvc", cwd=clone)
        if before is not None and after is not None and before.md5 == after.md5:
            self.tools.git("reset", "--quiet", "--hard", cwd=clone)
            return False
        write_meta(pointer, meta)
        ignore = target.parent / ".gitignore"
        changed = [f"{path}.dvc", *([str(ignore.relative_to(clone))] if ignore.exists() else [])]
        self.tools.git("add", "--", *changed, cwd=clone)
        self.tools.git("commit", "--quiet", "--no-verify", "-m", message, cwd=clone)
        return True

    def _version(self, clone: Path, path: str, *, created: bool) -> Version:
        revision = self.tools.git("log", "-1", "--format=%H", "HEAD", "--", f"{path}.dvc", cwd=clone).strip()
        found = self._pointer(clone, path, revision)
        assert found is not None  # it was read or committed a moment ago
        return Version(revision=revision, md5=found.md5, created=created)

    def _publish(self, clone: Path, branch: str, version: Version, tag: str) -> bool:
        """Commit and tag to the repository, both or neither; ``False`` when somebody else was faster.

        :raises Conflict: when the tag names something else.
        """
        refs = [f"{version.revision}:refs/heads/{branch}"] if version.created else []
        if tag:
            known = self._commit(clone, f"refs/tags/{tag}")
            if known and known != version.revision:
                raise Conflict(f"tag {tag!r} is there and names {known[:12]}, not {version.revision[:12]}")
            refs += [] if known else [f"{version.revision}:refs/tags/{tag}"]
        if not refs:
            return True
        try:
            self.tools.git("push", "--quiet", "--atomic", "origin", *refs, cwd=clone)
        except ToolFailed:
            # Refused because the branch moved, or not reached at all: whoever answers has moved on or not.
            old = self._commit(clone, f"refs/remotes/origin/{branch}")
            self._update(clone)
            moved = self._commit(clone, f"refs/remotes/origin/{branch}") != old
            if not moved and not (tag and self._commit(clone, f"refs/tags/{tag}")):
                raise
            return False
        return True

    def _folder(self) -> Path:
        key = hashlib.sha256(self.settings.url.encode()).hexdigest()[:16]
        folder = self.settings.cache / "repositories" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def _clone(self, name: str) -> Iterator[Path]:
        """A clone of the repository, alone: ``read`` to look things up, ``work`` to make versions in."""
        clone = self._folder() / name
        with self._translating(), self.tools.locked(self._folder() / f"{name}.lock", self.settings.patience):
            if not clone.exists():
                with tempfile.TemporaryDirectory(dir=self._folder(), prefix=".cloning-") as folder:
                    new = Path(folder) / name
                    self.tools.git("clone", "--quiet", "--", self.settings.url, str(new), cwd=self._folder())
                    new.rename(clone)
            yield clone

    def _update(self, clone: Path) -> None:
        specs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self.tools.git("fetch", "--quiet", "--prune", "--no-tags", "origin", *specs, cwd=clone)

    def _branch(self, clone: Path) -> str:
        if self.settings.branch:
            return self.settings.branch
        with contextlib.suppress(ToolFailed):
            head = self.tools.git("symbolic-ref", "refs/remotes/origin/HEAD", cwd=clone).strip()
            return head.removeprefix("refs/remotes/origin/")
        raise UsageError(f"the repository of connection {self.dvc_conn_id!r} is empty, or name its branch in the extra")

    def _commit(self, clone: Path, name: str) -> str:
        try:
            return self.tools.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", cwd=clone).strip()
        except ToolFailed:
            return ""

    def _pointer(self, clone: Path, path: str, revision: str) -> Tracked | None:
        try:
            text = self.tools.git("show", f"{revision}:{path}.dvc", cwd=clone)
        except ToolFailed:
            return None
        return read_pointer(text, path)

    def _legal_tag(self, clone: Path, tag: str) -> None:
        try:
            self.tools.git("check-ref-format", f"refs/tags/{tag}", cwd=clone)
        except ToolFailed:
            raise UsageError(f"{tag!r} can't be a tag in Git") from None

    def _dvc(self, *arguments: str, cwd: Path) -> str:
        return self.tools.run(self.tools.dvc, *arguments, cwd=cwd)

    def _remote(self) -> tuple[str, ...]:
        return ("--remote", self.settings.remote) if self.settings.remote else ()

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """A program that failed: repository or remote did not do what they do when they are there."""
        try:
            yield
        except ToolFailed as error:
            raise DvcUnavailable(self.dvc_conn_id, error.text) from None


def _seconds(value: Any, default: float) -> float:
    try:
        return default if value in (None, "") else float(value)
    except (TypeError, ValueError):
        raise UsageError(f"a number of seconds is needed, got {value!r}") from None
