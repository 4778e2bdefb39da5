"""How long a drift check takes: rows are read once, counted in the bins of a stored profile, and never read again.

Each figure is that of a whole process, beside one that only scans the same Parquet file: a sum over every column, since
counts and extremes alone are answered from the file's statistics. 20 numeric and 5 categorical columns. Memory is the
peak of the process. Then a file of many columns, and the stored profiles of many models.

Of peers only scipy is measured: its Kolmogorov-Smirnov and chi-square in a loop over the columns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._print import Figures  # noqa: E402

NUMERIC, CATEGORICAL = 20, 5

SCAN = """
import duckdb
con = duckdb.connect()
con.execute("SET threads = 2")
names = con.execute("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))", [PATH]).fetchall()
parts = [f'sum("{n}")' if t == "DOUBLE" else f'sum(length("{n}"))' for n, t in names]
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
"""

LOOP = """
import pandas as pd
from scipy import stats
was, now = pd.read_parquet(BEFORE), pd.read_parquet(PATH)
for name in was.columns:
    if was[name].dtype.kind == "f":
        stats.ks_2samp(was[name].to_numpy(), now[name].to_numpy(), method="asymp")
    else:
        table = pd.concat([was[name].value_counts(), now[name].value_counts()], axis=1).fillna(0)
        stats.chi2_contingency(table.T)
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


def process(code: str, times: int, python: str = sys.executable, **names: str) -> tuple[float, float]:
    """Least seconds and greatest memory, in MB, of a process that runs the code.

    The memory is the process's own: what ``getrusage`` tells begins with its parent's.
    """
    head = "".join(f"{k} = {v!r}\n" for k, v in names.items())
    tail = "\nprint(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    seconds, memory = [], []
    for _ in range(times):
        began = time.perf_counter()
        done = subprocess.run(
            [python, "-c", head + code + tail],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        )
        seconds.append(time.perf_counter() - began)
        memory.append(float(done.stdout.split()[-1]) / 1024)
    return min(seconds), max(memory)


def profiled(path: Path, target: Path) -> None:
    """The stored profile of a file."""
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.engines import engine_for

    ref = DatasetRef(uri=str(path))
    target.write_text(json.dumps(engine_for(ref).profile(ref).to_dict()))


def files(figures: Figures, folder: Path, rows: int, times: int) -> None:
    """One file against a stored profile."""
    before, now, profile = folder / "before.parquet", folder / "now.parquet", folder / "profile.json"
    write(before, rows, 0)
    write(now, rows, 1)
    profiled(before, profile)
    scan, _ = process(SCAN, times, PATH=str(now))
    check, memory = process(CHECK, times, PATH=str(now), PROFILE=str(profile))
    loop, _ = process(LOOP, 1, PATH=str(now), BEFORE=str(before))
    figures.note(f"{rows} rows, whole processes: scan {scan:.2f} s, check {check:.2f} s, scipy loop {loop:.2f} s")
    figures.at_most("check, times the bare scan", check / scan, 1.5)
    figures.at_least("times faster than a scipy loop", loop / check, 5)
    figures.at_most("peak memory of the check", memory, 400, "MB")


def columns(figures: Figures, folder: Path) -> None:
    """Cost by columns: 1,000 cost ten times what 100 do, start-up taken off."""
    took = []
    for count in (10, 100, 1000):
        before, now, profile = (folder / f"{count}-{n}" for n in ("before", "now", "profile"))
        write(before, 5000, 0, count, 0)
        write(now, 5000, 1, count, 0)
        profiled(before, profile)
        took.append(process(CHECK, 1, PATH=str(now), PROFILE=str(profile))[0])
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
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        files(figures, Path(folder), asked.rows, asked.times)
        columns(figures, Path(folder))
    models(figures, asked.models)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
