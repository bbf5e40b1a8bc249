"""Ranks that ``torchrun`` starts side by side: by hand they are one program, whose task local rank 0 has.

Rank 0 says where it hears its children (`worker.sdk.members`) in a file of the folder that torchrun makes for
each attempt of a run; the others wait for it.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

WAIT_S = 30.0
"""How long a rank waits for rank 0's task, in seconds."""
_LOOK_S = 0.05
_FILE = ".optuna-rq-rank-0"


def local_rank() -> int | None:
    """This process' rank on its machine; None where torchrun hasn't started it."""
    text = os.environ.get("LOCAL_RANK", "")
    return int(text) if text.isdigit() and _folder() is not None else None


def announce(invitation: str) -> None:
    """As local rank 0, say where the others report."""
    folder = _folder()
    if local_rank() != 0 or folder is None:
        return
    new = folder / f"{_FILE}.{os.getpid()}"
    try:
        new.write_text(invitation)
        new.replace(folder / _FILE)
    except OSError as error:
        log.warning("%s can't be written (%s): each rank gets a task of its own", folder / _FILE, error)


def invitation_of_rank_0(wait_s: float = WAIT_S) -> str | None:
    """As another local rank, what rank 0 has announced; None for rank 0, and where nothing comes in time."""
    folder = _folder()
    if not local_rank() or folder is None:
        return None
    end = time.monotonic() + wait_s
    while True:
        try:
            return (folder / _FILE).read_text()
        except OSError:
            if time.monotonic() >= end:
                log.warning("rank 0 has no task after %g s: this rank gets one of its own", wait_s)
                return None
        time.sleep(_LOOK_S)


def _folder() -> Path | None:
    """The folder of this attempt of the run, in which each rank has one for its error file."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(error_file).parent.parent if error_file and os.environ.get("TORCHELASTIC_RUN_ID") else None
