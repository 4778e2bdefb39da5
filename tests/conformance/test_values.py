"""Every value of the core that crosses a task boundary is frozen, plain, and the same after the journey."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.results import plain
from tests.conformance.discovery import values

VALUES = list(values())
MADE: dict[str, dict[str, Any]] = {
    "AliasWatch": {"model": "late"},
    "Check": {"name": "value", "status": "passed", "observed": 0.7},
    "ColumnProfile": {
        "name": "a",
        "type": "int",
        "kind": "numeric",
        "count": 3,
        "nulls": 0,
        "nonfinite": 0,
        "distinct": 3,
        "distinct_exact": True,
        "minimum": 1.0,
        "maximum": 3.0,
        "mean": 2.0,
        "m2": 2.0,
        "edges": (1.0, 2.0),
        "counts": (1, 1, 1),
        "top": (),
        "other": 0,
    },
    "DatasetRef": {"uri": "data/*.parquet", "filters": [("day", ">=", 16)]},
    "Decision": {"kind": "gate", "model": "late", "decision": "pass", "reasons": ("all checks passed",)},
    "Bound": {"lower": 0.6},
    "Evaluation": {
        "model_name": "late",
        "candidate": {"state": "scored", "version": "3"},
        "champion": {"state": "missing"},
    },
    "Expectation": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}},
    "GatePolicy": {"checks": [{"value": {"metric": "roc_auc", "lower": 0.6}}]},
    "Look": {"at": 1.0, "files": 2},
    "PartitionWatch": {"data": {"uri": "data/2013-05"}},
    "ModelVersion": {"name": "late", "version": "3"},
    "Profile": {"rows": 0, "columns": {}},
    "RecordWatch": {"model": "late", "kind": "drift"},
    "Record": {"kind": "gate", "model": "late", "key": "k", "outcome": "pass"},
    "Report": {"kind": "gate"},
    "RowsLook": {"at": 1.0, "rows": 2, "newest": "2013-05-01T00:00:00+00:00"},
    "RowsWatch": {"data": {"uri": "data/*.parquet"}, "time_column": "at", "min_rows": 100},
}
"""Arguments of the values that need some; what can be made without is made without."""


def example(cls: type) -> Any:
    fields = [f for f in dataclasses.fields(cls) if f.init]
    needed = [
        f.name
        for f in fields
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in MADE.get(cls.__name__, {})
    ]
    assert needed == [] or cls.__name__ in MADE, f"{cls.__name__} needs {needed}: add it to MADE in {__file__}"
    return cls(**MADE.get(cls.__name__, {}))


def test_there_are_values():
    assert len(VALUES) > 5


@pytest.mark.parametrize("cls", VALUES, ids=lambda c: c.__name__)
class TestEveryValue:
    def test_comes_back_from_json_as_it_was(self, cls):
        value = example(cls)
        there = json.loads(json.dumps(value.to_dict(), allow_nan=False))
        back = cls.from_dict(there)
        assert back == value
        assert back.to_dict() == value.to_dict()

    def test_can_not_be_changed(self, cls):
        value = example(cls)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(cls)[0].name, None)

    def test_refuses_what_it_does_not_know(self, cls):
        with pytest.raises((MlopsError, TypeError), match="no_such_key"):
            cls.from_dict({**example(cls).to_dict(), "no_such_key": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_plain_is_strict_json_and_plain_already(value):
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert plain(once) == once
