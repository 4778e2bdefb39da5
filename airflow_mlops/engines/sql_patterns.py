"""Regular expressions as PostgreSQL reads them.

Its advanced regular expressions differ from RE2 and Python where one would not look: ``.`` matches a line's end,
``\\b`` is a backspace, ``\\d`` depends on the locale. A pattern is rewritten so that it means what it means to RE2;
one with anything else in it is not read here.
"""

from __future__ import annotations

import re

_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": "\t\n\f\r "}
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_REPEAT = re.compile(r"[*+?]|\{(\d{1,3})(?:,(\d{0,3}))?\}")
_MOST = 255  # repetitions that PostgreSQL takes


def postgres_pattern(pattern: str) -> str | None:
    r"""The pattern in PostgreSQL's words, or ``None`` where it has none.

    >>> print(postgres_pattern(r"^[A-Z]{2}\d+.$"))
    ^[A-Z]{2}[0-9]+[^
    ]$
    >>> postgres_pattern(r"\bword"), postgres_pattern("(?=a)b"), postgres_pattern("[[:alpha:]]")
    (None, None, None)
    """
    try:
        re.compile(pattern)
        return _Reader(pattern).read()
    except (re.error, _Unreadable):
        return None


def java_pattern(pattern: str) -> str | None:
    r"""The pattern in Java's words, or ``None`` where it has none: ``$`` is the end alone, and ``&&`` no intersection.

    >>> print(java_pattern(r"^a\d$"))
    ^a[0-9]\z
    """
    found = postgres_pattern(pattern)
    if found is None or "&&" in found:
        return None
    parts = re.split(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])", found, flags=re.DOTALL)  # escapes and sets stay as they are
    return "".join(p if i % 2 else p.replace("$", r"\z") for i, p in enumerate(parts))


class _Unreadable(Exception):
    """Left to somebody else."""


class _Reader:
    def __init__(self, pattern: str) -> None:
        if "\x00" in pattern:
            raise _Unreadable
        self.pattern = pattern
        self.at = 0

    def read(self) -> str:
        parts: list[str] = []
        repeated = True  # nothing to repeat yet
        while self.at < len(self.pattern):
            if found := _REPEAT.match(self.pattern, self.at):
                parts.append(self._repeat(found, repeated))
                repeated = True
                continue
            one = self._one()
            parts.append(one)
            repeated = one in ("^", "$", "|", "(", "(?:")
        return "".join(parts)

    def _repeat(self, found: re.Match[str], repeated: bool) -> str:
        if repeated or any(int(n) > _MOST for n in found.groups() if n):
            raise _Unreadable
        self.at = found.end()
        lazy = self.pattern.startswith("?", self.at)
        self.at += lazy
        return found.group() + "?" * lazy

    def _one(self) -> str:
        char = self._next()
        if char == "\\":
            return self._escape()
        if char == ".":
            return "[^\n]"
        if char == "[":
            return self._set()
        if char == "(" and self.pattern.startswith("?", self.at):
            if not self.pattern.startswith("?:", self.at):
                raise _Unreadable
            self.at += 2
            return "(?:"
        return f"\\{char}" if char in "{}]" else char

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise _Unreadable
        self.at += 1
        return self.pattern[self.at - 1]

    def _escape(self) -> str:
        char = self._next()
        if char.lower() in _CLASSES:
            return f"[{'^' if char.isupper() else ''}{_CLASSES[char.lower()]}]"
        if char in _CHARACTERS:
            return _CHARACTERS[char]
        if char == "A":
            return "^"
        if char.isalnum() or not char.isascii():
            raise _Unreadable
        return f"\\{char}"

    def _set(self) -> str:
        parts = ["["]
        if self.pattern.startswith("^", self.at):
            self.at += 1
            parts.append("^")
        first = True
        while True:
            char = self._next()
            if char == "]" and not first:
                return "".join([*parts, "]"])
            parts.append(self._member(char))
            first = False

    def _member(self, char: str) -> str:
        if char == "\\":
            escaped = self._next()
            if escaped in _CLASSES:
                if self.pattern.startswith("-", self.at) and not self.pattern.startswith("-]", self.at):
                    raise _Unreadable  # no range begins with a class
                return _CLASSES[escaped]
            if escaped in _CHARACTERS:
                return _CHARACTERS[escaped]
            if escaped.isalnum() or not escaped.isascii():
                raise _Unreadable
            return f"\\{escaped}"
        if char == "[":
            if self.pattern[self.at : self.at + 1] in (":", ".", "="):
                raise _Unreadable
            return "\\["
        return "\\]" if char == "]" else char
