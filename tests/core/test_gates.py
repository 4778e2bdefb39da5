"""The gate's meaning: cases a person can read, laws, and what it makes of nonsense."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.errors import MlopsError, PolicyError, UnknownName
from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.gates import (
    BeatsBaseline,
    BeatsChampion,
    Function,
    GatePolicy,
    Latency,
    SignatureCompatible,
    Size,
    Slices,
    Value,
    judge,
    verdict_markdown,
)
from airflow_mlops.core.policies import CHECKS
from airflow_mlops.core.results import Check, Decision, Severity, Status
from airflow_mlops.core.verdicts import JUDGES

CASES = yaml.safe_load((Path(__file__).parent / "gate_cases.yaml").read_text())


def figure(metric: str, candidate: Any, champion: Any = None, **options: Any) -> Figure:
    from airflow_mlops.core.metrics import METRICS

    known = METRICS[metric].direction if metric in METRICS else "higher"
    return Figure(
        metric=metric,
        direction=options.pop("better", None) or known,
        candidate=candidate,
        champion=champion,
        **options,
    )


def evaluation_of(given: dict[str, Any]) -> Evaluation:
    metric, better = given.get("metric", "roc_auc"), given.get("better")
    state = given.get("champion_state", "scored" if "champion" in given else "missing")
    sure = given.get("sure", {})
    slices = tuple(
        Slice(
            by="carrier",
            value=value,
            rows=numbers[0],
            metrics=(
                figure(
                    metric,
                    *numbers[1:],
                    better=better,
                    replicates=1000 if "slice_sure" in given else 0,
                    candidate_quantiles={
                        f"{1 - k:.4g}": v for k, v in given.get("slice_sure", {}).get(value, {}).items()
                    },
                ),
            ),
        )
        for value, numbers in given.get("slices", {}).items()
    )
    return Evaluation(
        model_name="flights",
        candidate=Contender(
            version="7",
            model_digest="c" * 64,
            data_until="2013-05",
            state=given.get("candidate_state", "scored"),
            details=given.get("details", {}),
        ),
        champion=Contender(
            version="" if state == "missing" else "6",
            model_digest="" if state == "missing" else "d" * 64,
            state=state,
            details=given.get("champion_details", {}),
        ),
        metrics=(
            figure(
                metric,
                given["candidate"],
                given.get("champion"),
                baseline=given.get("baseline"),
                better=better,
                replicates=given.get("resamples", 1000 if sure else 0),
                improvement_quantiles={f"{1 - k:.4g}": v for k, v in sure.items()},
            ),
        ),
        slices=slices,
        rows=1000,
        data={"uri": "holdout.parquet", "digest": "e" * 32},
    )


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_case(case: dict[str, Any]) -> None:
    assert set(case) <= {"name", "policy", "given", "then", "because"}
    errors = {"PolicyError": PolicyError, "UnknownName": UnknownName}
    if case["then"] in errors:
        with pytest.raises(errors[case["then"]]):
            judge(evaluation_of(case["given"]), GatePolicy.of(case["policy"]))
        return
    decision = judge(evaluation_of(case["given"]), GatePolicy.of(case["policy"]))
    assert decision.decision == case["then"], decision.reasons
    assert case.get("because", "") in "\n".join(decision.reasons)
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict(), allow_nan=False))) == decision
    assert verdict_markdown(decision).startswith("# flights version 7 ")


def test_the_cases_are_worth_reading() -> None:
    assert len(CASES) >= 80
    assert len({c["name"] for c in CASES}) == len(CASES)
    used = {name for c in CASES for check in c["policy"].get("checks", []) for name in check}
    assert set(CHECKS) - {"function"} <= used | {"signature_compatible"}


# ---------------------------------------------------------------- laws

numbers = st.floats(-100, 100, allow_nan=False) | st.sampled_from([0.0, 1e-9, -1e-9, 1e12])
bounds = st.none() | st.floats(-2, 2, allow_nan=False)


@st.composite
def change_checks(draw: Any) -> BeatsChampion:
    absolute, relative = draw(bounds), draw(bounds)
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


def made(candidate: Any, champion: Any, *, better: str = "higher", bound: Any = None, **options: Any) -> Evaluation:
    quantiles = dict.fromkeys(("0.05", "0.1", "0.2"), bound)
    return Evaluation(
        model_name="flights",
        candidate=Contender(version="7", **options),
        champion=Contender(version="6"),
        metrics=(
            Figure(
                metric="own",
                direction=better,
                candidate=candidate,
                champion=champion,
                baseline=0.0,
                replicates=1000,
                improvement_quantiles=quantiles,
                candidate_quantiles=quantiles,
            ),
        ),
        rows=100,
    )


def verdict(evaluation: Evaluation, *checks: Any, **options: Any) -> str:
    return judge(evaluation, GatePolicy(checks=checks, **options)).decision


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


# ---------------------------------------------------------------- functions, values, pages


def test_a_plain_function_is_a_check() -> None:
    good = made(0.7, 0.6)

    def enough(evaluation: Evaluation) -> bool:
        return evaluation.rows >= 100

    assert verdict(good, enough) == "pass"
    assert verdict(dataclasses.replace(good, rows=99), enough) == "reject"
    for answer in (None, 1, "yes", [True], 0.0, math.nan):
        assert verdict(good, lambda evaluation, answer=answer: answer) == "reject"

    def breaks(evaluation: Evaluation) -> bool:
        raise RuntimeError("no")

    decision = judge(good, GatePolicy(checks=[breaks]))
    assert decision.decision == "reject" and "RuntimeError: no" in decision.reasons[0]


def test_a_functions_own_check_can_not_excuse_itself() -> None:
    good = made(0.7, 0.6)
    value = Value("own", lower=0.0)
    for check in (
        Check(name="own", status=Status.SKIPPED),
        Check(name="own", status=Status.FAILED, severity=Severity.INFO),
        Check(name="own", status=Status.FAILED, details={"then": "require_approval"}),
    ):
        assert verdict(good, value, lambda evaluation, check=check: check) == "reject"
    assert verdict(good, lambda evaluation: Check(name="own", status=Status.PASSED)) == "pass"


def test_a_function_by_name() -> None:
    good = made(0.7, 0.6)
    assert verdict(good, {"function": {"function": "builtins:bool"}}) == "pass"
    decision = judge(good, GatePolicy(checks=[{"function": {"function": "builtins:no_such"}}]))
    assert decision.decision == "reject" and "can't be imported" in decision.reasons[0]


def test_another_body_of_a_function_is_another_policy() -> None:
    def rows(n: int) -> Any:
        if n:
            return lambda evaluation: evaluation.rows > 1
        return lambda evaluation: evaluation.rows > 2

    assert GatePolicy(checks=[rows(0)]).digest != GatePolicy(checks=[rows(1)]).digest
    assert "0x" not in repr(GatePolicy(checks=[rows(0)]))


def test_every_check_has_a_judge_and_survives_json(tmp_path: Path) -> None:
    assert set(CHECKS.values()) == set(JUDGES)
    policy = GatePolicy(
        checks=[
            Value("roc_auc", lower=0.6, upper=0.99),
            BeatsChampion("roc_auc", min_absolute=-0.01, margin=0.02, confidence=0.9),
            BeatsBaseline("roc_auc", by=0.1),
            Slices("roc_auc", by="carrier", lower=0.5, values=("AA",), confidence=0.9, on_insufficient="skip"),
            SignatureCompatible(),
            Latency(p95_ms=5),
            Size(max_bytes=1e6),
            Function("builtins:bool"),
        ],
        on_missing_champion="require_approval",
    )
    assert GatePolicy.of(json.loads(json.dumps(policy.to_dict()))) == policy
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(policy.to_dict()))
    assert GatePolicy.of(path) == GatePolicy.of(str(path)) == policy
    shuffled = list(policy.checks)
    random.Random(1).shuffle(shuffled)
    assert dataclasses.replace(policy, checks=shuffled).digest == policy.digest
    assert dataclasses.replace(policy, on_missing_champion="reject").digest != policy.digest


@pytest.mark.parametrize("content", ["", "- 1", "checks: [", "just text"])
def test_a_policy_file_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(content)
    with pytest.raises(PolicyError, match="policy"):
        GatePolicy.of(path)
    with pytest.raises(PolicyError, match="can't be read"):
        GatePolicy.of(tmp_path / "nowhere.yaml")


def test_the_evidence_is_what_a_promotion_needs() -> None:
    case = next(c for c in CASES if c["name"] == "better by more than asked")
    evaluation, policy = evaluation_of(case["given"]), GatePolicy.of(case["policy"])
    decision = judge(evaluation, policy, dag_run={"run_id": "manual"})
    assert decision.evidence["candidate"]["version"] == "7"
    assert decision.evidence["candidate"]["model_digest"] == "c" * 64
    assert decision.evidence["champion"]["version"] == "6"
    assert decision.evidence["data_until"] == "2013-05"
    assert decision.inputs == {"evaluation": evaluation.digest, "policy": policy.digest, "data": "e" * 32}
    assert decision.key == judge(evaluation, policy).key
    missing = judge(evaluation_of({"candidate": 0.7}), GatePolicy(checks=[Value("roc_auc", lower=0.6)]))
    assert missing.evidence["champion"]["version"] is None
    assert missing.evidence["on_missing_champion"] == "value_only"


def test_where_it_is_stored_is_no_input_of_the_verdict() -> None:
    evaluation = made(0.7, 0.6)
    assert dataclasses.replace(evaluation, record={"run_id": "abc"}).digest == evaluation.digest


def test_the_page_can_be_read_in_a_minute() -> None:
    many = tuple(Slice(by="carrier", value=f"<b>|{i}`", rows=200, metrics=(figure("roc_auc", 0.5),)) for i in range(40))
    evaluation = dataclasses.replace(evaluation_of({"candidate": 0.7, "champion": 0.69}), slices=many)
    policy = GatePolicy(checks=[Slices("roc_auc", by="carrier", lower=0.6), Value("roc_auc", lower=0.6)])
    page = verdict_markdown(judge(evaluation, policy))
    assert page.splitlines()[0] == "# flights version 7 is rejected"
    assert "version 6" in page and "**failed**" in page and "more" in page
    assert len(page.splitlines()) < 60
    assert "<b>" not in page
