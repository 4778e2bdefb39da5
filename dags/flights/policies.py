"""What this team asks of its model, in one place: frozen values, whose digests are part of every decision.

The reasons are measured ones. On these flights a model that saw one winter month reaches an AUC of 0.59 in the spring,
one that saw the months before reaches 0.65 to 0.75 (the weather decides how well any model can do), and two models
of the same quality differ by less than 0.01 on half a month.
"""

from __future__ import annotations

from airflow_mlops.core.drift import DriftPolicy
from airflow_mlops.core.performance import PerformancePolicy
from airflow_mlops.core.policies import (
    BeatsBaseline,
    BeatsChampion,
    GatePolicy,
    SignatureCompatible,
    Slices,
    Value,
)
from airflow_mlops.core.retraining import RetrainingPolicy
from airflow_mlops.core.watch import Guard, WatchPolicy

GATE = GatePolicy(
    checks=(
        # Better than guessing, by enough to be worth acting on ...
        Value("roc_auc", lower=0.55),
        # ... with probabilities that beat "as often as usual" ...
        BeatsBaseline("log_loss"),
        # ... surely not worse than what is in use; newer data is worth having even where the figures tie.
        BeatsChampion("roc_auc", confidence=0.9, margin=0.01),
        # No airport is sacrificed for another.
        Slices("roc_auc", by="origin", lower=0.52, min_rows=200, values=("EWR", "JFK", "LGA")),
        SignatureCompatible(),
    ),
    on_missing_champion="value_only",
)

DRIFT = DriftPolicy(
    # No month has the weather of another, and schedules change with every season: with 28,000 rows any difference is
    # certain. What counts is whether a third of the inputs look clearly different from all that the model has seen.
    floors={"jensen_shannon": 0.25},
    rule="share",
    share=1 / 3,
    minimum_rows=500,
)

PERFORMANCE = PerformancePolicy(
    bounds={"roc_auc": {"lower": 0.6, "max_drop": 0.05}},
    minimum_rows=500,
    minimum_coverage=0.9,
)

WATCH = WatchPolicy(
    # On probation for two months: once their flights have arrived, a new champion has to be as good as its gate asked.
    partitions=2,
    guards=(Guard(kind="performance", metric="realised_roc_auc", lower=0.55),),
)

RETRAIN = RetrainingPolicy(
    # A drifted month is a reason when it is the second of three, a model that fell short at once. By itself a quarter
    # of a year of new labels is one: they are a month behind, so the fourth delivery brings the third month of them.
    drift_needed=2,
    drift_checks=3,
    performance_needed=1,
    performance_checks=1,
    min_new_partitions=4,
    # Labels come once a month; a second training within it could only see the same rows.
    cooldown={"days": 20},  # type: ignore[arg-type]
    breaker=3,
)
