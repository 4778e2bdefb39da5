"""Which code ran: the version of the DAG bundle, or the commit of the working copy that a function is defined in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def code_version(context: Mapping[str, Any], function: Any) -> str:
    """The best that is known, without starting a process: bundle version, else git commit, else empty.

    :param context: Airflow's task context.
    :param function: what was trained with; its file says which working copy.
    """
    bundle = getattr(context.get("ti"), "bundle_instance", None)
    version = getattr(bundle, "version", None)
    if version:
        return str(version)
    try:
        file = inspect.getsourcefile(function if callable(function) else type(function))
    except TypeError:
        return ""
    return commit_of(Path(file)) if file else ""


def commit_of(path: Path) -> str:
    """The commit that the git working copy around ``path`` is at; empty outside one. Changes on top are not seen."""
    for folder in path.resolve().parents:
        git = folder / ".git"
        if git.is_file():  # a worktree: the file names the real folder
            git = (folder / git.read_text().partition("gitdir:")[2].strip()).resolve()
        if git.is_dir():
            return _head(git)
    return ""


def _head(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref:").strip() if head.startswith("ref:") else ""
        if not name:
            return head
        common = git / "commondir"
        roots = [git, (git / common.read_text().strip()).resolve()] if common.is_file() else [git]
        for root in roots:
            if (root / name).is_file():
                return (root / name).read_text().strip()
            packed = root / "packed-refs"
            if packed.is_file():
                found = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", packed.read_text(), re.MULTILINE)
                if found:
                    return found[1]
    except OSError:
        return ""
    return ""
