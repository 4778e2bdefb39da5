"""How a task of this provider ends when it does not succeed.

::

    AirflowException
    ├── AirflowFailException                   never retried: the same inputs give the same answer
    │   └── LifecycleFailure                   carries the report or decision as a dict
    │       ├── DataValidationFailed
    │       ├── TrainingFailed
    │       ├── ScoringFailed
    │       ├── EvaluationFailed
    │       ├── GateRejected
    │       ├── ApprovalRefused
    │       ├── PromotionRefused
    │       ├── DrillFailed
    │       ├── SnapshotRefused
    │       ├── DriftDetected                  only where the author chose to fail on drift
    │       └── PerformanceDropped             only where the author chose to fail on it
    ├── MlflowUnavailable                      retried: the server may be back in a minute
    └── DvcUnavailable                         retried: the repository or its remote may be back in a minute

A failure's report is in XCom and in MLflow *before* the exception is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class LifecycleFailure(AirflowFailException):
    """A deterministic refusal; retrying it would be waste.

    :param message: bounded text: at most ten failures, then where the rest is.
    :param report: the report or decision behind it, as plain JSON values.
    """

    def __init__(self, message: str, report: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = dict(report or {})


class DataValidationFailed(LifecycleFailure):
    """At least one critical expectation did not hold, or could not be evaluated."""


class TrainingFailed(LifecycleFailure):
    """The training function raised, or returned something that is not a fitted estimator."""


class EvaluationFailed(LifecycleFailure):
    """The rows can not judge a model: none, without labels, of one class, or not those that were meant."""


class ScoringFailed(LifecycleFailure):
    """No model, a model that can't score these rows, or predictions that are not finite; nothing was published."""


class GateRejected(LifecycleFailure):
    """A candidate did not pass every check."""


class ApprovalRefused(LifecycleFailure):
    """A person said no, nobody answered in time, or what was shown is not what there is now."""


class PromotionRefused(LifecycleFailure):
    """The alias was not moved; the champion is what it was."""


class SnapshotRefused(LifecycleFailure):
    """No new version of the data: the rows, the path or the tag can't be one."""


class DrillFailed(LifecycleFailure):
    """A rollback of a copy did not work, or not in time: the real one would not either."""


class DriftDetected(LifecycleFailure):
    """Drift, in a DAG whose author asked for a failure."""


class PerformanceDropped(LifecycleFailure):
    """Performance below its bound, in a DAG whose author asked for a failure."""


class MlflowUnavailable(AirflowException):
    """MLflow did not answer, or answered that it can't now. Retryable.

    :param conn_id: the Airflow connection that was used. Credentials are never part of the message.
    :param reason: what the client saw, with credentials removed.
    """

    def __init__(self, conn_id: str, reason: str) -> None:
        super().__init__(f"MLflow is not available through connection {conn_id!r}: {reason}")
        self.conn_id = conn_id
        self.reason = reason


class DvcUnavailable(AirflowException):
    """A repository or its data remote did not answer, or somebody else is at work there. Retryable.

    :param conn_id: the Airflow connection that was used. Credentials are never part of the message.
    :param reason: what git or dvc said, with credentials removed.
    """

    def __init__(self, conn_id: str, reason: str) -> None:
        super().__init__(f"DVC could not work through connection {conn_id!r}: {reason}")
        self.conn_id = conn_id
        self.reason = reason
