"""A ledger worth looking at: records as the operators write them, made by the core from made-up figures.

Used by the tests of the pages and, in larger numbers, by the benchmark and the screenshots.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.drift import check_drift, figures
from airflow_mlops.core.drift_policy import DriftPolicy
from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.gates import BeatsBaseline, BeatsChampion, GatePolicy, Slices, Value, judge
from airflow_mlops.core.performance import Figure as Observed
from airflow_mlops.core.performance import Labels, PerformancePolicy, check_performance
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import Check, Decision, Report, Status, digest

NASTY = "<script>alert('x')</script> & \"הצעה\" \u202egnp.exe"
"""A name that nobody means well with: markup, quotes, right-to-left letters and an override of the direction."""

NASTY_MODEL = NASTY.replace("/", "\u2215").replace("'", "`")
"""The same as far as a model can be called so: no slash, and not both kinds of quotes."""

MODEL_DIGEST = "9f2c" * 16
DATA_DIGEST = "ab34" * 8
POLICY = GatePolicy(
    checks=[
        Value("roc_auc", lower=0.65),
        BeatsChampion("roc_auc", min_absolute=-0.002, confidence=0.95, margin=0.01),
        BeatsBaseline("roc_auc"),
        Slices(by="carrier", metric="roc_auc", lower=0.6, min_rows=200, on_insufficient="skip"),
    ],
    on_missing_champion="value_only",
)


def evaluation_of(
    model: str = "flights_delay", *, version: str = "4", champion: str = "3", auc: float = 0.717, by: str = "carrier"
) -> Evaluation:
    """Candidate against champion on 27,004 rows, with slices; the champion has 0.708."""

    def figure(name: str, own: float, theirs: float, base: float) -> Figure:
        spread = 0.006
        levels = {"0.005": -2.6, "0.01": -2.3, "0.025": -1.96, "0.05": -1.64, "0.5": 0.0, "0.95": 1.64, "0.975": 1.96}
        sign = 1 if name == "roc_auc" else -1
        return Figure(
            metric=name,
            direction="higher" if sign > 0 else "lower",
            candidate=own,
            champion=theirs if champion else None,
            baseline=base,
            replicates=1000,
            candidate_quantiles={k: own + z * spread for k, z in levels.items()},
            improvement_quantiles={k: sign * (own - theirs) + z * spread / 2 for k, z in levels.items()}
            if champion
            else {},
        )

    def contender(number: str) -> Contender:
        until = f"2013-0{number}-30" if number else ""
        return Contender(version=number, model_digest=MODEL_DIGEST, run_id="0" * 31 + number, data_until=until)

    rows = {"UA": 4925, "B6": 4556, "EV": 4322, "DL": 4092, "HA": 31}
    return Evaluation(
        model_name=model,
        candidate=contender(version),
        champion=contender(champion) if champion else Contender(state="missing"),
        task="binary",
        metrics=(figure("roc_auc", auc, 0.708, 0.5), figure("brier", 0.163 - (auc - 0.717), 0.165, 0.186)),
        slices=tuple(
            Slice(by=by, value=v, rows=n, metrics=(figure("roc_auc", auc - 0.01 * i, 0.70 - 0.01 * i, 0.5),))
            for i, (v, n) in enumerate(rows.items())
        ),
        baseline="prior",
        data={
            "uri": "s3://lake/flights/2013-06.parquet",
            "name": "flights 2013-06",
            "digest": DATA_DIGEST,
            "rows": 27075,
        },
        rows=27004,
        dropped=71,
        config="c0ffee",
    )


def decision_of(evaluation: Evaluation, policy: GatePolicy = POLICY, **run: Any) -> Decision:
    """The gate's verdict, with the DAG run that it was made in."""
    return dataclasses.replace(judge(evaluation, policy), dag_run={"dag_id": "flights_train", **run})


COLUMNS = ("distance", "hour", "month", "temp", "wind_speed", "carrier", "origin")


def profile_of(rows: int = 20_000, shift: float = 0.0, columns: Sequence[str] = COLUMNS, name: str = "") -> Profile:
    """Normal columns in fixed bins, ``shift`` standard deviations off; and categories that become more uneven."""
    edges = tuple(round(-2.4 + 0.3 * i, 6) for i in range(17))

    def share(a: float, b: float, off: float) -> float:
        return 0.5 * (math.erf((b - off) / math.sqrt(2)) - math.erf((a - off) / math.sqrt(2)))

    found = {}
    for i, column in enumerate(columns):
        off = shift * (1 - i / len(columns)) if i % 2 == 0 else 0.0
        nulls = rows // 50 if column == "wind_speed" else 0
        base: dict[str, Any] = {"name": column, "count": rows, "nulls": nulls}
        if i >= len(columns) - 2:
            weights = [0.4 + off * 0.1, 0.3, 0.2, 0.1 - off * 0.1]
            counts = [max(0, round(rows * w)) for w in weights]
            counts[0] += rows - sum(counts)
            top = tuple(zip(("UA", "B6", "EV", "DL"), counts, strict=True))
            found[column] = ColumnProfile(
                **base, type="string", kind="categorical", top=top, distinct=4, distinct_exact=True
            )
            continue
        bounds = (-9.0, *edges, 9.0)
        counts = [round((rows - nulls) * share(a, b, off)) for a, b in itertools.pairwise(bounds)]
        counts[len(counts) // 2] += rows - nulls - sum(counts)
        found[column] = ColumnProfile(
            **base,
            type="float",
            kind="numeric",
            edges=edges,
            counts=tuple(counts),
            minimum=-4.0,
            maximum=4.0 + off,
            mean=off,
            m2=float(rows),
            distinct=rows // 2,
        )
    return Profile(rows=rows, columns=found, dataset_digest=digest(rows, shift) * 2, name=name)


def drift_of(shift: float, subject: str, columns: Sequence[str] = COLUMNS) -> Report:
    """A check of a batch that is ``shift`` off."""
    reference, current = profile_of(columns=columns), profile_of(9_000, shift, columns)
    return check_drift(reference, current, DriftPolicy(replicates=100), subject=subject)


def performance_of(subject: str, realised: float | None, estimated: float) -> Report:
    """A check of a month of predictions; without a realised figure it is judged by its estimate."""
    known = realised is not None
    return check_performance(
        PerformancePolicy(bounds={"roc_auc": {"lower": 0.66, "max_drop": 0.04}}),
        labels=Labels(predictions=27_000, due=27_000 if known else 0, labelled=26_500 if known else 0),
        observed={"roc_auc": Observed(value=realised, low=realised - 0.01, high=realised + 0.01)} if known else {},
        estimated={"roc_auc": Observed(value=estimated, low=estimated - 0.015, high=estimated + 0.015, estimated=True)},
        reference={"roc_auc": 0.708},
        subject=subject,
    )


def validation_of(subject: str = "flights 2013-06", column: str = "arr_delay") -> Report:
    """Three expectations, one of them critical and not met."""
    result = {
        "element_count": 27075,
        "unexpected_count": 912,
        "unexpected_percent": 3.37,
        "partial_unexpected_list": [-999],
    }
    return Report(
        kind="validation",
        subject=subject,
        checks=(
            Check(
                name="expect_column_values_to_be_between",
                subject=column,
                status=Status.FAILED,
                observed=912,
                expected="min_value=-120, max_value=1800",
                message="912 of 27075 rows do not hold (3.37 % of those that count), for example -999",
                details={"result": result},
            ),
            Check(name="expect_column_values_to_not_be_null", subject="carrier", status=Status.PASSED, observed=0),
            Check(
                name="expect_column_values_to_match_regex",
                subject="tailnum",
                status=Status.ERROR,
                severity="warning",  # type: ignore[arg-type]
                message="the column is not there",
            ),
        ),
        inputs={"data": DATA_DIGEST, "suite": "5171e"},
        details={"rows": {"batch": 27075}, "environment": "TRAINING"},
    )


def performance_record(model: str, report: Report, at: str, **more: Any) -> Record:
    """As the operator logs it: figures by their kind."""
    metrics = {
        f"{kind}_{name}": figure["value"]
        for kind in ("realised", "estimated")
        for name, figure in report.details[kind].items()  # type: ignore[union-attr, index, call-overload]
    }
    return _for_partition(Record.of_report(report, model=model, at=at, metrics=metrics, **more))


def _for_partition(record: Record) -> Record:
    """As the operators do: the same rows can be two partitions, each has a record."""
    return dataclasses.replace(record, key=digest(record.key, record.subject))


def year(model: str, *, seed: int = 7, months: int = 10, pending: bool = False) -> list[tuple[Record, dict[str, Any]]]:
    """The records of a year of one model, each with the DAG run that wrote it.

    Three trainings, of which one is rejected; drift from summer on; a rollback; and, with ``pending``, a candidate that
    waits for a person at the end.
    """
    draw = random.Random(seed)
    found: list[tuple[Record, dict[str, Any]]] = []

    def add(record: Record, dag: str, task: str, month: int) -> None:
        run = {"dag_id": dag, "run_id": f"asset_triggered__2013-{month:02}", "task_id": task}
        found.append((record, run))

    for month in range(2, months + 1):
        subject, at = f"2013-{month:02}", f"2013-{month:02}-28T06:00:00+00:00"
        shift = 0.0 if month < 6 else 0.12 * (month - 5)
        report = drift_of(shift, subject)
        drifted = Record.of_report(report, model=model, at=at, metrics=figures(report))
        add(
            _for_partition(drifted),
            "flights_monitor",
            "check_drift",
            month,
        )
        auc = 0.712 - 0.006 * max(0, month - 5) + draw.uniform(-0.006, 0.006)
        realised = performance_of(subject, round(auc, 4) if month < months else None, round(auc + 0.004, 4))
        add(performance_record(model, realised, at), "flights_monitor", "check_performance", month)
        retrain = month in (2, 5, 8)
        words = ("drift: 3 of the last 4 checks found drift",) if retrain else ("no reason to retrain",)
        decided = Decision(
            kind="retraining",
            model=model,
            decision="retrain" if retrain else "keep",
            reasons=words,
            inputs={"what": digest(model, month)},
        )
        add(Record.of_decision(decided, at=at), "flights_monitor", "decide", month)
        if not retrain and not (pending and month == months):
            continue
        version = {2: "1", 5: "2", 8: "3"}.get(month, "4")
        champion = {"1": "", "2": "1", "3": "1", "4": "1"}[version]
        judged = evaluation_of(model, version=version, champion=champion, auc=0.701 if version == "3" else 0.721)
        add(
            Record(
                kind="evaluation",
                model=model,
                key=judged.digest,
                outcome="scored",
                body=judged.to_dict(),
                metrics={f.metric: f.candidate for f in judged.metrics if f.candidate is not None},
                subject=version,
                at=at,
            ),
            "flights_train",
            "evaluate",
            month,
        )
        policy = (
            POLICY
            if version != "4"
            else GatePolicy(
                checks=[
                    Slices(by="carrier", metric="roc_auc", lower=0.6, min_rows=200, on_insufficient="require_approval"),
                    *POLICY.checks[:3],
                ]
            )
        )
        verdict = decision_of(judged, policy)
        add(Record.of_decision(verdict, subject=version, at=at), "flights_train", "gate", month)
        if verdict.decision == "pass":
            add(_moved(model, "promotion", "promoted", version, at), "flights_train", "promote", month)
    back = f"2013-{min(6, months):02}-02T12:00:00+00:00"
    add(_moved(model, "rollback", "rolled_back", "1", back), "flights_rollback", "roll_back", 6)
    return found


def _moved(model: str, kind: str, outcome: str, version: str, at: str) -> Record:
    decision = Decision(
        kind=kind,
        model=model,
        decision=outcome,
        reasons=("the gate passed" if kind == "promotion" else "complaints from operations about JFK",),
        evidence={"version": version, "model_digest": MODEL_DIGEST},
        inputs={"version": version, "at": at},
    )
    return Record.of_decision(decision, subject=version, at=at)


def fill(hook: Any, model: str, records: Sequence[tuple[Record, dict[str, Any]]], *, versions: int = 3) -> None:
    """Register a model with versions and write its records, through the hook as the operators do."""
    hook.ensure_model(model)
    for number in range(1, versions + 1):
        run = hook.client.create_run(hook.experiment_id(model), run_name=f"training {number}")
        hook.client.set_terminated(run.info.run_id, "FINISHED")
        hook.client.create_model_version(model, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        tags = {
            "model_digest": MODEL_DIGEST,
            "data_digest": DATA_DIGEST,
            "data_until": f"2013-0{number + 1}-28",
            "training_key": digest(model, number),
        }
        hook.tag_version(model, number, tags)
    hook.set_alias(model, "champion", 1)
    if versions > 1:
        hook.set_alias(model, "challenger", versions)
    for record, run_of in records:
        hook.record(record, dag_run=run_of)
