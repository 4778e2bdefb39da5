"""Waiting for rows: :class:`RowsSensor`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.waiting import RowsWatch
from airflow_mlops.sensors.data import ended, ref_of
from airflow_mlops.triggers._waiting import Waiting, passing
from airflow_mlops.triggers.data import RowsTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class RowsSensor(BaseSensorOperator):
    """Waits for rows of a table or of files: for enough new ones, for a watermark, or until they are stale.

    Exactly one of ``min_rows``, ``watermark`` and ``max_age_seconds``. With ``max_age_seconds`` the end of the wait is
    the alarm: what follows downstream tells somebody. Counts are taken where the rows are, in one query a look. Looks
    once before it defers. A store that can't be reached is waited for.

    Returns ``{"kind", "data", "rows", "newest", "age", "since"}``: ``newest`` is the ISO time of the newest row,
    ``age`` its age in seconds, both null where no row has a time.

    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. (templated)
    :param time_column: the column that says when a row is from: a date or a timestamp. (templated)
    :param min_rows: so many new rows. (templated)
    :param since: rows up to here are not new: a year, month, day or ISO time. (templated)
    :param model_name: rows up to the newest data that a version of this model was trained on are not new. (templated)
    :param watermark: time that the newest row has to reach; a year, month or day is its beginning. (templated)
    :param max_age_seconds: how old the newest row may be. (templated)
    :param deferrable: wait in the triggerer and not on a worker.
    :param mlflow_conn_id: where the last training is looked up. (templated)
    :raises UsageError: for a wait that can't end.
    :raises AirflowSensorTimeout: after ``timeout`` seconds; a skip with ``soft_fail``.
    """

    template_fields: Sequence[str] = (
        "data",
        "time_column",
        "min_rows",
        "since",
        "model_name",
        "watermark",
        "max_age_seconds",
        "mlflow_conn_id",
    )
    ui_color = "#d7f0dd"

    def __init__(
        self,
        *,
        data: Any,
        time_column: str = "",
        min_rows: int | str | None = None,
        since: str = "",
        model_name: str = "",
        watermark: str = "",
        max_age_seconds: float | str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.time_column = time_column
        self.min_rows = min_rows
        self.since = since
        self.model_name = model_name
        self.watermark = watermark
        self.max_age_seconds = max_age_seconds
        self.deferrable = deferrable
        self.mlflow_conn_id = mlflow_conn_id

    def watch(self) -> RowsWatch:
        """What is waited for, from the rendered arguments; numbers may have been rendered as text."""
        return RowsWatch(
            data=ref_of(self.data).to_dict(),
            time_column=self.time_column or "",
            min_rows=_number("min_rows", self.min_rows, int),
            since=self.since or "",
            model_name=self.model_name or "",
            watermark=self.watermark or "",
            max_age=_number("max_age_seconds", self.max_age_seconds, float),
        )

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once."""
        waiting = Waiting(self.watch(), mlflow_conn_id=self.mlflow_conn_id)
        try:
            missing = waiting.missing(waiting.look())
        except Exception as error:
            if not passing(error):
                raise
            self.log.warning("the rows can't be counted, waiting: %s", error)
            return False
        if missing:
            self.log.info("waiting for %s", missing)
            return False
        return PokeReturnValue(is_done=True, xcom_value=waiting.sighting())

    def execute(self, context: Context) -> Any:
        """Look, then wait: here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if not isinstance(seen, PokeReturnValue):
            limit = dt.timedelta(seconds=self.timeout)
            self.defer(
                trigger=RowsTrigger(
                    watch=self.watch().to_dict(),
                    poll_interval=self.poke_interval,
                    deadline=(dt.datetime.now(dt.UTC) + limit).isoformat(),
                    mlflow_conn_id=self.mlflow_conn_id,
                ),
                timeout=limit + dt.timedelta(minutes=1),
                method_name="execute_complete",
            )
        return seen.xcom_value

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the trigger saw becomes the result, or the failure that it reports."""
        return ended(event, soft_fail=self.soft_fail)


def _number(name: str, value: Any, kind: Any) -> Any:
    if value is None or str(value).strip() in ("", "None"):
        return None
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is a number, got {value!r}") from error
