"""Evaluations for the tests of the gate, made of what a test cares about."""

from __future__ import annotations

from typing import Any

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.gates import GatePolicy, judge
from airflow_mlops.core.metrics import METRICS


def figure(metric: str, candidate: Any, champion: Any = None, **options: Any) -> Figure:
    known = METRICS[metric].direction if metric in METRICS else "higher"
    return Figure(
        metric=metric,
        direction=options.pop("better", None) or known,
        candidate=candidate,
        champion=champion,
        **options,
    )


def evaluation_of(given: dict[str, Any]) -> Evaluation:
    metric, better = given.get("metric", "roc_auc"), given.get("better")
    state = given.get("champion_state", "scored" if "champion" in given else "missing")
    sure = given.get("sure", {})
    slices = tuple(
        Slice(
            by="carrier",
            value=value,
            rows=numbers[0],
            metrics=(
                figure(
                    metric,
                    *numbers[1:],
                    better=better,
                    replicates=1000 if {"slice_sure", "slice_at_most", "slice_better"} & set(given) else 0,
                    candidate_quantiles={
                        **{f"{1 - k:.4g}": v for k, v in given.get("slice_sure", {}).get(value, {}).items()},
                        **{f"{k:.4g}": v for k, v in given.get("slice_at_most", {}).get(value, {}).items()},
                    },
                    improvement_quantiles={
                        f"{1 - k:.4g}": v for k, v in given.get("slice_better", {}).get(value, {}).items()
                    },
                ),
            ),
        )
        for value, numbers in given.get("slices", {}).items()
    ) + tuple(
        Slice(
            by="carrier",
            value=value,
            rows=counts[0],
            counts=dict(zip(("positives", "selected", "true_positives"), counts[1:], strict=False)),
        )
        for value, counts in given.get("groups", {}).items()
    )
    return Evaluation(
        model_name="flights",
        candidate=Contender(
            version="7",
            model_digest="c" * 64,
            data_until=given.get("data_until", "2013-05"),
            state=given.get("candidate_state", "scored"),
            details=given.get("details", {}),
        ),
        champion=Contender(
            version="" if state == "missing" else "6",
            model_digest="" if state == "missing" else "d" * 64,
            state=state,
            details=given.get("champion_details", {}),
        ),
        metrics=(
            figure(
                metric,
                given["candidate"],
                given.get("champion"),
                baseline=given.get("baseline"),
                better=better,
                replicates=given.get("resamples", 1000 if sure or "at_most" in given else 0),
                candidate_quantiles={f"{k:.4g}": v for k, v in given.get("at_most", {}).items()},
                baselines=given.get("baselines", {}),
                improvement_quantiles={f"{1 - k:.4g}": v for k, v in sure.items()},
            ),
        ),
        slices=slices,
        slice_errors=given.get("slice_errors", {}),
        leakage=given.get("leakage", {}),
        rows=given.get("rows", 1000),
        dropped=given.get("dropped", 0),
        data={"uri": "holdout.parquet", "digest": "e" * 32},
    )


def made(candidate: Any, champion: Any, *, better: str = "higher", bound: Any = None, **options: Any) -> Evaluation:
    quantiles = dict.fromkeys(("0.05", "0.1", "0.2"), bound)
    return Evaluation(
        model_name="flights",
        candidate=Contender(version="7", **options),
        champion=Contender(version="6"),
        metrics=(
            Figure(
                metric="own",
                direction=better,
                candidate=candidate,
                champion=champion,
                baseline=0.0,
                replicates=1000,
                improvement_quantiles=quantiles,
                candidate_quantiles=quantiles,
            ),
        ),
        rows=100,
    )


def verdict(evaluation: Evaluation, *checks: Any, **options: Any) -> str:
    return judge(evaluation, GatePolicy(checks=checks, **options)).decision
