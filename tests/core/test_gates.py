"""The gate's meaning in cases that a person can read, its policies and its page."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.evaluation import Evaluation, Slice
from airflow_mlops.core.gates import (
    AllOf,
    AnyOf,
    BeatsBaseline,
    BeatsChampion,
    Calibration,
    EnoughRows,
    Fairness,
    Function,
    GatePolicy,
    Latency,
    NoLeakage,
    PredictionParity,
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
from tests.core.gate_evaluations import evaluation_of, figure, made, verdict

CASES = yaml.safe_load((Path(__file__).parent / "gate_cases.yaml").read_text())


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
    used = yaml.safe_dump([c["policy"] for c in CASES])
    assert not [name for name in CHECKS if name not in used and name != "function"]


# ---------------------------------------------------------------- functions, values, pages


def test_a_plain_function_is_a_check() -> None:
    good = made(0.7, 0.6)

    def enough(evaluation: Evaluation) -> bool:
        return evaluation.rows >= 100

    assert verdict(good, enough) == "pass"
    assert verdict(dataclasses.replace(good, rows=99), enough) == "reject"
    assert verdict(good, lambda evaluation: np.bool_(True)) == "pass"
    for answer in (None, 1, "yes", [True], 0.0, math.nan, np.bool_(False), np.float64(1)):
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


def test_what_is_there_twice_or_has_no_number_judges_nothing() -> None:
    good = made(0.7, 0.6)
    part = Slice(by="carrier", value="AA", rows=500, metrics=(figure("own", 0.7),))
    counted = dataclasses.replace(part, counts={"positives": 100, "selected": 90, "true_positives": 80})
    other = dataclasses.replace(counted, value="UA")
    slices = Slices("own", by="carrier", lower=0.6)
    fair = Fairness("selection_rate", by="carrier", max_difference=0.1)
    assert verdict(dataclasses.replace(good, slices=(part,)), slices) == "pass"
    assert verdict(dataclasses.replace(good, slices=(part, part)), slices) == "reject"
    assert verdict(dataclasses.replace(good, slices=(counted, other)), fair) == "pass"
    assert verdict(dataclasses.replace(good, slices=(counted, other, other)), fair) == "reject"
    nobody = dataclasses.replace(good, candidate=dataclasses.replace(good.candidate, version=""))
    assert verdict(good, Value("own", lower=0.6)) == "pass" and verdict(nobody, Value("own", lower=0.6)) == "reject"


def test_a_decision_says_when_nothing_recorded_what_it_judged() -> None:
    good, policy = made(0.7, 0.6), GatePolicy(checks=[Value("own", lower=0.6)])
    assert "unrecorded" not in judge(good, policy).evidence
    unrecorded = judge(good, policy, recorded=False)
    assert unrecorded.evidence["unrecorded"] is True and "no record in MLflow" in verdict_markdown(unrecorded)


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
            Calibration(upper=0.1, metric="brier", confidence=0.9),
            PredictionParity(max_difference=0.0),
            NoLeakage(max_duplicates=0.1, time_order=True, max_repeated=0.5),
            EnoughRows(min_rows=100, max_unlabelled=0.1),
            Fairness("selection_rate", by="carrier", min_ratio=0.8),
            AnyOf("calm", [Latency(p95_ms=1), AllOf([Size(max_bytes=1), Value("mcc", lower=0.1)])]),
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


@pytest.mark.parametrize(
    "content",
    [
        "checks: [{value: {metric: roc_auc, lower: 0.9, lower: 0.1}}]",
        "checks: [{value: {metric: roc_auc, lower: 0.9}}]\nchecks: [{value: {metric: roc_auc, lower: 0.1}}]",
        '{"checks": [{"size": {"max_bytes": 1, "max_bytes": 1e9}}]}',
    ],
)
def test_of_two_bounds_under_one_key_none_is_taken(tmp_path: Path, content: str) -> None:
    """YAML's usual reader takes the last one: the stricter bound above it would be gone without a word."""
    path = tmp_path / "policy.yaml"
    path.write_text(content)
    with pytest.raises(PolicyError, match="is there twice"):
        GatePolicy.of(path)


@pytest.mark.parametrize("bound", [True, "0.6", [0.6], float("nan"), 10**400, {"value": 0.6}])
def test_a_bound_that_is_no_number_is_no_bound(bound: Any) -> None:
    for check in (
        {"value": {"metric": "roc_auc", "lower": bound}},
        {"beats_champion": {"metric": "roc_auc", "min_absolute": bound}},
        {"beats_champion": {"metric": "roc_auc", "confidence": bound}},
        {"enough_rows": {"min_rows": 10, "max_unlabelled": bound}},
        {"no_leakage": {"max_repeated": bound}},
        {"latency": {"p95_ms": bound}},
    ):
        with pytest.raises(PolicyError):
            GatePolicy(checks=[check])


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


def test_a_policy_is_read_without_mlflow() -> None:
    code = "import sys, airflow_mlops.core.gates; sys.exit('mlflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_evaluation_without_the_optional_parts_keeps_its_digest() -> None:
    plain = evaluation_of({"candidate": 0.7, "champion": 0.6})
    assert plain.digest == dataclasses.replace(plain, leakage={}, importances={}).digest
    assert plain.digest != dataclasses.replace(plain, leakage={"time": {"begins": "2013"}}).digest


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
