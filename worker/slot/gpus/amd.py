"""AMD's GPUs, by the package ``amdsmi`` or, where that isn't installed, by ``rocm-smi``."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from worker.slot.gpus.device import Device, Driver, DriverAway

_ANSWER_S = 20.0
_MIB = 1 << 20


def open_amd() -> Driver | None:
    """`amdsmi`, or `rocm-smi`; None where there is neither. Raises `DriverAway`."""
    try:
        # It prints, rather than only raise, where its library is missing.
        with contextlib.redirect_stdout(io.StringIO()):
            return AmdSmi(importlib.import_module("amdsmi"))
    except (ImportError, KeyError, OSError):
        tool = shutil.which("rocm-smi")
        return RocmSmi(tool) if tool else None


class AmdSmi:
    """Reads devices by the functions of the module ``amdsmi``. Raises `DriverAway`.

    Args:
        library: that module.
    """

    def __init__(self, library: Any) -> None:
        self._smi = library
        try:
            library.amdsmi_init()
            self._handles = list(library.amdsmi_get_processor_handles())
        except library.AmdSmiException as error:
            raise DriverAway(str(error)) from error

    def devices(self) -> list[Device]:
        return [self._device(number, handle) for number, handle in enumerate(self._handles)]

    def close(self) -> None:
        with contextlib.suppress(self._smi.AmdSmiException):
            self._smi.amdsmi_shut_down()

    def _device(self, number: int, handle: Any) -> Device:
        smi = self._smi
        memory = self._ask("amdsmi_get_gpu_vram_usage", handle)
        if memory is None:
            return Device(number=str(number), lost="it doesn't answer")
        total, used = int(memory["vram_total"]) * _MIB, int(memory["vram_used"]) * _MIB
        kinds, metric = smi.AmdSmiTemperatureType, smi.AmdSmiTemperatureMetric.CURRENT
        power = self._ask("amdsmi_get_power_info", handle) or {}
        temperatures = (
            _number(self._ask("amdsmi_get_temp_metric", handle, kind, metric))
            for kind in (kinds.EDGE, kinds.HOTSPOT)
        )
        watts = (_number(power.get(name)) for name in ("current_socket_power", "average_socket_power"))
        return Device(
            number=str(number),
            uuid=str(self._ask("amdsmi_get_gpu_device_uuid", handle) or ""),
            name=str((self._ask("amdsmi_get_gpu_asic_info", handle) or {}).get("market_name", "")),
            total=total,
            used=used,
            free=total - used,
            utilization=_number((self._ask("amdsmi_get_gpu_activity", handle) or {}).get("gfx_activity")),
            temperature=next((each for each in temperatures if each is not None), None),
            power=next((each for each in watts if each is not None), None),
            holders=[
                (int(each["pid"]), int(each["memory_usage"]["vram_mem"]))
                for each in self._ask("amdsmi_get_gpu_process_list", handle) or ()
            ],
        )

    def _ask(self, name: str, *args: Any) -> Any:
        function = getattr(self._smi, name, None)
        if function is None:
            return None
        try:
            return function(*args)
        except self._smi.AmdSmiException:
            return None


class RocmSmi:
    """Reads devices by the program ``rocm-smi``, which names no processes per device."""

    def __init__(self, tool: str) -> None:
        self._tool = tool

    def devices(self) -> list[Device]:
        asked = ("--showuse", "--showmeminfo", "vram", "--showtemp", "--showpower", "--showproductname")
        try:
            done = subprocess.run(
                [self._tool, *asked, "--showuniqueid", "--json"],
                capture_output=True, text=True, timeout=_ANSWER_S, check=True,
            )  # fmt: skip
            cards = json.loads(done.stdout[done.stdout.find("{") :])
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise DriverAway(f"rocm-smi: {error}") from error
        return [
            _card(name.removeprefix("card"), about)
            for name, about in cards.items()
            if re.fullmatch(r"card\d+", name) and isinstance(about, dict)
        ]

    def close(self) -> None:
        """Nothing stays open."""


def _card(number: str, about: Mapping[str, Any]) -> Device:
    def first(pattern: str) -> str | None:
        return next((str(value) for key, value in about.items() if re.search(pattern, key)), None)

    total, used = _number(first(r"VRAM Total Memory")), _number(first(r"VRAM Total Used"))
    return Device(
        number=number,
        uuid=first("Unique ID") or "",
        name=first(r"Card [Ss]eries|Card SKU") or "",
        total=None if total is None else int(total),
        used=None if used is None else int(used),
        free=None if total is None or used is None else int(total - used),
        utilization=_number(first(r"GPU use")),
        temperature=_number(first(r"Temperature.*(edge|junction)")),
        power=_number(first(r"Power \(W\)")),
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):  # "N/A"
        return None
