"""``controller rewind``: take a study back to one of its trials, so that it goes on from there."""

from __future__ import annotations

from dataclasses import replace

from controller.search.decision_log import DecisionLog
from controller.search.study import existing_study, quiet_optuna
from controller.search.trial_cache import cached
from controller.session.lock import StudyLock
from controller.studies.study_copies import backup_study, cut_back
from worker.optuna_internals import storage_of
from worker.protocol import OPEN, Store, StudyState
from worker.protocol.errors import BadInput


def rewind(store: Store, name: str, url: str, trial: int, *, backup: bool) -> tuple[int, str]:
    """Discard the trials of a study after number `trial`, and their tasks.

    Args:
        url: of the study's storage, with its password.
        backup: copy Optuna's study first, see `controller.studies.study_copies.backup_study`.

    Returns:
        How many trials went, and what the backup is called (empty without one).

    Raises:
        BadInput: a controller acts on the study, tasks of it are open, or it has no such trial. Nothing was
            changed.
    """
    quiet_optuna()
    record = store.studies.get(name)
    study = existing_study(record, url)
    storage = storage_of(study)
    lock = StudyLock(store, name)
    holders: list[str] = []
    if not lock.acquire(wait=False, on_wait=holders.append, stopped=lambda: False):
        raise BadInput(
            f"study {name!r}: controller {holders[0]} acts on it; stop it first: controller stop {name}"
        )
    try:
        still = [task_id for status in OPEN for task_id in store.studies.tasks(name, status)]
        if still:
            count = f"{len(still)} task(s) are queued or run"
            raise BadInput(f"study {name!r}: {count}; stop them first: controller stop {name}")
        numbers = [found.number for found in study.get_trials(deepcopy=False)]
        if trial not in numbers:
            there = f"its trials are 0 to {max(numbers)}" if numbers else "it has none"
            raise BadInput(f"study {name!r} has no trial {trial}; {there}")
        copied = backup_study(name, url, storage) if backup else ""
        # The tasks first: a trial that comes again has the id of the one that went.
        after = [
            task
            for task in store.tasks.get_many(store.studies.tasks(name))
            if task is not None and task.trial > trial
        ]
        for task in after:
            store.tasks.remove(task)
        store.labels.touch(name, [task.id for task in after])
        gone = cut_back(name, storage, trial)
        if gone:
            DecisionLog(cached(existing_study(record, url)), store.clock.now).rewound(trial)
        reason = f"taken back to trial {trial}"
        store.studies.save(
            replace(
                record,
                state=StudyState.INTERRUPTED,
                reason=reason,
                ended_at=None,
                judged_from=min(record.judged_from, trial + 1),
            )
        )
    finally:
        lock.release()
    return gone, copied
