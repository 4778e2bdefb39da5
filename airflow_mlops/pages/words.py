"""Words and figures as every page writes them: one table of verdicts, one way to write a number or a time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

from airflow_mlops.core.results import finite

NOTHING = "–"
"""Stands where nothing is known; never a zero, never a pass."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one outcome is shown.

    :param tone: ``good``, ``bad``, ``unsure`` or ``plain``: the colour.
    :param mark: a sign that says the same without colour.
    :param word: what it is called.
    """

    tone: str
    mark: str
    word: str


VERDICTS: Mapping[str, Verdict] = {
    "passed": Verdict("good", "✓", "passed"),
    "pass": Verdict("good", "✓", "passed"),
    "promoted": Verdict("good", "✓", "promoted"),
    "already_promoted": Verdict("good", "✓", "was promoted already"),
    "approve": Verdict("good", "✓", "approved"),
    "approved": Verdict("good", "✓", "approved"),
    "rolled_back": Verdict("unsure", "↩", "rolled back"),
    "moved_outside": Verdict("unsure", "⇢", "moved from outside"),
    "failed": Verdict("bad", "✗", "failed"),
    "reject": Verdict("bad", "✗", "rejected"),
    "rejected": Verdict("bad", "✗", "rejected"),
    "refused": Verdict("bad", "✗", "refused"),
    "error": Verdict("bad", "!", "could not be judged"),
    "insufficient_data": Verdict("unsure", "?", "too little data"),
    "require_approval": Verdict("unsure", "…", "waits for approval"),
    "asked": Verdict("unsure", "…", "waits for an answer"),
    "kept": Verdict("plain", "·", "kept"),
    "pinned": Verdict("plain", "·", "pinned by digest"),
    "roll_back": Verdict("bad", "↩", "to be rolled back"),
    "extend": Verdict("unsure", "…", "watched further"),
    "settled": Verdict("good", "✓", "settled"),
    "not_watched": Verdict("plain", "·", "not watched"),
    "promote": Verdict("good", "✓", "may be promoted"),
    "continue": Verdict("unsure", "…", "compared further"),
    "stop": Verdict("bad", "✗", "stopped"),
    "alert": Verdict("unsure", "!", "alert"),
    "retrain": Verdict("unsure", "↻", "retrain"),
    "keep": Verdict("plain", "=", "keep"),
    "skipped": Verdict("plain", "·", "does not apply"),
    "scored": Verdict("plain", "·", "scored"),
    "missing": Verdict("plain", "·", "not there"),
    "trained": Verdict("plain", "+", "trained"),
}
"""Outcome -> how it is shown. An outcome that is not here is shown as it is, without a colour."""

BY_KIND: Mapping[tuple[str, str], Verdict] = {
    ("drift", "failed"): Verdict("bad", "✗", "drift"),
    ("drift", "passed"): Verdict("good", "✓", "no drift"),
    ("performance", "failed"): Verdict("bad", "✗", "dropped"),
    ("performance", "passed"): Verdict("good", "✓", "holds"),
}
"""What the same outcome is called for one kind of record."""


def verdict(outcome: str, kind: str = "") -> Verdict:
    """How an outcome is shown.

    >>> verdict("failed", "drift").word, verdict("reject").tone, verdict("odd").word
    ('drift', 'bad', 'odd')
    """
    known = BY_KIND.get((kind, outcome)) or VERDICTS.get(outcome)
    return known or Verdict("plain", "·", outcome.replace("_", " ") or NOTHING)


def badge(outcome: Any, kind: str = "") -> Markup:
    """An outcome as a coloured word with its mark; a dash where there is none."""
    return _badge(str(outcome or ""), kind)


@lru_cache(maxsize=256)
def _badge(outcome: str, kind: str) -> Markup:
    """A page of many models has few different ones."""
    if not outcome:
        return Markup('<span class="dim">{}</span>').format(NOTHING)
    shown = verdict(outcome, kind)
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        shown.tone, shown.mark, shown.word
    )


def number(value: Any, sign: str = "") -> str:
    """A figure with four significant digits, whole numbers with thousands; a dash where there is none.

    >>> number(1234567), number(0.71236), number(None), number(0.5, "+"), number(float("nan")), number(2013.0)
    ('1,234,567', '0.7124', '–', '+0.5', '–', '2,013')
    """
    known = finite(value)
    if known is None:
        return NOTHING
    if known == int(known) and abs(known) < 1e15:
        return f"{int(known):{sign},}"
    if abs(known) >= 10_000:
        return f"{known:{sign},.0f}"
    return f"{known:{sign}.4g}"


def share(value: Any) -> str:
    """A share in per cent.

    >>> share(0.1234), share(0.00001), share(0), share(None)
    ('12.3 %', '< 0.1 %', '0 %', '–')
    """
    known = finite(value)
    if known is None:
        return NOTHING
    if 0 < abs(known) < 0.001:
        return "< 0.1 %"
    return f"{known * 100:.1f}".removesuffix(".0") + " %"


def shown(value: Any, most: int = 300) -> str:
    """Any plain value as bounded text; numbers as figures."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= most else text[: most - 1] + "…"


def name(value: Any, most: int = 120) -> Markup:
    """A name that somebody else chose: escaped, bounded, and unable to turn the text around it.

    >>> name("<b>")
    Markup('<bdi>&lt;b&gt;</bdi>')
    """
    text = shown(value, most)
    title = f' title="{escape(value)}"' if isinstance(value, str) and text != value and value else ""
    return Markup(f"<bdi{title}>{escape(text)}</bdi>")


def short(value: Any, most: int = 12) -> Markup:
    """A digest, shortened; the whole of it on hovering."""
    text = str(value or "")
    if not text:
        return Markup('<span class="dim">{}</span>').format(NOTHING)
    return Markup('<code title="{}">{}</code>').format(text, text[:most])


def moment(value: Any) -> float | None:
    """Seconds since 1970 of an ISO time, a date, a month or a year, UTC where it says nothing; ``None`` otherwise.

    >>> moment("2013-05") == moment("2013-05-01T00:00:00Z"), moment("soon")
    (True, None)
    """
    return _moment(str(value or ""))


@lru_cache(maxsize=4096)
def _moment(text: str) -> float | None:
    if 4 <= len(text) <= 7 and text[:4].isdigit():
        text += "-01" * max(0, 2 - text.count("-"))
    try:
        time = dt.datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def when(value: Any) -> Markup:
    """An ISO time, to the minute, in UTC; anything else as it is.

    >>> when("2013-05-01T12:34:56+00:00")
    Markup('<time datetime="2013-05-01T12:34:56+00:00">2013-05-01 12:34</time>')
    """
    known = moment(value)
    if known is None or len(str(value)) < 11:
        return Markup('<span class="nowrap">{}</span>').format(shown(value, 40))
    text = dt.datetime.fromtimestamp(known, dt.UTC).strftime("%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{}</time>').format(value, text)


def age(then: Any, now: float) -> str:
    """How long ago in one word; the date itself where that is longer ago than a season.

    >>> age("2013-05-01", moment("2013-05-04")), age("2013-05-01T00:00:00Z", moment("2013-05-01") + 90), age("", 0)
    ('3 days', '1 min', '–')
    >>> age("2013-05-01", moment("2026-05-01"))
    '2013-05-01'
    """
    known = moment(then)
    if known is None:
        return NOTHING
    seconds = max(0.0, now - known)
    if seconds > 100 * 86400:
        return dt.datetime.fromtimestamp(known, dt.UTC).date().isoformat()
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size * (2 if word == "days" else 1):
            return f"{math.floor(seconds / size)} {word}"
    return "now"


def text(value: Any) -> Markup:
    """A sentence of a report: escaped, isolated from the direction of the text around it."""
    return Markup("<bdi>{}</bdi>").format(escape(str(value or "")[:1000]))
