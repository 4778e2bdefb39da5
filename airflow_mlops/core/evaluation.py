"""Evaluation: candidate, champion and baseline on the same frozen rows, as one value.

It holds figures and evidence, never a verdict: what is good enough is :mod:`airflow_mlops.core.gates`' to say. A figure
that could not be had is ``None`` with the reason beside it. The evidence of a figure is its bootstrap distribution at
fixed levels, so that any confidence can be judged later without the rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON, digest, finite, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

STATES = ("scored", "missing", "error")
"""``missing``: there is none. ``error``: there is one, and it can't be loaded or scored."""

MOST_SLICES = 50
"""A column with more values than this is no column to slice by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """A model version that was to be scored.

    :param version: its version; empty when there is none.
    :param model_digest: SHA-256 over its files.
    :param run_id: its training run.
    :param data_until: the newest data it saw.
    :param state: one of :data:`STATES`.
    :param error: why it is in state ``error``.
    :param details: what else is known: ``signature`` (``{"inputs": {column: type}, "outputs": ...}``), ``latency_ms``
        (``{"p50": ..., "p95": ..., "calls": ...}``), ``size_bytes``.
    """

    version: str = ""
    model_digest: str = ""
    run_id: str = ""
    data_until: str = ""
    state: str = "scored"
    error: str = ""
    details: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("version", "model_digest", "run_id", "data_until", "error"):
            object.__setattr__(self, name, _text(self, name))
        if self.state not in STATES:
            raise UnknownName("state of a model", self.state, STATES)
        if not isinstance(self.details, Mapping):
            raise UsageError(f"details of a model must be a mapping, got {type(self.details).__name__}")
        object.__setattr__(self, "details", plain(self.details))

    @property
    def scored(self) -> bool:
        """Whether there are figures of it."""
        return self.state == "scored"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One metric on one set of rows, for all that were scored.

    :param metric: its name.
    :param direction: ``"higher"`` or ``"lower"``: which is better.
    :param candidate: finite, or ``None``.
    :param champion: finite, or ``None``.
    :param baseline: finite, or ``None``.
    :param baselines: further simple models by name, each finite or ``None``.
    :param errors: ``candidate | champion | baseline`` -> why there is no figure.
    :param replicates: resamples behind the quantiles; 0: none were made.
    :param candidate_quantiles: level as text -> the candidate's figure at that level of its bootstrap distribution.
    :param improvement_quantiles: the same of the paired improvement over the champion: positive is better, whatever
        the metric's direction.
    :param known_interval: of the candidate, where theory knows it: ``{"method", "confidence", "low", "high"}``.
    """

    metric: str
    direction: str
    candidate: float | None = None
    champion: float | None = None
    baseline: float | None = None
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    replicates: int = 0
    candidate_quantiles: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    improvement_quantiles: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    known_interval: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "metric", _text(self, "metric"))
        if self.direction not in ("higher", "lower"):
            raise UnknownName("direction of a metric", self.direction, ("higher", "lower"))
        for name in ("candidate", "champion", "baseline"):
            set_(self, name, finite(getattr(self, name)))
        for name in ("candidate_quantiles", "improvement_quantiles", "baselines"):
            set_(self, name, {str(k): finite(v) for k, v in _mapping(self, name).items()})
        set_(self, "known_interval", plain(_mapping(self, "known_interval")))
        set_(self, "errors", {str(k): str(v) for k, v in _mapping(self, "errors").items()})
        if isinstance(self.replicates, bool) or not isinstance(self.replicates, int) or self.replicates < 0:
            raise UsageError(f"replicates must be a number of resamples, got {self.replicates!r}")

    @property
    def higher_is_better(self) -> bool:
        """The metric's direction."""
        return self.direction == "higher"

    def improvement(self, over: str = "champion") -> float | None:
        """How much better the candidate is: positive is better, whatever the direction; ``None`` when unknown.

        >>> Figure(metric="rmse", direction="lower", candidate=1.5, champion=2.0).improvement()
        0.5
        """
        other = getattr(self, over)
        if self.candidate is None or other is None:
            return None
        return finite(self.candidate - other if self.higher_is_better else other - self.candidate)

    def against(self, baseline: str) -> Self:
        """The same figures with another simple model as the baseline; unknown where it was not evaluated."""
        errors = {k: v for k, v in self.errors.items() if k != "baseline"}
        why = self.errors.get(baseline, f"there is no baseline {baseline!r}")
        return dataclasses.replace(
            self, baseline=self.baselines.get(baseline), errors={**errors, "baseline": why}, baselines={}
        )

    def upper_bound(self, confidence: float) -> float | None:
        """The upper confidence bound of the candidate's own figure, one-sided; ``None`` when the resamples can't tell.

        :param confidence: at least 0.5 and below 1.
        """
        level = min((v for v in self._levels(self.candidate_quantiles) if v >= confidence - 1e-12), default=None)
        return None if level is None else self._at(self.candidate_quantiles, level)

    def bound(self, confidence: float) -> float | None:
        """The lower confidence bound of the improvement over the champion, one-sided.

        :param confidence: above 0.5 and below 1.
        :returns: ``None`` when the resamples can't tell: none were made, too few, or too many without a figure.
        """
        level = max((v for v in self._levels(self.improvement_quantiles) if v <= 1 - confidence + 1e-12), default=None)
        return None if level is None else self._at(self.improvement_quantiles, level)

    def doubt(self, margin: float = 0.0) -> float:
        """How plausible it is that the improvement is below ``-margin``: an upper bound of the one-sided p-value."""
        return self._doubt(self.improvement_quantiles, lambda v: v >= -margin)

    def doubt_value(self, lower: float | None, upper: float | None) -> float:
        """How plausible it is that the candidate's figure lies outside its bounds: the greater of both sides."""
        doubts = [0.0]
        # A resample without a figure counts as the worst one: on the other side it has to be added.
        unknown = self._unknown()
        if lower is not None:
            doubt = self._doubt(self.candidate_quantiles, lambda v: v >= lower)
            doubts.append(doubt + (0.0 if self.higher_is_better else unknown))
        if upper is not None:
            flipped = {
                str(1 - float(k)): v for k, v in self.candidate_quantiles.items() if finite(_number(k)) is not None
            }
            doubt = self._doubt(flipped, lambda v: v <= upper)
            doubts.append(doubt + (unknown if self.higher_is_better else 0.0))
        return min(1.0, max(doubts))

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The candidate's figure within a two-sided interval: as theory has it, else percentiles; ``None``: unknown."""
        if self.known_interval.get("confidence") == confidence:
            low, high = (finite(self.known_interval.get(k)) for k in ("low", "high"))
            if low is not None and high is not None:
                return low, high
        levels = self._levels(self.candidate_quantiles)
        tail = (1 - confidence) / 2 + 1e-12
        lower = max((v for v in levels if v <= tail), default=None)
        upper = min((v for v in levels if v >= 1 - tail), default=None)
        if lower is None or upper is None:
            return None
        ends = self._at(self.candidate_quantiles, lower), self._at(self.candidate_quantiles, upper)
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])

    def _levels(self, quantiles: Mapping[str, float | None]) -> list[float]:
        """The levels that this number of resamples can resolve."""
        known = (finite(_number(k)) for k in quantiles)
        edge = 1 / self.replicates - 1e-12 if self.replicates else 1.0
        return sorted(k for k in known if k is not None and edge <= k <= 1 - edge)

    def _unknown(self) -> float:
        """The share of resamples that have no figure, as far as the levels tell."""
        levels = (finite(_number(k)) for k, v in self.candidate_quantiles.items() if v is None)
        return max((k if self.higher_is_better else 1 - k for k in levels if k is not None), default=0.0)

    def _at(self, quantiles: Mapping[str, float | None], level: float) -> float | None:
        return next((v for k, v in quantiles.items() if _number(k) == level), None)

    def _doubt(self, quantiles: Mapping[str, float | None], holds: Callable[[float], bool]) -> float:
        for level in self._levels(quantiles):
            value = self._at(quantiles, level)
            if value is not None and holds(value):
                return level
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """Figures of a part of the rows.

    :param by: the column, or the name of the bins or of the expression.
    :param value: its value as text; ``"null"`` for missing.
    :param rows: how many rows.
    :param metrics: the figures on them.
    :param counts: of two classes, by the candidate's labels: ``positives``, ``selected``, ``true_positives``.
    """

    by: str
    value: str
    rows: int
    metrics: tuple[Figure, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("by", "value"):
            object.__setattr__(self, name, _text(self, name))
        counts = {str(k): _count(v, f"{k} of a slice") for k, v in _mapping(self, "counts").items()}
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "metrics", _figures(self.metrics))
        object.__setattr__(self, "rows", _count(self.rows, "rows of a slice"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of a candidate, its champion and a baseline on the same rows.

    :param model_name: the registered model.
    :param candidate: the version that wants to pass.
    :param champion: the version it has to stand up to.
    :param task: ``"binary"``, ``"multiclass"`` or ``"regression"``.
    :param metrics: the figures on all rows.
    :param slices: the figures per slice.
    :param slice_errors: column -> why there are no slices by it.
    :param baseline: the name of the baseline; empty: none.
    :param data: the resolved reference of the rows.
    :param rows: rows with a label: those that were scored.
    :param dropped: rows without one.
    :param leakage: what is known of leaks: ``features`` (how well each column alone tells the label), ``duplicates``
        (share of the rows that are training rows too), ``repeated`` (share that repeats another), ``time`` (when the
        rows begin).
    :param importances: what each column does for the candidate: ``{"metric", "rows", "repeats", "features": [{"name",
        "mean", "std"}]}``, or the ``error`` why it is not known.
    :param explanations: what each column does for the score of a row, by SHAP: ``{"method", "explainer", "rows",
        "features": [{"name", "mean_abs", "mean"}]}``; where there is none, ``method`` is ``permutation`` and ``note``
        says why.
    :param fairness: rates by group, see :func:`~airflow_mlops.core.fairness.fairness_of`.
    :param confusion: how often each class was taken for which: ``{"classes", "candidate", "champion"}``, the last two a
        row a true class and a column a label that was given; empty for numbers and for more than 20 classes.
    :param frozen: where the rows are kept: ``{"run_id", "kept", "sha256", "why", "read"}``; ``read`` says whether they
        were read from ``source`` or from the kept ``copy``.
    :param config: digest of what was asked for: metrics, slices, seed, replicates.
    :param record: where it is stored: ``{"run_id", "key"}``; not part of the digest.
    """

    model_name: str
    candidate: Contender
    champion: Contender
    task: str = ""
    metrics: tuple[Figure, ...] = ()
    slices: tuple[Slice, ...] = ()
    slice_errors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    baseline: str = ""
    data: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    rows: int = 0
    dropped: int = 0
    leakage: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    importances: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    explanations: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    fairness: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    confusion: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    frozen: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    config: str = ""
    record: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not isinstance(self.model_name, str) or not self.model_name:
            raise UsageError(f"an evaluation needs the model's name, got {self.model_name!r}")
        for name in ("task", "baseline", "config"):
            set_(self, name, _text(self, name))
        for name in ("candidate", "champion"):
            set_(self, name, _built(Contender, getattr(self, name), name))
        set_(self, "metrics", _figures(self.metrics))
        set_(self, "slices", tuple(_built(Slice, s, "slice") for s in _sequence(self.slices, "slices")))
        for name in ("data", "record", "leakage", "importances", "explanations", "fairness", "confusion", "frozen"):
            set_(self, name, plain(_mapping(self, name)))
        set_(self, "slice_errors", {str(k): str(v) for k, v in _mapping(self, "slice_errors").items()})
        for name in ("rows", "dropped"):
            set_(self, name, _count(getattr(self, name), name))

    def figure(self, metric: str) -> Figure | None:
        """The figures of a metric on all rows; ``None`` when it was not evaluated."""
        return next((f for f in self.metrics if f.metric == metric), None)

    @property
    def data_digest(self) -> str:
        """The digest of the rows."""
        return str(self.data.get("digest") or "")

    @property
    def digest(self) -> str:
        """Fingerprint of everything but where it is stored."""
        return digest(_said({k: v for k, v in self.to_dict().items() if k != "record"}))

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {k: plain(v) for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The inverse of :meth:`to_dict`.

        :raises UsageError: for anything that is not an evaluation, saying what is wrong with it.
        """
        return _built(cls, value, "evaluation")


_OPTIONAL = (
    *("leakage", "importances", "baselines", "known_interval", "counts"),
    *("explanations", "fairness", "confusion", "frozen"),
)
"""Fields whose emptiness says nothing: evaluations without them keep their digest."""


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _said(v) for k, v in value.items() if v or k not in _OPTIONAL}
    return [_said(v) for v in value] if isinstance(value, list) else value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(owner: Any, name: str) -> str:
    value = getattr(owner, name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{name} must be text, got {value!r}"[:200])
    return str(value)


def _count(value: Any, what: str) -> int:
    number = finite(value)
    if number is None or number < 0 or number % 1:
        raise UsageError(f"{what} must be a number of rows, got {value!r}")
    return int(number)


def _mapping(owner: Any, name: str) -> Mapping[str, Any]:
    value = getattr(owner, name)
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a mapping, got {type(value).__name__}")
    return value


def _sequence(value: Any, name: str) -> Sequence[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise UsageError(f"{name} must be a list, got {type(value).__name__}")
    return value


def _figures(value: Any) -> tuple[Figure, ...]:
    figures = tuple(_built(Figure, f, "metric") for f in _sequence(value, "metrics"))
    names = [f.metric for f in figures]
    if len(set(names)) < len(names):
        raise UsageError(f"a metric is there twice: {', '.join(sorted(names))}")
    return figures


def _built(cls: type[Any], value: Any, what: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise UsageError(f"the {what} must be a mapping, got {type(value).__name__}")
    fields = dataclasses.fields(cls)
    names = [f.name for f in fields]
    for key in value:
        if key not in names:
            raise UnknownName(f"{what} field", key, names)
    needed = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    missing = [n for n in needed if n not in value]
    if missing:
        raise UsageError(f"the {what} lacks {', '.join(missing)}")
    return cls(**dict(value))
