"""A fitted model that loads elsewhere: which packages it needs, and what of the project has to travel inside it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import pickle
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_mlops.core.errors import ModelError
from airflow_mlops.core.fingerprint import is_local

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "PyYAML", "dateutil": "python-dateutil", "PIL": "pillow"}
"""Import name -> distribution where they differ, for those that are met often; others are looked up slowly."""

_ALWAYS = ("cloudpickle", "numpy", "pandas")
"""What reading a pickled model and giving it a DataFrame needs."""

_ROUNDS = 5


class _Recorder(pickle.Unpickler):
    """Loads a pickle and remembers which modules it took things from."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.modules: set[str] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        self.modules.add(module_name)
        return super().find_class(module_name, global_name)


def modules_of(estimator: Any) -> set[str]:
    """The modules a pickled model takes its classes and functions from, found by loading it once.

    :raises ModelError: when it can't be pickled, or not be loaded again.

    >>> from fractions import Fraction
    >>> modules_of(Fraction(1, 3))
    {'fractions'}
    """
    import cloudpickle

    try:
        recorder = _Recorder(cloudpickle.dumps(estimator))
        recorder.load()
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"a {type(estimator).__name__} can't be stored: {type(error).__name__}: {str(error)[:500]}"
        ) from error
    return recorder.modules


@contextlib.contextmanager
def self_contained(estimator: Any) -> Iterator[set[str]]:
    """While it lasts, pickling the model puts the project's own classes and functions into the pickle.

    A transformer that a DAG file defines could not be imported anywhere else: Airflow imports DAG files under names
    of its own. Yields the modules that stay outside, for :func:`requirements_of`.
    """
    import cloudpickle

    registered: list[types.ModuleType] = []
    try:
        for _ in range(_ROUNDS):  # a function that travels inside may need another one
            modules = modules_of(estimator)
            local = [m for name in modules if (m := sys.modules.get(name)) is not None and _travels(m)]
            if not local:
                break
            for module in local:
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
        yield modules
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _travels(module: types.ModuleType) -> bool:
    import cloudpickle

    return (
        module.__name__ not in ("__main__", *cloudpickle.list_registry_pickle_by_value())
        and is_local(module)
        and getattr(module, "__file__", None) is not None
    )


def requirements_of(modules: Iterable[str]) -> list[str]:
    """Pinned requirements for the installed packages that these modules belong to, sorted.

    >>> [r.partition("==")[0] for r in requirements_of({"sklearn.pipeline", "json"})]
    ['cloudpickle', 'numpy', 'pandas', 'scikit-learn', 'scipy']
    """
    tops = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    if "sklearn" in tops:
        tops |= {"scipy"}
    found: dict[str, str] = {}
    for top in (*_ALWAYS, *sorted(tops)):
        for distribution in _distributions(top):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[distribution] = importlib.metadata.version(distribution)
    return [f"{name}=={found[name]}" for name in sorted(found, key=str.lower)]


def _distributions(top: str) -> list[str]:
    name = _DISTRIBUTIONS.get(top, top)
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.packages_distributions().get(top, [])
    return [name]
