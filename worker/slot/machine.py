"""Whether trials can run on this machine: after a fault of its own it takes none until that is gone.

What can be looked at is: a disk is written to, descriptors are opened, a process is started, the GPU's own
tool is asked, the store is written to. What passes at once was perhaps the program's own doing, or lies where
nobody can look: then the slot pauses for a while all the same, for longer each time.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.artifacts import open_store
from worker.artifacts.folder import PROBE_BYTES
from worker.protocol.errors import BadInput
from worker.protocol.faults import Fault, Lacking, fault_of
from worker.slot.devices import VISIBLE

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 60.0
"""Pauses after a fault that can't be seen any more, in seconds: the first, doubled each time."""
FIRST_LOOK_S, LONGEST_LOOK_S = 1.0, 10.0
"""Between two looks whether a fault is gone, in seconds: the first, doubled each time up to the longest."""
TRY_S = 4.0
"""How long a program's try may take until its fault counts as gone, in seconds."""
FILES = 8
"""Descriptors that have to be free."""
TOOL_S = 10.0
"""Longest wait for the GPU's tool, in seconds."""


class Machine:
    """One slot's view of its machine. Used by the slot's thread, `lasts` by any.

    Args:
        places: folders that programs write to, where a fault does not name its own.
        show: called with a fault, and for how many seconds at least no job will be taken.
        monotonic: the time, in seconds.
    """

    def __init__(
        self,
        places: Sequence[Path],
        show: Callable[[Fault, float], None] = lambda fault, seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = list(places)
        self._show = show
        self._now = monotonic
        self._fault: Fault | None = None
        self._store: str | None = None
        self._in_a_row = 0
        self._look_at = 0.0
        self._pause_s = FIRST_LOOK_S

    def lasts(self, fault: Fault, store: str | None) -> bool:
        """Whether a fault can still be seen. Takes up to some 15 seconds.

        Args:
            store: URL of the task's artifact store.
        """
        match fault.lacking:
            case Lacking.SPACE:
                folder = _folder_of(fault.place)
                return any(map(_is_full, [folder] if folder else self._places))
            case Lacking.FILES:
                return not _opens_files()
            case Lacking.PROCESSES:
                return not _starts_processes()
            case Lacking.GPU:
                return not _finds_gpu()
            case Lacking.STORE:
                return store is not None and not _is_writable(store)

    def hold(self, fault: Fault, store: str | None, *, lasts: bool) -> None:
        """Take no jobs until the fault is gone.

        Args:
            store: as for `lasts`.
            lasts: it could still be seen just now.
        """
        self._in_a_row += 1
        self._fault, self._store = fault, store
        # What comes back at once, or was not seen any more, is given time.
        pause = FIRST_LOOK_S
        if not lasts or self._in_a_row > 1:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._in_a_row - 1 - lasts))
        self._pause_s = FIRST_LOOK_S
        self._look_at = self._now() + pause
        log.warning("no jobs are taken for now: %s", fault.advice)
        self._show(fault, pause)

    def waits_out(self, fault: Fault, seconds: float) -> None:
        """The program that runs waits for a fault to pass, and tries again after so many seconds."""
        self._show(fault, seconds + TRY_S)

    def works(self) -> None:
        """An attempt has ended without a fault of the machine's."""
        self._in_a_row = 0

    def holds(self) -> bool:
        """Whether no job is to be taken now; looks whether the fault is gone when it is time."""
        fault, now = self._fault, self._now()
        if fault is None:
            return False
        if now < self._look_at:
            return True
        if not self.lasts(fault, self._store):
            log.info("jobs are taken again: it is gone: %s", fault.reason)
            self._fault = None
            return False
        self._pause_s = min(2 * self._pause_s, LONGEST_LOOK_S)
        self._look_at = self._now() + self._pause_s
        self._show(fault, self._pause_s)
        return True


def _folder_of(place: str) -> Path | None:
    """The folder that a fault is about; None where it names none."""
    if not place or not os.path.isabs(place):
        return None
    path = Path(place)
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), None)


def _is_full(folder: Path) -> bool:
    """Whether nothing can be written to a folder, for a reason that is the machine's."""
    try:
        with tempfile.TemporaryFile(prefix=".orq-probe-", dir=folder, buffering=0) as file:
            if (file.write(bytes(PROBE_BYTES)) or 0) < PROBE_BYTES:
                return True
            os.fsync(file.fileno())
    except OSError as error:
        return fault_of(error) is not None
    return False


def _opens_files() -> bool:
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(FILES):
                opened.enter_context(open(os.devnull, "rb"))
        except OSError:
            return False
    return True


def _starts_processes() -> bool:
    try:
        subprocess.run(["true"], check=False, timeout=TOOL_S)
    except FileNotFoundError:
        return True  # it was only not found
    except (OSError, MemoryError, subprocess.SubprocessError):
        return False
    return True


def _finds_gpu() -> bool:
    """Whether a GPU answers: those of this slot, where it has its own."""
    own = os.environ.get(VISIBLE, "")
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", *(["-i", own] if own else [])]
    tools = [command for command in (query, ["rocm-smi", "--showid"]) if shutil.which(command[0]) is not None]
    for command in tools:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                command, capture_output=True, check=False, timeout=TOOL_S, stdin=subprocess.DEVNULL
            )
            if answer.returncode == 0 and answer.stdout.strip() and b"o devices" not in answer.stdout:
                return True
    return not tools and bool(glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/kfd"))


def _is_writable(store: str) -> bool:
    try:
        open_store(store).check()
    except BadInput as error:
        return fault_of(error) is None
    return True
