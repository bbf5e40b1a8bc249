"""The worker's side of the watch over GPUs: whether there is one, and what it has seen."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.protocol.gpu_status import GB, GpuStatus
from worker.slot.gpus.cards import read_sample
from worker.slot.gpus.device import Device, chosen
from worker.slot.gpus.watch import AWAY_S, IDLE_PERIOD_S

log = logging.getLogger(__name__)

_WATCH = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.slot.gpus.watch import main; main()"
)
SILENT_S = 3 * IDLE_PERIOD_S
"""A watch that has seen nothing for so long hangs, in seconds."""


def is_worth_it(gpus: Sequence[str], dev: Path = Path("/dev")) -> bool:
    """Whether there may be GPUs here, and something to ask about them. Imports none of it."""
    nvidia = bool(gpus) or any((dev / name).exists() for name in ("nvidiactl", "dxg"))
    if nvidia and importlib.util.find_spec("pynvml") is not None:
        return True
    amd = bool(gpus) or (dev / "kfd").exists()
    return amd and (importlib.util.find_spec("amdsmi") is not None or bool(shutil.which("rocm-smi")))


class GpuWatcher:
    """Starts the watch, and reads what it writes. Nothing here raises or waits.

    Args:
        folder: that the watch writes to.
        names: of the devices that the worker's slots use; None for all.
    """

    def __init__(
        self, folder: Path, names: Sequence[str] | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._names = names
        self._now = monotonic
        self._process: subprocess.Popen[bytes] | None = None
        self._began = monotonic()
        self._checked = False
        self._silent = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the watch."""
        level = logging.getLevelName(log.getEffectiveLevel())
        self._began = self._now()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WATCH, str(self._folder), str(os.getpid()), level],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            log.warning("GPUs aren't watched: %s", error)

    def status(self) -> list[GpuStatus]:
        """How the worker's devices stand, as far as the watch knows."""
        at, devices = read_sample(self._folder)
        now = self._now()
        self._look_after(now, at)
        if now - at > SILENT_S:
            return []
        mine = chosen(devices, self._names)
        self._check_names(devices)
        return [_status(device) for device in mine]

    def close(self) -> None:
        """End the watch; one that hangs in the driver is left to the system."""
        if self._process and self._process.poll() is None:
            self._process.kill()

    def _look_after(self, now: float, at: float) -> None:
        """Say so once when it hangs, and start it again when it has crashed."""
        ended = self._process is not None and self._process.poll()
        if ended and now - self._began > AWAY_S:
            self.start()
        silent_s = now - max(at, self._began)
        silent = self._process is not None and ended is None and silent_s > AWAY_S + SILENT_S
        if silent and not self._silent:
            log.warning("the GPUs' driver has not answered for %.0f s: GPUs aren't watched", silent_s)
        self._silent = silent

    def _check_names(self, devices: Sequence[Device]) -> None:
        """Say once which of the worker's devices the driver doesn't know."""
        if self._checked or self._names is None or not devices:
            return
        self._checked = True
        unknown = [name for name in self._names if not chosen(devices, [name])]
        if unknown:
            known = ", ".join(device.number for device in devices)
            log.warning(
                "GPU %s isn't watched: its driver doesn't know it (it knows %s)", ", ".join(unknown), known
            )


def _status(device: Device) -> GpuStatus:
    return GpuStatus(
        number=device.number,
        name=device.name,
        used=None if device.used is None else device.used / GB,
        total=None if device.total is None else device.total / GB,
        utilization=device.utilization,
        temperature=device.temperature,
        power=device.power,
        lost=device.lost,
    )
