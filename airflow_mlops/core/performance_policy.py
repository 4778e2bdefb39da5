"""What counts as good enough: :class:`PerformancePolicy`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.output_quality import OutputPolicy
from airflow_mlops.core.results import JSON, finite
from airflow_mlops.core.settings import Policy, within

ESTIMATES = ("judge", "record", "ignore")
"""What an estimate does while no realised figure is there: judged by the same bounds, only recorded, or left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound(Policy):
    """What is demanded of one metric; at least one of the four.

    :param lower: least value.
    :param upper: greatest value.
    :param max_drop: how much worse than the version's holdout figure is allowed, in the metric's unit, >= 0. "Worse"
        knows the metric's direction.
    :param max_relative_drop: likewise, as a share of the holdout figure's size, >= 0.
    """

    lower: float | None = None
    upper: float | None = None
    max_drop: float | None = None
    max_relative_drop: float | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in self.to_dict().items() if v is not None}
        if not given:
            raise PolicyError(f"a bound needs at least one of {', '.join(self.to_dict())}")
        for name, value in given.items():
            within(value, name, 0 if "drop" in name else -math.inf, math.inf)
            if finite(value) is None:
                raise PolicyError(f"{name} must be finite")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise PolicyError(f"lower {self.lower:g} is above upper {self.upper:g}: no figure can hold both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerformancePolicy(Policy):
    """What counts as good enough.

    :param bounds: metric -> :class:`Bound` or its dict. Metrics without one are reported, not judged.
    :param confidence: of the intervals, over 0.5 and below 1.
    :param minimum_rows: labelled rows below which nothing is judged.
    :param minimum_coverage: least share of the due rows that have a label, 0 to 1.
    :param estimates: one of :data:`ESTIMATES`.
    :param outputs: an :class:`~airflow_mlops.core.output_quality.OutputPolicy`, or its dict.
    :param replicates: bootstrap resamples behind the intervals; 0: no intervals, the figure itself is judged.

    >>> policy = PerformancePolicy(bounds={"roc_auc": {"lower": 0.6, "max_drop": 0.05}})
    >>> PerformancePolicy.from_dict(policy.to_dict()) == policy
    True
    """

    bounds: Mapping[str, Bound] = dataclasses.field(default_factory=dict)
    confidence: float = 0.95
    minimum_rows: int = 100
    minimum_coverage: float = 0.9
    estimates: str = "judge"
    replicates: int = 200
    outputs: OutputPolicy = dataclasses.field(default_factory=OutputPolicy)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", {str(k): Bound.of(v) for k, v in self.bounds.items()})
        object.__setattr__(self, "outputs", OutputPolicy.of(self.outputs))
        within(self.confidence, "confidence", 0.5, 1 - 1e-9)
        within(self.minimum_rows, "minimum_rows", 1, 1e12)
        within(self.minimum_coverage, "minimum_coverage", 0, 1)
        within(self.replicates, "replicates", 0, 100_000)
        if self.estimates not in ESTIMATES:
            raise UnknownName("estimates", self.estimates, ESTIMATES)

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; of a bound only what it demands."""
        plain = super().to_dict()
        plain["bounds"] = {
            name: {k: v for k, v in bound.to_dict().items() if v is not None} for name, bound in self.bounds.items()
        }
        plain["outputs"] = self.outputs.to_dict()
        return plain
