"""What of the module ``pynvml`` is used, over devices that a JSON file describes: for machines without any.

A copy of this file, named ``pynvml.py`` on a process' import path, stands in for the package. The file's name is in
``FAKE_NVML``. ``fails`` in it maps names of functions, and ``name:device``, to codes of errors.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_TEMPERATURE_GPU = 0
NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_ERROR_UNKNOWN = 999
TEXTS = {
    1: "Uninitialized", 2: "Invalid Argument", 3: "Not Supported", 4: "Insufficient Permissions", 6: "Not Found",
    9: "Driver Not Loaded", 12: "NVML Shared Library Not Found", 15: "GPU is lost", 16: "GPU requires reset",
    18: "Driver/library version mismatch", 999: "Unknown Error",
}  # fmt: skip


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(TEXTS[value])
        self.value = value


class State:
    """Set `data`, or leave it to the file that the environment names."""

    data: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        if self.data is not None:
            return self.data
        found: dict[str, Any] = json.loads(Path(os.environ["FAKE_NVML"]).read_text())
        return found


state = State()


def gpu(number: int, **about: Any) -> dict[str, Any]:
    """A device as the file has them."""
    return {
        "uuid": f"GPU-{number}{number}{number}{number}-0", "name": "NVIDIA H100", "memory": [80 << 30, 9 << 30],
        "utilization": 87, "temperature": 61, "power": 402_500, "processes": [], "parts": [], **about,
    }  # fmt: skip


def _asked(name: str, device: Any = None) -> dict[str, Any]:
    data = state.read()
    if data.get("hangs"):
        time.sleep(60)
    fails = data.get("fails", {})
    code = fails.get(name) or (device is not None and fails.get(f"{name}:{device}"))
    if code:
        raise NVMLError(code)
    return data


def _of(name: str, handle: str) -> dict[str, Any]:
    data = _asked(name, handle)
    number, _, part = handle.partition(".")
    found: dict[str, Any] = data["gpus"][int(number)]
    return found["parts"][int(part)] if part else found


def _get(name: str, key: str) -> Callable[..., Any]:
    def ask(handle: str, *args: Any) -> Any:
        value = _of(name, handle)[key]
        if value is None:
            raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
        return value

    return ask


def nvmlInit() -> None:
    _asked("nvmlInit")


def nvmlShutdown() -> None:
    _asked("nvmlShutdown")


def nvmlDeviceGetCount() -> int:
    return len(_asked("nvmlDeviceGetCount")["gpus"])


def nvmlDeviceGetHandleByIndex(index: int) -> str:
    _asked("nvmlDeviceGetHandleByIndex", index)
    return str(index)


nvmlDeviceGetUUID = _get("nvmlDeviceGetUUID", "uuid")
nvmlDeviceGetName = _get("nvmlDeviceGetName", "name")
nvmlDeviceGetTemperature = _get("nvmlDeviceGetTemperature", "temperature")
nvmlDeviceGetPowerUsage = _get("nvmlDeviceGetPowerUsage", "power")


def nvmlDeviceGetMemoryInfo(handle: str) -> Any:
    total, used = _of("nvmlDeviceGetMemoryInfo", handle)["memory"]
    return SimpleNamespace(total=total, used=used, free=total - used)


def nvmlDeviceGetUtilizationRates(handle: str) -> Any:
    return SimpleNamespace(gpu=_of("nvmlDeviceGetUtilizationRates", handle)["utilization"], memory=1)


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list[Any]:
    found = _of("nvmlDeviceGetComputeRunningProcesses", handle)["processes"]
    return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in found]


def nvmlDeviceGetMigMode(handle: str) -> list[int]:
    parts = _of("nvmlDeviceGetMigMode", handle)["parts"]
    return [1, 1] if parts else [0, 0]


def nvmlDeviceGetMaxMigDeviceCount(handle: str) -> int:
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle: str, index: int) -> str:
    if index >= len(_of("nvmlDeviceGetMigDeviceHandleByIndex", handle)["parts"]):
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return f"{handle}.{index}"
