"""Prints redis-users.conf: the rules of `controller acl`, with marks where secrets.sh puts passwords.

With optuna-rq installed, for the queues that are named, or for `default`:
    python deploy/docker/redis_users.py gpu cpu > deploy/docker/redis-users.conf
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from controller.commands.acl import users

KEDA = (
    "user keda reset on >@keda@ ~rq:queue:* ~orq:study:*:status:* resetchannels -@all "
    "+auth +eval +hello +llen +ping +type +zcard"
)


def lines(queues: Sequence[str]) -> list[str]:
    """The file's lines. Raises `BadInput` for a name that can't be a queue's."""
    return [
        "# The users of Redis, written by redis_users.py. secrets.sh puts passwords in the place of @names@.",
        *(
            re.sub(
                "reset on #[0-9a-f]{64} ", f"reset on >@{user.name}@ ", user.rule({user.variable: "p" * 64})
            )
            for user in users(queues)
        ),
        "# KEDA counts what waits and what runs (deploy/kubernetes), by the type of the key.",
        KEDA,
    ]


if __name__ == "__main__":
    print("\n".join(lines(sys.argv[1:] or ["default"])))
