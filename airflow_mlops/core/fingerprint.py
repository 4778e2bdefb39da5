"""What a training depends on besides the rows: functions and estimators, as plain values that a digest is made of.

A comment, a docstring's wording or the file's name does not make another model; another constant, another helper or
another hyperparameter does. So a function is described by its syntax tree without decorators and docstrings, together
with the helpers and constants of its own project that it uses, and an estimator by its class and parameters.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import re
import sysconfig
import textwrap
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import JSON, plain

_DAG_MODULE = re.compile(r"^unusual_prefix_[0-9a-f]{40}_")
"""Airflow imports a DAG file under a name that contains a hash of its path; the path is no part of the model."""


def describe_trainer(train: Any) -> dict[str, JSON]:
    """A training function or estimator as plain values: the same meaning gives the same value.

    :param train: a function, a bound ``functools.partial``, or an object with ``get_params``.
    :raises UsageError: for anything else.

    >>> def fit(X, y):
    ...     return len(X)
    >>> list(describe_trainer(functools.partial(fit, y=1)))
    ['partial', 'args', 'keywords']
    """
    if isinstance(train, functools.partial):
        return {
            "partial": describe_trainer(train.func),
            "args": [describe_value(a) for a in train.args],
            "keywords": {k: describe_value(v) for k, v in sorted(train.keywords.items())},
        }
    if hasattr(train, "get_params") and not isinstance(train, type):
        return _estimator(train)
    if callable(train):
        return _callable(train)
    raise UsageError(
        f"train must be a function (X, y, **params) that returns a fitted estimator, or an estimator; "
        f"got {type(train).__name__}"
    )


def _callable(function: Callable[..., Any], seen: set[str] | None = None) -> dict[str, JSON]:
    seen = set() if seen is None else seen
    function = inspect.unwrap(function)
    module = module_name(getattr(function, "__module__", "") or "")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    identity = f"{module}:{name}"
    described: dict[str, JSON] = {"function": identity}
    if identity in seen or not is_local(inspect.getmodule(function)):
        return described
    seen.add(identity)
    code = getattr(function, "__code__", None)
    if code is None:  # a class or a callable object of the project
        cls = function if isinstance(function, type) else type(function)
        described["source"] = _source(cls)
        if not isinstance(function, type):
            described["state"] = {k: describe_value(v) for k, v in sorted(vars(function).items())}
        return described
    described["source"] = _source(function)
    described["defaults"] = {
        k: describe_value(p.default)
        for k, p in inspect.signature(function).parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    used: dict[str, JSON] = {}
    closure = inspect.getclosurevars(function)
    for key, value in sorted({**closure.globals, **closure.nonlocals}.items()):
        if isinstance(value, types.ModuleType):
            used[key] = _module(value)
        elif isinstance(value, type | types.FunctionType):
            used[key] = _callable(value, seen)
        else:
            used[key] = describe_value(value)
    described["uses"] = used
    return described


def _module(module: types.ModuleType) -> JSON:
    """A module of the project by its whole text: which of its functions are called is not known."""
    name = module_name(module.__name__)
    if not is_local(module):
        return {"module": name}
    try:
        return {"module": name, "source": _tree(inspect.getsource(module))}
    except (OSError, TypeError):
        return {"module": name}


def _estimator(estimator: Any) -> dict[str, JSON]:
    cls = type(estimator)
    described: dict[str, JSON] = {"estimator": f"{module_name(cls.__module__)}:{cls.__qualname__}"}
    if is_local(inspect.getmodule(cls)):
        described["source"] = _source(cls)
    described["params"] = {k: describe_value(v) for k, v in sorted(estimator.get_params(deep=False).items())}
    return described


def describe_value(value: Any) -> JSON:
    """Any parameter as plain values; what has no better form is described by its ``repr`` without addresses."""
    if isinstance(value, bool | int | float | str | None):
        return repr(value) if isinstance(value, float) else value  # NaN and infinity keep their meaning
    if isinstance(value, functools.partial) or (hasattr(value, "get_params") and not isinstance(value, type)):
        return describe_trainer(value)
    if isinstance(value, Mapping):
        return {str(k): describe_value(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [describe_value(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((describe_value(v) for v in value), key=repr)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return _callable(value)
    if hasattr(value, "tobytes") and hasattr(value, "shape"):  # an array, without importing numpy
        return {"array": hashlib.sha256(value.tobytes()).hexdigest(), "shape": list(value.shape)}
    try:
        return plain(value)
    except UsageError:
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _source(thing: Any) -> JSON:
    """The digest of the thing's syntax tree; of its byte code where there is no source (a console, a lambda's line)."""
    try:
        return _tree(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        code = getattr(thing, "__code__", None)
        return _bytecode(code) if code is not None else getattr(thing, "__qualname__", repr(type(thing)))


def _tree(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            if not isinstance(node, ast.Module):
                node.decorator_list = []
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _bytecode(code: types.CodeType) -> str:
    parts = [code.co_code.hex(), repr(code.co_names), repr(code.co_varnames)]
    parts += [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def module_name(name: str) -> str:
    """A module's name without the hash that Airflow puts before a DAG file's.

    >>> module_name("unusual_prefix_" + "0" * 40 + "_flights_train")
    'flights_train'
    """
    return _DAG_MODULE.sub("", name)


def is_local(module: types.ModuleType | None) -> bool:
    """Whether a module is the project's own: a file that neither Python nor an installed package brought.

    >>> is_local(ast), is_local(None)
    (False, True)
    """
    if module is None or module.__name__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__.startswith("unusual_prefix_")
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _installed()) and "site-packages" not in path.parts


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_paths()[name]).resolve() for name in names})
