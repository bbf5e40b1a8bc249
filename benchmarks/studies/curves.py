"""Learning curves over the size of the training set, which others have measured: the package ``lcdb``.

Each size waits as long as the training took, up to a twentieth of a second.
"""

from __future__ import annotations

import csv
import os
import time
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker import Task

DATASET = "44"
"""OpenML's number of "spambase"."""
LONGEST_S = 0.05


def train(task: Task, learner: str, fold: int, split: int) -> None:
    """Report the accuracy at each size of the training set."""
    for step, (size, seconds, accuracy) in enumerate(curves()[learner, str(fold), str(split)], start=1):
        time.sleep(min(LONGEST_S, seconds))
        task.report_scalar("accuracy", "validation", accuracy, iteration=step)
        task.report_scalar("size", "train", size, iteration=step)


@cache
def curves() -> dict[tuple[str, str, str], list[tuple[float, float, float]]]:
    """(Learner, fold, split) → sizes, seconds, accuracies; ``LCDB`` names the table's file."""
    found: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    with open(os.environ["LCDB"], newline="") as file:
        for row in csv.DictReader(line for line in file if line.startswith(("openmlid", f"{DATASET},"))):
            key = row["learner"].rpartition(".")[2], row["outer_seed"], row["inner_seed"]
            point = float(row["size_train"]), float(row["traintime"]), float(row["score_valid"])
            found.setdefault(key, []).append(point)
    return {key: sorted(points) for key, points in found.items()}
