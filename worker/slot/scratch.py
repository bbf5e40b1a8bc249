"""Temporary files of a worker's slots and programs: in one folder, which goes with them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

from worker.protocol.errors import BadInput
from worker.protocol.host import is_gone, place

log = logging.getLogger(__name__)

_NAME = re.compile(r"orq-worker-(\d+)-\w+")
_PLACE = "place"


class Scratch:
    """A folder below the system's temporary one, with a folder for each slot, in which all that runs there
    has its temporary files. What was killed can't clean up: a slot's folder is emptied when the slot is
    started again, and the next worker that starts here removes what a killed one wrote.

    Raises:
        BadInput: it can't be made.
    """

    def __init__(self) -> None:
        _remove_stale(Path(tempfile.gettempdir()))
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f"orq-worker-{os.getpid()}-"))
            (self._folder / _PLACE).write_text(place())
        except OSError as error:
            where = error.filename or tempfile.gettempdir()
            raise BadInput(
                f"temporary files can't be written: {error.strerror or error} ({where})"
            ) from error

    @property
    def pause_file(self) -> Path:
        """Is there while the worker's slots are to take no jobs."""
        return self._folder / "paused"

    @property
    def drain_file(self) -> Path:
        """Is there while slots that are to end may take all the time that their task needs."""
        return self._folder / "drains"

    @property
    def used_folder(self) -> Path:
        """Where slots note which jobs they have run."""
        return self._folder / "used"

    @property
    def surroundings_file(self) -> Path:
        """Where the daemon writes what it has seen of this machine."""
        return self._folder / "surroundings.json"

    @property
    def code_folder(self) -> Path:
        """Where the code of studies is unpacked."""
        return self._folder / "code"

    @property
    def gpu_folder(self) -> Path:
        """Where the watch over GPUs writes what it sees."""
        folder = self._folder / "gpus"
        folder.mkdir(exist_ok=True)
        return folder

    def of_slot(self, number: int) -> Path:
        """A slot's folder, empty."""
        folder = self._folder / f"{number}"
        _remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_slot(self, number: int) -> None:
        """Remove a slot's folder with all that is in it."""
        _remove(self._folder / f"{number}")

    def remove(self) -> None:
        """Remove everything."""
        _remove(self._folder)


class TaskScratch:
    """The ``TMPDIR`` of a slot's programs, emptied after each attempt.

    It is one path for all of them, which a process that is reused may have noted.

    Args:
        slot: the slot's folder.
    """

    def __init__(self, slot: Path) -> None:
        self.path = slot / "tmp"
        self.empty()

    def empty(self) -> None:
        """Make it, or remove all that is in it. Never raises."""
        try:
            if self.path.is_symlink() or not self.path.is_dir() or os.listdir(self.path):
                _remove(self.path)
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("%s can't be emptied: %s", self.path, error.strerror or error)


def _remove(path: Path) -> None:
    """Remove a folder with all that is in it, as far as it goes."""
    if path.is_symlink() or path.is_file():
        with contextlib.suppress(OSError):
            path.unlink()
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        # Folders that nobody may write to, as some package managers make them.
        for above, folders, _ in os.walk(path):
            for each in folders:
                with contextlib.suppress(OSError):
                    if not os.path.islink(os.path.join(above, each)):
                        os.chmod(os.path.join(above, each), 0o700)
        shutil.rmtree(path, ignore_errors=True)


def _remove_stale(base: Path) -> None:
    """Remove the folders of workers that ran on this machine and do no more."""
    with contextlib.suppress(OSError):
        for folder in list(base.iterdir()):
            found = _NAME.fullmatch(folder.name)
            with contextlib.suppress(OSError):
                if found and is_gone((folder / _PLACE).read_text(), found[1]):
                    _remove(folder)
