"""Laws of the gate, and what it makes of nonsense."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.errors import MlopsError, UnknownName
from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.gates import (
    AllOf,
    AnyOf,
    BeatsBaseline,
    BeatsChampion,
    Fairness,
    GatePolicy,
    Slices,
    Value,
    judge,
    verdict_markdown,
)
from tests.core.gate_evaluations import evaluation_of, made, verdict

numbers = st.floats(-100, 100, allow_nan=False) | st.sampled_from([0.0, 1e-9, -1e-9, 1e12])
bounds = st.none() | st.floats(-2, 2, allow_nan=False)


@st.composite
def change_checks(draw: Any) -> BeatsChampion:
    absolute, relative = draw(bounds), draw(st.none() | st.floats(-0.99, 2, allow_nan=False))
    confidence = draw(st.sampled_from([None, 0.8, 0.9, 0.95]))
    if absolute is relative is confidence is None:
        absolute = 0.0
    margin = draw(st.floats(0, 2)) if confidence else None
    return BeatsChampion("own", min_absolute=absolute, min_relative=relative, margin=margin, confidence=confidence)


@st.composite
def value_checks(draw: Any) -> Value:
    lower, upper = draw(bounds), draw(bounds)
    if lower is None and upper is None:
        lower = 0.0
    if lower is not None and upper is not None:
        lower, upper = min(lower, upper), max(lower, upper)
    return Value("own", lower=lower, upper=upper)


@st.composite
def cases(draw: Any, *, better: str = "higher", champion: bool = True) -> Evaluation:
    a, b = draw(numbers), draw(numbers)
    improvement = a - b if better == "higher" else b - a
    spread = draw(st.floats(0, 2))
    return made(a, b, better=better, bound=improvement - spread)


@given(st.data(), change_checks(), st.floats(0, 50))
@settings(max_examples=300, deadline=None)
def test_a_worse_candidate_never_turns_a_rejection_into_a_pass(data: Any, check: BeatsChampion, less: float) -> None:
    better = data.draw(st.sampled_from(["higher", "lower"]))
    evaluation = data.draw(cases(better=better))
    one = evaluation.metrics[0]
    sign = 1 if better == "higher" else -1
    worse = made(
        one.candidate - sign * less,
        one.champion,
        better=better,
        bound=one.improvement_quantiles["0.05"] - less,
    )
    lower = Value("own", lower=0.0) if better == "higher" else Value("own", upper=0.0)
    checks = (check, lower, BeatsBaseline("own"))
    for some in (checks, checks[:1], checks[1:2], checks[2:]):
        if verdict(evaluation, *some) == "reject":
            assert verdict(worse, *some) == "reject"


@given(st.data(), change_checks(), value_checks())
@settings(max_examples=300, deadline=None)
def test_swapping_direction_and_sign_keeps_the_verdict(data: Any, change: BeatsChampion, value: Value) -> None:
    evaluation = data.draw(cases())
    one = evaluation.metrics[0]
    mirrored = made(-one.candidate, -one.champion, better="lower", bound=one.improvement_quantiles["0.05"])
    turned = Value(
        "own",
        lower=None if value.upper is None else -value.upper,
        upper=None if value.lower is None else -value.lower,
    )
    assert verdict(evaluation, change) == verdict(mirrored, change)
    assert verdict(evaluation, value) == verdict(mirrored, turned)


@given(st.data(), st.lists(change_checks() | value_checks(), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_the_order_of_the_checks_never_matters(data: Any, checks: list[Any]) -> None:
    evaluation = data.draw(cases())
    shuffled = data.draw(st.permutations(checks))
    one, other = (judge(evaluation, GatePolicy(checks=c)) for c in (checks, shuffled))
    assert (one.decision, one.key, sorted(one.reasons)) == (other.decision, other.key, sorted(other.reasons))


@given(st.data(), st.lists(change_checks() | value_checks(), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_less_evidence_never_turns_a_rejection_into_a_pass(data: Any, checks: list[Any]) -> None:
    evaluation = data.draw(cases())
    less = data.draw(st.sampled_from(["candidate", "champion", "resamples", "quantiles", "metric", "state"]))
    one = evaluation.metrics[0]
    poorer = {
        "candidate": {"metrics": (dataclasses.replace(one, candidate=None),)},
        "champion": {"metrics": (dataclasses.replace(one, champion=None),)},
        "resamples": {"metrics": (dataclasses.replace(one, replicates=data.draw(st.integers(0, 30))),)},
        "quantiles": {"metrics": (dataclasses.replace(one, improvement_quantiles={}),)},
        "metric": {"metrics": ()},
        "state": {"champion": Contender(version="6", state="error")},
    }[less]
    try:
        after = judge(dataclasses.replace(evaluation, **poorer), GatePolicy(checks=checks)).decision
    except UnknownName:
        assert less == "metric"
        return
    if judge(evaluation, GatePolicy(checks=checks)).decision == "reject":
        assert after == "reject"


@given(st.lists(st.tuples(st.integers(100, 900), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_a_worse_or_smaller_slice_never_turns_a_rejection_into_a_pass(parts: list[Any], data: Any) -> None:
    def of(parts: list[Any]) -> Evaluation:
        return dataclasses.replace(
            made(0.7, 0.6),
            slices=tuple(
                Slice(
                    by="carrier",
                    value=str(i),
                    rows=rows,
                    metrics=(
                        Figure(
                            metric="own",
                            direction="higher",
                            candidate=value,
                            replicates=1000,
                            candidate_quantiles={
                                k: value - low * f for k, f in [("0.01", 1), ("0.05", 0.6), ("0.2", 0.3)]
                            },
                        ),
                    ),
                )
                for i, (rows, value, low) in enumerate(parts)
            ),
        )

    check = Slices(
        "own",
        by="carrier",
        lower=data.draw(st.floats(0, 1)),
        min_rows=data.draw(st.integers(1, 1000)),
        confidence=data.draw(st.sampled_from([None, 0.8, 0.95])),
    )
    place = data.draw(st.integers(0, len(parts) - 1))
    rows, value, low = parts[place]
    poorer = list(parts)
    poorer[place] = (
        data.draw(st.integers(1, rows)),
        value - data.draw(st.floats(0, 0.5)),
        low + data.draw(st.floats(0, 0.5)),
    )
    if verdict(of(parts), check) == "reject":
        assert verdict(of(poorer), check) == "reject"


NONSENSE = st.sampled_from(
    [math.nan, math.inf, -math.inf, None, "0.9", "", "NaN", True, False, [], {}, [0.9], {"value": 0.9}, 10**400]
)


@given(NONSENSE, st.sampled_from(["candidate", "champion", "baseline"]))
@settings(deadline=None)
def test_nonsense_is_no_pass(value: Any, where: str) -> None:
    evaluation = made(0.7, 0.6, bound=0.05)
    fields = {"candidate": 0.7, "champion": 0.6, "baseline": 0.5, where: value}
    evaluation = dataclasses.replace(evaluation, metrics=(dataclasses.replace(evaluation.metrics[0], **fields),))
    check = {
        "candidate": Value("own", lower=-1e9),
        "champion": BeatsChampion("own", min_absolute=-1e9),
        "baseline": BeatsBaseline("own"),
    }[where]
    assert verdict(made(0.7, 0.6), check) == "pass"
    assert verdict(evaluation, check) == "reject"


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_an_evaluation_with_anything_in_it_is_judged_or_refused(data: Any) -> None:
    """Put anything anywhere into a good evaluation: a verdict or an error of this package, and never a pass where
    the figure was destroyed."""
    good = evaluation_of({"candidate": 0.7, "champion": 0.6, "slices": {"AA": [500, 0.68, 0.6]}, "baseline": 0.5})
    value = json.loads(json.dumps(good.to_dict()))
    policy = GatePolicy(
        checks=[
            Value("roc_auc", lower=0.65),
            BeatsChampion("roc_auc", min_absolute=0.0),
            BeatsBaseline("roc_auc"),
            Slices("roc_auc", by="carrier", lower=0.6, min_absolute=0.0),
        ]
    )
    assert judge(Evaluation.from_dict(value), policy).decision == "pass"
    paths = [
        *((k,) for k in value),
        *(("candidate", k) for k in value["candidate"]),
        *(("champion", k) for k in value["champion"]),
        *(("metrics", 0, k) for k in value["metrics"][0]),
        *(("slices", 0, k) for k in value["slices"][0]),
        *(("slices", 0, "metrics", 0, k) for k in value["slices"][0]["metrics"][0]),
    ]
    path = data.draw(st.sampled_from(paths))
    target = value
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = nonsense = data.draw(anything | NONSENSE)
    try:
        decision = judge(Evaluation.from_dict(value), policy)
        verdict_markdown(decision)
    except MlopsError:
        return
    figure_at = ("candidate", "champion", "baseline")
    unknown = isinstance(nonsense, bool) or not isinstance(nonsense, int | float) or not -1e-9 <= nonsense <= 1 + 1e-9
    if path[0] in ("metrics", "slices") and path[-1] in figure_at and "metrics" in path and unknown:
        assert decision.decision == "reject" or path == ("slices", 0, "metrics", 0, "baseline")


@given(anything)
@settings(max_examples=200, deadline=None)
def test_anything_is_a_policy_or_an_error_that_says_so(value: Any) -> None:
    for candidate in (value, {"checks": value}, {"checks": [value]}, {"checks": [{"value": value}]}):
        try:
            policy = GatePolicy.of(candidate)
        except MlopsError:
            continue
        assert policy.checks


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), min_size=1, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_fairness_does_not_care_for_the_order_of_groups_and_only_fails_more_when_they_part(
    groups: list[tuple[int, int]], data: Any
) -> None:
    def of(groups: list[tuple[int, int]]) -> Evaluation:
        slices = tuple(
            Slice(by="carrier", value=str(i), rows=n, counts={"positives": 0, "selected": k, "true_positives": 0})
            for i, (n, k) in enumerate(groups)
        )
        return dataclasses.replace(made(0.7, 0.6), slices=slices)

    groups = [(n, min(n, k)) for n, k in groups]
    check = Fairness(
        "selection_rate",
        by="carrier",
        max_difference=data.draw(st.none() | st.floats(0, 1)),
        min_ratio=data.draw(st.floats(0, 1)),
        min_rows=data.draw(st.integers(1, 100)),
        on_insufficient=data.draw(st.sampled_from(["reject", "skip"])),
    )
    before = verdict(of(groups), check)
    assert before == verdict(of(data.draw(st.permutations(groups))), check)
    rates = [k / n for n, k in groups if n >= check.min_rows]
    if before == "pass":
        assert len(rates) >= 2 and min(rates) / max(rates) >= check.min_ratio - 1e-9
    if rates:
        place = max(range(len(groups)), key=lambda i: (groups[i][0] >= check.min_rows, groups[i][1] / groups[i][0]))
        parted = [(n, n) if i == place else (n, k) for i, (n, k) in enumerate(groups)]
        if before == "reject" and max(rates) > 0:
            assert verdict(of(parted), check) == "reject"


@given(st.data(), st.lists(change_checks() | value_checks(), min_size=2, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_of_passes_exactly_when_one_alternative_does(data: Any, checks: list[Any]) -> None:
    evaluation = data.draw(cases())
    each = [verdict(evaluation, c) for c in checks]
    assert (verdict(evaluation, AnyOf("one of them", checks)) == "pass") == ("pass" in each)
    assert (verdict(evaluation, AllOf(checks)) == "pass") == (set(each) == {"pass"})
    assert verdict(evaluation, AllOf(checks)) == verdict(evaluation, *checks)


EVIDENCE = {
    "candidate": {
        "details": {
            "signature": {"inputs": {"x": "double", "z": "double"}, "outputs": [{"type": "double"}]},
            "latency_ms": {"p50": 3.0, "p95": 9.0, "calls": 50},
            "size_bytes": 5000,
            "parity": {"rows": 100, "differing": 2, "max_difference": 0.01},
        }
    },
    "leakage": {
        "features": {"scores": {"x": 0.6, "z": 0.9}},
        "duplicates": {"rows": 1000, "share": 0.02},
        "repeated": {"rows": 1000, "share": 0.1},
        "time": {"column": "day", "begins": "2013-06-01"},
    },
}
"""Of each there is a bound that it keeps and one that it misses."""

ASKED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"latency": {"p95_ms": 10}}, {"latency": {"p95_ms": 8}}),
    ({"latency": {"p50_ms": 4}}, {"latency": {"p50_ms": 2}}),
    ({"size": {"max_bytes": 6000}}, {"size": {"max_bytes": 4000}}),
    ({"prediction_parity": {"max_difference": 0.1}}, {"prediction_parity": {"max_difference": 1e-6}}),
    ({"no_leakage": {"max_single_feature": 0.95}}, {"no_leakage": {"max_single_feature": 0.8}}),
    ({"no_leakage": {"max_duplicates": 0.1}}, {"no_leakage": {"max_duplicates": 0.01}}),
    ({"no_leakage": {"max_repeated": 0.2}}, {"no_leakage": {"max_repeated": 0.05}}),
    ({"no_leakage": {"time_order": True}}, {"no_leakage": {"max_single_feature": None, "time_order": True}}),
    ({"signature_compatible": {}}, {"signature_compatible": {}}),
]


def paths(value: Any, *before: str) -> list[tuple[str, ...]]:
    """The way to everything in nested mappings."""
    inner = value.items() if isinstance(value, dict) else ()
    return [p for k, v in inner for p in ((*before, k), *paths(v, *before, k))]


def with_evidence(until: str, calls: int) -> dict[str, Any]:
    whole = made(0.7, 0.6).to_dict() | json.loads(json.dumps({"leakage": EVIDENCE["leakage"]}))
    whole["candidate"] |= json.loads(json.dumps({**EVIDENCE["candidate"], "data_until": until}))
    whole["candidate"]["details"]["latency_ms"]["calls"] = calls
    whole["champion"] |= {"details": {"signature": EVIDENCE["candidate"]["details"]["signature"]}}
    return whole


@pytest.mark.parametrize("asked", [check for pair in ASKED for check in pair], ids=str)
@pytest.mark.parametrize(("until", "calls"), [("2013-05", 50), ("2013-06", 5)])
def test_evidence_that_is_taken_away_or_spoilt_never_turns_a_rejection_into_a_pass(
    asked: dict[str, Any], until: str, calls: int
) -> None:
    """Whatever is measured of model and rows. Only which columns are tried alone is for the evaluation to say."""
    before = verdict(Evaluation.from_dict(with_evidence(until, calls)), asked)
    tried = ("leakage", "features", "scores")
    for path in (p for p in paths(EVIDENCE) if p[:3] != tried or len(p) == 3):
        for nonsense in (..., None, math.nan, "much", True, {}):
            whole = place = with_evidence(until, calls)
            for step in path[:-1]:
                place = place[step]
            if nonsense is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = nonsense
            try:
                after = verdict(Evaluation.from_dict(whole), asked)
            except MlopsError:
                continue
            assert after == "reject" or before == "pass", (path, nonsense)
