"""LightGBM on scikit-learn's diabetes data set: the error of each round of boosting."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import lightgbm
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from worker import Task

ROUNDS = 200
EVERY = 10


def train(task: Task, **parameters: Any) -> None:
    """Boost, and report the root of the mean squared error every ten rounds."""
    x_train, x_validation, y_train, y_validation = data()

    def report(state: Any) -> None:
        if (state.iteration + 1) % EVERY == 0:
            error = state.evaluation_result_list[0][2]
            task.report_scalar("rmse", "validation", float(error), iteration=state.iteration + 1)

    lightgbm.train(
        {
            **parameters,
            "objective": "regression",
            "metric": "rmse",
            "num_threads": 1,
            "verbose": -1,
            "seed": 1,
        },
        lightgbm.Dataset(x_train, y_train),
        num_boost_round=ROUNDS,
        valid_sets=[lightgbm.Dataset(x_validation, y_validation)],
        callbacks=[report],
    )


@cache
def data() -> tuple[Any, Any, Any, Any]:
    x, y = load_diabetes(return_X_y=True)
    x_train, x_validation, y_train, y_validation = train_test_split(x, y, test_size=0.3, random_state=1)
    return x_train, x_validation, y_train, y_validation
