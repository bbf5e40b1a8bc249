"""Has workers pause, drain or take jobs again."""

from __future__ import annotations

from controller.control.journal import write_log
from worker.protocol import Store
from worker.protocol.errors import BadInput
from worker.protocol.host import DRAIN, PAUSE, held, serves
from worker.protocol.nearest import nearest
from worker.protocol.study_log import LogKind


def pause_worker(store: Store, name: str, *, reason: str = "", by: str) -> str:
    """Have a worker take no new jobs until it is resumed; what it runs goes on.

    Raises:
        BadInput: there is no such worker.
    """
    return _hold(store, name, PAUSE, "takes no new jobs", reason, by)


def drain_worker(store: Store, name: str, *, reason: str = "", by: str) -> str:
    """Have a worker take no new jobs, and end when all that it runs has ended. Raises `BadInput` as above."""
    return _hold(store, name, DRAIN, "takes no new jobs, and ends when what it runs has ended", reason, by)


def resume_worker(store: Store, name: str, *, by: str) -> str:
    """Have a worker take jobs again, whether a person or a controller has paused it.

    Raises:
        BadInput: there is no such worker, or it takes jobs.
    """
    about = _registration(store, name)
    if not held(about) and float(about.get("paused_until") or 0) <= store.clock.now():
        raise BadInput(f"worker {name}: it takes jobs already")
    store.workers.release(name)
    return _say(store, about, "takes jobs again", by)


def _hold(store: Store, name: str, what: str, words: str, reason: str, by: str) -> str:
    about = _registration(store, name)
    store.workers.hold(name, what, reason=reason, by=by)
    return _say(store, about, words + (f": {reason}" if reason else ""), by)


def _say(store: Store, about: dict[str, str], text: str, by: str) -> str:
    """Write the log of each study that may have jobs for the worker."""
    said = f"worker {about['name']} {text}"
    for study in store.studies.names():
        record = store.studies.find(study)
        if record is not None and store.studies.has_controller(study) and serves(about, record.queue):
            write_log(store, study, LogKind.WORKER, said, by=by)
    return said


def _registration(store: Store, name: str) -> dict[str, str]:
    alive = {about["name"]: about for about in store.workers.list()}
    if name not in alive:
        near = nearest(name, alive)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(alive)[:8]) or 'none'}"
        raise BadInput(f"no worker {name!r} in this Redis; {hint}")
    return alive[name]
