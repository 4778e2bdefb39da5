"""ProfileDataOperator on real files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.profile import Profile
from airflow_mlops.operators.profile import ProfileDataOperator


def test_days_profiled_against_one_reference_add_up(run_task, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [float(i) for i in range(200)], "c": ["a", "b"] * 100})
    frame.to_parquet(tmp_path / "all.parquet", index=False)
    frame[:50].to_parquet(tmp_path / "one.parquet", index=False)
    frame[50:].to_parquet(tmp_path / "two.parquet", index=False)
    whole = run_task(ProfileDataOperator(task_id="w", data=str(tmp_path / "all.parquet")))
    parts = []
    for name in ("one", "two"):
        operator = ProfileDataOperator(task_id=name, data=str(tmp_path / f"{name}.parquet"), reference=whole)
        parts.append(Profile.from_dict(run_task(operator)["profile"]))
    both, expected = parts[0] + parts[1], Profile.from_dict(whole["profile"])
    assert both.dataset_digest == expected.dataset_digest == whole["data"]["digest"]
    assert both.columns["x"].counts == expected.columns["x"].counts
    assert both.columns["c"].top == expected.columns["c"].top
    only = run_task(ProfileDataOperator(task_id="o", data=str(tmp_path / "one.parquet"), columns=["c"]))
    assert [c["name"] for c in only["profile"]["columns"]] == ["c"]


def test_a_reference_that_is_no_profile_is_refused(run_task, tmp_path: Path) -> None:
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "a.parquet")
    for reference in ("a.parquet", {"version": 9, "columns": [], "rows": 1}):
        with pytest.raises(UsageError, match="profile"):
            run_task(ProfileDataOperator(task_id="p", data=str(tmp_path / "a.parquet"), reference=reference))


def test_the_picture_is_one_file_that_loads_nothing(run_task, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, None] * 50, "<script>": ["a", "b", "c"] * 50})
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    target = tmp_path / "pages" / "profile.html"
    run_task(ProfileDataOperator(task_id="p", data=str(tmp_path / "a.parquet"), page=str(target)))
    text = target.read_text(encoding="utf-8")
    assert text.count("<svg") >= 2 and "50" in text  # a chart a column, and the nulls
    assert not any(word in text for word in ("<script>", "src=", "<link", "@import"))
    assert [p.name for p in target.parent.iterdir()] == ["profile.html"]
