"""The GPUs of one slot: sampled for its trial, and who holds their memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import psutil

from worker.process.process_tree import descendants
from worker.protocol.gpu_status import GB
from worker.slot.gpus.device import Device, chosen
from worker.slot.gpus.watch import IDLE_PERIOD_S, READ, SAMPLE

GPU = ":monitor:gpu"
"""Beginning of the titles of a GPU's series; the device's number follows."""
FRESH_S = 3 * IDLE_PERIOD_S
"""What was seen longer ago is not told as what is, in seconds."""
_MOST = 5
"""Processes that are named."""


def read_sample(folder: Path) -> tuple[float, list[Device]]:
    """When the watch has last looked (monotonic; minus infinity for never), and what it saw. Never raises."""
    try:
        data = json.loads((folder / SAMPLE).read_text())
        return float(data["at"]), [Device.from_dict(each) for each in data["devices"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return float("-inf"), []


class Cards:
    """What one trial may use of its machine's GPUs. Nothing here raises.

    Args:
        folder: that the watch writes to; None where there is none.
        names: of the devices, as in ``CUDA_VISIBLE_DEVICES``; None for all.
        worker: process id of the worker, below which all that it runs is.
    """

    def __init__(
        self,
        folder: Path | None,
        names: Sequence[str] | None,
        worker: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._names = names
        self._worker = worker
        self._now = monotonic
        self._own: set[int] = set()
        """Processes of the trial, those that have ended included."""
        self._most: dict[str, int] = {}
        """Device → the most memory that the trial was seen to hold."""

    def sample(self, pids: Collection[int], since: float) -> Iterator[tuple[str, str, float]]:
        """Title, series and value of what was seen after a moment.

        Args:
            pids: processes of the trial.
            since: monotonic, in seconds.
        """
        self._own.update(pids)
        for device in self._devices(since):
            if device.lost:
                continue
            title = f"{GPU}/{device.number}"
            held = [size for pid, size in device.holders if pid in self._own and size is not None]
            values = {
                "utilization": device.utilization,
                "memory_used_gb": _gb(device.used),
                "memory_free_gb": _gb(device.free),
                "temperature": device.temperature,
                "power": device.power,
                "process_memory_gb": _gb(sum(held)) if held else None,
            }
            if held:
                self._most[device.number] = max(sum(held), self._most.get(device.number, 0))
            yield from ((title, series, value) for series, value in values.items() if value is not None)

    def strangers(self) -> list[str]:
        """A line for each device that processes hold which this worker hasn't started."""
        found = []
        for device in self._devices(float("-inf")):
            holders = device.holders and self._others(device)
            if holders:
                found.append(f"{_of(device)} is held by others: {_named(holders)}")
        return found

    def explain(self, reason: str) -> str:
        """Add to CUDA's word that memory is out which device it was, and who held it."""
        named = re.search(r"\bGPU (\d+)\b", reason)
        devices = self._devices(float("-inf"))
        if named and int(named[1]) < len(devices):
            devices = [devices[int(named[1])]]
        said = []
        for device in devices[:_MOST]:
            parts = [_of(device)]
            seen = sum(size or 0 for pid, size in device.holders if pid in self._own)
            own = max(seen, self._most.get(device.number, 0))
            holders = self._others(device)
            if own:
                parts.append(f"this trial held {own / GB:.1f} GB")
            parts += [f"others held it: {_named(holders)}"] if holders else []
            said.append(", ".join(parts))
        return f"{reason} [{'; '.join(said)}]" if said else reason

    def _devices(self, since: float) -> list[Device]:
        if self._folder is None:
            return []
        with contextlib.suppress(OSError):
            (self._folder / READ).touch()
        at, devices = read_sample(self._folder)
        return chosen(devices, self._names) if at >= since and self._now() - at < FRESH_S else []

    def _others(self, device: Device) -> list[tuple[int, int | None]]:
        """Processes that hold a device and live here, and that aren't below the worker."""
        if not device.holders:
            return []
        ours = {self._worker, os.getpid(), *self._own, *descendants(self._worker)}
        return [(pid, size) for pid, size in device.holders if pid not in ours and psutil.pid_exists(pid)]


def _named(holders: Sequence[tuple[int, int | None]]) -> str:
    said = []
    for pid, size in sorted(holders, key=lambda holder: -(holder[1] or 0))[:_MOST]:
        who = f"process {pid}"
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            who += f" ({process.name()}"
            with contextlib.suppress(psutil.Error, KeyError):
                who += f" of {process.username()}"
            who += ")"
        said.append(who + (f" {size / GB:.1f} GB" if size is not None else ""))
    more = len(holders) - _MOST
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")


def _of(device: Device) -> str:
    about = [device.name] if device.name else []
    about += [f"{device.total / GB:.1f} GB"] if device.total else []
    return f"GPU {device.number}" + (f" ({', '.join(about)})" if about else "")


def _gb(size: int | None) -> float | None:
    return None if size is None else round(size / GB, 4)
