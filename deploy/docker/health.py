"""The image's health check: asks /livez on the port that process 1 was given with --metrics-port.

Exit code 0: alive, or there is no such port. 1: it does not answer, or not with 200.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

OPTION = "--metrics-port"
TIMEOUT_S = 4.0


def metrics_port(arguments: Sequence[str]) -> int | None:
    """The port in ``--metrics-port [HOST:]PORT`` of a command line; None when there is none."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == OPTION:
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            port = (value if equals else following).rpartition(":")[2]
            return int(port) if port.isdigit() else None
    return None


def is_alive(port: int) -> bool:
    """Whether /livez answers with 200."""
    # Not by a proxy that the environment names for the training program.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/livez", timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # an answer that is an error among them
        return False


def main(process: Path = Path("/proc/1/cmdline")) -> int:
    port = metrics_port(process.read_text().split("\0"))
    return 0 if port is None or is_alive(port) else 1


if __name__ == "__main__":
    sys.exit(main())
