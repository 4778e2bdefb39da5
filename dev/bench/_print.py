"""How every benchmark of the project speaks: one line a figure, ``figure value bound ok|short``.

>>> figures = Figures(print_=lambda line: print(line.rstrip()))
>>> figures.at_most("train added", 0.61, 1.0, "s")
train added                                              0.61 s       <= 1 s           ok
>>> figures.at_least("rows a second", 80_000, 100_000)
rows a second                                           80000         >= 100000        short
>>> figures.exit_code
1
"""

from __future__ import annotations

from collections.abc import Callable


class Figures:
    """Prints figures as they come, and remembers whether one fell short."""

    def __init__(self, print_: Callable[[str], None] = lambda line: print(line, flush=True)) -> None:
        self._print = print_
        self.short: list[str] = []

    @property
    def exit_code(self) -> int:
        """1 when a figure was short."""
        return int(bool(self.short))

    def at_most(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A figure that must not be greater than its bound."""
        self._line(name, value, f"<= {bound:.6g}", unit, ok=value <= bound)

    def at_least(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A figure that must not be less than its bound."""
        self._line(name, value, f">= {bound:.6g}", unit, ok=value >= bound)

    def note(self, text: str) -> None:
        """A line that is no figure: what is being measured now."""
        self._print(f"# {text}")

    def _line(self, name: str, value: float, bound: str, unit: str, *, ok: bool) -> None:
        if not ok:
            self.short.append(name)
        seen = f"{value:.6g}".rjust(12)
        self._print(f"{name:<48}{seen} {unit:<7} {f'{bound} {unit}'.strip():<17} {'ok' if ok else 'short'}")
