"""`controller acl`: Redis' rules for two users, the controller and the workers.

What isn't listed is refused: other keys, scripts, `CONFIG`, `FLUSHALL`, `KEYS`. A test runs a whole study
under these rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.protocol.secrets import secret
from worker.protocol.transport import check_queue_name

CONTROLLER_PASSWORD = "OPTUNA_RQ_CONTROLLER_PASSWORD"
WORKER_PASSWORD = "OPTUNA_RQ_WORKER_PASSWORD"

_CONNECTION = "hello auth ping select client|setname client|id info time"
_TRANSACTION = "watch unwatch multi exec discard"
_READING = (
    "exists get getrange strlen hget hmget hgetall hexists hlen llen lrange lpos scard sismember smembers "
    "zcard zcount zrange zrangebyscore zrevrange zrank zrevrank zscore zmscore type ttl pttl"
)
_WRITING = (
    "set append del unlink expire pexpire persist hset hsetnx hdel hincrby hincrbyfloat lpush rpush lpop "
    "lrem ltrim lmove blmove blpop sadd srem zadd zrem zremrangebyscore xadd xtrim publish"
)
_BOTH = f"{_CONNECTION} {_TRANSACTION} {_READING} {_WRITING}"


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
    both = ["orq:*", "rq:queues", "rq:job:*"]
    workers = ["rq:workers", "rq:worker:*", "rq:suspended"]
    for queue in map(check_queue_name, queues):
        both += [f"rq:queue:{queue}", f"rq:queue:{queue}:intermediate"]
        workers.append(f"rq:workers:{queue}")
    return (
        User(
            name="controller",
            variable=CONTROLLER_PASSWORD,
            commands=f"{_BOTH} xread xrange xrevrange xlen xinfo|stream",
            keys=tuple(both),
            channels=("orq:control:*",),
        ),
        User(
            name="worker",
            variable=WORKER_PASSWORD,
            commands=f"{_BOTH} subscribe unsubscribe",
            keys=(*both, *workers),
            channels=("orq:control:*",),
        ),
    )
