"""Features of a column beside the mix of its values: shares of nulls, of unseen categories, of different values."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from airflow_mlops.core.drift_policy import SHARES, DriftPolicy
from airflow_mlops.core.drift_statistics import Cells
from airflow_mlops.core.drift_tests import share_test, unseen_test
from airflow_mlops.core.results import JSON
from airflow_mlops.core.tails import normal_below

if TYPE_CHECKING:
    from airflow_mlops.core.columns import ColumnProfile


@dataclasses.dataclass(frozen=True)
class Finding:
    """One feature of one column, tested; its verdict has to wait for all the others."""

    name: str
    column: str
    p_value: float
    effect: float
    floor: float
    measure: str
    details: dict[str, JSON]
    cells: Cells | None = None
    testable: bool = True


def share(
    name: str, was: ColumnProfile, hits: int, of: int, hits_now: int, of_now: int, policy: DriftPolicy
) -> Finding:
    """Whether another share of the rows has something; a change of at least the floor in either direction."""
    before, after = hits / of, hits_now / of_now
    return Finding(
        name,
        was.name,
        share_test(hits, of, hits_now, of_now),
        abs(after - before),
        policy.floors.get(name, SHARES[name]),
        "change",
        {"reference": before, "current": after},
        testable=0 < hits + hits_now < of + of_now,
    )


def unseen_share(was: ColumnProfile, unseen: int, rows: int, policy: DriftPolicy) -> Finding:
    """Whether more rows have a category that the reference does not know than it lets expect."""
    singles = sum(n == 1 for _, n in was.top)
    doubles = sum(n == 2 for _, n in was.top)
    expected = singles / was.valid
    return Finding(
        "unseen_share",
        was.name,
        unseen_test(singles, doubles, was.valid, unseen, rows),
        max(unseen / rows - expected, 0.0),
        policy.floors.get("unseen_share", SHARES["unseen_share"]),
        "change",
        {"reference": expected, "current": unseen / rows},
        testable=singles + unseen > 0,
    )


def distinct_share(was: ColumnProfile, now: ColumnProfile, policy: DriftPolicy) -> Finding:
    """Whether a column of too many values to be compared one by one has lost many: it may be a placeholder by now.

    How many different values ``n`` rows show grows with ``n``, ever more slowly. So of as many rows at least as many
    are to be expected as there were, and of fewer rows at least in proportion. The variance of such a number is at most
    itself; where it is an estimate, that adds 5 %.
    """
    part = min(1.0, now.valid / was.valid)
    expected = was.distinct * part
    variance = expected + was.distinct * part**2
    variance += (DISTINCT_ERROR * expected) ** 2 * ((not was.distinct_exact) + (not now.distinct_exact))
    known = was.distinct > 0 and now.distinct > 0
    return Finding(
        "distinct_share",
        was.name,
        normal_below((now.distinct - expected) / math.sqrt(variance)) if known else 1.0,
        max(1 - now.distinct / expected, 0.0) if known else 0.0,
        policy.floors.get("distinct_share", SHARES["distinct_share"]),
        "share of different values lost",
        {"reference": expected, "current": now.distinct},
        testable=known,
    )


DISTINCT_ERROR = 0.05
"""Of a number of different values that was estimated."""
