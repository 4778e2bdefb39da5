"""Misuse and unusable input, as values a caller can handle.

::

    MlopsError
    ├── UsageError (also ValueError)     an argument is wrong; the author of the DAG has to change it
    │   ├── UnknownName                  a name that is not in the table it is looked up in
    │   └── PolicyError                  a policy that can not be judged by: no thresholds, contradictions
    ├── DataError                        the rows are not what the task needs
    │   ├── DatasetNotFound              no file, no table, an empty glob
    │   ├── EmptyDataset                 zero rows where at least one is needed
    │   ├── SchemaMismatch               a column is missing, renamed or of another type
    │   └── LabelError                   labels missing, constant, or of one class only
    ├── SourceUnavailable                the rows can not be reached now: a lost connection, a database that restarts
    ├── ModelError                       a model that can not be loaded, or can not predict these rows
    └── Conflict                         the world moved between the judgement and the act

Nothing here knows Airflow. What a *task* ends with is in :mod:`airflow_mlops.exceptions`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MlopsError(Exception):
    """Everything this package raises on purpose."""


class UsageError(MlopsError, ValueError):
    """An argument is wrong; the message says what was expected."""


class UnknownName(UsageError):
    """A name that is not in the table it is looked up in.

    :param kind: what is being named, in the singular: ``"metric"``, ``"policy key"``.
    :param name: the name that was given.
    :param choices: the table's names; the message lists them and the nearest.

    >>> print(UnknownName("metric", "roc_acu", ["roc_auc", "log_loss"]))
    unknown metric 'roc_acu': did you mean 'roc_auc'? Known: log_loss, roc_auc
    """

    def __init__(self, kind: str, name: object, choices: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.choices = sorted(map(str, choices))
        near = difflib.get_close_matches(str(name), self.choices, n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}:{hint} Known: {', '.join(self.choices)}")


class PolicyError(UsageError):
    """A policy that nothing can be judged by."""


class DataError(MlopsError):
    """The rows are not what the task needs.

    :param message: names the dataset, says what was expected and what to do.
    """


class DatasetNotFound(DataError):
    """No file, no table, or a glob that matches nothing."""


class EmptyDataset(DataError):
    """Zero rows where at least one is needed."""


class SchemaMismatch(DataError):
    """Columns are missing, renamed or of another type.

    :param message: the sentence for a person.
    :param missing: columns that were expected and are not there.
    :param unexpected: columns that are there and were not expected.
    """

    def __init__(self, message: str, *, missing: Iterable[str] = (), unexpected: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)


class LabelError(DataError):
    """Labels are missing, constant or of one class only."""


class SourceUnavailable(MlopsError):
    """The rows can not be reached now, which says nothing about them: worth another try.

    :param message: names the dataset and the connection, without credentials.
    """


class ModelError(MlopsError):
    """A model can not be loaded, or can not predict the rows it is given."""


class Conflict(MlopsError):
    """The world moved between the judgement and the act.

    :param message: what moved, from what to what, and by whom if that is known.
    """
