"""GateOperator: judged, recorded, tagged and published before it fails, branches or skips."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure
from airflow_mlops.core.gates import BeatsChampion, Function, GatePolicy, Value
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import Decision
from airflow_mlops.exceptions import GateRejected, MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.gates import GateOperator

POLICY = GatePolicy(checks=[Value("roc_auc", lower=0.65), BeatsChampion("roc_auc", min_absolute=0.0)])


def evaluation(version: str = "1", candidate: float | None = 0.72, **options: Any) -> Evaluation:
    return Evaluation(
        model_name="flights",
        candidate=Contender(version=version, model_digest="c" * 64, data_until="2013-05"),
        champion=options.pop("champion", Contender(version="6", model_digest="d" * 64)),
        metrics=(Figure(metric="roc_auc", direction="higher", candidate=candidate, champion=0.7),),
        rows=1000,
        data={"uri": "holdout.parquet", "digest": "e" * 32},
        **options,
    )


def register(hook: MlflowHook, model: str) -> ModelVersion:
    """A version without a model behind it: a gate looks at figures only."""
    hook.ensure_model(model)
    client = hook.get_conn()
    run = client.create_run(hook.experiment_id(model)).info
    made = client.create_model_version(model, source=f"runs:/{run.run_id}/model", run_id=run.run_id)
    found = hook.version(model, made.version)
    assert found is not None
    return found


@pytest.fixture
def version(mlflow_local: Path) -> ModelVersion:
    return register(MlflowHook(), "flights")


def gate(value: Any, policy: Any = POLICY, **options: Any) -> GateOperator:
    value = value.to_dict() if isinstance(value, Evaluation) else value
    options = {"unrecorded": "accept", **options}
    return GateOperator(task_id="gate", evaluation=value, policy=policy, **options)


def test_a_pass_is_recorded_tagged_and_returned(version: ModelVersion, run_task: Any) -> None:
    result = run_task(gate(evaluation()))
    decision = Decision.from_dict(result)
    assert decision.decision == "pass"
    assert decision.evidence["candidate"]["version"] == "1"
    assert decision.evidence["champion"]["version"] == "6"
    assert decision.dag_run["task_id"] == "gate"
    hook = MlflowHook()
    record = hook.find_record("flights", "gate", decision.key)
    assert (record.outcome, record.subject) == ("pass", "1")
    assert Decision.from_dict(record.body) == decision
    assert "# flights version 1 passes" in hook.read_text(record.run_id, "verdict.md")
    page = hook.read_text(record.run_id, "verdict.html")
    assert page.startswith("<!doctype html") and "flights" in page and "roc_auc" in page
    tagged = hook.version("flights", "1")
    assert (tagged.tag("gate"), tagged.tag("gate_outcome")) == (decision.key, "pass")


def test_the_same_again_is_the_same_decision(version: ModelVersion, run_task: Any) -> None:
    first = run_task(gate(evaluation()))
    again = run_task(gate(evaluation()), run_id="another")
    assert again == first
    assert len(MlflowHook().history("flights", kinds=["gate"])) == 1


def test_a_rejection_is_published_before_the_task_fails(version: ModelVersion, run_task: Any) -> None:
    with pytest.raises(GateRejected, match="version 1 was rejected") as failed:
        run_task(gate(evaluation(candidate=0.69)))
    assert isinstance(failed.value, AirflowFailException)
    assert "improvement -0.01 is below 0" in str(failed.value)
    published = run_task.last.xcoms["return_value"]
    assert published["decision"] == "reject" == failed.value.report["decision"]
    assert MlflowHook().find_record("flights", "gate", Decision.from_dict(published).key).outcome == "reject"
    assert MlflowHook().version("flights", "1").tag("gate_outcome") == "reject"


@pytest.mark.parametrize(("figure", "follows", "skipped"), [(0.72, "promote", "tell"), (0.6, "tell", "promote")])
def test_branch(version: ModelVersion, run_task: Any, figure: float, follows: str, skipped: str) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("branching", schedule=None):
        operator = gate(
            evaluation(candidate=figure), on_reject="branch", pass_task_ids="promote", reject_task_ids=["tell"]
        )
        operator >> [EmptyOperator(task_id="promote"), EmptyOperator(task_id="tell")]
    run_task(operator)
    assert [t[0] if isinstance(t, tuple | list) else t for t in run_task.last.skipped] == [skipped]
    assert run_task.last.xcoms["return_value"]["decision"] == ("pass" if follows == "promote" else "reject")


@pytest.mark.parametrize(("figure", "skipped"), [(0.72, []), (0.6, ["promote"])])
def test_skip(version: ModelVersion, run_task: Any, figure: float, skipped: list[str]) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("skipping", schedule=None):
        operator = gate(evaluation(candidate=figure), on_reject="skip")
        operator >> EmptyOperator(task_id="promote")
    run_task(operator)
    assert [t[0] if isinstance(t, tuple | list) else t for t in run_task.last.skipped] == skipped


def test_an_approval_is_no_rejection(version: ModelVersion, run_task: Any) -> None:
    policy = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.65}}], "on_missing_champion": "require_approval"}
    result = run_task(gate(evaluation(champion=Contender(state="missing")), policy))
    assert result["decision"] == "require_approval"
    record = MlflowHook().find_record("flights", "gate", Decision.from_dict(result).key)
    page = MlflowHook().read_text(record.run_id, "verdict.html")
    assert "waits for a person" in MlflowHook().read_text(record.run_id, "verdict.md")
    assert "waits for approval" in page and "could not be judged" not in page


def test_a_policy_from_a_templated_path(version: ModelVersion, run_task: Any, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(POLICY.to_dict()))
    operator = gate(evaluation(), f"{tmp_path}/{{{{ params.policy }}}}.yaml", params={"policy": "strict"})
    assert run_task(operator)["decision"] == "pass"


@pytest.mark.parametrize(
    ("value", "policy", "options", "said"),
    [
        (evaluation(), {"checks": []}, {}, "nothing would be judged"),
        (evaluation(), {"checks": [{"value": {"metric": "roc_acu", "lower": 0.6}}]}, {}, "did you mean 'roc_auc'"),
        (evaluation(), "/nowhere/policy.yaml", {}, "can't be read"),
        (evaluation(), None, {}, "a policy is a GatePolicy"),
        (None, POLICY, {}, "the evaluation must be a mapping, got NoneType"),
        ("{{ params }}", POLICY, {}, "must be a mapping"),
        ({"model_name": "flights"}, POLICY, {}, "lacks candidate, champion"),
        ({"decision": "pass"}, POLICY, {}, "unknown evaluation field 'decision'"),
        (evaluation(), POLICY, {"model_name": "churn"}, "an evaluation of 'flights', not of 'churn'"),
        (evaluation(), POLICY, {"on_reject": "ignore"}, "unknown on_reject 'ignore'"),
        (evaluation(), POLICY, {"on_reject": "branch"}, "needs pass_task_ids"),
        (evaluation(), POLICY, {"unrecorded": "maybe"}, "unknown unrecorded 'maybe'"),
    ],
)
def test_what_can_not_be_judged_never_passes(
    mlflow_local: Path, run_task: Any, value: Any, policy: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(GateRejected) as failed:
        run_task(gate(value, policy, **options))
    assert said in str(failed.value)
    assert run_task.last.xcoms["return_value"]["decision"] == "reject"


def recorded(found: Evaluation) -> Evaluation:
    """As ``EvaluateModelOperator`` leaves it: in the ledger, and with where it is."""
    record = MlflowHook().record(
        Record(kind="evaluation", model="flights", key="k1", outcome="scored", body=found.to_dict(), subject="1")
    )
    return dataclasses.replace(found, record={"run_id": record.run_id, "key": "k1"})


def test_an_evaluation_that_was_changed_on_its_way_is_not_judged(version: ModelVersion, run_task: Any) -> None:
    found = recorded(evaluation(candidate=0.60, config="abc"))
    with pytest.raises(GateRejected, match=r"0\.6, not 0\.65 <= roc_auc"):
        run_task(gate(found))
    better = dataclasses.replace(found, metrics=evaluation(candidate=0.72).metrics)
    champion = dataclasses.replace(found, champion=Contender(state="missing"))
    for changed in (better, champion):
        with pytest.raises(GateRejected, match="not the evaluation 'k1' as it was recorded"):
            run_task(gate(changed))
    for lost in ({}, {"key": "k2"}):  # what has a configuration was made by the operator, which records
        with pytest.raises(GateRejected, match="the ledger has no evaluation"):
            run_task(gate(dataclasses.replace(better, record=lost)))


def test_an_evaluation_without_a_record_is_refused_unless_the_author_takes_it(
    version: ModelVersion, run_task: Any
) -> None:
    """Whoever can write XCom could strip record and configuration both, and write the figures that pass."""
    stripped = evaluation(candidate=0.99)
    with pytest.raises(GateRejected, match=r"no record of this evaluation.*unrecorded='accept'"):
        run_task(GateOperator(task_id="gate", evaluation=stripped.to_dict(), policy=POLICY))
    assert not MlflowHook().history("flights", kinds=["gate"])
    accepted = run_task(gate(stripped))
    record = MlflowHook().find_record("flights", "gate", Decision.from_dict(accepted).key)
    assert accepted["evidence"]["unrecorded"] is True
    assert "has no record in MLflow" in MlflowHook().read_text(record.run_id, "verdict.md")
    assert "has no record in MLflow" in MlflowHook().read_text(record.run_id, "verdict.html")
    kept = run_task(
        GateOperator(task_id="gate", evaluation=recorded(evaluation(candidate=0.7)).to_dict(), policy=POLICY)
    )
    assert "unrecorded" not in kept["evidence"]


def test_a_pass_of_older_rules_does_not_stand_against_a_rejection(
    version: ModelVersion, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision's key is that of its inputs: after the rules, or what a function sees, became stricter."""
    policy = GatePolicy(checks=[Function("holiday:no_release")])
    monkeypatch.setitem(sys.modules, "holiday", types.SimpleNamespace(no_release=lambda found: True))
    assert run_task(gate(evaluation(), policy))["decision"] == "pass"
    monkeypatch.setitem(sys.modules, "holiday", types.SimpleNamespace(no_release=lambda found: False))
    with pytest.raises(GateRejected, match="says 'pass', judged now it is 'reject'"):
        run_task(gate(evaluation(), policy))


def test_a_champion_that_is_broken_rejects(version: ModelVersion, run_task: Any) -> None:
    broken = Contender(version="6", state="error", error="its files are gone")
    with pytest.raises(GateRejected, match="its files are gone"):
        run_task(gate(evaluation(champion=broken)))


def test_a_replay_of_history_tags_no_version(version: ModelVersion, run_task: Any) -> None:
    result = run_task(gate(evaluation()), run_type="backfill")
    assert MlflowHook().version("flights", "1").tag("gate") == ""
    assert MlflowHook().find_record("flights", "gate", Decision.from_dict(result).key).backfill


def test_mlflow_that_does_not_answer_is_retryable(run_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", "mlflow://127.0.0.1:9")
    with pytest.raises(MlflowUnavailable) as failed:
        run_task(gate(evaluation()))
    assert not isinstance(failed.value, AirflowFailException)


def test_thresholds_of_mlflow_are_a_policy(version: ModelVersion, run_task: Any) -> None:
    from mlflow.models import MetricThreshold

    policy = {"roc_auc": MetricThreshold(threshold=0.65, min_absolute_change=0.01, greater_is_better=True)}
    result = run_task(gate(evaluation(), policy))
    assert result["decision"] == "pass"
    assert result["evidence"]["policy"]["checks"] == [
        {"value": {"metric": "roc_auc", "lower": 0.65, "better": "higher"}},
        {"beats_champion": {"metric": "roc_auc", "min_absolute": 0.01, "better": "higher"}},
    ]
    with pytest.raises(GateRejected, match=r"improvement 0\.005 is below 0\.01"):
        run_task(gate(evaluation(candidate=0.705), policy))


@pytest.mark.parametrize("thresholds", [False, True])
def test_the_dag_is_the_same_at_every_parse(thresholds: bool) -> None:
    """A policy with a function in it, or MLflow's objects, must not serialize with an address."""

    def parse() -> str:
        from mlflow.models import MetricThreshold

        def fair(evaluation: Evaluation) -> bool:
            return evaluation.rows > 1

        asked: Any = dataclasses.replace(POLICY, checks=[*POLICY.checks, fair])
        if thresholds:
            asked = {"roc_auc": MetricThreshold(threshold=0.65, greater_is_better=True)}
        with DAG("parsed", schedule=None) as dag:
            gate(evaluation(), asked)
        return str(DagSerialization.to_dict(dag))

    assert parse() == parse()
    assert " at 0x" not in parse()


def test_over_http(mlflow_server: Any, run_task: Any) -> None:
    hook = MlflowHook()
    created = register(hook, "gated")
    value = dataclasses.replace(evaluation(version=created.version), model_name="gated")
    first = run_task(gate(value, model_name="gated"))
    assert run_task(gate(value)) == first
    assert hook.version("gated", created.version).tag("gate_outcome") == "pass"


def test_what_passed_can_be_promoted_and_what_was_rejected_can_not(version: ModelVersion, run_task: Any) -> None:
    """The gate's decision is what a promotion goes by: version, digest, judged champion, and the ledger's record."""
    from airflow_mlops.exceptions import PromotionRefused
    from airflow_mlops.operators.promotion import PromoteModelOperator

    hook = MlflowHook()
    hook.tag_version("flights", "1", {"model_digest": "c" * 64})
    policy = GatePolicy(checks=[Value("roc_auc", lower=0.65)])
    value = evaluation(champion=Contender(state="missing"))

    def promote(gate_result: dict[str, Any]) -> dict[str, Any]:
        return run_task(PromoteModelOperator(task_id="promote", model_name="flights", gate=gate_result))

    with pytest.raises(GateRejected) as failed:
        run_task(gate(dataclasses.replace(value, rows=0), policy))
    with pytest.raises(PromotionRefused):
        promote(failed.value.report)
    assert hook.by_alias("flights", "champion") is None
    assert promote(run_task(gate(value, policy)))["decision"] == "promoted"
    assert hook.by_alias("flights", "champion").version == "1"
