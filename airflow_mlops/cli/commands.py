"""What the commands of ``airflow mlops`` do: ask a hook or an engine, call the core, write."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_mlops.cli.inputs import dataset, profile_of
from airflow_mlops.cli.output import clean, clean_lines, write, write_facts, write_rows
from airflow_mlops.core.errors import MlopsError, UsageError
from airflow_mlops.core.results import JSON, Report, Status

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_mlops.core.records import ModelVersion, Record
    from airflow_mlops.hooks.mlflow import MlflowHook

NO_DRIFT, DRIFT, UNKNOWN = 0, 1, 2
"""Exit codes of ``airflow mlops drift``."""

PATIENCE = 600.0
"""Seconds that ``models`` waits for MLflow's answers; each request has the connection's own timeout."""

MOVES_LIMIT = 1000
"""Promotions and rollbacks that ``--at`` looks back over."""


def command(errors: int = 1) -> Callable[[Callable[[Namespace], None]], Callable[[Namespace], None]]:
    """A function as a command: connections from Airflow's database too, quiet, errors in one line and an exit code.

    :param errors: the exit code of an error.
    """

    def decorate(function: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
        @functools.wraps(function)
        def called(args: Namespace) -> None:
            from airflow.sdk.exceptions import AirflowException

            try:
                with _server_context():
                    function(args)
            except (MlopsError, AirflowException, OSError) as error:
                print(f"error: {clean_lines(str(error))}", file=sys.stderr)
                raise SystemExit(errors) from None

        return suppress_logs_and_warning(providers_configuration_loaded(called))

    return decorate


@contextlib.contextmanager
def _server_context() -> Iterator[None]:
    """Airflow reads connections of its database only in processes that say they may, as its own ``connections`` do."""
    name, before = "_AIRFLOW_PROCESS_CONTEXT", os.environ.get("_AIRFLOW_PROCESS_CONTEXT")
    os.environ[name] = "server"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@command()
def models(args: Namespace) -> None:
    """Every model: champion, since when, and the last verdicts."""
    from airflow_mlops.plugin.models_reading import Reader, Snapshot

    hook = _hook(args)
    view = Snapshot(lambda: Reader(hook)).view(patience=PATIENCE)
    if view.trouble or view.age is None:
        raise UsageError(view.trouble or f"MLflow did not answer within {PATIENCE:g} s")
    rows: list[dict[str, JSON]] = [
        {
            "model": card.name,
            "champion": card.champion or None,
            "since": card.since or None,
            "challenger": card.challenger or None,
            "gate": _verdict(card.gate),
            "drift": _verdict(card.drift),
            "performance": _verdict(card.performance),
            "decision": _verdict(card.decision, kind=True),
            "waits_for_approval": card.pending.subject if card.pending else None,
        }
        for card in view.cards
    ]
    shown = ("model", "champion", "since", "gate", "drift", "performance", "decision")
    if args.output == "table":
        for row in rows:
            row["since"] = _short(row["since"])
    write_rows(rows, args.output, empty="MLflow has no registered model yet.", columns=shown)


def _verdict(entry: Any, *, kind: bool = False) -> str | None:
    if entry is None:
        return None
    about = f" ({entry.subject})" if entry.subject else ""
    return f"{f'{entry.kind} ' if kind else ''}{entry.outcome}{about}"


@command()
def history(args: Namespace) -> None:
    """The ledger, newest first; or the champion of a date."""
    hook = _hook(args)
    if args.at:
        _champion_at(hook, args)
        return
    from airflow_mlops.core import versions

    kinds = tuple(dict.fromkeys(args.kind or ()))
    if args.limit < 1:
        raise UsageError(f"--limit is at least 1, got {args.limit}")
    records = hook.history(args.model, kinds=kinds, limit=args.limit)
    if not records:
        _known(hook, args.model)
    rows: list[dict[str, JSON]] = [
        {
            "at": r.at,
            "kind": r.kind,
            "outcome": r.outcome,
            "subject": r.subject,
            "by": versions.who(r),
            "why": versions.why(r),
            "backfill": r.backfill,
            "record": r.run_id,
        }
        for r in records
    ]
    if args.output == "table":
        for row in rows:
            row["at"], row["kind"] = _short(row["at"]), f"{row['kind']}{' (backfill)' if row['backfill'] else ''}"
    empty = f"The ledger of {clean(args.model)} has no such record."
    shown = ("at", "kind", "outcome", "subject", "by", "why", "record")
    write_rows(rows, args.output, empty=empty, columns=shown)


def _champion_at(hook: MlflowHook, args: Namespace) -> None:
    from airflow_mlops.core import versions
    from airflow_mlops.core.records import CHAMPION

    moves = hook.history(args.model, kinds=versions.MOVES, limit=MOVES_LIMIT)
    reign = versions.champion_at(moves, args.at)
    if reign is None:
        _known(hook, args.model)
        raise UsageError(f"the ledger of {args.model!r} knows no champion on {args.at}; {_first_of(moves)}")
    promotion = versions.promotion_of(moves, reign.version, reign.since)
    gate = str((promotion or reign.record).body.get("evidence", {}).get("gate") or "")  # type: ignore[union-attr]
    found = hook.version(args.model, reign.version) if reign.version.isdigit() else None
    training = _training(hook, found, promotion or reign.record)
    told = versions.account(
        reign,
        promotion=promotion,
        gate=hook.find_record(args.model, "gate", gate) if gate else None,
        training=training,
    )
    if not reign.until:
        now = hook.by_alias(args.model, CHAMPION)
        if (now.version if now else "") != reign.version:
            points = f"points at version {now.version}" if now else "is gone"
            told["note"] = f"today the alias {points}, by no move that the ledger knows"
    if args.output != "table":
        write(told, args.output)
        return
    until = f"until {reign.until}" if reign.until else "and still is, by the ledger"
    what = f"version {reign.version} was champion" if reign.version else "there was no champion"
    print(clean(f"{args.model}: {what} on {args.at}, since {reign.since} {until}."))
    for line in _told(told):
        print(line)


def _told(told: dict[str, Any]) -> Iterator[str]:
    """An account in a few lines."""
    run, evidence, data = told["dag_run"], told["evidence"], told["data"] or {}
    task = ".".join(str(run[k]) for k in ("dag_id", "task_id") if run.get(k))
    decided = str(told["decided_by"] or "unknown") + (f" in {task}, run {run.get('run_id')}" if task else "")
    gate = "; ".join(map(str, evidence["gate_reasons"][:3]))
    facts = {
        "decided by": decided,
        "because": "; ".join(map(str, told["reasons"])),
        "replaced": f"version {told['replaced']}" if told["replaced"] else None,
        "gate": f"{evidence['gate']}: {gate or 'no longer in the ledger'}" if evidence["gate"] else None,
        "figures": ", ".join(_figure(f) for f in evidence["figures"]),
        "judged on": _place(evidence["judged_on"] or {}),
        "approval": evidence["approval"],
        "trained on": _place(data),
        "data until": told["data_until"],
        "code": f"{told['trained_by'] or 'unknown'} at {told['code_version'] or 'an unknown version'}"
        if data
        else None,
        "training run": told["training"]["run_id"],
        "model digest": told["model_digest"],
        "note": told["note"],
    }
    known = {k: v for k, v in facts.items() if v}
    width = max(map(len, known))
    for name, value in known.items():
        yield f"  {name:{width}}  {clean(value)}"


def _figure(figure: dict[str, Any]) -> str:
    against = f" (champion {clean(figure.get('champion'))})" if figure.get("champion") is not None else ""
    return f"{figure.get('metric')} {clean(figure.get('candidate'))}{against}"


def _place(data: dict[str, Any]) -> str:
    where = data.get("table") or data.get("uri") or data.get("name")
    if not where:
        return ""
    version = f" at {data['version']}" if data.get("version") else ""
    return f"{where}{version}, {data.get('rows')} rows, digest {data.get('digest')}"


@command()
def data_of(args: Namespace) -> None:
    """Exactly which rows a version saw."""
    from airflow_mlops.core import versions

    hook = _hook(args)
    version = hook.version(args.model, args.version) if args.version.isdigit() else None
    if not args.version.isdigit():
        version = hook.by_alias(args.model, args.version)
    if version is None:
        _known(hook, args.model)
        newest = ", ".join(v.version for v in hook.versions(args.model, limit=5))
        raise UsageError(f"model {args.model!r} has no version or alias {args.version!r}; its newest are {newest}")
    judged = hook.history(args.model, kinds=("evaluation",), limit=1000)
    seen = versions.rows_seen(_training(hook, version, None), [r for r in judged if r.subject == version.version])
    if args.output != "table":
        write({"model": version.name, "version": version.version, "data": [s.to_dict() for s in seen]}, args.output)
        return
    if not any(s.role == versions.TRAINED_ON for s in seen):
        print(f"The ledger does not say what {clean(version.label)} was trained on: it was made by something else.")
    for one in seen:
        facts = one.to_dict()
        filters = " and ".join(f"{c} {o} {'' if v is None else v}".strip() for c, o, v in one.ref.filters)
        columns = f"{len(one.columns)}: {', '.join(one.columns[:12])}{', ...' if len(one.columns) > 12 else ''}"
        print(f"{clean(version.label)} was {one.role}")
        write_facts(
            {
                "  location": facts["location"],
                "  connection": facts["connection"],
                "  version": facts["version"],
                "  filters": filters,
                "  rows": facts["rows"],
                "  rows used": f"{one.used} ({one.why})" if one.why else None,
                "  columns": columns if one.columns else None,
                "  digest": facts["digest"],
                "  at": facts["at"],
                "  record": facts["record"],
            }
        )
        print("\n" + "\n".join(f"    {line}".rstrip() for line in clean_lines(str(facts["code"])).split("\n")) + "\n")


@command(errors=UNKNOWN)
def drift(args: Namespace) -> None:
    """The operator's check on two datasets; exits with the verdict."""
    from airflow_mlops.core.drift import drifted_columns

    report = _drift_report(args)
    code = {Status.PASSED: NO_DRIFT, Status.FAILED: DRIFT}.get(report.status, UNKNOWN)
    if args.output != "table":
        write({**report.to_dict(), "drifted": list(drifted_columns(report)), "exit_code": code}, args.output)
    else:
        order = {Status.FAILED: 0, Status.ERROR: 1, Status.INSUFFICIENT: 2, Status.PASSED: 3}
        worst = {column: place for place, column in enumerate(drifted_columns(report))}
        checks = sorted(
            (c for c in report.checks if c.subject),
            key=lambda c: (order.get(c.status, 4), worst.get(c.subject, len(worst)), c.subject, c.name),
        )
        rows = [{"column": c.subject, "check": c.name, "verdict": c.status, "seen": c.message} for c in checks]
        write_rows(rows, "table", empty="No column was compared.")
        whole = [c.message for c in report.checks if not c.subject and not c.passed]
        words = {NO_DRIFT: "no drift", DRIFT: "drift", UNKNOWN: f"not known ({report.status})"}[code]
        share = f"{report.details.get('columns_drifted', 0)} of {report.details.get('columns', 0)} columns drifted"
        print(clean(f"{report.subject}: {words}; {'; '.join(whole) or share}"))
    if code:
        raise SystemExit(code)


def _drift_report(args: Namespace) -> Report:
    from airflow_mlops.core.drift import DriftPolicy, check_drift
    from airflow_mlops.engines import engine_for
    from airflow_mlops.operators._monitoring import policy_of

    policy = policy_of(DriftPolicy, args.policy)
    reference = profile_of(args.reference, args.data_conn_id)
    ref = dataset(args.current, args.data_conn_id)
    engine = engine_for(ref)
    ref = engine.resolve(ref)
    common = [c for c in reference.columns if c in ref.schema and policy.watches(c)]
    if not common:
        raise UsageError(f"{ref.label} has none of the columns of {args.reference} that the policy watches")
    current = engine.profile(ref, reference=reference, columns=common)
    return check_drift(reference, current, policy, subject=ref.label, columns=ref.schema)


@command()
def gate_explain(args: Namespace) -> None:
    """The last verdict in words."""
    from airflow_mlops.core.gates import verdict_markdown
    from airflow_mlops.core.results import Decision

    hook = _hook(args)
    wanted = args.version
    if wanted and not wanted.isdigit():
        found = hook.by_alias(args.model, wanted)
        wanted = found.version if found else wanted
    records = hook.history(args.model, kinds=("gate",), limit=1000)
    record = next((r for r in records if not wanted or r.subject == wanted), None)
    if record is None:
        _known(hook, args.model)
        about = f"version {args.version} of {args.model!r}" if args.version else repr(args.model)
        raise UsageError(f"no gate has judged {about} yet")
    if args.output != "table":
        write({**record.body, "record": record.run_id, "at": record.at, "version": record.subject}, args.output)
        return
    try:
        text = verdict_markdown(Decision.from_dict(record.body))
    except (KeyError, TypeError, ValueError):  # written by a release that kept other evidence
        reasons = record.body.get("reasons")
        text = "\n".join(f"- {r}" for r in (reasons if isinstance(reasons, list) else [])) or "No reason was recorded."
    from airflow.cli.simple_table import AirflowConsole
    from rich.markdown import Markdown

    AirflowConsole().print(Markdown(clean_lines(text)))
    print(clean(f"\nJudged for {record.at}, record {record.run_id}.").removeprefix("\\n"))


@command()
def draft_suite(args: Namespace) -> None:
    """A suite that a person goes on with."""
    from airflow_mlops.core import drafting

    profile = profile_of(args.data, args.data_conn_id)
    text = drafting.suite_yaml(drafting.draft_suite(profile, slack=args.slack))
    if not args.output_file:
        print(text, end="")
        return
    path = Path(args.output_file)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already, maybe edited by hand: remove it or name another file") from None
    print(f"{path}: {text.count('- type: ')} expectations from {profile.rows} rows. Read them before you rely on them.")


def _hook(args: Namespace) -> MlflowHook:
    from airflow_mlops.hooks.mlflow import MlflowHook

    return MlflowHook(args.conn_id)


def _known(hook: MlflowHook, model: str) -> None:
    """Refuse a name that MLflow does not know.

    :raises UnknownName: with the nearest.
    """
    from airflow_mlops.core.errors import UnknownName

    names = [str(m["name"]) for m in hook.models()]
    if model not in names and not hook.experiment_id(model, create=False):
        raise UnknownName("model", model, names)


def _training(hook: MlflowHook, version: ModelVersion | None, promotion: Record | None) -> Record | None:
    """The record of the training that made a version; the version may be deleted by now."""
    evidence: Any = promotion.body.get("evidence") if promotion else {}
    run_id = version.run_id if version else str((evidence or {}).get("run_id") or "")
    return hook.find_record_by_run(run_id) if run_id else None


def _first_of(moves: list[Record]) -> str:
    return f"its first is of {moves[-1].at}" if moves else "nothing was ever promoted"


def _short(time: JSON) -> str | None:
    """A time to the minute, for a table."""
    text = str(time or "")
    return text[:16].replace("T", " ") if text else None
