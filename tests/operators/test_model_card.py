"""The model card: written with a promotion, and never in its way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.evaluation import Contender, Evaluation, Figure, Slice
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import Decision
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import _card
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import aliases, make_version

MODEL = "late"


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    return MlflowHook()


def judged(hook: MlflowHook, run_task: TaskRunner) -> dict[str, Any]:
    """A version with the records that a loop leaves: training, evaluation, gate."""
    version = make_version(hook, MODEL)
    hook.tag_version(MODEL, version, {"training_key": "trained"})
    data = {"uri": "lake/2013-05.parquet", "digest": "a" * 32, "rows": 9000}
    body: dict[str, Any] = {
        "training_key": "trained",
        "data": data,
        "code_version": "c0de",
        "config": {"target": "late"},
    }
    hook.record(Record(kind="training", model=MODEL, key="trained", outcome="trained", body=body))
    figure = Figure(metric="roc_auc", direction="higher", candidate=0.7)
    evaluation = Evaluation(
        model_name=MODEL,
        candidate=Contender(version=version, model_digest=f"digest-of-{version}", data_until="2013-05"),
        champion=Contender(state="missing"),
        metrics=(figure,),
        slices=(Slice(by="carrier", value="HA", rows=12, metrics=(figure,)),),
        fairness={"by": {"carrier": {"selection_rate": {"groups": {"AA": 0.25, "UA": 0.2}, "ratio": 0.8}}}},
        rows=1000,
        data={"uri": "holdout.parquet", "digest": "e" * 32},
    )
    record = hook.record(
        Record(kind="evaluation", model=MODEL, key="e", outcome="scored", subject=version, body=evaluation.to_dict())
    )
    found = {**evaluation.to_dict(), "record": {"run_id": record.run_id, "key": "e"}}
    policy = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.6}}]}
    result: dict[str, Any] = run_task(GateOperator(task_id="gate", evaluation=found, policy=policy))
    return result


def promote(gate: Any, **options: Any) -> PromoteModelOperator:
    return PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, **options)


def test_a_promotion_leaves_a_card_with_the_version(hook: MlflowHook, run_task: TaskRunner) -> None:
    result = run_task(promote(judged(hook, run_task), about={"purpose": "Which flights will be late."}))
    version = hook.by_alias(MODEL, "champion")
    assert version is not None and result["decision"] == "promoted"
    card = hook.read_json(version.run_id, "model_card/card.json")
    assert card["about"] == {"purpose": "Which flights will be late."}
    assert card["data"]["trained_on"]["digest"] == "a" * 32
    assert card["training"]["code_version"] == "c0de"
    (part,) = card["slices"]
    assert (part["by"], part["value"], part["rows"], part["metric"]) == ("carrier", "HA", 12, "roc_auc")
    assert (part["candidate"], part["interval"], part["champion"]) == (0.7, None, None)
    assert card["fairness"]["by"]["carrier"]["selection_rate"]["ratio"] == 0.8
    assert version.tag("card") == card["lineage"]["promotion"]
    page = hook.read_text(version.run_id, "model_card/card.html") or ""
    text = hook.read_text(version.run_id, "model_card/card.md") or ""
    for shown in ("Which flights will be late.", "without a champion", "2013-05.parquet", "roc", "AA 0.25, UA 0.2"):
        assert shown in page and shown in text, shown


def test_a_card_that_can_not_be_written_is_a_warning_and_the_next_try_writes_it(
    hook: MlflowHook, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = judged(hook, run_task)

    def down(*args: Any) -> bool:
        raise MlflowUnavailable("mlflow_default", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(_card, "write_card", down)
        first = run_task(promote(gate))
    assert first["decision"] == "promoted" and aliases(hook, MODEL) == {"champion": "1"}
    assert "no model card was written" in capsys.readouterr().out
    champion = hook.by_alias(MODEL, "champion")
    assert champion is not None and champion.tag("card") == ""
    assert run_task(promote(gate)) == first
    champion = hook.by_alias(MODEL, "champion")
    assert champion is not None and champion.tag("card") != ""


def test_a_card_is_written_once(hook: MlflowHook, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = judged(hook, run_task)
    run_task(promote(gate))
    written: list[str] = []
    monkeypatch.setattr(MlflowHook, "log_text", lambda self, run_id, path, text: written.append(path))
    run_task(promote(gate))
    assert written == []


def test_a_card_finds_its_evaluation_however_many_followed(
    hook: MlflowHook, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its key, and never among the newest of the model; one that is not what the gate judged is none."""
    gate = judged(hook, run_task)
    result = run_task(promote(gate))
    promotion = Decision.from_dict({f.name: result[f.name] for f in dataclasses.fields(Decision)})
    version = result["evidence"]["version"]

    def no(*args: Any, **options: Any) -> Any:
        raise AssertionError("the ledger is searched")

    monkeypatch.setattr(MlflowHook, "history", no)
    found, champion = hook.find_record(MODEL, "evaluation", "e"), hook.by_alias(MODEL, "champion")
    assert found is not None and champion is not None
    for slices in (1, 0):
        hook.tag_version(MODEL, version, {"card": ""})
        assert _card.write_card(hook, promotion, {})
        card = hook.read_json(champion.run_id, "model_card/card.json")
        assert len(card["slices"]) == slices and card["metrics"][0]["candidate"] == 0.7
        hook.get_conn().delete_run(found.run_id)
        hook.record(dataclasses.replace(found, run_id="", body={**found.body, "rows": 999}))
