"""``airflow mlops models | history | data-of | gate-explain`` on a ledger that the operators wrote."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from airflow_mlops.core.errors import Conflict
from airflow_mlops.core.records import Record
from airflow_mlops.hooks.mlflow import MlflowHook
from tests.cli.conftest import HOLDOUT_LOST, MODEL, Story, airflow, mlops


def as_json(*arguments: str) -> Any:
    said = mlops(*arguments, "-o", "json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_models_tells_champion_and_last_verdicts(story: Story) -> None:
    (row,) = as_json("models")
    assert row["model"] == MODEL
    assert row["champion"] == "1" and row["since"].startswith("2013-04-28")
    assert row["gate"] == "reject (3)" and row["decision"] == "rollback rolled_back (1)"
    assert row["drift"] is None and row["waits_for_approval"] is None
    table = mlops("models")
    assert table.code == 0
    assert MODEL in table.out and "2013-04-28 00:00" in table.out and "reject (3)" in table.out


def test_history_is_newest_first_and_can_be_narrowed(story: Story) -> None:
    found = as_json("history", MODEL)
    assert [r["at"][:7] for r in found] == sorted((r["at"][:7] for r in found), reverse=True)
    assert found[0]["kind"] == "rollback" and found[0]["why"] == "complaints from the tower"
    gates = as_json("history", MODEL, "--kind", "gate", "--limit", "2")
    assert [(r["kind"], r["outcome"], r["subject"]) for r in gates] == [("gate", "reject", "3"), ("gate", "pass", "2")]
    assert "beats_champion" in gates[0]["why"] or "roc_auc" in gates[0]["why"]
    table = mlops("history", MODEL, "--kind", "rollback")
    assert "complaints from the tower" in table.out and "2013-04-28 00:00" in table.out
    assert yaml.safe_load(mlops("history", MODEL, "-o", "yaml").out) == found


@pytest.mark.parametrize(
    ("at", "version", "decision"),
    [
        ("2013-01-28", "1", "promoted"),
        ("2013-01-29T00:00:00+00:00", "1", "promoted"),
        ("2013-02-27", "1", "promoted"),
        ("2013-02-28", "2", "promoted"),
        ("2013-02", "2", "promoted"),
        ("2013-04-27", "2", "promoted"),
        ("2013-04-28", "1", "rolled_back"),
        ("2020-01-01", "1", "rolled_back"),
    ],
)
def test_history_at_says_who_was_champion(story: Story, at: str, version: str, decision: str) -> None:
    told = as_json("history", MODEL, "--at", at)
    assert (told["version"], told["decision"]) == (version, decision)


def test_history_at_says_who_decided_on_which_evidence_data_and_code(story: Story) -> None:
    told = as_json("history", MODEL, "--at", "2013-03-01")
    trained, gate = story.results["train", 2], story.results["gate", 2]
    assert told["since"].startswith("2013-02-28") and told["until"].startswith("2013-04-28")
    assert told["dag_run"]["run_id"] == "scheduled__2013-02" and told["dag_run"]["task_id"] == "promote"
    assert told["decided_by"] == "policy" and told["replaced"] == "1" and told["note"] is None
    assert told["evidence"]["gate_reasons"] == gate["reasons"]
    assert told["evidence"]["judged_on"]["digest"] == story.results["evaluate", 2]["data"]["digest"]
    (figure,) = told["evidence"]["figures"]
    assert figure["metric"] == "roc_auc" and figure["candidate"] > 0.6
    assert told["model_digest"] == trained["model_digest"]
    assert told["data"] == trained["data"] and told["data_until"] == "2013-02-28"
    assert told["code_version"] == "c0ffee" and told["trained_by"].endswith(":fit")
    assert told["training"] == {"key": trained["training_key"], "run_id": trained["run_id"]}
    text = mlops("history", MODEL, "--at", "2013-03-01").out
    for part in ("version 2 was champion on 2013-03-01", "scheduled__2013-02", "c0ffee", trained["data"]["digest"]):
        assert part in text


def test_a_rollback_points_to_the_gate_that_the_version_once_passed(story: Story) -> None:
    told = as_json("history", MODEL, "--at", "2013-05-01")
    assert told["reasons"] == ["complaints from the tower"] and told["until"] is None
    assert told["evidence"]["gate_reasons"] == story.results["gate", 1]["reasons"]
    assert told["data"]["digest"] == story.results["train", 1]["data"]["digest"]


def test_before_the_first_champion_there_is_none(story: Story) -> None:
    said = mlops("history", MODEL, "--at", "2013-01-27")
    assert said.code == 1 and said.out == ""
    assert "knows no champion on 2013-01-27" in said.err and "2013-01-28" in said.err
    assert "is no ISO date" in mlops("history", MODEL, "--at", "yesterday").err


def test_a_champion_that_somebody_else_moved_is_noticed(story: Story) -> None:
    hook = MlflowHook()
    hook.set_alias(MODEL, "champion", "3")
    try:
        told = as_json("history", MODEL, "--at", "2013-05-01")
        assert told["version"] == "1"
        assert told["note"] == "today the alias points at version 3, by no move that the ledger knows"
        assert as_json("history", MODEL, "--at", "2013-03-01")["note"] is None
    finally:
        hook.set_alias(MODEL, "champion", "1")


def test_data_of_gives_the_rows_back_and_notices_others(story: Story, tmp_path: Any) -> None:
    told = as_json("data-of", MODEL, "2")
    trained, judged = told["data"]
    data = story.results["train", 2]["data"]
    assert (trained["role"], judged["role"]) == ("trained on", "judged on")
    assert trained["location"] == data["uri"] and trained["digest"] == data["digest"]
    assert trained["filters"] == [["hour", ">=", 1]] and trained["rows"] == data["rows"]
    assert trained["columns"] == ["hour", "wind", "late"]
    assert trained["rows_used"] == data["rows"] - 4 and "4 rows without a label" in trained["why"]
    assert judged["rows_used"] == judged["rows"] - HOLDOUT_LOST

    scope: dict[str, Any] = {}
    exec(trained["code"], scope)
    assert list(scope["rows"].columns) == trained["columns"] and len(scope["rows"]) == trained["rows"]
    exec(judged["code"], scope)
    assert len(scope["rows"]) == judged["rows"]

    text = mlops("data-of", MODEL, "champion").out
    assert f"{MODEL}/1 was trained on" in text and "hour >= 1" in text
    printed = text[text.index("from airflow_mlops") : text.index("was judged on")]
    code = "\n".join(line.removeprefix("    ") for line in printed.splitlines() if not line.startswith(MODEL))
    exec(code, scope)
    assert len(scope["rows"]) == story.results["train", 1]["data"]["rows"]

    path = story.folder / "2013-02.parquet"
    before = path.read_bytes()
    path.write_bytes((story.folder / "2013-03.parquet").read_bytes())
    with contextlib.ExitStack() as stack:
        stack.callback(path.write_bytes, before)
        with pytest.raises(Conflict, match="changed since it was resolved"):
            exec(trained["code"], {})


def test_every_dataset_that_trained_or_judged_is_an_input_in_mlflow(story: Story) -> None:
    client = MlflowHook().client
    for row, context in zip(as_json("data-of", MODEL, "2")["data"], ("training", "evaluation"), strict=True):
        (given,) = client.get_run(row["record"]).inputs.dataset_inputs
        assert given.dataset.digest == row["digest"]
        assert json.loads(given.dataset.profile) == {"num_rows": row["rows"]}
        assert row["location"] in given.dataset.source
        assert {t.key: t.value for t in given.tags} == {"mlflow.data.context": context}


def test_data_of_a_version_that_was_made_elsewhere_says_so(story: Story) -> None:
    hook = MlflowHook()
    hook.ensure_model("elsewhere")
    run = hook.client.create_run(hook.experiment_id("elsewhere")).info
    hook.client.create_model_version("elsewhere", source=f"{run.artifact_uri}/model", run_id=run.run_id)
    try:
        assert as_json("data-of", "elsewhere", "1")["data"] == []
        assert "does not say what elsewhere/1 was trained on" in mlops("data-of", "elsewhere", "1").out
        said = mlops("data-of", "elsewhere", "7")
        assert said.code == 1 and "no version or alias '7'; its newest are 1" in said.err
    finally:
        hook.client.delete_registered_model("elsewhere")


def test_gate_explain_gives_the_last_verdict_or_a_versions(story: Story) -> None:
    last = mlops("gate-explain", MODEL)
    assert last.code == 0
    assert "version 3 is rejected" in last.out and "roc_auc" in last.out and "2013-03-28" in last.out
    assert f"{MODEL} version 1 passes" in mlops("gate-explain", MODEL, "1").out
    assert f"{MODEL} version 1 passes" in mlops("gate-explain", MODEL, "champion").out
    assert as_json("gate-explain", MODEL, "2")["reasons"] == story.results["gate", 2]["reasons"]
    said = mlops("gate-explain", MODEL, "9")
    assert said.code == 1 and "no gate has judged version 9" in said.err


def test_a_verdict_with_other_evidence_still_gives_its_reasons(story: Story) -> None:
    hook = MlflowHook()
    body = {"kind": "gate", "model": "old", "decision": "reject", "reasons": ["roc_auc [0.5] \x1b[31mfell"]}
    hook.record(Record(kind="gate", model="old", key="k", outcome="reject", body=body, subject="1", at="2013-01-01"))
    said = mlops("gate-explain", "old")
    assert said.code == 0 and "roc_auc [0.5]" in said.out and "\x1b" not in said.out


@pytest.mark.parametrize("command", [["history"], ["gate-explain"], ["data-of"]])
def test_a_name_that_is_not_there_gets_the_nearest(story: Story, command: list[str]) -> None:
    said = mlops(*command, "late flihgts", *(["1"] if command == ["data-of"] else []))
    assert said.code == 1 and f"did you mean '{MODEL}'?" in said.err


def test_markup_and_control_characters_are_only_text(story: Story) -> None:
    hook = MlflowHook()
    record = Record(
        kind="drift", model=MODEL, key="n", outcome="failed", subject="[red]a[/red]\x1b]0;x\x07", at="2012-01-01"
    )
    run = hook.record(record).run_id
    try:
        out = mlops("history", MODEL, "--kind", "drift").out
        assert "[red]a[/red]\\x1b]0;x\\x07" in out and "\x1b" not in out
    finally:
        hook.client.delete_run(run)


def test_an_unknown_connection_is_one_line(story: Story) -> None:
    said = mlops("models", "--conn-id", "nowhere")
    assert said.code == 1 and said.out == ""
    assert said.err.count("\n") == 1 and "nowhere" in said.err


def test_connections_of_airflows_database_are_used(airflow_db: Any, story: Story) -> None:
    added = airflow(
        "connections",
        "add",
        "team_mlflow",
        "--conn-type",
        "mlflow",
        "--conn-host",
        f"sqlite:///{story.folder}/mlflow.db",
    )
    assert added.code == 0, added.err
    try:
        assert [r["model"] for r in as_json("models", "--conn-id", "team_mlflow")] == [MODEL]
    finally:
        airflow("connections", "delete", "team_mlflow")


def test_every_airflow_command_pays_next_to_nothing_for_the_group() -> None:
    """The definition is imported by every ``airflow`` command, so it takes nothing along."""
    code = """
import sys
import airflow.cli.cli_config
before = set(sys.modules)
from airflow_mlops.cli.definition import get_mlops_commands
(group,) = get_mlops_commands()
names = [c.name for c in group.subcommands]
assert names == ["models", "history", "data-of", "drift", "gate-explain", "draft-suite"], names
print(sorted(m for m in set(sys.modules) - before if not m.startswith("airflow_mlops")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ.copy())
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"
