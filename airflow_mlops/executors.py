"""An executor whose tasks find heavy libraries already imported.

A task of the LocalExecutor is a fork of a fork of the scheduler. MLflow and scikit-learn take seconds to import, in
every single task; what the scheduler has imported before it forks its workers, each task inherits.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time

from airflow.executors.local_executor import LocalExecutor
from airflow.sdk import conf

log = logging.getLogger(__name__)


class PreloadedLocalExecutor(LocalExecutor):
    """The LocalExecutor, with ``[mlops] preload_modules`` imported before the workers are forked.

    Select it with ``[core] executor = airflow_mlops.executors.PreloadedLocalExecutor``. With an empty list, or where
    processes are spawned and not forked, it is the LocalExecutor.

    A fork keeps only the thread that called it: a module that starts threads at import (telemetry, clients) can leave
    a lock held for ever. Such a module is reported in the scheduler's log. The memory is shared, not multiplied.
    """

    def start(self) -> None:
        """Import, then start as ever."""
        if self.is_mp_using_fork:
            preload(tuple(conf.getlist("mlops", "preload_modules", fallback=[])))
        super().start()


def preload(modules: tuple[str, ...]) -> list[str]:
    """Import modules, and go on without those that can't be.

    :param modules: names of modules; a missing one is a warning, since a task that needs it will say so better.
    :return: the names that were imported.
    """
    done = []
    for name in modules:
        began, threads = time.monotonic(), set(threading.enumerate())
        try:
            importlib.import_module(name)
        except Exception as error:
            log.warning("preload_modules: %s can not be imported: %s", name, error)
            continue
        done.append(name)
        if started := set(threading.enumerate()) - threads:
            log.warning("preload_modules: %s starts threads, which do not survive a fork: %s", name, started)
        log.info("preload_modules: %s in %.2f s", name, time.monotonic() - began)
    return done
