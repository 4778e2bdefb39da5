"""What a policy can ask for: one frozen value a check. How each is judged is in :mod:`airflow_mlops.core.verdicts`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.fingerprint import describe_trainer, module_name
from airflow_mlops.core.metrics import METRICS
from airflow_mlops.core.results import JSON, digest, finite, plain

ON_INSUFFICIENT = ("reject", "require_approval", "skip")
"""A slice has too few rows for its bound to mean anything."""


class Rule:
    """What the checks have in common; subclasses are frozen dataclasses listed in :data:`CHECKS`."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, JSON]:
        """``{name: {argument: value}}``, without what is at its default."""
        given = {
            f.name: plain(value)
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, f.name)) != f.default
        }
        return {self.name: given}

    def _thresholds(self, *names: str, at_least_one: bool = True) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and finite(value) is None:
                raise PolicyError(f"{self.name}: {name} must be a finite number, got {value!r}")
        if at_least_one and all(getattr(self, n) is None for n in names):
            raise PolicyError(f"{self.name} has no threshold: give {' or '.join(names)}")

    def _shares(self, *names: str) -> None:
        """A bound on a share beyond 0 to 1 is a percentage by mistake, and could never fail."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise PolicyError(f"{self.name}: {name} is a share from 0 to 1 (0.05 is 5 %), got {value!r}")

    def _bounding(self, metric: str) -> None:
        """A bound that no figure of the metric can miss is a mistake of its author, and no bound."""
        known = METRICS.get(metric)
        if known is None:
            return
        spread = known.high - known.low
        low, high = known.low, known.high
        edges = (("lower", -1, low), ("upper", 1, high), ("min_absolute", -1, -spread), ("margin", 1, spread))
        for name, side, edge in edges:
            value = getattr(self, name, None)
            if value is not None and side * value > side * edge:
                within = f"{metric} lies within {known.low:g} and {known.high:g}"
                raise PolicyError(f"{self.name}: {name} {value!r} bounds nothing, {within}")

    def _text(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise PolicyError(f"{self.name}: {name} must be a name, got {value!r}")

    def _confidence(self) -> None:
        value = getattr(self, "confidence")  # noqa: B009
        if value is not None and not (finite(value) is not None and 0.5 <= value < 1):
            raise PolicyError(f"{self.name}: confidence must be at least 0.5 and below 1, got {value!r}")

    def _direction(self) -> None:
        better = getattr(self, "better")  # noqa: B009
        if better not in ("", "higher", "lower"):
            raise UnknownName("direction of a metric", better, ("higher", "lower"))

    def _enough(self) -> None:
        self._at_least_one_row()
        then = getattr(self, "on_insufficient", None)
        if then not in ON_INSUFFICIENT:
            raise UnknownName("on_insufficient", then, ON_INSUFFICIENT)

    def _at_least_one_row(self) -> None:
        rows = getattr(self, "min_rows", None)
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise PolicyError(f"{self.name}: min_rows must be a number of at least 1, got {rows!r}")

    def _ordered(self) -> None:
        lower, upper = getattr(self, "lower", None), getattr(self, "upper", None)
        if lower is not None and upper is not None and lower > upper:
            raise PolicyError(f"{self.name}: lower {lower!r} is above upper {upper!r}, nothing can pass")


@dataclasses.dataclass(frozen=True)
class Value(Rule):
    """The candidate's figure lies within bounds: ``lower <= metric <= upper``.

    :param metric: the metric's name.
    :param lower: at least this.
    :param upper: at most this.
    :param better: ``higher`` or ``lower``, where the author says which; another direction of the metric is an error.

    >>> Value("roc_auc")
    Traceback (most recent call last):
        ...
    airflow_mlops.core.errors.PolicyError: value has no threshold: give lower or upper
    """

    name: ClassVar[str] = "value"
    metric: str
    lower: float | None = None
    upper: float | None = None
    better: str = ""

    def __post_init__(self) -> None:
        self._text("metric")
        self._thresholds("lower", "upper")
        self._ordered()
        self._direction()
        self._bounding(self.metric)


@dataclasses.dataclass(frozen=True)
class BeatsChampion(Rule):
    """The candidate is better than the champion by so much, or not worse by more than so much.

    :param metric: the metric's name; its direction says what better is.
    :param min_absolute: the improvement is at least this; negative: a non-inferiority margin.
    :param min_relative: the improvement is at least this share of the champion's figure; negative likewise.
    :param margin: with ``confidence``: the lower confidence bound of the improvement is at least ``-margin``.
    :param confidence: one-sided, of the paired bootstrap, 0.5 to below 1.
    :param better: ``higher`` or ``lower``, where the author says which; another direction of the metric is an error.
    """

    name: ClassVar[str] = "beats_champion"
    metric: str
    min_absolute: float | None = None
    min_relative: float | None = None
    margin: float | None = None
    confidence: float | None = None
    better: str = ""

    def __post_init__(self) -> None:
        self._text("metric")
        self._direction()
        self._thresholds("min_absolute", "min_relative", "confidence")
        self._thresholds("margin", at_least_one=False)
        self._confidence()
        if self.margin is not None and self.confidence is None:
            raise PolicyError("beats_champion: margin needs confidence; without one say min_absolute=-margin")
        if self.min_relative is not None and self.min_relative <= -1:
            share = f"a share of the champion's figure (-0.05: 5 % worse), got {self.min_relative!r}"
            raise PolicyError(f"beats_champion: min_relative is above -1, {share}")
        self._bounding(self.metric)


@dataclasses.dataclass(frozen=True)
class BeatsBaseline(Rule):
    """The candidate is better than a simple model.

    The best constant is the best by this metric. In recall no model beats the one that says yes to every row: ask for
    F1 or average precision there.

    :param metric: the metric's name.
    :param by: the improvement is above 0 and at least this; not negative.
    :param baseline: which of those that were evaluated; empty: the first.
    """

    name: ClassVar[str] = "beats_baseline"
    metric: str
    by: float = 0.0
    baseline: str = ""

    def __post_init__(self) -> None:
        self._text("metric")
        self._thresholds("by")
        if self.by < 0:
            raise PolicyError(f"beats_baseline: by must not be negative, got {self.by!r}")


@dataclasses.dataclass(frozen=True)
class Slices(Rule):
    """Every slice by a column is good enough.

    :param metric: the metric's name.
    :param by: the column; each of its values is a slice.
    :param lower: the figure in each slice is at least this.
    :param upper: the figure in each slice is at most this.
    :param min_absolute: the improvement over the champion in each slice is at least this; negative: a margin.
    :param min_rows: a slice with fewer rows is insufficient.
    :param on_insufficient: what an insufficient slice does, of :data:`ON_INSUFFICIENT`.
    :param values: slices that have to be there; one that is missing is an error.
    :param confidence: the bounds hold with this confidence in all slices together, Holm-corrected; ``None``: the
        bare figures are judged.
    """

    name: ClassVar[str] = "slices"
    metric: str
    by: str
    lower: float | None = None
    upper: float | None = None
    min_absolute: float | None = None
    min_rows: int = 100
    on_insufficient: str = "reject"
    values: tuple[str, ...] = ()
    confidence: float | None = None

    def __post_init__(self) -> None:
        values: Any = self.values
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            raise PolicyError(f"slices: values must be a list, got {values!r}")
        if any(v is None or isinstance(v, bool) for v in values):
            raise PolicyError(f"slices: values are text, quote them in YAML (no is a truth value), got {values!r}")
        object.__setattr__(self, "values", tuple(map(str, values)))
        self._text("metric", "by")
        self._thresholds("lower", "upper", "min_absolute")
        self._ordered()
        self._confidence()
        self._enough()
        self._bounding(self.metric)


@dataclasses.dataclass(frozen=True)
class SignatureCompatible(Rule):
    """Whoever calls the champion can call the candidate: it needs no further column and none of another type."""

    name: ClassVar[str] = "signature_compatible"


@dataclasses.dataclass(frozen=True)
class Latency(Rule):
    """One prediction of one row is fast enough.

    :param p95_ms: the 95th percentile in milliseconds is at most this.
    :param p50_ms: the median in milliseconds is at most this.
    """

    name: ClassVar[str] = "latency"
    p95_ms: float | None = None
    p50_ms: float | None = None

    def __post_init__(self) -> None:
        self._thresholds("p95_ms", "p50_ms")


@dataclasses.dataclass(frozen=True)
class Size(Rule):
    """The model's files are small enough.

    :param max_bytes: at most this.
    """

    name: ClassVar[str] = "size"
    max_bytes: float

    def __post_init__(self) -> None:
        self._thresholds("max_bytes")


@dataclasses.dataclass(frozen=True)
class Function(Rule):
    """A plain function that looks at the evaluation.

    :param function: ``(Evaluation) -> bool | Check``, or its name as ``"package.module:function"``. Only ``True`` and
        a passed check pass; whatever it raises is an error.
    """

    name: ClassVar[str] = "function"
    function: Callable[[Any], Any] | str

    def __post_init__(self) -> None:
        if not callable(self.function) and not (isinstance(self.function, str) and ":" in self.function):
            raise PolicyError(f"function must be callable or 'package.module:function', got {self.function!r}")

    @property
    def label(self) -> str:
        """``module:function``."""
        if isinstance(self.function, str):
            return self.function
        module = module_name(getattr(self.function, "__module__", "") or "")
        return f"{module}:{getattr(self.function, '__qualname__', type(self.function).__qualname__)}"

    def load(self) -> Callable[[Any], Any]:
        """The function itself.

        :raises PolicyError: when the name leads to none.
        """
        if not isinstance(self.function, str):
            return self.function
        module, _, attribute = self.function.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as e:
            raise PolicyError(f"function {self.function!r} can't be imported: {e}") from e
        if not callable(found):
            raise PolicyError(f"{self.function!r} is not a function")
        return found

    def to_dict(self) -> dict[str, JSON]:
        """Its name, and a digest of its source: another body is another policy."""
        source = "" if isinstance(self.function, str) else digest(describe_trainer(self.function))
        return {self.name: {"function": self.label, "source": source}}

    def __repr__(self) -> str:
        return f"Function({self.label})"
