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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.evidence_rules import Calibration, EnoughRows, Fairness, NoLeakage, PredictionParity
from airflow_mlops.core.metrics import METRICS
from airflow_mlops.core.results import JSON, digest
from airflow_mlops.core.rules import (
    ON_INSUFFICIENT,
    BeatsBaseline,
    BeatsChampion,
    Function,
    Latency,
    Rule,
    SignatureCompatible,
    Size,
    Slices,
    Value,
)
from airflow_mlops.core.strict_yaml import read_yaml

__all__ = [
    "CHECKS",
    "ON_BROKEN_CHAMPION",
    "ON_INSUFFICIENT",
    "ON_MISSING_CHAMPION",
    "AllOf",
    "AnyOf",
    "BeatsBaseline",
    "BeatsChampion",
    "Calibration",
    "EnoughRows",
    "Fairness",
    "Function",
    "GatePolicy",
    "Latency",
    "NoLeakage",
    "PredictionParity",
    "SignatureCompatible",
    "Size",
    "Slices",
    "Value",
]

ON_MISSING_CHAMPION = ("value_only", "reject", "require_approval")
"""No champion yet: judge what needs none, refuse, or let a person decide."""

ON_BROKEN_CHAMPION = ("reject", "require_approval")
"""There is a champion, and it can't be loaded or scored: refuse, or let a person decide. Never a pass."""


class _Group(Rule):
    """Checks that are judged together."""

    checks: tuple[Any, ...]

    def __post_init__(self) -> None:
        # Their order does not matter, so they have one: equal groups are equal.
        checks = sorted(_checks_of(self.checks, self.name), key=lambda c: digest(c.to_dict()))
        object.__setattr__(self, "checks", tuple(checks))

    def to_dict(self) -> dict[str, JSON]:
        """``{name: {"title": ..., "checks": [...]}}``."""
        given: dict[str, JSON] = {"checks": [c.to_dict() for c in self.checks]}
        title = getattr(self, "title", "")
        return {self.name: {"title": title, **given} if title else given}


@dataclasses.dataclass(frozen=True)
class AnyOf(_Group):
    """An exception that the policy names: one of the checks is enough.

    One that does not apply is no pass, and one that is unknown is none either.

    :param title: what the exception is called, in the verdict too: ``"calmer, if not better"``.
    :param checks: at least two, of :data:`CHECKS`.
    """

    name: ClassVar[str] = "any_of"
    title: str
    checks: tuple[Any, ...]

    def __post_init__(self) -> None:
        self._text("title")
        super().__post_init__()
        if len(self.checks) < 2:
            raise PolicyError(f"any_of {self.title!r} needs at least two checks to choose from")


@dataclasses.dataclass(frozen=True)
class AllOf(_Group):
    """Checks that belong together, as one alternative of an ``any_of``.

    :param checks: at least one, of :data:`CHECKS`.
    """

    name: ClassVar[str] = "all_of"
    checks: tuple[Any, ...]


CHECKS: Mapping[str, type[Rule]] = {
    c.name: c
    for c in (
        *(Value, BeatsChampion, BeatsBaseline, Slices, Fairness, Calibration),
        *(SignatureCompatible, PredictionParity, NoLeakage, EnoughRows, Latency, Size, Function),
        *(AnyOf, AllOf),
    )
}
"""Every check that a policy can name."""

MLFLOW_NAMES: Mapping[str, str] = {
    "accuracy_score": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "brier_score_loss": "brier",
    "f1_score": "f1",
    "matthews_corrcoef": "mcc",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "mean_squared_error": "mse",
    "precision_score": "precision",
    "r2_score": "r2",
    "recall_score": "recall",
    "root_mean_squared_error": "rmse",
}
"""What MLflow's evaluator calls the metrics of our table."""


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
        object.__setattr__(self, "checks", _checks_of(self.checks, "the policy"))
        if self.on_missing_champion not in ON_MISSING_CHAMPION:
            raise UnknownName("on_missing_champion", self.on_missing_champion, ON_MISSING_CHAMPION)
        if self.on_broken_champion not in ON_BROKEN_CHAMPION:
            raise UnknownName("on_broken_champion", self.on_broken_champion, ON_BROKEN_CHAMPION)

    @property
    def digest(self) -> str:
        """Fingerprint of what is asked; the order of the checks does not matter."""
        value = self.to_dict()
        return digest({**value, "checks": sorted(digest(c.to_dict()) for c in self.checks)})

    def every(self) -> tuple[Rule, ...]:
        """The checks and those within ``any_of`` and ``all_of``."""

        def within(checks: Sequence[Rule]) -> list[Rule]:
            return [c for one in checks for c in (one, *within(getattr(one, "checks", ())))]

        return tuple(within(self.checks))

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

        MLflow's own thresholds, ``{metric: MetricThreshold}``, are taken too, here and among the checks, and judged by
        the rules of this gate: a figure that is not finite never passes, and a champion of zero is no bound.

        :raises PolicyError: for a file that can't be read or holds no mapping, and for anything else.
        """
        if isinstance(value, GatePolicy):
            return value
        if isinstance(value, Mapping):
            if value and all(_is_threshold(v) for v in value.values()):
                return cls(checks=(value,))
            return cls.from_dict(value)
        if not isinstance(value, str | Path) or not str(value):
            raise PolicyError(f"a policy is a GatePolicy, its dict or a path, got {type(value).__name__}")
        import yaml

        try:
            content = read_yaml(Path(value).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as e:  # no path at all (a null byte), no text
            raise PolicyError(f"the policy {str(value)!r} can't be read: {e}") from e
        if not isinstance(content, Mapping):
            raise PolicyError(f"the policy {str(value)!r} holds no mapping with checks")
        return cls.from_dict(content)


def _checks_of(values: Any, whose: str) -> tuple[Rule, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        raise PolicyError(f"checks must be a list, got {type(values).__name__}")
    checks: list[Rule] = []
    for value in values:
        if isinstance(value, Mapping) and value and all(_is_threshold(v) for v in value.values()):
            checks.extend(c for name, threshold in value.items() for c in _of_threshold(str(name), threshold))
        else:
            checks.append(_check_of(value))
    if not checks:
        raise PolicyError(f"{whose} has no checks: nothing would be judged")
    return tuple(checks)


def _is_threshold(value: Any) -> bool:
    """Whether it is MLflow's ``MetricThreshold``; told by its class's name, so that MLflow is not imported for it."""
    return any(c.__name__ == "MetricThreshold" and c.__module__.startswith("mlflow.") for c in type(value).__mro__)


def _of_threshold(name: str, threshold: Any) -> list[Rule]:
    metric = MLFLOW_NAMES.get(name, name)
    better = "higher" if threshold.greater_is_better else "lower"
    known = METRICS.get(metric)
    if known is not None and known.direction != better:
        raise PolicyError(f"of {name}, {known.direction} is better: the MetricThreshold says {better}")
    checks: list[Rule] = []
    if threshold.threshold is not None:
        side = "lower" if better == "higher" else "upper"
        checks.append(Value(metric, **{side: threshold.threshold}, better=better))
    absolute, relative = threshold.min_absolute_change, threshold.min_relative_change
    if absolute is not None or relative is not None:
        checks.append(BeatsChampion(metric, min_absolute=absolute, min_relative=relative, better=better))
    return checks


def _check_of(value: Any) -> Rule:
    if isinstance(value, Rule):
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


def _rule_of(name: str, arguments: Any) -> Rule:
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
