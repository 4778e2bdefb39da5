"""What a model said, before anybody knows whether it is right: is it usable at all, and is the model of this year.

A prediction that is missing, the same for everybody, or outside of what can be, needs no label to be wrong.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.results import Check, Severity, Status
from airflow_mlops.core.settings import Policy, duration, within

if TYPE_CHECKING:
    import pandas as pd

LEAST = 30
"""Rows below which it is no surprise that all predictions are the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputPolicy(Policy):
    """What predictions have to be.

    :param lower: least prediction that can be; ``None``: any. Scores are always within 0 and 1.
    :param upper: greatest prediction that can be.
    :param max_missing: greatest share of rows whose prediction or score is missing or not finite, 0 to 1.
    :param constant: ``fail``, ``warn`` or ``ignore`` that all rows have the same score (without scores: prediction).
    :param max_age: of the newest data that the model was trained on; ``None``: it does not age.
    :param latency_column: column of the predictions with the seconds that each took; empty: none is measured.
    :param max_latency: greatest latency, needs ``latency_column``; ``None``: any.
    :param latency_quantile: share of the predictions that have to be at most as slow, over 0 and up to 1.

    >>> OutputPolicy(max_age={"days": 90}).max_age.days
    90
    """

    lower: float | None = None
    upper: float | None = None
    max_missing: float = 0.0
    constant: str = "fail"
    max_age: dt.timedelta | None = None
    latency_column: str = ""
    max_latency: dt.timedelta | None = None
    latency_quantile: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_latency", duration(self.max_latency, "max_latency"))
        within(self.latency_quantile, "latency_quantile", 1e-9, 1)
        if bool(self.latency_column) != (self.max_latency is not None):
            raise PolicyError("max_latency and latency_column, the column that has the seconds, are given together")
        object.__setattr__(self, "max_age", duration(self.max_age, "max_age"))
        within(self.max_missing, "max_missing", 0, 1)
        for name in ("lower", "upper"):
            if (value := getattr(self, name)) is not None:
                within(value, name, -1e308, 1e308)
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise PolicyError(f"lower {self.lower:g} is above upper {self.upper:g}: no prediction can hold both")
        if self.constant not in ("fail", "warn", "ignore"):
            raise PolicyError(f"constant is one of 'fail', 'warn', 'ignore', got {self.constant!r}")


def check_outputs(
    predictions: pd.DataFrame,
    policy: OutputPolicy | Mapping[str, Any] | None = None,
    *,
    probabilities: Sequence[str] = (),
    trained_until: dt.datetime | None = None,
    at: dt.datetime | None = None,
) -> list[Check]:
    """Judge the predictions themselves.

    :param predictions: columns ``prediction``, for classifiers ``score``, and the policy's ``latency_column``; others
        are not looked at.
    :param probabilities: columns with the probability of each of several classes: of a model that says NaN for all of
        them, the first class is the prediction and looks sound.
    :param trained_until: the newest data that the model saw; ``None``: not known.
    :param at: the time it is judged for, never a clock that is read here.
    :returns: checks ``missing_outputs``, ``constant_output``, ``output_range``, ``latency`` and ``model_age``, those
        that apply.
    """
    policy = OutputPolicy.of(policy)
    columns = [c for c in ("prediction", "score") if c in predictions.columns]
    checks = []
    if columns and len(predictions):
        said = [*columns, *(c for c in probabilities if c in predictions.columns)]
        checks.append(_missing(predictions, said, policy))
        checks += _range(predictions, said, policy)
        if policy.constant != "ignore" and len(predictions) >= LEAST:
            checks.append(_constant(predictions, columns[-1], policy))
    if policy.max_latency is not None and len(predictions):
        checks.append(_latency(predictions, policy, policy.max_latency.total_seconds()))
    if policy.max_age is not None:
        checks.append(_age(policy.max_age, trained_until, at))
    return checks


def _numbers(column: Any) -> Any:
    """The column as floats, exact decimals as well; ``None`` where it holds something else."""
    import decimal

    import numpy as np
    import pandas as pd

    kinds = set(map(type, column.dropna())) if column.dtype == object else {str}
    if all(issubclass(kind, decimal.Decimal | float | int) and kind is not bool for kind in kinds):
        return column.to_numpy(dtype=float, na_value=np.nan)
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    return column.to_numpy(dtype=float, na_value=np.nan)


def _missing(predictions: pd.DataFrame, columns: list[str], policy: OutputPolicy) -> Check:
    import numpy as np

    bad = predictions[columns].isna().any(axis=1).to_numpy()
    for name in columns:
        if (values := _numbers(predictions[name])) is not None:
            bad = bad | ~np.isfinite(values)
    share = float(bad.mean())
    return Check(
        name="missing_outputs",
        status=Status.PASSED if share <= policy.max_missing else Status.FAILED,
        observed=share,
        expected=f"at most {policy.max_missing:g} of the rows",
        message=f"{int(bad.sum())} of {len(predictions)} predictions are missing or not finite",
    )


def _range(predictions: pd.DataFrame, columns: list[str], policy: OutputPolicy) -> list[Check]:
    import numpy as np

    bounds = {**dict.fromkeys(columns, (0.0, 1.0)), "prediction": (policy.lower, policy.upper)}
    checks = []
    for name in columns:
        values, (low, high) = _numbers(predictions[name]), bounds[name]
        if low is None and high is None:
            continue
        if values is None:
            message = f"{name} holds no numbers: whether it is within its bounds is not known"
            checks.append(Check(name="output_range", subject=name, status=Status.ERROR, message=message))
            continue
        low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
        outside = int(((values < low) | (values > high)).sum())
        checks.append(
            Check(
                name="output_range",
                subject=name,
                status=Status.FAILED if outside else Status.PASSED,
                observed=outside,
                expected=f"{low:g} <= {name} <= {high:g}",
                message=f"{outside} of {len(values)} are outside of {low:g} to {high:g}",
            )
        )
    return checks


def _constant(predictions: pd.DataFrame, name: str, policy: OutputPolicy) -> Check:
    known = predictions[name].dropna()
    same = known.nunique() <= 1
    return Check(
        name="constant_output",
        subject=name,
        status=Status.FAILED if same else Status.PASSED,
        severity=Severity.CRITICAL if policy.constant == "fail" else Severity.WARNING,
        expected="more than one value",
        message=f"all {len(known)} rows have the same {name}" if same else f"{name} differs between rows",
    )


def _latency(predictions: pd.DataFrame, policy: OutputPolicy, most: float) -> Check:
    """A prediction whose latency is not known, or below 0 (a clock went back), is as good as one that never came."""
    import numpy as np

    name = policy.latency_column
    seconds = _numbers(predictions[name]) if name in predictions.columns else None
    if seconds is None:
        message = f"the predictions have no column {name!r} of seconds: their latency is not known"
        return Check(name="latency", subject=name, status=Status.ERROR, message=message)
    unknown = int((~(seconds >= 0)).sum())
    slow = float(np.quantile(np.where(seconds >= 0, seconds, np.inf), policy.latency_quantile, method="inverted_cdf"))
    text = f"{slow:.3g} s" if np.isfinite(slow) else "not known"
    return Check(
        name="latency",
        subject=name,
        status=Status.PASSED if slow <= most else Status.FAILED if np.isfinite(slow) else Status.ERROR,
        observed=slow if np.isfinite(slow) else None,
        expected=f"at most {most:g} s",
        message=f"{policy.latency_quantile:.1%} of the predictions took up to {text}; of {unknown} it is not known",
    )


def _age(most: dt.timedelta, until: dt.datetime | None, at: dt.datetime | None) -> Check:
    if until is None or at is None:
        message = "it is not known how new the model's data is"
        return Check(name="model_age", status=Status.ERROR, severity=Severity.WARNING, message=message)
    days = (at - until).total_seconds() / 86400
    limit = most.total_seconds() / 86400
    if days < 0:
        message = f"the newest data that the model saw is of {-days:.1f} days after the time it is judged for"
        return Check(name="model_age", status=Status.ERROR, severity=Severity.WARNING, message=message)
    return Check(
        name="model_age",
        status=Status.FAILED if days > limit else Status.PASSED,
        severity=Severity.WARNING,
        observed=days,
        expected=f"at most {limit:g} days",
        message=f"the newest data that the model saw is {days:.1f} days old",
    )
