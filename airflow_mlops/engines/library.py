"""Expectations that are not compiled, judged by Great Expectations itself on a DataFrame; quietly."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError
from airflow_mlops.core.expectations import Expectation, Outcome

if TYPE_CHECKING:
    import pandas as pd

BY = "great_expectations"
"""Who judged, in a report."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's log lines, progress bars and analytics; everything is as before afterwards."""
    before = {n: os.environ.get(n) for n in ("GX_ANALYTICS_ENABLED", "TQDM_DISABLE")}
    logger = logging.getLogger("great_expectations")
    level, disabled = logger.level, logging.root.manager.disable
    os.environ.update(GX_ANALYTICS_ENABLED="false", TQDM_DISABLE="1")
    logger.setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)  # its import logs through other names too
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def judge(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> list[Outcome]:
    """An outcome for every expectation, in order. One that raises is an error, and does not stop the others."""
    with quiet():
        batch = _batch(frame)
        return [_judge(batch, e) for e in expectations]


@contextlib.contextmanager
def without_spark() -> Iterator[None]:
    """Without PySpark, which the library would import if it is there: that takes a second, nothing here needs it, and
    in a process that has no main file PySpark takes itself for its own doctests and ends the process with 0.
    """
    if "pyspark" in sys.modules:
        yield
        return
    sys.modules["pyspark"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pyspark"]


def _batch(frame: pd.DataFrame) -> Any:
    try:
        with without_spark():
            import great_expectations as gx
    except SystemExit as error:  # a task that ends with 0 has succeeded, and nothing was judged
        raise DataError(f"Great Expectations can't be imported: it ended the process ({error})") from error

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": frame})


def _judge(batch: Any, expectation: Expectation) -> Outcome:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        made = ExpectationConfiguration(type=expectation.type, kwargs=dict(expectation.kwargs)).to_domain_obj()
        found = batch.validate(made, result_format={"result_format": "BASIC", "partial_unexpected_count": 5})
        told = found.to_json_dict()
    except Exception as error:
        return Outcome(success=None, error=_said(error), judged_by=BY)
    problem = _exception(told.get("exception_info"))
    if problem:
        return Outcome(success=None, error=problem, judged_by=BY)
    return Outcome(success=bool(told["success"]), result=told.get("result") or {}, judged_by=BY)


def _exception(info: Any) -> str:
    """What was raised, of a result's ``exception_info``: one entry, or one for every metric."""
    if not isinstance(info, Mapping):
        return ""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("raised_exception"):
            return str(entry.get("exception_message") or "it raised an exception")[:500]
    return ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
