"""How long a validation takes beside Great Expectations' pandas engine, and beside pandera on Polars: 48 expectations,
one file, whole processes.

20 numeric and 5 categorical columns; nulls, ranges, sets, a unique key, patterns and a row count. Once on rows that
hold, and once on rows of which a few fail everywhere, so that examples of failing rows are fetched. Every process
starts Python, imports what it needs, reads the file itself and judges; memory is its peak. At 10 million rows the
library needs about 8 GB: its run there is on rows that hold, alone and once.

First what a suite costs of which one expectation has to go through the library, beside a process that imports the
library and runs that expectation itself.

pandera is told for comparison and has no bound; it is installed into an environment of its own. What is compared has
to come to the same verdicts and counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent.parent
sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._peers import environment  # noqa: E402
from dev.bench._print import Figures  # noqa: E402
from dev.bench.drift import process  # noqa: E402

OURS = """
import json
import sys
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.expectations import load
from airflow_mlops.engines import engine_for
ref = DatasetRef(uri=PATH)
outcomes = engine_for(ref).judge(ref, load(json.loads(SUITE)).expectations)
told = [[e["type"], e["kwargs"].get("column"), o.success, o.result.get("unexpected_count")]
        for e, o in zip(json.loads(SUITE), outcomes)]
open(TOLD, "w").write(json.dumps(sorted(told, key=str)))
assert ("great_expectations" in sys.modules) == (LIBRARY == "yes"), "which process imports the library"
"""

THEIRS = """
import json
import logging
import os
import sys
sys.modules["pyspark"] = None  # which ends a process without a main file; and its import takes a second
os.environ.update(GX_ANALYTICS_ENABLED="false", TQDM_DISABLE="1")
logging.disable(logging.CRITICAL)
import pandas as pd
import great_expectations as gx
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False, "metric_calculations": False}
asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": pd.read_parquet(PATH)})
suite = gx.ExpectationSuite(name="suite")
for e in json.loads(SUITE):
    suite.add_expectation_configuration(ExpectationConfiguration(type=e["type"], kwargs=e["kwargs"]))
found = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 5})
told = [[r.expectation_config.type, r.expectation_config.kwargs.get("column"), r.success,
         (r.result or {}).get("unexpected_count")] for r in found.results]
assert not any((r.exception_info or {}).get("raised_exception") for r in found.results)
open(TOLD, "w").write(json.dumps(sorted(told, key=str)))
"""


PANDERA = """
import json
import pandera.polars as pa
import polars as pl
made = {}
for e in json.loads(SUITE):
    kwargs = dict(e["kwargs"])
    column = made.setdefault(kwargs.pop("column", None), {"nullable": True, "checks": []})
    what = e["type"].removeprefix("expect_")
    if what == "column_values_to_not_be_null":
        column["nullable"] = False
    elif what == "column_values_to_be_between":
        column["checks"].append(pa.Check.in_range(kwargs["min_value"], kwargs["max_value"]))
    elif what == "column_values_to_be_in_set":
        column["checks"].append(pa.Check.isin(kwargs["value_set"]))
    elif what == "column_values_to_match_regex":
        column["checks"].append(pa.Check.str_matches(kwargs["regex"]))
    elif what == "column_values_to_be_unique":
        column["unique"] = True
    else:
        assert what == "table_row_count_to_be_between", what
        rows = kwargs
made.pop(None)
frame = pl.read_parquet(PATH)
assert rows["min_value"] <= frame.height <= rows["max_value"]
try:
    pa.DataFrameSchema({name: pa.Column(**column) for name, column in made.items()}).validate(frame, lazy=True)
    assert HOLDS
except pa.errors.SchemaErrors:
    assert not HOLDS
"""


def suite() -> list[dict[str, Any]]:
    """48 expectations, without arguments that the two would read differently."""
    numbers, texts = [f"x{i}" for i in range(1, 20)], [f"c{i}" for i in range(5)]
    names = [f"category {i}" for i in range(20)]
    made: list[tuple[str, dict[str, Any]]] = [
        ("column_values_to_not_be_null", {"column": c}) for c in ("key", *numbers, *texts)
    ]
    made += [("column_values_to_be_between", {"column": c, "min_value": -200, "max_value": 200}) for c in numbers[:13]]
    made += [("column_values_to_be_in_set", {"column": c, "value_set": names}) for c in texts[:4]]
    made += [("column_values_to_match_regex", {"column": c, "regex": "^category [0-9]+$"}) for c in texts[:4]]
    made += [("column_values_to_be_unique", {"column": "key"})]
    made += [("table_row_count_to_be_between", {"min_value": 1, "max_value": 10**9})]
    assert len(made) == 48
    return [{"type": f"expect_{what}", "kwargs": kwargs} for what, kwargs in made]


def write(path: Path, rows: int, *, failing: bool) -> None:
    """The file, generated in a stream."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(0), None
    names = np.array([f"category {i}" for i in range(20)] + ["kategorie"])
    for start in range(0, rows, 250_000):
        n = min(250_000, rows - start)
        few = rng.random(n) < 0.001
        columns: dict[str, Any] = {"key": np.where(few, 7, np.arange(start, start + n)) if failing else None}
        if not failing:
            columns["key"] = np.arange(start, start + n)
        for i in range(1, 20):
            values = rng.normal(i, 1 + i, n)
            values = np.where(few, 1e6, values) if failing else values
            columns[f"x{i}"] = pa.array(values, mask=(rng.random(n) < 0.001) if failing else None)
        for i in range(5):
            chosen = np.minimum(rng.geometric(0.2, n), 20) - 1
            columns[f"c{i}"] = names[np.where(few, 20, chosen) if failing else chosen]
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    os.sync()  # what is written later would be measured


def compared(figures: Figures, folder: Path, rows: int, times: int, *, failing: bool, memory: bool) -> None:
    """One file through all three, in turns."""
    path, asked = folder / "rows.parquet", json.dumps(suite())
    write(path, rows, failing=failing)
    apart = environment("pandera", ("pandera[polars]", "pyarrow"))
    given = {"PATH": str(path), "SUITE": asked}
    a, b = folder / "ours.json", folder / "theirs.json"
    turns = [
        (
            process(OURS, 1, LIBRARY="no", TOLD=str(a), **given),
            process(THEIRS, 1, TOLD=str(b), **given),
            process(PANDERA, 1, apart, HOLDS="" if failing else "yes", **given),
        )
        for _ in range(times)
    ]
    if json.loads(a.read_text()) != json.loads(b.read_text()):
        raise SystemExit(f"the verdicts differ:\n{a.read_text()}\n{b.read_text()}")
    ours, theirs, other = (min(turn[i][0] for turn in turns) for i in range(3))
    ours_memory, theirs_memory, other_memory = (max(turn[i][1] for turn in turns) for i in range(3))
    what = f"{rows} rows that {'fail' if failing else 'hold'}"
    figures.note(f"{what}: ours {ours:.2f} s, {ours_memory:.0f} MB; the library {theirs:.2f} s, {theirs_memory:.0f} MB")
    figures.note(f"{what}: pandera on Polars {other:.2f} s, {other_memory:.0f} MB")
    figures.at_least(f"{what}: times faster", theirs / ours, 15)
    if memory:
        figures.at_least(f"{what}: times less memory", theirs_memory / ours_memory, 8)


def mixed(figures: Figures, folder: Path, rows: int, times: int) -> None:
    """One expectation that only the library judges, beside the library alone."""
    path = folder / "rows.parquet"
    write(path, rows, failing=False)
    one = json.dumps([{"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "x1"}}])
    given = {"PATH": str(path), "SUITE": one, "TOLD": str(folder / "told.json")}
    ours, _ = process(OURS, times, LIBRARY="yes", **given)
    theirs, _ = process(THEIRS, times, **given)
    figures.note(f"one expectation through the library, {rows} rows: {ours:.2f} s, the library alone {theirs:.2f} s")
    figures.at_most("what needs the library: added", ours - theirs, 0.5, "s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        mixed(figures, Path(folder), 10_000, asked.times)
        for rows in asked.rows:
            large = rows >= 10_000_000
            compared(figures, Path(folder), rows, 1 if large else asked.times, failing=False, memory=large)
            if not large:
                compared(figures, Path(folder), rows, asked.times, failing=True, memory=False)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
