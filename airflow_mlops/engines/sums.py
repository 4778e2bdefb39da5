"""Sums of floats that are rounded to whole numbers; nothing is lost, so that neither order nor split matters."""

from __future__ import annotations

from typing import Any

import numpy as np

from airflow_mlops.engines.scratch import Scratch

_WHOLE = 1.5 * 2.0**52
"""Added to a float of at most 2**51, it is rounded to a whole number, which is what the bits of the sum then say."""

_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))
_SPLIT = 1.5 * 2.0**78


def sum_of_rounded(numbers: Any, scratch: Scratch) -> int:
    """The sum of floats, each rounded to a whole number below 2**53 (ties to even); nothing is lost."""
    upper = scratch.floats("upper", len(numbers))
    np.rint(numbers, out=numbers)
    np.add(numbers, _SPLIT, out=upper)
    np.subtract(upper, _SPLIT, out=upper)
    np.subtract(numbers, upper, out=numbers)
    return int(np.add.reduce(upper)) + int(np.add.reduce(numbers))


def sum_of_half(numbers: Any, scratch: Scratch) -> int:
    """The same of floats from -2**51 to 2**51 + 0.5, in fewer steps.

    The bits of the floats, rounded, add up to the sum modulo 2**64; the sum of the floats themselves tells which of
    those that are alike it is.
    """
    about = int(np.add.reduce(numbers))
    np.add(numbers, _WHOLE, out=numbers)
    bits = int(np.add.reduce(numbers.view(np.int64))) - len(numbers) * _WHOLE_BITS
    return about + (bits - about + 2**63) % 2**64 - 2**63
