"""ScoreBatchOperator: whole files or none, whatever fails; a real MLflow, real disks that are full."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.exceptions import ScoringFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators._publication import Publication, sweep
from airflow_mlops.operators.scoring import ScoreBatchOperator
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner


class Sparse(RegressorMixin, BaseEstimator):
    """Predicts the reciprocal: infinite at zero."""

    def fit(self, X: pd.DataFrame, y: pd.Series) -> Sparse:
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: pd.DataFrame) -> Any:
        with np.errstate(divide="ignore"):
            return 1.0 / X["x"].to_numpy()


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.parquet"
    n = 1000
    frame = {"id": range(n), "x": np.linspace(-1, 1, n), "z": 1.0, "y": [i >= 400 for i in range(n)], "noise": "a"}
    pd.DataFrame(frame).to_parquet(path)
    return str(path)


@pytest.fixture
def champion(mlflow_local: Path, run_task: TaskRunner, rows: str) -> str:
    train(run_task, rows)
    MlflowHook().set_alias("m", "champion", "1")
    return "m"


def train(run_task: TaskRunner, rows: str, **changes: Any) -> dict[str, Any]:
    arguments = {"train": LogisticRegression(), "target": "y", "features": ["x", "z"], **changes}
    return run_task(TrainModelOperator(task_id="train", model_name="m", data=rows, **arguments))


def score(rows: Any, destination: Any, **changes: Any) -> ScoreBatchOperator:
    return ScoreBatchOperator(
        task_id="score", model_name="m", data=rows, destination=str(destination), columns_to_keep=["id"], **changes
    )


def test_predictions_in_batches_are_those_of_the_model(
    champion: str, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    out = tmp_path / "scores" / "2013-05.parquet"
    result = run_task(score(rows, out, batch_rows=170))
    assert result["rows"] == 1000 and result["created"] and result["not_finite"] == 0
    assert result["data"]["uri"] == str(out) and result["data"]["rows"] == 1000 and result["input"]["rows"] == 1000
    hook = MlflowHook()
    version = hook.by_alias("m", "champion")
    assert version is not None
    model = hook.load_model(version)
    frame, scored = pd.read_parquet(rows), pd.read_parquet(out)
    assert list(scored.columns) == ["id", "prediction", "score"]
    assert (scored["id"] == frame["id"]).all()
    assert (scored["prediction"].to_numpy() == model.predict(frame[["x", "z"]])).all()
    np.testing.assert_allclose(scored["score"], model.predict_proba(frame[["x", "z"]])[:, 1])
    footer = pq.read_metadata(out).metadata
    assert footer[b"mlops.model_digest"].decode() == version.model_digest == result["model_digest"]
    assert footer[b"mlops.input_digest"].decode() == result["input"]["digest"]
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert hook.history("m", kinds=["scoring"])[0].outcome == "scored"


def test_the_positive_class_is_the_one_training_was_told(
    mlflow_local: Path, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    train(run_task, rows, positive_label=False)
    out = tmp_path / "s.parquet"
    run_task(score(rows, out, version="1"))
    scored = pd.read_parquet(out)
    assert (scored["score"] > 0.5).sum() == (~scored["prediction"]).sum()


def test_the_same_inputs_again_score_nothing_and_others_replace(
    champion: str, run_task: TaskRunner, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scores"
    first = run_task(score(rows, folder))
    assert first["data"]["uri"] == f"{folder}/predictions.parquet"
    loads: list[str] = []
    original = MlflowHook.load_scoring_model
    monkeypatch.setattr(
        MlflowHook, "load_scoring_model", lambda self, v: (loads.append(v.version), original(self, v))[1]
    )
    again = run_task(score(rows, folder))
    assert again == {**first, "created": False} and loads == []
    train(run_task, rows, train_params={"C": 0.01})
    other = run_task(score(rows, folder, version="2"))
    assert other["created"] and loads == ["2"] and other["data"]["digest"] != first["data"]["digest"]
    assert [p.name for p in folder.iterdir()] == ["predictions.parquet"]


def test_what_a_killed_try_left_is_removed_and_what_lives_is_not(
    champion: str, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    folder = tmp_path / "scores"
    script = (
        "import sys, os, pandas as pd\n"
        "from airflow_mlops.operators._publication import Publication\n"
        "with Publication(sys.argv[1]).writing() as w:\n"
        "    w.write(pd.DataFrame({'prediction': [1.0]}))\n"
        "    print('writing', flush=True); sys.stdin.read(); os._exit(9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    sweep(folder, "predictions.parquet")
    assert len(list(folder.glob(".*.part"))) == 1, "another try is writing it"
    assert list(folder.glob("*.parquet")) == []
    process.communicate("")
    assert process.returncode == 9 and len(list(folder.glob(".*.part"))) == 1
    run_task(score(rows, folder))
    assert [p.name for p in folder.iterdir()] == ["predictions.parquet"]


class SmallDisk:
    """A folder that takes 64 KB: a disk of its own where one can be mounted, else a limit on the size of a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small")
    yield disk
    if disk.mounted:
        subprocess.run(["umount", str(disk.folder)], check=True)


def test_a_full_disk_publishes_nothing(champion: str, run_task: TaskRunner, rows: str, small_disk: SmallDisk) -> None:
    few = str(Path(rows).with_name("few.parquet"))
    pd.read_parquet(rows).head(50).to_parquet(few)
    out = small_disk.folder / "scores.parquet"
    run_task(score(few, out))
    before = out.read_bytes()
    many = str(Path(rows).with_name("many.parquet"))
    frame = pd.DataFrame({"id": range(20_000), "x": np.random.default_rng(0).normal(size=20_000), "z": 1.0})
    frame.to_parquet(many)
    with small_disk.full(), pytest.raises(OSError, match="nothing was published") as caught:
        run_task(score(many, out, batch_rows=1000))
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG) and str(out) in str(caught.value)
    assert [p.name for p in small_disk.folder.iterdir()] == ["scores.parquet"]
    assert out.read_bytes() == before


def test_a_quota_publishes_nothing(tmp_path: Path) -> None:
    """Where nothing can be mounted: the same with a limit on the size of a file."""
    script = (
        "import resource, signal, sys, json, pathlib, numpy as np, pandas as pd\n"
        "from airflow_mlops.operators._publication import Publication\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    with Publication(sys.argv[1]).writing() as w:\n"
        "        for i in range(50):\n"
        "            w.write(pd.DataFrame({'prediction': np.random.default_rng(i).normal(size=1000)}))\n"
        "except OSError as e:\n"
        "    print(json.dumps([e.errno, str(e), [p.name for p in pathlib.Path(sys.argv[1]).iterdir()]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], capture_output=True, text=True)
    code, message, left = json.loads(done.stdout)
    assert code == errno.EFBIG and "nothing was published" in message and left == []


def test_a_model_that_fails_half_way_publishes_nothing(
    champion: str, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    frame = pd.read_parquet(rows)
    frame.loc[900, "x"] = np.nan
    frame.to_parquet(rows)
    out = tmp_path / "scores" / "s.parquet"
    with pytest.raises(ScoringFailed, match="m/1 can't score these rows: ValueError"):
        run_task(score(rows, out, batch_rows=100))
    assert list(out.parent.iterdir()) == []


def test_predictions_that_are_not_finite_are_counted_and_never_silently_fine(
    mlflow_local: Path, run_task: TaskRunner, rows: str, tmp_path: Path
) -> None:
    frame = pd.read_parquet(rows)
    frame.loc[[3, 700], "x"] = 0.0
    frame.to_parquet(rows)
    train(run_task, rows, train=Sparse(), target="z", features=["x"], problem="regression")
    out = tmp_path / "scores" / "s.parquet"
    with pytest.raises(ScoringFailed, match="no finite prediction for 2 of 1000 rows"):
        run_task(score(rows, out, version="1", batch_rows=300))
    assert run_task.last is not None and run_task.last.xcoms["return_value"]["not_finite"] == 2
    assert not out.exists()
    allowed = run_task(score(rows, out, version="1", allow_not_finite=True))
    assert allowed["not_finite"] == 2 and allowed["rows"] == 1000
    assert run_task(score(rows, out, version="1", allow_not_finite=True))["not_finite"] == 2


def test_a_regression_has_no_score(mlflow_local: Path, run_task: TaskRunner, rows: str, tmp_path: Path) -> None:
    train(run_task, rows, train=LinearRegression(), target="z", features=["x"], problem="regression")
    run_task(score(rows, tmp_path / "s.parquet", version="1"))
    assert list(pd.read_parquet(tmp_path / "s.parquet").columns) == ["id", "prediction"]


def test_no_model_fails_or_skips(mlflow_local: Path, run_task: TaskRunner, rows: str, tmp_path: Path) -> None:
    with pytest.raises(ScoringFailed, match="no alias 'champion' of model 'm'"):
        run_task(score(rows, tmp_path / "s.parquet"))
    with pytest.raises(AirflowSkipException):
        run_task(score(rows, tmp_path / "s.parquet", on_missing_model="skip"))
    assert run_task.last is not None and run_task.last.xcoms["return_value"]["version"] is None
    with pytest.raises(ScoringFailed, match="unknown on_missing_model 'ski': did you mean 'skip'"):
        run_task(score(rows, tmp_path / "s.parquet", on_missing_model="ski"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.write_bytes(b"not a pickle"), "are not the ones that were registered"),
        (lambda f: f.unlink(), "are not the ones that were registered"),
    ],
)
def test_a_model_whose_files_changed_is_not_loaded(
    champion: str, run_task: TaskRunner, rows: str, tmp_path: Path, damage: Any, message: str
) -> None:
    file = next(tmp_path.glob("mlops/artifacts/**/model.pkl"))
    damage(file)
    with pytest.raises(ScoringFailed, match=message):
        run_task(score(rows, tmp_path / "s.parquet"))
    assert not (tmp_path / "s.parquet").exists()


def test_a_model_that_cannot_be_loaded(champion: str, run_task: TaskRunner, rows: str, tmp_path: Path) -> None:
    file = next(tmp_path.glob("mlops/artifacts/**/model.pkl"))
    file.write_bytes(b"not a pickle")
    hook = MlflowHook()
    hook.get_conn().delete_model_version_tag("m", "1", "mlops.model_digest")  # registered by somebody else
    with pytest.raises(ScoringFailed, match="model m/1 can't be loaded: "):
        run_task(score(rows, tmp_path / "s.parquet"))


def test_columns_that_are_missing_or_taken(champion: str, run_task: TaskRunner, rows: str, tmp_path: Path) -> None:
    frame = pd.read_parquet(rows)
    frame.rename(columns={"z": "zz"}).to_parquet(tmp_path / "renamed.parquet")
    with pytest.raises(ScoringFailed, match="no column 'z', which m/1 needs"):
        run_task(score(str(tmp_path / "renamed.parquet"), tmp_path / "s.parquet"))
    frame.assign(score=1).to_parquet(tmp_path / "taken.parquet")
    taken = score(str(tmp_path / "taken.parquet"), tmp_path / "s.parquet")
    taken.columns_to_keep = ["score"]
    with pytest.raises(ScoringFailed, match="the name of an output"):
        run_task(taken)


def test_no_rows_and_no_file(champion: str, run_task: TaskRunner, rows: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound):
        run_task(score(str(tmp_path / "absent.parquet"), tmp_path / "s.parquet"))
    with pytest.raises(ScoringFailed, match="no rows to score"):
        run_task(score({"uri": rows, "filters": [["id", "<", 0]]}, tmp_path / "s.parquet"))


def test_an_object_store_gets_the_whole_file_at_once() -> None:
    import fsspec
    from airflow.sdk.io import attach

    memory = fsspec.filesystem("memory")
    attach("memory", fs=memory)
    target = Publication("memory://scored/scores")
    assert target.metadata() == {}
    with pytest.raises(RuntimeError), target.writing() as writer:
        writer.write(pd.DataFrame({"prediction": [1.0]}))
        raise RuntimeError
    assert memory.find("/scored") == []
    with target.writing() as writer:
        writer.write(pd.DataFrame({"prediction": [1.0, 2.0]}))
        writer.describe({"mlops.key": "k"})
    assert memory.find("/scored") == ["/scored/scores/predictions.parquet"]
    assert target.metadata() == {"mlops.key": "k"}
    memory.rm("/scored", recursive=True)


def test_another_files_footer_is_not_ours(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    assert "mlops.key" not in Publication(str(tmp_path / "a.parquet")).metadata()
    (tmp_path / "b.parquet").write_bytes(b"PAR1 broken")
    assert Publication(str(tmp_path / "b.parquet")).metadata() == {}
    assert Publication(str(tmp_path / "absent.parquet")).metadata() == {}
