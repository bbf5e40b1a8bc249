"""Where a process runs, so that another one there can tell whether it still does."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from redis.connection import parse_url


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


def is_open(redis_url: str) -> bool:
    """Whether a Redis can be used from other machines without a password, as far as its URL tells."""
    try:
        about = parse_url(redis_url)  # type: ignore[no-untyped-call] # redis-py is not typed here
    except ValueError:
        return False  # `connect` says what is wrong with it
    host = str(about.get("host", "localhost"))
    if about.get("password") or about.get("path"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


REGISTRATION_PERIOD_S = 5.0
"""Time between two renewals of a worker's registration, in seconds."""
REGISTRATION_LIFE_S = 3 * REGISTRATION_PERIOD_S
"""Time after its last renewal at which a registration expires, in seconds."""


def serves(registration: Mapping[str, str], queue: str) -> bool:
    """Whether a worker takes jobs from a queue, by its registration."""
    return queue in registration.get("queues", "").split(",")


def busy_slots(registration: Mapping[str, str]) -> int:
    """How many slots of a worker run something, by its registration."""
    return sum(1 for field, task in registration.items() if field.startswith("slot:") and task)


def pause_left(registration: Mapping[str, str], now: float) -> float:
    """Seconds for which a worker is to take no jobs, by its registration."""
    return max(0.0, float(registration.get("paused_until") or 0.0) - now)


PAUSE, DRAIN = "pause", "drain"
"""What a person may have a worker do: take no new jobs; and end when what it runs has ended."""


def held(registration: Mapping[str, str]) -> str:
    """`PAUSE` or `DRAIN` where a person has a worker do so, by its registration; else empty."""
    what = registration.get("hold", "")
    return what if what in (PAUSE, DRAIN) else ""


def takes_jobs(registration: Mapping[str, str], now: float) -> bool:
    """Whether a worker takes jobs, by its registration."""
    is_ending = registration.get("state") == "draining"
    return not (is_ending or held(registration) or pause_left(registration, now))


def slot_faults(registration: Mapping[str, str], now: float) -> dict[str, str]:
    """Slot number → what ails its device, of the slots that take no jobs for that, by the registration."""
    found = {}
    for field, text in registration.items():
        with contextlib.suppress(ValueError, TypeError):
            if field.startswith("fault:") and text:
                until, advice = json.loads(text)
                if float(until) > now:
                    found[field.partition(":")[2]] = str(advice)
    return found


def machine_fault(registration: Mapping[str, str], now: float) -> str:
    """The fault of its machine for which a worker, or each of its slots, takes no jobs; empty for none."""
    if registration.get("fault") and pause_left(registration, now):
        return registration.get("paused", "")
    ailing = slot_faults(registration, now)
    return next(iter(ailing.values())) if ailing and len(ailing) >= int(registration.get("slots", 0)) else ""


def is_gone(where: str, pid: str) -> bool:
    """Whether the process `pid` of the place `where` is known to have ended, as one that ran here."""
    if not where or where != place() or not pid.isdigit():
        return False
    try:
        # Not from /proc, which may hide other accounts' processes (hidepid, ProtectProc).
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
