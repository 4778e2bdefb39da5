"""The model: what it sees, and how it is trained.

Encoding is part of the pipeline that is logged, so that training and scoring can not prepare rows differently. Only
scikit-learn's own parts are used: the model loads wherever scikit-learn is, without this repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

CATEGORICAL = ("carrier", "origin", "dest")
SCHEDULE = ("distance", "minute_of_day", "weekday", "departures_in_hour", "flights_to_dest")
WEATHER = (
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "precip_6h",
    "visib_6h",
)
FEATURES = (*CATEGORICAL, *SCHEDULE, *WEATHER)
"""All of it is known two hours before departure; ``tests/dags/test_leakage.py`` proves it."""


def train(X: pd.DataFrame, y: pd.Series, **params: Any) -> Pipeline:
    """Gradient-boosted trees over the schedule and the weather.

    No month and no date among the features: a model that is to predict May has never seen May.

    :param X: rows with the columns :data:`FEATURES`.
    :param y: 1 where the flight arrived more than 15 minutes late.
    :param params: of ``HistGradientBoostingClassifier``, over the defaults below.
    """
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    settings = {
        "learning_rate": 0.06,
        "max_iter": 150,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 200,
        "l2_regularization": 5.0,
        # A random part of the past held out to stop early would only measure how well it knows the past.
        "early_stopping": False,
        "random_state": 0,
        **params,
    }
    # A carrier or destination that appears after training is a missing value, which the trees can handle.
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    prepare = ColumnTransformer(
        [("category", encode, list(CATEGORICAL)), ("number", "passthrough", [*SCHEDULE, *WEATHER])]
    )
    trees = HistGradientBoostingClassifier(categorical_features=list(range(len(CATEGORICAL))), **settings)
    return Pipeline([("prepare", prepare), ("trees", trees)]).fit(X, y)
