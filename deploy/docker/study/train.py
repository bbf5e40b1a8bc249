"""The objective of the study that ships with compose.yaml: finds the point (3, -1)."""

from __future__ import annotations

from worker import Task


def train(task: Task, x: float, y: float) -> None:
    for step in range(5):
        distance = ((x - 3) ** 2 + (y + 1) ** 2) ** 0.5 + 1 / (step + 1)
        task.report_scalar("distance", "", distance, iteration=step)
    task.upload_artifact("point", {"x": x, "y": y})
