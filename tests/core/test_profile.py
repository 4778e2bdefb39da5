"""Profiles add up: counted in the same bins, two of them are the profile of both datasets."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from airflow_mlops.core.columns import ColumnProfile, bin_of, merge_columns, ordered
from airflow_mlops.core.errors import SchemaMismatch, UnknownName, UsageError
from airflow_mlops.core.profile import Profile, add_digests, merge


def numeric(values: list[float], edges: tuple[float, ...] = (0.0, 10.0), nulls: int = 0) -> ColumnProfile:
    counts = [0] * (len(edges) + 1)
    for v in values:
        counts[bin_of(edges, v)] += 1
    mean = math.fsum(values) / len(values) if values else None
    return ColumnProfile(
        name="x",
        type="float",
        kind="numeric",
        count=len(values) + nulls,
        nulls=nulls,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        mean=mean,
        m2=math.fsum((v - mean) ** 2 for v in values) if mean is not None else None,
        edges=edges,
        counts=tuple(counts),
        distinct=len(set(values)),
    )


def categorical(values: list[str], keep: int) -> ColumnProfile:
    counts: dict[str, int] = {}
    for v in values:
        counts[v] = counts.get(v, 0) + 1
    top = ordered(counts.items())[:keep]
    return ColumnProfile(
        name="c",
        type="string",
        kind="categorical",
        count=len(values),
        distinct=len(counts),
        distinct_exact=True,
        top=top,
        other=len(values) - sum(n for _, n in top),
    )


floats = st.lists(st.floats(-1e6, 1e6), max_size=12)
edges = st.lists(st.floats(-100, 100), max_size=6, unique=True).map(lambda e: tuple(sorted(e)))


def close(a: ColumnProfile, b: ColumnProfile) -> bool:
    """Equal, the moments to the last digits."""
    exact = {f.name for f in dataclasses.fields(a)} - {"mean", "m2"}
    scale = max(abs(v) for v in (a.minimum, a.maximum, 1) if isinstance(v, int | float))
    return (
        all(getattr(a, f) == getattr(b, f) for f in exact)
        and (a.mean is None) == (b.mean is None)
        and (a.mean is None or b.mean is None or math.isclose(a.mean, b.mean, abs_tol=1e-9 * scale))
        and (a.m2 is None or b.m2 is None or math.isclose(a.m2, b.m2, rel_tol=1e-6, abs_tol=1e-6 * scale**2))
    )


@given(floats, floats, edges)
def test_merged_is_the_profile_of_both(a, b, bins) -> None:
    whole = numeric(a + b, bins)
    merged = merge_columns(numeric(a, bins), numeric(b, bins))
    assert close(dataclasses.replace(whole, distinct=0), dataclasses.replace(merged, distinct=0))
    assert max(len(set(a)), len(set(b))) <= merged.distinct <= whole.distinct


@given(floats, floats, floats, edges, edges, edges)
def test_merging_is_commutative_and_associative_whatever_the_bins(a, b, c, x, y, z) -> None:
    p, q, r = numeric(a, x, nulls=1), numeric(b, y), numeric(c, z)
    assert close(merge_columns(p, q), merge_columns(q, p))
    assert close(merge_columns(merge_columns(p, q), r), merge_columns(p, merge_columns(q, r)))


@given(floats, floats, edges, edges)
def test_counts_in_the_shared_bins_are_exact(a, b, x, y) -> None:
    merged = merge_columns(numeric(a, x), numeric(b, y))
    assert set(merged.edges) == set(x) & set(y)
    assert merged.counts == numeric(a + b, merged.edges).counts


words = st.lists(st.sampled_from("abcdef"), max_size=12)
keeps = st.integers(0, 6)


@given(words, words, words, keeps, keeps, keeps)
def test_known_categories_are_exact(a, b, c, x, y, z) -> None:
    p, q, r = categorical(a, x), categorical(b, y), categorical(c, z)
    merged = merge_columns(merge_columns(p, q), r)
    again = merge_columns(p, merge_columns(r, q))
    assert (merged.top, merged.other, merged.count) == (again.top, again.other, again.count)
    for category, count in merged.top:
        assert count == (a + b + c).count(category)
    if p.complete and q.complete and r.complete:
        assert merged.complete and dict(merged.top) == {w: (a + b + c).count(w) for w in {*a, *b, *c}}
        assert merged.distinct_exact and merged.distinct == len({*a, *b, *c})


def profile(*columns: ColumnProfile, **kwargs: Any) -> Profile:
    return Profile(rows=columns[0].count, columns={c.name: c for c in columns}, **kwargs)


def test_json_both_ways_and_other_versions_are_refused() -> None:
    p = profile(numeric([1.0, 20.0, 3.0]), categorical(["a", "b", "a"], 1), name="day", dataset_digest="0" * 32)
    told = p.to_dict()
    again = Profile.from_dict(json.loads(json.dumps(told, allow_nan=False)))
    assert again == p and again.digest == p.digest
    assert dataclasses.replace(p, name="another").digest == p.digest
    assert dataclasses.replace(p, dataset_digest="1" * 32).digest != p.digest
    for version in (0, 2, "1", None):
        with pytest.raises(UsageError, match="profile version"):
            Profile.from_dict({**told, "version": version, "a field of that version": 1})
    with pytest.raises(UsageError, match="not a profile"):
        Profile.from_dict({"rows": 1})
    with pytest.raises(UnknownName, match="did you mean 'rows'"):
        Profile.from_dict({**told, "row": 1})
    with pytest.raises(UnknownName, match="did you mean 'nulls'"):
        ColumnProfile.from_dict({"name": "x", "null": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"edges": (1.0, 1.0)},
        {"edges": (2.0, 1.0)},
        {"edges": (math.inf, math.inf)},
        {"counts": (1, 2)},
        {"counts": (9, 9, 9)},
        {"nulls": -1},
        {"nulls": 4},
        {"count": 5},
        {"kind": "nominal"},
        {"type": "integer"},
    ],
    ids=str,
)
def test_a_column_that_can_not_be_is_refused(change) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(numeric([1.0, 11.0, -1.0]), **change)


def test_categories_that_can_not_be_are_refused() -> None:
    one = categorical(["a", "b"], 2)
    for change in ({"top": (("a", 1), ("a", 1))}, {"other": 1}, {"unseen": 1}):
        with pytest.raises(UsageError):
            dataclasses.replace(one, **change)


def test_columns_that_do_not_match_do_not_add_up() -> None:
    x, c = numeric([1.0]), categorical(["a"], 1)
    with pytest.raises(SchemaMismatch, match="only one has c"):
        merge(profile(x, c), profile(x))
    with pytest.raises(SchemaMismatch, match="float in one profile and string"):
        merge(profile(x), profile(dataclasses.replace(c, name="x")))
    assert (profile(dataclasses.replace(x, type="int")) + profile(x)).columns["x"].type == "float"
    with pytest.raises(SchemaMismatch, match="no column 'zz'"):
        profile(x).select(["zz"])
    with pytest.raises(UsageError, match="over 1"):
        Profile(rows=2, columns={"x": x})


def test_the_digest_of_both_is_the_sum() -> None:
    assert add_digests("", "0" * 31 + "1") == "0" * 31 + "1"
    a, b = "f" * 32, "0" * 31 + "1"
    assert add_digests(a, b) == "0" * 32
    p, q = profile(numeric([1.0]), dataset_digest=a), profile(numeric([2.0]), dataset_digest=b)
    assert (p + q).dataset_digest == "0" * 32


def test_shares() -> None:
    known = categorical(["a", "a", "b", "c"], 3)
    assert (known.share("a"), known.share("zz")) == (0.5, 0.0)
    assert categorical(["a", "a", "b", "c"], 1).share("zz") is None
    assert categorical([], 0).share("a") is None
    assert numeric([], nulls=2).null_share == 1.0 and numeric([]).null_share == 0.0
    assert numeric([1.0]).std is None


# --- counted by an engine ---------------------------------------------------------------------------------------


def counted(rows: list[tuple[Any, ...]], reference: Profile | None = None) -> Profile:
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.engines import FrameEngine

    types = {"n": "float64", "i": "int64", "s": "str", "t": "datetime64[us]"}
    frame = pd.DataFrame(rows, columns=list(types)).astype(types)
    ref = DatasetRef(uri="frame", name="frame")
    engine = FrameEngine(frame)
    return engine.profile(engine.resolve(ref), reference=reference)


rows = st.lists(
    st.tuples(
        st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, math.inf, -math.inf]),
        st.integers(-(2**50), 2**50) | st.integers(0, 3),
        st.none() | st.sampled_from(["a", "b", "ü", ""]),
        st.none() | st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2050-01-01")),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rows, rows, rows)
def test_an_engines_profiles_add_up_in_the_bins_of_a_reference(a, b, model) -> None:
    reference = counted(model)
    whole = counted(a + b, reference)
    merged = counted(a, reference) + counted(b, reference)
    assert merged.dataset_digest == whole.dataset_digest
    for name, column in whole.columns.items():
        one, two = dataclasses.replace(column, distinct=0), dataclasses.replace(merged.columns[name], distinct=0)
        one, two = (dataclasses.replace(c, distinct_exact=False) for c in (one, two))
        if column.kind == "datetime":
            assert one == two
        else:
            assert close(one, two), (one, two)
        assert column.edges == reference.columns[name].edges or column.kind == "categorical"


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_at_all(a, random) -> None:
    shuffled = list(a)
    random.shuffle(shuffled)
    assert counted(shuffled) == counted(a)


def test_an_engine_counts_what_numpy_counts() -> None:
    values = [0.1 * i for i in range(-500, 500)] + [math.inf, -math.inf, None]
    column = counted([(v, 1, "x", None) for v in values]).columns["n"]
    finite = pd.Series(values[:-3])
    assert (column.count, column.nulls, column.nonfinite, column.valid) == (1003, 1, 2, 1000)
    assert (column.minimum, column.maximum) == (finite.min(), finite.max())
    assert column.mean == pytest.approx(finite.mean(), abs=1e-12)
    assert column.std == pytest.approx(finite.std(), rel=1e-12)
    assert len(column.counts) == 50 and set(column.counts) <= {19, 20, 21}  # edges have nine digits
    assert column.counts == numeric(list(finite), column.edges).counts


def test_few_values_are_bins_of_their_own_and_unseen_ones_fall_out() -> None:
    reference = counted([(0.5, i % 3, "ab"[i % 2], "2013-01-01") for i in range(9)])
    i, s = reference.columns["i"], reference.columns["s"]
    assert (i.edges, i.counts, i.distinct, i.distinct_exact) == ((0.0, 1.0, 2.0), (3, 3, 3, 0), 3, True)
    assert (s.top, s.complete, s.distinct) == ((("a", 5), ("b", 4)), True, 2)
    later = counted([(0.5, 7, "zz", "2014-01-01"), (0.5, 1, "a", "2013-01-01")], reference)
    assert later.columns["i"].counts == (0, 1, 0, 1)
    s = later.columns["s"]
    assert (s.top, s.other, s.unseen, s.distinct_exact) == ((("a", 1), ("b", 0)), 1, 1, False)
    t = later.columns["t"]
    assert (t.kind, t.minimum, t.maximum) == ("datetime", "2013-01-01T00:00:00", "2014-01-01T00:00:00")
    assert t.counts == (1, 1)


def test_profiles_stay_small() -> None:
    many = counted([(i**1.5, i * 7919, f"carrier number {i % 200}", f"2013-01-{i % 28 + 1:02}") for i in range(2000)])
    s = many.columns["s"]
    assert s.kind == "categorical" and 0 < len(s.top) <= 100 and s.other > 0 and s.distinct == 200
    for column in many.columns.values():
        assert len(json.dumps(column.to_dict())) <= 2048, column.name
    free = counted([(1.0, 1, f"text {i}", None) for i in range(3000)]).columns["s"]
    assert free.kind == "text" and free.top == () and free.lengths == (6, 9, sum(len(f"text {i}") for i in range(3000)))
    assert free.distinct == pytest.approx(3000, rel=0.1)
