"""How long a drift check takes: rows are read once, counted in the bins of a stored profile, and never read again.

Each figure is that of a whole process, beside one that only scans the same Parquet file: it counts and takes the
extremes of every column, which DuckDB answers from the file's statistics in a few milliseconds, reading nothing, unless
it is told to look at the values: here it is told. 20 numeric and 5 categorical columns, nothing has changed. Memory is
the peak of the process. Beside it a loop of scipy's Kolmogorov-Smirnov and chi-square, and three libraries, each in an
environment of its own, with what they say. Then the binned Kolmogorov-Smirnov distance beside the exact one, a file of
many columns, and the stored profiles of many models.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._drift_files import PEERS  # noqa: E402
from dev.bench._peers import environment  # noqa: E402
from dev.bench._print import Figures  # noqa: E402

NUMERIC, CATEGORICAL = 20, 5
QUIET = {"NML_DISABLE_USAGE_LOGGING": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "DO_NOT_TRACK": "1"}

SCAN = """
import duckdb
con = duckdb.connect()
con.execute("SET threads = 2")
con.execute("SET disabled_optimizers = 'statistics_propagation'")
names = [r[0] for r in con.execute("DESCRIBE SELECT * FROM read_parquet(?)", [PATH]).fetchall()]
parts = [f'count("{n}"), min("{n}"), max("{n}")' for n in names]
con.execute(f"SELECT {', '.join(parts)} FROM read_parquet(?)", [PATH]).fetchall()
"""

CHECK = """
import json
from pathlib import Path
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift import check_drift
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines import engine_for
reference = Profile.from_dict(json.loads(Path(PROFILE).read_text()))
ref = DatasetRef(uri=PATH)
current = engine_for(ref).profile(ref, reference=reference)
report = check_drift(reference, current)
assert report.status == "passed", report.summary()
print("said", report.details["columns_drifted"])
"""


def write(path: Path, rows: int, seed: int, numeric: int = NUMERIC, categorical: int = CATEGORICAL) -> None:
    """A Parquet file, in row groups, generated in a stream."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(seed), None
    names = np.array([f"category {i}" for i in range(20)])
    for start in range(0, rows, 250_000):
        n = min(250_000, rows - start)
        columns = {f"x{i}": rng.normal(i, 1 + i, n) for i in range(numeric)}
        columns |= {f"c{i}": names[np.minimum(rng.geometric(0.2, n), 20) - 1] for i in range(categorical)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    os.sync()  # what is written later would be measured


def process(code: str, times: int, python: str = sys.executable, **names: str) -> tuple[float, float]:
    """Least seconds and greatest memory, in MB, of a process that runs the code."""
    seconds, memory, _ = told(code, times, python, **names)
    return seconds, memory


def told(code: str, times: int, python: str = sys.executable, **names: str) -> tuple[float, float, str]:
    """Least seconds and greatest memory, in MB, of a process that runs the code; and the last thing that it printed.

    The memory is the process's own: what ``getrusage`` tells begins with its parent's.
    """
    head = "".join(f"{k} = {v!r}\n" for k, v in names.items())
    tail = "\nprint(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    seconds, memory, said = [], [], ""
    for _ in range(times):
        began = time.perf_counter()
        done = subprocess.run(
            [python, "-c", head + code + tail],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPO), **QUIET},
        )
        if done.returncode:
            raise SystemExit(f"a measured process failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
        seconds.append(time.perf_counter() - began)
        *lines, peak = done.stdout.strip().splitlines()
        memory.append(float(peak) / 1024)
        said = lines[-1].removeprefix("said ") if lines else ""
    return min(seconds), max(memory), said


def profiled(path: Path, target: Path) -> None:
    """The stored profile of a file."""
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.engines import engine_for

    ref = DatasetRef(uri=str(path))
    target.write_text(json.dumps(engine_for(ref).profile(ref).to_dict()))


LEAST = {1_000_000: 20, 10_000_000: 15}
"""Rows -> how many times faster than the fastest library a check has to be."""

LEAST_EVIDENTLY = 100


def files(figures: Figures, folder: Path, rows: int, times: int, peers: Sequence[str]) -> float:
    """One file against a stored profile; the memory that it took."""
    before, now, profile = folder / "before.parquet", folder / "now.parquet", folder / "profile.json"
    write(before, rows, 0)
    write(now, rows, 1)
    profiled(before, profile)
    scan, _ = process(SCAN, times, PATH=str(now))
    check, memory, said = told(CHECK, times, PATH=str(now), PROFILE=str(profile))
    figures.note(f"{rows} rows, whole processes: scan {scan:.2f} s, check {check:.2f} s; columns said to drift: {said}")
    figures.at_most(f"{rows} rows: check, times the bare scan", check / scan, 1.5)
    figures.at_most(f"{rows} rows: peak memory of the check", memory, 400, "MB")
    took = {}
    for name in peers:
        code, needs = PEERS[name]
        python = environment(f"{name}-files", needs) if needs else sys.executable
        took[name], peak, said = told(code, 1, python, PATH=str(now), BEFORE=str(before))
        figures.note(f"{rows} rows, {name}: {took[name]:.1f} s, {peak:.0f} MB; columns said to drift: {said}")
    libraries = [t for name, t in took.items() if name != "scipy"]
    if libraries:
        least = LEAST.get(rows, 15)
        figures.at_least(f"{rows} rows: times faster than a library", min(libraries) / check, least)
    if "scipy" in took:
        figures.at_least(f"{rows} rows: times faster than a scipy loop", took["scipy"] / check, 5)
    if "evidently" in took:
        figures.at_least(f"{rows} rows: times faster than Evidently", took["evidently"] / check, LEAST_EVIDENTLY)
    return memory


def flat(figures: Figures, folder: Path, rows: int, small: float) -> None:
    """The memory of many rows, beside that of few."""
    now = folder / "now.parquet"
    (folder / "before.parquet").unlink(missing_ok=True)
    write(now, rows, 1)
    check, memory, said = told(CHECK, 1, PATH=str(now), PROFILE=str(folder / "profile.json"))
    figures.note(f"{rows} rows: check {check:.2f} s; columns said to drift: {said}")
    figures.at_most(f"{rows} rows: peak memory of the check", memory, 400, "MB")
    figures.at_most(f"{rows} rows: memory, times that of the fewest", memory / small, 1.25)


def distances(figures: Figures, folder: Path) -> None:
    """The Kolmogorov-Smirnov distance from bins beside the one from all rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.core.drift import check_drift
    from airflow_mlops.engines import FileEngine

    rng, rows = np.random.default_rng(0), 500_000
    was = {name: rng.normal(size=rows) for name in ("same", "0.1 sd", "0.5 sd", "scale 1.2", "tails", "lognormal")}
    now = {name: rng.normal(size=rows) for name in was}
    now["0.1 sd"] += 0.1
    now["0.5 sd"] += 0.5
    now["scale 1.2"] *= 1.2
    now["tails"] = rng.standard_t(3, rows)
    was["lognormal"], now["lognormal"] = np.exp(was["lognormal"]), np.exp(now["lognormal"] + 0.2)
    refs = []
    for name, columns in (("was", was), ("now", now)):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        refs.append(DatasetRef(uri=str(folder / f"{name}.parquet")))
    reference = FileEngine().profile(refs[0])
    report = check_drift(reference, FileEngine().profile(refs[1], reference=reference))
    said: dict[str, Any] = {c.subject: c.details["effects"] for c in report.checks if c.name == "distribution"}
    off = {}
    for name in was:
        a, b = np.sort(was[name]), np.sort(now[name])
        places = np.concatenate([a, b])
        gaps = np.searchsorted(a, places, side="right") - np.searchsorted(b, places, side="right")
        off[name] = float(np.abs(gaps).max()) / rows - float(said[name]["ks_distance"])
    figures.note("exact less binned distance: " + ", ".join(f"{k} {v:.5f}" for k, v in off.items()))
    figures.at_most("Kolmogorov-Smirnov from bins, off the exact one", max(off.values()), 1e-3)


def columns(figures: Figures, folder: Path) -> None:
    """Cost by columns: 1,000 cost ten times what 100 do, start-up taken off; in turns, because 100 take so little."""
    given = []
    for count in (10, 100, 1000):
        before, now, profile = (folder / f"{count}-{n}" for n in ("before", "now", "profile"))
        write(before, 5000, 0, count, 0)
        write(now, 5000, 1, count, 0)
        profiled(before, profile)
        given.append({"PATH": str(now), "PROFILE": str(profile)})
    turns = [[process(CHECK, 1, **names)[0] for names in given] for _ in range(5)]
    took = [min(times) for times in zip(*turns, strict=True)]
    figures.note(f"10, 100, 1,000 columns: {', '.join(f'{t:.2f} s' for t in took)}")
    figures.at_most("1,000 columns over ten times 100", (took[2] - took[0]) / (took[1] - took[0]) / 11, 1.5)


def models(figures: Figures, count: int) -> None:
    """Stored checks of many models: both profiles as JSON, 10 columns each."""
    import numpy as np

    from airflow_mlops.core.drift import check_drift
    from airflow_mlops.core.profile import Profile
    from dev.bench._columns import KINDS, pair
    from dev.bench.calibration import profiles

    rng, kinds, kept = np.random.default_rng(0), list(KINDS), []
    for _ in range(50):
        both = profiles([pair(kinds[c % len(kinds)], f"x{c}", rng, 5000, 1000) for c in range(10)])
        kept.append([json.dumps(p.to_dict()) for p in both])

    def check(texts: list[str]) -> None:
        was, now = (Profile.from_dict(json.loads(text)) for text in texts)
        check_drift(was, now)

    check(kept[0])  # imports
    began = time.process_time()
    for i in range(count):
        check(kept[i % len(kept)])
    figures.at_most(f"{count} models' stored checks, a model", (time.process_time() - began) / count * 1000, 10, "ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--most", type=int, default=30_000_000, help="rows whose memory is measured; 0: none")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--large", nargs="*", default=["scipy", "nannyml"], help="peers beyond a million rows")
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    figures, memory = Figures(), []
    with tempfile.TemporaryDirectory() as folder:
        for rows in asked.rows:
            peers = [p for p in asked.peers if rows <= 1_000_000 or p in asked.large]
            memory.append(files(figures, Path(folder), rows, asked.times, peers))
        if asked.most and memory:
            flat(figures, Path(folder), asked.most, min(memory))
        distances(figures, Path(folder))
        columns(figures, Path(folder))
    models(figures, asked.models)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
