"""The making of an evaluation: rows read once, models asked in their processes, figures, explanations and pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DatasetNotFound, SchemaMismatch
from airflow_mlops.core.evaluation import Evaluation
from airflow_mlops.core.metrics import Metric
from airflow_mlops.core.outputs import Truth, task_of, truth_of
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON
from airflow_mlops.core.slicing import SliceBy
from airflow_mlops.operators import _frozen
from airflow_mlops.operators._child import Limits
from airflow_mlops.operators._contenders import Asked, Asking, ask, onto_run
from airflow_mlops.operators._findings import findings, places, places_of_queries, simple_models
from airflow_mlops.operators._spool import Rows, spooled

if TYPE_CHECKING:
    from airflow_mlops.hooks.mlflow import MlflowHook

log = logging.getLogger(__name__)

EXPLAIN = ("permutation", "shap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What an evaluation is to find out; the operator's arguments say what each is."""

    model_name: str
    target: str
    metrics: Sequence[Metric]
    slices: Sequence[SliceBy]
    features: tuple[str, ...]
    problem: str
    positive_label: Any
    baselines: Sequence[str]
    replicates: int
    seed: int
    latency_calls: int
    parity_rows: int
    importance_rows: int
    importance_repeats: int
    explain: str
    explain_rows: int
    explain_seconds: float
    fairness: Sequence[str]
    time_column: str
    query_column: str
    limits: Limits
    batch_rows: int
    keep_bytes: int
    config: str
    at: str


@contextlib.contextmanager
def rows_of(hook: MlflowHook, model: str, data: DatasetRef) -> Iterator[tuple[DatasetRef, DatasetRef]]:
    """The reference of the rows, resolved, and where they are read: of a set that was kept, its copy when need be.

    :raises Conflict: when the rows are not those of the reference any more, and no copy was kept.
    :raises DatasetNotFound: likewise, when there are none.
    """
    from airflow_mlops.engines import engine_for, verify

    if not data.resolved:
        found = engine_for(data).resolve(data)
        yield found, found
        return
    try:
        verify(data)
        gone: Exception | None = None
    except (Conflict, DatasetNotFound) as error:
        gone = error
    if gone is None:
        yield data, data
        return
    with _frozen.restored(hook, model, data) as copy:
        if copy is None:
            raise gone
        log.warning("%s; the copy that was kept of these rows is read instead", gone)
        yield data, copy


def score(
    hook: MlflowHook,
    plan: Plan,
    version: ModelVersion,
    champion: ModelVersion | None,
    data: DatasetRef,
    source: DatasetRef,
    training: DatasetRef | None,
) -> tuple[Evaluation, dict[str, str | bytes]]:
    """The evaluation, and what is stored beside it.

    :param data: the reference of the rows.
    :param source: where they are read.
    :raises SchemaMismatch: when they lack a column.
    """
    from airflow_mlops.engines import engine_for

    held = [plan.target, *(c for s in plan.slices for c in s.columns), *filter(None, [plan.query_column])]
    needed = [*held, *filter(None, [plan.time_column])]

    with tempfile.TemporaryDirectory(prefix="mlops-set-") as folder:
        known = _frozen.known(hook, plan.model_name, data)
        copy = _frozen.Copy(Path(folder) / _frozen.FILE, 0 if known else plan.keep_bytes)

        def look(batch: Any) -> None:
            missing = [c for c in dict.fromkeys(needed) if c not in batch.columns]
            if missing:
                raise SchemaMismatch(f"{data.label} has no column {', '.join(map(repr, missing))}", missing=missing)
            copy(batch)

        batches = engine_for(source).batches(source, plan.batch_rows)
        with spooled(batches, list(dict.fromkeys(held)), look) as (columns, rows_where):
            labelled = truth_of(columns[plan.target], task=task_of(plan.metrics, plan.problem), name=plan.target)
            rows = rows_where(labelled.kept)
            frozen = known or _frozen.keep(hook, plan.model_name, data, copy, at=plan.at)
            read = "source" if source is data else "copy"
            told = {**_frozen.told(frozen), "read": read}
            queries = columns[plan.query_column][labelled.kept].reset_index(drop=True) if plan.query_column else None
            return _scored(hook, plan, version, champion, data, training, rows, columns, queries, told)


def _scored(
    hook: MlflowHook,
    plan: Plan,
    version: ModelVersion,
    champion: ModelVersion | None,
    data: DatasetRef,
    training: DatasetRef | None,
    rows: Rows,
    columns: Any,
    queries: Any,
    frozen: Mapping[str, JSON],
) -> tuple[Evaluation, dict[str, str | bytes]]:
    from airflow_mlops.core.comparison import evaluate

    if plan.metrics[0].per_query and queries is not None:
        shuffled = places_of_queries(queries, plan.importance_rows, plan.seed)
    else:
        shuffled = places(len(rows), plan.importance_rows, plan.seed)
    asking = Asking(
        rows=rows,
        target=plan.target,
        features=plan.features,
        latency_calls=plan.latency_calls,
        limits=plan.limits,
        again=places(len(rows), plan.parity_rows, plan.seed),
        shuffled=shuffled,
        repeats=plan.importance_repeats,
        seed=plan.seed,
    )
    asked = {
        "candidate": ask(hook, version, asking, closely=True),
        "champion": ask(hook, champion, asking),
    }
    candidate = asked["candidate"]
    known = {c for one in asked.values() for c in one.classes}
    trained_for = candidate.positive if len(known) == 2 else None
    truth = truth_of(
        columns[plan.target],
        task=task_of(plan.metrics, plan.problem),
        known=known,
        positive_label=trained_for if plan.positive_label is None else plan.positive_label,
        name=plan.target,
    )
    columns = columns.loc[truth.kept].reset_index(drop=True)
    said = {who: one.say(rows, truth) for who, one in asked.items()}
    importances: dict[str, JSON] = {}
    explanations: dict[str, JSON] = {}
    if (own := said["candidate"]) is not None:
        candidate.compare(own, asking, truth)
        importances = candidate.importances(plan.metrics[0], own, asking, truth, queries)
        if plan.explain == "shap":
            explanations = _explained(hook, plan, version, candidate, rows, truth)
    for who, one in asked.items():
        if one.error:
            log.warning("%s %s: %s", who, one.label, one.error)
    features = candidate.answer.features if candidate.answer else ()
    others = features or tuple(str(c) for c in rows.take([0]).columns if c != plan.target)
    first, *more = plan.baselines or [""]
    points = explanations.pop("points", None)
    evaluation = evaluate(
        model_name=plan.model_name,
        truth=truth,
        metrics=plan.metrics,
        candidate=candidate.contender,
        champion=asked["champion"].contender,
        outputs={who: outputs for who, outputs in said.items() if outputs is not None},
        slices={s.name: s.values(columns) for s in plan.slices},
        baseline=first,
        baselines=simple_models([first, *more], rows, truth, others, plan.seed),
        replicates=plan.replicates,
        seed=plan.seed,
        data=data.to_dict(),
        leakage=findings(rows, truth, features, training, time_column=plan.time_column, target=plan.target),
        importances=importances,
        explanations=explanations,
        fairness=plan.fairness,
        frozen=frozen,
        queries=queries,
        config=plan.config,
    )
    if own is not None:
        onto_run(hook, version, evaluation, own, truth, rows, others)
    return evaluation, beside(evaluation, points)


def _explained(
    hook: MlflowHook, plan: Plan, version: ModelVersion, candidate: Asked, rows: Rows, truth: Truth
) -> dict[str, JSON]:
    """SHAP values of a few rows; where there are none, the note why the importances by shuffling have to do."""
    import numpy as np

    from airflow_mlops.operators._explain import BACKGROUND, Wanted, explained

    few = np.random.default_rng(plan.seed).permutation(len(rows))[: plan.explain_rows + BACKGROUND]
    drawn = rows.take(np.sort(few))
    count = min(plan.explain_rows, max(1, len(drawn) - min(BACKGROUND, len(drawn) // 2)))
    with hook.model_files(version) as files:
        wanted = Wanted(
            files=files,
            label=version.label,
            # Those that are explained and those that stand in are both spread over all rows.
            rows=drawn.sample(frac=1, random_state=plan.seed).reset_index(drop=True),
            explained=count,
            target=plan.target,
            features=candidate.answer.features if candidate.answer else (),
            task=truth.task,
            classes=truth.classes,
            seed=plan.seed,
        )
        seconds = min(plan.explain_seconds, plan.limits.seconds or plan.explain_seconds)
        found = explained(wanted, Limits(memory_mb=plan.limits.memory_mb, seconds=seconds))
    if not found.get("error"):
        return found
    note = f"SHAP values were asked for and there are none, importances by shuffling stand instead: {found['error']}"
    log.warning(note)
    return {"method": "permutation", "note": note, "features": []}


def beside(evaluation: Evaluation, points: JSON = None) -> dict[str, str | bytes]:
    """The page, the pictures and the values behind them, for the run of the evaluation."""
    from airflow_mlops.pages import evaluation_page
    from airflow_mlops.pages.pictures import pictures_of

    value = evaluation.to_dict()
    stored: dict[str, str | bytes] = {"evaluation.html": evaluation_page(value)}
    stored |= {f"pictures/{name}.svg": picture for name, picture in pictures_of(value, points).items()}
    if points:
        stored["explanations/shap.json"] = json.dumps({**evaluation.explanations, "points": points}, allow_nan=False)
    return stored
