"""The workers that a study brings along on its controller's machine."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from controller.loop.backend import Backend
from worker.process.parent_death import PARENT_VARIABLE
from worker.protocol.errors import OptunaRQError
from worker.protocol.secrets import REDIS_URL, STORAGE
from worker.sdk.home import STATE_FOLDER

log = logging.getLogger(__name__)

_WORKER = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.cli import main; main()"
QUICK_S = 5.0
"""A worker that lives shorter than this, in seconds, may never live longer."""
DEATHS = 4
"""After more such deaths in a row, starting workers is given up."""
DRAIN_S = 5.0
"""When the controller vanishes, its workers hand back what they can't finish within so many seconds."""


class LocalWorkers:
    """Starts `count` worker processes of one slot each, and starts again those that die.

    A worker ends with the thread that started it (Linux sends the signal when that thread ends, not the
    process), so that all are started by a thread of our own, which lives until `stop`.

    Args:
        log_folder: gets one file per worker.
        keep_alive: descriptor to hand down; it keeps the embedded Redis up while a worker still lives.
    """

    def __init__(
        self,
        count: int,
        *,
        redis_url: str,
        artifacts_url: str,
        storage_url: str,
        queue: str,
        folder: Path,
        log_folder: Path,
        keep_alive: int | None,
    ) -> None:
        self._count = count
        # Secrets go by the environment, which only this user can read; argument lists are public.
        self._environment = {
            **os.environ,
            REDIS_URL: redis_url,
            "ARTIFACT_STORE": artifacts_url,
            STORAGE: storage_url,
            PARENT_VARIABLE: str(os.getpid()),
        }
        for name in (REDIS_URL, STORAGE):
            self._environment.pop(f"{name}_FILE", None)
        self._arguments = ["--queue", queue, "--slots", "1", "--drain", f"{DRAIN_S:g}"]
        if count > 1 and "OMP_NUM_THREADS" not in os.environ:
            # They share out the CPUs, as the slots of one worker do.
            self._arguments += ["--threads", str(max(1, (os.cpu_count() or 1) // count))]
        self._folder = folder
        self._log_folder = log_folder
        self._keep_alive = keep_alive
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._restart_at: dict[int, float] = {}
        self._started: dict[int, float] = {}
        self._deaths = 0
        self._failure: Exception | None = None
        self._ready = threading.Event()
        self._ending = threading.Event()
        self._idle = threading.Event()
        self._gone = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """How many slots they have: one each."""
        return self._count

    def start(self) -> None:
        """Start them; returns when all processes are there. Raises `OSError` when the system refuses."""
        if not self._count:
            return
        self._log_folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._keep, name="local-workers", daemon=True)
        self._thread.start()
        self._ready.wait()
        self.look_after()

    def look_after(self) -> None:
        """Raise what keeps the workers from living, if something does (`OptunaRQError`, `OSError`)."""
        if self._failure is not None:
            raise self._failure

    def _keep(self) -> None:
        try:
            for number in range(self._count):
                self._start(number)
            self._ready.set()
            while not self._ending.wait(1.0):
                self._revive()
        except Exception as error:
            self._failure = error
        finally:
            self._ready.set()
        self._ending.wait()
        self._idle.set()
        # The workers get a signal when this thread ends: not before they were asked to end.
        self._gone.wait()

    def _start(self, number: int) -> None:
        self._started[number] = time.monotonic()
        with open(self._log_folder / f"worker-{number}.log", "ab") as output:
            self._processes[number] = subprocess.Popen(
                [sys.executable, "-c", _WORKER, *self._arguments],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self._keep_alive] if self._keep_alive is not None else [],
                # Ctrl-C in the terminal is for the controller, which stops its workers itself.
                start_new_session=True,
            )

    def _revive(self) -> None:
        """Start again what has died."""
        now = time.monotonic()
        for number, process in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[number]
                self._deaths = self._deaths + 1 if now - self._started[number] < QUICK_S else 1
                path = self._log_folder / f"worker-{number}.log"
                if self._deaths > DEATHS:
                    raise OptunaRQError(
                        f"local workers end as soon as they start: {_last_line(path)} (log: {path})"
                    )
                log.warning(
                    "local worker %d ended with code %s; starting it again (log: %s)", number, code, path
                )
                self._restart_at[number] = now + 1.0
        for number, due in list(self._restart_at.items()):
            if now >= due:
                del self._restart_at[number]
                self._start(number)

    def stop(self, patience_s: float = 10.0, *, at_once: bool = False) -> None:
        """End all workers: ask, ask again, then kill.

        Args:
            patience_s: before they are killed, half of it before they are asked again, in seconds.
            at_once: ask again right away, so that they hand back what they run rather than finish it.
        """
        if self._thread is None:
            return
        self._ending.set()
        self._idle.wait()
        for wait_s in (0.3 if at_once else patience_s / 2, patience_s / 2):
            for process in self._processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline and any(p.poll() is None for p in self._processes.values()):
                time.sleep(0.02)
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self._processes.clear()
        self._gone.set()
        self._thread.join()
        self._thread = None


def local_workers(backend: Backend, count: int, queue: str) -> LocalWorkers:
    """Workers for one queue, in the folder that this program was started in; not started yet."""
    home = backend.home
    return LocalWorkers(
        count,
        redis_url=backend.redis_url,
        artifacts_url=backend.artifacts_url,
        storage_url=backend.storage_url,
        queue=queue,
        folder=home.folder,
        log_folder=home.folder / STATE_FOLDER / "workers",
        keep_alive=home.embedded.lock_fd if home.embedded else None,
    )


def default_count(backend: Backend, queue: str, max_concurrent: int | None) -> int:
    """How many local workers a program's study gets: none where others can come, or are there already."""
    if backend.home.embedded is None or backend.store.workers.list(queue):
        return 0
    return min(os.cpu_count() or 1, max_concurrent or os.cpu_count() or 1)


_own: weakref.WeakKeyDictionary[Backend, str] = weakref.WeakKeyDictionary()
"""Backend → the queue that `local_queue` serves."""


def local_queue(backend: Backend) -> str:
    """Queue of this process' own workers, one per CPU, which the first call starts."""
    queue = _own.get(backend)
    if queue is None:
        queue = _own[backend] = f"local-{os.getpid()}"
        workers = local_workers(backend, os.cpu_count() or 1, queue)
        workers.start()
        atexit.register(workers.stop, at_once=True)
    return queue


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "they say nothing"
