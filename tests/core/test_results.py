"""The values every stage speaks: JSON both ways, verdicts that fail closed."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.records import KINDS, ModelVersion, Record
from airflow_mlops.core.results import Check, Decision, Report, Severity, Status, digest, finite, plain

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
checks = st.builds(
    Check,
    name=st.text(max_size=8),
    status=st.sampled_from(Status),
    severity=st.sampled_from(Severity),
    subject=st.text(max_size=8),
    observed=json_values,
    expected=st.text(max_size=8),
    message=st.text(max_size=8),
    details=st.dictionaries(st.text(max_size=4), json_values, max_size=2),
)
reports = st.builds(
    Report,
    kind=st.sampled_from(KINDS),
    subject=st.text(max_size=8),
    checks=st.lists(checks, max_size=5),
    inputs=st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=2),
    details=st.dictionaries(st.text(max_size=4), json_values, max_size=2),
)


@given(reports)
def test_a_report_survives_json_and_keeps_its_verdict(report: Report) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = Report.from_dict(json.loads(text))
    assert again == report
    assert (again.status, again.passed, again.digest) == (report.status, report.passed, report.digest)


@given(reports)
def test_only_passed_critical_checks_let_a_report_pass(report: Report) -> None:
    critical = [c for c in report.checks if c.severity is Severity.CRITICAL]
    unknown = [c for c in critical if c.status in (Status.FAILED, Status.ERROR, Status.INSUFFICIENT)]
    if unknown or not any(c.status is Status.PASSED for c in report.checks):
        assert not report.passed
        assert report.status is not Status.PASSED
    else:
        assert report.passed


@given(reports, st.randoms())
def test_the_order_of_checks_never_matters(report: Report, random) -> None:
    shuffled = list(report.checks)
    random.shuffle(shuffled)
    other = Report(
        kind=report.kind,
        subject=report.subject,
        checks=shuffled,
        inputs=report.inputs,
        details=report.details,
    )
    assert (other.status, other.digest) == (report.status, report.digest)


def test_a_stored_verdict_is_derived_again_and_never_believed() -> None:
    report = Report(kind="gate", checks=(Check(name="value", status=Status.FAILED),))
    forged = {**report.to_dict(), "status": "passed", "passed": True}
    assert not Report.from_dict(forged).passed


def test_unknown_fields_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'severity'"):
        Check.from_dict({"name": "x", "status": "passed", "severty": "info"})
    with pytest.raises(ValueError, match="maybe"):
        Check(name="x", status="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, decimal.Decimal("NaN"), "1", None, True, [1], 10**400])
def test_what_is_not_a_finite_figure_is_unknown(bad: object) -> None:
    assert finite(bad) is None


def test_plain_knows_the_scalars_of_numpy_and_pandas() -> None:
    import numpy as np
    import pandas as pd

    assert plain(np.float64("nan")) is None
    assert plain(np.int32(3)) == 3
    assert plain(np.array([1.5, np.inf])) == [1.5, None]
    assert plain(pd.NaT) is None
    assert plain(pd.Timestamp("2013-05-01")) == "2013-05-01T00:00:00"
    assert plain(decimal.Decimal("0.5")) == 0.5
    assert plain(dt.timedelta(minutes=1)) == 60.0
    with pytest.raises(UsageError, match="DataFrame"):
        plain(pd.DataFrame({"a": [1]}))
    with pytest.raises(UsageError, match="bytes"):
        plain(b"ab")


def test_summaries_are_bounded_and_point_onward() -> None:
    many = tuple(Check(name="null", subject=f"c{i}", status=Status.FAILED) for i in range(25))
    text = Report(kind="validation", subject="flights", checks=many).summary(where="the report")
    assert len(text.splitlines()) == 12
    assert text.splitlines()[-1].strip() == "... and 15 more, see the report"


def test_a_decision_needs_a_reason_and_its_key_ignores_who_and_when() -> None:
    with pytest.raises(UsageError, match="at least one reason"):
        Decision(kind="gate", model="m", decision="pass", reasons=())
    one = Decision(kind="gate", model="m", decision="pass", reasons=("ok",), inputs={"data": "a"})
    two = Decision(
        kind="gate",
        model="m",
        decision="pass",
        reasons=("ok",),
        inputs={"data": "a"},
        dag_run={"run_id": "r2"},
    )
    other = Decision(kind="gate", model="m", decision="pass", reasons=("ok",), inputs={"data": "b"})
    assert one.key == two.key != other.key
    assert Decision.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_records_and_versions_survive_json_and_drop_figures_that_are_not() -> None:
    record = Record(kind="drift", model="m", key="k", outcome="failed", metrics={"psi": 0.3, "ks": math.nan})
    assert record.metrics == {"psi": 0.3}
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    version = ModelVersion(name="m", version=3, aliases=("champion",), tags={"mlops.model_digest": "d"})  # type: ignore[arg-type]
    assert (version.version, version.model_digest, version.label) == ("3", "d", "m/3")
    assert ModelVersion.from_dict(version.to_dict()) == version


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4))
def test_digests_depend_on_values_and_not_on_order(value: dict) -> None:
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned)
    assert digest(value) != digest({**value, "another key": 1})
