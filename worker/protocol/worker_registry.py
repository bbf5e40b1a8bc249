"""Live workers: each renews its registration, which expires after the worker's end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from worker.protocol import keys
from worker.protocol.bounds import MAX_STAMP, bounded_float
from worker.protocol.connection import watch
from worker.protocol.errors import BadInput
from worker.protocol.host import DRAIN, PAUSE, REGISTRATION_LIFE_S, serves
from worker.protocol.transaction import milliseconds

NAME = re.compile(r"[\w.-]*[^\W_][\w.-]*")
"""Names of workers."""
MAX_NAME = 255
MAX_SLOTS = 1024
"""Slots of one worker that count."""
MAX_WORKERS = 10_000
MAX_FIELD = 4096
"""Characters of one field of a registration."""
_SLOT = re.compile(r"slot:[0-9]{1,6}")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a person has a worker do until another order comes."""

    hold: str
    """`host.PAUSE`, `host.DRAIN`; empty for to take jobs."""
    reason: str = ""
    by: str = ""

    def encode(self) -> str:
        """As a message of the worker's channel."""
        return json.dumps({"hold": self.hold, "reason": self.reason[:600], "by": self.by[:200]})

    @classmethod
    def decode(cls, text: object) -> Order | None:
        """None for another message."""
        if not isinstance(text, str) or not text.startswith("{"):
            return None
        try:
            about = json.loads(text)
            hold, reason, by = (str(about.get(field, "")) for field in ("hold", "reason", "by"))
        except (ValueError, RecursionError, AttributeError):
            return None
        return cls(hold=hold, reason=reason[:600], by=by[:200]) if hold in (PAUSE, DRAIN, "") else None


class WorkerRegistry:
    """Registers and lists workers. Thread-safe if the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def register(self, name: str, fields: Mapping[str, Any], ttl_s: float, *, first: bool = False) -> None:
        """Write a worker's registration; it vanishes `ttl_s` seconds after the last call.

        Args:
            first: the name must be free.

        Raises:
            BadInput: a worker of that name is running.
        """
        with self._redis.pipeline() as pipe:
            if first:
                if watch(pipe, keys.worker(name), "EXISTS", keys.worker(name)):
                    raise _taken(name)
                pipe.multi()
            pipe.hset(keys.worker(name), mapping={k: str(v) for k, v in fields.items()})
            pipe.pexpire(keys.worker(name), milliseconds(ttl_s))
            pipe.sadd(keys.WORKERS, name)
            try:
                pipe.execute()
            except redis.WatchError:
                raise _taken(name) from None

    def forget(self, name: str) -> None:
        """Remove a worker's registration."""
        with self._redis.pipeline() as pipe:
            pipe.delete(keys.worker(name))
            pipe.srem(keys.WORKERS, name)
            pipe.execute()

    def pause(self, name: str, until: float, reason: str) -> None:
        """Have a worker take no jobs until a moment (seconds since the epoch); kept in its registration."""
        self._tell(name, {"paused_until": repr(until), "paused": reason, "fault": ""})

    def order(self, name: str, order: Order) -> bool:
        """Have a worker pause, drain or go on. False when it doesn't listen now.

        The order goes by the worker's channel, on which Redis' rules let the head node alone speak: what
        stands in a registration is data. The worker's registration shows that it was heard.
        """
        return bool(self._redis.publish(keys.control(name), order.encode()))

    def end_pause(self, name: str) -> None:
        """Have a worker take jobs again before its pause is over."""
        self._tell(name, {"paused_until": "0.0", "paused": "", "fault": ""})

    def _tell(self, name: str, about: Mapping[str, str]) -> None:
        with self._redis.pipeline() as pipe:
            pipe.hset(keys.worker(name), mapping=about)
            # If the worker has just ended, this must not leave a registration behind.
            pipe.pexpire(keys.worker(name), milliseconds(REGISTRATION_LIFE_S))
            pipe.publish(keys.control(name), "pause")
            pipe.execute()

    def paused_until(self, name: str) -> float:
        """When a worker's pause ends (seconds since the epoch); 0 if it has none."""
        return self.pause_of(name) or 0.0

    def pause_of(self, name: str) -> float | None:
        """As `paused_until`; None where its registration says nothing of pauses."""
        text = self._redis.hget(keys.worker(name), "paused_until")
        return None if text is None else _moment(text)

    def list(self, queue: str | None = None) -> list[dict[str, str]]:
        """Registrations of the live workers, optionally those that serve a queue; forgets the dead ones.

        One that no worker writes so is passed over; see `checked_registration`.
        """
        names = sorted(self._redis.smembers(keys.WORKERS))[:MAX_WORKERS]
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(keys.worker(name))
            found = pipe.execute()
        gone = [name for name, data in zip(names, found, strict=True) if not data]
        if gone:
            self._redis.srem(keys.WORKERS, *gone)
        read = (checked_registration(name, data) for name, data in zip(names, found, strict=True) if data)
        alive = [registration for registration in read if registration is not None]
        if queue is None:
            return alive
        return [worker for worker in alive if serves(worker, queue)]

    def show_fault(
        self, slot: str, until: float, reason_class: str, advice: str, *, alone: bool = False
    ) -> None:
        """Show in its worker's registration that a slot takes no jobs for a fault of its machine's.

        The worker pauses with it, unless it pauses for longer already.

        Args:
            until: seconds since the epoch.
            reason_class: one of `Reason`'s.
            advice: what is wrong and what to do, in one line.
            alone: it is only about this slot's device, and the others work on.
        """
        name, number = slot.rsplit("/", 1)
        key = keys.worker(name)
        if alone:
            self._redis.hset(key, f"fault:{number}", json.dumps([until, advice[:600]]))
            self._redis.pexpire(key, milliseconds(REGISTRATION_LIFE_S))
            return
        if until <= self.paused_until(name):
            return
        about = {
            "paused_until": repr(until),
            "paused": advice[:600],
            "fault": reason_class,
        }
        with self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=about)
            pipe.pexpire(key, milliseconds(REGISTRATION_LIFE_S))
            pipe.execute()

    def show_idle(self, slot: str) -> None:
        """Show in its worker's registration that a slot runs nothing."""
        show_running(self._redis, slot, "")

    def show_refusal(self, slot: str, why: str) -> None:
        """Show in its worker's registration that a slot refused a job, and why."""
        self._redis.hset(keys.worker(worker_name(slot)), "refused", why[:300])


def show_running(pipe: Any, slot: str, task_id: str) -> None:
    """Show in its worker's registration which task a slot runs; empty for none."""
    name, number = slot.rsplit("/", 1)
    pipe.hset(keys.worker(name), f"slot:{number}", task_id)


def worker_name(slot: str) -> str:
    """The worker that a slot belongs to."""
    return slot.rsplit("/", 1)[0]


def checked_registration(name: str, data: Mapping[str, str]) -> dict[str, str] | None:
    """A registration as a worker may write it, with its texts cut; None if it isn't one."""
    slots = data.get("slots", "0")
    if len(name) > MAX_NAME or not NAME.fullmatch(name) or not (slots.isascii() and slots.isdigit()):
        return None
    kept = {field: text[:MAX_FIELD] for field, text in data.items() if not field.startswith("slot:")}
    busy = sorted(field for field in data if _SLOT.fullmatch(field))[:MAX_SLOTS]
    kept.update({field: data[field][:MAX_FIELD] for field in busy})
    paused = repr(_moment(data.get("paused_until")))
    pid = kept.get("pid", "")
    if not (pid.isascii() and pid.isdigit()):
        kept["pid"] = ""
    return {**kept, "name": name, "slots": str(min(int(slots[:9]), MAX_SLOTS)), "paused_until": paused}


def _moment(text: str | None) -> float:
    try:
        return bounded_float(text or 0.0, 0.0, MAX_STAMP)
    except ValueError:
        return 0.0


def _taken(name: str) -> BadInput:
    return BadInput(f"a worker named {name!r} is running already; give this one another --name")
