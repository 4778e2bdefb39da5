"""Realised figures: metrics of labelled rows, of all and of slices, and how sure they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_mlops.core.metrics import Metric
from airflow_mlops.core.results import JSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric's value and how sure it is.

    :param value: ``None`` where there is none; ``why`` says why.
    :param low: lower end of the interval. :param high: upper end.
    :param error: standard error; gives the interval where ``low`` and ``high`` are not known.
    :param estimated: whether no label was seen.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    why: str = ""
    estimated: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v not in (None, "")}


def realised(
    metrics: Iterable[Metric],
    y: Any,
    outputs: Mapping[str, Any],
    *,
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Figure]:
    """Metrics of labelled rows, with bootstrap intervals.

    :param metrics: from the metric table, or a user's own.
    :param y: the truth as the metrics want it, shape ``(n,)``.
    :param outputs: ``labels`` / ``scores`` / ``probabilities`` -> what the model said; what is missing makes a figure
        without a value, never one that is left out.
    :param seed: of the resampling.
    """
    import numpy as np

    from airflow_mlops.core.bootstrap import rare, replicate, statistic

    found: dict[str, Figure] = {}
    certain: dict[str, Any] = {}
    for metric in metrics:
        if metric.needs not in outputs:
            found[metric.name] = Figure(value=None, why=f"{metric.name} needs {metric.needs}, which were not recorded")
            continue
        value, why = metric.figure(y, outputs[metric.needs])
        found[metric.name] = Figure(value=value, why=why)
        if value is not None and replicates:
            certain[metric.name] = statistic(metric, y, outputs[metric.needs])
    classes = "scores" in outputs or "probabilities" in outputs
    strata = y if classes and certain and rare(y) else None
    drawn = replicate(list(certain.values()), len(y), replicates=replicates, seed=seed, strata=strata)
    for name, figures in zip(certain, drawn, strict=True):
        known = figures[np.isfinite(figures)]
        if len(known) > replicates / 2:
            tail = (1 - confidence) / 2
            low, high = (float(q) for q in np.quantile(known, [tail, 1 - tail]))
            found[name] = dataclasses.replace(found[name], low=low, high=high, error=float(known.std()))
    return found


def realised_slices(
    metrics: Iterable[Metric],
    y: Any,
    outputs: Mapping[str, Any],
    columns: Mapping[str, Any],
    *,
    minimum_rows: int = 100,
    most: int = 50,
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, Figure]]:
    """:func:`realised` for every value of some columns; the more slices there are, the wider the intervals.

    :param columns: column -> values, each of shape ``(n,)``; missing ones are a slice of their own.
    :param minimum_rows: of a slice; with fewer its figures have no value, and say so.
    :param most: slices, the largest first; the rest is left out.
    :param confidence: that all intervals together hold (Bonferroni).
    :returns: ``column=value`` -> metric -> figure.
    """
    import numpy as np
    import pandas as pd

    metrics, found = list(metrics), []
    for column, values in columns.items():
        codes, names = pd.factorize(pd.Series(values), use_na_sentinel=False)
        found += [(f"{column}={name}", np.flatnonzero(codes == i)) for i, name in enumerate(names)]
    found = sorted(found, key=lambda x: (-len(x[1]), x[0]))[:most]
    sure = 1 - (1 - confidence) / max(len(found), 1)
    figures: dict[str, dict[str, Figure]] = {}
    for name, rows in found:
        if len(rows) < minimum_rows:
            why = f"{len(rows)} rows; {minimum_rows} would be enough"
            figures[name] = {m.name: Figure(value=None, why=why) for m in metrics}
            continue
        part = {k: np.asarray(v)[rows] for k, v in outputs.items()}
        figures[name] = realised(metrics, np.asarray(y)[rows], part, replicates=replicates, confidence=sure, seed=seed)
    return figures
