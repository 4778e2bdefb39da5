"""How new data is: text of any precision, compared as the periods it names."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.moments import end_of, newest, not_older

FORMS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S+00:00")
times = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2100, 1, 1))


@given(times, st.sampled_from(FORMS[:3]), st.sampled_from(FORMS))
def test_a_period_is_never_older_than_a_moment_in_it(moment: dt.datetime, coarse: str, fine: str) -> None:
    if FORMS.index(fine) >= FORMS.index(coarse):
        assert not_older(moment.strftime(coarse), moment.strftime(fine)) is True


@given(times, times, st.sampled_from(FORMS))
def test_in_one_form_the_order_is_that_of_time(one: dt.datetime, other: dt.datetime, form: str) -> None:
    a, b = one.strftime(form), other.strftime(form)
    assert not_older(a, b) is (a >= b)


@pytest.mark.parametrize(
    "text", ["", "NaT", "nan", "None", "9", "2013-9", "2013-13", "2013-02-30", "9999-12-31", "v12"]
)
def test_what_names_no_time_is_neither_older_nor_newer(text: str) -> None:
    assert end_of(text) is None
    assert not_older(text, "2013-01") is None
    assert not_older("2013-01", text) is None
    assert newest([text, "2013-01"]) == "2013-01"


def test_zones_count() -> None:
    assert not_older("2013-01-01T01:00:00+02:00", "2013-01-01T00:00:00Z") is False


@given(st.text(max_size=20))
def test_any_text_has_an_answer(text: str) -> None:
    assert end_of(text) is None or newest([text]) == text
