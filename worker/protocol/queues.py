"""Names of queues."""

from __future__ import annotations

import re

from worker.protocol.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_queue_name(name: str) -> str:
    """`name`, or `BadInput` when it can't be a queue's."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"queue name {name!r}: use at most 100 letters, digits, '.', '_' and '-', beginning with a letter"
        )
    return name
