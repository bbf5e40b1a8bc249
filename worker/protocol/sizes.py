"""Sizes in bytes, as people write them."""

from __future__ import annotations

import math
import re

from worker.protocol.errors import BadInput

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip


def parse_size(text: str, what: str) -> int:
    """Bytes of a size such as ``4GB``, ``500 MiB`` or ``1e6``. Raises `BadInput`, naming `what`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = found[2].lower() if found else "?"
    size = float(found[1]) * _UNITS[unit] if found and unit in _UNITS else 0.0
    if not 1 <= size < math.inf:
        raise BadInput(f"{what} {text!r}: write a size such as 4GB or 500MiB")
    return int(size)


def show_size(size: float) -> str:
    """A size for people: ``4.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
