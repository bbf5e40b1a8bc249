"""Where a process runs, so that another one there can tell whether it still does."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path


def place() -> str:
    """Names this machine, since its start, and this process' view of it (containers have their own).

    Returns:
        Two processes that return the same text see each other's process ids; empty where that can't be known.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def pause_left(card: Mapping[str, str], now: float) -> float:
    """Seconds for which a worker is to take no jobs, by its card."""
    return max(0.0, float(card.get("paused_until") or 0.0) - now)


def is_gone(where: str, pid: str) -> bool:
    """Whether the process `pid` of the place `where` is known to have ended, as one that ran here."""
    return bool(where) and where == place() and pid.isdigit() and not Path(f"/proc/{pid}").exists()
