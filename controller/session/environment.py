"""What runs a study, for those who look at it later: versions and surroundings here, and the workers."""

from __future__ import annotations

import logging
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import redis

from controller.insight.hiding import kept_diff
from worker.process.surroundings import look_with_diff
from worker.protocol import Store
from worker.protocol.errors import RecordError
from worker.protocol.gpu_status import unpack
from worker.protocol.printable import one_line
from worker.protocol.surroundings import differences
from worker.version import __version__

log = logging.getLogger(__name__)

MOST_WORKERS = 1000
"""Workers that are noted of one study."""
MOST_CHANGES = 5
"""Changes of the surroundings that are named in a study's log."""
_LIBRARIES = ("optuna", "rq", "redis")
_LONGEST = 200


def versions() -> dict[str, str]:
    """Program → version: ours, Python's, and what the controller stands on; and the system it runs on."""
    found = {"optuna-rq": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "system": platform.platform(terse=True)}


def note_surroundings(store: Store, study: str, folder: Path) -> str:
    """Record in what surroundings this controller begins or continues a study.

    Args:
        folder: that programs of local workers start in.

    Returns:
        What differs from those recorded before, for the study's log: ``; changed since: …``; empty for none.
    """
    now, diff = look_with_diff(folder, store.clock.now())
    before = store.surroundings.note_study(study, now, kept_diff(diff).as_dict() if diff else {})
    changed = differences(before, now) if before else []
    if not changed:
        return ""
    shown = ", ".join(map(str, changed[:MOST_CHANGES]))
    more = f" and {len(changed) - MOST_CHANGES} more" if len(changed) > MOST_CHANGES else ""
    return f"; changed since: {shown}{more}"


def note_workers(store: Store, study: str) -> None:
    """Write into a study's record which workers serve its queue now, beside those noted before.

    Call it while no other controller acts on the study. Never raises for a Redis that is away.
    """
    try:
        _note_workers(store, study)
    except (redis.RedisError, RecordError) as error:
        log.warning("study %s: its workers were not noted: %s", study, error)


def _note_workers(store: Store, study: str) -> None:
    record = store.studies.find(study)
    if record is None:
        return
    known = dict(record.environment.get("workers", {}))
    for registration in store.workers.list(record.queue):
        if registration["name"] in known or len(known) < MOST_WORKERS:
            known[registration["name"]] = {
                "host": one_line(registration.get("host", ""), _LONGEST),
                "slots": int(registration["slots"]),
                "version": one_line(registration.get("version", ""), _LONGEST),
                "gpus": [gpu.name for gpu in unpack(registration.get("gpus", ""))],
            }
    if known != record.environment.get("workers", {}):
        store.studies.save(replace(record, environment={**record.environment, "workers": known}))
