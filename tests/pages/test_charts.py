"""Charts as text: named, described, readable without colour, and never wrong about a gap."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_mlops.pages import charts
from airflow_mlops.pages.axes import scale
from airflow_mlops.pages.charts import Series
from tests.kit import ledger
from tests.pages.markup import Page

LABELS = ["2013-01", "2013-02", "2013-03", "2013-04"]
TWO = [Series(name="a", values=[0.7, None, 0.6, 0.5]), Series(name="b", values=[1] * 4)]
CELLS = [(2.0, "failed", "psi 0.5"), *[(None, "", "not checked")] * 3]
GATES = [("gate", "2013-01-01", "reject", "no"), ("gate", "2013-02-01", "pass", "yes")]
DRAWN = {
    "line": charts.line(
        "AUC", LABELS, [Series(name="a", values=[0.7, None, 0.6, 0.5]), Series(name="b", values=[1] * 4)]
    ),
    "pair": charts.pair("distance", ["low", "high"], [9, 1], [1, 9]),
    "histogram": charts.histogram("distance", ["low", "high"], [9, 1]),
    "bars": charts.bars("effects", [("distance", 2.0), ("hour", None)]),
    "sparkline": charts.sparkline("roc_auc", [0.7, 0.6, 0.5]),
    "interval": charts.interval("roc_auc", 0.7, 0.6, 0.8, 0.65),
    "heat": charts.heat(
        "drift", LABELS, [("distance", [(2.0, "failed", "psi 0.5"), *[(None, "", "not checked")] * 3])]
    ),
    "timeline": charts.timeline(
        "late", [("gate", "2013-01-01", "reject", "no"), ("gate", "2013-02-01", "pass", "yes")]
    ),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_every_chart_is_a_named_picture(kind):
    page = Page(DRAWN[kind])
    assert page.pictures and all(first == "title" for first in page.pictures)
    assert page.handlers == [] and page.loads == []


@pytest.mark.parametrize("kind", ["line", "pair", "histogram", "heat", "timeline"])
def test_every_chart_says_in_words_what_it_draws(kind):
    assert re.search(r"<desc>.+</desc>", DRAWN[kind])


def test_a_gap_is_no_line():
    assert DRAWN["line"].count("<polyline") == 2  # the first series from its third point on, the second whole
    assert "a 2013-02" not in DRAWN["line"] and "a 2013-01: 0.7" in DRAWN["line"]


def test_lines_differ_in_more_than_colour():
    assert "<circle" in DRAWN["line"] and '<path class="mark-1"' in DRAWN["line"]
    dashed = charts.line("x", LABELS, [Series(name="e", values=[1, 2, 3, 4], dashed=True)])
    assert "dashed" in dashed


def test_outcomes_differ_in_more_than_colour():
    assert 'class="ev-bad"' in DRAWN["timeline"] and 'class="ev-good"' in DRAWN["timeline"]
    assert "✗" in DRAWN["heat"]
    assert "1 cells are past their bound" in DRAWN["heat"]


@pytest.mark.parametrize(
    "chart",
    [
        charts.line("empty", [], []),
        charts.line("empty", LABELS, [Series(name="a", values=[None] * 4)]),
        charts.pair("empty", [], [], []),
        charts.histogram("empty", ["a"], [0]),
        charts.bars("empty", []),
        charts.heat("empty", [], []),
        charts.timeline("empty", [("gate", "some day", "pass", "")]),
    ],
)
def test_nothing_to_draw_is_said(chart):
    assert "<svg" not in chart and "there are no figures" in chart


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8),
    name=st.sampled_from([ledger.NASTY, "a", ""]),
)
def test_whatever_the_figures_no_coordinate_is_unknown(values, name):
    labels = [f"{name}{i}" for i in range(len(values))]
    for chart in (
        charts.line(name, labels, [Series(name=name, values=values)]),
        charts.sparkline(name, values),
        charts.pair(name, labels, [v or 0 for v in values], [1] * len(values)),
        charts.histogram(name, labels, [v or 0 for v in values]),
        charts.bars(name, list(zip(labels, values, strict=True))),
    ):
        Page(chart)
        assert not re.search(r'="[^"]*\b(nan|inf)\b', chart)
        assert "<script>" not in chart


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
@example(0.0, 5e-324)
@example(3e-310, 5e-310)
@example(-2e-290, 3e-290)
def test_an_axis_holds_what_it_has_to(a, b):
    low, high, ticks = scale(min(a, b), max(a, b))
    slack = 1e-9 * max(abs(a), abs(b), 1)
    assert low <= min(a, b) + slack and high >= max(a, b) - slack
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))


def test_the_same_figures_are_the_same_picture():
    again = charts.pair("distance", ["low", "high"], [9, 1], [1, 9])
    assert again == DRAWN["pair"]
