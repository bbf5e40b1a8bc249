"""Objectives written for Optuna, run again with known parameters, without a trial of their study."""

from __future__ import annotations

from typing import Any

import optuna

from worker.optuna_internals import trial_id
from worker.protocol.metrics import split_key
from worker.protocol.values import bare
from worker.trials.storage import quietly


class RepeatedTrial(optuna.Trial):
    """A trial of a study of its own, in memory, that suggests what it is given and is never pruned.

    Args:
        task: that runs it; each report is the task's as well.
    """

    def __init__(self, study: optuna.Study, found: int, task: Any) -> None:
        super().__init__(study, found)
        self._task = task

    def report(self, value: float, step: int) -> None:
        """As Optuna's. Raises `TaskStopped` once the task is asked to stop."""
        super().report(value, step)
        title, series = split_key(self._task.about["metrics"][0])
        self._task.report_scalar(title, series, float(value), int(step))


def repeated_trial(task: Any) -> RepeatedTrial:
    """A trial with the parameters of `task`."""
    # Which way is better matters to samplers and pruners only.
    directions = [optuna.study.StudyDirection.MINIMIZE] * max(1, len(task.about["metrics"]))
    given = {bare(name): value for name, value in task.about["parameters"].items() if value is not None}
    with quietly():
        study = optuna.create_study(
            directions=directions,
            pruner=optuna.pruners.NopPruner(),
            sampler=optuna.samplers.RandomSampler(seed=task.seed),
        )
        study.enqueue_trial(given)
        return RepeatedTrial(study, trial_id(study.ask()), task)
