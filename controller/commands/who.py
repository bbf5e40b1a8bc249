"""Who calls a command, for the study's log."""

from __future__ import annotations

import getpass
import os
import socket


def person() -> str:
    """``user@host`` of the person who calls the command."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
