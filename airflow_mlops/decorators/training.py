"""``@task.train_model``: a training function becomes a training task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator


class _TrainModelDecoratedOperator(DecoratedOperator, TrainModelOperator):
    """The operator behind the decorator; ``X`` and ``y`` of the function are filled in when it runs."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainModelOperator.template_fields)
    custom_operator_name = "@task.train_model"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        data: Any = None,
        **kwargs: Any,
    ) -> None:
        given = dict(op_kwargs or {})
        rows = given.pop("data", data)
        positional = list(op_args or ())
        if positional:
            rows = positional.pop(0)
        if positional:
            raise TypeError(
                f"{python_callable.__name__}(data, **parameters): only the data is positional; X and y come from it"
            )
        if rows is None:
            raise TypeError(
                f"{python_callable.__name__} has no data: call it with the rows, as in fit(validated.output)"
            )
        super().__init__(
            python_callable=python_callable,
            op_args=[None, None],
            op_kwargs=given,
            kwargs_to_upstream={"train": python_callable, "data": rows, "train_params": given},
            **kwargs,
        )


def train_model_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Turn a function ``(X, y, **parameters) -> fitted estimator`` into a training task.

    The decorator takes the arguments of :class:`~airflow_mlops.operators.training.TrainModelOperator`; the call takes
    the rows and the function's parameters::

        @task.train_model(model_name="delays", target="late")
        def fit(X, y, C=1.0):
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=C).fit(X, y)

        fit(validated.output, C=0.5)

    :param python_callable: the function.
    :param multiple_outputs: one XCom for each key of the result as well.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_TrainModelDecoratedOperator,
        **kwargs,
    )
