"""Does an alarm mean something: false alarms of whole checks, and what is seen of real shifts. Seeded.

*False alarms*: reference and batch are drawn from the same distributions; alpha is 5 %. A cell of the grid is ``short``
where its rate is above 1.2 alpha by more than the doubt that so many checks leave (one-sided 99 % binomial bound).

*Power*: one column of ten has changed. Beside it what people write first: scipy's two-sample tests on the raw rows,
Bonferroni over the columns. Detection is ``short`` where it is more than 5 points below that.

What is counted is exactly a check's verdict, made cheaper: p-values are worked out only where they can matter. That
this is the verdict of ``check_drift`` is asserted on the first checks of each cell.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPO = Path(__file__).parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from airflow_mlops.core.drift import check_drift  # noqa: E402
from airflow_mlops.core.drift_cells import NotComparable, TooFew, categorical_cells, numeric_cells  # noqa: E402
from airflow_mlops.core.drift_policy import DriftPolicy  # noqa: E402
from airflow_mlops.core.drift_tests import share_test  # noqa: E402
from airflow_mlops.core.profile import ColumnProfile, Profile  # noqa: E402
from airflow_mlops.core.results import Status  # noqa: E402
from dev.bench._columns import KINDS, Pair, pair  # noqa: E402
from dev.bench._print import Figures  # noqa: E402

ALPHA = DriftPolicy().alpha
ROWS = (50, 200, 1_000, 100_000)
COLUMNS = (10, 50, 200)
share_of = functools.lru_cache(maxsize=1 << 18)(share_test)


def profiles(pairs: Sequence[Pair]) -> tuple[Profile, Profile]:
    """Both datasets of a check."""
    was, now = ({p[i].name: p[i] for p in pairs} for i in (0, 1))
    first = pairs[0]
    return Profile(rows=first[0].count, columns=was), Profile(rows=first[1].count, columns=now)


def looked_at(was: ColumnProfile, now: ColumnProfile) -> tuple[int, bool]:
    """How many features of a column are tested, and whether any can have a p-value of at most alpha; errs to yes."""
    tests = int(was.nulls + now.nulls > 0)
    possible = share_of(was.nulls, was.count, now.nulls, now.count) <= ALPHA
    if was.kind == "categorical" and was.complete:
        tests += bool(now.unseen or any(n == 1 for _, n in was.top))
        possible = possible or now.unseen > 0
    try:
        cells = (numeric_cells if was.kind == "numeric" else categorical_cells)(was, now)
    except (TooFew, NotComparable):
        return tests, possible
    r, c = np.asarray(cells.reference, dtype=float), np.asarray(cells.current, dtype=float)
    if min(was.valid, now.valid) < DriftPolicy().minimum_rows or len(r) == 1:
        return tests, possible
    return tests + 1, possible or len(r) == 2 or (_gap if was.kind == "numeric" else _table)(r, c)


def _gap(r: Any, c: Any) -> bool:
    """Anderson-Darling's mean under equality is that of its weights; 1.5 times it is no rare event."""
    m, n = r.sum(), c.sum()
    both = (r + c) / (m + n)
    heights = np.cumsum(both)[:-1]
    weights = (both[:-1] + both[1:]) / 2
    gaps = np.cumsum(r / m - c / n)[:-1]
    statistic = m * n / (m + n) * (weights / (heights * (1 - heights)) * gaps**2).sum()
    return bool(statistic > 1.5 * weights.sum())


def _table(r: Any, c: Any) -> bool:
    m, n = r.sum(), c.sum()
    expected = (r + c) * n / (m + n)
    statistic = ((c - expected) ** 2 / expected).sum() * (m + n) / m
    return bool(statistic > critical(len(r) - 1))


@functools.lru_cache
def critical(freedom: int) -> float:
    """Chi-square's value at a p-value well above alpha."""
    from scipy.stats import chi2

    return float(chi2.isf(1.5 * ALPHA, freedom))


def alarm(pairs: Sequence[Pair], *, whole: bool = False) -> bool:
    """Whether a check of these columns says drift.

    A column whose p-values are all above alpha changes that only as company in the correction. Of m tests
    Benjamini-Hochberg asks p <= alpha k / m: so fewer tests are made, at an alpha that is as much smaller.
    """
    if whole:
        return check_drift(*profiles(pairs), DriftPolicy(alpha=ALPHA)).status is Status.FAILED
    seen = [looked_at(*p) for p in pairs]
    kept = [p for p, (_, possible) in zip(pairs, seen, strict=True) if possible]
    if not kept:
        return False
    company = sum(tests for tests, _ in seen) / sum(tests for tests, possible in seen if possible)
    return check_drift(*profiles(kept), DriftPolicy(alpha=ALPHA / company)).status is Status.FAILED


def false_alarms(kind: str, columns: int, rows: int, checks: int, rng: np.random.Generator, compared: int = 3) -> int:
    """Checks of identical distributions that raised an alarm; the reference has 1,000 rows, or as many as the batch."""
    kinds = list(KINDS) if kind == "mixed" else [kind]
    found = 0
    for i in range(checks):
        pairs = [pair(kinds[c % len(kinds)], f"x{c}", rng, max(rows, 1000), rows) for c in range(columns)]
        said = alarm(pairs)
        if i < compared and said != alarm(pairs, whole=True):
            raise AssertionError(
                f"the shortened check differs from check_drift: {kind}, {columns} columns, {rows} rows"
            )
        found += said
    return found


def doubt(found: int, of: int, confidence: float = 0.99) -> tuple[float, float]:
    """Clopper-Pearson: the rates below and above which ``found`` of ``of`` would be a surprise."""
    from scipy.stats import beta

    low = float(beta.ppf(1 - confidence, found, of - found + 1)) if found else 0.0
    high = float(beta.ppf(confidence, found + 1, of - found)) if found < of else 1.0
    return low, high


def grid(figures: Figures, effort: float, kinds: Sequence[str]) -> None:
    """False alarms over the grid."""
    figures.note("false alarms of whole checks; value: the least rate that the count leaves likely, in % of checks")
    every, of_all = 0, 0
    for kind in kinds:
        for columns in COLUMNS:
            for rows in ROWS:
                checks = max(int(effort * {10: 2000, 50: 1000, 200: 500}[columns]), 20)
                rng = np.random.default_rng([[*KINDS, "mixed"].index(kind), columns, rows])
                began = time.perf_counter()
                found = false_alarms(kind, columns, rows, checks, rng)
                low, high = doubt(found, checks)
                every, of_all = every + found, of_all + checks
                figures.note(
                    f"{kind}, {columns} columns, {rows} rows: {found} of {checks} = {found / checks:.2%} "
                    f"[{low:.2%}, {high:.2%}], {time.perf_counter() - began:.0f} s"
                )
                figures.at_most(f"{kind} {columns} x {rows}", low * 100, 120 * ALPHA, "%")
    figures.at_most("all cells together", every / of_all * 100, 120 * ALPHA, "%")


# --- power: rows, since the peers need them -----------------------------------------------------------------------

SIZES = (0.1, 0.25, 0.5, 1.0)


def shifted(what: str, size: float, rng: np.random.Generator, rows: int) -> Any:
    """A column that changed; ``size`` in standard deviations, or what moves a mix about as much."""
    x = rng.normal(size=rows)
    if what == "mean":
        return x + size
    if what == "scale":
        return x * (1 + size)
    if what == "shape":  # the same mean and variance, skewed the more the larger
        shape = 4 / (2 * size) ** 2
        return (rng.gamma(shape, size=rows) - shape) / shape**0.5
    if what == "nulls":
        return np.where(rng.random(rows) < 0.2 * size, np.nan, x)
    shares = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    if what == "mix":
        shares = shares + size * np.array([-0.15, 0.0, 0.0, 0.15, 0.0])
    if what == "unseen":
        shares = shares * (1 - 0.1 * size) + np.array([0, 0, 0, 0, 0.1 * size])
    return np.array(list("abcde"))[rng.choice(5, rows, p=shares)]


def power(figures: Figures, effort: float) -> None:
    """Detection among ten columns, nine of which are as they were, beside scipy and Bonferroni."""
    from tests.core.drift_samples import profile

    checks = max(int(200 * effort), 10)
    figures.note(f"power: one of 10 columns changed, {checks} checks each, reference 5,000 rows; % that are seen")
    for what in ("mean", "scale", "shape", "nulls", "mix", "unseen"):
        for rows in (200, 1000):
            for size in SIZES:
                rng = np.random.default_rng([len(what), ord(what[0]), rows, int(size * 100)])
                ours = theirs = 0
                for _ in range(checks):
                    start: Any = shifted("mix" if what in ("mix", "unseen") else "mean", 0.0, rng, 5000)
                    was = {"x": start, **{f"n{i}": rng.normal(size=5000) for i in range(9)}}
                    now = {"x": shifted(what, size, rng, rows), **{f"n{i}": rng.normal(size=rows) for i in range(9)}}
                    reference = profile(was)
                    ours += check_drift(reference, profile(now, like=reference)).status is Status.FAILED
                    theirs += any(_scipy(was[c], now[c]) <= ALPHA / 10 for c in was)
                figures.note(f"{what} {size} sd, {rows} rows: {ours / checks:.0%}, scipy {theirs / checks:.0%}")
                figures.at_least(f"{what} {size} {rows} rows, less scipy", (ours - theirs) / checks * 100, -5, "points")


def _scipy(was: Any, now: Any) -> float:
    from scipy.stats import chi2_contingency, ks_2samp

    if was.dtype.kind == "f":
        return float(ks_2samp(was, now[~np.isnan(now)], method="asymp").pvalue)
    names = sorted({*was.tolist(), *now.tolist()})
    table = [[int((side == n).sum()) for n in names] for side in (was, now)]
    return float(chi2_contingency(table)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effort", type=float, default=0.2, help="1: 2,000 checks of 10 columns, 500 of 200")
    parser.add_argument("--kinds", nargs="*", default=[*KINDS, "mixed"])
    asked = parser.parse_args()
    figures = Figures()
    power(figures, asked.effort)
    grid(figures, asked.effort, asked.kinds)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
