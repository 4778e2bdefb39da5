"""What a DAG file imports is light: a scheduler parses it again and again."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conformance.discovery import KINDS, modules, top_level

HEAVY = (
    "mlflow",
    "sklearn",
    "pandas",
    "numpy",
    "scipy",
    "great_expectations",
    "duckdb",
    "ibis",
    "pyarrow",
    "docker",
    "boto3",
)

_PROBE = """
import importlib, json, sys
import airflow.sdk
for name in ("DAG", "Asset", "BaseHook", "BaseNotifier", "BaseOperator", "BaseSensorOperator", "Param", "task"):
    getattr(airflow.sdk, name)
import airflow.triggers.base
heavy = set(json.loads(sys.argv[1]))
loaded = heavy & set(sys.modules)
blame = {}
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
    for new in (heavy & set(sys.modules)) - loaded:
        loaded.add(new)
        blame.setdefault(name, []).append(new)
print(json.dumps(blame))
"""


def test_nothing_that_a_dag_file_imports_is_heavy():
    wanted = [*top_level(), *(m for kind in (*KINDS, "core") for m in modules(kind))]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps(HEAVY), json.dumps(wanted)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {}
