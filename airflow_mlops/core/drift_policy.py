"""What counts as drift: :class:`DriftPolicy`."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping

from airflow_mlops.core.errors import UnknownName
from airflow_mlops.core.results import Status, finite
from airflow_mlops.core.settings import Policy, within

SHARES: Mapping[str, float] = {
    "null_share": 0.02,
    "nonfinite_share": 0.001,
    "unseen_share": 0.005,
    "distinct_share": 0.25,
}
"""Shares that are drift features of every column, with the least absolute change that matters.

``distinct_share`` is what is lost of the different values of a column that has too many to be compared one by one.
"""

RULES = ("any", "share", "importance")
"""When the dataset has drifted: any column has, or at least a share of the columns, or of their importance."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriftPolicy(Policy):
    """What counts as drift.

    :param alpha: greatest chance that a check of *identical* distributions says drift, over all its columns.
    :param numeric_test: one of :data:`~airflow_mlops.core.drift_tests.TESTS`.
    :param categorical_test: likewise, for categories.
    :param numeric_effect: one of :data:`~airflow_mlops.core.drift_statistics.EFFECTS`, whose floor must be passed.
    :param categorical_effect: likewise, for categories.
    :param floors: effect or share name -> floor, in place of the table's.
    :param minimum_rows: rows below which nothing is said about a column, in either sample.
    :param include: columns that are checked, as names or shell patterns; empty: all of the reference's.
    :param exclude: columns that are not, after ``include``.
    :param rule: one of :data:`RULES`.
    :param share: for the rules ``share`` and ``importance``: drift from this share on, over 0 and up to 1.
    :param max_unknown_share: for the rule ``any``: where more than this share of the columns could not be judged, those
        that could and are fine do not make the dataset fine, 0 to 1. The other rules ask whether the unknown columns
        could reach ``share``.
    :param new_columns: ``fail``, ``warn`` or ``ignore`` columns that the reference does not have.
    :param replicates: batches drawn for what chance adds to a floor.
    :param domain_floor: ROC AUC from which on it matters that a domain classifier tells the rows apart, 0.5 to 1.
    :param attribution_floor: agreement (nDCG) below which another ranking of the attributions matters, 0 to 1.

    >>> DriftPolicy.from_dict({"alpha": 0.01, "floors": {"psi": 0.2}}).floors["psi"]
    0.2
    """

    alpha: float = 0.05
    numeric_test: str = "anderson_darling"
    categorical_test: str = "chi_square"
    numeric_effect: str = "jensen_shannon"
    categorical_effect: str = "jensen_shannon"
    floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    minimum_rows: int = 30
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rule: str = "any"
    share: float = 0.3
    max_unknown_share: float = 0.5
    new_columns: str = "warn"
    replicates: int = 500
    domain_floor: float = 0.55
    attribution_floor: float = 0.9

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("include", "exclude"):
            value = getattr(self, name)
            set_(self, name, (value,) if isinstance(value, str) else tuple(value))
        set_(self, "floors", {str(k): within(v, f"floor {k}", 0, math.inf) for k, v in self.floors.items()})
        set_(self, "alpha", within(self.alpha, "alpha", 1e-9, 0.5))
        set_(self, "share", within(self.share, "share", 1e-9, 1))
        set_(self, "max_unknown_share", within(self.max_unknown_share, "max_unknown_share", 0, 1))
        within(self.domain_floor, "domain_floor", 0.5, 1)
        within(self.attribution_floor, "attribution_floor", 0, 1)
        within(self.minimum_rows, "minimum_rows", 10, 1e9)
        within(self.replicates, "replicates", 100, 100_000)
        if self.rule not in RULES:
            raise UnknownName("drift rule", self.rule, RULES)
        if self.new_columns not in ("fail", "warn", "ignore"):
            raise UnknownName("new_columns", self.new_columns, ("fail", "warn", "ignore"))

    def watches(self, column: str) -> bool:
        """Whether a column is checked."""
        inside = not self.include or any(fnmatch.fnmatchcase(column, p) for p in self.include)
        return inside and not any(fnmatch.fnmatchcase(column, p) for p in self.exclude)

    def weights(
        self, columns: Iterable[str], importances: Mapping[str, float | None] | None
    ) -> tuple[dict[str, float], list[str]]:
        """Each column's weight in the verdict, and the columns that have none: missing, negative or not finite."""
        if self.rule != "importance":
            return dict.fromkeys(columns, 1.0), []
        found = {c: finite((importances or {}).get(c)) for c in columns}
        known = {c: w for c, w in found.items() if w is not None and w >= 0}
        return known, [c for c in found if c not in known]

    def verdict(
        self, weights: Mapping[str, float], drifted: set[str], unknown: set[str], errors: set[str]
    ) -> tuple[Status, float]:
        """The dataset's status by the rule, and the share of the judged columns' weight that drifted.

        :param unknown: columns that could not be judged, none of ``drifted``. :param errors: those of them that should
            have been.
        """
        total, failed = sum(weights.values()), sum(weights[c] for c in drifted)
        missing = sum(weights[c] for c in unknown)
        judged = total - missing
        share = min(failed / judged, 1.0) if judged > 0 else 0.0
        if drifted and (self.rule == "any" or share >= self.share):
            return Status.FAILED, share
        if self.rule == "any":
            doubt = total <= 0 or missing / total > self.max_unknown_share
        else:
            doubt = total <= 0 or (missing > 0 and (failed + missing) / total >= self.share)
        if doubt:
            return Status.ERROR if unknown & errors or total <= 0 else Status.INSUFFICIENT, share
        return Status.PASSED, share
