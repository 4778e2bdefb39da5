"""Every page of a report: what it says, and that nothing in it can be anything but text."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.pages import evaluation_page, page_of, profile_page, report_page, verdict_page
from airflow_mlops.pages.layout import Frame, document
from tests.kit import ledger
from tests.pages.markup import Page

DRIFT = ledger.drift_of(0.5, "2013-08").to_dict()
PROFILES = {"reference": ledger.profile_of().to_dict(), "current": ledger.profile_of(9_000, 0.5).to_dict()}
VALUES: dict[str, Any] = {
    "validation": ledger.validation_of().to_dict(),
    "drift": DRIFT,
    "performance": ledger.performance_of("2013-08", 0.6, 0.7).to_dict(),
    "gate": ledger.decision_of(ledger.evaluation_of(auc=0.7)).to_dict(),
    "evaluation": ledger.evaluation_of().to_dict(),
    "profile": ledger.profile_of(name="flights 2013").to_dict(),
    "training": {"model_name": "late", "version": "3", "created": True, "training_key": "ab", "metrics": {"auc": 0.7}},
}
PAGES = {name: page_of(value) for name, value in VALUES.items()}


def _soiled(value: Any) -> Any:
    """Every text a value holds, keys of free mappings too, with something nasty behind it."""
    if isinstance(value, dict):
        fixed = {"inputs", "result", "candidate_quantiles", "improvement_quantiles"}
        return {k: _soiled(v) if k not in fixed else v for k, v in value.items()}
    if isinstance(value, list):
        return [_soiled(v) for v in value]
    return value + ledger.NASTY if isinstance(value, str) else value


@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands_alone(name):
    page = Page(PAGES[name])
    assert page.loads == [] and page.handlers == []
    assert page.tags["style"] == 1 and "script" not in page.tags
    assert all(first == "title" for first in page.pictures)
    assert "default-src 'none'" in PAGES[name]


@pytest.mark.parametrize("name", VALUES)
def test_nothing_that_others_wrote_is_markup(name):
    value = _soiled(copy.deepcopy(VALUES[name]))
    value |= {k: VALUES[name][k] for k in ("kind", "type") if k in VALUES[name]}
    page = page_of(value)
    assert page is not None
    assert "script" not in Page(page).tags
    assert "<script>" not in page and "alert('x')</" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("column", [ledger.NASTY, '"><img src=x onerror=alert(1)>', "עמודה", "a\u202eb", "'\"`", ""])
def test_names_of_columns_are_text_in_plots_too(column):
    columns = (column, "distance", "carrier", "origin")
    page = report_page(
        ledger.drift_of(0.5, column, columns).to_dict(),
        reference=ledger.profile_of(columns=columns).to_dict(),
        current=ledger.profile_of(9_000, 0.5, columns).to_dict(),
    )
    assert "img" not in Page(page).tags and "script" not in Page(page).tags


def test_a_report_says_what_failed_by_how_much_and_what_is_unknown():
    page = PAGES["validation"]
    assert "1 of 3 checks passed, 1 failed, 1 could not be judged." in page
    assert "912 of 27075 rows do not hold" in page and "min_value=-120, max_value=1800" in page
    assert page.index("could not be judged</span>") < page.index("What held")  # an unknown is among the failures
    assert page.index("arr_delay") < page.index("tailnum") < page.index("What held") < page.index(">carrier<")


def test_nothing_checked_is_no_pass():
    page = report_page({"kind": "validation", "subject": "x", "checks": []})
    assert "Nothing was checked" in page and "could not be judged" in page and "✓" not in page


def test_an_estimate_is_called_one():
    assert "estimates made without labels" in report_page(ledger.performance_of("2013-10", None, 0.7).to_dict())
    assert "estimates made without labels" not in PAGES["performance"]


def test_drift_draws_each_column_from_profiles_or_from_bins_in_the_details():
    drawn = report_page(DRIFT, **PROFILES)
    assert drawn.count('class="chart small"') == len(ledger.COLUMNS)
    assert drawn.index(">distance<") < drawn.index(">carrier<")  # what drifted comes first
    bins = {"distance": {"labels": ["short", "long"], "reference": [9, 1], "current": [1, 9]}}
    page = report_page({**DRIFT, "details": {**DRIFT["details"], "histograms": bins}})
    assert page.count('class="chart small"') == 1
    assert "long: reference 10 %, current 90 %" in page
    assert 'class="chart small"' not in report_page(DRIFT)


def test_a_verdict_shows_figures_with_intervals_and_what_stands_in_the_way():
    page = PAGES["gate"]
    assert "flights_delay" in page and "rejected" in page
    assert "roc_auc: candidate 0.7 (0.6882 to 0.7118), champion 0.708" in page
    assert page.index("What stands in the way") < page.rindex(">beats_champion<") < page.index("What held")
    assert "does not apply" in page  # the slice with 31 rows
    assert "s3://lake" not in page.split("All evidence")[0]


def test_decisions_without_a_report_have_a_page_too():
    page = verdict_page({"kind": "rollback", "model": "late", "decision": "rolled_back", "reasons": ["because"]})
    assert "rolled back" in page and "because" in page


def test_an_evaluation_that_could_not_be_made_says_so():
    value = VALUES["evaluation"] | {"champion": {"version": "3", "state": "error", "error": "files are gone"}}
    assert "the champion could not be scored: files are gone" in evaluation_page(value)


def test_who_was_taken_for_whom_is_a_table_a_model():
    cells = {"classes": ["ok", "<late>"], "candidate": [[90, 3], [4, 12345]], "champion": [[1, 2]]}
    page = evaluation_page({**VALUES["evaluation"], "confusion": cells})
    assert "What the candidate took for what" in page and "What the champion took for what" not in page
    assert "<strong>12,345</strong>" in page and "<late>" not in page
    assert "took for what" not in evaluation_page(VALUES["evaluation"])


def test_a_profile_shows_every_column_with_its_nulls():
    assert PAGES["profile"].count('<section class="card">') == len(ledger.COLUMNS)
    assert "nulls 2 % (400 of 20,000)" in PAGES["profile"]
    assert profile_page({"version": 1, "rows": 0, "columns": []})


def test_a_served_page_has_a_nonce_and_links_that_lead_somewhere_harmless():
    links = [("Up", "/mlops/"), ("Bad", "javascript:alert(1)"), ("Key", "https://a:b@c"), ("Else", "//evil.example")]
    page = report_page(DRIFT, frame=Frame(nonce="n0nce", script="/mlops/static/app.js", links=links))
    assert '<style nonce="n0nce">' in page and "http-equiv" not in page
    assert ">Up<" in page and ">Bad<" not in page and ">Key<" not in page and ">Else<" not in page


def test_own_pages_share_the_look():
    assert "<h1>A year &amp; a day</h1>" in document("A year & a day", "<p>trusted</p>")


@pytest.mark.parametrize("value", [None, "text", [], {}, {"checks": "none"}, {"rows": 1}, {"report": []}])
def test_what_is_no_report_has_no_page(value):
    assert page_of(value) is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(VALUES)))
def test_a_report_of_another_release_is_shown_as_far_as_it_goes(data, name):
    """One field anywhere is something else: the page may say less, it does not fail and does not break."""
    value = json.loads(json.dumps(VALUES[name]))
    spot: Any = value
    while True:
        key = data.draw(st.sampled_from(sorted(spot)) if isinstance(spot, dict) else st.integers(0, len(spot) - 1))
        if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.booleans()):
            break
        spot = spot[key]
    spot[key] = data.draw(JUNK)
    page = page_of(value)
    assert page is None or Page(page).tags["main"] == 1
