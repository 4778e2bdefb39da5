"""Which rows may not go on, and why: :class:`QuarantineDataOperator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, UnknownName, UsageError
from airflow_mlops.core.expectations import Suite, check_of, load
from airflow_mlops.core.results import JSON, Check, Severity, Status, digest, finite
from airflow_mlops.core.validation import not_empty, report
from airflow_mlops.exceptions import DataValidationFailed
from airflow_mlops.operators._context import data_of, publish
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class QuarantineDataOperator(TellsLineage, BaseOperator):
    """Write the rows that do not hold aside, with the reasons; let the others go on where the author says so.

    Every row is in exactly one of the two files, which is counted and not assumed. A file appears whole or not at
    all, the quarantine before the good rows; a second try writes the same files again. Memory is bounded: rows are
    read in batches, once.

    The good rows are judged by the whole suite before they go on: what is expected of the table or of an aggregate
    has to hold of them.

    Returns ``{"status", "passed", "input", "data", "quarantine", "counts", "report"}``: ``input`` refers to the rows
    that were divided, ``data`` to the good ones, or, where nothing was quarantined and no ``good`` given, to the rows
    as they came. ``counts`` has ``rows``, ``good``, ``quarantined`` and ``reasons`` (reason -> rows; a row can have
    several).

    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. (templated)
    :param suite: as for :class:`~airflow_mlops.operators.validation.ValidateDataOperator`. (templated)
    :param quarantine: the Parquet file for the rows that do not hold: the columns as they are, and
        ``quarantine_reasons``, a list of texts. It is written where there are none, too. (templated)
    :param good: the Parquet file that the good rows go on in; empty: they do not go on, and one bad row fails the
        task. (templated)
    :param severities: expectations of these severities quarantine a row.
    :param max_share: the largest share of rows, 0 to 1, that may be quarantined; of more, something is wrong that is
        not these rows, and nothing goes on.
    :param conn_id: the Airflow connection of the object store that is written to. (templated)
    :raises DataValidationFailed: not retried: rows were quarantined and no others go on; too many; or the good rows
        do not meet the suite. The quarantine has been written.
    :raises DatasetNotFound: retried: nothing is there yet.
    """

    operator_extra_links = (ReportLink(),)
    template_fields: Sequence[str] = ("data", "suite", "quarantine", "good", "conn_id")

    def __init__(
        self,
        *,
        data: Any,
        suite: Any,
        quarantine: str,
        good: str = "",
        severities: Sequence[str] = ("critical",),
        max_share: float = 0.1,
        conn_id: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.suite = suite.to_dict() if isinstance(suite, Suite) else suite
        self.quarantine = quarantine
        self.good = good
        self.severities = severities
        self.max_share = max_share
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, JSON]:
        """Divide, write, judge what remains, publish; then fail, if something stands in the way."""
        from airflow_mlops.engines import engine_for
        from airflow_mlops.operators._divide import written

        share = finite(self.max_share)
        if share is None or not 0 <= share <= 1:
            raise UsageError(f"max_share is a share of the rows, 0 to 1, got {self.max_share!r}")
        for one in self.severities:
            if one not in [s.value for s in Severity]:
                raise UnknownName("severity", one, [s.value for s in Severity])
        ref, suite = data_of(self.data), load(self.suite)
        engine = engine_for(ref)
        ref = engine.resolve(ref)
        chosen = [e for e in suite.expectations if e.severity in self.severities]
        divided, outcomes, out = written(self, engine, ref, suite.expectations, chosen, share)
        rows = divided.good + divided.bad
        if rows != ref.rows:
            raise DataError(
                f"{ref.label} changed while it was divided: {ref.rows} rows before, {rows} now; run it again"
            )
        checks = [_share(divided.bad, rows, share), not_empty(divided.good)]
        checks += [_goes_on(divided.bad)] if not self.good else []
        checks += map(check_of, suite.expectations, outcomes)
        inputs = {"data": ref.digest, "configuration": digest(suite.digest, list(self.severities), share)}
        found = report(checks, subject=ref.label, inputs=inputs, details={"suite": suite.name, "rows": rows})
        result = publish(
            context,
            {
                "status": str(found.status),
                "passed": found.passed,
                "input": ref.to_dict(),
                "data": (engine_for(out).resolve(out) if out is not None else ref).to_dict() if found.passed else None,
                "quarantine": {"uri": self.quarantine, "rows": divided.bad},
                "counts": {
                    "rows": rows,
                    "good": divided.good,
                    "quarantined": divided.bad,
                    "reasons": dict(list(divided.reasons.items())[:50]),
                },
                "report": found.to_dict(),
            },
        )
        self.log.log(20 if found.passed else 40, "%s", found.summary(where="the task's XCom"))
        if not found.passed:
            raise DataValidationFailed(found.summary(where="the task's XCom"), result)
        return result


def _share(bad: int, rows: int, most: float) -> Check:
    share = bad / rows if rows else 0.0
    held = share <= most
    return Check(
        name="quarantined_share",
        subject="rows",
        status=Status.PASSED if held else Status.FAILED,
        observed=share,
        expected=f"<= {most:g}",
        message="" if held else f"{bad} of {rows} rows do not hold, more than {most:.4g} of them; nothing goes on",
    )


def _goes_on(bad: int) -> Check:
    text = f"{bad} rows do not hold, and no file `good` is given in which the others could go on"
    return Check(
        name="no_row_quarantined",
        subject="rows",
        status=Status.FAILED if bad else Status.PASSED,
        observed=bad,
        expected="0 without a file for the good rows",
        message=text if bad else "",
    )
