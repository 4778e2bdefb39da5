"""The Models page and the page of one model: what was gathered in, HTML out."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import finite
from airflow_mlops.pages import charts, words
from airflow_mlops.pages.actions import Action
from airflow_mlops.pages.cards import DEFAULT_SORT, ESTIMATED, REALISED, SORTS, VERDICTS, Card, Entry, Selection, trend
from airflow_mlops.pages.evaluation import evaluated
from airflow_mlops.pages.layout import PLAIN, Frame, render
from airflow_mlops.pages.lineage import Step, lineage
from airflow_mlops.pages.parts import listed, part, place

PER_PAGE = (50, 200, 2000)

MOST_CHECKS = 24
"""Drift checks in the heat map."""

MOST_COLUMNS = 40

CARD = "model_card/card.html"
"""Where the promotion puts the card of a version, in its training run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Links:
    """Where things are, as paths under Airflow's own address.

    :param airflow: path that Airflow is served under, without a slash at the end: ``""`` or ``"/airflow"``.
    :param mlops: path of these pages.
    :param readable: the DAGs that the reader may see; ``None``: all. Others are named nowhere.
    """

    airflow: str = ""
    mlops: str = "/mlops"
    readable: frozenset[str] | None = None

    def model(self, name: str) -> str:
        """The page of a model."""
        return f"{self.mlops}/model?{urlencode({'name': name})}"

    def report(self, entry: Entry) -> str:
        """The report of a record."""
        return f"{self.mlops}/report/{quote(entry.run_id, safe='')}"

    def dag_run(self, entry: Entry) -> str:
        """The DAG run that wrote a record, its task where that is known; empty where the reader may not see it."""
        if not entry.dag_id or not entry.dag_run_id or not self.sees(entry.dag_id):
            return ""
        path = f"{self.airflow}/dags/{quote(entry.dag_id, safe='')}/runs/{quote(entry.dag_run_id, safe='')}"
        return f"{path}/tasks/{quote(entry.task_id, safe='')}" if entry.task_id else path

    def required_actions(self, entry: Entry) -> str:
        """Where Airflow shows what a DAG run waits for."""
        if not entry.dag_id or not entry.dag_run_id or not self.sees(entry.dag_id):
            return ""
        path = f"{self.airflow}/dags/{quote(entry.dag_id, safe='')}/runs/{quote(entry.dag_run_id, safe='')}"
        return f"{path}/required_actions"

    def artifact(self, run_id: str, path: str) -> str:
        """An HTML page that lies with a run."""
        return f"{self.mlops}/artifact/{quote(run_id, safe='')}?{urlencode({'path': path})}"

    def card(self, version: ModelVersion) -> str:
        """The model card of a version; empty: there is none."""
        return self.artifact(version.run_id, CARD) if version.run_id and version.tag("card") else ""

    def sees(self, dag_id: str) -> bool:
        """Whether the reader may see a DAG."""
        return self.readable is None or dag_id in self.readable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What the reader asked of the list, and how fresh the answer is.

    :param age: seconds since MLflow was read; ``None``: it has not been read yet.
    :param trouble: why it could not be read; empty: it could.
    :param partial: some records have not been read yet.
    """

    search: str = ""
    verdict: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1
    per: int = PER_PAGE[0]
    age: float | None = None
    trouble: str = ""
    partial: bool = False

    def url(self, **changes: Any) -> str:
        """The address of the list with something else asked."""
        asked = {"q": self.search, "verdict": self.verdict, "sort": self.sort, "page": self.page, "per": self.per}
        plain = {"q": "", "verdict": "", "sort": DEFAULT_SORT, "page": 1, "per": PER_PAGE[0]}
        query = {k: v for k, v in {**asked, **changes}.items() if v != plain[k]}
        return f"?{urlencode(query)}"


def models_page(
    selection: Selection, listing: Listing, *, now: float, links: Links | None = None, frame: Frame = PLAIN
) -> str:
    """The list of models.

    :param selection: the models of this view.
    :param listing: what was asked.
    :param now: the time, seconds since 1970: ages are counted from it.
    """
    links = links or Links()
    return render(
        "models.html",
        frame,
        title="Models",
        selection=selection,
        listing=listing,
        rows=[_row(card, now, links) for card in selection.cards],
        verdicts=[(name, label, selection.counts[name]) for name, (label, _) in VERDICTS.items()],
        sorts=[_sort(name, label, listing) for name, (label, _) in SORTS.items() if name != DEFAULT_SORT],
        per_page=PER_PAGE,
        action=links.mlops + "/",
    )


def model_page(
    card: Card,
    *,
    versions: Sequence[ModelVersion],
    entries: Sequence[Entry],
    evaluation: Mapping[str, Any] | None = None,
    drift: Sequence[tuple[Entry, Mapping[str, Any]]] = (),
    now: float,
    trouble: str = "",
    outside: Callable[[ModelVersion | str], str] = lambda _: "",
    actions: Sequence[Action] = (),
    form_id: str = "",
    links: Links | None = None,
    frame: Frame = PLAIN,
) -> str:
    """One model: who is champion and since when, what happened, how it stands, where it comes from.

    :param versions: newest first.
    :param entries: its records, newest first.
    :param evaluation: the newest evaluation as a dict.
    :param drift: drift checks with their reports, newest first.
    :param trouble: what could not be read.
    :param outside: the page of a version, or of a run by its id, in MLflow; empty: none.
    :param actions: what the reader may start.
    :param form_id: of this view, for the id of a run that is started from it: a form that is sent twice starts one.
    """
    links = links or Links()
    return render(
        "model.html",
        frame,
        title=card.name,
        card=card,
        row=_row(card, now, links),
        trouble=trouble,
        facts=_facts(card, versions),
        timeline=charts.timeline(
            f"{card.name}: what happened",
            [(e.kind, e.at, e.outcome, _said(e)) for e in entries if e.kind != "scoring"],
        ),
        history=[{"entry": e, "run": links.dag_run(e), "report": links.report(e)} for e in entries],
        figures=evaluated(evaluation) if evaluation else [],
        compared=_compared(evaluation) if evaluation else "",
        trend=_trend(entries),
        heat=heat_map(card.name, drift),
        versions=[_version(v, outside(v), links.card(v)) for v in versions],
        chains=_chains(versions, entries, links, outside),
        actions=actions,
        airflow=links.airflow,
        form_id=form_id,
    )


def heat_map(model: str, drift: Sequence[tuple[Entry, Mapping[str, Any]]]) -> Markup | str:
    """Effect over bound, columns by checks, oldest check first; the worst columns on top."""
    checks = list(reversed(drift[:MOST_CHECKS]))
    cells: dict[str, dict[int, tuple[float | None, str, str]]] = {}
    for i, (_, report) in enumerate(checks):
        for check in listed(report, "checks"):
            subject = str(check.get("subject") or "") if isinstance(check, Mapping) else ""
            if not subject:
                continue
            excess = finite(part(check, "details").get("excess"))
            outcome = str(check.get("status") or "error")
            told = f"{words.verdict(outcome, 'drift').word}: {check.get('message') or ''}"
            known = cells.setdefault(subject, {}).get(i)
            level = excess if excess is not None else (1.0 if outcome == "failed" else 0.0)
            if known is None or _graver((level, outcome), (known[0], known[1])):
                cells[subject][i] = (level, outcome, told)
    if not cells:
        return ""
    nothing = (None, "", "not checked")
    worst = sorted(cells, key=lambda c: (-sum(v[1] == "failed" for v in cells[c].values()), c))[:MOST_COLUMNS]
    rows = [(name, [cells[name].get(i, nothing) for i in range(len(checks))]) for name in worst]
    return charts.heat(f"{model}: drift by column", [_label(e) for e, _ in checks], rows)


def _graver(a: tuple[float | None, str], b: tuple[float | None, str]) -> bool:
    order = {"failed": 3, "error": 2, "insufficient_data": 1}
    return (order.get(a[1], 0), a[0] or 0.0) > (order.get(b[1], 0), b[0] or 0.0)


def _label(entry: Entry) -> str:
    return entry.subject if entry.subject and len(entry.subject) <= 12 else entry.at[:10]


def _row(card: Card, now: float, links: Links) -> dict[str, Any]:
    return {
        "card": card,
        "url": links.model(card.name),
        "age": words.age(card.since, now) if card.since else "",
        "spark": charts.sparkline(card.metric or "figures", card.values) if card.values else "",
        "latest": card.values[-1] if card.values else None,
        "cells": [(kind, e, links.report(e), words.age(e.at, now)) for kind, e in _cells(card) if e is not None],
        "by_kind": {kind: (e, links.report(e), words.age(e.at, now)) for kind, e in _cells(card) if e is not None},
        "approve": links.required_actions(card.pending) if card.pending else "",
    }


def _cells(card: Card) -> tuple[tuple[str, Entry | None], ...]:
    return (
        ("gate", card.gate),
        ("drift", card.drift),
        ("performance", card.performance),
        ("decision", card.decision),
        ("pending", card.pending),
    )


def _sort(name: str, label: str, listing: Listing) -> dict[str, Any]:
    own = listing.sort.removeprefix("-") == name
    down = own and listing.sort.startswith("-")
    return {
        "label": label,
        "url": listing.url(sort=f"-{name}" if own and not down else name, page=1),
        "aria": ("descending" if down else "ascending") if own else "",
        "name": name,
    }


def _facts(card: Card, versions: Sequence[ModelVersion]) -> list[tuple[str, Any]]:
    champion = next((v for v in versions if "champion" in v.aliases), None)
    found: list[tuple[str, Any]] = [("Champion", words.name(card.champion or "none", 20))]
    if card.since:
        found.append(("Champion since", words.when(card.since)))
    if champion is not None:
        found += [
            ("Trained on data until", words.name(champion.tag("data_until"), 40)),
            ("Model digest", words.short(champion.model_digest)),
        ]
    previous = next((v.version for v in versions if "previous_champion" in v.aliases), "")
    for label, value in (("Challenger", card.challenger), ("Previous champion", previous)):
        if value:
            found.append((label, words.name(value, 20)))
    return found


def _said(entry: Entry) -> str:
    what = f"{entry.kind} {words.verdict(entry.outcome, entry.kind).word}"
    about = f" {entry.subject}" if entry.subject else ""
    return f"{what}{about}, {entry.at[:16]}{'. ' + entry.reason if entry.reason else ''}"


def _compared(evaluation: Mapping[str, Any]) -> Markup:
    candidate, champion = part(evaluation, "candidate"), part(evaluation, "champion")
    against = "nothing, there was no champion"
    if champion.get("version"):
        against = f"champion {champion['version']}"
        if champion.get("state") == "error":
            against += ", which could not be scored"
    return Markup("Version {} against {}, on {} rows of {}.").format(
        words.name(candidate.get("version") or "?", 20),
        against,
        words.number(evaluation.get("rows")),
        words.name(place(part(evaluation, "data"))),
    )


def _trend(entries: Sequence[Entry]) -> Markup | str:
    """Realised and estimated figures of the main metric, a point a partition."""
    name = trend(entries)[0].removeprefix("estimated ")
    points: dict[str, dict[str, float]] = {}
    for entry in sorted((e for e in entries if e.kind == "performance"), key=lambda e: e.order):
        for prefix in (REALISED, ESTIMATED):
            if prefix + name in entry.metrics:
                points.setdefault(entry.subject or entry.at[:10], {})[prefix] = entry.metrics[prefix + name]
    if not name or not points:
        return ""
    labels = list(points)
    series = [
        charts.Series(name=word, values=[points[k].get(prefix) for k in labels], dashed=prefix == ESTIMATED)
        for word, prefix in (("realised", REALISED), ("estimated, without labels", ESTIMATED))
        if any(prefix in p for p in points.values())
    ]
    return charts.line(name, labels, series)


def _chains(
    versions: Sequence[ModelVersion],
    entries: Sequence[Entry],
    links: Links,
    outside: Callable[[ModelVersion | str], str],
) -> list[tuple[str, list[Step]]]:
    """The way of the champion, and of a challenger that is another version."""
    found: list[tuple[str, list[Step]]] = []
    for alias in ("champion", "challenger"):
        version = next((v for v in versions if alias in v.aliases), None)
        if version is None or (alias == "challenger" and "champion" in version.aliases):
            continue
        steps = lineage(
            version,
            entries,
            report=links.report,
            dag_run=links.dag_run,
            outside=outside(version),
            training_outside=outside(version.run_id) if version.run_id else "",
            card=links.card(version),
        )
        found.append((f"{alias.capitalize()}, version {version.version}", steps))
    return found


def _version(version: ModelVersion, url: str, card: str) -> dict[str, Any]:
    return {
        "card": card,
        "version": version.version,
        "aliases": version.aliases,
        "status": version.status,
        "data_until": version.tag("data_until"),
        "data_digest": version.tag("data_digest"),
        "run_id": version.run_id,
        "model_digest": version.model_digest,
        "pinned": version.tag("pinned"),
        "created": _iso(version.created_at),
        "url": url,
    }


def _iso(milliseconds: int) -> str:
    if not milliseconds:
        return ""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="seconds")
