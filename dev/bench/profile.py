"""How long a profile takes beside a bare scan of the same Parquet file, whole processes, two threads each.

The scan counts and takes the extremes of every column. DuckDB answers that from the file's statistics in a few
milliseconds, reading nothing, unless it is told to look at the values: here it is told. 20 numeric and 5 categorical
columns; memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._print import Figures  # noqa: E402
from dev.bench.drift import SCAN, process, write  # noqa: E402

PROFILE = """
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.engines import FileEngine
profile = FileEngine(threads=2).profile(DatasetRef(uri=PATH))
assert len(profile.columns) == 25 and profile.rows == int(ROWS)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        for rows in asked.rows:
            path = Path(folder) / "rows.parquet"
            write(path, rows, 0)
            scan, _ = process(SCAN, asked.times, PATH=str(path))
            took, memory = process(PROFILE, asked.times, PATH=str(path), ROWS=str(rows))
            figures.note(f"{rows} rows, whole processes: scan {scan:.2f} s, profile {took:.2f} s")
            figures.at_most(f"{rows} rows: profile, times the bare scan", took / scan, 1.5)
            figures.at_most(f"{rows} rows: peak memory of the profile", memory, 1024, "MB")
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
