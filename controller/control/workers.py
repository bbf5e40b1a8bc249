"""Has workers pause, drain or take jobs again."""

from __future__ import annotations

import time

from controller.control.journal import write_log
from worker.protocol import Store
from worker.protocol.errors import BadInput
from worker.protocol.host import DRAIN, PAUSE, held, pause_left, serves
from worker.protocol.nearest import nearest
from worker.protocol.printable import one_line
from worker.protocol.study_log import LogKind
from worker.protocol.worker_registry import Order

ANSWER_S = 3.0
"""How long the answer of a worker is waited for, in seconds."""


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
    paused = pause_left(about, store.clock.now())
    if not held(about) and not paused:
        raise BadInput(f"worker {name}: it takes jobs already")
    if paused:
        store.workers.end_pause(name)
    return _order(store, about, Order(hold="", by=by), "takes jobs again")


def _hold(store: Store, name: str, what: str, words: str, reason: str, by: str) -> str:
    about = _registration(store, name)
    order = Order(hold=what, reason=one_line(reason, 500), by=by)
    return _order(store, about, order, words + (f": {order.reason}" if reason else ""))


def _order(store: Store, about: dict[str, str], order: Order, words: str) -> str:
    name = about["name"]
    if not store.workers.order(name, order):
        raise BadInput(f"worker {name}: it doesn't listen now: it ends, or Redis is away for it; try again")
    done = _say(store, about, words, order.by)
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        found = next((each for each in store.workers.list() if each["name"] == name), None)
        if found is None or held(found) == order.hold:
            return done
        time.sleep(0.05)
    return f"{done} (it has not answered yet; a worker of an older version can't)"


def _say(store: Store, about: dict[str, str], text: str, by: str) -> str:
    """Write the log of each study that may have jobs for the worker."""
    said = f"worker {about['name']} {text}"
    for study, queue in store.studies.going_on().items():
        if serves(about, queue) and store.studies.has_controller(study):
            write_log(store, study, LogKind.WORKER, said, by=by)
    return said


def _registration(store: Store, name: str) -> dict[str, str]:
    alive = {about["name"]: about for about in store.workers.list()}
    if name not in alive:
        near = nearest(name, alive)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(alive)[:8]) or 'none'}"
        raise BadInput(f"no worker {name!r} in this Redis; {hint}")
    return alive[name]
