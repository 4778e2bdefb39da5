"""What the documentation is built with: pages from where their text lives, and docstrings as Markdown.

MkDocs calls the ``on_*`` functions: the reference has a page for each kind of thing that the provider declares, so that
none is forgotten; decisions and architecture are the files of ``dev``. mkdocstrings loads :class:`Docstrings`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from airflow_mlops.provider_info import get_provider_info  # noqa: E402

CORE = {
    "Rows": ("datasets", "profile"),
    "Validation": ("validation", "leakage"),
    "Metrics": ("metrics",),
    "Gates": ("policies", "rules", "gates"),
    "Drift": ("drift_policy",),
    "Performance": ("performance_policy",),
    "Retraining": ("retraining_policy",),
    "After a promotion": ("watch", "shadow"),
    "Results": ("results",),
}
"""What a DAG author gives to operators and reads from them: heading -> modules of ``core``."""


def reference() -> dict[str, tuple[str, list[str]]]:
    """Page -> title and modules, from what the provider declares."""
    info = get_provider_info()
    pages = {
        kind: (kind.capitalize(), [m for entry in info[kind] for m in entry["python-modules"]])
        for kind in ("operators", "sensors", "triggers", "hooks")
    }
    pages["notifications"] = ("Notifiers", _modules(info["notifications"]))
    pages["notifications"][1].insert(0, "airflow_mlops.notifications.lifecycle")
    pages["decorators"] = ("Decorators", _modules([d["class-name"] for d in info["task-decorators"]]))
    pages["executors"] = ("Executors", _modules(info["executors"]))
    pages["values"] = ("Values and policies", [f"airflow_mlops.core.{m}" for names in CORE.values() for m in names])
    pages["errors"] = ("Errors", ["airflow_mlops.exceptions", "airflow_mlops.core.errors"])
    return pages


def _modules(classes: list[str]) -> list[str]:
    return list(dict.fromkeys(c.rpartition(".")[0] for c in classes))


def settings_page() -> str:
    """The options of ``[mlops]`` and the fields of the connections, from the provider's declaration."""
    info = get_provider_info()
    lines = ["# Settings", "", "## `[mlops]` in airflow.cfg", "", "| option | default | meaning |", "|---|---|---|"]
    for name, option in info["config"]["mlops"]["options"].items():
        default = f"`{option['default']}`" if option["default"] else "empty"
        lines.append(f"| `{name}` | {default} | {option['description']} |")
    lines += ["", "As a variable of the environment: `AIRFLOW__MLOPS__TRACKING_URI` and so on."]
    for connection in info["connection-types"]:
        behaviour = connection["ui-field-behaviour"]
        lines += ["", f"## Connection type `{connection['connection-type']}`", "", "| field | meaning |", "|---|---|"]
        relabelled = behaviour["relabeling"]
        lines += [f"| {relabelled[n]} (`{n}`) | {t} |" for n, t in behaviour["placeholders"].items() if n in relabelled]
        for name, field in connection["conn-fields"].items():
            lines.append(f"| {field['label']} (`{name}`) | {field['description']} |")
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _first(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).replace("``", "`")


def checks_table() -> str:
    """What a gate's policy can ask."""
    from airflow_mlops.core.policies import CHECKS

    return _table(("check", "asks"), ((f"`{name}`", _first(rule.__doc__)) for name, rule in CHECKS.items()))


def events_table() -> str:
    """What notifiers tell."""
    from airflow_mlops.notifications.messages import NAMES

    return _table(("event",), ((f"`{name}`",) for name in NAMES))


def commands_table() -> str:
    """The commands of ``airflow mlops``."""
    from airflow_mlops.cli.definition import get_mlops_commands

    group: Any = get_mlops_commands()[0]
    return _table(("command", "answers"), ((f"`airflow mlops {c.name}`", c.help) for c in group.subcommands))


TABLES = {"checks": checks_table, "events": events_table, "commands": commands_table}
"""Tables that a page has by name, ``<!-- table: checks -->``: written by the code that they are about."""

_TABLE = re.compile(r"<!-- table: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where pages ask for them."""
    return _TABLE.sub(lambda m: TABLES[m[1]](), markdown)


def decisions() -> dict[str, Path]:
    """Page -> file, the newest last."""
    return {f"decisions/{p.name}": p for p in sorted((ROOT / "dev" / "decisions").glob("*.md"))}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append what is generated to the navigation."""
    listed: list[Any] = [{title: f"reference/{page}.md"} for page, (title, _) in reference().items()]
    config.nav = [
        *(config.nav or []),
        {"Reference": [*listed, {"Settings": "reference/settings.md"}]},
        {"How it works": "architecture.md"},
        {"Decisions": list(decisions())},
        {"Changes": "changelog.md"},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere."""

    def add(path: str, content: str) -> None:
        files.append(File.generated(config, path, content=content))

    for page, (title, modules) in reference().items():
        add(f"reference/{page}.md", "\n".join([f"# {title}\n", *(f"::: {module}\n" for module in modules)]))
    add("reference/settings.md", settings_page())
    for path, file in decisions().items():
        add(path, file.read_text(encoding="utf-8"))
    add("architecture.md", (ROOT / "dev" / "architecture.md").read_text(encoding="utf-8"))
    add("changelog.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    return files


_FIELD = re.compile(r"^:(param|raises|returns?|rtype|type)\b")
_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc|obj):`([^`]+)`")


def markdown_of(text: str) -> str:
    """A docstring of ours as Markdown: roles become links where the reference has the target, examples become code.

    What stands after the fields comes before them: a parser of fields would take it for the last one's text.
    """
    before: list[str] = []
    fields: list[str] = []
    inside = False
    for line in text.splitlines():
        if _FIELD.match(line):
            inside = True
        elif not line.startswith(" "):
            inside = False
        (fields if inside else before).append(line)
    lines: list[str] = []
    fenced = False
    for line in before:
        if line.startswith(">>>") and not fenced:
            lines.append("```pycon")
            fenced = True
        elif fenced and not line.strip():
            lines.append("```")
            fenced = False
        lines.append(re.sub(r"\s*#\s*doctest:.*", "", line) if fenced else re.sub(r"::$", ":", line))
    if fenced:
        lines.append("```")
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    joined = body + ("\n\n" + "\n".join(fields) if fields else "")
    return _ROLE.sub(_linked, joined)


def _linked(match: re.Match[str]) -> str:
    target = match[1]
    path = target.lstrip("~.")
    shown = path.rpartition(".")[2] if target.startswith(("~", ".")) else path
    return f'<autoref identifier="{path}" optional>`{shown}`</autoref>' if "." in path else f"`{shown}`"


class Docstrings(griffe.Extension):
    """Every docstring of the package, as Markdown."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring:
            obj.docstring.value = markdown_of(obj.docstring.value)


class _Loads(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = tag == "link" and given.get("rel") not in ("canonical", "prev", "next")
        for name in ("src", "href") if loads else ("src",):
            value = given.get(name) or ""
            if value.startswith(("http:", "https:", "//")):
                self.found.append(value)


def outside(folder: Path) -> dict[str, list[str]]:
    """Page -> what it would fetch from elsewhere, by its markup or a style sheet."""
    seen: dict[str, list[str]] = {}
    for page in folder.rglob("*.html"):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        if loads.found:
            seen[str(page.relative_to(folder))] = loads.found
    for sheet in folder.rglob("*.css"):
        found = re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", sheet.read_text(encoding="utf-8"))
        if found:
            seen[str(sheet.relative_to(folder))] = found
    return seen


if __name__ == "__main__":
    site = ROOT / ".cache" / "docs"
    if fetched := outside(site):
        sys.exit(f"the documentation fetches from elsewhere: {fetched}")
    print(f"docs: {len(list(site.rglob('*.html')))} pages, {site.relative_to(ROOT)}/index.html")
