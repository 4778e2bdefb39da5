"""What Airflow discovers of this package.

Airflow calls :func:`get_provider_info` while it still initialises its own configuration, so nothing of Airflow is
imported here. The table is written out, not computed: ``tests/conformance`` holds it against the modules that exist.
"""

from __future__ import annotations

from typing import Any

NAME = "Machine-learning lifecycle"

OPERATORS = (
    "validation",
    "profile",
    "quarantine",
    "training",
    "scoring",
    "evaluation",
    "gates",
    "approval",
    "promotion",
    "registry",
    "shadow",
    "drill",
    "watch",
    "drift",
    "performance",
    "retraining",
    "snapshot",
    "links",
)
SENSORS = ("data", "ledger", "registry", "rows")
TRIGGERS = ("data", "ledger", "registry")
HOOKS = ("mlflow", "dvc")


def get_provider_info() -> dict[str, Any]:
    """The provider's declaration, valid under Airflow's ``provider_info.schema.json``.

    >>> get_provider_info()["package-name"]
    'airflow-mlops'
    """
    return {
        "package-name": "airflow-mlops",
        "name": NAME,
        "description": "Validate data, train, judge, promote, score, watch, retrain and roll back models. "
        "MLflow is the record, Airflow is the clock.",
        "integrations": [
            {
                "integration-name": NAME,
                "external-doc-url": "https://mlflow.org/docs/latest/",
                "tags": ["software"],
            }
        ],
        "operators": _modules("operators", OPERATORS),
        "sensors": _modules("sensors", SENSORS),
        "triggers": _modules("triggers", TRIGGERS),
        "hooks": _modules("hooks", HOOKS),
        "connection-types": [_MLFLOW_CONNECTION, _DVC_CONNECTION],
        "task-decorators": [
            {
                "name": "train_model",
                "class-name": "airflow_mlops.decorators.training.train_model_task",
            }
        ],
        "extra-links": [
            "airflow_mlops.operators.links.ReportLink",
            "airflow_mlops.operators.links.MlflowRunLink",
            "airflow_mlops.operators.links.DataDocsLink",
            "airflow_mlops.operators.links.MlflowVersionLink",
        ],
        "notifications": [
            "airflow_mlops.notifications.email.EmailNotifier",
            "airflow_mlops.notifications.webhook.WebhookNotifier",
        ],
        "asset-uris": [{"schemes": ["mlmodel"], "handler": "airflow_mlops.assets.sanitize_uri"}],
        "cli": ["airflow_mlops.cli.definition.get_mlops_commands"],
        "executors": ["airflow_mlops.executors.PreloadedLocalExecutor"],
        "config": {"mlops": _CONFIG},
    }


def _modules(package: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "integration-name": NAME,
            "python-modules": [f"airflow_mlops.{package}.{name}" for name in names],
        }
    ]


_MLFLOW_CONNECTION: dict[str, Any] = {
    "connection-type": "mlflow",
    "hook-class-name": "airflow_mlops.hooks.mlflow.MlflowHook",
    "hook-name": "MLflow",
    "ui-field-behaviour": {
        "hidden-fields": ["port", "schema"],
        "relabeling": {"host": "Tracking URI", "login": "Username"},
        "placeholders": {
            "host": "https://mlflow.example.org",
            "login": "user of the tracking server, if it asks for one",
            "password": "password of that user",
        },
    },
    "conn-fields": {
        "registry_uri": {
            "label": "Registry URI",
            "description": "Where models are registered; empty: the tracking server.",
            "schema": {"type": ["string", "null"]},
        },
        "token": {
            "label": "Token",
            "description": "Bearer token, sent instead of username and password.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "artifact_location": {
            "label": "Artifact location",
            "description": "Where new experiments keep their artifacts; empty: the server decides.",
            "schema": {"type": ["string", "null"]},
        },
        "experiment_prefix": {
            "label": "Experiment prefix",
            "description": "Put before a model's name to name its experiment, for example 'team-a/'.",
            "schema": {"type": ["string", "null"]},
        },
        "timeout": {
            "label": "Timeout (seconds)",
            "description": "After how many seconds without an answer a request counts as failed.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "max_retries": {
            "label": "Retries",
            "description": "How often the client repeats a request that failed in a way that may pass.",
            "schema": {"type": ["integer", "null"], "minimum": 0},
        },
    },
}

_DVC_CONNECTION: dict[str, Any] = {
    "connection-type": "dvc",
    "hook-class-name": "airflow_mlops.hooks.dvc.DvcHook",
    "hook-name": "DVC",
    "ui-field-behaviour": {
        "hidden-fields": ["port", "schema"],
        "relabeling": {"host": "Git repository", "login": "Author", "password": "Token"},
        "placeholders": {
            "host": "https://git.example.org/team/data.git",
            "login": "who new versions are by",
            "password": "for a repository over HTTPS",
        },
    },
    "conn-fields": {
        "branch": {
            "label": "Branch",
            "description": "Where new versions go; empty: the repository's default branch.",
            "schema": {"type": ["string", "null"]},
        },
        "remote": {
            "label": "Remote",
            "description": "DVC's remote; empty: the repository's default remote.",
            "schema": {"type": ["string", "null"]},
        },
        "aws_conn_id": {
            "label": "AWS connection",
            "description": "Credentials and endpoint of a remote on S3.",
            "schema": {"type": ["string", "null"]},
        },
        "timeout": {
            "label": "Timeout (seconds)",
            "description": "After how many seconds one call of git or dvc is ended.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "lock_timeout": {
            "label": "Lock timeout (seconds)",
            "description": "How long to wait for another task of this host that works with the repository.",
            "schema": {"type": ["integer", "null"], "minimum": 0},
        },
    },
}

_CONFIG: dict[str, Any] = {
    "description": "The machine-learning lifecycle (airflow-mlops).",
    "options": {
        "tracking_uri": {
            "description": "Tracking URI that is used where no connection `mlflow_default` is defined. "
            "Empty: the file `mlops/mlflow.db` in AIRFLOW_HOME, opened as SQLite.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "http://mlflow:5000",
            "default": "",
        },
        "artifact_location": {
            "description": "Where new experiments keep their artifacts when `tracking_uri` is used. "
            "Empty: the folder `mlops/artifacts` in AIRFLOW_HOME beside the embedded SQLite file, "
            "the server's own location otherwise.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "s3://models/mlflow",
            "default": "",
        },
        "dvc_executable": {
            "description": "The program `dvc`, where it is not on the PATH of the workers.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "/opt/dvc/bin/dvc",
            "default": "",
        },
        "dvc_cache": {
            "description": "Folder for files fetched from DVC repositories and for clones of these. "
            "Empty: the folder `mlops/dvc` in AIRFLOW_HOME.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "/var/cache/dvc",
            "default": "",
        },
        "preload_modules": {
            "description": "Modules that `airflow_mlops.executors.PreloadedLocalExecutor` imports before it forks its "
            "workers, separated by commas: every task finds them imported.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "mlflow,mlflow.sklearn,sklearn.pipeline,pandas,duckdb",
            "default": "",
        },
    },
}
