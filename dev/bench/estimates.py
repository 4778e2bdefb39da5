"""Estimates of performance beside NannyML's, on the data that its documentation estimates performance on.

NannyML runs in an environment of its own, made under ``.cache/peers`` when it is not there. Reference and analysis
rows are those of its package, in chunks of 5,000 or 6,000 rows: synthetic car loans (two classes), car prices, and
credit cards (three classes). Each figure is the largest difference over the analysis chunks: between both estimates,
and of each from what the labels say. NannyML learns the loss with LightGBM and calibrates on all of the reference, we
with trees that are plain numbers: the two agree to a digit that is printed, and neither is the truth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent.parent
sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._peers import environment  # noqa: E402
from dev.bench._print import Figures  # noqa: E402

NEEDS = ("nannyml==0.13.1", "pandas<3", "numpy<2.3", "scikit-learn<1.8", "statsmodels")
"""It imports statsmodels and does not say so, and does not import beside pandas 3."""

PEER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import nannyml as nml
folder = sys.argv[1]
found = {}
def run(name, loaded, estimator, metrics, label):
    reference, analysis, truth = loaded
    truth = truth[label] if label in truth.columns else truth.iloc[:, -1]
    analysis = analysis.reset_index(drop=True)
    analysis[label] = truth.to_numpy()
    reference.to_parquet(f"{folder}/{name}-reference.parquet")
    analysis.to_parquet(f"{folder}/{name}-analysis.parquet")
    got = estimator.fit(reference).estimate(analysis.drop(columns=label)).filter(period="analysis").to_df()
    found[name] = {m: [float(v) for v in got[(m, "value")]] for m in metrics}
run("loans", nml.load_synthetic_car_loan_dataset(),
    nml.CBPE(y_pred_proba="y_pred_proba", y_pred="y_pred", y_true="repaid", problem_type="classification_binary",
             metrics=["roc_auc", "accuracy", "f1"], chunk_size=5000), ["roc_auc", "accuracy", "f1"], "repaid")
features = ["car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission"]
run("cars", nml.load_synthetic_car_price_dataset(),
    nml.DLE(feature_column_names=features, y_pred="y_pred", y_true="y_true", metrics=["mae", "rmse"],
            chunk_size=6000), ["mae", "rmse"], "y_true")
cards = ["prepaid_card", "highstreet_card", "upmarket_card"]
run("cards", nml.load_synthetic_multiclass_classification_dataset(),
    nml.CBPE(y_pred_proba={c: f"y_pred_proba_{c}" for c in cards}, y_pred="y_pred", y_true="y_true",
             problem_type="classification_multiclass", metrics=["roc_auc", "accuracy", "f1"], chunk_size=6000),
    ["roc_auc", "accuracy", "f1"], "y_true")
print(json.dumps(found))
"""
CARDS = sorted(["prepaid_card", "highstreet_card", "upmarket_card"])
NAMES = {"roc_auc": "roc_auc_ovr", "accuracy": "accuracy", "f1": "f1_macro"}
"""NannyML's names of several classes' metrics, and ours."""
BOUNDS = {"loans": 0.001, "cars": 0.02, "cards": 0.001}
"""How far the two may be apart: the third decimal of classes, 2 % of a loss."""
FEATURES = ["car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission"]


def peer(folder: str) -> dict[str, dict[str, list[float]]]:
    """NannyML's estimates of each chunk; its data is left in the folder."""
    python = environment("nannyml", NEEDS)
    told = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
    done = subprocess.run([python, "-c", PEER, folder], capture_output=True, text=True, env=told)
    if done.returncode:
        raise SystemExit(f"NannyML failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def ours(folder: str) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, list[float]]]]:
    """Our estimates and the realised figures, of the same chunks."""
    import numpy as np
    import pandas as pd

    from airflow_mlops.core.estimation import calibration_of, estimate
    from airflow_mlops.core.estimation_classes import class_calibration_of, estimate_classes
    from airflow_mlops.core.estimation_loss import estimate_loss, loss_calibration_of
    from airflow_mlops.core.metrics import METRICS

    found: dict[str, dict[str, list[float]]] = {"loans": {}, "cars": {}, "cards": {}}
    seen: dict[str, dict[str, list[float]]] = {"loans": {}, "cars": {}, "cards": {}}

    def add(name: str, metric: str, value: Any, truth: Any, said: Any) -> None:
        found[name].setdefault(metric, []).append(float(value["value"]))
        seen[name].setdefault(metric, []).append(float(METRICS[metric].figure(truth, said)[0] or np.nan))

    def rows(name: str, part: str) -> Any:
        return pd.read_parquet(Path(folder) / f"{name}-{part}.parquet")

    reference, analysis = rows("loans", "reference"), rows("loans", "analysis")
    kept = calibration_of(reference["y_pred_proba"].to_numpy(), reference["repaid"].to_numpy().astype(int))
    for start in range(0, len(analysis), 5000):
        chunk = analysis[start : start + 5000]
        score, said, truth = (chunk[c].to_numpy() for c in ("y_pred_proba", "y_pred", "repaid"))
        for metric, one in estimate(score, kept, ["roc_auc", "accuracy", "f1"], predicted=said).items():
            add("loans", metric, one, truth.astype(int), score if metric == "roc_auc" else said)
    reference, analysis = rows("cars", "reference"), rows("cars", "analysis")
    kept = loss_calibration_of(reference[FEATURES], reference["y_pred"].to_numpy(), reference["y_true"].to_numpy())
    for start in range(0, len(analysis), 6000):
        chunk = analysis[start : start + 6000]
        said, truth = chunk["y_pred"].to_numpy(), chunk["y_true"].to_numpy()
        for metric, one in estimate_loss(chunk[FEATURES], said, kept, ["mae", "rmse"]).items():
            add("cars", metric, one, truth, said)
    reference, analysis = rows("cards", "reference"), rows("cards", "analysis")
    columns, index = [f"y_pred_proba_{c}" for c in CARDS], {c: i for i, c in enumerate(CARDS)}
    kept = class_calibration_of(reference[columns].to_numpy(), reference["y_true"].map(index).to_numpy(dtype=int))
    for start in range(0, len(analysis), 6000):
        chunk = analysis[start : start + 6000]
        p, said, truth = (
            chunk[columns].to_numpy(),
            chunk["y_pred"].map(index).to_numpy(dtype=int),
            chunk["y_true"].map(index).to_numpy(dtype=int),
        )
        estimates = estimate_classes(p, kept, NAMES.values(), predicted=said)
        for theirs, name in NAMES.items():
            found["cards"].setdefault(theirs, []).append(float(estimates[name]["value"]))  # type: ignore[arg-type]
            realised = METRICS[name].figure(truth, p if theirs == "roc_auc" else said)[0]
            seen["cards"].setdefault(theirs, []).append(float(realised or np.nan))
    return found, seen


def main() -> int:
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        theirs = peer(folder)
        found, seen = ours(folder)
    for name, metrics in theirs.items():
        for metric, values in metrics.items():
            mine, truth = found[name][metric], seen[name][metric]
            size = [abs(t) if name == "cars" else 1.0 for t in truth]
            if len(mine) != len(values):
                raise SystemExit(f"{name} {metric}: {len(mine)} chunks of ours, {len(values)} of NannyML's")

            def worst(a: list[float], b: list[float], size: list[float] = size) -> float:
                return max(abs(x - y) / s for x, y, s in zip(a, b, size, strict=True))

            figures.note(
                f"{name} {metric}: ours {mine[-1]:.5g}, NannyML {values[-1]:.5g}, labels {truth[-1]:.5g} (last)"
            )
            figures.note(f"  off the labels at most: ours {worst(mine, truth):.2g}, NannyML {worst(values, truth):.2g}")
            figures.at_most(f"{name} {metric}, ours from NannyML's", worst(mine, values), BOUNDS[name])
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
