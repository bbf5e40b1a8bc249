"""What a task reports and what it has reported."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from worker.protocol.clock import STEADY
from worker.protocol.errors import BadInput
from worker.protocol.metrics import SINGLE_VALUES
from worker.sdk.logger import Logger
from worker.sdk.task_core import TaskCore

PROGRESS = (":monitor:task", "progress")
"""Title and series of what `Task.set_progress` reports."""


class TaskReports(TaskCore):
    """The part of `Task` that reports scalars and text, and reads them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logger = Logger(self)

    def get_logger(self) -> Logger:
        return self._logger

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """Report one value.

        Args:
            title, series: name the metric ``title/series``; an empty series names it ``title``.
            value: a number; NaN and infinities are recorded and never rank.
            iteration: epoch, step or another count, from 0.

        Raises:
            TaskStopped: the task is to stop; let it pass.
            TypeError, ValueError: `value` or `iteration` is no number.
            BadInput: the task is another program's.
        """
        if self.session is None:
            raise BadInput(f"task {self.id}: reports come from the program that runs it")
        self.session.report((title, series, float(value), int(iteration), STEADY.now()))

    def log_text(self, text: str) -> None:
        """Add text to the task's log."""
        if self.session is not None:
            self.session.log(text)

    def should_stop(self) -> bool:
        """True once the task is to stop, for programs that rather ask than be interrupted."""
        return self.session is not None and self.session.stop is not None

    def set_progress(self, progress: float) -> None:
        """Say how far the task is, in percent."""
        if not 0 <= float(progress) <= 100:
            raise ValueError(f"progress {progress}: in percent, from 0 to 100")
        self.report_scalar(*PROGRESS, progress, round(progress))

    def get_progress(self) -> int | None:
        """What `set_progress` said last; None when it said nothing."""
        found = self.get_last_scalar_metrics().get(PROGRESS[0], {}).get(PROGRESS[1])
        return None if found is None else round(found["last"])

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """title → series → ``{"last", "min", "max"}`` of all that the task has reported."""
        scalars = self.session.scalars() if self.session else self.store.reports.scalars([self.id])[0]
        found: dict[str, dict[str, dict[str, float]]] = {}
        for summary in scalars.values():
            values = {"last": summary.last, "min": summary.min, "max": summary.max}
            found.setdefault(summary.title, {})[summary.series] = values
        return found

    def get_reported_single_values(self) -> dict[str, float]:
        """Name → value of what `Logger.report_single_value` has reported."""
        found = self.get_last_scalar_metrics().get(SINGLE_VALUES, {})
        return {name: values["last"] for name, values in found.items()}

    def get_reported_single_value(self, name: str) -> float | None:
        """One of `get_reported_single_values`; None when it was not reported."""
        return self.get_reported_single_values().get(name)

    def get_reported_scalars(
        self, max_samples: int = 0, x_axis: str = "iter"
    ) -> dict[str, dict[str, dict[str, list[float]]]]:
        """title → series → ``{"name", "x", "y"}``: the points that the task has reported.

        Args:
            max_samples: at most so many of a series, evenly chosen, the last among them; 0 for all.
            x_axis: ``iter``, ``timestamp`` (milliseconds from the first) or ``iso_time`` (milliseconds
                since the epoch).
        """
        if x_axis not in ("iter", "timestamp", "iso_time"):
            raise ValueError(f"x_axis {x_axis!r}: iter, timestamp or iso_time")
        series = self.session.series() if self.session else self.store.reports.series(self.id)
        scalars = self.session.scalars() if self.session else self.store.reports.scalars([self.id])[0]
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for key, points in series.items():
            summary = scalars.get(key)
            title, name = (summary.title, summary.series) if summary else (key, "")
            chosen = _thinned(points, max_samples)
            first = points[0][2] * 1000 if points and x_axis == "timestamp" else 0.0
            xs = [i if x_axis == "iter" else at * 1000 - first for i, _, at in chosen]
            found.setdefault(title, {})[name] = {"name": name, "x": xs, "y": [v for _, v, _ in chosen]}
        return found

    def connect_tensorboard(self, folder: str | Path) -> None:
        """Pick up the scalars that this program writes with TensorBoard below `folder`, from now on.

        A tag ``loss/train`` is title ``loss``, series ``train``; ``accuracy`` is both.

        Raises:
            BadInput: the package tensorboard isn't installed.
        """
        from worker.sdk.tensorboard import Follower  # noqa: PLC0415 - an optional package

        def report(title: str, series: str, value: float, step: int, at: float) -> None:
            if self.session is not None:
                self.session.report((title, series, float(value), int(step), float(at)))

        follower = Follower(folder, report)
        follower.start()
        self._followers.append(follower)
        atexit.register(follower.stop)


def _thinned(points: list[tuple[int, float, float]], most: int) -> list[tuple[int, float, float]]:
    if most <= 0 or len(points) <= most:
        return points
    if most == 1:
        return points[-1:]
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
