"""Rates by group, their difference and their ratio: by Fairlearn where it is installed, by own counts where it is not.

Bird, Dudík, Edgar and others: Fairlearn: A toolkit for assessing and improving fairness in AI (2020). Both ways give
the same figures; what :class:`~airflow_mlops.core.evidence_rules.Fairness` judges are the counts, and what Fairlearn
says of them has to agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.results import JSON, finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

BASE_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")
EXTRA = "pip install 'airflow-mlops[fairness]'"


def fairness_of(y: Array, selected: Array, groups: Mapping[str, Any], *, library: bool = True) -> dict[str, JSON]:
    """How alike groups are treated.

    :param y: 1 for the positive class, shape ``(n,)``.
    :param selected: 1 where the candidate says it is, shape ``(n,)``.
    :param groups: name of the grouping -> the group of each row, ``n`` texts.
    :param library: use Fairlearn where it is installed.
    :returns: ``{"with", "note", "by": {grouping: {rate: {"groups": {group: share or None}, "difference", "ratio"}}}}``.
        A group without rows to be a share of has no rate, and then there is no difference either. ``equalized_odds``
        has the greater difference and the smaller ratio of the true and the false positive rate.

    >>> import numpy as np
    >>> y, selected = np.array([1, 1, 0, 1, 1, 0]), np.array([1, 1, 0, 1, 0, 0])
    >>> found = fairness_of(y, selected, {"carrier": ["AA"] * 3 + ["UA"] * 3}, library=False)
    >>> found["by"]["carrier"]["true_positive_rate"]
    {'groups': {'AA': 1.0, 'UA': 0.5}, 'difference': 0.5, 'ratio': 0.5}
    """
    import numpy as np

    y, selected = np.asarray(y) == 1, np.asarray(selected) == 1
    told, why = _library() if library else (None, "")
    found: dict[str, JSON] = {}
    method = "own counts"
    for name, values in groups.items():
        group = np.asarray(values, dtype=object)
        rates: dict[str, dict[str, float | None]] = {}
        of = {"selection_rate": np.ones(len(y), dtype=bool), "true_positive_rate": y, "false_positive_rate": ~y}
        if told is not None:
            try:
                rates = _by_fairlearn(told, y, selected, group)
                method = f"fairlearn {told.__version__}"
            except Exception as error:  # whatever it raises, the counts are there
                told, why = None, f"Fairlearn failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if told is None:
            rates = {r: {g: _share(selected, among & (group == g)) for g in _names(group)} for r, among in of.items()}
        known: dict[str, dict[str, float | None]] = {
            rate: {g: rates[rate][g] if (among & (group == g)).any() else None for g in _names(group)}
            for rate, among in of.items()
        }
        spread: dict[str, JSON] = {rate: _spread(each) for rate, each in known.items()}
        found[name] = {**spread, "equalized_odds": _odds(known)}
    return {"with": method if told is not None or not groups else "own counts", "note": why, "by": found}


def _library() -> tuple[Any, str]:
    try:
        import fairlearn
        import fairlearn.metrics
    except ImportError as error:
        return None, f"counted here, Fairlearn is not installed ({error}): {EXTRA}"
    return fairlearn, ""


def _by_fairlearn(library: Any, y: Array, selected: Array, group: Array) -> dict[str, dict[str, float | None]]:
    metrics = {rate: getattr(library.metrics, rate) for rate in BASE_RATES}
    frame = library.metrics.MetricFrame(
        metrics=metrics, y_true=y.astype(int), y_pred=selected.astype(int), sensitive_features=group
    )
    return {rate: {str(g): finite(v) for g, v in frame.by_group[rate].items()} for rate in BASE_RATES}


def _names(group: Array) -> list[str]:
    return sorted(set(group.tolist()))


def _share(selected: Array, among: Array) -> float | None:
    whole = int(among.sum())
    return float((selected & among).sum() / whole) if whole else None


def _spread(each: Mapping[str, float | None]) -> dict[str, JSON]:
    known = [v for v in each.values() if v is not None]
    if len(known) < len(each) or not known:
        return {"groups": dict(each), "difference": None, "ratio": None}
    low, high = min(known), max(known)
    return {"groups": dict(each), "difference": high - low, "ratio": low / high if high else None}


def _odds(known: Mapping[str, Mapping[str, float | None]]) -> dict[str, JSON]:
    both = [_spread(known[r]) for r in ("true_positive_rate", "false_positive_rate")]
    differences, ratios = ([finite(b[k]) for b in both] for k in ("difference", "ratio"))
    return {
        "groups": {},
        "difference": None if None in differences else max(d for d in differences if d is not None),
        "ratio": None if None in ratios else min(r for r in ratios if r is not None),
    }
