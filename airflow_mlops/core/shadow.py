"""A challenger beside the champion on the same live rows: how they differ, and when enough has been seen.

The figure that decides is the paired difference of losses, champion minus challenger, of each row that has its label:
positive is better. It is looked at after every partition, and a test that is made again and again finds something
sooner or later: so the interval is one that holds at all times at once, that of the mixture sequential probability
ratio test.
With ``n`` rows of variance ``V`` and mean ``d``, and a normal mixture of variance ``t^2`` over the true difference,

    d +- sqrt(V (V + n t^2) / (n t)^2 * (2 log(1 / alpha) + log((V + n t^2) / V)))

covers the true difference at every ``n`` with probability ``1 - alpha``. Rows of one day resemble each other; ``V`` is
therefore the larger one of the variance of the rows and of the variance between the partitions' means, times rows.

Johari, Koomen, Pekelis, Walsh: Always Valid Inference: Continuous Monitoring of A/B Tests. Operations Research 70
(2022). Liang, Zeger: Longitudinal Data Analysis Using Generalized Linear Models. Biometrika 73 (1986), for clusters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.errors import PolicyError
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Decision, digest, finite
from airflow_mlops.core.settings import Policy, within
from airflow_mlops.core.versions import moment

PROMOTE, CONTINUE, STOP = "promote", "continue", "stop"
"""What a shadow decides."""

COMPARED, ERROR = "compared", "error"
"""How one comparison ended; with ``error`` a model could not score the rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShadowPolicy(Policy):
    """When a challenger has been seen enough.

    :param partitions: so many have to be compared, with labels, before anything is decided for it.
    :param min_rows: rows with labels likewise: the interval is one of large numbers.
    :param longest: when nothing is decided after so many, it ends.
    :param margin: how much worse the challenger's loss may be, in the loss's unit; 0: surely not worse.
    :param alpha: probability of a wrong end, over all looks together.
    :param effect: the difference of losses that would be worth having: the ``t`` of the mixture.
    :param max_errors: partitions that the challenger may fail to score.
    :param max_latency_ratio: of its p95 to the champion's; ``None``: not looked at.
    :param min_agreement: share of rows with the same prediction; ``None``: not looked at.
    """

    partitions: int = 5
    min_rows: int = 1000
    longest: int = 30
    margin: float = 0.0
    alpha: float = 0.05
    effect: float = 0.01
    max_errors: int = 0
    max_latency_ratio: float | None = 2.0
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        within(self.margin, "margin", 0, math.inf)
        within(self.alpha, "alpha", 1e-9, 0.5)
        within(self.effect, "effect", 1e-12, math.inf)
        within(self.max_errors, "max_errors", 0, math.inf)
        within(self.min_rows, "min_rows", 1, math.inf)
        if not 2 <= self.partitions <= self.longest:
            raise PolicyError(
                f"a shadow lasts for 2 <= partitions <= longest, got {self.partitions} and {self.longest}"
            )
        if self.max_latency_ratio is not None:
            within(self.max_latency_ratio, "max_latency_ratio", 0, math.inf)
        if self.min_agreement is not None:
            within(self.min_agreement, "min_agreement", 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired:
    """Paired differences of losses in one partition, as much of them as adds up.

    :param rows: how many have a label.
    :param mean: of champion's loss minus challenger's.
    :param m2: sum of squared deviations from the mean.
    """

    rows: int
    mean: float
    m2: float

    @classmethod
    def of(cls, value: Any) -> Paired | None:
        """From a record; ``None`` where a figure is missing or can't be."""
        if not isinstance(value, Mapping):
            return None
        rows, mean, m2 = value.get("rows"), finite(value.get("mean")), finite(value.get("m2"))
        known = isinstance(rows, int) and not isinstance(rows, bool) and rows > 0
        return cls(rows=rows, mean=mean, m2=m2) if known and mean is not None and m2 is not None and m2 >= 0 else None  # type: ignore[arg-type]


def interval(parts: Sequence[Paired], *, alpha: float, effect: float) -> tuple[float, float, float] | None:
    """The mean difference and its always-valid interval; ``None`` of fewer than two partitions.

    >>> low, mean, high = interval([Paired(rows=1000, mean=0.02, m2=10.0)] * 5, alpha=0.05, effect=0.01)
    >>> low > 0, round(mean, 3)
    (True, 0.02)
    """
    if len(parts) < 2:
        return None
    n = sum(p.rows for p in parts)
    mean = sum(p.rows * p.mean for p in parts) / n
    within_rows = sum(p.m2 + p.rows * (p.mean - mean) ** 2 for p in parts) / max(1, n - 1)
    k = len(parts)
    between = sum((p.rows * (p.mean - mean)) ** 2 for p in parts) / n * k / (k - 1)
    variance = max(within_rows, between)
    if variance == 0:  # every row differs by the same: nothing is uncertain about it
        return mean, mean, mean
    mixed = variance + n * effect**2
    width = math.sqrt(variance * mixed / (n * effect) ** 2 * (2 * math.log(1 / alpha) + math.log(mixed / variance)))
    return mean - width, mean, mean + width


def decide_shadow(
    model: str,
    champion: str,
    challenger: str,
    records: Sequence[Record],
    policy: ShadowPolicy,
    *,
    dag_run: Mapping[str, JSON] | None = None,
) -> Decision:
    """Whether the challenger has shown enough: ``promote``, ``continue`` or ``stop``.

    What is not known is never a reason to promote: a partition without labels, a latency that was not measured. It is
    not the gate's verdict: the promotion asks for that one as well.

    :param champion: the version that the comparisons must be with.
    :param challenger: the version that they must be of.
    :param records: the model's of kind ``shadow``, newest first; of one partition the newest counts, those of a replay
        do not.
    """
    found = _comparisons(champion, challenger, records)
    parts = _parts(found)
    seen = interval(parts, alpha=policy.alpha, effect=policy.effect)
    against, open_ = [*_against(found, policy, seen)], [*_open(found, parts, policy, seen)]
    if not against and open_ and len(found) >= policy.longest:
        against = [f"nothing was decided in {len(found)} partitions", *open_]
    decision = STOP if against else CONTINUE if open_ else PROMOTE
    low, mean, high = seen or (None, None, None)
    good = [f"its loss is better by {mean:.4g}, surely by {low:.4g} or more"] if mean is not None else []
    evidence: dict[str, JSON] = {
        "version": challenger,
        "champion": champion,
        "partitions": len(found),
        "with_labels": len(parts),
        "rows": sum(p.rows for p in parts),
        "difference": {"low": low, "mean": mean, "high": high},
        "policy": policy.to_dict(),
    }
    return Decision(
        kind="shadow",
        model=model,
        decision=decision,
        reasons=tuple(against or open_ or good),
        evidence=evidence,
        inputs={"seen": digest([r.key for r in found]), "policy": policy.digest, "pair": f"{champion} {challenger}"},
        dag_run=dag_run or {},
    )


def _comparisons(champion: str, challenger: str, records: Iterable[Record]) -> list[Record]:
    newest: dict[str, Record] = {}
    for record in records:
        body = record.body
        if record.kind != "shadow" or record.outcome not in (COMPARED, ERROR) or record.backfill or not record.at:
            continue
        if (body.get("champion"), body.get("challenger")) == (champion, challenger):
            newest.setdefault(record.at, record)
    return [newest[at] for at in sorted(newest, key=moment)]


def _parts(found: Sequence[Record]) -> list[Paired]:
    """The labelled partitions whose loss is that of the newest: others do not add up with it."""
    labelled = [
        (p, _loss(r)) for r in found if r.outcome == COMPARED and (p := Paired.of(r.body.get("difference"))) is not None
    ]
    return [p for p, loss in labelled if loss == labelled[-1][1]]


def _loss(record: Record) -> str:
    difference = record.body.get("difference")
    return str(difference.get("loss", "")) if isinstance(difference, Mapping) else ""


def _against(found: Sequence[Record], policy: ShadowPolicy, seen: tuple[float, float, float] | None) -> Iterable[str]:
    failed = [r for r in found if r.outcome == ERROR]
    if len(failed) > policy.max_errors:
        yield f"it could not score {len(failed)} of {len(found)} partitions: {failed[-1].body.get('error')}"
    if len(found) >= policy.partitions:
        ratio, agreement = _ratio(found), _agreement(found)
        if policy.max_latency_ratio is not None and ratio is not None and ratio > policy.max_latency_ratio:
            yield f"its p95 latency is {ratio:.3g} times the champion's, more than {policy.max_latency_ratio:g}"
        if policy.min_agreement is not None and agreement is not None and agreement < policy.min_agreement:
            yield f"it agrees on {agreement:.2%} of the rows, less than {policy.min_agreement:.2%}"
    if seen is not None and seen[2] < -policy.margin:
        yield f"its loss is surely worse: by {-seen[2]:.4g} or more, where {policy.margin:g} is allowed"


def _open(
    found: Sequence[Record],
    parts: Sequence[Paired],
    policy: ShadowPolicy,
    seen: tuple[float, float, float] | None,
) -> Iterable[str]:
    if len(parts) < policy.partitions:
        yield f"{len(parts)} of {policy.partitions} partitions were compared with labels"
    rows = sum(p.rows for p in parts)
    if rows < policy.min_rows:
        yield f"{rows} of {policy.min_rows} rows were compared with labels"
    if seen is None or seen[0] < -policy.margin:
        bound = f"{seen[0]:.4g}" if seen else "unknown"
        yield f"the surely known difference of losses is {bound}, and has to be {-policy.margin:g} or more"
    if policy.max_latency_ratio is not None and _ratio(found) is None:
        yield "latency is not known"
    if policy.min_agreement is not None and _agreement(found) is None:
        yield "agreement is not known"


def _ratio(found: Sequence[Record]) -> float | None:
    """The median over the partitions, so that one slow machine decides nothing."""
    ratios = []
    for record in found:
        own, its = (finite(record.metrics.get(f"{who}_latency_p95")) for who in ("champion", "challenger"))
        if own and its is not None:
            ratios.append(its / own)
    return sorted(ratios)[len(ratios) // 2] if ratios else None


def _agreement(found: Sequence[Record]) -> float | None:
    known = [(a, r.metrics.get("rows", 0)) for r in found if (a := finite(r.metrics.get("agreement"))) is not None]
    rows = sum(n for _, n in known)
    return sum(a * n for a, n in known) / rows if rows else None
