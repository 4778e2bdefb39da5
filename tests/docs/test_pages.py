"""What the documentation says of names is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_mlops.core.policies import ON_BROKEN_CHAMPION, ON_MISSING_CHAMPION
from airflow_mlops.core.results import Severity, Status
from airflow_mlops.core.retraining_policy import REASON_NAMES
from airflow_mlops.pages.words import BY_KIND, VERDICTS
from airflow_mlops.provider_info import get_provider_info

DOCS = Path(__file__).parents[2] / "docs"


def tables(page: str) -> dict[str, dict[str, list[str]]]:
    """Header of the first column -> code in the first column -> the other columns."""
    found: dict[str, dict[str, list[str]]] = {}
    head = ""
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            head = ""
        elif not head:
            head = cells[0].strip("`")
        elif match := re.fullmatch(r"`([^`]+)`", cells[0]):
            found.setdefault(head, {})[match[1]] = cells[1:]
    return found


def test_every_verdict_is_explained_as_it_is_shown() -> None:
    table = tables("verdicts.md")["verdict"]
    assert set(table) == set(VERDICTS)
    assert {k: v[0] for k, v in table.items()} == {k: f"{v.mark} {v.word}" for k, v in VERDICTS.items()}
    text = (DOCS / "verdicts.md").read_text(encoding="utf-8")
    assert all(f"*{shown.word}*" in text for shown in BY_KIND.values())


def test_a_docstring_becomes_markdown() -> None:
    from dev.docs import markdown_of

    example = ">>> add(1)  # doctest: +SKIP\n2"
    text = f"Adds, see :func:`~a.b.add`.\n\n:param x: a\n    number.\n:raises Odd: never.\n\n{example}"
    assert markdown_of(text).splitlines() == [
        'Adds, see <autoref identifier="a.b.add" optional>`add`</autoref>.',
        "",
        "```pycon",
        ">>> add(1)",
        "2",
        "```",
        "",
        ":param x: a",
        "    number.",
        ":raises Odd: never.",
    ]


def test_a_page_that_fetches_from_elsewhere_is_found(tmp_path: Path) -> None:
    from dev.docs import outside

    (tmp_path / "fine.html").write_text('<link rel="stylesheet" href="a.css"><a href="https://example.org">x</a>')
    assert outside(tmp_path) == {}
    (tmp_path / "bad.html").write_text('<link rel="stylesheet" href="https://example.org/a.css">')
    (tmp_path / "bad.css").write_text("@font-face { src: url(//example.org/a.woff) }")
    assert set(outside(tmp_path)) == {"bad.html", "bad.css"}


def test_every_status_and_severity_is_explained() -> None:
    found = tables("verdicts.md")
    assert list(found["status"]) == [str(s) for s in Status]
    assert [k for k, cells in found["status"].items() if cells[1] == "yes"] == [str(Status.PASSED)]
    assert list(found["severity"]) == list(tables("guides/validate.md")["severity"]) == [str(s) for s in Severity]


def test_reasons_to_retrain_and_missing_champions_are_all_there() -> None:
    assert tuple(tables("guides/retrain.md")["reason"]) == REASON_NAMES
    assert tuple(tables("guides/gate.md")["on_missing_champion"]) == ON_MISSING_CHAMPION
    text = (DOCS / "guides" / "gate.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in ON_BROKEN_CHAMPION)


def test_the_reference_has_every_module_that_the_provider_declares() -> None:
    from dev.docs import reference

    listed = {m for _, modules in reference().values() for m in modules}
    info = get_provider_info()
    declared = {
        m for k in ("operators", "sensors", "triggers", "hooks") for entry in info[k] for m in entry["python-modules"]
    }
    assert declared <= listed


def test_classes_and_arguments_in_the_guides_exist() -> None:
    """``Name(argument=...)`` in a page is a class of the package that takes the argument."""
    import importlib
    import inspect

    from dev.docs import reference

    known: dict[str, set[str]] = {}
    for _, modules in reference().values():
        for module in modules:
            for name, cls in inspect.getmembers(importlib.import_module(module), inspect.isclass):
                if cls.__module__.startswith("airflow_mlops"):
                    known[name] = {p for c in cls.__mro__ for p in inspect.signature(c.__init__).parameters}
    unknown: set[str] = set()
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        names = r"\b([A-Z]\w+(?:Operator|Sensor|Notifier|Policy|Executor|Ref))\b"
        unknown |= {f"{page.name}: {n}" for n in re.findall(names, text) if n not in known}
        for name, arguments in re.findall(r"\b([A-Z]\w+)\(((?:[^()]|\([^()]*\))*)\)", text):
            if name in known:
                outer = re.sub(r"\([^()]*\)|\"[^\"]*\"", "", arguments)
                given = set(re.findall(r"(?:^|,)\s*(\w+)=", outer))
                unknown |= {f"{page.name}: {name}({a}=)" for a in given - known[name]}
    assert not unknown


def test_arguments_in_prose_exist() -> None:
    """``argument="..."`` in a page is one of an operator, a policy or a reference."""
    import importlib
    import inspect

    from dev.docs import reference

    arguments = {
        p
        for _, modules in reference().values()
        for module in modules
        for _, cls in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        for p in inspect.signature(cls.__init__).parameters
        if cls.__module__.startswith("airflow_mlops")
    }
    for page in DOCS.rglob("*.md"):
        given = set(re.findall(r"`(\w+)=[^`]*`", page.read_text(encoding="utf-8"))) - {"schedule"}
        assert given <= arguments, page.name


def test_the_tasks_that_tell_lineage_are_the_ones_that_do() -> None:
    from airflow_mlops.core.lineage import ROLES
    from airflow_mlops.operators._lineage import MOST_ASSERTIONS

    text = (DOCS / "guides" / "lineage.md").read_text(encoding="utf-8")
    listed = [name for group in get_provider_info()["operators"] for name in group["python-modules"]]
    modules = {name.rpartition(".")[2]: name for name in listed}
    for kind in ROLES:
        source = Path(__file__).parents[2] / f"{modules[kind].replace('.', '/')}.py"
        names = re.findall(r"^class (\w+Operator)\(", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert any(f"`{name}`" in text for name in names), kind
    assert f"at most {MOST_ASSERTIONS} assertions" in text
    facets = (Path(__file__).parents[2] / "airflow_mlops" / "operators" / "_lineage.py").read_text(encoding="utf-8")
    for facet in set(re.findall(r'facets\["(\w+)"\] =', facets)):
        assert f"`{facet}`" in text, facet
