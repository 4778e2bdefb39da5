"""Watch the champion: do the flights still look like those it learned from, and is it still right?

Drift and an estimate of the performance at once; the true performance of the month before, now that its flights have
arrived. From these, one decision, whose event starts ``flights_train``. A new champion is on probation: one that is not
as good as its gate asked is rolled back.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.operators.drift import CheckDriftOperator
from airflow_mlops.operators.performance import CheckPerformanceOperator
from airflow_mlops.operators.promotion import RollbackModelOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator
from airflow_mlops.operators.watch import WatchChampionOperator
from flights.layout import (
    BEFORE,
    CUT,
    KEY,
    MACROS,
    MODEL,
    MONTH,
    PAST,
    PREDICTIONS,
    RETRAINING,
    RETRIES,
    TARGET,
    features,
    labelled,
    month_param,
    predictions,
)
from flights.policies import DRIFT, PERFORMANCE, RETRAIN, WATCH

with DAG(
    "flights_monitor",
    schedule=PartitionedAssetTimetable(assets=PREDICTIONS),
    max_active_runs=1,
    params={"month": month_param()},
    user_defined_macros=MACROS,
    default_args=RETRIES,
    tags=["flights"],
    doc_md=__doc__,
) as dag:

    @task
    def scored(uri: str) -> dict[str, Any]:
        """What was predicted and by which version, as the file itself says: the champion may have changed since."""
        from flights.predictions import provenance

        found = provenance(uri)
        if found is None:
            raise AirflowSkipException(f"nothing was predicted: {uri}")
        return found

    now = scored.override(task_id="scored_now")(predictions(MONTH).uri)
    before = scored.override(task_id="scored_before")(predictions(BEFORE).uri)

    drift = CheckDriftOperator(
        task_id="drift",
        model_name=MODEL,
        data=features(MONTH),
        predictions=now,
        version="{{ ti.xcom_pull('scored_now')['version'] }}",
        policy=DRIFT,
    )
    # The month's own labels are a month away: until then its performance is an estimate, and called one.
    estimated = CheckPerformanceOperator(
        task_id="estimated",
        model_name=MODEL,
        predictions=now,
        key=KEY,
        policy=PERFORMANCE,
    )
    # The month before has arrived by now.
    realised = CheckPerformanceOperator(
        task_id="realised",
        model_name=MODEL,
        predictions=before,
        labels=labelled(BEFORE),
        key=KEY,
        target=TARGET,
        policy=PERFORMANCE,
        subject=BEFORE,
    )
    decide = DecideRetrainingOperator(
        task_id="decide",
        model_name=MODEL,
        policy=RETRAIN,
        data=PAST,
        labelled_until=CUT,
        outlets=[RETRAINING],  # its event is emitted on "retrain" only
        trigger_rule=TriggerRule.NONE_FAILED,  # the first month that is scored has none before it
    )
    watch = WatchChampionOperator(
        task_id="watch",
        model_name=MODEL,
        policy=WATCH,
        trigger_rule=TriggerRule.NONE_FAILED,
    )
    decided = "{{ ti.xcom_pull('watch')"
    back = RollbackModelOperator(
        task_id="roll_back",
        model_name=MODEL,
        from_version=decided + ".evidence.version }}",  # a champion that has followed meanwhile is not meant
        reason=decided + ".reasons | join('; ') }}",
    )
    [drift, estimated, realised] >> decide
    [estimated, realised] >> watch >> back
