"""The result's page is a pure function of rows: whole, self-contained, honest about what is not known."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.demo_page import COLUMNS, Row, page, picture, table

VOID = {"meta", "br", "hr", "img"}
YEAR = [
    Row(month="2013-01", rows=27004, late=0.22, validation="passed"),
    Row(month="2013-02", rows=24951, late=0.23, validation="passed, 1 warning", candidate="1", gate="pass",
        champion="1"),
    Row(month="2013-03", rows=28834, late=0.2, validation="passed", drift="drift", drift_share=0.4, estimated=0.61,
        realised=0.58, decision="retrain", reason="1 of the last 1 checks fell short", champion="1"),
    Row(month="2013-04", rows=28330, validation="failed, then passed", drift="none", drift_share=0.1, estimated=0.7,
        decision="keep", reason="no reason to retrain", candidate="2", gate="reject", champion="1"),
]  # fmt: skip


class Balanced(HTMLParser):
    """Fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def parsed(text: str) -> Balanced:
    found = Balanced()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def test_every_figure_of_every_month_is_on_the_page() -> None:
    cells = parsed(page(YEAR)).cells
    assert cells == [value(row) for row in YEAR for _, value in COLUMNS]
    assert "0.580" in cells
    assert "28,834" in cells


def test_it_is_self_contained_and_follows_the_readers_light_or_dark() -> None:
    text = page(YEAR, took="6 min")
    assert "prefers-color-scheme:dark" in text
    for tag, attributes in parsed(text).tags:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href"} & set(attributes)
    assert "url(" not in text and "@import" not in text


def test_the_charts_show_what_is_known_and_leave_gaps_for_the_rest() -> None:
    svg = ET.fromstring(picture(YEAR))
    titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert "realised 2013-03: 0.580" in titles
    assert "estimated 2013-04: 0.700" in titles
    assert not any(t and t.startswith("realised 2013-04") for t in titles)
    assert "drifted features 2013-03: 40%" in titles
    assert [t for t in titles if t and t.startswith("version")] == ["version 1"]


def test_a_gap_is_not_bridged() -> None:
    rows = [Row(month=f"2013-0{m}", realised=None if m == 3 else 0.6) for m in range(1, 6)]
    lines = re.findall(r'<polyline class="realised" points="([^"]+)"', picture(rows))
    assert [len(line.split()) for line in lines] == [2, 2]


def test_text_from_the_ledger_is_text() -> None:
    text = page([Row(month="2013-01", reason='<script>alert("1")</script> & more', champion="<b>")])
    assert "<script" not in text
    assert '<script>alert("1")</script> & more' in parsed(text).cells


def test_the_table_is_aligned_and_cuts_only_the_reason() -> None:
    lines = table([*YEAR, Row(month="2013-05", reason="x" * 500)], width=30).splitlines()
    assert [line[:7] for line in lines[2:]] == ["2013-01", "2013-02", "2013-03", "2013-04", "2013-05"]
    at = lines[0].index("reason")
    assert all(len(line) <= at + 30 for line in lines)
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("rows", [[], [Row(month="2013-01")]])
def test_nothing_known_is_no_error(rows: list[Row]) -> None:
    parsed(page(rows))
    ET.fromstring(picture(rows))
    table(rows)


shares = st.none() | st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            Row,
            month=st.just("2013-01"),
            rows=st.none() | st.integers(0, 10**7),
            late=shares,
            drift_share=shares,
            estimated=shares,
            realised=shares,
            reason=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
            champion=st.sampled_from(["", "1", "2"]),
        ),
        max_size=14,
    )
)
def test_any_rows_make_a_whole_page_with_every_mark_inside_its_chart(rows: list[Row]) -> None:
    parsed(page(rows))
    svg = ET.fromstring(picture(rows))
    for mark in svg.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(mark.attrib["cx"]) <= 920
        assert 0 <= float(mark.attrib["cy"]) <= 260
