"""Models that answer in a way that could pass for a good one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.errors import ModelError
from airflow_mlops.core.outputs import features_of, outputs_of, truth_of

ROWS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "late": [0, 1, 0, 1]})
P = np.array([0.1, 0.9, 0.3, 0.7])


class Says:
    """A model that answers as it was told to."""

    def __init__(self, predict: Any, proba: Any = None, classes: Any = None):
        self.answer, self.proba = predict, proba
        if proba is not None:
            self.predict_proba = lambda rows: proba
        if classes is not None:
            self.classes_ = classes

    def predict(self, rows: Any) -> Any:
        return self.answer


@pytest.mark.parametrize("positive, scores", [("ok", P), ("late", 1 - P), (None, P)])
def test_columns_without_names_are_in_the_order_of_the_classes(positive: Any, scores: Any) -> None:
    """Whichever class is the positive one: read the wrong way round, the worse of two models is the better one."""
    truth = truth_of(["late", "ok", "late", "ok"], task="classification", positive_label=positive)
    matrix = np.stack([1 - P, P], axis=1)  # late, ok
    for answer in (matrix, pd.DataFrame(matrix), pd.DataFrame({"ok": P, "late": 1 - P})):
        out = outputs_of(Says(answer), ROWS, truth)
        assert out.values["scores"] == pytest.approx(scores)
        assert out.values["labels"].tolist() == (scores > 0.5).astype(int).tolist()


@pytest.mark.parametrize(
    "matrix, said",
    [
        (np.stack([P, P], axis=1), "add up to between 0.2 and 1.8"),
        (np.stack([-P, 1 + P], axis=1), "lie between -0.9 and 1.9"),
        (100 * np.stack([1 - P, P], axis=1), "add up to between 100 and 100"),
        (np.zeros((4, 2)), "add up to between 0 and 0"),
    ],
)
def test_numbers_that_are_no_probabilities_rank_nothing_either(matrix: Any, said: str) -> None:
    truth = truth_of([0, 1, 0, 1], task="classification")
    out = outputs_of(Says([0, 1, 0, 1], matrix, [0, 1]), ROWS, truth)
    assert set(out.values) == {"labels"}
    assert said in out.missing["probabilities"] and said in out.missing["scores"]
    assert said in outputs_of(Says(matrix), ROWS, truth).missing["labels"]


@pytest.mark.parametrize("predicted", [["0", "1", "0", "1"], [0, 1, 2, 1], ["late"] * 4])
def test_labels_that_are_none_of_its_own_classes(predicted: Any) -> None:
    """Its probabilities may be fine, and a policy ask for no more: what would be written for a batch is nonsense."""
    truth = truth_of([0, 1, 0, 1], task="classification")
    with pytest.raises(ModelError, match="none of its own classes"):
        outputs_of(Says(predicted, np.stack([1 - P, P], axis=1), [0, 1]), ROWS, truth)


@pytest.mark.parametrize("predicted", [["1.5"] * 4, np.array(["1", "2", "3", "4"], dtype=object), [1j] * 4])
def test_text_is_no_number(predicted: Any) -> None:
    truth = truth_of([0.5, 1.5, 2.5, 3.5], task="regression")
    with pytest.raises(ModelError, match="not numbers"):
        outputs_of(Says(predicted), ROWS, truth)


def test_the_label_is_no_column() -> None:
    """A model that was trained on its own label has it right here, and never again."""
    for features in (("x", "late"), ()):
        model = Says([0])
        if not features:
            model.feature_names_in_ = ["late"]  # type: ignore[attr-defined]
        with pytest.raises(ModelError, match="takes the label 'late' itself"):
            features_of(model, ROWS, target="late", features=features)
