"""Arrays that are used again and again: fresh memory costs more than most of the arithmetic that is done in it."""

from __future__ import annotations

from typing import Any

import numpy as np


class Scratch:
    """Arrays of one thread, by name and type; what one holds is gone when the same is asked for again.

    >>> scratch = Scratch()
    >>> a = scratch.floats("a", 3); a[:] = 1.0
    >>> scratch.floats("a", 2) is a, np.shares_memory(scratch.floats("a", 2), a), len(scratch.floats("a", 9))
    (False, True, 9)
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, Any], Any] = {}

    def floats(self, name: str, size: int) -> Any:
        """Floats of 64 bits."""
        return self._array(name, np.float64, size)

    def whole(self, name: str, size: int) -> Any:
        """Whole numbers of 64 bits, with a sign."""
        return self._array(name, np.int64, size)

    def bits(self, name: str, size: int) -> Any:
        """Whole numbers of 64 bits, without a sign."""
        return self._array(name, np.uint64, size)

    def flags(self, name: str, size: int) -> Any:
        """True or false."""
        return self._array(name, np.bool_, size)

    def _array(self, name: str, type_: Any, size: int) -> Any:
        held = self._held.get((name, type_))
        if held is None or len(held) < size:
            held = self._held[(name, type_)] = np.empty(size, type_)
        return held[:size]
