"""How the commands write: tables for people, JSON and YAML with numbers as numbers for everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.core.results import JSON, plain

NOTHING = "-"
"""Stands where nothing is known."""


def write(value: JSON, output: str) -> None:
    """A value as JSON or YAML."""
    if output == "json":
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120), end="")


def write_rows(rows: Sequence[Mapping[str, Any]], output: str, *, empty: str, columns: Sequence[str] = ()) -> None:
    """Rows as a table, or all of them in full as JSON or YAML.

    :param empty: what a person is told when there is none.
    :param columns: those that the table shows; empty: all.
    """
    if output != "table":
        write(plain(rows), output)
        return
    if not rows:
        print(empty)
        return
    from airflow.cli.simple_table import AirflowConsole, SimpleTable
    from rich.table import Table
    from rich.text import Text

    shown = list(columns) or list(rows[0])
    table: Table = SimpleTable(show_header=True)  # type: ignore[no-untyped-call]
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(row.get(name))) for name in shown))
    AirflowConsole().print(table)


def write_facts(facts: Mapping[str, Any]) -> None:
    """Names and values below one another, those that are not known left out."""
    known = {k: clean(v) for k, v in facts.items() if v not in (None, "", [], {})}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        print(f"{name.replace('_', ' '):{width}}  {value}")


def clean(value: Any) -> str:
    """A value as one line of text that can't steer a terminal: names and tags are anybody's.

    >>> clean(None), clean("a\\x1b[31mb"), clean(0.123456789)
    ('-', 'a\\\\x1b[31mb', '0.1235')
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def clean_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n"))
