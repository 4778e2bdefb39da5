"""How long it takes to be sure: 1,000 paired resamples of the difference in ROC AUC over 1,000,000 rows.

Beside it, in the same process and on the same rows: a plain loop over scikit-learn's function, and
``scipy.stats.bootstrap(paired=True)``. Both take the better part of an hour, so a few of their replicates are timed and
multiplied up; their names say so. Seconds are of CPU time: all three use one core. Exits 1 when a figure is short.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPO = Path(__file__).parent.parent.parent
sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._print import Figures  # noqa: E402

SLOW = 3
"""Replicates of the two slow ways that are timed."""


def rows(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A fifth of the rows is positive; two models that agree a lot, in double precision with hardly a tie."""
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.2).astype(np.int64)
    common = rng.normal(size=n) + y
    return y, common + rng.normal(size=n) * 0.3, common + rng.normal(size=n) * 0.35


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=1000)
    asked = parser.parse_args()
    y, a, b = rows(asked.rows)

    from airflow_mlops.core.bootstrap import replicate, statistic
    from airflow_mlops.core.metrics import METRICS

    auc = METRICS["roc_auc"]
    kept: list[np.ndarray] = []

    def ours() -> None:
        both = [statistic(auc, y, a), statistic(auc, y, b)]
        one, other = replicate(both, len(y), replicates=asked.replicates, seed=0)
        kept.append(one - other)

    took = seconds(ours)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024  # before the others are imported

    from scipy import stats
    from sklearn.metrics import roc_auc_score

    def difference(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return float(roc_auc_score(y, a) - roc_auc_score(y, b))

    def loop(times: int) -> list[float]:
        rng = np.random.default_rng(1)
        drawn = (rng.integers(0, len(y), len(y)) for _ in range(times))
        return [difference(y[i], a[i], b[i]) for i in drawn]

    def scipys(times: int) -> None:
        stats.bootstrap(
            (y, a, b),
            difference,
            paired=True,
            vectorized=False,
            n_resamples=times,
            batch=1,
            method="percentile",
            rng=np.random.default_rng(2),
        )

    plain = seconds(lambda: loop(SLOW)) / SLOW * asked.replicates
    scipys(2)
    # It computes the observed figure too: the difference of two runs is what the replicates alone take.
    scipy = (seconds(lambda: scipys(SLOW + 2)) - seconds(lambda: scipys(2))) / SLOW * asked.replicates
    off = abs(float(kept[0].mean()) - difference(y, a, b)) / float(kept[0].std()) * asked.replicates**0.5
    figures = Figures()
    figures.note(f"{asked.replicates} paired replicates of a difference in ROC AUC over {asked.rows} rows")
    figures.note(f"seconds: ours {took:.4g}; from {SLOW} replicates: plain loop {plain:.4g}, scipy {scipy:.4g}")
    figures.at_least("times faster than a plain loop", plain / took, 5)
    figures.at_least("times faster than scipy.stats.bootstrap", scipy / took, 5)
    figures.at_most("peak memory of the process", memory, 1, "GB")
    figures.at_most("mean of replicates off, in standard errors", off, 4)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
