"""Other libraries' drift checks of two Parquet files, as programs: how long each takes and what it says.

Each reads both files, because none keeps a profile, and prints ``said N``: the columns that it says have drifted, at
its defaults. They compute different statistics; the times stand beside the verdicts for that reason.
"""

from __future__ import annotations

from collections.abc import Mapping

from dev.bench._drift_peers import NEEDS

LOOP = """
import pandas as pd
from scipy import stats
was, now, found = pd.read_parquet(BEFORE), pd.read_parquet(PATH), []
for name in was.columns:
    if was[name].dtype.kind == "f":
        p = stats.ks_2samp(was[name].to_numpy(), now[name].to_numpy(), method="asymp").pvalue
    else:
        table = pd.concat([was[name].value_counts(), now[name].value_counts()], axis=1).fillna(0)
        p = stats.chi2_contingency(table.T).pvalue
    found.append(p < 0.05 / len(was.columns))
print("said", sum(found))
"""

NANNYML = """
import warnings; warnings.filterwarnings("ignore")
import nannyml, pandas as pd
was, now = pd.read_parquet(BEFORE), pd.read_parquet(PATH)
calc = nannyml.UnivariateDriftCalculator(  # its bands are of the reference's chunks; of one chunk they have no width
    column_names=list(was), chunk_number=10, continuous_methods=["kolmogorov_smirnov"], categorical_methods=["chi2"]
)
said = calc.fit(was).calculate(now).filter(period="analysis").to_df()
print("said", int(said.xs("alert", axis=1, level=-1).any(axis=0).sum()))
"""

ALIBI = """
import warnings; warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from alibi_detect.cd import TabularDrift
was, now = pd.read_parquet(BEFORE), pd.read_parquet(PATH)
text = [i for i, c in enumerate(was) if was[c].dtype.kind != "f"]
for i in text:
    name = was.columns[i]
    names = np.unique(np.concatenate([was[name].to_numpy(), now[name].to_numpy()]).astype(str))
    was[name], now[name] = (np.searchsorted(names, f[name].to_numpy().astype(str)) for f in (was, now))
found = TabularDrift(was.to_numpy(float), p_val=0.05, categories_per_feature={i: None for i in text})
said = found.predict(now.to_numpy(float), drift_type="feature")["data"]
print("said", int(np.sum(said["is_drift"])))
"""

EVIDENTLY = """
import warnings; warnings.filterwarnings("ignore")
import evidently, pandas as pd
from evidently.presets import DataDriftPreset
was, now = pd.read_parquet(BEFORE), pd.read_parquet(PATH)
text = [c for c in was if was[c].dtype.kind != "f"]
columns = evidently.DataDefinition(categorical_columns=text, numerical_columns=[c for c in was if c not in text])
was, now = (evidently.Dataset.from_pandas(d, data_definition=columns) for d in (was, now))
said = evidently.Report([DataDriftPreset()]).run(now, was).dict()["metrics"]
print("said", int(next(m["value"]["count"] for m in said if "DriftedColumnsCount" in m["metric_name"])))
"""

PEERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "scipy": (LOOP, ()),
    "nannyml": (NANNYML, NEEDS["nannyml"]),
    "alibi-detect": (ALIBI, (*NEEDS["alibi-detect"], "pyarrow<20")),
    "evidently": (EVIDENTLY, NEEDS["evidently"]),
}
"""Of each its program and what it needs; nothing: it runs in this environment."""
