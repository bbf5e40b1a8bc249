"""A training script as one has it: run it once by hand, and it is a base task that an optimizer can vary.

    python examples/hpo/template.py

It needs scikit-learn. Under a worker, what the optimizer chose replaces the values connected here.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from worker import Logger, Task

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
arguments = parser.parse_args()

task = Task.init(project_name="Digits", task_name="SGD base")
settings = task.connect({"learning_rate": 0.01, "alpha": 1e-4, "batch_size": 64, "penalty": "l2"})

data, labels = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    data, labels, test_size=0.3, random_state=0, stratify=labels
)
scaler = StandardScaler().fit(train_x)
train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

model = SGDClassifier(
    loss="log_loss",
    learning_rate="constant",
    eta0=settings["learning_rate"],
    alpha=settings["alpha"],
    penalty=settings["penalty"],
    random_state=0,
)
order = np.random.default_rng(0)
for epoch in range(arguments.epochs):
    shuffled = order.permutation(len(train_x))
    for start in range(0, len(shuffled), settings["batch_size"]):
        batch = shuffled[start : start + settings["batch_size"]]
        model.partial_fit(train_x[batch], train_y[batch], classes=np.arange(10))
    logger = Logger.current_logger()
    logger.report_scalar("loss", "validation", log_loss(test_y, model.predict_proba(test_x)), iteration=epoch)
    logger.report_scalar("accuracy", "validation", model.score(test_x, test_y), iteration=epoch)

task.upload_artifact("weights", model.coef_)
print(f"accuracy {model.score(test_x, test_y):.4f}")
