"""Links on a task instance: the report, and run, version and validation page in MLflow's own UI.

Airflow asks for a link on the worker when a task has ended and keeps the answer, so what is found here is what the task
of that try wrote. A link that leads nowhere is empty, and Airflow then shows none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class ReportLink(BaseOperatorLink):
    """The Report tab of the task instance."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Its address under Airflow's own."""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        parts = [quote(str(part), safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id)]
        mapped = f"/mapped/{ti_key.map_index}" if ti_key.map_index not in (None, -1) else ""
        return f"{base}/dags/{parts[0]}/runs/{parts[1]}/tasks/{parts[2]}{mapped}/plugin/mlops-report"


class MlflowRunLink(BaseOperatorLink):
    """The run that the task wrote, in MLflow: its record, or the training."""

    name = "MLflow run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Its address; empty where MLflow is no server, or the task wrote no run."""
        result = returned(operator, ti_key)
        run_id = _record(result) or str(result.get("run_id") or "")
        return _shown(operator.hook.link(run_id)) if run_id and hasattr(operator, "hook") else ""


class DataDocsLink(BaseOperatorLink):
    """The page of a validation: every expectation and what was found, kept with the record in MLflow."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Its address; empty where MLflow is no server, or the validation was not recorded."""
        run_id = _record(returned(operator, ti_key))
        run = _shown(operator.hook.link(run_id)) if run_id and hasattr(operator, "hook") else ""
        return f"{run}/artifacts/{REPORT}" if run else ""


class MlflowVersionLink(BaseOperatorLink):
    """The version that the task is about, in MLflow's registry."""

    name = "MLflow version"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Its address; empty where MLflow is no server, or no version is known."""
        from airflow_mlops.core.records import ModelVersion

        result = returned(operator, ti_key)
        evidence = result.get("evidence")
        evidence = evidence if isinstance(evidence, Mapping) else {}
        candidate = result.get("candidate") or evidence.get("candidate")
        candidate = candidate if isinstance(candidate, Mapping) else {}
        version = result.get("version") or evidence.get("version") or candidate.get("version")
        model = result.get("model_name") or result.get("model")
        if not version or not model or not hasattr(operator, "hook"):
            return ""
        return _shown(operator.hook.link(ModelVersion(name=str(model), version=str(version))))


REPORT = "report.html"
"""The page of a validation, among the artifacts of its record."""


def _record(result: Mapping[str, Any]) -> str:
    """The run that is the record of a result; empty where it has none."""
    record = result.get("record")
    return str(record.get("run_id") or "") if isinstance(record, Mapping) else ""


def returned(operator: Any, ti_key: Any) -> Mapping[str, Any]:
    """What the task returned, also before it failed; empty where it returned nothing of ours."""
    pull = getattr(ti_key, "xcom_pull", None)  # on a worker Airflow gives the running task instance
    if pull is None:
        return {}
    index = getattr(ti_key, "map_index", None)
    more = {} if index in (None, -1) else {"map_indexes": index}
    found = pull(task_ids=operator.task_id, key="return_value", **more)
    return found if isinstance(found, Mapping) else {}


def _shown(url: str) -> str:
    """An address without user information: a link is for everybody to see."""
    parts = urlsplit(url)
    return "" if parts.scheme not in ("http", "https") or "@" in parts.netloc else url


LINKS = (ReportLink(), MlflowRunLink(), MlflowVersionLink())
"""What an operator shows whose task writes a report about a version."""
