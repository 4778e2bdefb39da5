"""The stack of a team is written down right, as far as that shows without images."""

from __future__ import annotations

from pathlib import Path

import yaml

from airflow_mlops.provider_info import get_provider_info
from dev.stack import PRELOAD

ROOT = Path(__file__).parents[2]
STACK = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")


def test_every_component_is_there_and_of_one_kind():
    assert {"postgres", "objects", "mlflow", "migrate", *AIRFLOW} == set(STACK["services"])
    environments = [STACK["services"][name]["environment"] for name in AIRFLOW]
    assert all(e == environments[0] for e in environments)


def test_what_is_waited_for_exists_and_can_be_waited_for():
    for name, service in STACK["services"].items():
        for other, wanted in service.get("depends_on", {}).items():
            condition = wanted["condition"]
            target = STACK["services"][other]
            assert condition == "service_completed_successfully" or "healthcheck" in target, (name, other)


def test_ports_are_for_this_machine_only():
    ports = [p for s in STACK["services"].values() for p in s.get("ports", ())]
    assert ports
    assert all(p.startswith("127.0.0.1:") for p in ports)


def test_mounted_files_and_volumes_exist():
    for service in STACK["services"].values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in STACK["volumes"]


def test_configuration_is_the_provider_s_own():
    environment = STACK["services"]["scheduler"]["environment"]
    options = {f"AIRFLOW__MLOPS__{name.upper()}" for name in get_provider_info()["config"]["mlops"]["options"]}
    assert {n for n in environment if n.startswith("AIRFLOW__MLOPS__")} <= options
    assert environment["AIRFLOW__CORE__EXECUTOR"] in get_provider_info()["executors"]
    assert environment["AIRFLOW__MLOPS__PRELOAD_MODULES"] == PRELOAD
    assert environment["AIRFLOW_CONN_MLFLOW_DEFAULT"].startswith("{")
