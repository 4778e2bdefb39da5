"""Where the flights lie, and which month is meant.

::

    $flights_root/
        landing/    what others deliver: flights-2013-05.csv, weather-2013-05.csv, outcomes-2013-04.csv,
                    and, last of all, _SUCCESS-2013-05
        features/   month=2013-05/flights.parquet     what is known two hours before each departure
        labelled/   month=2013-04/flights.parquet     the same rows, and whether they arrived late
        predictions/month=2013-05.parquet             what the champion said

The root is the Airflow variable ``flights_root`` (or ``AIRFLOW_VAR_FLIGHTS_ROOT``); the URIs below are templates,
so that nothing is looked up while a DAG file is parsed.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from airflow.sdk import Asset, Param

from airflow_mlops.core.datasets import DatasetRef

MODEL = "flights_late"
NO_MONTH = "1970-01"
"""Stands for 'nothing is labelled yet': a month in which there are no flights."""
KEY = ("date", "carrier", "flight", "origin")
TARGET = "late"

HOME = os.environ.get("AIRFLOW_HOME", "~/airflow")
_ROOT = f"var.value.get('flights_root', '{HOME}/flights')"
ROOT = f"{{{{ {_ROOT} }}}}"

_MONTH = "partition_key or params.get('month')"
MONTH = f"{{{{ {_MONTH} }}}}"
"""The month of a run: it came with the event that started it, or a person gave it."""

BEFORE = f"{{{{ previous_month({_MONTH}) }}}}"
"""The month before: the newest one whose arrivals are known, since labels come a month late."""

LABELS = f"{{{{ label_month({_ROOT}, {_MONTH}) }}}}"
"""The newest month of labels that a training run may use; see :func:`label_month`."""

SUITES = Path(__file__).parent / "suites"

FLIGHTS = Asset("flights")
"""A month of flights is ready: its features, and the labels of the month before. Partitioned by month."""

PREDICTIONS = Asset("flights_predictions")
"""A month was scored. Partitioned by month."""

DUE = Asset("flights_training_due")
"""The weekly sweep found the labels that are there. Partitioned by month."""

RETRAINING = Asset("flights_retraining")
"""Monitoring decided that the model has to be trained again. Partitioned by the month that showed it."""


def landing(kind: str, month: str) -> DatasetRef:
    """The delivered CSV of one kind and month; ``month`` may be a template."""
    return DatasetRef(uri=f"{ROOT}/landing/{kind}-{month}.csv", name=f"{kind} {month}")


def features(month: str) -> DatasetRef:
    """The prepared partition of one month."""
    return DatasetRef(uri=f"{ROOT}/features/month={month}/flights.parquet", name=f"flights {month}")


def labelled(month: str = "*") -> DatasetRef:
    """The flights whose arrival is known; of all months when none is named.

    A flight that was cancelled or diverted never arrived: it has no label, and is no example of anything.
    """
    name = "labelled flights" if month == "*" else f"labelled flights {month}"
    uri = f"{ROOT}/labelled/month={month}/flights.parquet"
    return DatasetRef(uri=uri, name=name).where((TARGET, "is not null"))


def predictions(month: str) -> DatasetRef:
    """What was predicted for one month."""
    return DatasetRef(uri=f"{ROOT}/predictions/month={month}.parquet", name=f"predictions {month}")


CUT = f"{LABELS}-16"
"""By time, never by chance: a candidate learns from what is before this day, and is judged on what came after."""

PAST = labelled().where(("date", "<", CUT))
HOLDOUT = labelled(LABELS).where(("date", ">=", CUT))


# -- months, as the templates of the DAGs ask for them ----------------------------------------------------------


def previous_month(month: str) -> str:
    """The month before.

    >>> previous_month("2013-01")
    '2012-12'
    """
    return f"{_first(month) - dt.timedelta(days=1):%Y-%m}"


def next_month(month: str) -> str:
    """The month after.

    >>> next_month("2013-12")
    '2014-01'
    """
    return f"{_first(month) + dt.timedelta(days=31):%Y-%m}"


def label_month(root: str, delivered: str | None = None) -> str:
    """The newest month whose arrivals are known to a run.

    :param root: the rendered ``flights_root``.
    :param delivered: the month of the run: the delivery of May brings April's arrivals. Empty: a run by hand takes the
        newest month that is there.

    >>> label_month("anywhere", "2013-05")
    '2013-04'
    """
    if delivered:
        return previous_month(delivered)
    found = (path.parent.name for path in Path(root).glob("labelled/month=*/flights.parquet"))
    return max(found, default=NO_MONTH).removeprefix("month=")


def _first(month: str) -> dt.date:
    return dt.datetime.strptime(month, "%Y-%m").replace(day=1).date()


RETRIES = {"retries": 2, "retry_delay": dt.timedelta(seconds=30)}
"""``default_args``: an MLflow that is away for a minute is waited for; a verdict is never retried."""


def month_param() -> Param:
    """For a run by hand: ``airflow dags trigger flights_score --conf '{"month": "2013-05"}'``."""
    return Param("", type="string", pattern=r"^(\d{4}-\d\d)?$", description="Month of a run by hand, as 2013-05")


MACROS = {"previous_month": previous_month, "next_month": next_month, "label_month": label_month}
"""Given to each DAG as ``user_defined_macros``."""
