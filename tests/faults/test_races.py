"""Writers of one thing at once: MLflow on PostgreSQL answers some of them with its database's error."""

from __future__ import annotations

import threading
from collections.abc import Callable

from airflow_mlops.hooks._claims import PREFIX
from airflow_mlops.hooks.mlflow import MlflowHook
from tests.kit.mlflow import MlflowServer

WRITERS, TIMES = 4, 12


def at_once(write: Callable[[int], None]) -> list[Exception]:
    """What comes of it when each of a few threads writes, all at the same time."""
    ready, failed = threading.Barrier(WRITERS), []

    def go(number: int) -> None:
        ready.wait()
        try:
            write(number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(i,)) for i in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_writers_of_one_tag_alias_or_value_at_once_do_not_fail(hook: MlflowHook, server: MlflowServer) -> None:
    model = "raced"
    hook.ensure_model(model)
    run = hook.client.create_run(hook.experiment_id(model)).info.run_id
    hook.client.log_text(run, "x", "m/x.txt")
    version = hook.client.create_model_version(model, f"runs:/{run}/m", run_id=run).version
    for i in range(TIMES):
        assert at_once(lambda n, i=i: hook.tag_version(model, version, {f"tag{i}": str(n)})) == []
        assert at_once(lambda n, i=i: hook.set_alias(model, f"alias{i}", version)) == []
        said: list[str] = []
        key = f"{PREFIX}key{i}"
        assert at_once(lambda n, k=key, said=said: said.append(hook.write_once(model, version, k, str(n)))) == []
        assert len(set(said)) == 1, "everybody has the value that was written first"
