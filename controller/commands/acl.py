"""`controller acl`: Redis' rules for two users, the controller and the workers.

What isn't listed is refused: other keys, scripts, `CONFIG`, `FLUSHALL`, `KEYS`. A test runs a whole study
under these rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.protocol.queues import check_queue_name
from worker.protocol.secrets import secret

CONTROLLER_PASSWORD = "OPTUNA_RQ_CONTROLLER_PASSWORD"
WORKER_PASSWORD = "OPTUNA_RQ_WORKER_PASSWORD"

_BOTH = (
    "auth hello ping select info time "
    "watch unwatch multi exec "
    "exists get getrange hget hgetall hmget llen lrange smembers zscore "
    "append del hdel hincrby hset lrem ltrim pexpire rpush sadd set srem xadd zadd zrem"
)
_CONTROLLER = "lpos pttl publish unlink xrange xread xrevrange xtrim zcard zrange zrevrange"
_WORKER = "blmove blpop expire lmove lpop subscribe"

_REPORTED = tuple(f"orq:study:*:{part}" for part in ("events", "rank*", "status:*", "finish", "seen"))
"""What a worker writes of a study; names of studies have no colon in keys."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of Redis and what it may do."""

    name: str
    variable: str
    """Environment variable with its password; or ``<variable>_FILE``."""
    commands: str
    keys: tuple[str, ...]
    channels: tuple[str, ...]

    def rule(self, environment: Mapping[str, str]) -> str:
        """As in ``redis.conf`` or an ACL file. Without a password the user is off."""
        password = secret(self.variable, environment)
        how = f"on #{hashlib.sha256(password.encode()).hexdigest()}" if password else "off"
        keys = " ".join(f"~{key}" for key in self.keys)
        channels = " ".join(f"&{channel}" for channel in self.channels)
        commands = " ".join(f"+{name}" for name in sorted(set(self.commands.split())))
        return f"user {self.name} reset {how} {keys} resetchannels {channels} -@all {commands}"


def users(queues: Sequence[str]) -> tuple[User, User]:
    """The two users, for these queues. Raises `BadInput` for a name that can't be a queue's."""
    controller = ["orq:*", "rq:queues", "rq:job:*"]
    worker = ["orq:task:*", *_REPORTED, "orq:used:*", "orq:workers", "orq:worker:*"]
    worker += ["rq:job:*", "rq:workers", "rq:worker:*", "rq:suspended"]
    for queue in map(check_queue_name, queues):
        controller.append(f"rq:queue:{queue}")
        worker += [f"rq:queue:{queue}", f"rq:queue:{queue}:intermediate", f"rq:workers:{queue}"]
    return (
        User(
            name="controller",
            variable=CONTROLLER_PASSWORD,
            commands=f"{_BOTH} {_CONTROLLER}",
            keys=tuple(controller),
            channels=("orq:control:*",),
        ),
        User(
            name="worker",
            variable=WORKER_PASSWORD,
            commands=f"{_BOTH} {_WORKER}",
            keys=tuple(worker),
            channels=("orq:control:*",),
        ),
    )
