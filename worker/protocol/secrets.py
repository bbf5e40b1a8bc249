"""Secrets of the environment: a variable, or the file that its ``_FILE`` sibling names.

Never an argument: argument lists are public.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from worker.protocol.errors import BadInput
from worker.protocol.urls import redact

REDIS_URL = "REDIS_URL"
STORAGE = "OPTUNA_STORAGE"
JOB_SECRET = "OPTUNA_RQ_SECRET"
TOKEN = "OPTUNA_RQ_TOKEN"
"""Opens the page of `controller dashboard`."""
READ_TOKEN = "OPTUNA_RQ_READ_TOKEN"
"""Opens it to look only."""

SECRETS = (REDIS_URL, STORAGE, JOB_SECRET, TOKEN, READ_TOKEN)
"""Variables that hold secrets, and that may be given as files."""

MIN_LENGTH = 16
"""Shortest job secret that is taken, in characters."""


def secret(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of a variable, or what stands in the file that ``<name>_FILE`` names; None without either.

    Raises:
        BadInput: both are set, or the file can't be read or is empty.
    """
    value, path = environment.get(name) or None, environment.get(f"{name}_FILE") or None
    if path is None:
        return value
    if value is not None:
        raise BadInput(f"{name} and {name}_FILE are both set; set one of them")
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise BadInput(f"{name}_FILE: {path} can't be read: {reason}") from error
    if not found:
        raise BadInput(f"{name}_FILE: {path} is empty")
    return found


def job_secret(environment: Mapping[str, str] = os.environ) -> str | None:
    """The secret that jobs are signed with; None when there is none. Raises `BadInput` for a short one."""
    found = secret(JOB_SECRET, environment)
    if found is not None and len(found) < MIN_LENGTH:
        raise BadInput(
            f"{JOB_SECRET}: {len(found)} characters are too few, it takes {MIN_LENGTH}; "
            "`openssl rand -hex 32` makes a good one"
        )
    return found


def refuse_secret(option: str, url: str | None, variable: str) -> None:
    """Refuse an argument that has a password in it: `ps` shows it to everybody. Raises `BadInput`."""
    if url and redact(url) != url:
        raise BadInput(
            f"{option} {redact(url)}: a password in an argument is seen by everybody on this machine; set "
            f"{variable} or {variable}_FILE instead"
        )
