"""Scalars that a program writes with TensorBoard, read from its event files as they grow."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.protocol.errors import BadInput

log = logging.getLogger(__name__)

Scalar = tuple[str, str, float, int, float]
"""Title, series, value, step, seconds since the epoch."""


class EventFolder:
    """New scalars of the event files below a folder, each given once. Not thread-safe.

    Files that were last changed before this object was made belong to earlier runs and are left alone.

    Args:
        folder: need not exist yet.

    Raises:
        BadInput: the package tensorboard isn't installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: PLC0415 - an optional package
            from tensorboard.util import tensor_util  # noqa: PLC0415 - an optional package
        except ImportError as error:
            raise BadInput("TensorBoard's event files can't be read: pip install tensorboard") from error
        self._loader, self._array = EventFileLoader, tensor_util.make_ndarray
        self._folder = Path(folder).absolute()
        self._older = self._before()
        self._files: dict[Path, Any] = {}
        self._sizes: dict[Path, int] = {}
        self._broken: set[Path] = set()

    def _before(self) -> dict[Path, int]:
        """The files of earlier runs, and their sizes: one to which nothing is added is left alone."""
        # File systems may keep times to the second.
        since, found = time.time() - 1.0, {}
        for path in self._folder.rglob("*tfevents*"):
            with contextlib.suppress(OSError):
                about = path.stat()
                if about.st_mtime < since:
                    found[path] = about.st_size
        return found

    def read(self) -> list[Scalar]:
        """What was added since the last call, file by file in the order of writing."""
        found: list[Scalar] = []
        for path in sorted(self._folder.rglob("*tfevents*")):
            try:
                about = path.stat()
            except OSError:
                continue
            if path in self._broken or about.st_size == self._sizes.get(path):
                continue
            if path not in self._files:
                if about.st_size == self._older.get(path):
                    continue
                self._files[path] = self._loader(str(path))
            self._sizes[path] = about.st_size
            try:
                for event in self._files[path].Load():
                    found += self._scalars(path, event)
            except Exception as error:  # the library's own, for a damaged file
                self._broken.add(path)
                log.warning("TensorBoard file %s can't be read on: %s", path, error)
        return found

    def _scalars(self, path: Path, event: Any) -> list[Scalar]:
        found = []
        for value in event.summary.value:
            if value.WhichOneof("value") != "tensor" or value.metadata.plugin_data.plugin_name != "scalars":
                continue
            array = self._array(value.tensor)
            if array.size == 1:
                title, series = self._named(path, value.tag)
                found.append((title, series, float(array.item()), int(event.step), float(event.wall_time)))
        return found

    def _named(self, path: Path, tag: str) -> tuple[str, str]:
        """Title and series as ClearML has them: ``loss/train`` is split, what has no slash is both."""
        title, slash, series = tag.partition("/")
        series = series if slash else tag
        below = path.parent.relative_to(self._folder).as_posix()
        return title, series if below == "." else f"{below}: {series}"


class Follower:
    """Reports the scalars of an `EventFolder` from a thread, until `stop`.

    Args:
        folder: see `EventFolder`.
        report: called with title, series, value, step and time of each scalar; it ends the following by
            raising.
        period_s: between two looks.
    """

    def __init__(self, folder: str | Path, report: Callable[..., None], period_s: float = 1.0) -> None:
        self._events = EventFolder(folder)
        self._report = report
        self._period_s = period_s
        self._ending = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._follow, name="optuna-rq-tensorboard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read once more, so that nothing is lost, and end. Repeating it is harmless."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._ending.wait(self._period_s) and not self._over:
            self._pass_on()
        if not self._over:
            self._pass_on()

    def _pass_on(self) -> None:
        try:
            for scalar in self._events.read():
                self._report(*scalar)
        except BaseException as error:  # TaskStopped among them: the program hears of it by itself
            log.debug("TensorBoard's scalars are followed no longer: %s", error)
            self._over = True
