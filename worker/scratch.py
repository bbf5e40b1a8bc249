"""Temporary files of a worker's slots and programs: in one folder, which goes with them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from worker.protocol.errors import BadInput
from worker.protocol.host import is_gone, place

_NAME = re.compile(r"orq-worker-(\d+)-\w+")
_PLACE = "place"


class Scratch:
    """A folder below the system's temporary one, with a folder for each slot, which is the ``TMPDIR`` of all
    that runs there. What was killed can't clean up: a slot's folder is emptied when the slot is started
    again, and what a killed worker has left goes when the next one starts here.

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
    def used_folder(self) -> Path:
        """Where slots note which jobs they have run."""
        return self._folder / "used"

    @property
    def code_folder(self) -> Path:
        """Where the code of studies is unpacked."""
        return self._folder / "code"

    def of_slot(self, number: int) -> Path:
        """A slot's folder, empty."""
        folder = self._folder / f"{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_slot(self, number: int) -> None:
        """Remove a slot's folder with all that is in it."""
        shutil.rmtree(self._folder / f"{number}", ignore_errors=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _remove_stale(base: Path) -> None:
    """Remove the folders of workers that ran on this machine and do no more."""
    with contextlib.suppress(OSError):
        for folder in list(base.iterdir()):
            found = _NAME.fullmatch(folder.name)
            with contextlib.suppress(OSError):
                if found and is_gone((folder / _PLACE).read_text(), found[1]):
                    shutil.rmtree(folder, ignore_errors=True)
