"""Before any trial: is the objective there, and does it take the study's parameters?

Checked on this machine first, in a process of its own. Where this machine can't tell, because a module is
installed on the workers only, a worker is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from controller.loop.backend import Backend
from controller.loop.fleet import Fleet
from worker.protocol import FINISHED, Status, TaskRecord, TaskSpec, new_task_id
from worker.protocol.errors import BadInput, TransitionRefused
from worker.protocol.urls import redact

_CHECK = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.runner.check import main; main()"
TIMEOUT_S = 300.0
AGAIN_S = 3.0
"""How often it is looked whether a check still waits for a worker, in seconds."""


def check_here(spec: TaskSpec, folder: Path, *, must_run_here: bool) -> bool:
    """Check the objective on this machine.

    Args:
        spec: with the objective and the names of its parameters.
        must_run_here: its workers run here, so that what is missing here is missing.

    Returns:
        True when it is good; False when this machine can't tell.

    Raises:
        BadInput: it can't run anywhere (or, with `must_run_here`, not here).
    """
    kind = spec.objective["kind"]
    if kind == "command":
        program = spec.objective["argv"][0]
        own = folder / program
        if "/" in program and own.is_file():
            if not os.access(own, os.X_OK):
                raise BadInput(f"objective.command: {own} is not executable: chmod +x {own}")
            return True
        if "{" in program or ("/" not in program and shutil.which(program)):
            return True
        if must_run_here:
            raise BadInput(f"objective.command: no program {program!r} in {folder} or on PATH")
        return False
    found = _ask(spec, folder)
    if found["ok"]:
        return True
    if found.get("missing_module") and not must_run_here:
        return False
    raise BadInput(str(found["message"]))


def _ask(spec: TaskSpec, folder: Path) -> Mapping[str, Any]:
    question = {
        "objective": spec.objective,
        "parameters": list(spec.parameters),
        "optional": list(spec.optional),
        "folder": str(folder),
    }
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _CHECK],
            input=json.dumps(question).encode(),
            capture_output=True,
            cwd=folder,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"objective: importing it takes longer than {TIMEOUT_S:g} s") from error
    lines = answer.stdout.decode(errors="replace").strip().splitlines()
    try:
        found: Mapping[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1] if said else f"exit code {answer.returncode}"
        raise BadInput(f"objective: importing it ends the process: {last}") from None
    return found


def check_on_worker(
    backend: Backend, spec: TaskSpec, note: Callable[[str], None], stopped: Callable[[], bool]
) -> bool:
    """Have a worker of the study's queue check the objective, waiting for one as long as it takes.

    Returns:
        False when `stopped` said to give up.

    Raises:
        BadInput: the worker can't load or call it.
    """
    fields = {name: getattr(spec, name) for name in TaskSpec.__dataclass_fields__}
    fields["check_only"] = True
    record = TaskRecord(
        id=new_task_id(),
        name="objective check",
        spec=TaskSpec(**fields),
        status=Status.QUEUED,
        created_at=backend.clock.now(),
    )
    backend.store.tasks.create(record, also=partial(backend.launcher.enqueue, record))
    note("the objective can't be checked on this machine; a worker is asked")
    fleet = Fleet(backend.store, spec.queue)
    told, look_again = False, time.monotonic() + AGAIN_S
    found = record
    try:
        while not stopped():
            now = time.monotonic()
            found = backend.store.tasks.get(record.id)
            if found.status in FINISHED:
                if found.status is Status.COMPLETED:
                    return True
                raise BadInput(f"{found.reason} (checked on worker {found.worker})")
            if found.status is Status.IN_PROGRESS and not backend.store.tasks.leases([found.id])[0]:
                # Its worker was lost: ask another. (Or it has ended just now, which the next look shows.)
                with contextlib.suppress(TransitionRefused):
                    found = backend.store.transitions.requeue(
                        found.id, found.attempt, reason="the worker was lost"
                    )
                    backend.launcher.enqueue(replace(record, attempt=found.attempt))
            if found.status is Status.QUEUED and now >= look_again:
                # A worker that has refused it, or has died with it, will not put it back.
                look_again = now + AGAIN_S
                if not backend.launcher.waiting(spec.queue, [(found.id, found.attempt)])[0]:
                    backend.launcher.enqueue(replace(record, attempt=found.attempt))
            fleet.look(now)
            for text in fleet.new_refusals():
                note(text)
            if not told and fleet.empty_since is not None and now - fleet.empty_since > 3.0:
                note(no_worker(spec.queue, backend.redis_url))
                told = True
            time.sleep(0.1)
    finally:
        backend.launcher.withdraw(spec.queue, record.id, found.attempt)
        backend.store.tasks.delete(record.id)
    return False


def no_worker(queue: str, redis_url: str | None) -> str:
    """What to say about a queue that nobody serves.

    Args:
        redis_url: for the command that starts a worker, its password hidden; None for the embedded Redis,
            which this machine's workers alone can reach.
    """
    if redis_url is None:
        how = "start this again without --workers 0"
    else:
        how = f"on a compute node: REDIS_URL={redact(redis_url)} worker --queue {queue}"
    return f"no worker serves queue {queue!r} yet; {how}"
