"""Figures and evidence from what the models said: the making of an :class:`~.evaluation.Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.bootstrap import LEVELS, quantiles, rare, replicate, statistic
from airflow_mlops.core.confusion import confusion_of
from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.evaluation import MOST_SLICES, Contender, Evaluation, Figure, Slice
from airflow_mlops.core.fairness import fairness_of
from airflow_mlops.core.intervals import interval_of
from airflow_mlops.core.metrics import METRICS, Metric, metrics_of, unusable
from airflow_mlops.core.outputs import BASELINES, Outputs, Truth, baseline_of
from airflow_mlops.core.ranking import per_query
from airflow_mlops.core.results import JSON

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


def evaluate(
    *,
    model_name: str,
    truth: Truth,
    metrics: Sequence[str | Metric],
    candidate: Contender,
    champion: Contender,
    outputs: Mapping[str, Outputs],
    slices: Mapping[str, Any] | None = None,
    baseline: str = "",
    baselines: Mapping[str, Outputs] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    data: Mapping[str, JSON] | None = None,
    leakage: Mapping[str, JSON] | None = None,
    importances: Mapping[str, JSON] | None = None,
    explanations: Mapping[str, JSON] | None = None,
    fairness: Sequence[str] = (),
    frozen: Mapping[str, JSON] | None = None,
    queries: Any = None,
    config: str = "",
) -> Evaluation:
    """Figures of all contenders on the same rows, with paired bootstrap evidence. Pure: same arguments, same value.

    :param model_name: the registered model.
    :param truth: the labels, ``n`` rows.
    :param metrics: names of the table, or metrics of functions.
    :param candidate: the version that wants to pass.
    :param champion: the version it has to stand up to; in state ``missing`` when there is none.
    :param outputs: ``candidate``, ``champion`` -> what they say; of those in state ``scored``.
    :param slices: name -> which slice each row is in, shape ``(n,)``: a column's values, say.
    :param baseline: of :data:`~.outputs.BASELINES` or ``baselines``, or empty for none.
    :param baselines: further simple models by name, and what they say.
    :param replicates: resamples for the evidence; 0 for none.
    :param seed: of the resamples.
    :param data: the resolved reference of the rows, as a dict.
    :param leakage: what is known of leaks, see :class:`~.evaluation.Evaluation`.
    :param importances: what each column does for the candidate.
    :param explanations: what it does for the score of a row.
    :param fairness: slices that are groups of people, or of whatever is to be treated alike: their rates are compared.
    :param frozen: where the rows are kept.
    :param queries: which query each row belongs to, for metrics of rankings, shape ``(n,)``; their resamples draw
        queries, not rows.
    :param config: digest of what was asked for.
    :raises UnknownName: for a metric or baseline that is not known.
    :raises UsageError: for a metric that means nothing for the task.
    """
    chosen = metrics_of(metrics, task=truth.task)
    of = _query_numbers(chosen, queries, len(truth.y))
    said = {who: out for who, out in outputs.items() if {"candidate": candidate, "champion": champion}[who].scored}
    further = dict(baselines or {})
    if baseline in further:
        said["baseline"] = further.pop(baseline)
    elif baseline:
        if baseline not in BASELINES:
            raise UnknownName("baseline", baseline, {*BASELINES, *further})
        said["baseline"] = baseline_of(baseline, truth)
    said |= further
    every, problems = _slices(slices or {}, len(truth.y))
    return Evaluation(
        model_name=model_name,
        task=truth.task,
        candidate=candidate,
        champion=champion,
        baseline=baseline,
        metrics=_figures(chosen, truth, said, None, replicates, seed, of),
        slices=tuple(
            Slice(
                by=by,
                value=value,
                rows=len(rows),
                metrics=_figures(chosen, truth, said, rows, replicates, seed, of),
                counts=_counts(truth, said.get("candidate"), rows),
            )
            for by, value, rows in every
        ),
        slice_errors=problems,
        data=data or {},
        rows=len(truth.y),
        dropped=truth.dropped,
        leakage=leakage or {},
        importances=importances or {},
        explanations=explanations or {},
        fairness=_fairness(truth, said.get("candidate"), every, fairness),
        confusion=confusion_of(truth.y, truth.classes, _labels(said)),
        frozen=frozen or {},
        config=config,
    )


def _fairness(
    truth: Truth, candidate: Outputs | None, slices: Sequence[tuple[str, str, Array]], wanted: Sequence[str]
) -> dict[str, JSON]:
    import numpy as np

    labels = candidate.values.get("labels") if candidate is not None else None
    if not wanted:
        return {}
    if truth.task != "binary" or labels is None:
        return {"note": "rates need two classes, and a candidate that gives labels", "by": {}}
    groups: dict[str, Array] = {}
    for name in wanted:
        for by, value, rows in slices:
            if by == name:
                groups.setdefault(name, np.full(len(truth.y), "", dtype=object))[rows] = value
    return fairness_of(truth.y, labels, groups)


def _labels(said: Mapping[str, Outputs]) -> dict[str, Array]:
    """Those of the models that give labels."""
    return {
        who: said[who].values["labels"]
        for who in ("candidate", "champion")
        if who in said and "labels" in said[who].values
    }


def _counts(truth: Truth, candidate: Outputs | None, rows: Array) -> dict[str, int]:
    """What rates are made of: positives, how many are selected, and how many of these are positive."""
    labels = candidate.values.get("labels") if candidate is not None else None
    if truth.task != "binary" or labels is None:
        return {}
    y, selected = truth.y[rows] == 1, labels[rows] == 1
    return {
        "positives": int(y.sum()),
        "selected": int(selected.sum()),
        "true_positives": int((y & selected).sum()),
    }


def _slices(columns: Mapping[str, Any], n: int) -> tuple[list[tuple[str, str, Array]], dict[str, str]]:
    import numpy as np
    import pandas as pd

    found: list[tuple[str, str, Array]] = []
    problems: dict[str, str] = {}
    for by, values in columns.items():
        column = pd.Series(values).reset_index(drop=True)
        if len(column) != n:
            problems[by] = f"{len(column)} values for {n} rows"
            continue
        names = column.map(_text, na_action="ignore").astype(object).where(column.notna(), "null").astype(str)
        codes, distinct = pd.factorize(names, sort=True)
        if len(distinct) > MOST_SLICES:
            problems[by] = f"{len(distinct)} different values; at most {MOST_SLICES} make slices: group them first"
            continue
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(distinct)))
        parts = np.split(order, ends[:-1])
        found.extend((by, str(name), rows) for name, rows in zip(distinct, parts, strict=True))
    return found, problems


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a column of integers that once held a null
        return str(int(value))
    return str(value)


def _figures(
    metrics: Sequence[Metric],
    truth: Truth,
    said: Mapping[str, Outputs],
    rows: Array | None,
    replicates: int,
    seed: int,
    queries: Array | None,
) -> tuple[Figure, ...]:
    ranked = {m.name: _ranking(m, truth, said, rows, replicates, seed, queries) for m in metrics if m.per_query}
    others = [m for m in metrics if not m.per_query]
    plain = {f.metric: f for f in _of_rows(others, truth, said, rows, replicates, seed)} if others else {}
    return tuple((ranked if m.per_query else plain)[m.name] for m in metrics)


def _query_numbers(metrics: Sequence[Metric], queries: Any, n: int) -> Array | None:
    import pandas as pd

    names = [m.name for m in metrics if m.per_query]
    if not names:
        return None
    if queries is None:
        raise UsageError(f"{names[0]} is a mean over queries: say which column tells the query (query_column)")
    numbers, _ = pd.factorize(pd.Series(queries))
    if len(numbers) != n or (numbers < 0).any():
        raise UsageError(f"{int((numbers < 0).sum())} of {len(numbers)} rows have no query, {n} were expected to")
    return numbers


def _ranking(
    metric: Metric,
    truth: Truth,
    said: Mapping[str, Outputs],
    rows: Array | None,
    replicates: int,
    seed: int,
    queries: Array | None,
) -> Figure:
    """A metric of rankings: the mean of a figure a query, its resamples those of the queries."""
    import numpy as np

    assert queries is not None  # _query_numbers refused
    needs = "labels" if truth.task == "regression" else metric.needs
    y = truth.y if rows is None else truth.y[rows]
    of = np.unique(queries if rows is None else queries[rows], return_inverse=True)[1]
    found: dict[str, Any] = {"metric": metric.name, "direction": metric.direction, "errors": {}, "baselines": {}}
    statistics: dict[str, Any] = {}
    count = 0
    for who, out in said.items():
        output = out.values.get(needs)
        if output is None:
            found["errors"][who] = out.missing.get(needs, f"the model gives no {needs}")
            continue
        output = output if rows is None else output[rows]
        why = unusable(output, "scores")
        each, why = (output, why) if why else per_query(metric.function, y, output, of)
        if why:
            found["errors"][who] = why
            continue
        known = each[np.isfinite(each)]
        if len(known) < len(each):
            found["errors"]["queries"] = f"{len(each) - len(known)} of {len(each)} queries have no relevant row"
        into = found if who in ("candidate", "champion", "baseline") else found["baselines"]
        into[who], count = float(known.mean()), len(known)
        if replicates and who in ("candidate", "champion"):
            statistics[who] = lambda counts, known=known: (counts @ known) / counts.sum(axis=1)
    drawn = replicate(list(statistics.values()), count, replicates=replicates, seed=seed)
    for who, values in zip(statistics, drawn, strict=True):
        found[f"{who}_replicates"] = values
    return _with_evidence(found, metric, replicates)


def _of_rows(
    metrics: Sequence[Metric],
    truth: Truth,
    said: Mapping[str, Outputs],
    rows: Array | None,
    replicates: int,
    seed: int,
) -> tuple[Figure, ...]:
    y = truth.y if rows is None else truth.y[rows]
    figures: list[dict[str, Any]] = []
    statistics: list[tuple[int, str, Any]] = []
    for place, metric in enumerate(metrics):
        found: dict[str, Any] = {"metric": metric.name, "direction": metric.direction, "errors": {}, "baselines": {}}
        for who, out in said.items():
            value, why, output = out.figure(metric, y, rows)
            if output is None:
                found["errors"][who] = why
                continue
            into = found if who in ("candidate", "champion", "baseline") else found["baselines"]
            into[who] = value
            if why:
                found["errors"][who] = why
                continue
            if who == "candidate":
                found["known_interval"] = _known_interval(metric, truth, y, output)
            if replicates and who in ("candidate", "champion"):
                statistics.append((place, who, statistic(metric, y, output)))
        figures.append(found)
    strata = y if truth.task != "regression" and len(y) and rare(y) else None
    drawn = replicate([s for *_, s in statistics], len(y), replicates=replicates, seed=seed, strata=strata)
    for (place, who, _), values in zip(statistics, drawn, strict=True):
        figures[place][f"{who}_replicates"] = values
    return tuple(_with_evidence(f, m, replicates) for f, m in zip(figures, metrics, strict=True))


def _known_interval(metric: Metric, truth: Truth, y: Array, output: Array) -> dict[str, JSON]:
    shares = metric.name in ("precision", "recall")
    if METRICS.get(metric.name) is not metric or (shares and truth.task != "binary"):
        return {}
    return interval_of(metric.name, y, output)


def _with_evidence(found: dict[str, Any], metric: Metric, replicates: int) -> Figure:
    candidate, champion = found.pop("candidate_replicates", None), found.pop("champion_replicates", None)
    if candidate is None:
        return Figure(**found)
    levels = list(map(str, LEVELS))
    own = quantiles(candidate, higher_is_better=metric.higher_is_better)
    found |= {"replicates": replicates, "candidate_quantiles": dict(zip(levels, own, strict=True))}
    if champion is not None:
        better = candidate - champion if metric.higher_is_better else champion - candidate
        paired = quantiles(better, higher_is_better=True)
        found["improvement_quantiles"] = dict(zip(levels, paired, strict=True))
    return Figure(**found)
