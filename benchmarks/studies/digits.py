"""A small neural network on scikit-learn's handwritten digits, epoch by epoch: real learning curves."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from worker import Task

EPOCHS = 27


def train(
    task: Task, lr: float, layers: int, hidden: int, alpha: float, batch: int, opt: str, momentum: float = 0.9
) -> None:
    """Train one network; ``momentum`` is of ``opt = "sgd"`` alone."""
    x_train, x_validation, y_train, y_validation = data()
    network = MLPClassifier(
        hidden_layer_sizes=(hidden,) * layers,
        solver=opt,
        learning_rate_init=lr,
        momentum=momentum,
        alpha=alpha,
        batch_size=batch,
        random_state=1,
    )
    with threadpool_limits(1):
        for epoch in range(1, EPOCHS + 1):
            network.partial_fit(x_train, y_train, classes=np.arange(10))
            task.report_scalar("loss", "train", float(network.loss_), iteration=epoch)
            accuracy = float(network.score(x_validation, y_validation))
            task.report_scalar("accuracy", "validation", accuracy, iteration=epoch)


@cache
def data() -> tuple[Any, Any, Any, Any]:
    """Images for training and for validation, scaled to 0..1, and their digits."""
    x, y = load_digits(return_X_y=True)
    x_train, x_validation, y_train, y_validation = train_test_split(
        x / 16.0, y, test_size=0.25, stratify=y, random_state=1
    )
    return x_train, x_validation, y_train, y_validation
