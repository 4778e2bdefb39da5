"""What a gate asks for: :class:`GatePolicy` and its checks, as frozen values, in Python or YAML.

::

    on_missing_champion: value_only
    checks:
      - value: {metric: roc_auc, lower: 0.65}
      - beats_champion: {metric: roc_auc, margin: 0.005, confidence: 0.9}
      - slices: {metric: roc_auc, by: carrier, lower: 0.55, min_rows: 200, on_insufficient: skip}

A policy says what has to hold and nothing else; how a check is judged is in :mod:`airflow_mlops.core.gates`. Thresholds
are finite numbers; a check that has none, or a policy without checks, is a :class:`~.errors.PolicyError`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.fingerprint import describe_trainer, module_name
from airflow_mlops.core.results import JSON, digest, finite, plain

ON_MISSING_CHAMPION = ("value_only", "reject", "require_approval")
"""No champion yet: judge what needs none, refuse, or let a person decide."""

ON_BROKEN_CHAMPION = ("reject", "require_approval")
"""There is a champion, and it can't be loaded or scored: refuse, or let a person decide. Never a pass."""

ON_INSUFFICIENT = ("reject", "require_approval", "skip")
"""A slice has too few rows for its bound to mean anything."""


class _Rule:
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

    def _text(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise PolicyError(f"{self.name}: {name} must be a name, got {value!r}")

    def _confidence(self) -> None:
        value = getattr(self, "confidence")  # noqa: B009
        if value is not None and not (finite(value) is not None and 0.5 <= value < 1):
            raise PolicyError(f"{self.name}: confidence must be at least 0.5 and below 1, got {value!r}")

    def _ordered(self) -> None:
        lower, upper = getattr(self, "lower", None), getattr(self, "upper", None)
        if lower is not None and upper is not None and lower > upper:
            raise PolicyError(f"{self.name}: lower {lower!r} is above upper {upper!r}, nothing can pass")


@dataclasses.dataclass(frozen=True)
class Value(_Rule):
    """The candidate's figure lies within bounds: ``lower <= metric <= upper``.

    :param metric: the metric's name.
    :param lower: at least this.
    :param upper: at most this.

    >>> Value("roc_auc")
    Traceback (most recent call last):
        ...
    airflow_mlops.core.errors.PolicyError: value has no threshold: give lower or upper
    """

    name: ClassVar[str] = "value"
    metric: str
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        self._text("metric")
        self._thresholds("lower", "upper")
        self._ordered()


@dataclasses.dataclass(frozen=True)
class BeatsChampion(_Rule):
    """The candidate is better than the champion by so much, or not worse by more than so much.

    :param metric: the metric's name; its direction says what better is.
    :param min_absolute: the improvement is at least this; negative: a non-inferiority margin.
    :param min_relative: the improvement is at least this share of the champion's figure; negative likewise.
    :param margin: with ``confidence``: the lower confidence bound of the improvement is at least ``-margin``.
    :param confidence: one-sided, of the paired bootstrap, 0.5 to below 1.
    """

    name: ClassVar[str] = "beats_champion"
    metric: str
    min_absolute: float | None = None
    min_relative: float | None = None
    margin: float | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        self._text("metric")
        self._thresholds("min_absolute", "min_relative", "confidence")
        self._thresholds("margin", at_least_one=False)
        self._confidence()
        if self.margin is not None and self.confidence is None:
            raise PolicyError("beats_champion: margin needs confidence; without one say min_absolute=-margin")


@dataclasses.dataclass(frozen=True)
class BeatsBaseline(_Rule):
    """The candidate is better than a model without features.

    :param metric: the metric's name.
    :param by: the improvement is above 0 and at least this; not negative.
    """

    name: ClassVar[str] = "beats_baseline"
    metric: str
    by: float = 0.0

    def __post_init__(self) -> None:
        self._text("metric")
        self._thresholds("by")
        if self.by < 0:
            raise PolicyError(f"beats_baseline: by must not be negative, got {self.by!r}")


@dataclasses.dataclass(frozen=True)
class Slices(_Rule):
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
        object.__setattr__(self, "values", tuple(map(str, values)))
        self._text("metric", "by")
        self._thresholds("lower", "upper", "min_absolute")
        self._ordered()
        self._confidence()
        if isinstance(self.min_rows, bool) or not isinstance(self.min_rows, int) or self.min_rows < 1:
            raise PolicyError(f"slices: min_rows must be a number of at least 1, got {self.min_rows!r}")
        if self.on_insufficient not in ON_INSUFFICIENT:
            raise UnknownName("on_insufficient", self.on_insufficient, ON_INSUFFICIENT)


@dataclasses.dataclass(frozen=True)
class SignatureCompatible(_Rule):
    """Whoever calls the champion can call the candidate: it needs no further column and none of another type."""

    name: ClassVar[str] = "signature_compatible"


@dataclasses.dataclass(frozen=True)
class Latency(_Rule):
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
class Size(_Rule):
    """The model's files are small enough.

    :param max_bytes: at most this.
    """

    name: ClassVar[str] = "size"
    max_bytes: float

    def __post_init__(self) -> None:
        self._thresholds("max_bytes")


@dataclasses.dataclass(frozen=True)
class Function(_Rule):
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


CHECKS: Mapping[str, type[_Rule]] = {
    c.name: c for c in (Value, BeatsChampion, BeatsBaseline, Slices, SignatureCompatible, Latency, Size, Function)
}
"""Every check that a policy can name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """What a candidate has to stand up to. It passes when every check passes.

    :param checks: of :data:`CHECKS`, their dicts, or plain functions; their order does not matter.
    :param on_missing_champion: of :data:`ON_MISSING_CHAMPION`.
    :param on_broken_champion: of :data:`ON_BROKEN_CHAMPION`.
    :raises PolicyError: no checks, or a check without a threshold.
    :raises UnknownName: for a key or a check that is not known, with the nearest.

    >>> policy = GatePolicy(checks=[Value("roc_auc", lower=0.65), BeatsChampion("roc_auc", min_absolute=0.0)])
    >>> GatePolicy.of(policy.to_dict()) == policy
    True
    >>> GatePolicy.of({"checks": [{"value": {"metric": "roc_auc", "lowr": 0.65}}]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    airflow_mlops.core.errors.UnknownName: unknown argument of value 'lowr': did you mean 'lower'? Known: ...
    """

    checks: tuple[Any, ...]
    on_missing_champion: str = "value_only"
    on_broken_champion: str = "reject"

    def __post_init__(self) -> None:
        checks = self.checks
        if isinstance(checks, str | bytes | Mapping) or not isinstance(checks, Sequence):
            raise PolicyError(f"checks must be a list, got {type(checks).__name__}")
        object.__setattr__(self, "checks", tuple(_check_of(c) for c in checks))
        if not self.checks:
            raise PolicyError("the policy has no checks: nothing would be judged")
        if self.on_missing_champion not in ON_MISSING_CHAMPION:
            raise UnknownName("on_missing_champion", self.on_missing_champion, ON_MISSING_CHAMPION)
        if self.on_broken_champion not in ON_BROKEN_CHAMPION:
            raise UnknownName("on_broken_champion", self.on_broken_champion, ON_BROKEN_CHAMPION)

    @property
    def digest(self) -> str:
        """Fingerprint of what is asked; the order of the checks does not matter."""
        value = self.to_dict()
        return digest({**value, "checks": sorted(digest(c.to_dict()) for c in self.checks)})

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {
            "checks": [c.to_dict() for c in self.checks],
            "on_missing_champion": self.on_missing_champion,
            "on_broken_champion": self.on_broken_champion,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName("policy key", key, names)
        if "checks" not in value:
            raise PolicyError("the policy has no checks: nothing would be judged")
        return cls(**dict(value))

    @classmethod
    def of(cls, value: GatePolicy | Mapping[str, Any] | str | Path) -> GatePolicy:
        """A policy from whatever a DAG author gives: a policy, its dict, or the path of a YAML or JSON file.

        :raises PolicyError: for a file that can't be read or holds no mapping, and for anything else.
        """
        if isinstance(value, GatePolicy):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if not isinstance(value, str | Path) or not str(value):
            raise PolicyError(f"a policy is a GatePolicy, its dict or a path, got {type(value).__name__}")
        import yaml

        try:
            content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
            raise PolicyError(f"the policy {str(value)!r} can't be read: {e}") from e
        if not isinstance(content, Mapping):
            raise PolicyError(f"the policy {str(value)!r} holds no mapping with checks")
        return cls.from_dict(content)


def _check_of(value: Any) -> _Rule:
    if isinstance(value, _Rule):
        return value
    if isinstance(value, str) and value in CHECKS:  # "- signature_compatible" in YAML
        value = {value: {}}
    if isinstance(value, Mapping):
        if len(value) != 1:
            raise PolicyError(f"a check is one name with its arguments, got the keys {sorted(map(str, value))}")
        name, arguments = next(iter(value.items()))
        return _rule_of(str(name), arguments)
    if callable(value):
        return Function(value)
    raise PolicyError(f"a check is a name with arguments, or a function, got {value!r}")


def _rule_of(name: str, arguments: Any) -> _Rule:
    if name not in CHECKS:
        raise UnknownName("check", name, CHECKS)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise PolicyError(f"{name}: arguments must be a mapping, got {arguments!r}")
    rule = CHECKS[name]
    fields = dataclasses.fields(rule)  # type: ignore[arg-type]
    known = [f.name for f in fields]
    given = {str(k): v for k, v in arguments.items() if not (rule is Function and k == "source")}
    for key in given:
        if key not in known:
            raise UnknownName(f"argument of {name}", key, known)
    lacking = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in given]
    if lacking:
        raise PolicyError(f"{name} lacks {', '.join(lacking)}")
    return rule(**given)
