"""Does an alarm mean something: false alarms of whole checks, and what is seen of real shifts. Seeded.

*False alarms*: reference and batch are drawn from the same distributions; alpha is 5 %. A cell of the grid is ``short``
where its rate is above 1.2 alpha by more than the doubt that so many checks leave (one-sided 99 % binomial bound). Of
72 cells one can be so by chance: a cell that is gets five times as many more, and all of them together decide.

*Beside others*: one column of ten has changed. Beside us what people write first, scipy's two-sample tests on the raw
rows with Bonferroni over the columns, and Evidently, NannyML and alibi-detect in environments of their own. Detection
is ``short`` where it is more than 5 points below the best of those that keep their own rate of false alarms.

What is counted is exactly a check's verdict, made cheaper: p-values are worked out only where they can matter. That
this is the verdict of ``check_drift`` is asserted on the first checks of each cell.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
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
from dev.bench._drift_peers import NEEDS, Job, alarms  # noqa: E402
from dev.bench._print import Figures  # noqa: E402
from dev.bench._shifts import REFERENCE, SHIFTS, SIZES, changed, same  # noqa: E402
from dev.bench._shifts import ROWS as BATCHES  # noqa: E402

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


Cell = tuple[str, int, int, int]
AGAIN = 5
"""Times as many checks of a cell that seemed too loud."""


def cell(asked: Cell, look: int = 0) -> tuple[int, float]:
    """False alarms of one cell of the grid, and the seconds they took; another ``look`` is at other rows."""
    kind, columns, rows, checks = asked
    rng = np.random.default_rng([[*KINDS, "mixed"].index(kind), columns, rows, *([look] if look else [])])
    began = time.perf_counter()
    return false_alarms(kind, columns, rows, checks, rng), time.perf_counter() - began


def grid(figures: Figures, effort: float, kinds: Sequence[str], pool: Executor) -> None:
    """False alarms over the grid."""
    figures.note("false alarms of whole checks; value: the least rate that the count leaves likely, in % of checks")
    counts = {10: 2000, 50: 1000, 200: 500}
    cells = [(k, c, r, max(int(effort * counts[c]), 20)) for k in kinds for c in COLUMNS for r in ROWS]
    every, of_all, of_kind = 0, 0, dict.fromkeys(kinds, (0, 0))
    for (kind, columns, rows, checks), (found, took) in zip(cells, pool.map(cell, cells), strict=True):
        low, high = doubt(found, checks)
        every, of_all = every + found, of_all + checks
        of_kind[kind] = (of_kind[kind][0] + found, of_kind[kind][1] + checks)
        figures.note(
            f"{kind}, {columns} columns, {rows} rows: {found} of {checks} = {found / checks:.2%} "
            f"[{low:.2%}, {high:.2%}], {took:.0f} s"
        )
        if low > 1.2 * ALPHA:
            parts = [(kind, columns, rows, checks)] * AGAIN
            more = sum(k for k, _ in pool.map(cell, parts, range(1, AGAIN + 1)))
            low, high = doubt(found + more, (AGAIN + 1) * checks)
            figures.note(f"  again: {more} of {AGAIN * checks}; together between {low:.2%} and {high:.2%}")
        figures.at_most(f"{kind} {columns} x {rows}", low * 100, 120 * ALPHA, "%")
    for kind, (found, checks) in of_kind.items():
        low, high = doubt(found, checks)
        figures.note(f"{kind}, all cells: {found} of {checks} = {found / checks:.2%} [{low:.2%}, {high:.2%}]")
        figures.at_most(f"{kind}, all its cells", low * 100, 120 * ALPHA, "%")
    figures.at_most("all cells together", every / of_all * 100, 120 * ALPHA, "%")


# --- beside others: rows, since they need them -----------------------------------------------------------------------


def ours(was: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether our check of these rows says drift."""
    from tests.core.drift_samples import profile

    reference = profile(was)
    return check_drift(reference, profile(now, like=reference)).status is Status.FAILED


def scipy(was: dict[str, Any], now: dict[str, Any]) -> bool:
    """What people write first: a two-sample test a column, Bonferroni over the columns."""
    from scipy.stats import chi2_contingency, ks_2samp

    def p_value(was: Any, now: Any) -> float:
        if was.dtype.kind == "f":
            return float(ks_2samp(was, now[~np.isnan(now)], method="asymp").pvalue)
        names = sorted({*was.tolist(), *now.tolist()})
        places = [np.searchsorted(names, side) for side in (was, now)]
        return float(chi2_contingency([np.bincount(p, minlength=len(names)) for p in places])[1])

    return any(p_value(was[c], now[c]) <= ALPHA / len(was) for c in was)


HERE = {"ours": ours, "scipy": scipy}
DRAW: dict[str, Callable[..., Any]] = {"same": same, "changed": changed}


def counted(name: str, job: Job) -> int:
    """Alarms of one who is asked in this process."""
    draw = DRAW[job[0]]
    return sum(HERE[name](*draw(*job[1:-1], i)) for i in range(job[-1]))


def asked(name: str, jobs: Sequence[Job], pool: Executor) -> list[int]:
    """Alarms of each job, by us, by scipy or by a library in its own environment."""
    if name in HERE:
        return list(pool.map(functools.partial(counted, name), jobs))
    half = [jobs[i::2] for i in (0, 1)]
    found = list(pool.map(functools.partial(alarms, name), half))
    return [found[i % 2][i // 2] for i in range(len(jobs))]


def beside(figures: Figures, effort: float, pool: Executor, peers: Sequence[str] = tuple(NEEDS)) -> None:
    """False alarms and detection beside scipy and the libraries, on the same rows.

    A library is compared where it keeps its own rate on columns of that family: at no number of rows its false alarms
    are beyond doubt more than 1.2 alpha.
    """
    checks = {"ours": 200, "scipy": 200, "alibi-detect": 200, "evidently": 40, "nannyml": 80}
    checks = {name: max(int(n * effort * 2.5), 5) for name, n in checks.items() if name in (*HERE, *peers)}
    families = tuple(dict.fromkeys(SHIFTS.values()))
    cells = [(family, rows) for family in families for rows in BATCHES]
    figures.note("false alarms on rows: ten columns that did not change, any column counts")
    keeps: dict[str, set[str]] = {}
    for name, n in checks.items():
        found = asked(name, [("same", *cell, n) for cell in cells], pool)
        for (family, rows), k in zip(cells, found, strict=True):
            low, high = doubt(k, n)
            figures.note(f"{name}, {family}, {rows} rows: {k} of {n} = {k / n:.1%} [{low:.1%}, {high:.1%}]")
            if name == "ours":
                figures.at_most(f"rows: {family} {rows}", low * 100, 120 * ALPHA, "%")
        loud = {f for (f, _), k in zip(cells, found, strict=True) if doubt(k, n)[0] > 1.2 * ALPHA}
        keeps[name] = set(families) - loud
        figures.note(f"{name} keeps its rate on columns that are {', '.join(sorted(keeps[name])) or 'none of these'}")
    n = max(int(500 * effort), 10)
    figures.note(
        f"detection: one of ten columns changed, reference {REFERENCE} rows, {n} checks each; 1 sd of doubt "
        f"is up to {100 * (0.5 / n) ** 0.5:.1f} points between two of them"
    )
    jobs = [("changed", what, size, rows, n) for what in SHIFTS for rows in BATCHES for size in SIZES]
    seen = {"ours": asked("ours", jobs, pool)}
    for name in checks:
        mine = [j for j in jobs if name != "ours" and SHIFTS[j[1]] in keeps[name]]
        few = min(n, checks[name]) if name not in HERE else n
        said = asked(name, [(*j[:-1], few) for j in mine], pool) if mine else []
        where = dict(zip(mine, said, strict=True))
        seen |= {name: [where.get(j, -1) * n // few for j in jobs]} if name != "ours" else {}
    for i, (_, what, size, rows, _) in enumerate(jobs):
        others = {name: found[i] for name, found in seen.items() if name != "ours" and found[i] >= 0}
        best = max(others, key=lambda name: others[name], default="")
        told = ", ".join(f"{name} {k / n:.0%}" for name, k in {"ours": seen["ours"][i], **others}.items())
        figures.note(f"{what} {size} sd, {rows} rows: {told}")
        if best:
            less = (seen["ours"][i] - others[best]) / n * 100
            figures.at_least(f"{what} {size}, {rows} rows, less {best}", less, -5, "points")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effort", type=float, default=0.2, help="1: 2,000 checks of 10 columns, 500 of 200")
    parser.add_argument("--kinds", nargs="*", default=[*KINDS, "mixed"])
    parser.add_argument("--only", choices=("grid", "beside"))
    parser.add_argument("--peers", nargs="*", default=list(NEEDS))
    said = parser.parse_args()
    figures = Figures()
    with ProcessPoolExecutor() as pool:
        if said.only != "grid":
            beside(figures, said.effort, pool, said.peers)
        if said.only != "beside":
            grid(figures, said.effort, said.kinds, pool)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
