"""A row a month, from the ledger: what became of 2013 is read where the loop itself recorded it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.core.records import Record
from airflow_mlops.core.results import finite
from dev.demo_page import Row

METRIC = "roc_auc"


def rows_of(
    months: Sequence[str], history: Sequence[Record], counts: Mapping[str, tuple[int | None, float | None]]
) -> list[Row]:
    """The months in order.

    :param months: ``"2013-05"`` and so on.
    :param history: the model's records, newest first, as the hook gives them; the newest of a month wins.
    :param counts: month -> (flights, share late), as :func:`counted` gives.
    """
    by_month: dict[str, dict[str, Any]] = {month: {"month": month} for month in months}
    for month, (rows, late) in counts.items():
        by_month.get(month, {}).update(rows=rows, late=late)
    verdicts: dict[str, list[str]] = {}
    for record in reversed(history):
        month = _month(record)
        if month not in by_month:
            continue
        row = by_month[month]
        if record.kind == "validation":
            verdicts.setdefault(month, []).append(_validation(record))
        elif record.kind == "drift":
            row["drift"] = {"failed": "drift", "passed": "none"}.get(record.outcome, record.outcome.replace("_", " "))
            row["drift_share"] = finite(_details(record).get("share_drifted"))
        elif record.kind == "performance":
            _performance(record, row)
        elif record.kind == "retraining":
            # The decision that set a training off outlives the "keep" of those who found it decided already.
            if row.get("decision") != "retrain" or record.outcome == "retrain":
                reasons: Any = record.body.get("reasons") or [""]
                row["decision"], row["reason"] = record.outcome, str(reasons[0])
        elif record.kind == "gate":
            row["candidate"] = str(_evidence(record, "candidate").get("version") or "")
            row["gate"] = record.outcome
        elif record.kind == "promotion" and record.outcome == "promoted":
            row["promoted"] = record.subject
    champion, found = "", []
    for month in months:
        row = by_month[month]
        champion = row.pop("promoted", champion)
        row["validation"] = _in_order(verdicts.get(month, []))
        found.append(Row(**row, champion=champion))
    return found


def counted(root: str | Path, months: Sequence[str]) -> dict[str, tuple[int | None, float | None]]:
    """Flights and share of late arrivals a month, from the prepared partitions.

    :param root: the flights' root folder.
    """
    import duckdb

    found: dict[str, tuple[int | None, float | None]] = {}
    with duckdb.connect() as db:
        for month in months:
            flights, late = None, None
            for kind, column in (("features", "count(*)"), ("labelled", "avg(late)")):
                path = Path(root) / kind / f"month={month}" / "flights.parquet"
                if path.exists():
                    (value,) = db.execute(f"SELECT {column} FROM read_parquet(?)", [str(path)]).fetchall()[0]
                    flights, late = (value, late) if kind == "features" else (flights, value)
            found[month] = (flights, late)
    return found


def _performance(record: Record, row: dict[str, Any]) -> None:
    details = _details(record)
    for basis in ("realised", "estimated"):
        figure = details.get(basis, {})
        value = figure.get(METRIC) if isinstance(figure, Mapping) else None
        value = finite(value.get("value") if isinstance(value, Mapping) else value)
        if value is not None:
            row[basis] = value


def _validation(record: Record) -> str:
    if record.outcome != "passed":
        return "failed"
    checks: Any = record.body.get("checks") or ()
    warnings = sum(c["severity"] == "warning" and c["status"] not in ("passed", "skipped") for c in checks)
    return f"{warnings} warning{'s' * (warnings > 1)}" if warnings else ""


def _in_order(verdicts: Sequence[str]) -> str:
    if not verdicts:
        return ""
    last = ", ".join(dict.fromkeys(v for v in verdicts if v and v != "failed"))
    ended = "passed" + (f", {last}" if last else "")
    return f"failed, then {ended}" if "failed" in verdicts else ended


def _month(record: Record) -> str:
    """The month that a record is about: its subject, its run's partition, or its time."""
    run = record.body.get("dag_run")
    key = run.get("partition_key") if isinstance(run, Mapping) else None
    return next((str(v) for v in (record.subject, key) if v and re.fullmatch(r"\d{4}-\d\d", str(v))), record.at[:7])


def _details(record: Record) -> Mapping[str, Any]:
    details = record.body.get("details")
    return details if isinstance(details, Mapping) else {}


def _evidence(record: Record, name: str) -> Mapping[str, Any]:
    evidence = record.body.get("evidence")
    part = evidence.get(name) if isinstance(evidence, Mapping) else None
    return part if isinstance(part, Mapping) else {}
