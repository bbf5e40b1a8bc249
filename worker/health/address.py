"""Where a health server listens: ``[HOST:]PORT``."""

from __future__ import annotations

import re
from typing import NamedTuple

from worker.protocol.errors import BadInput

DEFAULT_HOST = "127.0.0.1"
_SHAPE = re.compile(r"(?:(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]+)")


class Address(NamedTuple):
    """A host name or address, without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that ``--metrics-port`` names. Raises `BadInput` when it is none."""
    found = _SHAPE.fullmatch(text.strip())
    if not found or not 1 <= int(found["port"]) <= 65535:
        raise BadInput(
            f"--metrics-port {text!r}: give [HOST:]PORT with a port from 1 to 65535, such as 9108 for this "
            "machine only, or 0.0.0.0:9108"
        )
    return Address((found["host"] or DEFAULT_HOST).strip("[]"), int(found["port"]))
