"""The tutorial's own commands and its own DAG, as they stand in the page, on a CSV that fits them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.M | re.S)


def customers(path: Path, rows: int = 4000) -> None:
    """A reader's CSV: numbers with gaps, words, a day, and a target that follows from some of them."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "customer": [f"c{i:05}" for i in range(rows)],
            "signed_up": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 366, rows), unit="D"),
            "age": rng.integers(18, 80, rows).astype(float),
            "plan": rng.choice(["basic", "plus", "pro"], rows),
            "visits": rng.poisson(5, rows),
            "tickets": rng.poisson(1, rows),
        }
    )
    odds = 0.9 * frame["tickets"] - 0.3 * frame["visits"] - (frame["plan"] == "pro")
    frame["churned"] = (rng.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype(int)
    frame.loc[rng.uniform(size=rows) < 0.02, "age"] = np.nan
    frame["signed_up"] = frame["signed_up"].dt.date
    frame.to_csv(path, index=False)


@pytest.fixture
def blocks() -> list[tuple[str, str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def test_the_page_works_as_it_stands(blocks: list[tuple[str, str, str]], tmp_path: Path) -> None:
    customers(tmp_path / "customers.csv")
    (tmp_path / "dags").mkdir()
    commands = ["set -eu"]
    for language, title, text in blocks:
        if language == "python":
            (tmp_path / title).write_text(text, encoding="utf-8")
        elif title != "install":
            commands.append(text)
    assert any("airflow dags test own_model" in c for c in commands)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env={**kept, "PATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "roc_auc" in done.stdout
    assert "churn version 1 passes" in done.stdout
    scored = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scored.columns) == ["customer", "prediction", "score"]
    rows = pd.read_csv(tmp_path / "customers.csv")
    assert len(scored) == (rows["signed_up"] >= "2024-10-01").sum() > 0
