"""``mlmodel://`` assets: one spelling for one model."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from airflow.sdk import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.assets import create_asset, model_asset, model_of_uri, model_uri, sanitize_uri
from airflow_mlops.core.errors import UsageError

names = st.text(min_size=1, max_size=40).filter(lambda n: n == n.strip() and "/" not in n and ":" not in n)


def test_an_asset_is_the_one_that_a_person_would_write() -> None:
    asset = model_asset("flights_delay")
    assert (asset.name, asset.uri, asset.group) == (
        "mlmodel://flights_delay",
        "mlmodel://flights_delay/",
        "mlmodel",
    )
    by_hand = Asset("mlmodel://flights_delay")
    assert (by_hand.name, by_hand.uri) == (asset.name, asset.uri)
    assert create_asset(model_name="flights_delay") == asset


@given(names)
def test_every_name_has_its_own_uri_and_comes_back(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return
    asset = model_asset(name)
    assert model_of_uri(asset.uri) == model_of_uri(model_uri(name)) == name
    assert asset.uri.isascii() and " " not in asset.uri
    assert Asset(asset.uri).uri == asset.uri
    parts = urlsplit(asset.uri)
    assert sanitize_uri(parts) == parts


@pytest.mark.parametrize("name", ["", " ", " churn", "churn ", "a/b", "a:b", "mlmodel://churn", None, 3])
def test_what_can_not_be_a_model_is_refused(name: object) -> None:
    with pytest.raises(UsageError):
        model_uri(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uri", ["mlmodel:///churn", "mlmodel://a/b", "mlmodel://a?b=c", "mlmodel://u@a", "mlmodel://a:1"]
)
def test_a_uri_that_names_no_model_is_refused_by_airflow_too(uri: str) -> None:
    with pytest.raises(ValueError, match="mlmodel"):
        sanitize_uri(urlsplit(uri))
    with pytest.raises(ValueError, match="mlmodel"):
        Asset(uri)
    with pytest.raises((UsageError, ValueError)):
        model_of_uri(uri)


def test_another_scheme_is_no_model() -> None:
    with pytest.raises(UsageError, match="mlmodel://<name>"):
        model_of_uri("s3://bucket/key")


def test_reading_the_module_imports_nothing_of_airflow() -> None:
    code = "import sys, airflow_mlops.assets; print([m for m in sys.modules if m.split('.')[0] == 'airflow'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
