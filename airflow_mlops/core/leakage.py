"""What makes a model look better than it is: rows of the holdout in the training data, the future, the label itself.

Nothing here counts: figures come in, checks go out.

The power of one feature is a share of what there is to know about the label, 0 to 1, from counts in the feature's
bins or categories. For a label of classes: by how much guessing the most frequent class of every bin errs less than
guessing the most frequent class of all, Goodman and Kruskal's lambda ("Measures of Association for Cross
Classifications", 1954). For a number: the share of its variance that lies between the bins, the correlation ratio eta
squared. Missing values are a bin of their own: that a value is missing can give the label away, too.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Self

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.results import JSON, Check, Severity, Status, finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leakage:
    """What is looked for. ``None`` switches a bound off.

    :param max_power: power of a single feature, 0 to 1, beyond which it is suspicious.
    :param min_rows: rows with a label below which a feature's power means nothing.
    :param max_duplicate_share: largest share of the holdout's rows, 0 to 1, that are in the training data as well.
    :param keys: the columns in which such rows are the same; empty: all columns that both have, but the label.
    :param time: the column of the time; every row of the holdout has to be later than all of the training data.
    :param ignore: features that are known to be good.
    :param severity: of a suspicious feature; rows in both, and the order in time, are critical.

    >>> Leakage.from_dict({"max_powr": 0.9})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    airflow_mlops.core.errors.UnknownName: unknown leakage key 'max_powr': did you mean 'max_power'? ...
    """

    max_power: float | None = 0.95
    min_rows: int = 200
    max_duplicate_share: float | None = 0.0
    keys: tuple[str, ...] = ()
    time: str = ""
    ignore: tuple[str, ...] = ()
    severity: Severity = Severity.CRITICAL

    def __post_init__(self) -> None:
        if self.severity not in [s.value for s in Severity]:
            raise UnknownName("severity", self.severity, [s.value for s in Severity])
        object.__setattr__(self, "severity", Severity(self.severity))
        for name in ("max_power", "max_duplicate_share"):
            bound = getattr(self, name)
            if bound is not None and (finite(bound) is None or not 0 <= bound <= 1):
                raise PolicyError(f"leakage: {name} must be a share, 0 to 1, or None, got {bound!r}")
        if isinstance(self.min_rows, bool) or not isinstance(self.min_rows, int) or self.min_rows < 1:
            raise PolicyError(f"leakage: min_rows must be a whole number of at least 1, got {self.min_rows!r}")
        for name in ("keys", "ignore"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(c, str) for c in value):
                raise PolicyError(f"leakage: {name} must be a list of columns, got {value!r}")
            object.__setattr__(self, name, tuple(value))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """From plain values; unknown keys are refused."""
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName("leakage key", key, names)
        return cls(**dict(value))

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "keys": list(self.keys), "ignore": list(self.ignore)}


def power_of_classes(table: Iterable[tuple[Any, Any, int, float | None, float | None]]) -> float | None:
    """Goodman and Kruskal's lambda of ``(bin, class, rows, least, greatest value)``; ``None``: there is only one class.

    A bin in which the classes do not overlap is one that the feature tells apart without an error: a threshold in the
    middle of a bin hides nothing.

    >>> power_of_classes([("a", 0, 9, None, None), ("a", 1, 1, None, None), ("b", 1, 10, None, None)])
    0.8888888888888888
    >>> power_of_classes([(3, 0, 9, 0.1, 0.4), (3, 1, 9, 0.5, 0.9)])
    1.0
    """
    bins: dict[Any, list[tuple[int, float | None, float | None]]] = {}
    classes: dict[Any, int] = {}
    for bin_, class_, rows, low, high in table:
        bins.setdefault(bin_, []).append((rows, low, high))
        classes[class_] = classes.get(class_, 0) + rows
    if len(classes) < 2:
        return None
    most = max(classes.values())
    return (sum(map(_told, bins.values())) - most) / (sum(classes.values()) - most)


def _told(parts: list[tuple[int, float | None, float | None]]) -> int:
    """Rows of a bin whose class the feature tells."""
    spans = [(low, high) for _, low, high in parts if low is not None and high is not None]
    spans.sort()
    apart = len(spans) == len(parts) and all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    rows = [n for n, _, _ in parts]
    return sum(rows) if apart else max(rows)


def power_of_numbers(table: Iterable[tuple[int, float, float]]) -> float | None:
    """The correlation ratio of ``(rows, sum, sum of squares)`` a bin, of a label that is centred; ``None``: constant.

    >>> power_of_numbers([(2, -2.0, 2.0), (2, 2.0, 2.0)])
    1.0
    """
    listed = [t for t in table if t[0]]
    rows = sum(n for n, _, _ in listed)
    if not rows:
        return None
    total, squares = sum(s for _, s, _ in listed), sum(q for _, _, q in listed)
    all_ = squares - total * total / rows
    between = sum(s * s / n for n, s, _ in listed) - total * total / rows
    return min(max(between / all_, 0.0), 1.0) if all_ > 0 else None


def feature_check(feature: str, power: float | None, rows: int, policy: Leakage, *, label: str) -> Check:
    """Whether one feature knows too much. Too few rows, or a label that does not vary, is no verdict."""
    assert policy.max_power is not None
    known = power is not None and rows >= policy.min_rows
    if not known:
        status = Status.INSUFFICIENT
        text = (
            f"{rows} rows with a label, {policy.min_rows} are needed" if power is not None else f"{label!r} is constant"
        )
    elif power is not None and power <= policy.max_power:
        status, text = Status.PASSED, ""
    else:
        status = Status.FAILED
        text = (
            f"it alone tells {power:.1%} of what there is to know about {label!r}. Is it known when the prediction is "
            "made? Take it out, or name it in ignore"
        )
    return Check(
        name="label_leak",
        subject=feature,
        status=status,
        severity=policy.severity,
        observed=power if known else None,
        expected=f"power <= {policy.max_power:g}",
        message=text,
    )


def duplicate_check(same: int, rows: int, columns: Iterable[str], policy: Leakage) -> Check:
    """Whether rows of the holdout are in the training data. Of no rows nothing is known."""
    assert policy.max_duplicate_share is not None
    share = same / rows if rows else None
    held = share is not None and share <= policy.max_duplicate_share
    text = f"{same} of {rows} rows of the holdout are in the training data as well; they judge nothing"
    status = Status.PASSED if held else Status.FAILED if rows else Status.ERROR
    return Check(
        name="rows_in_both",
        subject=", ".join(columns)[:200],
        status=status,
        observed=share,
        expected=f"<= {policy.max_duplicate_share:g}",
        message="" if held else text if rows else "the holdout has no rows",
        details={"rows": rows, "same": same},
    )


def time_check(column: str, last: float | str | None, first: float | str | None, missing: int = 0) -> Check:
    """Whether the holdout begins after the training data ends.

    :param last: the greatest time of the training data.
    :param first: the least time of the holdout.
    :param missing: rows of either that have no time.

    >>> time_check("at", "2013-01-31", "2013-02-01").status, time_check("at", "2013-02-01", "2013-02-01").status
    (<Status.PASSED: 'passed'>, <Status.FAILED: 'failed'>)
    """
    a, b = _moment(last), _moment(first)
    if a is None or b is None or type(a) is not type(b) or missing:
        status = Status.ERROR
        text = f"training data until {last!r}, holdout from {first!r}, {missing} rows without a time: no order is known"
    else:
        held = a < b  # type: ignore[operator]
        status = Status.PASSED if held else Status.FAILED
        text = "" if held else f"the training data goes on until {last}, the holdout begins at {first}"
    return Check(
        name="time_order", subject=column, status=status, observed=first, expected=f"later than {last}", message=text
    )


def _moment(value: float | str | None) -> float | dt.datetime | tuple[dt.datetime] | None:
    """A time that compares; those with a zone are of another type than those without."""
    number = finite(value)
    if number is not None:
        return number
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (moment,) if moment.tzinfo else moment
