"""Score a month with the champion, as soon as both are there.

A month that arrives before there is a champion waits for the first one: the promotion is an event too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task

from airflow_mlops.assets import model_asset
from airflow_mlops.operators.scoring import ScoreBatchOperator
from flights.layout import FLIGHTS, KEY, MACROS, MODEL, MONTH, PREDICTIONS, RETRIES, features, month_param, predictions

with DAG(
    "flights_score",
    schedule=PartitionedAssetTimetable(assets=FLIGHTS | model_asset(MODEL)),
    max_active_runs=1,
    params={"month": month_param()},
    user_defined_macros=MACROS,
    default_args=RETRIES,
    tags=["flights"],
    doc_md=__doc__,
) as dag:

    @task.short_circuit
    def due(destination: str, triggering_asset_events: Any = None) -> bool:
        """New flights always; on a promotion only a month that nobody could score before.

        What was predicted before departure stays as it was predicted: a new champion rewrites no history.
        """
        # Not "FLIGHTS in ...": Airflow's mapping has every asset, most of them with no events.
        return bool((triggering_asset_events or {}).get(FLIGHTS)) or not Path(destination).exists()

    score = ScoreBatchOperator(
        task_id="score",
        model_name=MODEL,
        data=features(MONTH),
        destination=predictions(MONTH).uri,
        columns_to_keep=KEY,
        on_missing_model="skip",
        outlets=[PREDICTIONS],
    )
    due(predictions(MONTH).uri) >> score
