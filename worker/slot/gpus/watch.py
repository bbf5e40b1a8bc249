"""The process that reads the GPUs: it alone talks to drivers, so that one which hangs holds up nobody."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from worker.process.logs import configure
from worker.process.parent_death import die_with_parent
from worker.protocol.printable import one_line
from worker.slot.gpus.amd import open_amd
from worker.slot.gpus.device import Device, Driver, DriverAway, DriverMissing, Maker
from worker.slot.gpus.nvidia import open_nvidia

log = logging.getLogger(__name__)

T = TypeVar("T")

PERIOD_S = 1.0
"""Between two looks while something runs, in seconds."""
IDLE_PERIOD_S = 10.0
"""The same while nothing does."""
BUSY_S = 15.0
"""So long after a slot has read them, something is taken to run, in seconds."""
AWAY_S = 60.0
"""Between two tries of a driver that doesn't answer, in seconds."""
SAMPLE, READ = "gpus.json", "gpus.read"
"""Files in the folder shared with slots: what was seen last, and one that is touched by who reads it."""


class Watch:
    """Reads devices, and writes what it has seen for the slots.

    Args:
        folder: where.
        makers: of drivers.
    """

    def __init__(self, folder: Path, makers: Sequence[Maker] = (open_nvidia, open_amd)) -> None:
        self._folder = folder
        self._makers = list(makers)
        self._drivers: list[tuple[Maker, Driver]] = []
        self._said: dict[str, str] = {}

    def open(self) -> bool:
        """Begin, as far as drivers are there. False when none will ever be."""
        away = False
        for maker in list(self._makers):
            try:
                driver = _asked(maker)
            except DriverAway as error:
                self._say("driver", f"GPUs aren't watched: {error}")
                if isinstance(error, DriverMissing):
                    self._makers.remove(maker)
                away = away or maker in self._makers
                continue
            self._makers.remove(maker)
            if driver is not None:
                self._drivers.append((maker, driver))
        if away:
            self._write([])
        return bool(self._drivers) or away

    def look(self) -> list[Device] | None:
        """Read and write all devices. None when no driver answers: `open` is to be tried again."""
        found: list[Device] = []
        for maker, driver in list(self._drivers):
            try:
                found += _asked(driver.devices)
            except DriverAway as error:
                self._say("driver", f"GPUs aren't watched: {error}")
                driver.close()
                self._drivers.remove((maker, driver))
                self._makers.append(maker)
        if not self._drivers:
            self._write([])
            return None
        self._say("driver", "")
        for device in found:
            text = f"GPU {device.number} ({device.name}) is lost: {device.lost}" if device.lost else ""
            self._say(device.uuid or device.number, text)
        self._write(found)
        return found

    def period_s(self) -> float:
        """Until the next look, in seconds."""
        try:
            read = time.time() - (self._folder / READ).stat().st_mtime
        except OSError:
            return IDLE_PERIOD_S
        return PERIOD_S if read < BUSY_S else IDLE_PERIOD_S

    def _say(self, about: str, text: str) -> None:
        """Say something once, until it has changed."""
        if text and self._said.get(about) != text:
            log.warning("%s", text)
        self._said[about] = text

    def _write(self, found: list[Device]) -> None:
        path = self._folder / SAMPLE
        text = json.dumps({"at": time.monotonic(), "devices": [device.to_dict() for device in found]})
        with contextlib.suppress(OSError):
            (self._folder / f"{SAMPLE}.new").write_text(text)
            os.replace(self._folder / f"{SAMPLE}.new", path)


def _asked(function: Callable[[], T]) -> T:
    """What a driver answers. Raises `DriverAway`, whatever its library raises."""
    try:
        return function()
    except DriverAway:
        raise
    except Exception as error:
        raise DriverAway(f"{type(error).__name__}: {one_line(str(error), 200)}") from error


def main() -> None:
    """``python -c … FOLDER PARENT LEVEL``: until the worker ends, or there is nothing to watch."""
    folder, parent, level = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure(level)
    watch = Watch(folder)
    while os.getppid() == parent and watch.open():
        while os.getppid() == parent and watch.look() is not None:
            began = time.monotonic()
            # A trial may begin meanwhile.
            while time.monotonic() - began < watch.period_s():
                time.sleep(PERIOD_S / 2)
        time.sleep(AWAY_S)
