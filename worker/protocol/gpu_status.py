"""How the GPUs of a worker stand: what its registration says of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from worker.protocol.printable import one_line

_MOST = 4000
"""Characters of a field of a registration that are kept by who reads it, or a little less."""
_LONGEST = 48
"""Characters of a device's name."""
GB = 1024.0**3


@dataclass(frozen=True, kw_only=True)
class GpuStatus:
    """One device. None stands for what nobody tells."""

    number: str
    """As the driver counts; ``0.1`` is part 1 of device 0."""
    name: str
    used: float | None = None
    """Memory, in GiB."""
    total: float | None = None
    """Memory, in GiB."""
    utilization: float | None = None
    """Percent."""
    temperature: float | None = None
    """In °C."""
    power: float | None = None
    """In W."""
    lost: str = ""
    """Why it can't be used, if it can't."""

    def __str__(self) -> str:
        said = [f"{self.number}:"]
        if self.lost:
            return f"{said[0]} lost ({self.lost})"
        if self.utilization is not None:
            said.append(f"{self.utilization:.0f} %")
        if self.used is not None and self.total is not None:
            said.append(f"{self.used:.1f} of {self.total:.1f} GB")
        if self.temperature is not None:
            said.append(f"{self.temperature:.0f} °C")
        return " ".join(said)


def pack(gpus: Sequence[GpuStatus]) -> str:
    """As text for a registration; as many devices as fit."""
    rows = [json.dumps(_row(gpu), separators=(",", ":"), ensure_ascii=False) for gpu in gpus]
    while sum(map(len, rows)) + len(rows) > _MOST:
        rows.pop()
    return f"[{','.join(rows)}]"


def _row(gpu: GpuStatus) -> list[object]:
    number, name, *values, lost = astuple(gpu)
    rounded = [None if value is None else round(value, 2) for value in values]
    return [number, name[:_LONGEST], *rounded, lost[:_LONGEST]]


def unpack(text: str) -> list[GpuStatus]:
    """Inverse of `pack`; what isn't as `pack` writes it is passed over."""
    try:
        rows = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, list) or len(row) != 8 or not all(isinstance(row[i], str) for i in (0, 1, 7)):
            continue
        values = [_number(value) for value in row[2:7]]
        number, name, lost = (one_line(row[i], _LONGEST) for i in (0, 1, 7))
        used, total, utilization, temperature, power = values
        found.append(
            GpuStatus(
                number=number, name=name, used=used, total=total, utilization=utilization,
                temperature=temperature, power=power, lost=lost,
            )
        )  # fmt: skip
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e9 and math.isfinite(value) else None
