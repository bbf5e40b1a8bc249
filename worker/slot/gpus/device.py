"""What is seen of a GPU at a time, and what it is read by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(kw_only=True)
class Device:
    """One GPU, or a part that it was divided into. None stands for what the driver doesn't tell."""

    number: str
    """As the driver counts; ``0.1`` is part 1 of device 0."""
    uuid: str = ""
    name: str = ""
    total: int | None = None
    """Memory, in bytes."""
    used: int | None = None
    """Memory, in bytes."""
    free: int | None = None
    """Memory, in bytes."""
    utilization: float | None = None
    """Percent of the time in which something ran on it."""
    temperature: float | None = None
    """In °C."""
    power: float | None = None
    """In W."""
    holders: list[tuple[int, int | None]] = field(default_factory=list)
    """Process id and memory, in bytes, of each process that holds some."""
    lost: str = ""
    """Why it can't be used, if it can't."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Device:
        """Inverse of `to_dict`, as JSON gives it back. Raises TypeError when `data` isn't one."""
        holders = [(int(pid), size) for pid, size in data.pop("holders")]
        return cls(**data, holders=holders)


class DriverAway(Exception):
    """The driver doesn't answer, all devices considered: it may be tried again later."""


class DriverMissing(DriverAway):
    """There is no driver, and there will be none."""


class Driver(Protocol):
    """Reads the devices of one maker."""

    def devices(self) -> list[Device]:
        """All there are. Raises `DriverAway`."""

    def close(self) -> None:
        """Let go of the driver. Never raises."""


def chosen(devices: Sequence[Device], names: Sequence[str] | None) -> list[Device]:
    """The devices of these names (numbers, ids, beginnings of ids), in their order; all for None."""
    if names is None:
        return [each for each in devices if "." not in each.number]
    found = []
    for name in names:
        found += [each for each in devices if _is(each, name)][:1]
    return found


def _is(device: Device, name: str) -> bool:
    return device.number == name or (not name.isdigit() and device.uuid.startswith(name))


Maker = Callable[[], Driver | None]
"""Opens a driver; None where there is none."""
