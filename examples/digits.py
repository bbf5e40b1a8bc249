"""A small neural network on scikit-learn's handwritten digits: what ``make demo`` tunes.

Each epoch reports the accuracy on the validation set, so a pruner can give a poor trial up early; the
trained network's weights are stored as the artifact ``model``.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from worker import Task

EPOCHS = 60


def train(
    task: Task, lr: float, layers: int, hidden: int, alpha: float, opt: str, momentum: float = 0.9
) -> float:
    """Train one network.

    Args:
        task: where the scalars and the model go.
        lr: initial learning rate.
        layers: number of hidden layers.
        hidden: neurons in each of them.
        alpha: strength of the L2 penalty.
        opt: ``"sgd"`` or ``"adam"``.
        momentum: of ``"sgd"``; the other doesn't have one.

    Returns:
        The accuracy on the validation set after the last epoch.
    """
    x_train, x_validation, y_train, y_validation = data()
    network = MLPClassifier(
        hidden_layer_sizes=(hidden,) * layers,
        solver=opt,
        learning_rate_init=lr,
        momentum=momentum,
        alpha=alpha,
        batch_size=32,
        random_state=1,
    )
    accuracy = 0.0
    # Several trials share the machine, each on a core: matrices this small gain nothing from more threads.
    with threadpool_limits(1):
        for epoch in range(EPOCHS):
            network.partial_fit(x_train, y_train, classes=np.arange(10))
            accuracy = float(network.score(x_validation, y_validation))
            task.report_scalar("loss", "train", float(network.loss_), iteration=epoch)
            task.report_scalar("accuracy", "validation", accuracy, iteration=epoch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        save(network, path)
        task.upload_artifact("model", path)
    return accuracy


@cache  # a worker's process runs many trials
def data() -> tuple[Any, Any, Any, Any]:
    """The images, scaled to 0..1, and their digits.

    Returns:
        x_train (1347, 64), x_validation (450, 64), y_train (1347,), y_validation (450,).
    """
    x, y = load_digits(return_X_y=True)
    x_train, x_validation, y_train, y_validation = train_test_split(
        x / 16.0, y, test_size=0.25, stratify=y, random_state=1
    )
    return x_train, x_validation, y_train, y_validation


def save(network: MLPClassifier, path: Path) -> None:
    """Write the weights as plain arrays: unlike a pickle, reading them back can run no code.

    Load with ``arrays = numpy.load(path)``; ``weights_0``, ``biases_0`` belong to the first layer, and so
    on: ``x = maximum(x @ weights_i + biases_i, 0)`` for each, without the ``maximum`` for the last.
    """
    weights = {f"weights_{i}": array for i, array in enumerate(network.coefs_)}
    biases = {f"biases_{i}": array for i, array in enumerate(network.intercepts_)}
    np.savez(path, **weights, **biases)
