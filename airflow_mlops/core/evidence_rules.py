"""What a policy can ask of the evidence beside the metrics: calibration, parity, leaks, enough rows, fairness."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.rules import Rule

CALIBRATIONS = ("ece", "brier", "log_loss")
"""The metrics that say whether probabilities can be taken at their word."""

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "equalized_odds")
"""What can be compared between groups: how many are selected, of all, of the positives, of the negatives; the last is
both of the latter two."""


@dataclasses.dataclass(frozen=True)
class Calibration(Rule):
    """The probabilities can be taken at their word.

    :param upper: the calibration error is at most this.
    :param metric: of :data:`CALIBRATIONS`.
    :param confidence: one-sided: the bound holds for the upper end of the bootstrap distribution; ``None``: the bare
        figure is judged. Resampling makes the expected calibration error greater, never less: the doubt is on the
        safe side.
    """

    name: ClassVar[str] = "calibration"
    upper: float
    metric: str = "ece"
    confidence: float | None = None

    def __post_init__(self) -> None:
        self._thresholds("upper")
        self._confidence()
        if self.metric not in CALIBRATIONS:
            raise UnknownName("measure of calibration", self.metric, CALIBRATIONS)
        self._bounding(self.metric)


@dataclasses.dataclass(frozen=True)
class PredictionParity(Rule):
    """The model's files, loaded again elsewhere and given fewer rows at once, predict what was evaluated.

    :param max_difference: scores, probabilities and numbers differ by at most this; labels not at all.
    """

    name: ClassVar[str] = "prediction_parity"
    max_difference: float = 1e-6

    def __post_init__(self) -> None:
        self._thresholds("max_difference")
        if self.max_difference < 0:
            raise PolicyError(f"prediction_parity: max_difference must not be negative, got {self.max_difference!r}")


@dataclasses.dataclass(frozen=True)
class NoLeakage(Rule):
    """The rows that judge the model did not teach it, and no column of them is the label in disguise.

    :param max_single_feature: no column alone tells the label better than this: area under the ROC curve of two
        classes, share of the variance of a number, 0 to 1; ``None``: not asked.
    :param max_duplicates: share of the rows that are among the training rows as well, 0 to 1; ``None``: not asked.
    :param time_order: the rows begin after the newest data that the candidate saw.
    :param max_repeated: share of the rows that say again what another of them says in all of their columns, 0 to 1:
        a row that is there a thousand times is not a thousand rows of evidence; ``None``: not asked.
    """

    name: ClassVar[str] = "no_leakage"
    max_single_feature: float | None = 0.99
    max_duplicates: float | None = None
    time_order: bool = False
    max_repeated: float | None = None

    def __post_init__(self) -> None:
        asked = ("max_single_feature", "max_duplicates", "max_repeated")
        self._thresholds(*asked, at_least_one=not self.time_order)
        self._shares(*asked)
        if not isinstance(self.time_order, bool):
            raise PolicyError(f"no_leakage: time_order must be true or false, got {self.time_order!r}")


@dataclasses.dataclass(frozen=True)
class EnoughRows(Rule):
    """As many rows judged the model as were meant to: a join that lost the labels leaves a figure of very few.

    :param min_rows: rows with a label, at least 1.
    :param max_unlabelled: share of the rows that had none and were left out, 0 to 1; ``None``: not asked.
    """

    name: ClassVar[str] = "enough_rows"
    min_rows: int
    max_unlabelled: float | None = None

    def __post_init__(self) -> None:
        self._at_least_one_row()
        self._thresholds("max_unlabelled", at_least_one=False)
        self._shares("max_unlabelled")


@dataclasses.dataclass(frozen=True)
class Fairness(Rule):
    """Groups are treated alike, by the candidate's own labels.

    The rates are counted from the groups' rows; where the evaluation was asked for ``fairness``, what Fairlearn said of
    the same groups has to agree.

    :param metric: of :data:`RATES`.
    :param by: the column whose values are the groups; evaluated as a slice.
    :param max_difference: the greatest rate less the smallest is at most this.
    :param min_ratio: the smallest rate divided by the greatest is at least this (0.8: the four-fifths rule).
    :param min_rows: a group needs so many rows that the rate is a share of: all, the positives, the negatives.
    :param on_insufficient: what a smaller group does, of :data:`ON_INSUFFICIENT`.
    """

    name: ClassVar[str] = "fairness"
    metric: str
    by: str
    max_difference: float | None = None
    min_ratio: float | None = None
    min_rows: int = 100
    on_insufficient: str = "reject"

    def __post_init__(self) -> None:
        self._text("by")
        self._thresholds("max_difference", "min_ratio")
        self._shares("max_difference", "min_ratio")
        self._enough()
        if self.metric not in RATES:
            raise UnknownName("rate", self.metric, RATES)
