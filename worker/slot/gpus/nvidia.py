"""NVIDIA's GPUs, by NVML: the package ``nvidia-ml-py``, which is asked where it is installed."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from worker.slot.gpus.device import Device, DriverAway, DriverMissing

_AWAY = ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH")
"""Errors after which no device answers, until NVML is begun once more."""
_LOST = ("GPU_IS_LOST", "RESET_REQUIRED")
"""Errors after which one device doesn't answer."""


class _Lost(Exception):
    """A device can't be used."""


def open_nvidia() -> Nvml | None:
    """NVML; None where its package isn't installed. Raises `DriverAway`."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    return Nvml(library)


class Nvml:
    """Reads devices by the functions of the module ``pynvml``.

    What a device doesn't tell, or this user may not know, is None. One that fails is lost, and the others are
    read as before.

    Args:
        library: that module.

    Raises:
        DriverAway: the driver isn't loaded, or doesn't fit the library.
        DriverMissing: there is none.
    """

    def __init__(self, library: Any) -> None:
        self._nvml = library
        self._numbers: dict[str, str] = {}
        """Id of each device that was ever seen → its number, which stays when others are gone."""
        self._names: dict[str, str] = {}
        self._codes = {
            getattr(library, f"NVML_ERROR_{name}", None): kind
            for kind, names in ((DriverAway, _AWAY), (_Lost, _LOST))
            for name in names
        }
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            missing = getattr(error, "value", None) == getattr(library, "NVML_ERROR_LIBRARY_NOT_FOUND", 12)
            raise (DriverMissing if missing else DriverAway)(_said(error)) from error

    def devices(self) -> list[Device]:
        found: list[Device] = []
        seen: set[str] = set()
        for index in range(int(self._ask("nvmlDeviceGetCount") or 0)):
            try:
                device = self._device(index)
            except _Lost as lost:
                number = str(index)
                uuid = next((u for u, n in self._numbers.items() if n == number and u not in seen), "")
                device = [Device(number=number, uuid=uuid, name=self._names.get(uuid, ""), lost=str(lost))]
            seen.update(each.uuid for each in device)
            found += device
        for uuid, number in self._numbers.items():
            if uuid not in seen:
                found.append(Device(number=number, uuid=uuid, name=self._names[uuid], lost="it is gone"))
        return found

    def close(self) -> None:
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _device(self, index: int) -> list[Device]:
        """A device, and the parts that it was divided into. Raises `_Lost`."""
        handle = self._ask("nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            if str(index) in self._numbers.values():
                raise _Lost("it doesn't answer")
            return []  # not for this user, as Slurm hides the devices of other jobs
        whole = self._read(handle, str(index))
        self._numbers.setdefault(whole.uuid, str(index))
        self._names[whole.uuid] = whole.name
        whole.number = self._numbers[whole.uuid]
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        whole.utilization = None if rates is None else float(rates.gpu)
        kind = getattr(self._nvml, "NVML_TEMPERATURE_GPU", 0)
        asked = (self._ask(f"nvmlDeviceGetTemperature{v}", handle, kind) for v in ("", "V"))
        whole.temperature = next((float(each) for each in asked if each is not None), None)
        power = _float(self._ask("nvmlDeviceGetPowerUsage", handle))
        whole.power = None if power is None else power / 1000
        return [whole, *self._parts(handle, whole)]

    def _parts(self, handle: Any, whole: Device) -> Iterator[Device]:
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if not mode or mode[0] != 1:
            return
        for number in range(int(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0)):
            part = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if part is not None:
                device = self._read(part, f"{whole.number}.{number}")
                device.temperature, device.power = whole.temperature, whole.power
                yield device

    def _read(self, handle: Any, number: str) -> Device:
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        holders: dict[int, int | None] = {}
        for process in self._ask("nvmlDeviceGetComputeRunningProcesses", handle) or ():
            holders[int(process.pid)] = process.usedGpuMemory
        return Device(
            number=number,
            uuid=_text(self._ask("nvmlDeviceGetUUID", handle)) or f"number {number}",
            name=_text(self._ask("nvmlDeviceGetName", handle)),
            total=None if memory is None else int(memory.total),
            used=None if memory is None else int(memory.used),
            free=None if memory is None else int(memory.free),
            holders=list(holders.items()),
        )

    def _ask(self, name: str, *args: Any) -> Any:
        """What a function answers; None where it isn't supported, not allowed, not there or fails.

        Raises:
            DriverAway: no device answers.
            _Lost: this one doesn't.
        """
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(*args)
        except self._nvml.NVMLError as error:
            kind = self._codes.get(getattr(error, "value", None))
            if kind is not None:
                raise kind(_said(error)) from error
            return None


def _said(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _text(text: Any) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text or "")


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
