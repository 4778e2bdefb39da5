"""What Airflow is told about the package is true, complete and valid under Airflow's own schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.sdk import Asset, BaseOperatorLink
from airflow.sdk.module_loading import import_string

from airflow_mlops.provider_info import get_provider_info
from tests.conformance.discovery import classes, modules

INFO = get_provider_info()
SCHEMAS = Path(airflow.__file__).parent


def _schema(name: str) -> dict:
    return json.loads((SCHEMAS / name).read_text())


def _declared_modules(kind: str) -> list[str]:
    return [m for entry in INFO.get(kind, ()) for m in entry["python-modules"]]


def test_info_is_valid():
    jsonschema.validate(INFO, _schema("provider_info.schema.json"))


@pytest.mark.parametrize("part", ["connection-types", "config", "asset-uris", "task-decorators", "integrations"])
def test_parts_are_valid_as_a_provider_declares_them(part):
    schema = _schema("provider.yaml.schema.json")
    wanted = {**schema["properties"][part], "definitions": schema.get("definitions", {})}
    if part == "integrations":  # the full schema also asks for what only the documentation of Airflow needs
        assert all(i["integration-name"] for i in INFO[part])
        return
    jsonschema.validate(INFO[part], wanted)


@pytest.mark.parametrize("kind", ["operators", "sensors", "triggers", "hooks"])
def test_modules_are_declared_and_exist(kind):
    assert sorted(_declared_modules(kind)) == sorted(modules(kind))
    for name in _declared_modules(kind):
        import_module(name)


def test_classes_that_are_declared_exist():
    paths = [c["hook-class-name"] for c in INFO["connection-types"]]
    paths += [d["class-name"] for d in INFO["task-decorators"]]
    paths += [a[k] for a in INFO["asset-uris"] for k in ("handler", "factory", "to_openlineage_converter") if k in a]
    paths += [*INFO.get("extra-links", ()), *INFO.get("notifications", ()), *INFO.get("cli", ())]
    for path in paths:
        assert callable(import_string(path)), path


def test_links_are_declared():
    links = classes(BaseOperatorLink, "operators", "sensors")
    assert {f"{c.__module__}.{c.__name__}" for c in links} == set(INFO.get("extra-links", ()))


def test_package_name_is_the_distribution():
    assert metadata.distribution(INFO["package-name"]).version == import_module("airflow_mlops").__version__


def test_airflow_loads_it():
    """In a process of its own: the managers are singletons, and their warnings are what is looked at."""
    code = """
import json, logging, sys
from airflow.providers_manager import ProvidersManager
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
from airflow.configuration import conf
manager, runtime = ProvidersManager(), ProvidersManagerTaskRuntime()
manager.initialize_providers_hooks()
manager.initialize_providers_configuration()
form = [n for n in manager.connection_form_widgets if n.startswith("extra__mlflow__")]
print("RESULT" + json.dumps({
    "hook": manager.hooks["mlflow"].hook_class_name,
    "form": sorted(form),
    "secret": sorted(n for n in form if manager.connection_form_widgets[n].is_sensitive),
    "behaviour": manager.field_behaviours["mlflow"]["relabeling"]["host"],
    "handler": runtime.asset_uri_handlers["mlmodel"].__module__,
    "decorator": "train_model" in runtime.taskflow_decorators,
    "option": conf.get("mlops", "tracking_uri"),
}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [line for line in (done.stdout + done.stderr).splitlines() if "airflow_mlops" in line or "mlops" in line]
    result = json.loads(next(line for line in told if line.startswith("RESULT"))[6:])
    assert [line for line in told if not line.startswith("RESULT")] == []
    assert result == {
        "hook": "airflow_mlops.hooks.mlflow.MlflowHook",
        "form": [
            f"extra__mlflow__{n}"
            for n in ("artifact_location", "experiment_prefix", "max_retries", "registry_uri", "timeout", "token")
        ],
        "secret": ["extra__mlflow__token"],
        "behaviour": "Tracking URI",
        "handler": "airflow_mlops.assets",
        "decorator": True,
        "option": "",
    }


def test_a_model_is_an_asset():
    assert Asset("mlmodel://churn").uri == "mlmodel://churn/"
