"""``airflow mlops drift | draft-suite`` on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import DriftPolicy, check_drift
from airflow_mlops.core.expectations import load
from airflow_mlops.engines import engine_for
from tests.cli.conftest import mlops

ROWS = 2000


def write(path: Path, shift: float = 0.0, rows: int = ROWS, **columns: Any) -> str:
    frame = pd.DataFrame(
        {
            "distance": [(i * 37 % 1000) / 100 + shift for i in range(rows)],
            "carrier": [("UA", "B6", "EV")[i * 7 % 11 % 3] for i in range(rows)],
            **columns,
        }
    )
    frame.to_parquet(path)
    return str(path)


@pytest.fixture
def reference(tmp_path: Path) -> str:
    return write(tmp_path / "reference.parquet")


def test_no_drift_exits_with_0(reference: str, tmp_path: Path) -> None:
    said = mlops("drift", reference, write(tmp_path / "same.parquet"))
    assert said.code == 0, said.err
    assert "same.parquet: no drift; 0 of 2 columns drifted" in said.out and "distance" in said.out


def test_drift_exits_with_1_and_the_worst_column_first(reference: str, tmp_path: Path) -> None:
    said = mlops("drift", reference, write(tmp_path / "moved.parquet", shift=4.0))
    assert said.code == 1 and said.err == ""
    first = said.out.splitlines()[2]
    assert first.startswith("distance") and "failed" in first
    assert "moved.parquet: drift; 1 of 2 columns drifted" in said.out


def test_too_few_rows_exit_with_2(reference: str, tmp_path: Path) -> None:
    said = mlops("drift", reference, write(tmp_path / "few.parquet", rows=5))
    assert said.code == 2
    assert "not known (insufficient_data)" in said.out and "would be enough" in said.out


@pytest.mark.parametrize(
    ("current", "told"),
    [("missing.parquet", "does not exist"), ("other.parquet", "none of the columns"), ("torn.parquet", "not a whole")],
)
def test_what_can_not_be_judged_exits_with_2_and_says_why(
    reference: str, tmp_path: Path, current: str, told: str
) -> None:
    pd.DataFrame({"height": [1, 2]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "torn.parquet").write_bytes(Path(reference).read_bytes()[:100])
    said = mlops("drift", reference, str(tmp_path / current))
    assert said.code == 2 and said.out == "" and told in said.err and "Traceback" not in said.err


def test_it_is_the_operators_check(reference: str, tmp_path: Path) -> None:
    current = write(tmp_path / "moved.parquet", shift=4.0, gate=1)
    policy = tmp_path / "policy.yaml"
    policy.write_text("alpha: 0.01\nexclude: [carrier]\n")
    said = mlops("drift", reference, current, "--policy", str(policy), "-o", "json")
    told = json.loads(said.out)
    engine = engine_for(DatasetRef(uri=current))
    ref = engine.resolve(DatasetRef(uri=current))
    known = engine.profile(engine.resolve(DatasetRef(uri=reference)))
    own = check_drift(
        known,
        engine.profile(ref, reference=known, columns=["distance"]),
        DriftPolicy(alpha=0.01, exclude=["carrier"]),
        subject=current,
        columns=ref.schema,
    )
    assert said.code == told["exit_code"] == 1
    assert told["drifted"] == ["distance"]
    assert {k: told[k] for k in own.to_dict()} == own.to_dict()


def test_a_stored_profile_is_a_reference_too(reference: str, tmp_path: Path) -> None:
    engine = engine_for(ref := DatasetRef(uri=reference))
    profile = engine.profile(engine.resolve(ref))
    stored = tmp_path / "profile.json"
    stored.write_text(json.dumps({"profile": profile.to_dict(), "data": {"uri": reference}}))
    moved = write(tmp_path / "moved.parquet", shift=4.0)
    by_rows, by_profile = (json.loads(mlops("drift", r, moved, "-o", "json").out) for r in (reference, str(stored)))
    assert by_profile["checks"] == by_rows["checks"]
    stored.write_text("{")
    said = mlops("drift", str(stored), moved)
    assert said.code == 2 and "is no JSON" in said.err
    stored.write_text(json.dumps({**profile.to_dict(), "version": 9}))
    assert mlops("drift", str(stored), moved).code == 2


def test_a_policy_that_is_wrong_is_no_verdict(reference: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("alhpa: 0.01\n")
    said = mlops("drift", reference, reference, "--policy", str(policy))
    assert said.code == 2 and "did you mean 'alpha'" in said.err
    assert mlops("drift", reference, reference, "--policy", str(tmp_path / "none.yaml")).code == 2


def test_wrong_arguments_exit_with_2_as_well() -> None:
    assert mlops("drift", "only-one.parquet").code == 2


def test_draft_suite_prints_or_writes_a_suite_and_never_overwrites(reference: str, tmp_path: Path) -> None:
    said = mlops("draft-suite", reference)
    assert said.code == 0, said.err
    target = tmp_path / "suite.yaml"
    wrote = mlops("draft-suite", reference, "-o", str(target))
    assert wrote.code == 0 and target.read_text() == said.out
    suite = load(str(target))
    assert suite.name == "reference" and f"{len(suite.expectations)} expectations from {ROWS} rows" in wrote.out
    target.write_text("# edited by hand\n")
    again = mlops("draft-suite", reference, "-o", str(target))
    assert again.code == 1 and "is there already" in again.err
    assert target.read_text() == "# edited by hand\n"


def test_draft_suite_refuses_a_slack_that_is_none(reference: str) -> None:
    said = mlops("draft-suite", reference, "--slack", "-1")
    assert said.code == 1 and "slack is a share" in said.err
