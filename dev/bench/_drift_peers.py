"""Other libraries' drift checks on the same rows, each in an environment of its own; run by ``calibration``.

As a program, in such an environment: ``_drift_peers.py NAME JOBS`` with ``[["same", family, rows, checks], ["changed",
what, size, rows, checks], ...]`` prints the number of alarms of each job as JSON. An alarm is any column that is said
to have drifted, at the library's defaults; those that correct for the number of columns do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(REPO)

NEEDS: dict[str, tuple[str, ...]] = {
    "evidently": ("evidently==0.7.23", "pandas<3", "scikit-learn<1.8"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "numpy<2.3", "scikit-learn<1.8", "statsmodels"),
    "alibi-detect": ("alibi-detect==0.13.0", "numpy<2", "pandas<3"),
}
Job = tuple[Any, ...]


def alarms(name: str, jobs: Sequence[Job]) -> list[int]:
    """How many of each job's checks the library raises an alarm in."""
    from dev.bench._peers import environment

    python = environment(name, NEEDS[name])
    quiet = {"NML_DISABLE_USAGE_LOGGING": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [python, __file__, name, json.dumps(jobs)], capture_output=True, text=True, env={**os.environ, **quiet}
    )
    if done.returncode:
        raise SystemExit(f"{name} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return [int(n) for n in json.loads(done.stdout.strip().splitlines()[-1])]


def _evidently() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    import pandas as pd

    evidently, presets = import_module("evidently"), import_module("evidently.presets")

    def alarm(was: dict[str, Any], now: dict[str, Any]) -> bool:
        text = [c for c, v in was.items() if v.dtype.kind == "U"]
        columns = evidently.DataDefinition(
            categorical_columns=text, numerical_columns=[c for c in was if c not in text]
        )
        reference, current = (
            evidently.Dataset.from_pandas(pd.DataFrame(d), data_definition=columns) for d in (was, now)
        )
        said = evidently.Report([presets.DataDriftPreset()]).run(current, reference).dict()["metrics"]
        (count,) = (m["value"]["count"] for m in said if "DriftedColumnsCount" in m["metric_name"])
        return bool(count > 0)

    return alarm


def _nannyml() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    import pandas as pd

    nannyml = import_module("nannyml")

    def alarm(was: dict[str, Any], now: dict[str, Any]) -> bool:
        rows = len(next(iter(now.values())))
        checked = nannyml.UnivariateDriftCalculator(column_names=list(was), chunk_size=rows)
        said = checked.fit(pd.DataFrame(was)).calculate(pd.DataFrame(now)).filter(period="analysis").to_df()
        return bool(said.xs("alert", axis=1, level=-1).to_numpy().any())

    return alarm


def _alibi() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    import numpy as np

    detector = import_module("alibi_detect.cd").TabularDrift

    def coded(was: Any, now: Any) -> tuple[Any, Any]:
        if was.dtype.kind == "f":
            return was, now[~np.isnan(now)]
        names = np.unique(np.concatenate([was, now]))
        return np.searchsorted(names, was), np.searchsorted(names, now)

    def alarm(was: dict[str, Any], now: dict[str, Any]) -> bool:
        pairs = [coded(was[c], now[c]) for c in was]
        rows = min(len(n) for _, n in pairs)  # one table: where a column has nulls, all are that much shorter
        reference, current = np.column_stack([w for w, _ in pairs]), np.column_stack([n[:rows] for _, n in pairs])
        text = {i: None for i, c in enumerate(was) if was[c].dtype.kind == "U"}
        found = detector(reference.astype(float), p_val=0.05, categories_per_feature=text or None).predict(
            current.astype(float)
        )
        return bool(found["data"]["is_drift"])

    return alarm


def main(name: str, jobs: Sequence[Job]) -> None:
    import warnings

    warnings.filterwarnings("ignore")
    from dev.bench._shifts import changed, same

    alarm = {"evidently": _evidently, "nannyml": _nannyml, "alibi-detect": _alibi}[name]()
    draw: dict[str, Callable[..., Any]] = {"same": same, "changed": changed}
    print(json.dumps([sum(alarm(*draw[job[0]](*job[1:-1], i)) for i in range(job[-1])) for job in jobs]))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
